"""The settings of a run as one flat mapping, so that runs can be told apart key by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from drivetrain.runs.run_store import Run

SEED_KEY = "training.seed"
OF_NO_EFFECT = frozenset(
    {
        "training.log_interval",
        "training.save_interval_s",
        "training.snapshots",
        "record.host",
        "record.code",
        "record.init_from",
    }
)
"""In these, runs of one group may differ: they look on, or name what every seed has of its own."""


def flat_config(run: Run) -> dict[str, Any]:
    """Return the resolved config by dotted key, and what run.json knows besides (``record.*``).

    A config that is missing or damaged has no keys.
    """
    return {**flat_file(run.paths.config_yaml), **_record(run)}


def flat_file(path: Path) -> dict[str, Any]:
    """Return a config file by dotted key, without defaults; empty where it is missing or damaged."""
    from drivetrain.config.yaml_source import parse_yaml

    try:
        value = parse_yaml(path.read_text(encoding="utf-8")).value
    except (OSError, UnicodeDecodeError, RecursionError):
        return {}
    return dict(_leaves(value)) if isinstance(value, dict) else {}


def _record(run: Run) -> dict[str, Any]:
    info = run.info
    if info is None:
        return {}
    return {
        "record.algorithm": info.algorithm,
        "record.data": info.data.path,
        "record.data_fingerprint": info.data.fingerprint,
        "record.init_from": info.parent,
        "record.code": (info.git_commit or "unknown")[:10] + (" (changed)" if info.git_dirty else ""),
        "record.host": info.host,
    }


def _leaves(block: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in block.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
