"""Players under Unity's own ``mlagents_envs`` and under our server: same actions and seed, same trajectories."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from drivetrain.algorithms.unity_config import UnityConfig
from drivetrain.data.synthetic.sample import write_sample

pytestmark = [
    pytest.mark.needs_unity,
    pytest.mark.needs_mlagents,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # ML-Agents' own
]
SEED, STEPS = 11, 40


@pytest.fixture(scope="module")
def driving(tmp_path_factory):
    """Return an exported player of ours with five agents."""
    from drivetrain.mlagents_player.launcher import write_launcher

    folder = tmp_path_factory.mktemp("player")
    write_sample(folder / "scenes", train=6, val=1, test=1, workers=1, progress=lambda done, total: None)
    write_launcher(folder / "build", data=folder / "scenes", num_worlds=5)
    return folder / "build"


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """Return the stand-in player, whose episodes end often."""
    from tests.mlagents.go_to_target import write_build

    return write_build(tmp_path_factory.mktemp("line") / "build", "--agents", "5")


def actions_of(step, size):
    return np.random.default_rng([7, step]).uniform(-1, 1, (5, size)).astype(np.float32)


def by_unitys_package(build, tmp_path):
    """Return observations, rewards, flags and last observations of every step, one row per seat."""
    from mlagents_envs.base_env import ActionTuple
    from mlagents_envs.environment import UnityEnvironment
    from mlagents_envs.side_channel.stats_side_channel import StatsSideChannel

    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    env = UnityEnvironment(
        str(build),
        seed=SEED,
        no_graphics=True,
        base_port=port,
        timeout_wait=60,
        side_channels=[StatsSideChannel()],
        log_folder=str(tmp_path),
    )
    try:
        env.reset()
        (name,) = env.behavior_specs
        size = env.behavior_specs[name].action_spec.continuous_size
        waiting, _ = env.get_steps(name)
        seats = {agent: seat for seat, agent in enumerate(waiting.agent_id.tolist())}
        rows = [np.concatenate(waiting.obs, axis=1)]
        told = []
        for step in range(STEPS):
            env.set_actions(name, ActionTuple(continuous=actions_of(step, size)))
            env.step()
            waiting, ended = env.get_steps(name)
            told.append(credited(waiting, ended, seats))
            free = sorted(seats.pop(agent) for agent in ended.agent_id.tolist())
            new = [agent for agent in waiting.agent_id.tolist() if agent not in seats]
            seats.update(zip(new, free, strict=True))
            order = [seats[agent] for agent in waiting.agent_id.tolist()]
            assert order == sorted(order)
            rows.append(np.concatenate(waiting.obs, axis=1))
        return np.stack(rows), told
    finally:
        env.close()


def credited(waiting, ended, seats):
    """Return reward, terminated and truncated of every seat, and the last observations by seat."""
    reward, terminated, truncated = np.zeros(5, np.float32), np.zeros(5, bool), np.zeros(5, bool)
    for i, agent in enumerate(waiting.agent_id.tolist()):
        if agent in seats:
            reward[seats[agent]] = waiting.reward[i]
    final = {}
    for i, agent in enumerate(ended.agent_id.tolist()):
        seat = seats[agent]
        reward[seat] = ended.reward[i]
        terminated[seat], truncated[seat] = not ended.interrupted[i], ended.interrupted[i]
        final[seat] = np.concatenate([values[i] for values in ended.obs])
    return reward, terminated, truncated, final


def by_our_server(build, tmp_path):
    from drivetrain.algorithms.unity_environment import UnityEnvironment

    env = UnityEnvironment(UnityConfig(path=str(build)), seed=SEED, logs=tmp_path)
    try:
        rows, told = [env.reset(seed=0)], []
        for step in range(STEPS):
            result = env.step(actions_of(step, env.action_space.size))
            assert result.valid.all()
            rows.append(result.observation)
            final = dict(zip(result.final_rows.tolist(), result.final_observation, strict=True))
            told.append((result.reward, result.terminated, result.truncated, final))
        return np.stack(rows), told
    finally:
        env.close()


@pytest.mark.parametrize("player", ["driving", "line"])
def test_both_see_the_same(player, request, tmp_path):
    build = request.getfixturevalue(player)
    rows, told = by_unitys_package(build, tmp_path)
    our_rows, our_told = by_our_server(build, tmp_path)
    assert np.array_equal(rows, our_rows)
    ended = 0
    for (reward, terminated, truncated, final), ours in zip(told, our_told, strict=True):
        assert np.array_equal(reward, ours[0])
        assert np.array_equal(terminated, ours[1])
        assert np.array_equal(truncated, ours[2])
        assert final.keys() == ours[3].keys()
        assert all(np.array_equal(final[seat], ours[3][seat]) for seat in final)
        ended += len(final)
    assert ended > 0
