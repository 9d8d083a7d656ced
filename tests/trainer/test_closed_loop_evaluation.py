"""`evaluate` in nuPlan's closed loop: what is reported, what fails, what must not matter."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.golden_sets import GOLDEN2

from drivetrain.data.convert import convert
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import DataError, UsageError
from drivetrain.interfaces import cli
from drivetrain.metrics.score import METRICS
from drivetrain.trainer import closed_loop_evaluation
from drivetrain.trainer.closed_loop_evaluation import NamedPlanner, evaluate_in_closed_loop
from drivetrain.trainer.evaluate import evaluate
from drivetrain.trainer.evaluation_result import EvaluationResult


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("closed_loop") / "golden2"
    convert("nuplan", [GOLDEN2], path)
    return ScenarioStore(path)


@pytest.fixture(scope="module")
def split(store):
    """The split with fewest scenarios."""
    return min((split for split, count in store.splits.items() if count), key=store.splits.get)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Reference rows of other tests are none of ours; compiled kernels are."""
    monkeypatch.setattr("drivetrain.trainer.reference_rows.cache_root", lambda: tmp_path / "kernels")


def straight(view):
    way = view.speed * np.arange(81) / 10
    x, y, heading = view.pose
    return np.stack([x + way * np.cos(heading), y + way * np.sin(heading), np.full(81, heading)], axis=1)


def test_a_planner_of_ones_own_beside_the_reference_rows(store, split):
    result = evaluate(straight, store, split=split, reference=True)
    document = result.to_json(per_scenario=True)
    assert (document["planner"], document["traffic"], document["dynamics"]) == ("straight", "replay", "tracker")
    count = store.splits[split]
    assert document["scenarios"] == {"asked": count, "scored": count, "failed": 0}
    for name in ("score", *METRICS, "collision_at_fault_rate", "offroad_rate", "progress", "mean_abs_jerk"):
        assert set(document[name]) == {"mean", "ci95", "n"}
        assert document[name]["n"] == count
    assert "score_basic" not in document
    rows = {row["planner"]: row for row in document["reference"]}
    assert list(rows) == ["log_replay", "constant_velocity", "idm", "nuplan_idm", "rule_based"]
    assert rows["constant_velocity"]["score"]["mean"] == pytest.approx(document["score"]["mean"], abs=1e-6)
    assert rows["log_replay"]["dynamics"] == "log"
    assert rows["log_replay"]["score"]["mean"] > 0.85
    again = EvaluationResult.of_json(json.loads(json.dumps(document)))
    assert again.to_json(per_scenario=True) == document
    assert result.to_table().splitlines()[0].startswith("| planner | score | no_ego_at_fault_collisions |")


def test_the_training_simulator_where_asked_for(store, split):
    document = evaluate("idm", store, split=split, dynamics="direct").to_json()
    assert "score" not in document
    assert "score_basic" in document


def test_processes_and_company_change_nothing(store, monkeypatch):
    monkeypatch.setattr(closed_loop_evaluation, "SCENARIOS_AT_ONCE", 4)
    rows = list(range(9))
    documents = [
        evaluate_in_closed_loop(
            NamedPlanner(name="idm"), store, rows=rows, name="idm", traffic="idm", inputs={}, processes=processes
        ).to_json(per_scenario=True)
        for processes in (1, 2)
    ]
    monkeypatch.setattr(closed_loop_evaluation, "SCENARIOS_AT_ONCE", 7)
    other = evaluate_in_closed_loop(
        NamedPlanner(name="idm"), store, rows=rows, name="idm", traffic="idm", inputs={}
    ).to_json(per_scenario=True)
    for document in documents:
        assert json.dumps(document) == json.dumps(other)


@pytest.mark.needs_ray
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_workers_of_a_cluster_change_nothing(store, split, monkeypatch, capsys, ray_cluster):
    for name, value in ray_cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(closed_loop_evaluation, "SCENARIOS_AT_ONCE", 2)
    words = ["evaluate", "--planner", "idm", "--data", str(store.path), "--split", split, "--no-reference"]
    words += ["--per-scenario", "--json"]
    assert cli.main([*words, "--workers", "1"]) == 0
    here = capsys.readouterr().out
    assert cli.main([*words, "--workers", "2", "--backend", "ray"]) == 0
    assert capsys.readouterr().out == here
    assert json.loads(here)["scenarios"]["scored"] > 2


def test_a_planner_that_fails_costs_its_scenario_only(store, split):
    first = store.load(int(store.rows(split)[0])).scenario_id

    def careless(view):
        if view.scenario_id == first and view.time_s > 1.0:
            raise ValueError("lost")
        return straight(view)

    result = evaluate(careless, store, split=split)
    assert result.failures == {first: "ValueError: lost (frame 11)"}
    assert result.to_json()["scenarios"] == {"asked": result.asked, "scored": result.asked - 1, "failed": 1}
    assert first not in result.scenario_ids


