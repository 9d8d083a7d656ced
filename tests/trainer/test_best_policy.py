"""The best policy: by one figure, and where that is equal by the mean score, then by the mean reward."""

import math

import pytest

from drivetrain.trainer.best_policy import is_better, judged
from drivetrain.trainer.training_config import EvaluationConfig

WORST = EvaluationConfig(traffic=("replay", "idm"), best_by="worst")
BEST = judged({"worst/score": 0.0, "score": 0.3, "mean_reward": 5.0, "progress": 0.9}, WORST)


def test_what_is_compared():
    assert BEST == {
        "name": "eval/worst/score",
        "value": 0.0,
        "ties": {"eval/score": 0.3, "eval/mean_reward": 5.0},
        "traffic": ["replay", "idm"],
    }
    alone = judged({"score_basic": 0.5, "mean_reward": 1.0}, EvaluationConfig())
    assert (alone["name"], alone["ties"]) == ("eval/score_basic", {"eval/mean_reward": 1.0})
    assert judged({"mean_reward": 1.0}, WORST) == {"name": "eval/mean_reward", "value": 1.0, "ties": {}}


@pytest.mark.parametrize(
    ("worst", "score", "reward", "better"),
    [
        (0.1, 0.0, 0.0, True),
        (0.0, 0.4, 0.0, True),
        (0.0, 0.3, 5.1, True),
        (0.0, 0.3, 5.0, False),
        (0.0, 0.3, 4.9, False),
        (0.0, 0.2, 9.0, False),
        (-0.1, 0.9, 9.0, False),
        (math.nan, 0.9, 9.0, False),
    ],
)
def test_ties_are_decided_by_the_mean_score_then_by_the_mean_reward(worst, score, reward, better):
    found = judged({"worst/score": worst, "score": score, "mean_reward": reward}, WORST)
    assert is_better(found, {**BEST, "step": 7}) is better


def test_the_first_of_its_figure_and_traffic_is_the_best():
    found = judged({"worst/score": -1.0, "score": -1.0, "mean_reward": -1.0}, WORST)
    assert is_better(found, {})
    assert is_better(found, {**BEST, "name": "eval/score"})
    assert is_better(found, {**BEST, "traffic": ["replay"]})
    assert not is_better(found, BEST)


def test_a_best_evaluation_without_ties_keeps_its_place():
    before = {"name": "eval/mean_reward", "value": 1.0, "step": 3}
    assert not is_better(judged({"mean_reward": 1.0}, WORST), before)
    old = {name: value for name, value in BEST.items() if name != "ties"}
    assert not is_better({**BEST, "ties": {"eval/score": 0.9, "eval/mean_reward": 9.0}}, old)
    assert is_better({**BEST, "value": 0.1}, old)
