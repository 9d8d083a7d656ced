"""Sweep files: what is wrong is told with file, line and remedy before anything trains."""

import pytest
from tests.test_docs import ROOT
from tests.trainer.conftest import CARTPOLE

from drivetrain.errors import ConfigError, UsageError
from drivetrain.run_record import RunPaths
from drivetrain.runs.launcher import LaunchRequest, algorithm_of
from drivetrain.runs.sweeps import study
from drivetrain.runs.sweeps.search_space import read_sweep
from drivetrain.runs.sweeps.sweep_config import ObjectiveConfig, load_sweep, name_of

HEAD = "base: c.yaml\ntotal_steps: 640\n"
RATE = "space:\n  algorithm.learning_rate: {low: 1e-4, high: 1e-2, log: true}\n"


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a sweep file of this text."""
    (tmp_path / "c.yaml").write_text(CARTPOLE)

    def read(text, *, root=tmp_path):
        path = tmp_path / "s.yaml"
        path.write_text(text)
        return read_sweep(path, root=root)

    return read


def lines_of(error, tmp_path):
    return str(error.value).replace(f"{tmp_path}/", "").splitlines()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("space: {}\n", "s.yaml:3:8: space: is empty; name a key and its values, as in algorithm.gamma: {low: 0.9, "),
        ("space:\n  a.b: 3\n", "s.yaml:4:8: space.a.b: expected a mapping of keys to values, got 3"),
        ("space:\n  a.b: {low: x, high: 2}\n", 's.yaml:4:14: space.a.b.low: expected integer or number, got "x"'),
        ("space:\n  a.b: {lowe: 1}\n", "s.yaml:4:9: space.a.b.lowe: unknown key; did you mean 'low'?"),
        ("space:\n  a.b:\n    high: 3\n", "s.yaml:4:3: space.a.b: low is missing; write {low: A, high: B} or {choices"),
        (
            "space:\n  a.b: {low: 2, high: 2}\n",
            "s.yaml:4:23: space.a.b.high: 2 is not above low (2), so the range is empty; a single value belongs under "
            "set: [KEY=VALUE]",
        ),
        ("space:\n  a.b: {low: 0, high: 2, log: true}\n", "s.yaml:4:14: space.a.b.low: 0 has no logarithm; use a"),
        ("space:\n  a.b: {low: 0, high: 2, step: 3}\n", "s.yaml:4:32: space.a.b.step: 3 is longer than the range; "),
        ("space:\n  a.b: {choices: []}\n", "s.yaml:4:18: space.a.b.choices: 0 value(s) are nothing to choose from, so"),
        ("space:\n  a.b: {choices: [1, 2], low: 1}\n", "s.yaml:4:31: space.a.b.low: does not go with choices; give a "),
        ("space:\n  a.b: {choices: [1, 1]}\n", "s.yaml:4:18: space.a.b.choices: names a value twice; name each once"),
        (RATE + "sampler: {name: tep}\n", "s.yaml:5:17: sampler.name: 'tep' is unknown; did you mean 'tpe'? choose"),
        (RATE + "pruner: {name: asha, factor: 3}\n", "s.yaml:5:22: pruner.factor: unknown key; known keys: name, "),
        (RATE + "pruner: {name: asha, reduction: 1}\n", "s.yaml:5:33: pruner.reduction: 1 is too small; use 2 or more"),
        (RATE + "trials: 0\n", "s.yaml:5:9: trials: 0 is too small; use 1 or more"),
        (RATE + "trial: 3\n", "s.yaml:5:1: trial: unknown key; did you mean 'trials'?"),
        (
            RATE + "objective: {metric: scor}\n",
            "s.yaml:5:21: objective.metric: 'scor' is no metric of evaluations; did",
        ),
        (RATE + "name: a/b\n", "s.yaml:5:7: name: 'a/b' cannot name folders; use at most 80 letters, digits, '.', "),
        (RATE + "sampler: {name: grid}\n", "s.yaml:3:1: space.algorithm.learning_rate: a grid needs values; give it"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, text, line):
    path = tmp_path / "s.yaml"
    path.write_text(HEAD + text)
    with pytest.raises(ConfigError) as error:
        load_sweep(path)
    (told,) = lines_of(error, tmp_path)
    assert told.startswith(line) or told.replace(":1:1: ", ":3:1: ").startswith(line)


def test_every_key_is_held_against_the_config(read, tmp_path):
    with pytest.raises(ConfigError) as error:
        read(
            HEAD
            + """\
space:
  algorithm.learning_rat: {low: 1e-4, high: 1e-2}
  algorithm.minibatch_size: {low: 8.5, high: 64}
  algorithm.gamma: {low: 0.9, high: 1.5}
  algorithm.minibatch_order: {choices: [slices, row]}
  evaluation.episodes: {low: 1, high: 3}
  training.seed: {low: 1, high: 3}
  training.total_steps: {low: 100, high: 300}
  algorithm.epochs: {low: 1, high: 3, step: 0.5}
  algorithm.rollout_steps: {choices: [8, 9.5]}
