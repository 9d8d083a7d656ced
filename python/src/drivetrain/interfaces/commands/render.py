"""`drivetrain render`: a picture or an animation of one scenario, one panel per driver."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from drivetrain.interfaces.command_line import add_command

FORMATS = (".gif", ".png")


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "render",
        summary="draw one scenario driven by policies and planners, side by side",
        text="The first panel is the log. Frames are real time; the suffix of --out says GIF or PNG.",
        examples="drivetrain render experiments/checkpoints/ppo_v1/best.pt\n"
        "drivetrain render experiments/checkpoints/ppo_v1/best.pt --planner idm --out experiments/ppo_v1.png\n"
        "drivetrain render --planner constant_velocity idm expert --data datasets/processed/sample --scenario 3",
    )
    parser.add_argument("checkpoints", nargs="*", type=Path, metavar="CHECKPOINT", help="file, or folder with best.pt")
    parser.add_argument(
        "--planner", nargs="+", default=[], metavar="NAME", help="constant_velocity, idm, expert: one panel each"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="scenario store (default: as in training, data: auto)")
    parser.add_argument("--split", default="val", metavar="S", help="split that a scenario number counts in (val)")
    parser.add_argument("--scenario", default="0", metavar="ID", help="scenario id, or its number in the split (0)")
    parser.add_argument(
        "--traffic", default="replay", metavar="T", help="replay, idm, idm_aggressive or idm_timid (replay)"
    )
    parser.add_argument("--no-log", action="store_true", help="leave the log's panel out")
    parser.add_argument(
        "--out", type=Path, default=Path("experiments/render.gif"), metavar="FILE", help="experiments/render.gif"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Draw and say where the file is."""
    from drivetrain.errors import UsageError

    if arguments.out.suffix not in FORMATS:
        raise UsageError(f"drivetrain render --out: '{arguments.out}' must end in {' or '.join(FORMATS)}")
    if not arguments.checkpoints and not arguments.planner and arguments.no_log:
        raise UsageError("drivetrain render: nobody drives; give a checkpoint or --planner, or drop --no-log")
    from drivetrain.rendering.animation import save_animation
    from drivetrain.rendering.drivers import planner_drive, policy_drive
    from drivetrain.rendering.scene_picture import save_picture

    scenario = _scenario(arguments)
    first = [] if arguments.no_log else [planner_drive("log", scenario)]
    policies = [policy_drive(path, scenario, traffic=arguments.traffic) for path in arguments.checkpoints]
    planners = [planner_drive(name, scenario, traffic=arguments.traffic) for name in arguments.planner]
    recordings = [*first, *policies, *planners]
    if arguments.out.suffix == ".png":
        save_picture(recordings, arguments.out)
    else:
        save_animation(recordings, arguments.out)
    print(f"scenario {scenario.scenario_id} ({scenario.scenario_type})", file=sys.stderr)
    print(arguments.out)
    return 0


def _scenario(arguments: argparse.Namespace) -> Any:
    """Return the scenario asked for, by id or by its number in the split."""
    from drivetrain.data.scenario_store import ScenarioStore
    from drivetrain.errors import DataError

    folder = arguments.data or default_store()
    store = ScenarioStore(folder)
    if len(arguments.scenario) == 16:
        return store.load(arguments.scenario)
    rows = store.rows(arguments.split)
    if not arguments.scenario.isdigit() or int(arguments.scenario) >= len(rows):
        raise DataError(
            f"{folder}: scenario '{arguments.scenario}' is neither an id (16 hex characters) nor a number "
            f"below {len(rows)}, the size of split '{arguments.split}'"
        )
    return store.load(int(rows[int(arguments.scenario)]))


def default_store() -> Path:
    """Return the store that ``data: auto`` means: converted nuPlan logs if there are any, else the sample."""
    from drivetrain.run_record import project_root

    processed = project_root() / "datasets" / "processed"
    nuplan = processed / "nuplan"
    return nuplan if (nuplan / "manifest.json").is_file() else processed / "sample"
