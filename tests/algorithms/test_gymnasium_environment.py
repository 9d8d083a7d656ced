"""The Gymnasium adapter: endings kept apart, actions stretched, states restored."""

import gymnasium
import numpy as np
import pytest

from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.algorithms.gymnasium_environment import GymnasiumEnvironment
from drivetrain.errors import CheckpointError, ConfigError


def build(env_id, num_worlds=3, seed=0):
    return GymnasiumEnvironment(GymnasiumConfig(id=env_id, num_worlds=num_worlds), seed=seed)


def actions(env, num_steps, seed=5):
    rng = np.random.default_rng(seed)
    space = env.action_space
    if space.is_discrete:
        return rng.integers(0, space.num_categories, (num_steps, env.num_rows))
    return rng.uniform(-1.5, 1.5, (num_steps, env.num_rows, space.size)).astype(np.float32)


def record(env, sequence):
    return [
        (s.observation.copy(), s.reward.copy(), s.terminated.copy(), s.truncated.copy(), s.final_observation.copy())
        for s in (env.step(a) for a in sequence)
    ]


@pytest.mark.parametrize(
    "env_id", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0"]
)
def test_state_restores_bit_identically(env_id):
    env = build(env_id)
    env.reset(seed=4)
    record(env, actions(env, 190, seed=1))
    state = env.state_dict()
    assert all(isinstance(value, np.ndarray | np.generic) and value.dtype != object for value in state.values())
    expected = record(env, actions(env, 120))
    other = build(env_id, seed=9)
    other.load_state_dict(state)
    for a, b in zip(expected, record(other, actions(other, 120)), strict=True):
        for x, y in zip(a, b, strict=True):
            assert np.array_equal(x, y)


def test_an_environment_that_cannot_be_restored_starts_new_episodes():
    env = build("FrozenLake-v1")
    assert env.observation_size == 16
    record(env, actions(env, 5))
    state = env.state_dict()
    env.load_state_dict(state)
    assert env.current_observation()[:, 0].tolist() == [1.0, 1.0, 1.0]  # everybody at the start
    assert (env._length == 0).all()


def test_fallen_pole_terminates_and_time_limit_truncates():
    env = build("CartPole-v1", num_worlds=1)
    steps = [env.step(np.array([1])) for _ in range(12)]
    fallen = [s for s in steps if s.terminated[0]]
    assert fallen
    assert not fallen[0].truncated[0]
    assert abs(fallen[0].final_observation[0, 2]) > 0.2095  # the angle that ends an episode, 12 degrees
    assert abs(fallen[0].observation[0, 2]) <= 0.05  # after the reset
    env = build("Pendulum-v1", num_worlds=1)
    steps = [env.step(np.zeros((1, 1), np.float32)) for _ in range(200)]
    assert [t for t, s in enumerate(steps) if s.truncated[0]] == [199]
    assert not any(s.terminated[0] for s in steps)
    assert steps[-1].episodes["episode_length"].tolist() == [200.0]
    assert steps[-1].episodes["mean_reward"][0] == pytest.approx(sum(s.reward[0] for s in steps), rel=1e-5)


def test_actions_are_clipped_and_stretched():
    env = build("Pendulum-v1", num_worlds=2, seed=3)
    assert (env.action_space.low, env.action_space.high) == ((-2.0,), (2.0,))
    reference = gymnasium.make("Pendulum-v1").unwrapped
    physical = env._vector.envs[1].unwrapped.state.copy()
    reference.reset(seed=0)
    reference.state = physical
    expected, reward, *_ = reference.step(np.array([1.0], np.float32))
    step = env.step(np.array([[7.0], [0.5]], np.float32))
    assert np.array_equal(step.observation[1], expected)
    assert step.reward[1] == np.float32(reward)
    assert env._vector.envs[0].unwrapped.last_u == 2.0


def test_worlds_and_seeds_differ_and_reset_repeats():
    env = build("CartPole-v1", num_worlds=4, seed=0)
    first = env.current_observation()
    assert len({tuple(row) for row in first.tolist()}) == 4
    assert np.array_equal(env.reset(seed=0), first)
    assert not np.array_equal(env.reset(seed=1), first)


def test_observation_is_written_in_place():
    env = build("CartPole-v1")
    out = np.zeros((3, 4), np.float32)
    step = env.step(np.array([0, 1, 0]), out=out)
    assert step.observation is out
    assert np.array_equal(out, env.current_observation())


def test_refusals_name_value_and_remedy():
    with pytest.raises(ConfigError) as error:
        build("CartPole-v9x")
    assert "environment.id: 'CartPole-v9x' is not a Gymnasium environment; did you mean 'CartPole-v" in str(error.value)
    with pytest.raises(ConfigError, match=r"environment\.num_worlds: 0 is too small; use 1 or more"):
        GymnasiumConfig(num_worlds=0)
    env, other = build("CartPole-v1", num_worlds=3), build("CartPole-v1", num_worlds=2)
    with pytest.raises(CheckpointError, match=r"the stored environment has shape \(2, 4\)"):
        env.load_state_dict(other.state_dict())


def test_processes_have_worlds_of_their_own():
    whole = GymnasiumEnvironment(GymnasiumConfig(num_worlds=4), seed=5)
    second = GymnasiumEnvironment(GymnasiumConfig(num_worlds=2), seed=5, first_world=2)
    assert np.array_equal(whole.current_observation()[2:], second.current_observation())
    assert np.array_equal(whole.reset(seed=9)[2:], second.reset(seed=9))
    assert not np.array_equal(whole.current_observation()[:2], whole.current_observation()[2:])
