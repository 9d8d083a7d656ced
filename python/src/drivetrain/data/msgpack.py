"""Reading MessagePack, as far as py123d's files use it: plain data and numeric arrays, never an object.

Source: the MessagePack specification (github.com/msgpack/msgpack/blob/master/spec.md). Arrays are maps with the byte
keys ``__ndarray__``, ``dtype``, ``shape`` and ``data``.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

_DEPTH = 32
_NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
_SIZED = {0xC4: (">B", "bytes"), 0xC5: (">H", "bytes"), 0xC6: (">I", "bytes")} | {
    0xD9: (">B", "text"),
    0xDA: (">H", "text"),
    0xDB: (">I", "text"),
    0xDC: (">H", "list"),
    0xDD: (">I", "list"),
    0xDE: (">H", "map"),
    0xDF: (">I", "map"),
}


def unpack(content: bytes) -> Any:
    """Return the value that bytes hold.

    Raises:
        ValueError: They are damaged, hold more than one value, or one of another kind.
    """
    reader = _Reader(content)
    try:
        value = reader.value(0)
    except (struct.error, IndexError, OverflowError, TypeError) as error:
        raise ValueError(f"ends too early or is damaged ({error})") from error
    if reader.place != len(content):
        raise ValueError(f"{len(content) - reader.place} bytes follow its value")
    return value


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self.place = 0

    def value(self, depth: int) -> Any:
        if depth > _DEPTH:
            raise ValueError(f"is nested more than {_DEPTH} deep")
        head = self._take(1)[0]
        if head <= 0x7F or head >= 0xE0:
            return head if head <= 0x7F else head - 0x100
        if head in _NUMBERS:
            return self._number(_NUMBERS[head])
        if head in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[head]
        if head in _SIZED:
            form, kind = _SIZED[head]
            return self._sized(kind, self._number(form), depth)
        for low, high, kind in ((0x80, 0x8F, "map"), (0x90, 0x9F, "list"), (0xA0, 0xBF, "text")):
            if low <= head <= high:
                return self._sized(kind, head - low, depth)
        raise ValueError(f"holds a value of kind 0x{head:02x}")

    def _take(self, count: int) -> bytes:
        part = self._content[self.place : self.place + count]
        if len(part) != count:
            raise IndexError(f"{count} bytes wanted at {self.place}, {len(part)} left")
        self.place += count
        return part

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _sized(self, kind: str, count: int, depth: int) -> Any:
        if kind in ("bytes", "text"):
            part = self._take(count)
            return part if kind == "bytes" else part.decode("utf-8")
        # Every entry has at least one byte: a damaged count cannot ask for memory.
        if count > len(self._content) - self.place:
            raise IndexError(f"{count} entries wanted at {self.place}")
        if kind == "list":
            return [self.value(depth + 1) for _ in range(count)]
        found = {self._key(depth): self.value(depth + 1) for _ in range(count)}
        return _array(found) if b"__ndarray__" in found else found

    def _key(self, depth: int) -> Any:
        key = self.value(depth + 1)
        if not isinstance(key, str | bytes | int):
            raise ValueError(f"has a key of kind {type(key).__name__}")
        return key


def _array(parts: dict[Any, Any]) -> np.ndarray:
    try:
        dtype = np.dtype(str(parts[b"dtype"]))
        if dtype.kind not in "fiub":
            raise ValueError(f"holds an array of {dtype}")
        return np.frombuffer(parts[b"data"], dtype=dtype).reshape(parts[b"shape"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"holds a damaged array ({error})") from error
