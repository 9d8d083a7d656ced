"""Which scenarios an evaluation drives: splits, types, limits, and what is said where there are none."""

import json
from collections import Counter

import numpy as np
import pytest

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.errors import DataError, UsageError
from drivetrain.interfaces import cli
from drivetrain.trainer.evaluate import evaluate
from drivetrain.trainer.scenario_choice import choose_rows, types_of


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("choice") / "few"
    kinds = ["straight", "curve", "on_ramp"]
    write_sample(path, train=1, val=9, test=0, kinds=kinds, workers=1, progress=lambda done, count: None)
    return ScenarioStore(path)


def test_types_by_name_and_by_pattern(store):
    assert Counter(types_of(store, choose_rows(store, split="val"))) == {"straight": 3, "curve": 3, "on_ramp": 3}
    assert set(types_of(store, choose_rows(store, split="val", types=["curve"]))) == {"curve"}
    chosen = choose_rows(store, split="val", types=["c*", "on_ramp"])
    assert Counter(types_of(store, chosen)) == {"curve": 3, "on_ramp": 3}
    assert (np.diff(chosen) > 0).all()


def test_so_many_of_each_type_drawn_by_seed(store):
    draws = [choose_rows(store, split="val", max_per_type=2, seed=seed).tolist() for seed in (0, 0, 1, 2, 3)]
    for rows in draws:
        assert Counter(types_of(store, np.array(rows))) == {"straight": 2, "curve": 2, "on_ramp": 2}
    assert draws[0] == draws[1]
    assert len({tuple(rows) for rows in draws}) > 1
    assert len(choose_rows(store, split="val", max_per_type=100)) == 9
    assert len(choose_rows(store, split="val", max_per_type=2, episodes=4)) == 4


def test_scenarios_of_a_list_are_chosen_by_type_too(store):
    scenarios = store.scenarios("val")
    rows = choose_rows(scenarios, split="val", types=["straight"], episodes=2)
    assert [scenarios[row].scenario_type for row in rows] == ["straight"] * 2


@pytest.mark.parametrize(
    ("choice", "kind", "said"),
    [
        ({"split": "vla"}, UsageError, "split: 'vla' is not one of train, val, test; did you mean 'val'?"),
        ({"types": ["curves"]}, UsageError, "type: there are no scenarios of type 'curves', only curve (3), "
         "on_ramp (3), straight (3); did you mean 'curve'?"),
        ({"seed": -1}, UsageError, "seed: -1 is negative; use 0 or more"),
        ({"episodes": 0}, UsageError, "episodes: 0 is too few; use 1 or more"),
        ({"max_per_type": 0}, UsageError, "max_per_type: 0 is too few; use 1 or more"),
    ],
)  # fmt: skip
def test_what_there_is_not_is_answered_with_what_there_is(store, choice, kind, said):
    with pytest.raises(kind) as error:
        choose_rows(store, **({"split": "val"} | choice))
    assert str(error.value) == said


def test_an_empty_split_says_where_the_scenarios_are(store, capsys):
    with pytest.raises(DataError) as error:
        choose_rows(store, split="test")
    assert str(error.value) == f"{store.path}: split 'test' has no scenarios; train has 1, val has 9"
    assert cli.main(["evaluate", "--planner", "idm", "--data", str(store.path), "--split", "test"]) == 1
    assert capsys.readouterr().err == f"drivetrain: {error.value}\n"


def test_scores_by_type_are_those_of_the_types_alone(store, monkeypatch, tmp_path):
    """Also of the reference rows; the score of all is the mean over scenarios."""
    monkeypatch.setattr("drivetrain.trainer.reference_rows.cache_root", lambda: tmp_path / "kernels")
    chosen = {"dynamics": "direct", "reference": True, "types": ["straight", "curve"], "max_per_type": 2}
    both = evaluate("idm", store, **chosen)
    document = json.loads(json.dumps(both.to_json()))
    assert document["selection"] == {"types": ["straight", "curve"], "max_per_type": 2, "seed": 0}
    assert {kind: scores["n"] for kind, scores in document["types"].items()} == {"curve": 2, "straight": 2}
    alone = evaluate("idm", store, **(chosen | {"types": ["curve"]})).to_json()
    for metric in ("score_basic", "progress", "goal_rate", "mean_reward"):
        assert document["types"]["curve"][metric] == alone[metric]
    means = [scores["score_basic"]["mean"] for scores in document["types"].values()]
    assert document["score_basic"]["mean"] == pytest.approx(np.mean(means))
    for row in document["reference"]:
        assert {kind: scores["n"] for kind, scores in row["types"].items()} == {"curve": 2, "straight": 2}


def test_the_lead_over_a_reference_row_is_that_of_the_same_scenarios(store, monkeypatch, tmp_path):
    monkeypatch.setattr("drivetrain.trainer.reference_rows.cache_root", lambda: tmp_path / "kernels")
    result = evaluate("idm", store, dynamics="direct", reference=True)
    rows = {row.planner: row for row in result.reference}
    assert list(result.lead()) == list(rows)
    difference = result.values["score_basic"] - rows["constant_velocity"].values["score_basic"]
    half = 2.306004 * difference.std(ddof=1) / 3.0  # t_8 of nine scenarios
    lead = result.to_json()["vs"]["constant_velocity"]["score_basic"]
    assert lead["mean"] == pytest.approx(difference.mean())
    assert lead["ci95"] == pytest.approx([difference.mean() - half, difference.mean() + half])
    assert result.to_json()["vs"]["idm"]["score_basic"] == {"mean": 0.0, "ci95": [0.0, 0.0], "n": 9}
