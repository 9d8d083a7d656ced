"""The demo's own decisions, and the whole of it with tiny numbers."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.interfaces.demo import STORE, DemoPlan, make_scenes, telling_scene


def scores(values):
    return SimpleNamespace(scenario_ids=tuple(values), values={"score_basic": np.array(list(values.values()))})


def test_the_scene_shown_is_one_where_learning_shows():
    start = scores({"easy": 0.9, "hard": 0.0, "learnt": 0.0})
    half_way = scores({"easy": 0.9, "hard": 0.0, "learnt": 0.5})
    end = scores({"easy": 0.9, "hard": 0.0, "learnt": 0.9})
    assert telling_scene([start, half_way, end], dict.fromkeys(start.scenario_ids, 60.0)) == "learnt"


def test_of_two_equal_scenes_the_smaller_is_shown_and_a_relapse_counts_against_one():
    start, end = scores({"a": 0.0, "b": 0.0}), scores({"a": 0.8, "b": 0.8})
    steady = scores({"a": 0.4, "b": 0.4})
    assert telling_scene([start, steady, end], {"a": 200.0, "b": 70.0}) == "b"
    relapse = scores({"a": 0.4, "b": 0.9})
    assert telling_scene([start, relapse, end], {"a": 60.0, "b": 60.0}) == "a"


def test_scenes_are_made_once_and_made_anew_for_other_numbers_or_when_damaged(tmp_path, capsys):
    plan = DemoPlan(root=tmp_path, train_scenes=2, validation_scenes=1, total_steps=1000)
    make_scenes(plan)
    assert capsys.readouterr().out == ""
    make_scenes(plan)
    assert capsys.readouterr().out == "datasets/processed/sample-demo is there already\n"
    more = DemoPlan(root=tmp_path, train_scenes=3, validation_scenes=1, total_steps=1000)
    make_scenes(more)
    assert ScenarioStore(tmp_path / STORE).splits == {"train": 3, "val": 1, "test": 0}
    (tmp_path / STORE / "manifest.json").write_text("{")
    make_scenes(more)
    assert ScenarioStore(tmp_path / STORE).splits == {"train": 3, "val": 1, "test": 0}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_demo_with_tiny_numbers(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    command = [sys.executable, "-m", "drivetrain.interfaces.demo"]
    command += ["--train-scenes", "12", "--validation-scenes", "6", "--total-steps", "50000"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "## Training Status Report" in done.stdout
    output = tmp_path / "experiments" / "demo"
    rows = json.loads((output / "evaluation.json").read_text())["rows"]
    planners = [row["planner"] for row in rows]
    assert planners[:3] == ["policy at the start", "policy half-way", "policy at the end"]
    assert planners[3:] == ["log_replay", "constant_velocity", "idm", "expert"]
    assert rows[0]["step"] == 0
    assert 25_000 <= rows[1]["step"] < rows[2]["step"]
    assert all(row["scenarios"]["scored"] == 6 for row in rows)
    with Image.open(output / "scene.gif") as animation:
        assert animation.n_frames > 10
    with Image.open(output / "scene.png") as picture:
        assert picture.width > 1000
    left = {path.name for path in output.iterdir()}
    assert left == {"evaluation.json", "report.md", "scene.gif", "scene.png"}
