"""A sweep on a Ray cluster: Ray Tune places the trials, the study proposes them and says which end early.

Tune asks the study for every next trial and tells it every rung, so nothing of a sweep lives in Tune: interrupted or
killed, the next call finds all of it in the study and the run folders, as on one machine.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivetrain.errors import RunError, UsageError, one_line
from drivetrain.runs.sweeps.controller import SweepController
from drivetrain.runs.sweeps.fleet import SweepRun
from drivetrain.runs.sweeps.folder import SweepFolder
from drivetrain.runs.sweeps.search_space import CheckedSweep
from drivetrain.runs.sweeps.study import Trial

if TYPE_CHECKING:
    from drivetrain.runs.sweeps.launch import SweepOptions

ENDLESS = 10**6
"""More trials than any sweep has: the study says when there are enough."""
MOST_FAILURES = 3
"""So often a trial is placed anew whose node or process was lost."""


def require_ray() -> None:
    """Make sure that Ray is there.

    Raises:
        UsageError: It is not.
    """
    import importlib.util

    if importlib.util.find_spec("ray") is None:
        raise UsageError("sweep --backend ray: Ray is not installed; pip install 'drivetrain[ray]'")


def join_cluster(address: str | None, *, root: Path, cpus: float) -> None:
    """Join a Ray cluster and make sure that it has room and sees the project's folder.

    Args:
        address: HOST:PORT of its head; None: RAY_ADDRESS, else the cluster on this machine.
        root: The project root, which every node must see.
        cpus: What a trial needs.

    Raises:
        RunError: It cannot be reached, is too small, or does not share the folder.
        UsageError: The address is none, or Ray is not installed.
    """
    if address is not None and "://" in address:
        raise UsageError(
            f"sweep --address {address}: Ray Tune joins the cluster itself; give HOST:PORT of its head, such as "
            "127.0.0.1:6379, on a machine of the cluster"
        )
    require_ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    import ray

    source = str(Path(__file__).resolve().parents[3])
    search = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    try:
        ray.init(
            address=address or os.environ.get("RAY_ADDRESS") or "auto",
            runtime_env={"env_vars": {"PYTHONPATH": search, "DRIVETRAIN_ROOT": str(root)}},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray has no common class of what may go wrong here
        raise RunError(
            f"sweep --backend ray: no cluster answers at {address or os.environ.get('RAY_ADDRESS') or 'this machine'} "
            f"({one_line(error)}); start one with 'ray start --head', and give its token (RAY_AUTH_MODE=token, "
            "RAY_AUTH_TOKEN)"
        ) from error
    total = float(ray.cluster_resources().get("CPU", 0.0))
    if total < cpus:
        free = float(ray.available_resources().get("CPU", 0.0))
        raise RunError(
            f"sweep --backend ray: a trial needs {cpus:g} CPUs, the cluster has {total:g} ({free:g} free); use fewer "
            "training.processes, or a larger cluster"
        )
    _check_shared(root)


def _check_shared(root: Path) -> None:
    import ray

    mark = root / "experiments" / "sweeps" / f".shared-{secrets.token_hex(8)}"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()

    def sees_it(path: str) -> tuple[bool, str]:
        import os as system

        return system.path.exists(path), system.uname().nodename

    # Any: without Ray installed a type checker would take the decorator's result for the plain function.
    sees: Any = ray.remote(num_cpus=0, scheduling_strategy="SPREAD")(sees_it)
    try:
        found = ray.get([sees.remote(str(mark)) for _ in range(2 * len(ray.nodes()))])
    finally:
        mark.unlink(missing_ok=True)
    blind = sorted({name for is_seen, name in found if not is_seen})
    if blind:
        raise RunError(
            f"sweep --backend ray: {root} is not shared: {', '.join(blind)} cannot see it; put the project on storage "
            "that every node sees under the same path"
        )


def run_on_ray(
    controller: SweepController,
    sweep: CheckedSweep,
    folder: SweepFolder,
    *,
    options: SweepOptions,
    is_stopped: Callable[[], bool],
) -> bool:
    """Run a sweep on a cluster until all is done or somebody asks to stop; return whether all is done.

    Raises:
        RunError: The cluster cannot take it, or all trials failed.
        UsageError: The address is none, or Ray is not installed.
    """
    import ray

    config = sweep.config
    join_cluster(options.address, root=folder.root, cpus=sweep.processes)
    common = {
        "base": str(sweep.base),
        "root": str(folder.root),
        "rungs": config.rungs,
        "mlflow": options.mlflow,
        "metric": config.objective.metric,
    }
    tune = _Tune(folder.folder, is_stopped, parallel=options.parallel or config.parallel)
    try:
        controller.write_summary("searching")
        tune.fit(_Trials(controller, is_stopped, common=common), count=ENDLESS, cpus=sweep.processes * config.seeds)
        controller.refuse_hopeless()
        if not is_stopped():
            controller.write_summary("confirming")
            runs = controller.unconfirmed()
            if runs:
                tune.fit(_Runs(runs, is_stopped, common=common), count=len(runs), cpus=sweep.processes)
        controller.write_summary("stopped" if is_stopped() else "done")
        return not is_stopped()
    finally:
        ray.shutdown()


class _Tune:
    """Ray Tune, as a sweep uses it."""

    def __init__(self, folder: Path, is_stopped: Callable[[], bool], *, parallel: int | None) -> None:
        self._folder, self._is_stopped, self._parallel = folder, is_stopped, parallel

    def fit(self, jobs: _Trials | _Runs, *, count: int, cpus: float) -> None:
        """Run jobs until there are none left, or somebody asks to stop.

        Args:
            jobs: What is run.
            count: Most of them.
            cpus: Processors of each.
        """
        from ray import tune

        from drivetrain.runs.sweeps.ray_plugs import Search, Stop, Verdicts
        from drivetrain.runs.sweeps.ray_trial import RayTrial

        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
        tuner = tune.Tuner(
            tune.with_resources(RayTrial, {"cpu": cpus}),
            tune_config=tune.TuneConfig(
                search_alg=Search(jobs),
                scheduler=Verdicts(jobs),
                num_samples=count,
                max_concurrent_trials=self._parallel,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(self._folder),
                stop=Stop(self._is_stopped),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=MOST_FAILURES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        with contextlib.redirect_stdout(sys.stderr):  # Tune prints tables where one JSON document may be wanted
            tuner.fit()


class _Trials:
    """The trials of a study as Tune asks for them."""

    def __init__(self, controller: SweepController, is_stopped: Callable[[], bool], *, common: dict[str, Any]) -> None:
        self._controller, self._is_stopped, self._common = controller, is_stopped, common
        self._interrupted = controller.interrupted()
        self._numbers: dict[str, int] = {}

    def next(self, key: str) -> dict[str, Any] | None:
        """Return the next trial's config: an interrupted one first, then a new one; None: there are enough."""
        trial: Trial | None = self._interrupted.pop(0) if self._interrupted else self._controller.draw()
        if trial is None or self._is_stopped():
            return None
        self._numbers[key] = trial.number
        return {**self._common, "number": trial.number, "runs": [asdict(run) for run in self._controller.runs(trial)]}

    def look(self, key: str) -> bool:
        """Look how far a trial is; return whether the trial should end now."""
        return self._controller.take_rungs(self._numbers[key])

    def end(self, key: str, result: dict[str, Any] | None, *, is_lost: bool) -> None:
        """Take the end of a trial; one that somebody stopped goes on later."""
        reason = "its process or node was lost again and again" if is_lost else (result or {}).get("reason", "")
        if reason or not self._is_stopped():
            self._controller.take_end(self._numbers[key], reason)


class _Runs:
    """Single runs as Tune asks for them."""

    def __init__(self, runs: list[SweepRun], is_stopped: Callable[[], bool], *, common: dict[str, Any]) -> None:
        self._runs, self._is_stopped, self._common = runs, is_stopped, common

    def next(self, key: str) -> dict[str, Any] | None:
        """Return the next run's config; None: there is none."""
        if not self._runs or self._is_stopped():
            return None
        return {**self._common, "runs": [asdict(self._runs.pop(0))]}

    def look(self, key: str) -> bool:
        """Let it go on."""
        return False

    def end(self, key: str, result: dict[str, Any] | None, *, is_lost: bool) -> None:
        """Do nothing: the run folder says it all."""
