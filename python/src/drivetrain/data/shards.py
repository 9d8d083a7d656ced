"""One container format for records of named arrays: the ``.dts`` shard.

Layout of a file (everything little-endian)::

    64 bytes   magic ``DTSHARD1``, format version (uint32), zeros
    record     JSON header (its length in the first 8 bytes), then the arrays, each aligned to 64 bytes
    ...        further records, each aligned to 64 bytes
    footer     JSON table: offset, length and crc32 of every record
    32 bytes   footer offset, footer length (uint64), footer crc32, format version (uint32), magic ``DTSFOOT1``

A shard is written once, from front to back, and then only memory-mapped. Strings live in the JSON headers; nothing is
ever pickled. The crc32 of a record is checked when the record is first read, so damage is named instead of simulated.
"""

from __future__ import annotations

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

FORMAT_VERSION = 1
_HEAD_MAGIC = b"DTSHARD1"
_FOOT_MAGIC = b"DTSFOOT1"
_HEAD = struct.Struct("<8sI52x")
_TAIL = struct.Struct("<QQII8s")
_ALIGN = 64
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
    header = json.dumps({"arrays": table, "meta": dict(meta)}, separators=(",", ":"), ensure_ascii=False)
    head = header.encode("utf-8")
    start = padded(8 + len(head))
    return struct.pack("<Q", len(head)) + head + bytes(start - 8 - len(head)) + b"".join(blocks)


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
        self._table.append([self.size, len(record), zlib.crc32(record)])
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
        self._file.close()
        self._temporary.unlink(missing_ok=True)


class ShardReader:
    """A memory-mapped shard; records are decoded when asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map = _map_file(path)
        self._table = _read_table(path, self._map)
        self._checked = np.zeros(len(self._table), dtype=np.bool_)

    def __len__(self) -> int:
        return len(self._table)

    def check(self, number: int) -> None:
        """Compare the crc32 of a record with the table.

        Raises:
            DataError: The record is damaged.
        """
        offset, length, expected = self._table[number]
        with memoryview(self._map) as view, view[offset : offset + length] as block:
            actual = zlib.crc32(block)
        if actual != expected:
            raise DataError(
                f"{self.path}: record {number} is damaged (crc32 {actual:08x}, expected {expected:08x}); {REMEDY}"
            )
        self._checked[number] = True

    def block(self, number: int) -> memoryview:
        """Return one record as it is encoded, a view of the file; raises DataError like :meth:`read`."""
        if not 0 <= number < len(self._table):
            raise DataError(f"{self.path}: has {len(self._table)} records, asked for number {number}; {REMEDY}")
        self.check(number)
        offset, length, _ = self._table[number]
        return memoryview(self._map)[offset : offset + length]

    def read(self, number: int) -> Record:
        """Return one record; its arrays are read-only views of the file.

        Raises:
            DataError: There is no such record, or it is damaged.
        """
        if not 0 <= number < len(self._table):
            raise DataError(f"{self.path}: has {len(self._table)} records, asked for number {number}; {REMEDY}")
        if not self._checked[number]:
            self.check(number)
        offset, length, _ = self._table[number]
        (head_size,) = struct.unpack_from("<Q", self._map, offset)
        header = json.loads(self._map[offset + 8 : offset + 8 + head_size])
        start, end = offset + padded(8 + head_size), offset + length
        arrays = {}
        for name, code, shape, position in header["arrays"]:
            dtype, place = _DTYPES.get(code), start + position
            if dtype is None or place + math.prod(shape) * dtype.itemsize > end:
                raise DataError(f"{self.path}: array '{name}' of record {number} leaves its record; {REMEDY}")
            arrays[name] = np.ndarray(shape, dtype, buffer=self._map, offset=place)
        return Record(arrays=arrays, meta=header["meta"])


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
