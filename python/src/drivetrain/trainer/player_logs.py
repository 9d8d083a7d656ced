"""Where the players of a run write."""

from __future__ import annotations

import os
from pathlib import Path

from drivetrain.run_record import RunPaths


def player_logs(root: Path) -> Path | None:
    """Return the folder for the output of the players that this process starts; None outside a run."""
    run_id = os.environ.get("DRIVETRAIN_RUN_ID")
    return RunPaths(root=root, run_id=run_id).player_logs if run_id else None
