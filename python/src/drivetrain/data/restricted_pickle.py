"""Pickled plain data without the danger: numbers, text, containers and NumPy arrays; nothing in a file is ever called.

This is the only place where pickles are read, because ScenarioNet publishes its scenes that way. A pickle is a program
that asks for functions by name and calls them. Here the names of the table below are answered by stand-ins that build
arrays and containers from checked arguments; every other name, ``os.system`` as well as ``builtins.getattr``, ends the
reading. Objects cannot be made, given attributes or changed; nothing but lists, dictionaries and sets can be filled,
and what these hash is no deeper than a tuple of plain values. The readers of CPython's own interpreter in Python are
used rather than those in C, whose memo can be made to take tens of gigabytes by a file of ten bytes.

Source for the names NumPy and Python write: numpy ``_core/multiarray.py``, ``ndarray.__reduce__`` and
``__reduce_ex__(5)``; Python ``copyreg``, ``pickle``, ``_compat_pickle``.
"""

from __future__ import annotations

import io
import math
import pickle  # noqa: TID251 - see above
import re
import struct
from collections.abc import Callable, Iterable, Sized
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from drivetrain.errors import DataError

MAX_FILE_BYTES = 512 << 20
"""Files larger than this are refused; scenes of 20 s have a few megabytes."""
_PLAIN_DTYPE = re.compile(r"b1|[iu][1248]|f[248]|[SU][1-9]\d{0,5}")
_MAX_DIMENSIONS = 4
_COPIES = 4
"""What a file holds may be copied this often: old protocols write the bytes of an array as text first."""


class RefusedError(Exception):
    """A pickle asks for something that plain data do not need."""


def load_plain(path: Path) -> Any:
    """Return the content of a pickle of plain data.

    Raises:
        DataError: The file cannot be read, is damaged, too large, or asks for anything but plain data; nothing of it
            was run.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise DataError(f"{path}: has {size >> 20} MiB, a scene may have {MAX_FILE_BYTES >> 20}; leave it out")
        return _PlainUnpickler(path.read_bytes()).load()
    except RefusedError as error:
        raise DataError(
            f"{path}: asks for {error}, which plain data do not need; nothing was run, leave it out"
        ) from error
    except DataError:
        raise
    except Exception as error:  # a damaged pickle raises anything
        reason = (str(error).splitlines() or [""])[0][:100] or type(error).__name__
        raise DataError(f"{path}: is not a readable pickle ({reason}); download or make it again") from error


class _Sealed:
    """What a name of the table stands for: can be called with checked arguments, and nothing else."""

    __slots__ = ("_make", "name")

    def __init__(self, name: str, make: Callable[..., Any]) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "_make", make)

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise RefusedError(f"a change of {self.name}")

    def __setstate__(self, state: object) -> NoReturn:
        raise RefusedError(f"a change of {self.name}")


class _Dtype:
    """A data type as a pickle spells it: first its kind and size, then its byte order."""

    __slots__ = ("code", "dtype")

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not _PLAIN_DTYPE.fullmatch(code):
            raise RefusedError(f"a NumPy array of type {_short(code)}")
        self.code = code
        self.dtype = np.dtype(code)

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise RefusedError(f"a NumPy type with the state {_short(state)}")
        self.dtype = np.dtype(self.code).newbyteorder("=" if order == "|" else order)


class _Array(np.ndarray):
    """An array that a pickle fills."""

    def __setstate__(self, state: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not isinstance(state, tuple) or len(state) != 5:
            raise RefusedError(f"a NumPy array with the state {_short(state)}")
        _, shape, dtype, in_columns, data = state
        sizes, plain = _checked(shape, dtype, data)
        filled: Any = (1, sizes, plain, bool(in_columns), bytes(data))
        super().__setstate__(filled)


def _checked(shape: object, dtype: object, data: object) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type of an array whose data are exactly as long as they say."""
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
        raise RefusedError(f"a NumPy array of {_short(data)}")
    listed = shape if isinstance(shape, tuple) else (shape,)
    sizes = tuple(n for n in listed if type(n) is int and n >= 0)
    if len(sizes) < len(listed) or len(sizes) > _MAX_DIMENSIONS:
        raise RefusedError(f"a NumPy array of shape {_short(shape)}")
    if math.prod(sizes) * dtype.dtype.itemsize != len(data):
        raise RefusedError(f"a NumPy array of shape {sizes} from {len(data)} bytes")
    return sizes, dtype.dtype


