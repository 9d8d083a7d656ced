"""`drivetrain evaluate` hands its options on and prints either a table or one document."""

import json

import numpy as np
import pytest

from drivetrain.errors import CheckpointError
from drivetrain.interfaces import cli
from drivetrain.trainer import evaluate as scoring
from drivetrain.trainer.evaluation_result import METRICS, result_of


def result(planner, *, traffic, score):
    values = {metric: np.full(4, 0.25) for metric in METRICS} | {"score_basic": np.full(4, score)}
    rates = {metric: np.array([0.0, 0.0, 0.0, 1.0]) for metric, kind in METRICS.items() if kind == "rate"}
    return result_of(
        values | rates,
        kinds=METRICS,
        planner=planner,
        traffic=traffic,
        dynamics="direct",
        scenario_ids=["a", "b", "c", "d"],
        failures={"e": "no ego"},
        inputs={"data": "datasets/processed/sample", "split": "val"},
    )


@pytest.fixture
def calls(monkeypatch):
    seen = []

    def evaluate(planner, data, **options):
        seen.append((str(planner), data, options))
        options["progress"](4, 4)
        scored = result(str(planner), traffic=options["traffic"], score=0.5)
        return scored.with_reference([result("idm", traffic=options["traffic"], score=0.75)] * options["reference"])

    monkeypatch.setattr(scoring, "evaluate", evaluate)
    return seen


def test_a_checkpoint_beside_the_reference_rows(calls, capsys):
    assert cli.main(["evaluate", "best.pt"]) == 0
    (planner, data, options) = calls[0]
    options.pop("progress")
    assert (planner, data) == ("best.pt", "auto")
    assert options == {
        "split": "val",
        "episodes": None,
        "traffic": "replay",
        "seed": 0,
        "reference": True,
        "deterministic": True,
        "temperature": 1.0,
        "device": "cpu",
        "dynamics": "auto",
        "processes": None,
        "save_trajectories": None,
    }
    out, err = capsys.readouterr()
    assert err == "evaluating (replay): 4/4\n"
    lines = out.splitlines()
    assert lines[0] == (
        "datasets/processed/sample, split val: 4 scenes, 1 failed; training simulator; traffic replay; "
        "dynamics direct; shares x 100, ± half the 95 % interval"
    )
    assert lines[1].split() == ["metric", "best.pt", "idm"]
    assert lines[2].split() == ["score_basic", "50.0", "±", "0.0", "75.0", "±", "0.0"]


def test_every_option_is_handed_on(calls, capsys):
    words = ["--planner", "idm", "--data", "d", "--split", "test", "--episodes", "7", "--seed", "3", "--stochastic"]
    words += ["--temperature", "0.5", "--device", "cuda", "--no-reference", "--per-scenario", "--traffic", "idm"]
    words += ["--dynamics", "direct", "--workers", "3"]
    assert cli.main(["evaluate", *words]) == 0
    (planner, data, options) = calls[0]
    options.pop("progress")
    assert (planner, data) == ("idm", "d")
    assert options == {
        "split": "test",
        "episodes": 7,
        "traffic": "idm",
        "seed": 3,
        "reference": False,
        "deterministic": False,
        "temperature": 0.5,
        "device": "cuda",
        "dynamics": "direct",
        "processes": 3,
        "save_trajectories": None,
    }
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-4:]] == ["a", "b", "c", "d"]


def test_json_is_one_document_for_one_traffic_and_for_both(calls, capsys):
    assert cli.main(["evaluate", "best.pt", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["planner"], document["traffic"]) == ("best.pt", "replay")
    assert document["scenarios"] == {"asked": 5, "scored": 4, "failed": 1}
    assert document["score_basic"] == {"mean": 0.5, "ci95": [0.5, 0.5], "n": 4}
    assert [row["planner"] for row in document["reference"]] == ["idm"]
    assert cli.main(["evaluate", "best.pt", "--json", "--traffic", "both", "--per-scenario"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["planner"], document["traffic"]) == ("best.pt", "both")
    assert [part["traffic"] for part in document["results"]] == ["replay", "idm"]
    assert len(document["results"][0]["per_scenario"]) == 4


def test_both_or_neither_of_checkpoint_and_planner_is_wrong(capsys):
    for words in ([], ["best.pt", "--planner", "idm"], ["best.pt", "--trajectories", "d.npz"]):
        assert cli.main(["evaluate", *words]) == 2
        assert "evaluate: give one of: a checkpoint, --planner NAME, --traj" in capsys.readouterr().err


def test_a_checkpoint_that_cannot_be_used_is_one_line(monkeypatch, capsys):
    def fail(*_, **options):
        raise CheckpointError("best.pt: cannot be read; it is damaged or no checkpoint")

    monkeypatch.setattr(scoring, "evaluate", fail)
    assert cli.main(["evaluate", "best.pt"]) == 1
    assert capsys.readouterr() == ("", "drivetrain: best.pt: cannot be read; it is damaged or no checkpoint\n")
