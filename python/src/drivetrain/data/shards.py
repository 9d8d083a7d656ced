"""One container format for records of named arrays: the ``.dts`` shard.

Layout of a file (everything little-endian)::

    64 bytes   magic ``DTSHARD1``, format version (uint32), zeros
    record     head: JSON (its length in the first 8 bytes); then the arrays, each aligned to 64 bytes
    ...        further records, each aligned to 64 bytes
    footer     JSON table: offset and length of every record, crc32 of its head
    32 bytes   footer offset, footer length (uint64), footer crc32, format version (uint32), magic ``DTSFOOT1``

A shard is written once, from front to back, and then only memory-mapped. Strings live in the JSON headers; nothing is
ever pickled. A record's head holds a crc32 of every 16 KiB page of its arrays: a page is checked when something on it
is first read, so damage is named instead of simulated, and a window of a long log costs no more than its own pages.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from drivetrain.errors import DataError

FORMAT_VERSION = 3
_HEAD_MAGIC = b"DTSHARD1"
_FOOT_MAGIC = b"DTSFOOT1"
_HEAD = struct.Struct("<8sI52x")
_TAIL = struct.Struct("<QQII8s")
_ALIGN = 64
PAGE = 16384
"""Bytes of a record's arrays that share a checksum."""
_DTYPES = {
    code: np.dtype(code) for code in ("|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8")
}
REMEDY = "re-create the store with 'drivetrain data sample' or 'drivetrain data convert ... --overwrite'"


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One record of a shard."""

    arrays: dict[str, np.ndarray]
    """Named arrays; read from a shard they are read-only views of the memory map."""
    meta: dict[str, Any]
    """Everything else (strings, small numbers), as JSON holds it."""
    pages: PageChecks | None = None
    """Checks what is read from a shard; None where nothing is left to check."""

    def whole(self, name: str) -> np.ndarray:
        """Return an array, checked.

        Raises:
            DataError: It is damaged.
        """
        array = self.arrays[name]
        if self.pages is not None and self.pages.left:
            start = self.pages.place[name]
            self.pages.check(start, start + array.nbytes)
        return array

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return an array of which the rows from ``start`` to before ``stop`` are checked; the others are not.

        Raises:
            DataError: These rows are damaged.
        """
        array = self.arrays[name]
        if self.pages is not None and self.pages.left and len(array):
            first, row = self.pages.place[name], array.nbytes // len(array)
            self.pages.check(first + row * start, first + row * min(stop, len(array)))
        return array


class PageChecks:
    """Compares pages of a record with their checksums, each at most once."""

    def __init__(self, what: str, content: memoryview, expected: list[int]) -> None:
        self._what, self._content, self._expected = what, content, expected
        self._pending = bytearray(b"\1") * len(expected)
        self.left = len(expected)
        """Pages not checked yet."""
        self.place: dict[str, int] = {}
        """First byte of every array within the record's arrays."""

    def check(self, start: int, stop: int) -> None:
        """Check the pages that hold the bytes from ``start`` to before ``stop``.

        Raises:
            DataError: One is damaged.
        """
        first, last = start // PAGE, -(-stop // PAGE)
        page = self._pending.find(1, first, last)
        while page >= 0:
            actual = zlib.crc32(self._content[page * PAGE : (page + 1) * PAGE])
            if actual != self._expected[page]:
                raise DataError(
                    f"{self._what} is damaged (crc32 of page {page} is {actual:08x}, expected"
                    f" {self._expected[page]:08x}); {REMEDY}"
                )
            self._pending[page] = 0
            self.left -= 1
            page = self._pending.find(1, page + 1, last)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSummary:
    """What a manifest keeps about a written file."""

    bytes: int
    """File size [bytes]."""
    sha256: str
    """Hex digest of the whole file."""


