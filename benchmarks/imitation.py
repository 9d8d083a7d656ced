"""How alike imitators and the log drive, and a picture of it: ``python benchmarks/imitation.py CHECKPOINT ...``.

For every checkpoint the held-out scenes of a store are driven in replayed traffic by the mean action and by drawn
actions; speed, acceleration, jerk and turn rate of all steps are compared with the log's (Jensen-Shannon divergence
[bit]). The row ``expert`` is the log re-driven by the 91 actions: no policy can be expected below it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from drivetrain.config import from_plain
from drivetrain.run_record import RunPaths
from drivetrain.sim.env import DrivingConfig
from drivetrain.trainer.checkpoint import load_policy
from drivetrain.trainer.evaluation import EvaluationScenes, evaluate_planner, evaluate_policy, load_scenes
from drivetrain.trainer.motion_histograms import BINS, MotionHistograms

SHOWN = ("speed", "acceleration")
UNITS = {"speed": "m/s", "acceleration": "m/s²"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Driven:
    """What one driver did."""

    name: str
    mode: str
    """``mean`` or ``drawn``; of the expert ``log``."""
    score: float
    """``score_basic``, 0..1."""
    motion: MotionHistograms


def drive_all(checkpoints: list[Path], scenes: EvaluationScenes) -> Iterator[Driven]:
    """Yield the expert's drives and those of every checkpoint in both modes."""
    motion = MotionHistograms()
    expert = evaluate_planner("expert", scenes, recorder=motion)
    yield Driven(name="expert", mode="log", score=_score(expert), motion=motion)
    for checkpoint in checkpoints:
        loaded = load_policy(checkpoint)
        driving = from_plain(DrivingConfig, loaded.checkpoint.config["environment"])
        for mode in ("mean", "drawn"):
            motion = MotionHistograms()
            result = evaluate_policy(
                loaded.module,
                scenes,
                name=str(checkpoint),
                driving=driving,
                deterministic=mode == "mean",
                recorder=motion,
            )
            yield Driven(name=checkpoint.parent.name, mode=mode, score=_score(result), motion=motion)


def _score(result: Any) -> float:
    return float(result.metrics["score_basic"].mean)


def draw(driven: list[Driven], log: MotionHistograms, runs: list[str], target: Path) -> None:
    """Write a picture: the score of runs while they learn, and what was driven in the mode ``mean``."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, *others) = plt.subplots(1, 1 + len(SHOWN), figsize=(11, 3), layout="constrained")
    for run in runs:
        steps, scores = _curve(run)
        left.plot(steps, scores, label=run, linewidth=1.2)
    left.set(xlabel="share of the budget", ylabel="score_basic", title="while learning", ylim=(0, 1))
    left.legend(fontsize=6)
    for axes, quantity in zip(others, SHOWN, strict=True):
        edges = BINS[quantity]
        centre = 0.5 * (edges[1:] + edges[:-1])
        for name, motion in (("log", log), *((d.name, d.motion) for d in driven if d.mode == "mean")):
            shares = motion.counts[quantity] / motion.counts[quantity].sum()
            axes.plot(centre, shares, label=name, color="black" if name == "log" else None, linewidth=1.2)
        axes.set(xlabel=f"{quantity} [{UNITS[quantity]}]", ylabel="share of the steps", title=quantity)
        axes.legend(fontsize=6)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=90)


def _curve(run: str) -> tuple[list[float], list[float]]:
    """Return when a run was evaluated, as a share of its budget, and its scores."""
    path = RunPaths(root=Path.cwd(), run_id=run).metrics_jsonl
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    found: list[tuple[int, float]] = []
    for row in rows:
        score = row.get("eval/score_basic")
        if score is not None and (not found or found[-1][1] != score):  # every row repeats the latest
            found.append((row["step"], score))
    last = rows[-1]["step"]
    return [step / last for step, _ in found], [score for _, score in found]


def main() -> None:
    """Measure, print one line per driver, and draw if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT", help="file, for example .../last.pt")
    parser.add_argument("--data", default="datasets/processed/sample", help="scenario store (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=500, help="held-out scenes (default: %(default)s)")
    parser.add_argument("--picture", type=Path, help="also draw this file")
    parser.add_argument("--runs", nargs="*", default=[], help="runs whose scores are drawn")
    parser.add_argument("--drawn", nargs="*", help="checkpoint folders whose driving is drawn (default: all)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scenes = load_scenes(options.data, episodes=options.episodes)
    log = MotionHistograms()
    evaluate_planner("log_replay", scenes, recorder=log)
    driven = []
    for found in drive_all(options.checkpoints, scenes):
        driven.append(found)
        apart = " ".join(f"{name} {value:.4f}" for name, value in found.motion.divergence(log).items())
        print(f"{found.name:>16} {found.mode:>5} score_basic {100 * found.score:5.1f} {apart}", flush=True)
    if options.picture is not None:
        shown = [d for d in driven if options.drawn is None or d.name in options.drawn]
        draw(shown, log, options.runs, options.picture)


if __name__ == "__main__":
    main()
