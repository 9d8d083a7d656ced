"""`drivetrain export`: a policy or a planner in the form another program takes."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from drivetrain import __version__
from drivetrain.errors import UsageError, nearest
from drivetrain.interfaces.command_line import add_command

FORMATS = ("devkit",)
ADAPTER = Path(__file__).parents[1] / "devkit" / "drivetrain_planner.py"
EXPORT_FILE = "drivetrain_export.json"
"""Written last: a folder without it is no export."""
POLICY_FILE = "policy.pt"
_CONFIG = """\
drivetrain_planner:
  _target_: drivetrain_planner.DrivetrainPlanner
  _convert_: 'all'
  maps_root: null   # folder of nuPlan's maps; null: where the devkit reads them
  python: null      # interpreter with drivetrain installed; null: DRIVETRAIN_PYTHON, else the one that exported
  policy: null      # another checkpoint; null: the exported one
  planner: null     # a planner by its name instead; null: what was exported
  device: cpu       # where a policy runs
  name: DrivetrainPlanner
"""
_README = """\
# {what} as a nuplan-devkit planner

Made by drivetrain {version}. In the devkit's environment:

```bash
export PYTHONPATH="{folder}:$PYTHONPATH"
python $NUPLAN_DEVKIT_ROOT/nuplan/planning/script/run_simulation.py \\
    +simulation=closed_loop_nonreactive_agents planner=drivetrain_planner \\
    scenario_builder=nuplan scenario_filter=all_scenarios worker=sequential \\
    "hydra.searchpath=[file://{folder}, pkg://nuplan.planning.script.config.common, \\
pkg://nuplan.planning.script.experiments]"
```

- `drivetrain_planner.py`: the class `DrivetrainPlanner`. It needs nothing in the devkit's environment but NumPy; it
  starts a planning process with `{python}` and talks to it over pipes. Another interpreter: the option
  `planner.drivetrain_planner.python=...` or the environment variable `DRIVETRAIN_PYTHON`.
- `planner/drivetrain_planner.yaml`: its Hydra config; every option is explained there.
- `drivetrain_export.json`: what was exported, and which Python runs it.
{policy}
Results that the devkit stores hold pickled planners: whatever opens them (nuBoard) needs the same `PYTHONPATH`.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "export",
        summary="write a policy or a planner as a planner of nuplan-devkit",
        text="--format devkit writes a folder with drivetrain_planner.py, a class that the devkit (in its own "
        "environment, Python 3.8 or newer) loads like any planner. It plans in a process of this environment, with the "
        "code that 'drivetrain evaluate' drives with.",
        examples="drivetrain export experiments/checkpoints/ppo_v1/best.pt --format devkit --output exports/ppo_v1\n"
        "drivetrain export --planner idm --format devkit --output exports/idm",
    )
    parser.add_argument("checkpoint", nargs="?", type=Path, metavar="CHECKPOINT", help="file, or folder with best.pt")
    parser.add_argument("--planner", metavar="NAME", help="a planner of 'drivetrain evaluate' instead of a policy")
    parser.add_argument("--format", required=True, metavar="NAME", help=f"{', '.join(FORMATS)}")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="write into a folder that holds files already")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the export and say what to do with it.

    Raises:
        DrivetrainError: The policy or planner cannot be used, or the folder cannot be written.
    """
    if arguments.format not in FORMATS:
        hint = nearest(arguments.format, FORMATS)
        raise UsageError(f"export: format '{arguments.format}' is not one of {', '.join(FORMATS)}{hint}")
    if (arguments.checkpoint is None) == (arguments.planner is None):
        raise UsageError("export: give either a checkpoint or --planner NAME")
    output: Path = arguments.output.absolute()
    if output.exists() and not output.is_dir():
        raise UsageError(f"export: --output: {output} is a file; give a folder")
    if output.is_dir() and any(output.iterdir()) and not arguments.overwrite:
        raise UsageError(f"export: --output: {output} holds files; give another folder, or --overwrite")
    _write(arguments, output)
    what = arguments.planner or arguments.checkpoint
    print(f"{what}: exported to {output} as a nuplan-devkit planner; {output / 'README.md'} has the command")
    return 0


def _write(arguments: argparse.Namespace, output: Path) -> None:
    from drivetrain.run_record import write_bytes_atomic, write_json_atomic
    from drivetrain.trainer.planning_service import named_team, policy_team_of

    export: dict[str, Any] = {"format": "devkit", "version": __version__, "planner": None, "policy": None}
    if arguments.planner is not None:
        named_team(arguments.planner)  # raises where there is none
        export["planner"] = arguments.planner
    else:
        policy_team_of(arguments.checkpoint, device="cpu")  # raises where it does not drive
        export |= {"policy": POLICY_FILE, "exported_from": str(arguments.checkpoint.absolute())}
    export |= {"python": sys.executable, "source": str(Path(__file__).resolve().parents[3])}
    try:
        (output / "planner").mkdir(parents=True, exist_ok=True)
        (output / EXPORT_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"export: --output: {output} cannot be written ({error.strerror}); give another") from error
    if arguments.planner is None:
        from drivetrain.trainer.checkpoint import load_checkpoint, save_checkpoint

        save_checkpoint(output / POLICY_FILE, replace(load_checkpoint(arguments.checkpoint), training=None))
    policy = f"- `{POLICY_FILE}`: the policy, without what only a training needs.\n"
    readme = _README.format(
        what=f"`{arguments.planner or arguments.checkpoint}`",
        version=__version__,
        folder=output,
        python=sys.executable,
        policy="" if arguments.planner else policy,
    )
    write_bytes_atomic(output / ADAPTER.name, ADAPTER.read_bytes())
    write_bytes_atomic(output / "planner" / "drivetrain_planner.yaml", _CONFIG.encode())
    write_bytes_atomic(output / "README.md", readme.encode())
    write_json_atomic(output / EXPORT_FILE, export)
