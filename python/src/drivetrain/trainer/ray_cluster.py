"""The Ray cluster that a driver is connected to: which one, and whether the learners find room in it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from drivetrain.errors import RunError, UsageError
from drivetrain.processes import usable_cores
from drivetrain.trainer.training_config import TrainingConfig

WORKER_CPUS = 0.9
"""Processors that a learner reserves: it uses one, and leaves what Ray's own actors may ask for."""
PATIENCE_S = 60.0
"""How long learners wait for processors that others, or killed ones, have not given back yet [s]."""
ANSWER_S = 10.0
"""How long the head of a cluster may take to answer [s]."""
OBJECT_STORE_BYTES = 100 << 20
"""Size of the object store of a Ray of our own: nothing goes through it."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """What the learners get."""

    processes: int
    """How many they are."""
    device: str
    """cpu or cuda."""
    is_one_machine: bool
    """Whether the cluster has only one."""

    @property
    def on_gpu(self) -> bool:
        """Whether each has a GPU."""
        return self.device == "cuda"

    @property
    def resources_each(self) -> dict[str, float]:
        """What one of them reserves."""
        return {"CPU": WORKER_CPUS, **({"GPU": 1.0} if self.on_gpu else {})}


@contextlib.contextmanager
def connected() -> Iterator[ModuleType]:
    """Yield Ray, connected to the cluster that RAY_ADDRESS names, or to one of its own on this machine.

    Raises:
        RunError: Ray is not installed, or the cluster cannot be used.
        UsageError: The address is none of a cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # The learners work where the run is.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    address = os.environ.get("RAY_ADDRESS", "")
    if "://" in address:
        raise UsageError(
            f"RAY_ADDRESS={address}: a driver joins the cluster as HOST:PORT, such as 10.0.0.1:6379; "
            "from outside use 'drivetrain start CONFIG --backend ray'"
        )
    if ":" in address:
        _look(address)
    try:
        import ray
        from ray.exceptions import RayError
    except ImportError as error:
        raise RunError(
            "training.workers: ray needs the extra 'ray': pip install 'drivetrain[ray]', "
            "or use --set training.workers=local"
        ) from error
    options: dict[str, Any] = {"address": address}
    if not address:
        options = {"address": "local", "num_cpus": usable_cores(), "include_dashboard": False}
        options["object_store_memory"] = OBJECT_STORE_BYTES
        # Nobody else is to be put before the learners there, and no machine is about to be taken away.
        os.environ.setdefault("RAY_worker_niceness", "0")
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    try:
        ray.init(**options, logging_level=logging.ERROR, log_to_driver=False)
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        told = _not_let_in if ":" in address else _refused
        raise RunError(told(address, error)) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _look(address: str) -> None:
    """Make sure that somebody answers; Ray itself would try for minutes.

    Raises:
        RunError: Nobody does.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise RunError(_refused(address, error)) from error


def find_room(ray: Any, training: TrainingConfig, *, is_wanted: Callable[[], bool], say: Callable[[str], None]) -> Room:
    """Return what the learners get, once it is free.

    Args:
        ray: Connected.
        training: How many learners, and on what.
        is_wanted: Whether to go on waiting.
        say: Told what is waited for.

    Raises:
        UsageError: The device is none that Ray gives out.
        RunError: The cluster has too little, or it is not free; says what is.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    processes, device = training.processes, training.device
    if device.startswith("cuda:"):
        raise UsageError(f"training.device: {device} is chosen by Ray itself; use cuda, or cpu")
    if device == "auto":
        device = "cuda" if gpus else "cpu"
        processes = min(processes, gpus) if gpus else processes  # one learner per GPU, as without Ray
    room = Room(processes=processes, device=device, is_one_machine=len(nodes) == 1)
    asked = " and ".join(f"{amount:g} {name}" for name, amount in room.resources_each.items())
    most = sum(_fitting(node, room) for node in nodes)
    if most < processes:
        raise RunError(
            f"training.processes: {processes} learners with {asked} each do not fit into the Ray cluster, "
            f"{most} would ({_amounts(ray, nodes)}); use {most or 'another cluster'}{' or fewer' if most else ''}"
        )
    deadline, has_said = time.monotonic() + PATIENCE_S, False
    while not _is_free(ray.available_resources(), room):
        if not is_wanted():
            raise RunError("stopped while waiting for room in the Ray cluster")
        if time.monotonic() > deadline:
            raise RunError(
                f"training.processes: {processes} learners with {asked} each find no room in the Ray cluster within "
                f"{PATIENCE_S:.0f} s ({_amounts(ray, nodes)}); wait for other work, or use fewer"
            )
        if not has_said:
            say(f"waiting for room in the Ray cluster: {processes} learners with {asked} each ({_amounts(ray, nodes)})")
            has_said = True
        time.sleep(0.5)
    return room


def _fitting(node: dict[str, float], room: Room) -> int:
    """Return how many learners fit on an empty node."""
    return int(min(node.get(name, 0.0) / amount + 1e-6 for name, amount in room.resources_each.items()))


def _is_free(free: dict[str, float], room: Room) -> bool:
    return all(free.get(name, 0.0) + 1e-6 >= room.processes * each for name, each in room.resources_each.items())


def _amounts(ray: Any, nodes: list[dict[str, float]]) -> str:
    free = ray.available_resources()
    texts = [
        f"{free.get(name, 0.0):g} of {sum(node.get(name, 0.0) for node in nodes):g} {name} free"
        for name in ("CPU", "GPU")
    ]
    return ", ".join([*texts, f"{len(nodes)} node{'s' if len(nodes) != 1 else ''}"])


def _refused(address: str, error: BaseException) -> str:
    """Return in one line why Ray cannot be used."""
    reason = _first_line(error)
    if not address:
        return f"Ray cannot be started on this machine ({reason}); use --set training.workers=local"
    return f"the Ray cluster at RAY_ADDRESS={address} cannot be reached ({reason}); check that it runs, or unset it"


def _not_let_in(address: str, error: BaseException) -> str:
    """Return in one line why a cluster that answers cannot be joined; Ray itself says so in its log only."""
    return (
        f"the Ray cluster at RAY_ADDRESS={address} answers, but does not let this driver in ({_first_line(error)}); "
        "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to its own token, and use its Ray version"
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