def test_a_partial_evaluation_is_said_and_exits_with_one_unless_allowed(store, split, monkeypatch, capsys):
    real = closed_loop_evaluation.idm_planner

    def broken(scenario):
        if scenario.scenario_id == store.load(int(store.rows(split)[0])).scenario_id:
            raise ValueError("no way")
        return real(scenario)

    monkeypatch.setattr(closed_loop_evaluation, "idm_planner", broken)
    words = ["evaluate", "--planner", "nuplan_idm", "--data", str(store.path), "--split", split, "--no-reference"]
    assert cli.main([*words, "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["scenarios"]["failed"] == 1
    assert "scenes failed (traffic replay), first " in err
    assert "ValueError: no way" in err
    assert cli.main([*words, "--allow-partial"]) == 0
    words = [word for word in words if word != "--no-reference"]
    words[words.index("nuplan_idm")] = "constant_velocity"
    assert cli.main(words) == 0
    lines = [
        line
        for line in capsys.readouterr().err.splitlines()
        if line.startswith("drivetrain: nuplan_idm: partial: 1 of ")
    ]
    assert len(lines) == 1
    assert lines[0].endswith(": ValueError: no way")


def test_what_does_not_go_together_is_said(store, split):
    with pytest.raises(UsageError, match=r"^dynamics: 'traker' is not one of auto, tracker, direct; did you mean"):
        evaluate("idm", store, dynamics="traker")
    with pytest.raises(UsageError, match=r"^planner: 'nuplan_idm' drives in nuPlan's closed loop only; use --dynamics"):
        evaluate("nuplan_idm", store, split=split, dynamics="direct")
    with pytest.raises(
        UsageError, match=r"^planner: 'expert' drives the vehicle model directly; use --dynamics direct"
    ):
        evaluate("expert", store, split=split, dynamics="tracker")
    with pytest.raises(
        UsageError, match=r"^planner: 'nuplan_idn' is no checkpoint and not one of log_replay, constant_"
    ):
        evaluate("nuplan_idn", store, split=split)


def test_the_logs_future_reaches_beyond_the_scenario(store, split):
    """At its last frame LogFuturePlanner still has a way to go: the log goes on where the scenario ends."""
    result = evaluate("nuplan_log_future", store, split=split)
    assert not result.failures
    assert result.metrics["score"].mean > 0.85


def test_what_else_was_kept_before_changes_nothing(store, split, tmp_path, monkeypatch):
    """A row that was made beside others says no more of them than one that is made alone."""
    alone = evaluate("idm", store, split=split, max_per_type=1).to_json(per_scenario=True)
    monkeypatch.setattr("drivetrain.trainer.reference_rows.cache_root", lambda: tmp_path / "other" / "kernels")
    evaluate("idm", store, split=split, max_per_type=1, reference=True)
    again = evaluate("idm", store, split=split, max_per_type=1).to_json(per_scenario=True)
    assert json.dumps(again) == json.dumps(alone)


@pytest.mark.parametrize("dynamics", ["tracker", "direct"])
def test_scenarios_that_were_edited_get_reference_rows_of_their_own(store, split, dynamics):
    """They have the same ids: nothing but the scenarios themselves tells what is in them."""
    scenario = store.load(int(store.rows(split)[0]))
    ego = scenario.ego
    slow = replace(scenario, ego=replace(ego, velocity=0.2 * ego.velocity))
    results = [evaluate(straight, [given], reference=True, dynamics=dynamics) for given in (scenario, slow)]
    cruising = [{row.planner: row for row in result.reference}["constant_velocity"] for result in results]
    assert cruising[0].metrics["progress"].mean != cruising[1].metrics["progress"].mean


def test_a_score_that_cannot_be_known_has_its_reason(store, split):
    scenario = store.load(int(store.rows(split)[0]))
    blind = replace(scenario, map=replace(scenario.map, knowledge=replace(scenario.knowledge, drivable_area=False)))
    result = evaluate(straight, [blind], dynamics="tracker")
    assert result.metrics["score"].mean is None
    assert result.metrics["ego_is_comfortable"].num == 1
    assert result.to_json()["unknown"] == {"drivable_area_compliance": "the map has no drivable area"}
    assert "score_basic" in evaluate(straight, [blind]).metrics
    with pytest.raises(
        UsageError,
        match=r"^planner: 'nuplan_idm' drives in nuPlan's closed loop only, .* do not know drivable",
    ):
        evaluate("nuplan_idm", [blind])


def test_no_scenarios_are_refused():
    for planner in (straight, "nuplan_idm", "idm"):
        with pytest.raises(DataError, match=r"no scenario .* was given"):
            evaluate(planner, [])
