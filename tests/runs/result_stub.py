"""Stands for `drivetrain train` and `evaluate` in tests of who calls them: python result_stub.py WHAT ...

train ROOT RUN_ID HOW: writes the files of a run; HOW is well, killed (the first life dies), stopped or failed.
evaluate CHECKPOINT: prints the document of three scenarios.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from drivetrain.run_record import DataChoice, RunInfo, RunPaths, RunRecord, claim_run


def train(root: str, run_id: str, how: str) -> int:
    paths = RunPaths(root=Path(root), run_id=run_id)
    resumes = paths.last.is_file()
    lock = claim_run(paths, resume=resumes, overwrite=not resumes)
    if resumes:
        record = RunRecord.resume(paths, step=10, total_steps=20)
    else:
        data = DataChoice(path="datasets/processed/tiny", fingerprint="abc", choice="explicit")
        info = RunInfo(
            run_id=run_id, algorithm="ppo", argv=(), config_hash="h", git_commit=None, git_dirty=False, host="",
            created=0.0, total_steps=20, parent=None, data=data, seed=0, device="cpu", checkpoint_dir="",
        )  # fmt: skip
        record = RunRecord.create(paths, info)
    paths.last.touch()
    if how == "killed" and not resumes:
        os.kill(os.getpid(), signal.SIGKILL)
    status = {"stopped": "stopped", "failed": "failed"}.get(how, "completed")
    record.update(step=20, row={"seconds": 90.0, "cpu_seconds": 60.0})
    record.finish(status, exit_code=int(how == "failed"))
    lock.release()
    return int(how == "failed")


def evaluate() -> int:
    rates = dict.fromkeys(("collision_at_fault_rate", "offroad_rate", "red_light_rate"), 0.0)
    rows = [{"scenario": s, "score_basic": 0.5, **rates, "progress": 0.5, "mean_abs_jerk": 1.0} for s in "abc"]
    print(json.dumps({"traffic": "replay", "scenarios": {"asked": 3}, "score_basic": {}, "per_scenario": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(train(*sys.argv[2:]) if sys.argv[1] == "train" else evaluate())
