"""The gate: what others than a person at the keyboard may start - tools of a language model, sentences to `ask`.

They may choose a config inside the project and set whitelisted keys (:mod:`drivetrain.runs.gate_keys`) to plain values.
They may name neither executables, hooks, Gymnasium ids that import a module, device strings, nor paths outside the
root. What the config file itself says is held to the same. Everything else about a config is left to the trainer, which
reads it strictly; so nothing heavy is loaded here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from drivetrain.errors import UsageError, nearest
from drivetrain.processes import usable_cores
from drivetrain.run_record import RunPaths, check_run_id, read_run_info
from drivetrain.runs.gate_content import check_config_content
from drivetrain.runs.gate_keys import CLOSED_KEYS, MOST, MOST_ELSE, OPEN_KEYS, PER_CORE_KEYS, REFUSED_KEYS
from drivetrain.runs.gate_text import allowed_device, check_word, inside, inside_experiments, nearest_key, shown
from drivetrain.runs.launcher import LaunchRequest

MAX_VALUE_LENGTH = 120
"""Characters of a value of --set."""
MAX_CHANGES = 50
MAX_ITEMS = 16
"""Entries of a list that is given as a value."""
MAX_RUN_ID_LENGTH = 100
CONFIG_SUFFIXES = (".yaml", ".yml")
_VALUE = re.compile(r"[A-Za-z0-9_+\-.,\[\]/ ~]+")
"""No mark by which YAML makes anything else than a scalar or a flat list: no alias, tag, mapping or comment."""


def allowed_request(request: LaunchRequest, root: Path) -> LaunchRequest:
    """Return what a run is to be started or resumed by, with all paths relative to the root.

    Args:
        request: A `drivetrain.runs.launcher.LaunchRequest`.
        root: The project root.

    Raises:
        UsageError: Something in it is not allowed; the first such thing.
        ConfigError: The config file, or that of the run to resume, says something that is not allowed.
    """
    if request.overwrite:
        raise UsageError("overwrite: deletes a run, which only a person does; choose another run id")
    run_id = None if request.run_id is None else allowed_run_id(request.run_id)
    if request.resume and run_id is not None:
        check_recorded_config(run_id, root)
    for name, least in (("total_steps", 1), ("epochs", 1), ("seed", 0)):
        _check_count(f"training.{name}", getattr(request, name), least)
    places = {name: getattr(request, name) for name in ("data", "expert_data", "init_from")}
    base = root.resolve()
    return replace(
        request,
        config=None if request.config is None else allowed_config(request.config, root),
        run_id=run_id,
        changes=allowed_changes(request.changes),
        device=allowed_device(request.device),
        output=None
        if request.output is None
        else inside_experiments(request.output, root, what="output").relative_to(base),
        **{
            name: None if place is None else type(place)(inside(place, root, what=name).relative_to(base))
            for name, place in places.items()
        },
    )


def allowed_run_id(run_id: str) -> str:
    """Return ``run_id`` if it can name a run.

    Raises:
        UsageError: It cannot; a path or a sentence never does.
    """
    if len(run_id) > MAX_RUN_ID_LENGTH:
        raise UsageError(f"run id '{shown(run_id)}': {len(run_id)} characters; use at most {MAX_RUN_ID_LENGTH}")
    return check_run_id(run_id)


def allowed_config(config: str | Path, root: Path) -> Path:
    """Return the config file, relative to the root, if it lies inside and says nothing that the gate keeps out.

    Links are followed first, so that what is returned is the file that was looked at.

    Raises:
        UsageError: It lies outside, is no YAML file, or does not exist; the nearest one is named.
        ConfigError: Its content is refused, with the key.
    """
    file = inside(config, root, what="config")
    where = file.relative_to(root.resolve())
    if file.suffix not in CONFIG_SUFFIXES:
        raise UsageError(f"config '{shown(config)}': a config is a YAML file, for example {_example(root)}")
    if not file.is_file():
        known = [path.as_posix() for path in list_configs(root)]
        hint = nearest(where.as_posix(), known) or f"; there are {', '.join(known)}"
        raise UsageError(f"config '{shown(config)}': there is no such file{hint}")
    check_config_content(file, where=where.as_posix(), root=root)
    return where


def list_configs(root: Path) -> list[Path]:
    """Return the project's own configs of trainings, relative to the root, sorted; files of sweeps are none."""
    folder = root / "python" / "configs"
    files = (path for path in folder.rglob("*") if path.suffix in CONFIG_SUFFIXES and path.parent.name != "sweeps")
    return sorted(path.relative_to(root) for path in files)


