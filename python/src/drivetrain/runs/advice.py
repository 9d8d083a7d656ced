"""What to do next, each piece of advice with the numbers it rests on; nothing is said without evidence.

The words are chosen by the report, in the reader's language: an `Advice` carries its kind and its evidence only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from drivetrain.run_record import read_jsonl_tail
from drivetrain.runs.convergence import MIN_POINTS, Convergence, has_collapsed, judge_series
from drivetrain.runs.pace import clock_points, median_interval, quantile
from drivetrain.runs.resources import SystemResources
from drivetrain.runs.run_store import Run

Kind = Literal[
    "stalled", "resume", "alert", "collapse", "degrading", "early_stop", "bottleneck", "gpu_idle", "memory", "disk"
]

EARLY_STOP_BUDGET = 0.4
"""No early stop is advised before this fraction of the budget."""
LOOK_DISTANCE_BUDGET = 0.05
"""Two looks at least this fraction of the budget apart must both see a plateau."""
LOOK_BACK_ROWS = 4000
BOTTLENECK_FRACTION = 0.6
"""One part of an iteration that takes more than this is worth naming."""
BOTTLENECK_ROWS = 20
GPU_IDLE_UTILIZATION = 0.5
GPU_IDLE_MEMORY = 0.7
GPU_IDLE_SPAN_S = 120.0
MIN_FREE_BYTES = 2 * 2**30
MIN_FREE_CHECKPOINTS = 5
MAX_MEMORY_USED = 0.95
"""Beyond this share of the memory, of the machine or its container, the kernel may kill a trainer any moment."""
ENDED_RECENTLY_S = 7 * 86400.0
"""A failed or lost run is mentioned for a week; `drivetrain list` shows it for ever."""

ENDED_LATELY_S = 86400.0
"""What the watchdog said of a run that ended in order is mentioned for a day."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One recommendation, without words."""

    kind: Kind
    """What is recommended."""
    run_id: str | None
    """The run it is about; None where it is about the machine."""
    evidence: dict[str, Any]
    """The numbers behind it, JSON-ready."""


def advise(runs: Sequence[Run], resources: SystemResources) -> list[Advice]:
    """Return all advice, most urgent first."""
    advice: list[Advice] = []
    for run in runs:
        if run.health.is_active:
            advice += _for_active_run(run)
        elif run.health.status in ("failed", "lost"):
            advice += [*_for_broken_run(run), *_alerts(run)]
        else:
            advice += _alerts(run, within_s=ENDED_LATELY_S)
    advice += _for_memory(runs, resources)
    advice += _for_disk(runs, resources)
    order = (
        "memory",
        "disk",
        "alert",
        "stalled",
        "resume",
        "collapse",
        "degrading",
        "early_stop",
        "bottleneck",
        "gpu_idle",
    )
    return sorted(advice, key=lambda entry: order.index(entry.kind))


def judge_run(run: Run) -> tuple[str, Convergence]:
    """Return which metric tells best whether a run still learns, and what that metric does."""
    return _judge_rows(run.rows)


def _for_active_run(run: Run) -> list[Advice]:
    if run.health.status == "stalled" and run.state is not None:
        evidence = {
            "silent_s": round(time.time() - run.state.updated),
            "phase": run.state.phase,
            "usual_interval_s": median_interval(run.rows, life=run.state.life),
            "log": run.paths.relative(run.paths.folder / "train.log"),
        }
        return [Advice(kind="stalled", run_id=run.run_id, evidence=evidence)]
    return [*_alerts(run), *_about_the_curve(run), *_about_the_time(run)]


def _for_broken_run(run: Run) -> list[Advice]:
    ended = run.state.updated if run.state else run.created
    command = run.resume_command() if run.paths.last.is_file() else None
    if command is None or time.time() - ended > ENDED_RECENTLY_S:
        return []
    evidence = {"status": run.health.status, "detail": run.health.detail, "step": run.step, "command": command}
    return [Advice(kind="resume", run_id=run.run_id, evidence=evidence)]


def _alerts(run: Run, *, within_s: float = ENDED_RECENTLY_S) -> list[Advice]:
    """Return the newest alert that the trainer raised in this life, and how far the run went back for it.

    Args:
        run: The run.
        within_s: Nothing is said of a run that gave its last sign of life longer ago [s].
    """
    life = run.state.life if run.state else None
    if run.state is None or time.time() - run.state.updated > within_s:
        return []
    events = [event for event in run.events(100) if event.get("life") == life]
    newest = max((k for k, event in enumerate(events) if event.get("event") == "alert"), default=None)
    if newest is None:
        return []
    evidence = dict(events[newest])
    for event in events[newest + 1 :]:
        if event.get("event") == "rolled_back":
            evidence |= {name: event[name] for name in ("to_step", "learning_rate_scale", "rollbacks")}
    return [Advice(kind="alert", run_id=run.run_id, evidence=evidence)]