def _reconstruct(kind: object, *_: object) -> np.ndarray:
    if kind is not _NDARRAY:
        raise RefusedError("an array of another class than numpy.ndarray")
    return _Array.__new__(_Array, (0,), np.uint8)


def _from_buffer(data: Any, dtype: object, shape: object, order: object, *_: object) -> np.ndarray:
    sizes, plain = _checked(shape, dtype, data)
    return np.frombuffer(bytes(data), dtype=plain).reshape(sizes, order="F" if order == "F" else "C")


def _scalar(dtype: object, data: Any = b"") -> Any:
    plain = _checked((), dtype, data)[1]
    return np.frombuffer(bytes(data), dtype=plain)[0].item()


def _encode(text: object, encoding: object = "") -> bytes:
    """Return what older protocols write for bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedError(f"bytes from {_short(text)}")
    return text.encode("latin1")


def _bytes(*arguments: object) -> bytes:
    if not arguments:
        return b""
    if isinstance(arguments[0], bytes):
        return arguments[0]
    return _encode(*arguments[:2])


def _dict(*arguments: object) -> dict[Any, Any]:
    """Return an ordered or a default dictionary as a plain one: the factory of the latter is not needed."""
    pairs = arguments[-1] if arguments else ()
    if isinstance(pairs, _Sealed) or pairs is None:
        return {}
    if not isinstance(pairs, list | tuple | dict):
        raise RefusedError(f"a dictionary of {_short(pairs)}")
    return dict(pairs)


def _items(make: Callable[..., Any]) -> Callable[..., Any]:
    def build(items: object = ()) -> Any:
        if not isinstance(items, list | tuple | set):
            raise RefusedError(f"a {make.__name__} of {_short(items)}")
        return make(items)

    return build


def _never(*_: object) -> NoReturn:
    raise RefusedError("a call of a type")


_NDARRAY = _Sealed("numpy.ndarray", _never)
_NAMES: dict[tuple[str, str], _Sealed] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Sealed("numpy.dtype", _Dtype),
    ("_codecs", "encode"): _Sealed("_codecs.encode", _encode),
    ("collections", "OrderedDict"): _Sealed("collections.OrderedDict", _dict),
    ("collections", "defaultdict"): _Sealed("collections.defaultdict", _dict),
}
for _core in ("numpy.core", "numpy._core"):  # NumPy 1 and 2
    _NAMES[f"{_core}.multiarray", "_reconstruct"] = _Sealed("_reconstruct", _reconstruct)
    _NAMES[f"{_core}.multiarray", "scalar"] = _Sealed("scalar", _scalar)
    _NAMES[f"{_core}.numeric", "_frombuffer"] = _Sealed("_frombuffer", _from_buffer)
for _module in ("builtins", "__builtin__"):  # Python 3 and 2
    for _name, _make in {
        "set": _items(set),
        "frozenset": _items(frozenset),
        "list": _items(list),
        "tuple": _items(tuple),
        "bytes": _bytes,
        "bytearray": _bytes,
        "dict": _dict,
        **dict.fromkeys(
            ("int", "long", "float", "str", "unicode", "bool"), _never
        ),  # factories of default dictionaries
    }.items():
        _NAMES[_module, _name] = _Sealed(f"builtins.{_name}", _make)


_PythonUnpickler: Any = pickle._Unpickler  # pyright: ignore[reportAttributeAccessIssue]


class _PlainUnpickler(_PythonUnpickler):
    """Reads a pickle with the names of the table only, and takes no more memory than its content accounts for."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self._may_copy = _COPIES * len(content) + 4096

    def find_class(self, module: str, name: str) -> _Sealed:
        found = _NAMES.get((module, name))
        if found is None:
            raise RefusedError(f"'{module[:80]}.{name[:80]}'".replace("\n", " "))
        return found

    def get_extension(self, code: int) -> NoReturn:
        raise RefusedError(f"registered object {code}")

    def persistent_load(self, pid: object) -> NoReturn:
        raise RefusedError("an object outside of the file")

    def _spend(self, amount: int) -> None:
        """Account for what an instruction copies: one piece of a file can be named, and copied, any number of times."""
        self._may_copy -= amount
        if self._may_copy < 0:
            raise RefusedError("copies without end of what it holds")

    def _copy(self, parts: object) -> None:
        for part in parts if isinstance(parts, tuple) else ():
            if isinstance(part, Sized):
                self._spend(len(part))

    def _check_keys(self, keys: Iterable[object]) -> None:
        """Refuse keys that hold others inside others: a hash visits all of it, which a few bytes can make endless."""
        for key in keys:
            if isinstance(key, int):
                self._spend(key.bit_length() >> 6)
            elif isinstance(key, tuple | frozenset):
                self._spend(len(key))
                for part in key:
                    if isinstance(part, tuple | frozenset):
                        raise RefusedError("a key of nested tuples")
                    if isinstance(part, int):
                        self._spend(part.bit_length() >> 6)

    def _instantiate(self, klass: object, args: object) -> NoReturn:
        raise RefusedError("an object in the manner of Python 1")

    def load_reduce(self) -> None:
        arguments = self.stack[-1]
        if not isinstance(arguments, tuple):
            raise RefusedError(f"a call with {_short(arguments)}")
        self._copy(arguments)
        self._check_keys(_hashed(self.stack[-2], arguments))
        super().load_reduce()

    def load_build(self) -> None:
        self._copy(self.stack[-1])
        super().load_build()

    def load_setitem(self) -> None:
        self._expect(self.stack[-3], dict)
        self._check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        self._expect(self.metastack[-1][-1], dict)
        self._check_keys(self.stack[::2])
        super().load_setitems()

    def load_dict(self) -> None:
        self._check_keys(self.stack[::2])
        super().load_dict()

    def load_append(self) -> None:
        self._expect(self.stack[-2], list)
        super().load_append()

    def load_appends(self) -> None:
        self._expect(self.metastack[-1][-1], list)
        super().load_appends()

    def load_additems(self) -> None:
        self._expect(self.metastack[-1][-1], set)
        self._check_keys(self.stack)
        super().load_additems()

    def load_frozenset(self) -> None:
        self._check_keys(self.stack)
        super().load_frozenset()

    def _expect(self, filled: object, kind: type) -> None:
        """Let nothing but a container be filled: an array would take a key of lists inside lists for numbers."""
        if not isinstance(filled, kind):
            raise pickle.UnpicklingError(f"{_short(filled)} is filled like a {kind.__name__}")

    def load_bytearray8(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))
        content = self.read(min(length, MAX_FILE_BYTES))
        if len(content) != length:
            raise EOFError
        self.append(bytearray(content))  # Python's own makes room for what the file says before it looks

    dispatch = _PythonUnpickler.dispatch | {
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends,
        pickle.ADDITEMS[0]: load_additems,
        pickle.FROZENSET[0]: load_frozenset,
        pickle.BYTEARRAY8[0]: load_bytearray8,
    }


def _hashed(function: object, arguments: tuple[Any, ...]) -> list[object]:
    """Return what a call hashes: the items of a set, the first of each pair of a dictionary."""
    items = arguments[-1] if arguments else ()
    if not isinstance(function, _Sealed) or not isinstance(items, list | tuple):
        return []
    if function.name in ("builtins.set", "builtins.frozenset"):
        return list(items)
    return [pair[0] for pair in items if isinstance(pair, list | tuple) and pair]


def _short(value: object) -> str:
    """Return a value in a few characters; nothing nested is ever written out."""
    if value is None or isinstance(value, bool | int | float):
        return repr(value)[:40]
    return repr(value[:40]) if isinstance(value, str) else f"a {type(value).__name__}"
