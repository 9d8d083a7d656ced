"""A policy or a planner as a folder that nuplan-devkit loads a planner from."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from drivetrain import __version__
from drivetrain.errors import UsageError

ADAPTER = Path(__file__).parent / "devkit" / "drivetrain_planner.py"
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


def write_devkit_planner(output: Path, *, checkpoint: Path | None, planner: str | None) -> None:
    """Write the folder of a policy's, or else of a named planner.

    Raises:
        DrivetrainError: The policy or planner cannot be used, or the folder cannot be written.
    """
    from drivetrain.run_record import write_bytes_atomic, write_json_atomic
    from drivetrain.trainer.planning_service import named_team, policy_team_of

    export: dict[str, Any] = {"format": "devkit", "version": __version__, "planner": None, "policy": None}
    assert (checkpoint is None) != (planner is None)
    if planner is not None:
        named_team(planner)  # raises where there is none
        export["planner"] = planner
    if checkpoint is not None:
        policy_team_of(checkpoint, device="cpu")  # raises where it does not drive
        export |= {"policy": POLICY_FILE, "exported_from": str(checkpoint.absolute())}
    export |= {"python": sys.executable, "source": str(Path(__file__).resolve().parents[2])}
    try:
        (output / "planner").mkdir(parents=True, exist_ok=True)
        (output / EXPORT_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"export: --output: {output} cannot be written ({error.strerror}); give another") from error
    if checkpoint is not None:
        from drivetrain.trainer.checkpoint import load_checkpoint, save_checkpoint

        save_checkpoint(output / POLICY_FILE, replace(load_checkpoint(checkpoint), training=None))
    policy = f"- `{POLICY_FILE}`: the policy, without what only a training needs.\n"
    readme = _README.format(
        what=f"`{planner or checkpoint}`",
        version=__version__,
        folder=output,
        python=sys.executable,
        policy="" if planner else policy,
    )
    write_bytes_atomic(output / ADAPTER.name, ADAPTER.read_bytes())
    write_bytes_atomic(output / "planner" / "drivetrain_planner.yaml", _CONFIG.encode())
    write_bytes_atomic(output / "README.md", readme.encode())
    write_json_atomic(output / EXPORT_FILE, export)
