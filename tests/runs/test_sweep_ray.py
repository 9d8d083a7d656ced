"""A sweep whose trials Ray Tune places on a cluster."""

import json
import os
import subprocess
import sys

import pytest
from tests.test_docs import ROOT
from tests.trainer.conftest import CARTPOLE

from drivetrain.errors import UsageError
from drivetrain.interfaces import cli
from drivetrain.runs.sweeps.ray_tune import join_cluster

SWEEP = """\
base: c.yaml
total_steps: 1280
rungs: 4
trials: 2
confirm: 0
space:
  algorithm.learning_rate: {low: 1e-4, high: 1e-2, log: true}
"""


@pytest.mark.slow
@pytest.mark.needs_ray
def test_trials_train_on_the_cluster_and_the_study_holds_them(ray_cluster, tmp_path):
    (tmp_path / "c.yaml").write_text(CARTPOLE)
    (tmp_path / "s.yaml").write_text(SWEEP)
    environment = {**os.environ, **ray_cluster.environment, "DRIVETRAIN_ROOT": str(tmp_path)}
    environment["PYTHONPATH"] = str(ROOT / "python/src")
    command = [sys.executable, "-m", "drivetrain", "sweep", "s.yaml", "--backend", "ray", "--no-mlflow", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert [trial["state"] for trial in summary["trials"]] == ["completed", "completed"]
    assert all(list(trial["rungs"]) == ["1", "2", "3", "4"] for trial in summary["trials"])
    # Done is done: called again nothing trains, and without a cluster neither.
    local = [word for word in command if word not in ("--backend", "ray")]
    again = subprocess.run(local, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert json.loads(again.stdout)["trials"] == summary["trials"]


def test_without_ray_or_with_a_wrong_address_one_line_says_so(tmp_path, monkeypatch, capsys):
    import importlib.util

    with pytest.raises(UsageError, match=r"sweep --address http://h:8265: .*give HOST:PORT of its head"):
        join_cluster("http://h:8265", root=tmp_path, cpus=1)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    with pytest.raises(UsageError, match=r"Ray is not installed; pip install 'drivetrain\[ray\]'"):
        join_cluster(None, root=tmp_path, cpus=1)
    assert cli.main(["sweep", "s.yaml", "--address", "h:6379"]) == 2
    assert capsys.readouterr().err == "drivetrain: sweep --address: is for clusters; add --backend ray\n"
