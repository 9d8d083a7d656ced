"""How learner processes find each other: by a file of one machine, or by the address of the leading process."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from drivetrain.errors import RunError

PATIENCE = timedelta(days=30)
"""A process may wait for a long evaluation; that another one died is noticed by its closed connection."""
JOIN = timedelta(minutes=5)
"""How long a process waits for the address of the leading one to answer."""


def _backend() -> str:
    """Return by which roads tensors travel, by where they lie."""
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def loopback() -> dict[str, str]:
    """Return the variables by which processes of one machine speak over its loopback: its name need not resolve."""
    return {"GLOO_SOCKET_IFNAME": "lo0" if sys.platform == "darwin" else "lo"}


def stay_on_this_machine() -> None:
    """Let this process speak to others of its machine only."""
    for name, value in loopback().items():
        os.environ.setdefault(name, value)


def join_by_file(file: Path, *, rank: int, size: int) -> None:
    """Join processes of this machine.

    Args:
        file: Does not exist yet, in a folder all can write.
        rank: Number of this process.
        size: Number of processes.

    Raises:
        RunError: They cannot connect.
    """
    stay_on_this_machine()
    try:
        dist.init_process_group(_backend(), init_method=f"file://{file}", rank=rank, world_size=size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise RunError(f"the learner processes cannot connect: {_short(error)}") from error


def join_by_address(*, rank: int, size: int, attempt: int = 0) -> None:
    """Join processes by MASTER_ADDR and MASTER_PORT of the environment, as torchrun sets them.

    Args:
        rank: Number of this process.
        size: Number of processes.
        attempt: How often they were started again: whoever answers may still know what the earlier ones told it.

    Raises:
        RunError: Nobody answers there.
    """
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        store, rank, size = next(rendezvous("env://", rank, size, timeout=JOIN))
        store = dist.PrefixStore(f"start_{attempt}", store)  # type: ignore[reportPrivateImportUsage]
        dist.init_process_group(_backend(), store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"learner process {rank} of {size} cannot join the others at {where} (MASTER_ADDR, MASTER_PORT): "
            f"{_short(error)}; start all of them, and check that the address can be reached"
        ) from error


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
