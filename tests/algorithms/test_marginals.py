"""Marginal rewards: the logit of two histograms by hand, what it pays for, and what it refuses."""

import math

import numpy as np
import pytest
import torch

from drivetrain.algorithms.marginals import Marginals, MarginalsConfig
from drivetrain.errors import ConfigError
from drivetrain.parallel import ALONE
from drivetrain.sim.observation import CANONICAL, FeatureGroup, ObservationSchema, encode

VECTOR = ObservationSchema(
    name="gymnasium:Toy",
    groups=(FeatureGroup(name="vector", features=("speed", "other"), count=1, is_set=False, presence=""),),
)


def marginals(expert, *, features=("vector.speed",), bins=2, **settings):
    config = MarginalsConfig(weight=settings.pop("weight", 1.0), features=features, bins=bins, **settings)
    return Marginals(np.asarray(expert, np.float32), VECTOR, config, group=ALONE)


def rows(*speeds):
    """Rows of these speeds; what else is seen must not matter."""
    return torch.tensor([[speed, 99.0 * (-1) ** k] for k, speed in enumerate(speeds)])


def test_the_logit_is_that_of_the_best_discriminator_between_two_densities():
    judge = marginals([[0.0, 5.0]] * 30 + [[1.0, 5.0]] * 10)  # three quarters slow
    policy = rows(*[0.0] * 2, *[1.0] * 2)  # half of it
    judge.update(policy)
    reward, means = judge.reward(policy)
    slow, fast = math.log(0.75 / 0.5), math.log(0.25 / 0.5)
    mean = 0.5 * (slow + fast)
    torch.testing.assert_close(reward, torch.tensor([slow - mean] * 2 + [fast - mean] * 2), atol=1e-3, rtol=0)
    assert -float(means[0]) == pytest.approx(0.5 * math.log(4 / 3), abs=1e-3)  # KL(half, half || 3/4, 1/4)


def test_who_drives_like_the_expert_is_told_nothing():
    rng = np.random.default_rng(0)
    expert = rng.normal(size=(20_000, 2))
    judge = marginals(expert, features=("vector.speed", "vector.other"), bins=20)
    same = torch.from_numpy(expert[::2].astype(np.float32))
    judge.update(same)
    reward, means = judge.reward(same)
    assert float(reward.abs().mean()) < 0.1
    assert (means.abs() < 0.01).all()


def test_a_reward_has_mean_zero_and_is_scaled_by_its_weight():
    rng = np.random.default_rng(0)
    expert, policy = rng.normal(size=(5000, 2)), torch.from_numpy(rng.normal(0.7, 0.5, (3000, 2)).astype(np.float32))
    found = []
    for weight in (1.0, 0.25):
        judge = marginals(expert, weight=weight, bins=12)
        judge.update(policy)
        found.append(judge.reward(policy)[0])
    assert abs(float(found[0].mean())) < 1e-4
    torch.testing.assert_close(found[1], 0.25 * found[0])


def test_what_the_expert_never_does_costs_no_more_than_the_limit():
    judge = marginals([[0.0, 0.0]] * 50 + [[1.0, 0.0]] * 50, bins=10, limit=3.0)
    policy = rows(*[0.5] * 90, *[1.0] * 10)
    judge.update(policy)
    reward, _ = judge.reward(policy)
    # Logits -3 (where the expert never is) and ln(0.5/0.1), and their mean.
    high = math.log(0.5 / 0.1)
    mean = 0.9 * -3.0 + 0.1 * high
    assert reward[0].item() == pytest.approx(-3.0 - mean, abs=0.02)
    assert reward[-1].item() == pytest.approx(high - mean, abs=0.02)


def test_values_beyond_the_expert_count_in_the_outermost_bin():
    judge = marginals([[k / 100, 0.0] for k in range(101)], bins=4)
    judge.update(rows(-7.0, 0.1, 0.9, 40.0))
    assert judge.policy_counts.tolist() == [[2.0, 0.0, 0.0, 2.0]]


def test_old_rollouts_fade():
    judge = marginals([[0.0, 0.0], [1.0, 0.0]] * 50, memory=0.5)
    judge.update(rows(0.0, 0.0))
    judge.update(rows(1.0, 1.0, 1.0))
    assert judge.policy_counts.tolist() == [[1.0, 3.0]]


class Two:
    """A group of two, of which the other counted nothing."""

    rank, size, rank_here, size_here = 0, 2, 0, 2

    def mean_(self, vector):
        vector *= 0.5

    def all_gather(self, value):
        return [value, value]


def test_the_counts_are_those_of_all_processes():
    expert = np.asarray([[0.0, 0.0], [1.0, 0.0]] * 50, np.float32)
    judge = Marginals(expert, VECTOR, MarginalsConfig(weight=1.0, features=("vector.speed",), bins=2), group=Two())
    judge.update(rows(0.0, 0.0, 1.0))
    assert judge.policy_counts.tolist() == [[1.0, 0.5]]


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.int8])
def test_reads_driving_observations_in_every_type(dtype):
    rng = np.random.default_rng(0)
    plain = np.zeros((400, CANONICAL.size), np.float32)
    plain[:, 0] = rng.uniform(0.0, 1.0, 400)
    plain[:, 1] = rng.uniform(-0.5, 0.5, 400)
    stored = encode(plain, dtype)
    judge = Marginals(stored, CANONICAL, MarginalsConfig(weight=1.0, bins=5), group=ALONE)
    observation = torch.from_numpy(stored)
    judge.update(observation.view(torch.bfloat16) if dtype == np.uint16 else observation)
    assert judge.policy_counts.sum(1).tolist() == [400.0, 400.0]
    assert (judge.policy_counts > 40).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weight": -1.0}, "algorithm.marginals.weight"),
        ({"features": ()}, "weight: 0"),
        ({"bins": 1}, "algorithm.marginals.bins"),
        ({"memory": 1.0}, "algorithm.marginals.memory"),
        ({"limit": 0.0}, "algorithm.marginals.limit"),
    ],
)
def test_impossible_settings_are_named(settings, words):
    with pytest.raises(ConfigError, match=words):
        MarginalsConfig(**settings)


@pytest.mark.parametrize("name", ["ego.sped", "agents.x", "nothing"])
def test_an_unknown_feature_is_named_with_its_neighbour(name):
    with pytest.raises(ConfigError, match=rf"features: '{name}'") as error:
        Marginals(np.zeros((9, CANONICAL.size), np.float32), CANONICAL, MarginalsConfig(features=(name,)), group=ALONE)
    if name == "ego.sped":
        assert "ego.speed" in str(error.value)
