"""The soak, small: random kills of trainers, workers, supervisors; every state told rightly, nothing lost or left."""

import os
import signal
import sys
from pathlib import Path

import pytest

from drivetrain.runs.processes_of_run import marked_processes

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_kills_are_told_rightly_and_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    import soak

    small = soak.Soak(tmp_path, runs=2, real=0, mirrored=0, seed=1)
    try:
        result = small.run(20)
    finally:
        left = [process for subject in small.subjects for process in marked_processes().get(subject.run_id, [])]
        for process in left:
            process.send(signal.SIGKILL)
    assert result["failures"] == []
    assert left == []
    assert result["resumed_lives"] >= 12
    assert set(soak.BLOWS) <= set(result["acts"])
