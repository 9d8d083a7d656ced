"""Advantages against hand arithmetic: r = [1,2,3,4], V = [.5,.4,.3,.2], V_last = .1, gamma = .9, lambda = .8."""

import pytest
import torch

from drivetrain.algorithms.returns import discounted_sums, generalized_advantage

REWARD = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)[:, None]
VALUE = torch.tensor([0.5, 0.4, 0.3, 0.2], dtype=torch.float64)[:, None]
NEXT = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)[:, None]


def flags(*steps):
    return torch.tensor([t in steps for t in range(4)])[:, None]


def advantage(*, terminated=(), truncated=(), invalid=(), next_value=NEXT, reward=REWARD, value=VALUE, gae_lambda=0.8):
    result = generalized_advantage(
        reward,
        value,
        next_value,
        terminated=flags(*terminated),
        truncated=flags(*truncated),
        valid=~flags(*invalid),
        gamma=0.9,
        gae_lambda=gae_lambda,
    )
    return result[:, 0].tolist()


def test_no_ending():
    # t=3: 4 + .9*.1 - .2 = 3.89; t=2: 3 + .9*.2 - .3 + .72*3.89 = 5.6808; ...
    assert advantage() == pytest.approx([5.15132672, 5.960176, 5.6808, 3.89], abs=1e-12)


def test_termination_cuts_bootstrap_and_trace():
    assert advantage(terminated=(1,)) == pytest.approx([2.012, 1.6, 5.6808, 3.89], abs=1e-12)


def test_truncation_bootstraps_from_the_final_observation_and_cuts_the_trace():
    next_value = NEXT.clone()
    next_value[1] = 0.7
    assert advantage(truncated=(1,), next_value=next_value) == pytest.approx([2.4656, 2.23, 5.6808, 3.89], abs=1e-12)


def test_lambda_one_is_monte_carlo_and_lambda_zero_is_one_step():
    assert advantage(gae_lambda=1.0) == pytest.approx([7.71161, 7.6129, 6.381, 3.89], abs=1e-12)
    assert advantage(gae_lambda=0.0) == pytest.approx([0.86, 1.87, 2.88, 3.89], abs=1e-12)


def test_termination_wins_over_truncation():
    assert advantage(terminated=(1,), truncated=(1,)) == advantage(terminated=(1,))


def test_invalid_steps_are_zero_even_where_they_hold_nan():
    reward, value, next_value = REWARD.clone(), VALUE.clone(), NEXT.clone()
    reward[2] = value[2] = next_value[2] = torch.nan
    result = advantage(terminated=(1,), invalid=(2,), reward=reward, value=value, next_value=next_value)
    assert result == pytest.approx([2.012, 1.6, 0.0, 3.89], abs=1e-12)


def test_discounted_sums_reset_at_endings_and_carry_over():
    sums = discounted_sums(
        REWARD, torch.tensor([10.0], dtype=torch.float64), ended=flags(1), valid=~flags(2), gamma=0.9
    )
    # .9*10 + 1 = 10; .9*10 + 2 = 11, then the episode ends; step 2 is no transition; 0 + 4
    assert sums[:, 0].tolist() == pytest.approx([10.0, 11.0, 0.0, 4.0])
