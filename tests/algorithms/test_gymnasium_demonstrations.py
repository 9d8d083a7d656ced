"""Scripted and random experts of Gymnasium environments."""

import numpy as np
import pytest

from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.algorithms.gymnasium_demonstrations import inputs_of, play_expert
from drivetrain.data.demonstrations import DemonstrationConfig
from drivetrain.errors import ConfigError


def played(env_id, **settings):
    config, environment = DemonstrationConfig(**settings), GymnasiumConfig(id=env_id)
    return play_expert(config, environment, inputs=inputs_of(config, environment))


def test_the_scripted_expert_balances_every_pole():
    made = played("CartPole-v1", expert="scripted", episodes=20)
    assert np.diff(made.episode_start).tolist() == [500] * 20
    assert not made.terminated.any()
    assert set(made.action_index) == {0, 1}


def test_random_actions_drop_it():
    made = played("CartPole-v1", expert="random", episodes=20)
    assert made.terminated.all()
    assert np.diff(made.episode_start).mean() < 60
    assert np.abs(made.final_observation[:, 2]).max() > 0.2  # [rad]: the pole has fallen


def test_the_scripted_expert_swings_the_pendulum_up_and_holds_it():
    made = played("Pendulum-v1", expert="scripted", episodes=10)
    late = made.observation.reshape(10, 200, 3)[:, 150:, 0]
    assert late.min() > 0.99  # cosine of the angle from upright
    assert made.action.shape == (2000, 1)
    assert len(made.action_index) == 0


def test_rows_of_an_episode_follow_each_other():
    """CartPole moves by Euler's rule: x_{t+1} = x_t + 0.02 v_t."""
    made = played("CartPole-v1", expert="random", episodes=3)
    for e in range(3):
        first, end = made.episode_start[e : e + 2]
        seen = np.concatenate([made.observation[first:end], made.final_observation[e : e + 1]])
        assert seen[1:, 0] == pytest.approx(seen[:-1, 0] + 0.02 * seen[:-1, 1], abs=1e-6)


def test_seeds_give_other_starts_and_the_same_seed_the_same():
    a, b, c = (played("CartPole-v1", expert="scripted", episodes=2, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(a.observation, b.observation)
    assert not np.array_equal(a.observation[0], c.observation[0])


@pytest.mark.parametrize(
    ("expert", "env_id", "message"),
    [
        ("log", "CartPole-v1", "demonstrations.expert: a Gymnasium environment has no log; use scripted or random"),
        (
            "scripted",
            "Acrobot-v1",
            "demonstrations.expert: there is a scripted one for CartPole-v1, Pendulum-v1, none for Acrobot-v1",
        ),
    ],
)
def test_an_expert_that_does_not_exist(expert, env_id, message):
    with pytest.raises(ConfigError) as error:
        played(env_id, expert=expert, episodes=1)
    assert str(error.value) == message
