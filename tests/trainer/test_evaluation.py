"""Closed-loop evaluation: who drives, what is counted, what is written."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.sim.worlds import all_worlds, parked_car_road, signalled_crossing, straight_road

from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.errors import UsageError
from drivetrain.planners.constant_velocity import ConstantVelocity
from drivetrain.planners.idm import IntelligentDriver
from drivetrain.sim.reward import RewardConfig
from drivetrain.trainer import evaluation as evaluation_module
from drivetrain.trainer import reference_rows as reference_module
from drivetrain.trainer.evaluate import evaluate
from drivetrain.trainer.evaluation import (
    REFERENCE_PLANNERS,
    evaluate_gymnasium,
    evaluate_planner,
    evaluate_policy,
    load_scenes,
)
from drivetrain.trainer.evaluation_result import METRICS, EvaluationResult
from drivetrain.trainer.reference_rows import reference_rows

COAST = 3 * 13 + 6
FULL_BRAKING = 6
METRIC_NAMES = {
    "collision_at_fault_rate",
    "collision_any_rate",
    "offroad_rate",
    "red_light_rate",
    "goal_rate",
    "progress",
    "mean_abs_jerk",
    "score_basic",
    "mean_reward",
    "episode_length",
}


@pytest.fixture(scope="module")
def scenes():
    return load_scenes(all_worlds())


class Always:
    """A policy that always does the same."""

    def __init__(self, action):
        self.action = action

    def act(self, observation, *, deterministic=False, temperature=1.0, generator=None):
        assert not torch.is_grad_enabled()
        return torch.full((len(observation),), self.action)


class Random:
    """A policy that draws from all actions."""

    def act(self, observation, *, deterministic=False, temperature=1.0, generator=None):
        return torch.randint(0, 91, (len(observation),), generator=generator)


def test_json_has_the_names_of_the_contract():
    result = evaluate_planner("constant_velocity", load_scenes([straight_road()]))
    document = json.loads(json.dumps(result.to_json(per_scenario=True), allow_nan=False))
    assert set(METRICS) == METRIC_NAMES
    assert {"planner", "traffic", "dynamics", "scenarios"} | METRIC_NAMES <= set(document)
    assert document["planner"] == "constant_velocity"
    assert document["traffic"] == "replay"
    assert document["scenarios"] == {"asked": 1, "scored": 1, "failed": 0}
    for name in METRIC_NAMES:
        assert set(document[name]) == {"mean", "ci95", "n"}
        assert document[name]["n"] == 1
    assert len(document["per_scenario"]) == 1
    assert "score" not in document  # nuPlan's score has exact metrics of its own


def test_result_survives_json(scenes):
    result = evaluate_planner("log_replay", scenes).with_reference([evaluate_planner("idm", scenes)])
    row = EvaluationResult.of_json(json.loads(json.dumps(result.reference[0].to_json(per_scenario=True))))
    assert row.to_json(per_scenario=True) == result.reference[0].to_json(per_scenario=True)
    assert row.score == result.reference[0].score


def test_log_replay_and_its_re_driven_form_are_clean_where_the_log_is():
    """The roundabout and the crowd of the test worlds collide in their logs, so they are left out."""
    scenes = load_scenes([straight_road(), parked_car_road(), signalled_crossing(ego_state=0)])
    for name in ("log_replay", "expert"):
        result = evaluate_planner(name, scenes)
        for rate in ("collision_any_rate", "offroad_rate", "red_light_rate"):
            assert result.metrics[rate].mean == 0.0
        assert result.metrics["goal_rate"].mean == 1.0
        assert result.metrics["progress"].mean == 1.0
        assert result.metrics["score_basic"].mean > 0.97
    assert evaluate_planner("log_replay", scenes).dynamics == "log"


def test_constant_velocity_runs_the_red_light_and_idm_waits():
    """Red from the start; the ego is 50 m before the line with 9 m/s. 15 s suffice to reach it."""
    scenes = load_scenes([signalled_crossing(ego_state=2)])
    reckless = evaluate_planner("constant_velocity", scenes)
    patient = evaluate_planner("idm", scenes)
    assert reckless.metrics["red_light_rate"].mean == 1.0
    assert reckless.score == 0.0
    assert patient.metrics["red_light_rate"].mean == 0.0
    assert patient.metrics["collision_at_fault_rate"].mean == 0.0


def test_policies_drive_directly():
    scenes = load_scenes([straight_road()])
    coasting = evaluate_policy(Always(COAST), scenes, name="coast")
    assert coasting.dynamics == "direct"
    assert coasting.metrics["goal_rate"].mean == 1.0
    assert coasting.metrics["mean_abs_jerk"].mean == pytest.approx(0.0, abs=1e-4)
    stopping = evaluate_policy(Always(FULL_BRAKING), scenes, name="stop")
    # 10 m/s, 4 m/s^2: 12.5 m and about 2 m more for the lag of 0.2 s, of the 89.5 m to the goal.
    assert stopping.metrics["progress"].mean == pytest.approx(14.5 / 89.5, abs=0.01)
    assert stopping.score == 0.0  # less than a fifth of the way
    assert stopping.metrics["episode_length"].mean == 90


def test_sampling_policies_repeat_by_seed(scenes):
    runs = [
        evaluate_policy(Random(), scenes, name="r", deterministic=False, seed=seed).values["mean_reward"]
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()


@pytest.mark.parametrize("planner", ["idm", "expert"])
def test_a_scenario_scores_alone_as_among_others(scenes, planner):
    together = evaluate_planner(planner, scenes)
    for i, scenario in enumerate(all_worlds()[:3]):
        alone = evaluate_planner(planner, load_scenes([scenario]))
        for name in METRICS:
            assert alone.values[name][0] == together.values[name][i]


def test_batches_do_not_change_results(scenes, monkeypatch):
    whole = evaluate_planner("constant_velocity", scenes, traffic="idm")
    monkeypatch.setattr(evaluation_module, "WORLDS_AT_ONCE", 3)
    seen = []
    parts = evaluate_planner(
        "constant_velocity", scenes, traffic="idm", progress=lambda done, count: seen.append((done, count))
    )
    for name in METRICS:
        np.testing.assert_array_equal(parts.values[name], whole.values[name])
    assert seen[-1] == (7, 7)
    assert seen == sorted(seen)


@pytest.mark.parametrize("planner", [ConstantVelocity(), IntelligentDriver()])
def test_a_callable_scores_as_the_same_planner_does_in_rows(scenes, planner):
    def mine(view):
        return planner(view)

    rows, own = evaluate_planner(planner, scenes, name="rows"), evaluate_planner(mine, scenes)
    assert own.planner == "mine"
    assert own.dynamics == rows.dynamics == "tracker"
    for name in METRICS:
        np.testing.assert_allclose(own.values[name], rows.values[name], atol=2e-3)


def test_trajectories_may_differ_in_length():
    """Six poses every 0.5 s or a hundred and one every 0.1 s: the same straight drive."""

    def coarse_or_fine(view):
        t = np.arange(6) / 2.0 if view.scenario_id == first else np.arange(101) / 10.0
        x, y, heading = view.pose
        poses = np.stack([x + view.speed * t, np.full(len(t), y), np.full(len(t), heading)], axis=1)
        return (poses, t.tolist())

    worlds = [straight_road(), parked_car_road()]
    first = worlds[0].scenario_id
    own = evaluate_planner(coarse_or_fine, load_scenes(worlds))
    reference = evaluate_planner("constant_velocity", load_scenes(worlds))
    np.testing.assert_allclose(own.values["progress"], reference.values["progress"], atol=1e-3)


def test_scenarios_that_cannot_be_simulated_are_counted():
    good = straight_road()
    short = replace(straight_road(frames=5), scenario_id="00000000000000aa")
    result = evaluate_planner("constant_velocity", load_scenes([good, short]))
    assert result.to_json()["scenarios"] == {"asked": 2, "scored": 1, "failed": 1}
    assert result.to_json()["failures"] == {"00000000000000aa": "only 5 frames (at least 10 are needed)"}


def straight_on(view):
    return ConstantVelocity()(view)


WRONG = {
    "raises": (lambda view: [][1], "IndexError: list index out of range"),
    "not a number": (
        lambda view: np.full((81, 3), np.nan),
        "planner 'careless' returned a pose that is not finite: row 0 is [nan, nan, nan]",
    ),
    "too few": (
        lambda view: np.zeros((1, 3)),
        "planner 'careless' returned an array of shape (1, 3); expected [K, 3] with K >= 2: "
        "x, y [m], heading [rad] of the rear axle every 0.1 s from now on",
    ),
    "wrong shape": (
        lambda view: np.zeros((81, 2)),
        "planner 'careless' returned an array of shape (81, 2); expected [K, 3] with K >= 2: "
        "x, y [m], heading [rad] of the rear axle every 0.1 s from now on",
    ),
    "nothing": (
        lambda view: None,
        "planner 'careless' returned a NoneType, no array of numbers; expected [K, 3] with K >= 2: "
        "x, y [m], heading [rad] of the rear axle every 0.1 s from now on",
    ),
    "words": (
        lambda view: "straight on",
        "planner 'careless' returned a str, no array of numbers; expected [K, 3] with K >= 2: "
        "x, y [m], heading [rad] of the rear axle every 0.1 s from now on",
    ),
    "three things": (
        lambda view: (np.zeros((5, 3)), np.arange(5), 1.0),
        "planner 'careless' returned a tuple, no array of numbers; expected [K, 3] with K >= 2: "
        "x, y [m], heading [rad] of the rear axle every 0.1 s from now on",
    ),
    "beyond the horizon": (
        lambda view: np.full((81, 3), 1e200),
        "the planner's trajectory is not finite or has a pose beyond 1e+06 m or rad",
    ),
}


@pytest.mark.parametrize("dynamics", ["tracker", "direct"])
@pytest.mark.parametrize("wrong", WRONG)
def test_whatever_a_planner_does_wrong_fails_its_scenario_only(wrong, dynamics):
    """The same words in both engines; the other scenario scores as it does alone; nothing of the first is kept."""
    answer, reason = WRONG[wrong]
    first, second = straight_road(frames=20), parked_car_road()

    def careless(view):
        return answer(view) if view.scenario_id == first.scenario_id and view.time_s > 0.25 else straight_on(view)

    result = evaluate(careless, [first, second], dynamics=dynamics)
    assert dict(result.failures) == {first.scenario_id: f"{reason} (frame 3)"}
    document = result.to_json(per_scenario=True)
    assert document["scenarios"] == {"asked": 2, "scored": 1, "failed": 1}
    assert document["partial"] is True
    alone = evaluate(careless, [second], dynamics=dynamics).to_json(per_scenario=True)
    assert alone["partial"] is False
    assert document["per_scenario"] == alone["per_scenario"]


def test_a_planner_that_fails_everywhere_leaves_no_figures():
    def hopeless(view):
        raise RuntimeError

    for dynamics in ("tracker", "direct"):
        result = evaluate(hopeless, [straight_road(frames=20)], dynamics=dynamics)
        assert dict(result.failures) == {straight_road().scenario_id: "RuntimeError"}
        assert result.score is None
        assert result.to_json()[result.score_name] == {"mean": None, "ci95": [None, None], "n": 0}


def test_a_planner_of_many_that_raises_fails_in_all_of_them():
    class Many:
        def __call__(self, view):
            return straight_on(view)

        def plan_rows(self, rows):
            raise ValueError("no way out")

    result = evaluate_planner(Many(), load_scenes([straight_road(), parked_car_road()]))
    assert set(result.failures.values()) == {"ValueError: no way out"}
    assert result.scored == 0


def test_wrong_names_are_answered_with_the_right_ones(scenes):
    with pytest.raises(
        UsageError,
        match=r"^planner: 'idn' is not one of log_replay, constant_velocity, idm, expert; did you mean 'idm'\?$",
    ):
        evaluate_planner("idn", scenes)
    kinds = "replay, idm, idm_aggressive, idm_timid, self_play:CHECKPOINT"
    with pytest.raises(UsageError, match=rf"^traffic: 'reply' is not one of {kinds}; did you mean 'replay'\?$"):
        evaluate_planner("idm", scenes, traffic="reply")
    with pytest.raises(UsageError, match=r"^episodes: 0 is too few; use 1 or more$"):
        load_scenes(all_worlds(), episodes=0)


def test_reference_rows_are_computed_once(tmp_path, monkeypatch):
    monkeypatch.setattr(reference_module, "cache_root", lambda: tmp_path / "kernels")
    scenes = replace(load_scenes([straight_road(), parked_car_road()]), content_known=True)  # as of a store
    first = reference_rows(scenes)
    assert [row.planner for row in first] == list(REFERENCE_PLANNERS)

    calls = []

    def computed(name, *arguments, **options):
        calls.append(name)
        return evaluate_planner(name, *arguments, **options)

    monkeypatch.setattr(reference_module, "evaluate_planner", computed)
    again = reference_rows(scenes)
    assert calls == []
    assert [row.to_json(per_scenario=True) for row in again] == [row.to_json(per_scenario=True) for row in first]

    reference_rows(scenes, traffic="idm", names=["idm"])  # other traffic
    reference_rows(replace(load_scenes([straight_road()]), content_known=True), names=["idm"])  # other scenarios
    harsher = evaluation_module.DrivingConfig(reward=RewardConfig(penalty_offroad=9.0))
    reference_rows(scenes, names=["idm"], driving=harsher)  # other rewards
    assert calls == ["idm"] * 3

    for file in (tmp_path / "reference_rows").iterdir():
        file.write_text(file.read_text()[:100])  # torn
    assert reference_rows(scenes)[2].to_json() == first[2].to_json()
    assert calls == ["idm"] * 3 + list(REFERENCE_PLANNERS)


def test_rows_with_failures_are_computed_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(reference_module, "cache_root", lambda: tmp_path / "kernels")
    scenes = replace(load_scenes([straight_road(), parked_car_road()]), content_known=True)
    failed = replace(evaluate_planner("idm", scenes), failures={"0": "the disk was full"})
    monkeypatch.setattr(reference_module, "evaluate_planner", lambda *a, **options: failed)
    assert reference_rows(scenes, names=["idm"])[0].failures == failed.failures
    assert not list(tmp_path.rglob("*.json"))

    monkeypatch.undo()
    monkeypatch.setattr(reference_module, "cache_root", lambda: tmp_path / "kernels")
    assert reference_rows(scenes, names=["idm"])[0].failures == {}
    (kept,) = tmp_path.rglob("*.json")
    kept.write_text(json.dumps(failed.to_json(per_scenario=True)))  # by a version that kept such rows
    assert reference_rows(scenes, names=["idm"])[0].failures == {}


def test_cache_that_cannot_be_written_changes_nothing(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(reference_module, "cache_root", lambda: blocked / "kernels")
    rows = reference_rows(load_scenes([straight_road()]), names=["constant_velocity"])
    assert rows[0].metrics["goal_rate"].mean == 1.0


def test_table_shows_shares_in_percent_and_reference_rows(scenes):
    result = evaluate_planner("log_replay", scenes).with_reference([evaluate_planner("idm", scenes)])
    lines = result.to_table().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("| planner | score_basic |")
    assert lines[2].startswith(f"| log_replay | {100 * result.metrics['score_basic'].mean:.1f} ± ")


def test_gymnasium_policies_report_return_and_length():
    """A CartPole that is always pushed left falls within 8 to 11 steps and earns 1 per step."""
    config = GymnasiumConfig(id="CartPole-v1", num_worlds=2)
    result = evaluate_gymnasium(Always(0), config, name="left", episodes=20, seed=3)
    document = result.to_json()
    assert document["scenarios"] == {"asked": 20, "scored": 20, "failed": 0}
    assert document["mean_reward"]["n"] == 20
    assert 8 <= document["mean_reward"]["mean"] <= 11
    assert document["mean_reward"] == document["episode_length"]
    assert "score_basic" not in document
    assert result.score == document["mean_reward"]["mean"]
    assert EvaluationResult.of_json(result.to_json(per_scenario=True)).metrics == result.metrics
