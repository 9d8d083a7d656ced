"""One line per run: what `drivetrain status` shows, and its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drivetrain.runs.pace import Pace, measure_pace
from drivetrain.runs.resources import GpuReading
from drivetrain.runs.run_store import Run
from drivetrain.runs.waiting import WaitingRun


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """A run at a glance; the fields up to `gpu` are those of `status --json`."""

    run_id: str
    """The run's name."""
    algorithm: str
    """ppo, sac, bc, gail, cimrl."""
    status: str
    """starting, running, stalled, stopping, completed, stopped, failed, lost or queued."""
    step: int
    """Steps done."""
    total_steps: int
    """The budget [steps]."""
    reward: float | None
    """Newest `mean_reward`; None before the first episode ended."""
    collision: float | None
    """Newest at-fault collision fraction, 0..1; None where nothing drives."""
    progress: float | None
    """Newest progress along the route, 0..1; None where nothing drives."""
    loss: float | None
    """Newest training loss."""
    eta_s: float | None
    """Time until the budget [s]; None while warming up or when the run is not active."""
    gpu: dict[str, Any] | None
    """`uuid`, `name`, `memory_bytes`, `utilization` of the GPU in use; None on the CPU."""
    detail: str
    """Why the status is what it is, where that is not plain."""
    alert: str
    """Newest warning of the watchdog in this life; empty while all is well."""
    is_active: bool
    """True while the trainer lives."""
    pace: Pace | None
    """Speed and interval of the remaining time; None while warming up or when not active."""

    def to_json(self) -> dict[str, Any]:
        """Return the keys of the contract."""
        names = ("run_id", "algorithm", "status", "step", "total_steps", "reward", "collision", "progress", "loss")
        return {name: getattr(self, name) for name in names} | {"eta_s": self.eta_s, "gpu": self.gpu}


def run_status(run: Run, gpus: Mapping[str, GpuReading] | None = None) -> RunStatus:
    """Return the status of a run.

    Args:
        run: Read with its metric rows where the pace is wanted.
        gpus: Readings by UUID, to add the present utilisation.
    """
    is_active = run.health.is_active
    pace = None
    if is_active and run.state is not None and run.health.status != "stalled":
        pace = measure_pace(run.rows, life=run.state.life, step=run.step, total_steps=run.total_steps)
        limit = run.metric("time_left_s")
        pace = pace.within(limit) if pace is not None and limit is not None else pace
    return RunStatus(
        run_id=run.run_id,
        algorithm=run.algorithm,
        status=run.health.status,
        step=run.step,
        total_steps=run.total_steps,
        reward=run.metric("mean_reward"),
        collision=run.metric("collision"),
        progress=run.metric("progress"),
        loss=run.metric("loss"),
        eta_s=round(pace.eta_s, 1) if pace else None,
        gpu=_gpu(run, gpus or {}) if is_active else None,
        detail=run.health.detail,
        alert=run.state.alert if run.state else "",
        is_active=is_active,
        pace=pace,
    )


def waiting_status(run: WaitingRun) -> RunStatus:
    """Return the status of a run that has not begun."""
    return RunStatus(
        run_id=run.run_id,
        algorithm=run.algorithm,
        status="queued",
        step=0,
        total_steps=run.total_steps,
        reward=None,
        collision=None,
        progress=None,
        loss=None,
        eta_s=None,
        gpu=None,
        detail=run.detail,
        alert="",
        is_active=False,
        pace=None,
    )


def _gpu(run: Run, gpus: Mapping[str, GpuReading]) -> dict[str, Any] | None:
    """Return the GPU of a run: memory as the trainer reports it, utilisation as NVML sees it now."""
    if run.state is None or not run.state.gpu:
        return None
    reported = run.state.gpu
    reading = gpus.get(str(reported.get("uuid")))
    return {
        "uuid": reported.get("uuid"),
        "name": reported.get("name") or (reading.name if reading else None),
        "memory_bytes": reported.get("memory_reserved"),
        "utilization": reading.utilization if reading else None,
    }
