"""How many agent-steps runs need to a score: ``python benchmarks/learning_curves.py --runs A A A --against B B B``.

Reads the evaluations of runs under experiments/logs/. For every fixed score it prints the step at which the mean of
three consecutive evaluations is first at or above it (one evaluation is uncertain by several points), for either group
run by run, and the ratio of the medians; ``--picture`` draws these means.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from statistics import median

from drivetrain.run_record import RunPaths, project_root

Curve = list[tuple[int, float]]
"""(agent-steps, score) of every evaluation."""


def curve_of(run: str, metric: str) -> Curve:
    """Return the evaluations of a run, oldest first."""
    path = RunPaths(root=project_root(), run_id=run).metrics_jsonl
    found: Curve = []
    for line in path.read_text().splitlines():
        row = json.loads(line)
        value = row.get(metric)
        if value is not None and (not found or found[-1][1] != value):  # every row repeats the latest
            found.append((row["step"], value))
    return found


def smoothed(curve: Curve, count: int) -> Curve:
    """Return the means of `count` consecutive evaluations, each at the step of the last of them."""
    means = [sum(score for _, score in curve[end - count : end]) / count for end in range(count, len(curve) + 1)]
    return [(step, mean) for (step, _), mean in zip(curve[count - 1 :], means, strict=True)]


def reached(curve: Curve, score: float) -> float:
    """Return the step of the first evaluation at or above a score; infinity where there is none."""
    return next((float(step) for step, value in curve if value >= score), math.inf)


def draw(groups: dict[str, list[Curve]], metric: str, target: Path, until: float) -> None:
    """Write a picture of all curves up to a step, one colour per group."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for colour, (name, curves) in zip(("#0072B2", "#D55E00"), groups.items(), strict=True):
        for index, curve in enumerate(curves):
            shown = [(step / 1e6, score) for step, score in curve if step <= until]
            steps, scores = zip(*shown, strict=True)
            axes.plot(steps, scores, color=colour, linewidth=1.1, alpha=0.8, label=name if index == 0 else None)
    axes.set(xlabel="agent-steps [million]", ylabel=metric.removeprefix("eval/"), ylim=(0.2, 1.0))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=100)


def main() -> None:
    """Print the table and draw if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", required=True, metavar="RUN", help="the runs that should be faster")
    parser.add_argument("--against", nargs="+", required=True, metavar="RUN", help="the runs to compare with")
    parser.add_argument("--names", nargs=2, default=["runs", "against"], metavar="NAME", help="of the two groups")
    parser.add_argument("--metric", default="eval/score_basic", help="default: %(default)s")
    parser.add_argument("--scores", nargs="+", type=float, default=[0.85, 0.88, 0.9], help="default: %(default)s")
    parser.add_argument("--mean", type=int, default=3, help="evaluations of which the mean counts (default: 3)")
    parser.add_argument("--until", type=float, default=math.inf, help="draw no steps beyond this one")
    parser.add_argument("--picture", type=Path, help="also draw this file")
    options = parser.parse_args()
    groups = {
        name: [smoothed(curve_of(run, options.metric), options.mean) for run in runs]
        for name, runs in zip(options.names, (options.runs, options.against), strict=True)
    }
    for score in options.scores:
        steps = {name: [reached(curve, score) for curve in curves] for name, curves in groups.items()}
        shown = "; ".join(
            f"{name} {', '.join(f'{value / 1e6:.2f} M' if math.isfinite(value) else 'never' for value in values)}"
            for name, values in steps.items()
        )
        fast, slow = (median(values) for values in steps.values())
        print(f"score {score:g}: {shown}; {f'{slow / fast:.1f} times' if fast > 0 else 'at once'}")
    if options.picture is not None:
        draw(groups, options.metric, options.picture, options.until)


if __name__ == "__main__":
    main()