def allowed_changes(changes: Sequence[str]) -> tuple[str, ...]:
    """Return the values of ``--set``, each as ``KEY=VALUE`` without blanks around them.

    Raises:
        UsageError: A key is not on the list, or a value is no plain value.
    """
    if len(changes) > MAX_CHANGES:
        raise UsageError(f"{len(changes)} changes: at most {MAX_CHANGES} keys can be set; write a config file instead")
    return tuple(allowed_change(text) for text in changes)


def allowed_change(text: str) -> str:
    """Return ``KEY=VALUE`` if the key may be set from outside, to this value.

    Raises:
        UsageError: It may not; says why, and the nearest key.
    """
    key, equals, value = text.partition("=")
    key, value = ".".join(part.strip() for part in key.split(".")), value.strip()
    if not equals or not value:
        raise UsageError(f"set '{shown(text)}': write KEY=VALUE, for example algorithm.learning_rate=1e-4")
    if key in CLOSED_KEYS or key in REFUSED_KEYS:
        raise UsageError(f"set '{shown(key)}': {CLOSED_KEYS.get(key) or REFUSED_KEYS[key]}")
    if key not in OPEN_KEYS:
        raise UsageError(f"set '{shown(key)}': this key cannot be set here{nearest_key(key)}")
    if len(value) > MAX_VALUE_LENGTH or not _VALUE.fullmatch(value):
        raise UsageError(
            f"set '{key}={shown(value)}': give a number, a word, true, false, null, or a flat list of these, of at "
            f"most {MAX_VALUE_LENGTH} characters"
        )
    from drivetrain.config.yaml_source import parse_scalar

    try:
        parsed = parse_scalar(value)
    except ValueError as error:
        raise UsageError(f"set '{key}={shown(value)}': {error}") from error
    _check_value(key, parsed, as_typed=value)
    return f"{key}={value}"


def check_recorded_config(run_id: str, root: Path) -> None:
    """Refuse to resume a run whose own config the gate would not have let start, or that writes outside the root.

    Raises:
        UsageError: Its folder is a link to somewhere else, or its checkpoints lie outside.
        ConfigError: Its config is refused, with the key.
    """
    paths = RunPaths(root=root, run_id=allowed_run_id(run_id))
    info = read_run_info(paths)
    if info is not None:
        inside(info.checkpoint_dir, root, what="checkpoints")
    file = paths.config_yaml
    if file.exists():
        resolved = inside(file, root, what="run")
        check_config_content(resolved, where=f"{run_id}/{file.name}", root=root)


def _check_value(key: str, value: Any, *, as_typed: str) -> None:
    """Refuse a value that is neither a small number, a word, nor a flat list of these."""
    entries = value if isinstance(value, list) else [value]
    if len(entries) > MAX_ITEMS:
        raise UsageError(f"set '{key}={shown(as_typed)}': {len(entries)} entries; use at most {MAX_ITEMS}")
    for entry in entries:
        if isinstance(entry, list | dict):
            raise UsageError(f"set '{key}={shown(as_typed)}': give a flat list")
        if isinstance(entry, str):
            check_word(key, entry)
        elif isinstance(entry, int | float) and not isinstance(entry, bool):
            _check_number(key, entry, as_typed=as_typed)


def _check_number(key: str, number: float, *, as_typed: str) -> None:
    most = usable_cores() if key in PER_CORE_KEYS else MOST.get(key, MOST_ELSE)
    if not math.isfinite(number) or abs(number) > most:
        reason = " (the cores of this machine)" if key in PER_CORE_KEYS else ""
        raise UsageError(f"set '{key}={shown(as_typed)}': out of range; use at most {most:g}{reason}")


def _check_count(key: str, number: int | None, least: int) -> None:
    if number is not None and not least <= number <= MOST.get(key, MOST_ELSE):
        raise UsageError(f"{key}: {shown(number)} is out of range; use {least} to {MOST.get(key, MOST_ELSE):g}")


def _example(root: Path) -> str:
    known = list_configs(root)
    return known[0].as_posix() if known else "python/configs/planning/ppo.yaml"
