"""Which of the raw nuPlan logs a conversion reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from drivetrain.data.nuplan_files import LogFile, find_logs
from drivetrain.data.selection import Selection
from drivetrain.data.splits import assign_splits
from drivetrain.errors import UsageError, nearest


@dataclass(frozen=True, kw_only=True, slots=True)
class NuplanSource:
    """Raw nuPlan data and what of it is asked for."""

    data_root: Path
    """Folder of the logs, in either published layout, or one log."""
    maps_root: Path | None = None
    """Folder of the city maps; None looks beside the logs."""
    selection: Selection
    splits: Mapping[str, str] | None = None
    """Log name -> split; None goes by folders, else by a hash of the name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogChoice:
    """The logs asked for."""

    logs: list[LogFile]
    splits: dict[str, str]
    """Split of each log."""
    missing: list[str]
    """A line for every name that no log has."""
    unlisted: int
    """Logs that a list of splits does not name."""


def choose_logs(source: NuplanSource) -> LogChoice:
    """Return the logs asked for.

    Raises:
        DataError: There is none.
        UsageError: None is asked for.
    """
    found = find_logs(source.data_root)
    selection = source.selection
    if source.splits is None:
        splits = assign_splits([log.name for log in found], [log.folder for log in found])
    else:
        splits = {log.name: source.splits[log.name] for log in found if log.name in source.splits}
    logs = [
        log
        for log in found
        if log.name in splits
        and (selection.split is None or splits[log.name] == selection.split)
        and selection.takes_log(log.name)
    ]
    names = [log.name for log in found]
    missing = list(_unmatched(selection.logs or (), names, source.data_root))
    if not logs:
        splits_there = sorted(set(splits.values()))
        asked = [f"split '{selection.split}'"] if selection.split is not None else []
        asked += [f"name '{pattern}'" for pattern in (selection.logs or ())[:3]]
        raise UsageError(
            f"{source.data_root}: none of its {len(found)} logs is asked for ({' and '.join(asked) or 'by --splits'};"
            f" splits there: {', '.join(splits_there) or 'none'}){nearest((selection.logs or ('',))[0], names)}"
        )
    return LogChoice(logs=logs, splits=splits, missing=missing, unlisted=sum(log.name not in splits for log in found))


def _unmatched(patterns: Iterable[str], names: list[str], root: Path) -> Iterator[str]:
    known = set(names)
    for pattern in patterns:
        if pattern in known:
            continue
        if not any(Selection(logs=(pattern,)).takes_log(name) for name in names):
            yield f"log {pattern}: is not below {root}{nearest(pattern, names)}"
