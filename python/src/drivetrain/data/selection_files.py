"""Reading files that list scenarios and splits: tokens, and scenario filters and log splits of nuplan-devkit."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from pathlib import Path
from typing import Any

from drivetrain.data.scenario_types import match_types
from drivetrain.data.selection import Selection
from drivetrain.data.store_files import SPLITS
from drivetrain.errors import DataError, UsageError, nearest

_NULL = {"", "~", "null", "Null", "NULL"}
_IGNORED_KEYS = {"_target_", "_convert_", "shuffle"}
"""``shuffle`` orders scenarios and, with limits, draws them; here the limits take evenly spread ones."""
_KEYS = {
    "scenario_types",
    "scenario_tokens",
    "log_names",
    "map_names",
    "num_scenarios_per_type",
    "limit_total_scenarios",
    "timestamp_threshold_s",
    "expand_scenarios",
    "remove_invalid_goals",
}


def read_token_file(path: Path) -> Selection:
    """Return what a token list or a scenario filter asks for.

    A file ``*.yaml`` or ``*.yml`` is a scenario filter of nuplan-devkit; any other holds one token per line, where
    empty lines and what follows a ``#`` do not count.

    Raises:
        DataError: The file cannot be read.
        UsageError: It holds something else, or a key that cannot be honoured.
    """
    if path.suffix in (".yaml", ".yml"):
        return _filter(path, _mapping(path))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read ({_reason(error)}); give a text file with one token per line"
        ) from error
    words = [(number, line.split("#")[0].strip()) for number, line in enumerate(lines, start=1)]
    tokens = [_token(path, f"line {number}", word) for number, word in words if word]
    if not tokens:
        raise UsageError(f"{path}: holds no token; write one token of 16 hexadecimal characters per line")
    return Selection(tokens=tuple(dict.fromkeys(tokens)))


def read_splits_file(path: Path) -> dict[str, str]:
    """Return the split of every log that a ``log_splits`` file of nuplan-devkit names.

    Raises:
        DataError: The file cannot be read.
        UsageError: It does not hold lists of log names for train, val and test, or names a log twice.
    """
    document = _mapping(path)
    splits = document.get("log_splits", document)
    if not isinstance(splits, dict) or not set(SPLITS) & set(splits):
        raise UsageError(f"{path}: has no 'log_splits' with lists 'train', 'val', 'test'; give nuplan-devkit's file")
    found: dict[str, str] = {}
    for split in SPLITS:
        for name in _strings(path, f"log_splits.{split}", splits.get(split)) or ():
            if found.setdefault(name, split) != split:
                raise UsageError(f"{path}: log '{name}' is in '{found[name]}' and in '{split}'; a log has one split")
    return found


def _filter(path: Path, document: dict[str, Any]) -> Selection:
    for key, value in document.items():
        if key not in _KEYS | _IGNORED_KEYS and not _is_null(value):
            hint = nearest(key, _KEYS) or f"; known are {', '.join(sorted(_KEYS))}"
            raise UsageError(f"{path}: '{key}: {value}' cannot be honoured, set it to null{hint}")
    if _flag(path, document, "expand_scenarios"):
        raise UsageError(
            f"{path}: 'expand_scenarios: true' cannot be honoured (scenarios of one frame); set it to false"
        )
    types = _strings(path, "scenario_types", document.get("scenario_types"))
    tokens = _strings(path, "scenario_tokens", document.get("scenario_tokens"))
    return Selection(
        scenario_types=None if types is None else match_types(types),
        tokens=None if tokens is None else tuple(dict.fromkeys(_token(path, "scenario_tokens", t) for t in tokens)),
        logs=_strings(path, "log_names", document.get("log_names")),
        maps=_strings(path, "map_names", document.get("map_names")),
        limit_per_type=_number(path, document, "num_scenarios_per_type", whole=True),  # pyright: ignore[reportArgumentType]
        limit_total=_number(path, document, "limit_total_scenarios"),
        min_start_spacing_s=_number(path, document, "timestamp_threshold_s", zero=True),
        remove_invalid_goals=_flag(path, document, "remove_invalid_goals"),
        tag_spacing_s=0.0,
    )


def combine(first: Selection, second: Selection) -> Selection:
    """Return what both ask for together.

    Raises:
        UsageError: They ask for different things of one kind.
    """
    default = Selection()
    merged: dict[str, Any] = {}
    for field in dataclasses.fields(Selection):
        a, b, nothing = getattr(first, field.name), getattr(second, field.name), getattr(default, field.name)
        if a != nothing and b != nothing and a != b and field.name != "tag_spacing_s":
            raise UsageError(
                f"'{field.name.replace('_', ' ')}' is given on the command line and in the file; give it once"
            )
        merged[field.name] = a if a != nothing else b
    return Selection(**merged)


def _mapping(path: Path) -> dict[str, Any]:
    import yaml  # trainings read no filters

    try:
        # The base loader leaves every scalar a text: tokens such as 1e10 and 0123 stay what they are.
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as YAML ({_reason(error)}); mend the file or give another") from error
    if not isinstance(document, dict):
        raise UsageError(
            f"{path}: holds no mapping of keys; give a YAML file of nuplan-devkit, or a plain list as .txt"
        )
    return document


def _strings(path: Path, key: str, value: object) -> tuple[str, ...] | None:
    if _is_null(value):
        return None
    if not isinstance(value, list):
        raise UsageError(f"{path}: '{key}' is not a list; write one entry per line, each after '- '")
    # A scenario may be written as [log name, token]: its token identifies it.
    entries: dict[str, None] = {}
    for entry in value:
        text = entry[-1] if isinstance(entry, list) and entry else entry
        if not isinstance(text, str):
            raise UsageError(f"{path}: '{key}' holds {str(text)[:60]}, expected texts")
        entries[text] = None
    return tuple(entries)


def _token(path: Path, where: str, text: str) -> int:
    if not re.fullmatch(r"[0-9a-fA-F]{16}", text):
        raise UsageError(f"{path}: {where} holds '{text[:40]}', a token has 16 hexadecimal characters")
    return int(text, 16)


def _number(
    path: Path, document: dict[str, Any], key: str, *, whole: bool = False, zero: bool = False
) -> int | float | None:
    text = document.get(key)
    if _is_null(text):
        return None
    value: int | float = math.nan
    for kind in (int,) if whole else (int, float):
        with contextlib.suppress(ValueError):
            value = kind(str(text))
            break
    if not (0 < value < math.inf or (zero and value == 0)):
        bound = "of 0 or more" if zero else "above 0"
        raise UsageError(f"{path}: '{key}' is '{text}', expected a{' whole' if whole else ''} number {bound} or null")
    return value


def _flag(path: Path, document: dict[str, Any], key: str) -> bool:
    text = document.get(key)
    if _is_null(text):
        return False
    if str(text).lower() not in ("true", "false"):
        raise UsageError(f"{path}: '{key}' is '{text}', expected true or false")
    return str(text).lower() == "true"


def _is_null(value: object) -> bool:
    return value is None or (isinstance(value, str) and value in _NULL)


def _reason(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
