"""`drivetrain results`: flags, what it prints, and one real cell that is killed while it trains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runs.result_fixtures import drive, make_root, put, states_of

from drivetrain.data.synthetic.sample import write_sample
from drivetrain.errors import DataError
from drivetrain.interfaces.cli import main
from drivetrain.run_record import read_json, read_run_state
from drivetrain.runs.results.cells import Spent
from drivetrain.runs.results.filler import Filler
from drivetrain.runs.results.table import load_table

SOURCE = Path(__file__).resolve().parents[2] / "python" / "src"
TINY = """\
environment: {name: driving, num_worlds: 6, threads: 1}
algorithm: {name: ppo, rollout_steps: 32, minibatch_size: 64, epochs: 1}
policy: {hidden: [16], agents_width: 32, road_width: 32, value_width: 8}
evaluation: {episodes: 2, max_share: 0}
training: {threads: 1, device: cpu, save_interval_s: 0}
"""
REAL = """\
data: datasets/processed/tiny
fingerprint: {fingerprint}
seeds: [0]
traffic: [replay]
dynamics: [direct]
rows:
  - {{name: ppo, title: PPO, config: tiny.yaml, steps: 3000}}
"""


def test_only_the_table_s_scenes_are_driven(tmp_path):
    table, _ = make_root(tmp_path)
    Filler(table, tmp_path, split="val", say=lambda text: None).check_data()
    other = replace(table, fingerprint="def")
    with pytest.raises(DataError, match=r"has fingerprint abc, the table is of def; its figures would not compare"):
        Filler(other, tmp_path, split="val", say=lambda text: None).check_data()
    Filler(replace(other, also=("abc",)), tmp_path, split="val", say=lambda text: None).check_data()


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    return make_root(tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "bcc"], "results: --only bcc: there is no such row; did you mean 'bc'?"),
        (["--only", "x"], "results: --only x: there is no such row; choose from idm, bc, ppo, other, sac"),
        (["--seeds", "a"], "results: --seeds a: give whole numbers, for example --seeds 0,1"),
        (["--seeds", "0,7"], "results: --seeds 7: the table's seeds are 0, 1; use some of these"),
        (["--cpu-minutes", "0"], "cpu_minutes: 0.0 is too short; use a number above 0"),
        (
            ["--only", "sac", "--seeds", "0"],
            "results: sac seed 0: configs/sac.yaml does not exist; it cannot be filled yet",
        ),
        (
            ["--split", "train"],
            "results: argument --split: invalid choice: 'train' (choose from 'val', 'test'); "
            "see 'drivetrain results --help'",
        ),
        (
            ["--format", "markdwn"],
            "results: argument --format: invalid choice: 'markdwn' (choose from 'text', 'markdown', 'json'); did you "
            "mean 'markdown'?; see 'drivetrain results --help'",
        ),
        (
            ["--list", "--dry-run"],
            "results: argument --dry-run: not allowed with argument --list; see 'drivetrain results --help'",
        ),
    ],
)
def test_wrong_use_is_one_line(project, capsys, words, message):
    assert main(["results", *words]) == 2
    assert capsys.readouterr().err.splitlines() == [f"drivetrain: {message}"]


def test_a_table_that_is_not_there_is_one_line(project, capsys):
    assert main(["results", "--table", "nowhere.yaml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "nowhere.yaml: cannot read the config (No such file or directory)" in line


def test_it_lists_and_prints_without_training(project, capsys):
    table, folder = project
    states = states_of(table, folder)
    put(table, folder, states["bc", 0], drive(score=[0.5, 1.0]), cpu=75.0)
    put(replace(table, cpu_minutes=9.0), folder, states["bc", 1], drive(score=[0.5, 1.0]))
    assert main(["results", "--list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["bc", "0", "done", "1:15", "-"] in lines
    assert ["bc", "1", "stale", "1:00", "training.cpu_minutes"] in lines
    assert ["sac", "1", "missing", "-", "configs/sac.yaml", "does", "not", "exist"] in lines
    assert main(["results", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["panels"][0]["rows"][1]["score"]["mean"] == 0.75
    assert main(["results", "--format", "markdown"]) == 0
    assert "| BC | 75.0 (50.0 to 100.0) | 0.0 |" in capsys.readouterr().out
    assert main(["results", "--format", "text"]) == 0
    assert "training simulator, replayed traffic, split val" in capsys.readouterr().out
    assert main(["results", "--page"]) == 0
    assert "| BC | 75.0 (50.0 to 100.0) | 0.0 |" in (folder.parent / "docs" / "results.md").read_text()


def test_a_dry_run_shows_what_is_left_to_do(project, capsys):
    table, folder = project
    put(table, folder, states_of(table, folder)["idm", None], drive(score=[0.5, 1.0]))
    assert main(["results", "--dry-run", "--only", "idm,ppo", "--seeds", "1"]) == 0
    label, train, evaluate = capsys.readouterr().out.splitlines()
    assert label == "# ppo seed 1"
    assert train.startswith("drivetrain train configs/ppo.yaml --run-id results-ppo-1-")
    assert evaluate.startswith("drivetrain evaluate experiments/checkpoints/results-ppo-1-")
    assert not (folder.parent / "experiments").exists()


def test_what_fails_is_told_and_the_rest_goes_on(project, capsys, monkeypatch):
    table, folder = project

    def fill(self, state):
        if state.label == "bc seed 0":
            self._finished(state.row, 0)  # raises: there is no such run
        put(table, folder, state, drive(score=[0.5, 1.0]))

    monkeypatch.setattr(Filler, "fill", fill)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["results", "--seeds", "0"]) == 1
    assert signal.getsignal(signal.SIGTERM) == before
    told = capsys.readouterr().err.splitlines()
    assert any(line.startswith("drivetrain: bc seed 0: there is no finished run 'results-bc-0-") for line in told)
    assert "drivetrain: sac seed 0: configs/sac.yaml does not exist; left out" in told
    assert {key for key, state in states_of(table, folder).items() if state.state == "done"} == {
        ("idm", None),
        ("ppo", 0),
        ("other", 0),
    }


def test_the_test_split_is_scored_once(project, capsys):
    table, folder = project
    state = replace(states_of(table, folder)["idm", None], path=folder / "test" / "idm.json")
    put(table, folder, state, drive(score=[0.5, 1.0]))  # by the settings of another split: stale
    before = state.path.read_bytes()
    assert main(["results", "--split", "test", "--only", "idm", "--cpu-minutes", "5"]) == 0
    told = capsys.readouterr().err
    assert told == "drivetrain: idm: the test split is scored once; delete idm.json to score it again\n"
    assert state.path.read_bytes() == before


def test_printing_loads_no_torch(tmp_path):
    make_root(tmp_path)
    program = (
        "import sys; from drivetrain.interfaces.cli import main; main(['results', '--json']);"
        "sys.exit(bool({'torch', 'numba', 'mlflow'} & set(sys.modules)))"
    )
    env = {**os.environ, "DRIVETRAIN_ROOT": str(tmp_path), "PYTHONPATH": str(SOURCE)}
    assert (
        subprocess.run([sys.executable, "-c", program], env=env, stdout=subprocess.DEVNULL, check=False).returncode == 0
    )


def test_a_real_cell_that_is_killed_in_training(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    data = tmp_path / "datasets" / "processed" / "tiny"
    data.parent.mkdir(parents=True)
    write_sample(data, train=4, val=2, test=1, workers=1, progress=lambda done, total: None)
    fingerprint = (read_json(data / "manifest.json") or {})["fingerprint"]
    (tmp_path / "tiny.yaml").write_text(TINY)
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "table.yaml").write_text(REAL.format(fingerprint=fingerprint))
    table = load_table(folder / "table.yaml")
    paths = Filler(table, tmp_path, split="val", say=lambda text: None).paths(table.row("ppo"), 0)

    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-m", "drivetrain", "results"]
    first = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not paths.last.is_file():
        assert first.poll() is None
        time.sleep(0.01)
    first.kill()
    state = read_run_state(paths)
    os.kill(state.pid, signal.SIGKILL)
    first.wait()
    assert not (folder / "val").exists()

    assert main(["results"]) == 0
    cell = states_of(table, folder)["ppo", 0].cell
    state = read_run_state(paths)
    assert (state.status, state.life) == ("completed", 2)
    assert cell.steps == state.step >= 3000
    assert cell.spent == Spent(state.row["seconds"], state.row["cpu_seconds"])
    assert cell.drives[0].asked == 2
    before = (folder / "val" / "ppo-0.json").read_bytes()
    assert main(["results"]) == 0  # nothing is left to do
    assert (folder / "val" / "ppo-0.json").read_bytes() == before