"""
        )
    assert lines_of(error, tmp_path) == [
        "s.yaml:4:3: space.algorithm.learning_rat: unknown key; did you mean 'learning_rate'?",
        "s.yaml:5:3: space.algorithm.minibatch_size: expected integer, got 8.5",
        "s.yaml:6:3: space.algorithm.gamma: 1.5 is impossible; use a number from 0 to 1",
        "s.yaml:7:3: space.algorithm.minibatch_order: expected 'slices' or 'rows', got \"row\"",
        "s.yaml:8:3: space.evaluation.episodes: evaluations must judge all trials alike; put it under set: [KEY=VALUE]",
        "s.yaml:9:3: space.training.seed: seeds: N trains every trial with N seeds; a seed is nothing to choose by its "
        "score",
        "s.yaml:10:3: space.training.total_steps: the budget of every trial is total_steps, so that their scores "
        "compare",
        "s.yaml:11:3: space.algorithm.epochs: is a whole number, and a step of 0.5 leads to others",
        "s.yaml:12:3: space.algorithm.rollout_steps: expected integer, got 9.5",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "base: d.yaml\ntotal_steps: 1\n" + RATE,
            "s.yaml:1:7: base: d.yaml is no file; configs lie in python/configs/",
        ),
        (HEAD + RATE + "set: [algorithm.gama=0.9]\n", "s.yaml:5:7: algorithm.gama: unknown key; did you mean 'gamma'?"),
        (HEAD + RATE + "set: [gamma]\n", "s.yaml:5:7: set: gamma: write KEY=VALUE, for example"),
        (
            HEAD + RATE + "set: [algorithm.learning_rate=1]\n",
            "s.yaml:4:3: space.algorithm.learning_rate: is under set, too; give it one value or several, not both",
        ),
    ],
)
def test_base_and_set_are_checked_too(read, tmp_path, text, line):
    with pytest.raises(ConfigError) as error:
        read(text)
    (told,) = lines_of(error, tmp_path)
    assert told.startswith(line)


def test_what_a_right_file_means(read, tmp_path):
    sweep = read(
        HEAD
        + RATE
        + """\
  algorithm.minibatch_size: {low: 16, high: 64, step: 16}
  algorithm.gamma: {low: 0, high: 1}
  policy.hidden: {choices: [[8], [16, 16]]}
  algorithm.target_kl: {low: 0.01, high: 0.1}
set: [algorithm.gae_lambda=0.9, training.max_minutes=5]
"""
    )
    found = {parameter.key: (parameter.is_whole, parameter.holds_base) for parameter in sweep.parameters}
    assert found == {
        "algorithm.learning_rate": (False, True),
        "algorithm.minibatch_size": (True, True),
        "algorithm.gamma": (False, True),  # whole ends, but a number
        "policy.hidden": (False, True),
        "algorithm.target_kl": (False, False),  # none by default
    }
    assert (sweep.name, sweep.base_seed, sweep.processes) == ("s", 0, 1)
    assert sweep.changes({"policy.hidden": [16, 16], "algorithm.gamma": 1e-5}) == (
        "algorithm.gae_lambda=0.9",
        "training.max_minutes=5",
        "training.total_steps=640",
        "training.max_minutes=null",
        "policy.hidden=[16, 16]",
        "algorithm.gamma=1e-05",
    )
    text = sweep.config_text({"policy.hidden": [16, 16], "algorithm.gamma": 1e-5})
    assert "gamma: 1.0e-05" in text
    assert "max_minutes: null" in text


def test_what_counts_and_which_way():
    assert ObjectiveConfig().maximizes
    assert not ObjectiveConfig(metric="offroad_rate").maximizes
    assert ObjectiveConfig(metric="offroad_rate", direction="maximize").maximizes


def test_the_shipped_search_is_right_and_start_says_what_runs_it():
    path = ROOT / "python/configs/sweeps/ppo_search.yaml"
    sweep = read_sweep(path, root=ROOT)
    assert all(parameter.holds_base for parameter in sweep.parameters)
    assert sweep.name == name_of(sweep.config, path) == "ppo_search"
    with pytest.raises(UsageError, match=r"a sweep of many trainings; 'drivetrain sweep .*ppo_search\.yaml' runs it"):
        algorithm_of(LaunchRequest(config=path), ROOT)


def test_without_optuna_the_way_is_told(monkeypatch, tmp_path, capsys):
    import importlib.util

    from drivetrain.interfaces import cli

    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "optuna" else find(name))
    assert cli.main(["sweep", "s.yaml"]) == 2
    told = "drivetrain: sweep: needs the extra 'sweep': pip install 'drivetrain[sweep]'\n"
    assert capsys.readouterr().err == told
    with pytest.raises(UsageError):
        study.require_optuna()
    assert not RunPaths.sweeps(tmp_path).exists()
