"""`drivetrain train` becomes the launcher that a person would type."""

import argparse
import os
import sys
from pathlib import Path

import pytest
from tests.runs.run_folders import write_ended_run

from drivetrain.errors import UsageError
from drivetrain.interfaces import cli
from drivetrain.interfaces.commands import train
from drivetrain.interfaces.training_options import RESUME, SWITCHES, VALUES, requested
from drivetrain.run_record import project_root
from drivetrain.runs.launcher import LAUNCHERS, training_command
from drivetrain.trainer.command import add_arguments

ROOT = Path(__file__).resolve().parents[2]
TRAINING = "python/src/training"


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)

    def write(algorithm):
        path = tmp_path / "config.yaml"
        path.write_text(f"# algorithm: none\ndata: auto\nalgorithm:\n  # a comment\n\n  name: {algorithm}\nseed: 0\n")
        return str(path)

    return write


def command_of(*words):
    return training_command(requested(cli.build_parser().parse_args(["train", *words])), project_root())


def test_every_option_is_passed_on(config):
    path = config("ppo")
    words = ["--total-steps", "1_00", "--set", "a.b=1", "--set", "c=2", "--run-id", "x", "--overwrite", "--no-mlflow"]
    expected = ["--config", path, "--run-id", "x", "--total-steps", "100", "--set", "a.b=1", "--set", "c=2"]
    launcher = [sys.executable, f"{TRAINING}/train_rl.py"]
    assert command_of(path, *words) == [*launcher, *expected, "--overwrite", "--no-mlflow"]
    assert command_of(*words, "--config", path) == [*launcher, *expected, "--overwrite", "--no-mlflow"]


@pytest.mark.parametrize("algorithm", LAUNCHERS)
def test_the_config_decides_the_launcher(config, algorithm):
    assert command_of(config(algorithm))[1] == f"{TRAINING}/{LAUNCHERS[algorithm]}"
    assert (ROOT / TRAINING / LAUNCHERS[algorithm]).is_file()


def test_the_shipped_config_is_understood(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert command_of("python/configs/planning/ppo.yaml")[1] == f"{TRAINING}/train_rl.py"


def test_a_resume_needs_no_config(config, tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    write_ended_run(tmp_path, "gail_v1", algorithm="gail", status="stopped")
    words = command_of("--run-id", "gail_v1", "--resume")
    assert words[1:] == [f"{TRAINING}/train_gail.py", "--run-id", "gail_v1", "--resume"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "train: CONFIG is missing; for example: drivetrain train"),
        (["--run-id", "x"], "train: CONFIG is missing"),
        (["a.yaml", "--config", "b.yaml"], "train: two configs, a.yaml and b.yaml; give one"),
        (["no/such.yaml"], "no/such.yaml: cannot be read (No such file or directory); configs lie in python/configs/"),
    ],
)
def test_wrong_use(words, line):
    with pytest.raises(UsageError) as error:
        command_of(*words)
    assert str(error.value).startswith(line)


def test_a_config_without_a_known_algorithm(config, tmp_path):
    with pytest.raises(UsageError, match=r"unknown algorithm 'pppo'; did you mean 'ppo'\?$"):
        command_of(config("pppo"))
    empty = tmp_path / "empty.yaml"
    empty.write_text("data: auto\n")
    with pytest.raises(UsageError, match=r"names no algorithm; add 'algorithm: \{name: ppo\}'$"):
        command_of(str(empty))


def test_the_options_are_those_of_the_launchers():
    flags = set()
    for kind in ("rl", "bc", "gail"):
        parser = argparse.ArgumentParser()
        add_arguments(parser, kind)
        flags |= {option for action in parser._actions for option in action.option_strings}
    ours = {option for option, *_ in (*VALUES, RESUME, *SWITCHES)} | {"--set", "-h", "--help"}
    assert ours == flags


def test_the_process_is_replaced(config, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "execv", lambda path, words: seen.append((path, words)))
    path = config("ppo")
    train.run(cli.build_parser().parse_args(["train", path]))
    assert seen == [(sys.executable, [sys.executable, f"{TRAINING}/train_rl.py", "--config", path])]
