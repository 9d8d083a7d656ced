"""Submits trainings to Ray's Jobs API."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable

from drivetrain.errors import RunError
from drivetrain.run_record import Launch, RunPaths
from drivetrain.runs.cluster.placement import Placement
from drivetrain.runs.cluster.ray_address import jobs_address
from drivetrain.runs.cluster.ray_jobs import RayJobs
from drivetrain.runs.cluster.submission import entry_point

STOP_WAIT_S = 60
"""How long Ray lets a training save before it kills it, where somebody stops the job itself [s]."""
PASSED_ON = ("MLFLOW_TRACKING_URI", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "NUMBA_CACHE_DIR")
"""Variables of the submitter that the job sees, too."""


class RayBackend:
    """A Ray cluster that takes trainings."""

    def __init__(self, placement: Placement) -> None:
        """Find the cluster's address.

        Raises:
            UsageError: It is wrong.
            RunError: Ray is not installed.
        """
        if importlib.util.find_spec("ray") is None:
            raise RunError("--backend ray: Ray is not installed; pip install --editable '.[ray]'")
        self._jobs = RayJobs(jobs_address(placement.address))
        self._has_room = True

    def check(self, *, cpus: float, gpus: float) -> str:
        """Return the address of the Jobs API once a node was found that is large enough.

        Raises:
            RunError: The cluster does not answer, refuses, or has no such node.
        """
        self._jobs.check()
        nodes = self._jobs.nodes()
        if nodes and not any(node.cpus >= cpus and node.gpus >= gpus for node in nodes):
            each = ", ".join(
                f"{node.cpus:g} CPUs ({node.free_cpus:g} free) and {node.gpus:g} GPUs ({node.free_gpus:g} free)"
                for node in sorted(nodes, key=lambda node: (node.gpus, node.cpus), reverse=True)[:4]
            )
            raise RunError(
                f"{self._jobs.address}: no node has {cpus:g} CPUs and {gpus:g} GPUs, which this training asks for; "
                f"the largest: {each}; lower --cpus, --gpus or training.processes"
            )
        self._has_room = not nodes or any(node.free_cpus >= cpus and node.free_gpus >= gpus for node in nodes)
        return self._jobs.address

    def has_room(self) -> bool:
        """Return whether a node had room for the job that :meth:`check` was asked about."""
        return self._has_room

    def job_id(self, paths: RunPaths) -> str:
        """Return the name of the run, or with a number where an earlier job had it.

        Raises:
            RunError: A job of that name, which is none of this run's, has not ended.
        """
        run_id, number = paths.run_id, 1
        while (found := self._jobs.find(name := run_id if number == 1 else f"{run_id}-{number}")) is not None:
            # The last job of this very run may still be on its way out.
            is_own = found.get("metadata") == _origin(paths)
            if not is_own and found.get("status") not in ("SUCCEEDED", "FAILED", "STOPPED"):
                raise RunError(
                    f"{self._jobs.address}: a job '{name}' is {str(found.get('status')).lower()} there already; "
                    f"choose another --run-id, or end it with 'ray job stop {name}'"
                )
            number += 1
        return name

    def submit(self, launch: Launch, paths: RunPaths, *, tell: Callable[[str], None]) -> None:
        """Submit the job under the name chosen before.

        Raises:
            RunError: The cluster does not answer, or refuses.
        """
        variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self._jobs.submit(
            {
                "entrypoint": entry_point(paths, launch.ticket),
                "submission_id": launch.job_id,
                "entrypoint_num_cpus": launch.cpus,
                "entrypoint_num_gpus": launch.gpus,
                "runtime_env": {"env_vars": {**variables, "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}},
                "metadata": _origin(paths),
            }
        )

    def output(self, launch: Launch, paths: RunPaths) -> str:
        """Return the line in which the job said why it ended before a trainer began."""
        told = re.findall(r"^drivetrain: (.*)$", self._jobs.output(launch.job_id), flags=re.MULTILINE)
        return told[-1] if told else ""


def _origin(paths: RunPaths) -> dict[str, str]:
    """Return what a job says of where it comes from."""
    return {"run_id": paths.run_id, "project": str(paths.root)}
