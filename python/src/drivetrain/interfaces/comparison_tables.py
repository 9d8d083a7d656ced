"""What `drivetrain compare` shows people: figures by run, seeds taken together, config difference, significance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drivetrain.interfaces.number_text import clock_text, metric_text, step_text
from drivetrain.interfaces.tables import print_table
from drivetrain.runs.comparison import Comparison, Contrast, Group, RunFigures
from drivetrain.runs.evaluations import METRICS, Evaluation

_LONGEST_VALUE = 40


def print_comparison(comparison: Comparison) -> None:
    """Print all tables, then what must be known to read them."""
    _print_runs(comparison.runs)
    groups = comparison.groups
    if any(len(group.seeds) > 1 for group in groups):
        print("\nNewest evaluation: interquartile mean over seeds, its 95 % interval (bootstrap), ± standard deviation")
        _print_groups(groups)
    if comparison.contrasts:
        print("\nDifferences of newest evaluations")
        _print_contrasts(comparison.contrasts)
    if comparison.config:
        print("\nConfig, where it differs")
        names = [figures.run_id for figures in comparison.runs]
        rows = [(key, *(_shown(value) for value in values)) for key, values in comparison.config.items()]
        print_table(("key", *names), rows, label="key")
    else:
        print("\nThe configs do not differ.")
    if comparison.remarks:
        print()
    for remark in comparison.remarks:
        print(f"- {remark}")


def _print_runs(runs: tuple[RunFigures, ...]) -> None:
    lines: list[tuple[str, Callable[[RunFigures], str]]] = [
        ("algorithm", lambda each: each.run.algorithm.upper() or "-"),
        ("status", lambda each: each.run.health.status),
        ("seed", lambda each: "-" if each.seed is None else str(each.seed)),
        ("steps", lambda each: f"{step_text(each.run.step)}/{step_text(each.run.total_steps)}"),
        ("wall time", lambda each: clock_text(each.seconds)),
        ("steps/s", lambda each: "-" if each.steps_per_s is None else step_text(each.steps_per_s)),
        ("reward in training", lambda each: metric_text(each.run.metric("mean_reward"))),
        ("newest evaluation at", lambda each: "-" if each.final is None else step_text(each.final.step)),
        *((name, _metric(name)) for name in METRICS),
        ("best evaluation at", lambda each: "-" if each.best is None else step_text(each.best.step)),
        ("best", _best),
    ]
    rows = [(label, *(cell(each) for each in runs)) for label, cell in lines]
    names = [each.run_id for each in runs]
    shown = [row for row in rows if any(cell != "-" for cell in row[1:])]
    print_table(("run", *names), shown, right=names, label="run")


def _metric(name: str) -> Callable[[RunFigures], str]:
    def cell(each: RunFigures) -> str:
        value = each.final.metrics.get(name) if each.final is not None else None
        if value is None:
            return "-"
        interval = each.interval(name, value)
        return metric_text(value, digits=3) + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")

    return cell


def _best(each: RunFigures) -> str:
    best: Evaluation | None = each.best
    if best is None or best.score_name is None:
        return "-"
    return f"{best.score_name} {metric_text(best.metrics[best.score_name], digits=3)}"


def _print_groups(groups: tuple[Group, ...]) -> None:
    documents = [group.to_json()["final"] for group in groups]
    rows = [(name, *(_spread(document.get(name)) for document in documents)) for name in METRICS]
    names = [group.name for group in groups]
    shown = [row for row in rows if any(cell != "-" for cell in row[1:])]
    print_table(("metric", *names), shown, right=names, label="metric")


def _spread(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "-"
    spread, (low, high) = figure["sd_of_seeds"], figure["iqm_ci95"]
    parts = [metric_text(figure["iqm"], digits=3)]
    if low is not None and high is not None:
        parts.append(f"[{low:.3f}, {high:.3f}]")
    if spread is not None:
        parts.append(f"± {metric_text(spread, digits=3)}")
    return " ".join(parts)


def _print_contrasts(contrasts: tuple[Contrast, ...]) -> None:
    rows = []
    for contrast in contrasts:
        judged = contrast.judged
        interval = "-" if judged.low is None or judged.high is None else f"[{judged.low:+.3f}, {judged.high:+.3f}]"
        verdict = "significant" if contrast.is_significant else "not significant"
        rows.append(
            (
                contrast.metric,
                f"{contrast.one.name} - {contrast.other.name}",
                f"{judged.difference:+.3f}",
                interval,
                "-" if judged.p is None else f"{judged.p:.3f}" if judged.p >= 0.001 else "< 0.001",
                "paired t" if contrast.is_paired else "Welch t",
                "no spread" if judged.p is None else verdict,
            )
        )
    columns = ("metric", "difference", "mean", "95 % interval", "p", "method", "verdict")
    print_table(columns, rows, right=("mean", "95 % interval", "p"))


def _shown(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
