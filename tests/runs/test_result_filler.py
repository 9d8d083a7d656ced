"""Filling the table of algorithms: what is run in which order, and what is left when it is broken off anywhere."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.runs.result_fixtures import make_root, states_of

from drivetrain.errors import DataError, RunError
from drivetrain.run_record import RunLock, read_run_state
from drivetrain.runs.results import filler as filler_module
from drivetrain.runs.results.cells import Spent
from drivetrain.runs.results.filler import Filler

STUB = str(Path(__file__).with_name("result_stub.py"))


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Return a function that makes a filler whose commands are stubs, and the list of the real ones."""
    table, folder = make_root(tmp_path)
    commands, how = [], {}

    def stub(run):
        def command(self, row, seed, *, prior):
            commands.append(run(self, row, seed, prior=prior))
            return [
                sys.executable,
                STUB,
                "train",
                str(tmp_path),
                self.paths(row, seed).run_id,
                how.get(row.name, "well"),
            ]

        return command

    monkeypatch.setattr(Filler, "command", stub(Filler.command))
    evaluations = []

    def evaluation(self, row, trained, *, dynamics, real=Filler.evaluation):
        evaluations.append(real(self, row, trained, dynamics=dynamics))
        return [sys.executable, STUB, "evaluate"]

    monkeypatch.setattr(Filler, "evaluation", evaluation)
    return table, folder, how, commands, evaluations


def filler_of(table, folder, split="val"):
    return Filler(table, folder.parent, split=split, say=lambda text: None)


def test_a_prior_is_trained_first_and_its_time_taken_off(begin):
    table, folder, _, commands, evaluations = begin
    filler_of(table, folder).fill(states_of(table, folder)["ppo", 0])
    first, second = (" ".join(command[3:]) for command in commands)
    assert first.startswith("train configs/bc.yaml --run-id results-bc-0-")
    assert (
        "--set training.processes=1 --set training.max_cpu_minutes=2.0000 --set training.total_steps=1000000000000"
        in first
    )
    # The clone took 60 s of the two minutes of processor time.
    assert second.startswith("train configs/ppo.yaml --run-id results-ppo-0-")
    changes = ("training.processes=1", "algorithm.epochs=3", "training.max_cpu_minutes=1.0000")
    assert " ".join(["--data datasets/processed/tiny --seed 0", *(f"--set {text}" for text in changes)]) in second
    assert "--init-from experiments/checkpoints/results-bc-0-" in second
    cell = states_of(table, folder)["ppo", 0].cell
    assert (cell.steps, cell.spent, cell.prior_spent) == (20, Spent(90.0, 60.0), Spent(90.0, 60.0))
    # The clone is there now: its own cell, and a row of the same run, are only evaluated.
    filler_of(table, folder).fill(states_of(table, folder)["bc", 0])
    filler_of(table, folder).fill(states_of(table, folder)["other", 0])
    assert len(commands) == 2
    assert "--stochastic" in evaluations[-1]
    assert evaluations[-1][4] == evaluations[0][4]
    assert [key for key, state in states_of(table, folder).items() if state.state == "done"] == [
        ("bc", 0),
        ("ppo", 0),
        ("other", 0),
    ]


def test_a_config_that_changes_meanwhile_makes_no_cell(begin, monkeypatch):
    table, folder, _, _, _ = begin
    config = folder.parent / "configs" / "bc.yaml"
    state = states_of(table, folder)["bc", 0]
    before = config.read_text()
    text = r"^bc seed 0: a config was changed while it was made; the next 'drivetrain results' makes it by the new one$"
    for method in ("_run", "_documents"):  # while it trains, while it is evaluated
        real = getattr(Filler, method)

        def change(self, *arguments, real=real):
            config.write_text("algorithm: {name: bc, warmup: 0.1}\n")
            return real(self, *arguments)

        with monkeypatch.context() as context:
            context.setattr(Filler, method, change)
            with pytest.raises(RunError, match=text):
                filler_of(table, folder).fill(state)
        assert not state.path.exists()
        config.write_text(before)


def test_a_planner_is_only_evaluated(begin):
    table, folder, _, commands, evaluations = begin
    filler_of(table, folder).fill(states_of(table, folder)["idm", None])
    assert commands == []
    assert " ".join(evaluations[0][3:]) == (
        "evaluate --planner idm --data datasets/processed/tiny --split val --traffic replay --dynamics direct "
        "--no-reference --allow-partial --per-scenario --json"
    )
    assert states_of(table, folder)["idm", None].cell.drives[0].values["score"].tolist() == [0.5] * 3


def test_a_run_that_was_killed_goes_on(begin):
    table, folder, how, commands, _ = begin
    how["bc"] = "killed"
    state = states_of(table, folder)["bc", 0]
    with pytest.raises(
        RunError, match=r"^bc seed 0: training ended with code -9, .*; the next 'drivetrain results' go"
    ):
        filler_of(table, folder).fill(state)
    assert not state.path.exists()
    filler_of(table, folder).fill(state)
    assert commands[1][3:] == ["train", "--run-id", commands[0][6], "--resume", "--no-mlflow"]
    assert read_run_state(filler_of(table, folder).paths(table.row("bc"), 0)).life == 2
    assert states_of(table, folder)["bc", 0].state == "done"


