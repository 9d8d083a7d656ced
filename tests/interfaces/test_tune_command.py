"""`drivetrain tune`: what it measures is real, what it writes can be started, wrong use is one line."""

from __future__ import annotations

import json

import pytest

from drivetrain.config import load_config
from drivetrain.interfaces.cli import main
from drivetrain.trainer.experiment import ExperimentConfig

CARTPOLE = """\
environment: {name: gymnasium, id: CartPole-v1, num_worlds: 16}
algorithm: {name: NAME}
policy: {hidden: [8]}
training: {total_steps: 640, threads: 1, device: cpu}
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))

    def write(name):
        path = tmp_path / f"{name}.yaml"
        path.write_text(CARTPOLE.replace("NAME", name))
        return path

    return write


@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_a_config_is_measured_and_written(config, name, tmp_path, capsys):
    path, target = config(name), tmp_path / "new" / "tuned.yaml"
    assert main(["tune", str(path), "--budget", "0.01", "--write", str(target), "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (document["algorithm"], document["device"], document["unit"]) == (name, "cpu", "agent-steps/s")
    (base,) = document["trials"]
    assert base["iterations"] >= 3
    assert base["rate_low"] <= base["rate"] <= base["rate_high"]
    assert set(base["phase_rates"]) == {"sim", "infer", "learn"}
    assert sum(base["shares"].values()) < 1.1
    assert base["gradient_steps_per_step"] > 0
    assert base["memory_bytes"] > 50e6
    assert all(text.endswith("no time left") for text in document["skipped"])
    assert "tuning: " in err
    assert load_config(target, ExperimentConfig).environment.num_worlds == 16


def test_the_table(config, capsys):
    assert main(["tune", str(config("ppo")), "--budget", "0.01"]) == 0
    out = capsys.readouterr().out
    assert "ppo on cpu" in out.splitlines()[0]
    assert "as it is" in out
    assert "the same algorithm: nothing is faster" in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--budget", "0"], "tune: --budget 0 is no time; give seconds above 0, such as 120"),
        (["--budget", "nan"], "tune: --budget nan is no time; give seconds above 0, such as 120"),
        (["--all"], "tune: --all says what --write writes; give --write FILE too"),
        (["--device", "tpu"], "--device tpu: training.device: 'tpu' is unknown; use auto, cpu or cuda"),
        (
            ["--set", "algorithm.epoch=2"],
            "--set algorithm.epoch=2: algorithm.epoch: unknown key; did you mean 'epochs'?",
        ),
    ],
)
def test_wrong_use_is_one_line(config, words, line, capsys):
    assert main(["tune", str(config("ppo")), *words]) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1
    assert err[0].endswith(line)
