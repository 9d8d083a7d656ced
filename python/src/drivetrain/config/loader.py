"""Load a config: YAML and flags, checked against frozen dataclasses, every error with its place, all in one pass.

bad.yaml:9:3: environment.num_world: unknown key; did you mean 'num_worlds'?
--set algorithm.epoch=3: algorithm.epoch: unknown key; did you mean 'epochs'?
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from drivetrain.config.plain_reading import Mismatch, read_plain
from drivetrain.config.yaml_source import NOT_READ, KeyPath, Place, YamlDocument, dump_yaml, parse_scalar, parse_yaml
from drivetrain.errors import ConfigError, nearest

if TYPE_CHECKING:
    import pydantic

T = TypeVar("T")


class _ByName:
    """To pydantic, which is loaded only where a config is read, a discriminator."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        import pydantic

        return pydantic.Discriminator("name").__get_pydantic_core_schema__(source, handler)


BY_NAME = _ByName()
"""Marks a union of config classes that the key ``name`` chooses from: ``Annotated[PPOConfig | BCConfig, BY_NAME]``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Override:
    """A value that a flag puts over the file's."""

    path: tuple[str, ...]
    """Keys from the top."""
    value: Any
    """Plain value."""
    flag: str
    """The flag as typed; errors name it."""


def parse_override(text: str) -> Override:
    """Return the override of ``--set KEY=VALUE``; KEY is dotted, VALUE is read like a value in the file.

    Raises:
        ConfigError: There is no ``=``, a part of the key is empty, or the value is not valid YAML.
    """
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise ConfigError(f"--set {text}: write KEY=VALUE, for example --set algorithm.learning_rate=1e-4")
    try:
        return Override(path=path, value=parse_scalar(value), flag=f"--set {text}")
    except ValueError as error:
        raise ConfigError(f"--set {text}: {error}") from error


def load_config(path: Path, kind: type[T], *, overrides: Sequence[Override] = ()) -> T:
    """Return the config in a file, with flags put over it before anything is checked.

    Args:
        path: YAML file.
        kind: The dataclass it must describe.
        overrides: Applied in order; a later one wins.

    Raises:
        ConfigError: One line per problem, each with file, line and column (or the flag), key and remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(_unreadable(path, error)) from error
    document = parse_yaml(text)
    if document.value is NOT_READ:
        ((place, message),) = document.problems
        raise ConfigError(f"{place.prefix(str(path))}: {message}")
    if not isinstance(document.value, dict):
        document.problems.append((Place(line=1, column=1), "a config is a mapping of keys to values"))
        document.value = {}
    for override in overrides:
        _apply(override, document)
    errors = [(place, message) for place, message in document.problems]
    config, invalid = _validate(document, kind)
    errors += invalid
    if errors or config is None:
        errors.sort(key=lambda problem: (problem[0].flag != "", problem[0].line, problem[0].column))
        raise ConfigError("\n".join(f"{place.prefix(str(path))}: {message}" for place, message in errors))
    return config


def from_plain(kind: type[T], mapping: Mapping[str, Any]) -> T:
    """Return the config that :func:`plain` made ``mapping`` of.

    Raises:
        ConfigError: It does not describe a ``kind``.
    """
    config, errors = _validate(YamlDocument(value=dict(mapping)), kind)
    if config is None:
        raise ConfigError("; ".join(message for _, message in errors))
    return config


def plain(config: Any) -> Any:
    """Return a config as plain dicts, lists and scalars."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(key): plain(value) for key, value in config.items()}
    if isinstance(config, tuple | list):
        return [plain(item) for item in config]
    return str(config) if isinstance(config, Path) else config


def dump_config(config: Any) -> str:
    """Return the config with every default spelled out, as YAML that reads back to an equal config."""
    return dump_yaml(plain(config))


