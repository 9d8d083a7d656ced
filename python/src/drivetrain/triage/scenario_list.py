"""Failures as a file that lists scenarios: to evaluate on, or to train in."""

from __future__ import annotations

from pathlib import Path

from drivetrain.rendering.last_chance import action_words
from drivetrain.run_record import write_bytes_atomic
from drivetrain.triage.triage import Failure, Triage


def write_scenario_list(found: Triage, path: Path) -> None:
    """Write the ids of failures, one a line, kind by kind, the worst first.

    Raises:
        RunError: The file cannot be written.
    """
    write_bytes_atomic(path, scenario_list(found).encode())


def scenario_list(found: Triage) -> str:
    """Return the text of that file; what follows a ``#`` is for people."""
    lines = [
        f"# {found.driver}: {len(found.failures)} failures in {found.driven} scenes",
        f"# data {found.data} ({found.data_fingerprint}), split {found.split}, traffic {found.traffic}, "
        f"dynamics {found.dynamics}",
    ]
    for group in found.groups:
        lines += ["", f"# {group.kind.title}: {len(group.failures)}"]
        lines += [f"{failure.scenario_id}  # {_remark(failure)}" for failure in group.failures]
    return "\n".join(lines) + "\n"


def _remark(failure: Failure) -> str:
    parts = [failure.scenario_type]
    if failure.score is not None:
        parts.append(f"score {100 * failure.score:.1f}")
    if failure.time_s is not None:
        parts.append(f"at {failure.time_s:.1f} s")
    chance = failure.avoidance
    if chance is not None and chance.frame is not None:
        parts.append(f"last chance {chance.seconds:.1f} s before: {action_words(chance.actions[0])}")
    elif chance is not None:
        parts.append(f"no way out within {chance.seconds:.1f} s")
    return ", ".join(parts)
