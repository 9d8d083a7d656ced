"""Plain values to frozen dataclasses by their type hints alone, for machines that have no pydantic.

Accepts what the loader accepts with pydantic: nothing is converted but a list to a tuple and an integer to a float.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from drivetrain.config.yaml_source import KeyPath
from drivetrain.errors import ConfigError

T = TypeVar("T")
_SCALARS = {int: "integer", float: "number", str: "string", bool: "boolean", types.NoneType: "null", Path: "path"}
"""Types of single values, and what messages call them."""


class Mismatch(Exception):  # noqa: N818 - never seen outside the loader, which turns it into a ConfigError
    """A value is not what its place asks for."""

    def __init__(
        self, path: KeyPath, message: str, *, value: Any = None, unknown: bool = False, is_own: bool = False
    ) -> None:
        super().__init__(message)
        self.path, self.value = path, value
        self.unknown = unknown
        """There is no such key."""
        self.is_own = is_own
        """The message is the config class's own."""


def read_plain(value: Any, kind: type[T]) -> T:
    """Return the ``kind`` that plain values describe.

    Raises:
        Mismatch: They do not; the first problem.
    """
    return _read(value, kind, ())


def _read(value: Any, kind: Any, path: KeyPath) -> Any:
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(value, kind, path)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _read_chosen(value, arguments[0], path)
    if origin in (typing.Union, types.UnionType):
        return _read_any_of(value, arguments, path)
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
        raise Mismatch(path, _wanted(" or ".join(repr(choice) for choice in arguments), value))
    if origin is tuple:
        return _read_tuple(value, arguments, path)
    if origin is not None and issubclass(origin, Mapping):
        _require_mapping(value, path)
        return {key: _read(item, arguments[1], (*path, key)) for key, item in value.items()}
    if kind is Any or kind is object or (kind is dict and isinstance(value, dict)):
        return value
    return _read_scalar(value, kind, path)


def _read_dataclass(value: Any, kind: Any, path: KeyPath) -> Any:
    _require_mapping(value, path)
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in value:
        if name not in fields:
            raise Mismatch((*path, name), "unknown key", unknown=True)
    given = {name: _read(item, hints[name], (*path, name)) for name, item in value.items()}
    for name, field in fields.items():
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in given and not has_default:
            raise Mismatch((*path, name), "this key is missing")
    try:
        return kind(**given)
    except ConfigError as error:
        raise Mismatch(path, str(error), value=value, is_own=True) from error


def _read_chosen(value: Any, union: Any, path: KeyPath) -> Any:
    """Return one of several config classes, chosen by the key ``name``."""
    _require_mapping(value, path)
    by_name = {typing.get_args(typing.get_type_hints(m)["name"])[0]: m for m in typing.get_args(union) or (union,)}
    if "name" not in value:
        raise Mismatch((*path, "name"), "this key is missing; it chooses the kind")
    if value["name"] not in by_name:
        raise Mismatch((*path, "name"), f"'{value['name']}' is unknown; choose from {', '.join(by_name)}")
    return _read(value, by_name[value["name"]], path)


def _read_any_of(value: Any, members: tuple[Any, ...], path: KeyPath) -> Any:
    problems: list[Mismatch] = []
    for member in members:
        try:
            return _read(value, member, path)
        except Mismatch as problem:
            problems.append(problem)
    # Where one member went deeper than the others, it is the one that was meant.
    deepest = max(problems, key=lambda problem: len(problem.path))
    if len(deepest.path) > len(path) or deepest.is_own:
        raise deepest
    wanted = dict.fromkeys(str(p).removeprefix("expected ").partition(", got ")[0] for p in problems)
    raise Mismatch(path, _wanted(" or ".join(wanted), value))


def _read_tuple(value: Any, arguments: tuple[Any, ...], path: KeyPath) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise Mismatch(path, _wanted("list", value))
    if arguments[-1:] == (Ellipsis,):
        return tuple(_read(item, arguments[0], (*path, index)) for index, item in enumerate(value))
    if len(value) != len(arguments):
        raise Mismatch(path, _wanted(f"list of {len(arguments)}", value))
    kinds = zip(value, arguments, strict=True)
    return tuple(_read(item, kind, (*path, index)) for index, (item, kind) in enumerate(kinds))


def _read_scalar(value: Any, kind: Any, path: KeyPath) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if kind is not float and type(value) is kind:
        return value
    wanted = "finite number" if kind is float and type(value) is float else _SCALARS.get(kind, str(kind))
    raise Mismatch(path, _wanted(wanted, value))


def _require_mapping(value: Any, path: KeyPath) -> None:
    if not isinstance(value, dict):
        raise Mismatch(path, _wanted("mapping of keys to values", value))


def _wanted(what: str, value: Any) -> str:
    return f"expected {what}, got {value!r}"
