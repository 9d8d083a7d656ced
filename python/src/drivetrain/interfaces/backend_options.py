"""The options that say on which machines a training runs: the same for `start` and `resume`."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from drivetrain.errors import UsageError, nearest

if TYPE_CHECKING:
    from drivetrain.runs.cluster.placement import Placement

VALUES = (
    ("--address", "URL", str, "where Ray's Jobs API answers (default: RAY_API_SERVER_ADDRESS, or this machine)"),
    ("--cpus", "N", float, "processors to ask the cluster for (default: one for each of training.processes)"),
    ("--gpus", "N", float, "GPUs to ask the cluster for (default: 1 with device cuda, else 0)"),
    ("--partition", "NAME", str, "partition of Slurm"),
    ("--minutes", "N", int, "time limit of Slurm; the run saves before it and is queued again"),
    ("--restarts", "N", int, "how often a killed trainer goes on by itself within its job (default: 3)"),
)


def add_backend_options(parser: argparse.ArgumentParser, *, default: str) -> None:
    """Add --backend and what belongs to it.

    Args:
        parser: The command's.
        default: What is used without --backend, for the help.
    """
    parser.add_argument("--backend", metavar="NAME", help=f"local, ray or slurm (default: {default})")
    for option, metavar, kind, text in VALUES:
        parser.add_argument(option, metavar=metavar, type=kind, help=text)


def add_spread_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that spread work over the workers of a cluster."""
    parser.add_argument(
        "--backend", metavar="NAME", help="local or ray: whose processes share the work (default: local)"
    )
    parser.add_argument(
        "--address", metavar="HOST:PORT", help="head of the Ray cluster (default: RAY_ADDRESS, or this machine's own)"
    )


@contextlib.contextmanager
def chosen_spread(arguments: argparse.Namespace, *, name: str) -> Iterator[int | None]:
    """Spread the work within as was asked for; gives the number of workers to name, None: as without a cluster.

    Args:
        arguments: With ``backend``, ``address`` and ``workers``.
        name: Of the command, for errors.

    Raises:
        UsageError: An unknown backend, or an address without one.
        RunError: The cluster cannot be used.
    """
    if arguments.backend not in (None, "local", "ray"):
        hint = nearest(arguments.backend, ("local", "ray")) or "; choose local or ray"
        raise UsageError(f"{name} --backend: unknown backend '{arguments.backend}'{hint}")
    if arguments.backend != "ray":
        if arguments.address is not None:
            raise UsageError(f"{name}: --address is for clusters; add --backend ray")
        yield arguments.workers
        return
    from drivetrain.ray_workers import spread_over_ray

    with spread_over_ray(address=arguments.address, workers=arguments.workers) as workers:
        # With one alone the work would be prepared for this process.
        yield max(workers, 2)


def chosen_placement(arguments: argparse.Namespace) -> Placement | None:
    """Return where the training shall run; None: on this machine, or where it ran before.

    Raises:
        UsageError: An unknown backend, or an option that does not fit it.
    """
    given = {option[2:]: getattr(arguments, option[2:]) for option, *_ in VALUES}
    given = {name: value for name, value in given.items() if value is not None}
    backend = arguments.backend
    if backend not in (None, "local", "ray", "slurm"):
        hint = nearest(backend, ("local", "ray", "slurm")) or "; choose local, ray or slurm"
        raise UsageError(f"{arguments.command} --backend: unknown backend '{backend}'{hint}")
    if backend in (None, "local"):
        if given:
            raise UsageError(f"{arguments.command}: --{next(iter(given))} is for clusters; add --backend ray or slurm")
        return None
    from drivetrain.runs.cluster.placement import Placement

    return Placement(backend=backend, **given)
