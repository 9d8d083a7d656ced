"""`drivetrain data demonstrations`: what a training imitates, made beforehand, by many processes or on a cluster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivetrain.errors import UsageError
from drivetrain.interfaces.backend_options import add_spread_options, chosen_spread
from drivetrain.interfaces.command_line import add_command, add_json_option, print_json
from drivetrain.interfaces.number_text import bytes_text

if TYPE_CHECKING:
    from drivetrain.data.demonstrations import Demonstrations

_EXAMPLES = """\
drivetrain data demonstrations python/configs/planning/bc.yaml
drivetrain data demonstrations python/configs/planning/bc.yaml --data datasets/processed/nuplan --workers 16
drivetrain data demonstrations python/configs/planning/gail.yaml --set demonstrations.agents=all --backend ray
"""
_TEXT = (
    "A training makes its demonstrations itself when they are not there yet; this makes them before, with the same"
    " result, and keeps them beside the compiled kernels (DRIVETRAIN_CACHE_DIR). The training finds them if it has the"
    " same data, scenes, seed, demonstrations and environment. Stopped at any time, the same command goes on where it"
    " was."
)


def add_parser(parts: Any) -> None:
    """Add the command."""
    parser = add_command(
        parts,
        "demonstrations",
        summary="make what a training imitates beforehand, in many processes or on a Ray cluster",
        text=_TEXT,
        examples=_EXAMPLES,
    )
    parser.add_argument("config", metavar="CONFIG", type=Path, help="YAML config of a training that imitates")
    parser.add_argument("--data", metavar="DIR", help="scenario store, instead of the config's")
    parser.add_argument("--seed", metavar="N", type=int, help="the training's seed, instead of the config's")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change a dotted key of the config; repeatable"
    )
    parser.add_argument("--workers", metavar="N", type=int, help="processes that share the work (default: all cores)")
    add_spread_options(parser)
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make them, and say how many there are."""
    if arguments.workers is not None and arguments.workers < 1:
        raise UsageError(f"data demonstrations: --workers {arguments.workers} is too small; use 1 or more")
    from drivetrain.config import Override, load_config, parse_override
    from drivetrain.data.demonstration_cache import folder_of
    from drivetrain.processes import usable_cores
    from drivetrain.run_record import project_root
    from drivetrain.trainer.experiment import ExperimentConfig, prepare_demonstrations

    overrides = [parse_override(text) for text in arguments.set]
    data = arguments.data if arguments.data in (None, "auto") else str(Path(arguments.data).expanduser().resolve())
    for flag, key, value in (("--data", ("data",), data), ("--seed", ("training", "seed"), arguments.seed)):
        if value is not None:
            overrides.append(Override(path=key, value=value, flag=f"{flag} {value}"))
    config = load_config(arguments.config, ExperimentConfig, overrides=overrides)
    with chosen_spread(arguments, name="data demonstrations") as workers:
        made = prepare_demonstrations(
            config, root=project_root(), say=_say, workers=usable_cores() if workers is None else workers
        )
    if arguments.json:
        print_json({name: _document(demonstrations) for name, demonstrations in made.items()})
        return 0
    # How many there are was said while they were made.
    for name, demonstrations in made.items():
        folder = folder_of(demonstrations.inputs)
        kept = f"kept in {folder}" if folder.is_dir() else f"not kept: {folder} cannot be written"
        print(f"{name.replace('_', ' ')}: {kept}, {bytes_text(_size(demonstrations))}")
    return 0


def _size(demonstrations: Demonstrations) -> int:
    from drivetrain.data.demonstrations import ARRAYS

    return sum(getattr(demonstrations, name).nbytes for name in ARRAYS)


def _document(demonstrations: Demonstrations) -> dict[str, Any]:
    from drivetrain.data.demonstration_cache import folder_of

    folder = folder_of(demonstrations.inputs)
    return {
        "transitions": len(demonstrations),
        "episodes": demonstrations.num_episodes,
        "displaced_episodes": int(demonstrations.displaced.sum()),
        "skipped": dict(demonstrations.skipped),
        "bytes": _size(demonstrations),
        "path": str(folder) if folder.is_dir() else None,
    }


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