def padded(size: int) -> int:
    """Return ``size`` rounded up to the alignment of arrays and records."""
    return -(-size // _ALIGN) * _ALIGN


def encode_record(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> bytes:
    """Return the bytes of one record.

    Raises:
        DataError: An array has a type that a shard does not hold.
    """
    table: list[list[Any]] = []
    blocks: list[bytes] = []
    position = 0
    for name, array in arrays.items():
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        if little.dtype.str not in _DTYPES:
            raise DataError(f"array '{name}' has type {array.dtype}, a shard holds only {', '.join(_DTYPES)}")
        table.append([name, little.dtype.str, list(array.shape), position])
        block = little.tobytes()
        blocks += [block, bytes(padded(len(block)) - len(block))]
        position += padded(len(block))
    payload = b"".join(blocks)
    with memoryview(payload) as view:
        pages = [zlib.crc32(view[start : start + PAGE]) for start in range(0, len(payload), PAGE)]
    document = {"arrays": table, "pages": pages, "meta": dict(meta)}
    head = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    return struct.pack("<Q", len(head)) + head + bytes(padded(8 + len(head)) - 8 - len(head)) + payload


class ShardWriter:
    """Writes one shard under a temporary name and renames it into place when complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = _ALIGN
        """Bytes written so far."""
        self._temporary = path.with_name(f".{path.name}.partial-{os.getpid()}")
        self._digest = hashlib.sha256()
        self._table: list[list[int]] = []
        self._file: BinaryIO = self._temporary.open("wb")
        self._write(_HEAD.pack(_HEAD_MAGIC, FORMAT_VERSION))

    def __len__(self) -> int:
        return len(self._table)

    def _write(self, block: bytes | memoryview) -> None:
        self._file.write(block)
        self._digest.update(block)

    def add(self, record: bytes | memoryview) -> int:
        """Append an encoded record and return its number."""
        self._write(record)
        (head_size,) = struct.unpack_from("<Q", record)
        self._table.append([self.size, len(record), zlib.crc32(record[: padded(8 + head_size)])])
        self.size += len(record)
        return len(self._table) - 1

    def close(self) -> FileSummary:
        """Write the footer, make the file durable, rename it into place, and return its size and digest."""
        footer = json.dumps({"records": self._table}, separators=(",", ":")).encode("ascii")
        self._write(footer)
        self._write(_TAIL.pack(self.size, len(footer), zlib.crc32(footer), FORMAT_VERSION, _FOOT_MAGIC))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self.path)
        return FileSummary(bytes=self.size + len(footer) + _TAIL.size, sha256=self._digest.hexdigest())

    def abort(self) -> None:
        """Remove what was written so far."""
        with contextlib.suppress(OSError):  # on a full disk the rest cannot be written
            self._file.close()
        self._temporary.unlink(missing_ok=True)


class ShardReader:
    """A memory-mapped shard; records are decoded when asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map = _map_file(path)
        self._table = _read_table(path, self._map)

    def __len__(self) -> int:
        return len(self._table)

    def check(self, number: int) -> None:
        """Compare a whole record with its checksums.

        Raises:
            DataError: The record is damaged.
        """
        self.read(number)

    def block(self, number: int) -> memoryview:
        """Return one record as it is encoded, a view of the file; raises DataError like :meth:`read`."""
        if not 0 <= number < len(self._table):
            raise DataError(f"{self.path}: has {len(self._table)} records, asked for number {number}; {REMEDY}")
        self.check(number)
        offset, length, _ = self._table[number]
        return memoryview(self._map)[offset : offset + length]

    def read(self, number: int, *, lazily: bool = False) -> Record:
        """Return one record; its arrays are read-only views of the file.

        Args:
            number: Which one.
            lazily: Check the head only; what is then read by :meth:`Record.whole` and :meth:`Record.rows` is checked
                there.

        Raises:
            DataError: There is no such record, or it is damaged.
        """
        if not 0 <= number < len(self._table):
            raise DataError(f"{self.path}: has {len(self._table)} records, asked for number {number}; {REMEDY}")
        offset, length, _ = self._table[number]
        head_size, header = self._head(number)
        start, end = offset + padded(8 + head_size), offset + length
        what = f"{self.path}: record {number}"
        if len(header["pages"]) != -(-(end - start) // PAGE):
            raise DataError(f"{what} has {end - start} bytes and {len(header['pages'])} checksums; {REMEDY}")
        pages = PageChecks(what, memoryview(self._map)[start:end], header["pages"])
        arrays = {}
        for name, code, shape, position in header["arrays"]:
            dtype, place = _DTYPES.get(code), start + position
            if dtype is None or place + math.prod(shape) * dtype.itemsize > end:
                raise DataError(f"{self.path}: array '{name}' of record {number} leaves its record; {REMEDY}")
            arrays[name] = np.ndarray(shape, dtype, buffer=self._map, offset=place)
            pages.place[name] = position
        if not lazily:
            pages.check(0, end - start)
        return Record(arrays=arrays, meta=header["meta"], pages=pages if lazily else None)

    def _head(self, number: int) -> tuple[int, dict[str, Any]]:
        """Return size and content of a record's head, checked."""
        offset, length, expected = self._table[number]
        (head_size,) = struct.unpack_from("<Q", self._map, offset)
        head = self._map[offset : offset + padded(8 + head_size)] if head_size < length else b""
        if (actual := zlib.crc32(head)) != expected:
            raise DataError(
                f"{self.path}: record {number} is damaged (crc32 of its head is {actual:08x}, expected"
                f" {expected:08x}); {REMEDY}"
            )
        return head_size, json.loads(head[8 : 8 + head_size])


def _map_file(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _ALIGN + _TAIL.size:
                raise DataError(f"{path}: has {size} bytes, a shard has at least {_ALIGN + _TAIL.size}; {REMEDY}")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from error


def _read_table(path: Path, content: mmap.mmap) -> list[list[int]]:
    magic, version = _HEAD.unpack_from(content, 0)
    if magic != _HEAD_MAGIC:
        raise DataError(f"{path}: is not a shard (starts with {magic!r}, expected {_HEAD_MAGIC!r}); {REMEDY}")
    if version != FORMAT_VERSION:
        raise DataError(f"{path}: has shard version {version}, this program reads {FORMAT_VERSION}; {REMEDY}")
    offset, length, crc, tail_version, foot_magic = _TAIL.unpack_from(content, len(content) - _TAIL.size)
    if foot_magic != _FOOT_MAGIC or tail_version != version:
        raise DataError(f"{path}: is truncated (ends with {foot_magic!r}, expected {_FOOT_MAGIC!r}); {REMEDY}")
    if offset + length + _TAIL.size != len(content):
        raise DataError(f"{path}: has {len(content)} bytes, its footer says {offset + length + _TAIL.size}; {REMEDY}")
    footer = content[offset : offset + length]
    if zlib.crc32(footer) != crc:
        raise DataError(
            f"{path}: its record table is damaged (crc32 {zlib.crc32(footer):08x}, expected {crc:08x}); {REMEDY}"
        )
    return json.loads(footer)["records"]
