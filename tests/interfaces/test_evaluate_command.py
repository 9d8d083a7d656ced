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
    ).with_types({"a": "merge", "b": "crossing", "c": "merge", "d": "merge", "e": "crossing"})


@pytest.fixture
def calls(monkeypatch):
    seen = []

    def evaluate(planner, data, **options):
        seen.append((str(planner), data, options))
        options["progress"](4, 4, str(planner))
        scored = result(str(planner), traffic=options["traffic"], score=0.5)
        return scored.with_reference([result("idm", traffic=options["traffic"], score=0.75)] * options["reference"])

    monkeypatch.setattr(scoring, "evaluate", evaluate)
    return seen


def test_a_checkpoint_beside_the_reference_rows(calls, capsys):
    assert cli.main(["evaluate", "best.pt", "--allow-partial"]) == 0
    (planner, data, options) = calls[0]
    options.pop("progress")
    assert (planner, data) == ("best.pt", "auto")
    assert options == {
        "split": "val",
        "types": [],
        "max_per_type": None,
        "episodes": None,
        "traffic": "replay",
        "seed": 0,
        "reference": True,
        "deterministic": True,
        "temperature": 1.0,
        "risk_filter": True,
        "device": "cpu",
        "dynamics": "auto",
        "processes": None,
        "save_trajectories": None,
        "scenarios": None,
    }
    out, err = capsys.readouterr()
    assert err == (
        "evaluating (replay): 4/4 best.pt\n"
        "drivetrain: partial: 1 of 5 scenes failed (traffic replay), first e: no ego\n"
    )
    lines = out.splitlines()
    assert lines[0] == (
        "datasets/processed/sample, split val: PARTIAL, 4 of 5 scenes; training simulator; traffic replay; "
        "dynamics direct; shares x 100, ± half the 95 % interval"
    )
    assert lines[1].split("  ")[0] == "metric"
    assert lines[1].endswith("  best.pt (partial: 4 of 5)  idm (partial: 4 of 5)")
    assert lines[2].split() == ["score_basic", "50.0", "±", "33.2", "75.0", "±", "34.6"]
    # Every scene differs by as much.
    assert lines[12].split() == ["score_basic:", "ahead", "by", "-", "-25.0", "±", "0.0"]
    assert [line.split() for line in lines[13:]] == [
        [],
        ["scenes", "score_basic", "collision", "off-road", "red", "light", "goal", "progress", "type"],
        ["1", "of", "2", "50.0", "0.0", "0.0", "0.0", "0.0", "25.0", "crossing"],
        ["3", "50.0", "±", "43.9", "33.3", "33.3", "33.3", "33.3", "25.0", "merge"],
    ]


def test_every_option_is_handed_on(calls, capsys):
    words = ["--planner", "idm", "--data", "d", "--split", "test", "--episodes", "7", "--seed", "3", "--stochastic"]
    words += ["--temperature", "0.5", "--device", "cuda", "--no-reference", "--per-scenario", "--traffic", "idm"]
    words += ["--dynamics", "direct", "--workers", "3", "--risk-filter", "off"]
    words += ["--type", "starting_*", "--type", "changing_lane", "--max-per-type", "9", "--allow-partial"]
    assert cli.main(["evaluate", *words]) == 0
    (planner, data, options) = calls[0]
    options.pop("progress")
    assert (planner, data) == ("idm", "d")
    assert options == {
        "split": "test",
        "types": ["starting_*", "changing_lane"],
        "max_per_type": 9,
        "episodes": 7,
        "traffic": "idm",
        "seed": 3,
        "reference": False,
        "deterministic": False,
        "temperature": 0.5,
        "risk_filter": False,
        "device": "cuda",
        "dynamics": "direct",
        "processes": 3,
        "save_trajectories": None,
        "scenarios": None,
    }
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[-4:]] == ["a", "b", "c", "d"]
    assert [line.split()[-1] for line in out.splitlines()[-4:]] == ["merge", "crossing", "merge", "merge"]
    assert (
        err.splitlines()[-2:]
        == [
            "drivetrain: --episodes 7 asks for more than the 5 scenes there are: all were driven",
            "drivetrain: scene e failed: no ego",
        ][::1]
        or err
    )


def test_json_is_one_document_for_one_traffic_and_for_both(calls, capsys):
    assert cli.main(["evaluate", "best.pt", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["partial"] is True
    assert (document["planner"], document["traffic"]) == ("best.pt", "replay")
    assert document["scenarios"] == {"asked": 5, "scored": 4, "failed": 1}
    assert document["score_basic"] == {"mean": 0.5, "ci95": pytest.approx([0.16813, 0.83187], abs=1e-5), "n": 4}
    assert document["vs"] == {"idm": {"score_basic": {"mean": -0.25, "ci95": [-0.25, -0.25], "n": 4}}}
    assert {kind: scores["n"] for kind, scores in document["types"].items()} == {"crossing": 1, "merge": 3}
    assert document["types"]["crossing"]["failures"] == ["e"]
    assert [row["planner"] for row in document["reference"]] == ["idm"]
    assert cli.main(["evaluate", "best.pt", "--json", "--traffic", "both", "--per-scenario"]) == 1
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