def test_a_call_that_dies_between_training_and_evaluation_trains_nothing_again(begin, monkeypatch):
    table, folder, _, commands, _ = begin
    state = states_of(table, folder)["bc", 0]

    def die(*arguments, **keywords):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(filler_module, "write_cell", die)
        with pytest.raises(KeyboardInterrupt):
            filler_of(table, folder).fill(state)
    assert states_of(table, folder)["bc", 0].state == "missing"
    filler_of(table, folder).fill(state)
    assert len(commands) == 1
    assert states_of(table, folder)["bc", 0].state == "done"


def test_a_run_that_was_stopped_or_failed_leaves_its_cell_missing(begin):
    table, folder, how, _, _ = begin
    how.update(bc="stopped")
    with pytest.raises(
        KeyboardInterrupt, match=r"^run 'results-bc-0-\w{8}' goes on with the next 'drivetrain results'$"
    ):
        filler_of(table, folder).fill(states_of(table, folder)["bc", 0])
    how.update(bc="failed")
    with pytest.raises(RunError, match=r"^bc seed 1: training ended with code 1, its reason stands above; "):
        filler_of(table, folder).fill(states_of(table, folder)["bc", 1])
    assert {states_of(table, folder)["bc", seed].state for seed in (0, 1)} == {"missing"}


def test_a_run_that_still_trains_is_waited_for(begin, monkeypatch):
    table, folder, _, commands, _ = begin
    filler = filler_of(table, folder)
    paths = filler.paths(table.row("bc"), 0)
    paths.folder.mkdir(parents=True)
    lock, waited = RunLock(paths.run_lock), []

    def sleep(seconds):
        waited.append(seconds)
        assert commands == []
        lock.release()

    monkeypatch.setattr(filler_module, "time", SimpleNamespace(sleep=sleep))
    filler.fill(states_of(table, folder)["bc", 0])
    assert len(waited) == 1
    assert len(commands) == 1


def test_asked_to_stop_it_lets_the_training_save(begin, monkeypatch):
    table, folder, _, _, _ = begin

    class Child:
        returncode, signals, waits = 0, [], 0

        def __init__(self, command, **options):
            assert options["start_new_session"]

        def wait(self):
            Child.waits += 1
            if Child.waits == 1:
                raise KeyboardInterrupt
            return 0

        def send_signal(self, number):
            self.signals.append(number)

    monkeypatch.setattr(subprocess, "Popen", Child)
    with pytest.raises(KeyboardInterrupt, match=r"^the next 'drivetrain results' goes on from here$"):
        filler_of(table, folder).fill(states_of(table, folder)["bc", 0])
    assert Child.signals == [signal.SIGTERM]
    assert Child.waits == 2


def test_a_prior_may_be_given_a_part_of_the_time(begin):
    table, folder, _, commands, _ = begin
    bc = replace(table.row("bc"), share=0.25)
    table = replace(table, rows=tuple(bc if row.name == "bc" else row for row in table.rows))
    filler_of(table, folder).fill(states_of(table, folder)["ppo", 0])
    limits = [word for command in commands for word in command if word.startswith("training.max_cpu_minutes")]
    assert limits == ["training.max_cpu_minutes=0.5000", "training.max_cpu_minutes=1.0000"]


def test_a_prior_that_leaves_no_time_is_told(begin):
    table, folder, _, _, _ = begin
    short = replace(table, cpu_minutes=1.0)
    with pytest.raises(
        RunError, match=r"^ppo seed 0: its prior took 1.0 of 1 minutes of processor time, so none are left; give"
    ):
        filler_of(short, folder).fill(states_of(short, folder)["ppo", 0])


def test_the_test_split_trains_nothing(begin):
    table, folder, _, commands, evaluations = begin
    state = replace(states_of(table, folder)["bc", 0], path=folder / "test" / "bc-0.json")
    with pytest.raises(
        RunError, match=r"^bc seed 0: there is no finished run 'results-bc-0-\w{8}' here; train it with"
    ):
        filler_of(table, folder, "test").fill(state)
    filler_of(table, folder).fill(states_of(table, folder)["bc", 0])
    filler_of(table, folder, "test").fill(state)
    assert len(commands) == 1
    assert "--split test" in " ".join(evaluations[-1])
    assert state.path.is_file()


def test_other_data_are_refused(begin):
    table, folder, _, _, _ = begin
    filler_of(table, folder).check_data()
    with pytest.raises(
        DataError, match=r"^data: datasets/processed/tiny has fingerprint abc, the table is of xyz; its"
    ):
        filler_of(replace(table, fingerprint="xyz"), folder).check_data()
    with pytest.raises(
        DataError, match=r"^data: no/such holds no scenario store; make it with 'drivetrain data sample "
    ):
        filler_of(replace(table, data="no/such"), folder).check_data()