def _about_the_curve(run: Run) -> list[Advice]:
    metric, curve = judge_run(run)
    evidence: dict[str, Any] = {"metric": metric, **asdict(curve)}
    values = _series(run.rows, metric)
    if has_collapsed(values):
        return [Advice(kind="collapse", run_id=run.run_id, evidence=evidence | {"newest": values[-1]})]
    if curve.verdict == "degrading":
        return [Advice(kind="degrading", run_id=run.run_id, evidence=evidence)]
    if curve.verdict == "plateau" and _may_stop_early(run):
        used = run.step / run.total_steps
        return [Advice(kind="early_stop", run_id=run.run_id, evidence=evidence | {"budget_used": used})]
    return []


def _may_stop_early(run: Run) -> bool:
    """Return whether an earlier look saw the plateau too, enough budget is used and no schedule still moves."""
    if run.total_steps <= 0 or run.step < EARLY_STOP_BUDGET * run.total_steps:
        return False
    rates = _series(run.rows, "lr")
    if rates and max(rates) > min(rates) * (1.0 + 1e-9):
        return False  # a falling learning rate often brings the last gains
    earlier_step = run.step - LOOK_DISTANCE_BUDGET * run.total_steps
    rows = read_jsonl_tail(run.paths.metrics_jsonl, LOOK_BACK_ROWS)
    _, earlier = _judge_rows([row for row in rows if row.get("step", 0) <= earlier_step])
    return earlier.verdict == "plateau"


def _about_the_time(run: Run) -> list[Advice]:
    """Return where the time goes, if one part takes most of it, or that the GPU waits."""
    newest = run.rows[-BOTTLENECK_ROWS:]
    fractions = {part: _median(_series(newest, f"frac_{part}")) for part in ("sim", "infer", "learn")}
    known = {part: value for part, value in fractions.items() if value is not None}
    if len(newest) == BOTTLENECK_ROWS and known:
        part = max(known, key=lambda name: known[name])
        if known[part] > BOTTLENECK_FRACTION:
            evidence = {"part": part, "fraction": known[part], "rows": len(newest)}
            return [Advice(kind="bottleneck", run_id=run.run_id, evidence=evidence)]
    return _about_the_gpu(run)


def _about_the_gpu(run: Run) -> list[Advice]:
    if run.state is None or not run.state.gpu:
        return []
    rows = [row for row in run.rows if "gpu_util" in row and row.get("life") == run.state.life]
    clock = [point[0] for point in clock_points(rows, life=run.state.life)]
    utilization, memory = _median(_series(rows, "gpu_util")), _median(_series(rows, "gpu_mem"))
    if utilization is None or memory is None or not clock or clock[-1] - clock[0] < GPU_IDLE_SPAN_S:
        return []
    if utilization < GPU_IDLE_UTILIZATION and memory < GPU_IDLE_MEMORY:
        evidence = {"utilization": utilization, "memory": memory, "span_s": clock[-1] - clock[0]}
        return [Advice(kind="gpu_idle", run_id=run.run_id, evidence=evidence)]
    return []


def _for_memory(runs: Sequence[Run], resources: SystemResources) -> list[Advice]:
    """Return that memory is nearly full, with the largest trainer's share, while anybody trains."""
    active = [run for run in runs if run.health.is_active and run.state is not None]
    used, total = resources.ram_used_bytes, resources.ram_total_bytes
    if not active or used <= MAX_MEMORY_USED * total:
        return []
    peaks = {run.run_id: run.state.rss_peak for run in active if run.state is not None}
    largest = max(peaks, key=lambda run_id: peaks[run_id] or 0)
    evidence = {"free_bytes": max(total - used, 0), "total_bytes": total, "peak_bytes": peaks[largest]}
    return [Advice(kind="memory", run_id=largest, evidence=evidence)]


def _for_disk(runs: Sequence[Run], resources: SystemResources) -> list[Advice]:
    sizes = [run.paths.last.stat().st_size for run in runs if run.paths.last.is_file()]
    needed = max(MIN_FREE_BYTES, MIN_FREE_CHECKPOINTS * max(sizes, default=0))
    if resources.disk_free_bytes >= needed:
        return []
    evidence = {"free_bytes": resources.disk_free_bytes, "needed_bytes": needed}
    return [Advice(kind="disk", run_id=None, evidence=evidence)]


def _judge_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[str, Convergence]:
    # Evaluation plays the same scenarios every time: where there are enough of them they say more.
    evaluated = _series(rows, "eval/mean_reward")
    if len(evaluated) >= MIN_POINTS:
        return "eval/mean_reward", judge_series(evaluated)
    return "mean_reward", judge_series(_series(rows, "mean_reward"))


def _series(rows: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    return [float(row[metric]) for row in rows if isinstance(row.get(metric), int | float)]


def _median(values: Sequence[float]) -> float | None:
    return quantile(sorted(values), 0.5) if values else None
