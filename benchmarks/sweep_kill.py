"""A sweep of 16 trials on the sample, killed half-way: how many were ended early, what was lost, what it found.

python benchmarks/sweep_kill.py [SWEEP.yaml]

Runs `drivetrain sweep`, sends it SIGKILL, and the training that is furthest too, once half of its trials were drawn,
runs it again to its end and says what must hold. About 25 minutes on two cores that do nothing else.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from drivetrain.run_record import ProcessIdentity, RunPaths, probe_lock, project_root, read_json, read_run_state
from drivetrain.runs.sweeps.folder import SweepFolder
from drivetrain.runs.sweeps.sweep_config import load_sweep, name_of


def main() -> int:
    """Run the sweep with its accident; return 1 where something that must hold does not."""
    file = Path(sys.argv[1] if len(sys.argv) > 1 else "python/configs/sweeps/ppo_search.yaml")
    root, config = project_root(), load_sweep(file)
    folder = SweepFolder(root=root, name=name_of(config, file))
    command = [sys.executable, "-m", "drivetrain", "sweep", str(file), "--no-mlflow"]
    begun = time.time()
    _run_until_half(command, folder, half=config.trials // 2)
    before = read_json(folder.summary) or {}
    lost = _kill_one(root, before)
    code = subprocess.run(command, check=False).returncode
    summary = read_json(folder.summary) or {}
    counts, trials = summary["counts"], summary["trials"]
    runs = [run for trial in trials for run in trial["runs"]]
    held = {
        "it went on to its end": code == 0 and summary["phase"] == "done",
        f"{config.trials} trials, none twice": [trial["number"] for trial in trials] == list(range(config.trials)),
        "a third was ended early": 3 * counts["pruned"] >= config.trials,
        "no step of a run is there twice": all(_steps_are_unique(root, run) for run in runs),
        "the killed training went on": lost is None or _lives(root, lost) == 2,
    }
    minutes = (time.time() - begun) / 60.0
    print(json.dumps({"counts": counts, "killed after": len(before.get("trials", ())), "minutes": round(minutes, 1)}))
    print(f"processor time of its trainings: {sum(_cpu_seconds(root, run) for run in folder.run_ids()) / 60:.1f} min")
    print(summary["verdict"])
    for what, holds in held.items():
        print(f"{'holds' if holds else 'FAILS'}: {what}")
    return int(not all(held.values()))


def _run_until_half(command: list[str], folder: SweepFolder, *, half: int) -> None:
    with subprocess.Popen(command) as sweep:
        while sweep.poll() is None:
            drawn = len((read_json(folder.summary) or {}).get("trials", ()))
            if drawn > half:
                sweep.send_signal(signal.SIGKILL)
                return
            time.sleep(0.5)
    raise SystemExit("the sweep ended before half of its trials were drawn; has it run before? remove its folder")


def _kill_one(root: Path, summary: dict) -> str | None:
    """Kill a training of the sweep that goes on without it, too; return its name."""
    runs = [run for trial in summary["trials"] if trial["state"] == "running" for run in trial["runs"]]
    for run in runs:
        pid = probe_lock(RunPaths(root=root, run_id=run).run_lock).pid
        if pid is not None and RunPaths(root=root, run_id=run).run_json.is_file():
            ProcessIdentity.of(pid).send(signal.SIGKILL)
            return run
    return None


def _steps_are_unique(root: Path, run_id: str) -> bool:
    lines = RunPaths(root=root, run_id=run_id).metrics_jsonl.read_text(encoding="utf-8").splitlines()
    return max(Counter(json.loads(line)["step"] for line in lines).values()) == 1


def _lives(root: Path, run_id: str) -> int:
    return (read_json(RunPaths(root=root, run_id=run_id).state_json) or {}).get("life", 0)


def _cpu_seconds(root: Path, run_id: str) -> float:
    state = read_run_state(RunPaths(root=root, run_id=run_id))
    return float(state.row.get("cpu_seconds", 0.0)) if state is not None else 0.0


if __name__ == "__main__":
    sys.exit(main())
