"""What a config file may say that is started from outside: known keys, plain words, paths inside the root."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from drivetrain.errors import ConfigError, UsageError
from drivetrain.runs.gate_keys import PATH_KEYS, REFUSED_KEYS
from drivetrain.runs.gate_text import KNOWN_KEYS, check_word, inside, nearest_key, shown

MAX_CONFIG_BYTES = 64 * 1024
MAX_LINE_LENGTH = 300
MAX_OPEN_BRACKETS = 50
"""Deeper nesting would take the YAML reader minutes."""
MAX_PHASES = 8
PHASE_KEYS = frozenset(("name", "config", "set", "epochs", "total_steps", "init_from"))
"""Keys of `drivetrain.runs.pipeline.PhaseConfig`."""


def check_config_content(file: Path, *, where: str, root: Path, is_phase: bool = False) -> None:
    """Refuse a config file with anything in it that the gate keeps out; a phase's config is no pipeline itself.

    Raises:
        ConfigError: One line with the key, or what is wrong with the file.
    """
    from drivetrain.config.yaml_source import NOT_READ, parse_yaml

    try:
        content = file.read_bytes()[: MAX_CONFIG_BYTES + 1]
        if len(content) > MAX_CONFIG_BYTES:
            raise ConfigError(f"{where}: more than {MAX_CONFIG_BYTES // 1024} KiB; a config is a page of settings")
        text = content.decode()
        _refuse_oddities(text, where)
        document = parse_yaml(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: cannot be read as UTF-8 text; give a YAML config") from error
    if document.problems or document.value is NOT_READ:
        place, message = document.problems[0]
        raise ConfigError(f"{place.prefix(where)}: {message}")
    if not isinstance(document.value, dict):
        raise ConfigError(f"{where}: a config is a mapping of keys to values")
    if "pipeline" in document.value and not is_phase:
        _check_phases(document.value, where=where, root=root)
        return
    for key, value in _leaves(document.value):
        _check_leaf(key, value, where=where, root=root)


def _check_phases(block: Mapping[str, Any], *, where: str, root: Path) -> None:
    """Hold every phase of a pipeline to what holds for a config and for changes given beside it."""
    from drivetrain.runs.gate import allowed_changes

    phases = block["pipeline"]
    if set(block) != {"pipeline"} or not isinstance(phases, list) or not 1 <= len(phases) <= MAX_PHASES:
        raise ConfigError(f"{where}: pipeline: a pipeline is a list of 1 to {MAX_PHASES} phases, and nothing beside it")
    for number, phase in enumerate(phases, start=1):
        here = f"{where}: phase {number}"
        if not isinstance(phase, dict) or not isinstance(phase.get("config"), str):
            raise ConfigError(f"{here}: a phase is a mapping with a name and a config")
        wrong = sorted(str(key) for key in set(phase) - PHASE_KEYS)
        if wrong:
            raise ConfigError(f"{here}: {shown(wrong[0])}: no key of a phase; they are {', '.join(sorted(PHASE_KEYS))}")
        changes = phase.get("set") or []
        try:
            allowed_changes([str(change) for change in (changes if isinstance(changes, list) else [changes])])
            file = inside(phase["config"], root, what="config")
        except UsageError as error:
            raise ConfigError(f"{here}: {error}") from error
        check_config_content(file, where=file.relative_to(root.resolve()).as_posix(), root=root, is_phase=True)


def _refuse_oddities(text: str, where: str) -> None:
    """Refuse what can make a small file a large config, or a slow one."""
    import yaml

    longest = max(map(len, text.splitlines()), default=0)
    if longest > MAX_LINE_LENGTH:
        raise ConfigError(f"{where}: a line of {longest} characters; use at most {MAX_LINE_LENGTH}")
    depths = accumulate((letter in "[{") - (letter in "]}") for letter in text)
    if max(depths, default=0) > MAX_OPEN_BRACKETS:
        raise ConfigError(f"{where}: nested too deeply; a config has a few levels")
    try:
        aliased = any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError:
        return  # the parser tells the place
    if aliased:
        raise ConfigError(f"{where}: has YAML aliases (*name); spell the values out")


def _leaves(block: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, Any]]:
    """Yield every dotted key that holds something else than a block."""
    for name, value in block.items():
        key = f"{above}{name}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _check_leaf(key: str, value: Any, *, where: str, root: Path) -> None:
    if key in REFUSED_KEYS:
        raise ConfigError(f"{where}: {key}: {REFUSED_KEYS[key]}")
    if key not in KNOWN_KEYS:
        if value is None and any(known.startswith(f"{key}.") for known in KNOWN_KEYS):
            return
        raise ConfigError(f"{where}: {shown(key)}: this key cannot be used here{nearest_key(key, closed=True)}")
    for entry in value if isinstance(value, list) else [value]:
        if not isinstance(entry, str):
            continue
        kind, colon, checkpoint = entry.partition(":")
        try:
            if key in PATH_KEYS:
                inside(entry, root, what=key)
            elif key == "evaluation.traffic" and colon and kind == "self_play":
                inside(checkpoint, root, what=key)
            else:
                check_word(key, entry)
        except UsageError as error:
            raise ConfigError(f"{where}: {error}") from error
