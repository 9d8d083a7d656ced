"""What `drivetrain triage` shows people: kinds of failures, their last chances, and what to run next."""

from __future__ import annotations

import shlex
from typing import Any

from drivetrain.interfaces.tables import print_table


def print_triage(found: Any, *, who: str) -> None:
    """Print the kinds of failures and how to look at them; ``who`` names the driver on a command line."""
    from drivetrain.trainer.evaluation_result import RATE, SHARE, cell_text
    from drivetrain.trainer.statistics import rate_estimate

    rate = cell_text(rate_estimate(len(found.failures), found.driven), RATE)
    print(
        f"{found.driver}: {len(found.failures)} of {found.driven} scenes failed ({rate} %), {found.data} split "
        f"'{found.split}', {found.traffic} traffic, {found.dynamics} dynamics"
    )
    if not found.failures:
        print("no failures: nothing to sort")
        return
    rows = [
        (
            group.kind.title,
            str(len(group.failures)),
            _interval(group.rate),
            cell_text(group.lost, SHARE, spread=False),
            "-" if group.share_lost is None else f"{100 * group.share_lost:.0f}",
            f"{len(group.avoidable)} of {len(group.tried)}" if group.tried else "-",
            "-" if group.median_last_chance_s is None else f"{group.median_last_chance_s:.1f}",
        )
        for group in found.groups
    ]
    right = ("count", "% of scenes", "lost", "% of all lost", "avoidable", "last chance [s]")
    print_table(("kind", *right), rows, right=right, label="kind")
    print("% of scenes: 95 % interval behind; lost: of the score x 100, on average in such a scene")
    if found.look_back_s is not None:
        print(
            f"avoidable: by holding one of 91 actions from up to {found.look_back_s:g} s before; last chance: median; "
            f"tried in {found.branching_s:.1f} s of processor time (driving {found.driving_s:.1f} s)"
        )
    for group in found.groups:
        print(f"\n{group.kind.title}: {group.kind.rule}")
        for failure in group.failures[: len(group.examples)]:
            print(f"  {failure.scenario_id}  {_told(failure)}")
        print(f"  {render_command(found, group, who=who)}")


def render_command(found: Any, group: Any, *, who: str) -> str:
    """Return what draws the examples of a kind."""
    words = ["drivetrain", "render", *shlex.split(who), "--data", found.data]
    words += ["--scenario", *group.examples, "--traffic", found.traffic, "--dynamics", found.dynamics]
    words += ["--last-chance"] if group.tried else []
    words += ["--format", "html", "--out", f"experiments/triage/{group.kind.name}"]
    return shlex.join(words if len(group.examples) > 1 else [*words[:-1], f"{words[-1]}.html"])


def _interval(rate: Any) -> str:
    return f"{100 * rate.mean:.1f} ({100 * rate.low:.1f}-{100 * rate.high:.1f})"


def _told(failure: Any) -> str:
    from drivetrain.rendering.last_chance import action_words

    parts = [failure.scenario_type]
    if failure.score is not None:
        parts.append(f"score {100 * failure.score:.1f}")
    if failure.time_s is not None:
        parts.append(f"at {failure.time_s:.1f} s")
    chance = failure.avoidance
    if chance is not None and chance.frame is not None:
        ways = f", {len(chance.actions)} ways" if len(chance.actions) > 1 else ""
        parts.append(f"last chance {chance.seconds:.1f} s before: {action_words(chance.actions[0])}{ways}")
    elif chance is not None:
        start = " (since the start)" if chance.from_start else ""
        parts.append(f"unavoidable within {chance.seconds:.1f} s{start}")
    return "; ".join(parts)