def config_hash(config: Any, *, without: Iterable[str] = ()) -> str:
    """Return 16 hex characters that change with any value of the config.

    Args:
        config: A config, or what :func:`plain` makes of it.
        without: Dotted keys that do not count.
    """
    mapping = plain(config)
    for dotted in without:
        *parents, last = dotted.split(".")
        inner = mapping
        for part in parents:
            inner = inner.get(part, {})
        inner.pop(last, None)
    text = json.dumps(mapping, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def json_schema(kind: type) -> dict[str, Any]:
    """Return the JSON schema of a config class, for completion in editors."""
    schema = _adapter(kind).json_schema()
    definitions = schema.get("$defs", {})
    return {**schema["additionalProperties"], "$defs": definitions}


@functools.lru_cache(maxsize=8)
def _adapter(kind: type) -> pydantic.TypeAdapter[Any]:
    import pydantic

    # Stand-alone dataclasses take no pydantic settings, but inherit them from a container: hence a dict of one entry.
    container: Any = types.GenericAlias(dict, (str, kind))
    return pydantic.TypeAdapter(container, config=pydantic.ConfigDict(extra="forbid", allow_inf_nan=False))


def _validate(document: YamlDocument, kind: type[T]) -> tuple[T | None, list[tuple[Place, str]]]:
    try:
        import pydantic
    except ImportError:
        return _validate_alone(document, kind)
    adapter = _adapter(kind)
    try:
        # By way of JSON, strict mode still reads a list as a tuple, and nothing else is converted.
        return adapter.validate_json(json.dumps({"": document.value}), strict=True)[""], []
    except pydantic.ValidationError as error:
        problems: dict[KeyPath, tuple[Place, list[str]]] = {}
        for detail in error.errors(include_url=False):
            path, place, message = _explain(detail, document, kind)
            problems.setdefault(path, (place, []))[1].append(message)
        return None, [(place, _one_line(path, messages)) for path, (place, messages) in problems.items()]


def _validate_alone(document: YamlDocument, kind: type[T]) -> tuple[T | None, list[tuple[Place, str]]]:
    """Return what :func:`_validate` returns where pydantic is not installed; it tells the first problem only."""
    try:
        return read_plain(document.value, kind), []
    except Mismatch as error:
        of_key = error.unknown
        if of_key:
            names = _field_names(kind, error.path[:-1], document.value)
            text = f"unknown key{nearest(str(error.path[-1]), names) or '; known keys: ' + ', '.join(names)}"
        else:
            text = str(error)
        path, place = error.path, _place(error.path, document, of_key=of_key)
        if error.is_own:
            path, place, text = _explain_own(path, text, document, error.value)
        return None, [(place, _one_line(path, [text]))]


def _one_line(path: KeyPath, messages: list[str]) -> str:
    """Return the message for a key; the members of a union each say what they expected of the same value."""
    alternatives = [message.partition(", got ") for message in dict.fromkeys(messages)]
    wanted = " or ".join(dict.fromkeys(before for before, _, _ in alternatives)).replace(" or expected ", " or ")
    text = wanted + alternatives[0][1] + alternatives[0][2]
    name = ".".join(map(str, path))
    return f"{name}: {text}" if name else text


def _explain(detail: Any, document: YamlDocument, kind: type) -> tuple[KeyPath, Place, str]:
    """Return key path, place and message of one pydantic error."""
    path, value = _strip_tags(detail["loc"][1:], document.value)
    context = detail.get("ctx", {})
    match detail["type"]:
        case "unexpected_keyword_argument":
            names = _field_names(kind, path[:-1], document.value)
            hint = nearest(str(path[-1]), names) or f"; known keys: {', '.join(names)}"
            return path, _place(path, document, of_key=True), f"unknown key{hint}"
        case "missing":
            path = (*path, detail["loc"][-1]) if path[-1:] != detail["loc"][-1:] else path
            return path, _place(path[:-1], document, of_key=True), "this key is missing"
        case "union_tag_invalid":
            tags = re.findall(r"'([^']*)'", context["expected_tags"])
            hint = nearest(str(context["tag"]), tags)
            message = f"'{context['tag']}' is unknown{hint or ';'} choose from {', '.join(tags)}"
            return (*path, "name"), _place((*path, "name"), document, of_key=False), message
        case "union_tag_not_found":
            return (*path, "name"), _place(path, document, of_key=True), "this key is missing; it chooses the kind"
        case "value_error":
            return _explain_own(path, str(context["error"]), document, value)
        case "dict_type" | "dataclass_type":
            message = f"expected a mapping of keys to values, got {_shown(value)}"
            return path, _place(path, document, of_key=False), message
    wanted = re.sub(r"^Input should be (a |an )?(valid )?", "", detail["msg"])
    return path, _place(path, document, of_key=False), f"expected {wanted}, got {_shown(value)}"


def _explain_own(path: KeyPath, text: str, document: YamlDocument, value: Any) -> tuple[KeyPath, Place, str]:
    """Place the message of a config class's own check at the key that it begins with, if it names one."""
    name, colon, rest = text.partition(":")
    key = name.rsplit(".", 1)[-1].strip()
    if colon and isinstance(value, dict) and key in value:
        return (*path, key), _place((*path, key), document, of_key=False), rest.strip()
    return path, _place(path, document, of_key=True), text


def _strip_tags(location: Sequence[str | int], value: Any) -> tuple[KeyPath, Any]:
    """Return the part of a location that names keys, and the value there; a union adds its member's tag to it."""
    path: KeyPath = ()
    for index, part in enumerate(location):
        if isinstance(value, dict) and part in value:
            path, value = (*path, part), value[str(part)]
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            path, value = (*path, part), value[part]
        elif isinstance(value, dict) and part != value.get("name") and index == len(location) - 1:
            return (*path, part), None
    return path, value


def _place(path: KeyPath, document: YamlDocument, *, of_key: bool) -> Place:
    """Return the place of a key or value, or of the nearest mapping around it that has one."""
    for length in range(len(path), -1, -1):
        here = path[:length]
        places = (document.keys, document.values) if of_key or length < len(path) else (document.values, document.keys)
        for known in places:
            if here in known:
                return known[here]
    return Place(line=1, column=1)


def _field_names(kind: Any, path: KeyPath, value: Any) -> list[str]:
    """Return the keys that a config may have at ``path``."""
    for part in (*path, None):
        if typing.get_origin(kind) is tuple and str(part).isdigit():  # an entry of a list
            kind = typing.get_args(kind)[0]
            value = value[int(str(part))] if isinstance(value, list | tuple) else None
            continue
        if typing.get_origin(kind) is dict and part is not None:  # whose keys the file chooses
            kind = typing.get_args(kind)[1]
            value = value.get(part) if isinstance(value, dict) else None
            continue
        members = (
            [kind] if dataclasses.is_dataclass(kind) else [m for m in _members(kind) if dataclasses.is_dataclass(m)]
        )
        tag = value.get("name") if isinstance(value, dict) else None
        chosen = [m for m in members if tag in typing.get_args(typing.get_type_hints(m).get("name"))] or members
        if not chosen:
            return []
        if part is None:
            return [f.name for f in dataclasses.fields(chosen[0])]
        kind = typing.get_type_hints(chosen[0]).get(str(part))
        value = value.get(part) if isinstance(value, dict) else None
    return []


def _members(kind: Any) -> tuple[Any, ...]:
    origin = typing.get_origin(kind)
    return typing.get_args(kind) if origin in (typing.Union, types.UnionType) else (kind,)


def _apply(override: Override, document: YamlDocument) -> None:
    inner = document.value
    place = Place(flag=override.flag)
    for depth, part in enumerate(override.path[:-1], start=1):
        if not isinstance(inner.get(part), dict):
            inner[part] = {}
            document.keys[override.path[:depth]] = document.values[override.path[:depth]] = place
        inner = inner[part]
    inner[override.path[-1]] = override.value
    for known in (document.keys, document.values):
        for old in [p for p in known if p[: len(override.path)] == override.path]:
            del known[old]
        known[override.path] = place


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"{path}: not a UTF-8 text file; give a YAML config"
    if path.is_dir():
        return f"{path}: is a folder; give a YAML config in it"
    siblings = [p.name for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
    hint = nearest(path.name, siblings) or (f"; there are {', '.join(sorted(siblings))}" if siblings else "")
    return f"{path}: cannot read the config ({getattr(error, 'strerror', error)}){hint}"
