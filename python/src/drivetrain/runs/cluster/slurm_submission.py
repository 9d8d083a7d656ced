"""Submits trainings to Slurm through submitit."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from drivetrain.errors import RunError
from drivetrain.run_record import Launch, RunPaths
from drivetrain.runs.cluster.placement import Placement
from drivetrain.runs.cluster.slurm_training import SlurmTraining

MINUTES = 24 * 60
"""Time limit of a job where none is asked for [min]."""
WARNING_S = 120
"""How long before its time is over a job is told so [s]."""
MAX_TIMEOUTS = 10_000
"""How often a job may run out of time and be queued again."""


class SlurmBackend:
    """A Slurm cluster that takes trainings."""

    def __init__(self, placement: Placement) -> None:
        """Make sure that there is submitit, and Slurm.

        Raises:
            RunError: There is not.
        """
        if importlib.util.find_spec("submitit") is None:
            raise RunError("--backend slurm: submitit is not installed; pip install --editable '.[slurm]'")
        missing = [name for name in ("sbatch", "srun", "squeue") if shutil.which(name) is None]
        if missing:
            raise RunError(f"--backend slurm: {missing[0]} is not found here; start from a login node of Slurm")
        self._placement = placement

    def check(self, *, cpus: float, gpus: float) -> str:
        """Return an empty address once a node was found that is large enough.

        Raises:
            RunError: The cluster has no such node.
        """
        nodes = _nodes(self._placement.partition)
        if nodes and not any(node_cpus >= cpus and node_gpus >= gpus for node_cpus, node_gpus, _ in nodes):
            most = max(nodes, key=lambda node: (node[1], node[0]) if gpus else (node[0], node[1]))
            free = sum(node[2] for node in nodes)
            raise RunError(
                f"Slurm: no node has {cpus:g} CPUs and {gpus:g} GPUs, which this training asks for; the largest has "
                f"{most[0]} CPUs and {most[1]} GPUs, {free} CPUs are free on {len(nodes)} nodes; lower --cpus, --gpus "
                "or training.processes"
            )
        return ""

    def has_room(self) -> bool:
        """Return False: when Slurm starts a job is its own affair."""
        return False

    def job_id(self, paths: RunPaths) -> str:
        """Return nothing: Slurm numbers its jobs."""
        return ""

    def submit(self, launch: Launch, paths: RunPaths, *, tell: Callable[[str], None]) -> None:
        """Submit the job.

        Raises:
            RunError: Slurm refuses.
        """
        import submitit
        from submitit.core.utils import FailedJobError

        source = str(Path(__file__).resolve().parents[3])
        # The job inherits the environment of the submission.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
        executor = submitit.SlurmExecutor(folder=paths.slurm_folder, max_num_timeout=MAX_TIMEOUTS)
        wanted = {
            "job_name": paths.run_id,
            "time": launch.minutes or MINUTES,
            "nodes": 1,
            "ntasks_per_node": 1,
            "cpus_per_task": math.ceil(launch.cpus),
            "signal_delay_s": WARNING_S,
            **({"partition": launch.partition} if launch.partition else {}),
            **({"gpus_per_node": math.ceil(launch.gpus)} if launch.gpus else {}),
        }
        try:
            executor.update_parameters(**wanted)
            with contextlib.redirect_stderr(io.StringIO()):  # what sbatch says is told below, once
                job = executor.submit(SlurmTraining(str(paths.folder), launch.ticket))
        except (FailedJobError, subprocess.SubprocessError, OSError) as error:
            said = [line.strip() for line in str(error).splitlines() if "sbatch:" in line] or [str(error).strip()]
            raise RunError(f"Slurm does not take the job ({said[0][:200]})") from error
        tell(str(job.job_id))

    def output(self, launch: Launch, paths: RunPaths) -> str:
        """Return the line in which the job said why it ended before a trainer began."""
        logs = sorted(paths.slurm_folder.glob(f"{launch.job_id}_*_log.*"))
        if not logs:
            return (
                f"{paths.root}: not shared: job {launch.job_id} of Slurm ended and left no output there; keep the "
                "project on storage that every node mounts at this path"
            )
        text = "\n".join(path.read_text(errors="replace") for path in logs)
        told = re.findall(r"^drivetrain: (.*)$", text, flags=re.MULTILINE)
        return told[-1] if told else ""


def _nodes(partition: str | None) -> list[tuple[int, int, int]]:
    """Return (CPUs, GPUs, free CPUs) of every node; nothing where Slurm does not tell."""
    where = ["--partition", partition] if partition else []
    try:
        command = ["sinfo", "--noheader", "--Node", *where, "--format", "%c|%G|%C"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10.0, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    nodes = []
    for line in done.stdout.splitlines():
        cpus, gres, used = [*line.split("|"), "", ""][:3]
        gpus = sum(int(count) for count in re.findall(r"gpu(?::[\w.-]+)?:(\d+)", gres))
        idle = used.split("/")[1:2]  # allocated/idle/other/total
        if cpus.rstrip("+").isdigit():
            nodes.append((int(cpus.rstrip("+")), gpus, int(idle[0]) if idle and idle[0].isdigit() else 0))
    return nodes
