"""Our side of the protocol against a stand-in player over real gRPC, and what is said when a player misbehaves."""

import numpy as np
import pytest
import torch

from drivetrain.algorithms.unity_config import UnityConfig
from drivetrain.errors import CheckpointError, ConfigError, RunError
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig

pytestmark = pytest.mark.needs_unity
unity = pytest.importorskip("drivetrain.algorithms.unity_environment")
stand_in = pytest.importorskip("tests.mlagents.go_to_target")


@pytest.fixture
def make(tmp_path):
    """Return a function that starts an environment with players of these options."""
    started = []

    def start(*options, **settings):
        build = stand_in.write_build(tmp_path / "build", *options)
        config = UnityConfig(path=str(build), **{"timeout_s": 30.0, **settings})
        started.append(unity.UnityEnvironment(config, seed=5, logs=tmp_path / "logs"))
        return started[-1]

    yield start
    for env in started:
        env.close()


def drive(env, steps):
    """Return what happens to a driver that goes straight to the target."""
    observation, rows = env.reset(seed=0), []
    for _ in range(steps):
        gap = observation[:, 1] - observation[:, 0]
        if env.action_space.is_discrete:
            action = np.where(gap > 0, 2, 0) * 2 + (np.abs(gap) > 0.2)
        else:
            action = (gap / 0.2)[:, None].astype(np.float32)
        result = env.step(action)
        rows.append(result)
        observation = result.observation
    return rows


def test_rows_follow_the_stand_ins_own_arithmetic(make):
    env = make("--agents", "3", num_players=2)
    assert (env.num_rows, env.observation_size, env.action_space.size) == (6, 3, 1)
    before = env.reset(seed=0)
    for result in drive(env, 30):
        gap = before[:, 1] - before[:, 0]
        place = before[:, 0] + np.clip(gap, -0.2, 0.2)
        reached = np.abs(place - before[:, 1]) < stand_in.REACHED
        assert result.valid.all()
        assert np.array_equal(result.terminated, reached)
        assert not result.truncated.any()
        assert np.allclose(result.reward, -0.01 + reached)
        assert np.allclose(result.final_observation[:, 0], place[result.final_rows], atol=1e-6)
        running = np.flatnonzero(~reached)
        assert np.allclose(result.observation[running, 0], place[running], atol=1e-6)
        before = result.observation
    assert not np.array_equal(env.current_observation()[:3], env.current_observation()[3:])


def test_an_ending_told_before_the_next_beginning_makes_no_difference(make):
    at_once, late = make("--agents", "4"), make("--agents", "4", "--late-starts")
    for one, other in zip(drive(at_once, 25), drive(late, 25), strict=True):
        for name in ("observation", "reward", "terminated", "truncated", "valid", "final_rows", "final_observation"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
        assert all(np.array_equal(one.episodes[key], other.episodes[key]) for key in one.episodes)


def test_time_limits_truncate_and_returns_add_up(make):
    env = make("--agents", "2", parameters={"reach": 0.0})
    total, results = np.zeros(2), []
    for _ in range(stand_in.LIMIT):
        results.append(env.step(np.zeros((2, 1), np.float32)))
        total += results[-1].reward
    assert results[-1].truncated.all()
    assert not results[-1].terminated.any()
    assert np.allclose(results[-1].episodes["mean_reward"], total)
    assert results[-1].episodes["episode_length"].tolist() == [20.0, 20.0]


def test_branches_become_categories_and_masks_forbid_them(make):
    env = make("--agents", "4", "--discrete", "--masks")
    assert env.action_space.num_categories == 6
    assert [group.name for group in env.observation_schema.groups] == ["where", "forbidden_actions"]
    policy = ActorCritic(env.observation_schema, env.action_space, PolicyConfig(hidden=(8,)))
    seen = set()
    for result in drive(env, 60):
        forbidden = result.observation[:, 3:]
        # Categories count the last branch fastest: 0, 1 go to the left; 4, 5 to the right.
        left, right = result.observation[:, 0] < -0.9, result.observation[:, 0] > 0.9
        expected = np.stack([left, left, left & right, left & right, right, right], axis=1)
        assert np.array_equal(forbidden != 0, expected)
        seen |= set(map(tuple, expected.tolist()))
        with torch.no_grad():
            probability = policy.distribution(torch.from_numpy(result.observation)).log_probs.exp().numpy()
        assert (probability[expected] == 0).all()
        assert (probability[~expected] > 0).all()
    assert len(seen) > 1


def test_one_of_several_behaviors_is_chosen_by_name(make):
    env = make("--other", behavior="GoToTarget")
    assert env.behavior.name == "GoToTarget?team=0"
    assert sum(result.terminated.sum() for result in drive(env, 12)) > 0
    with pytest.raises(ConfigError) as several:
        make("--other")
    assert str(several.value).startswith("environment.behavior: this player has several (")
    with pytest.raises(ConfigError) as unknown:
        make(behavior="GoToTraget")
    assert str(unknown.value) == (
        "environment.behavior: 'GoToTraget' is not a behavior of this player (GoToTarget?team=0); did you mean "
        "'GoToTarget'?"
    )


def test_empty_seats_are_no_transitions(make):
    env = make("--agents", "2", agents=4)
    assert env.num_rows == 4
    assert [result.valid.tolist() for result in drive(env, 3)] == [[True, True, False, False]] * 3


def test_agents_without_a_seat_are_told(make):
    with pytest.raises(RunError) as error:
        make("--agents", "3", agents=2)
    assert str(error.value).endswith(
        "agent 2 joins and all 2 rows are taken; set environment.agents to the most that are there at a time"
    )


def test_a_player_that_ends_at_once_is_quoted(make, tmp_path):
    with pytest.raises(RunError) as error:
        make("--exit-code", "4")
    assert "ended with code 4 before it said anything; its last lines: first of many lines | no licence" in str(
        error.value
    )
    assert str(error.value).endswith(f"(all of {tmp_path}/logs/player-0.log)")


def test_another_version_is_refused(make):
    with pytest.raises(RunError, match=r"it speaks communication version 2\.0\.0, this program 1\.5\.0; use a build"):
        make("--version", "2.0.0")


def test_a_player_that_hangs_is_given_up(make):
    env = make("--hang-after", "3", timeout_s=1.0)
    with pytest.raises(RunError, match=r"has said nothing for 1 s; .* raise environment\.timeout_s$"):
        drive(env, 5)


def test_nan_is_blamed_on_the_player(make):
    env = make("--nan-after", "2", parameters={"reach": 0.0})
    with pytest.raises(RunError, match=r"observation 'where', value 0, of agent 2 is nan; mend the player$"):
        drive(env, 6)


def test_a_killed_player_is_told_and_nothing_is_left(make):
    import psutil

    env = make(num_players=2)
    pids = [player.pid for player in env._players]
    psutil.Process(pids[1]).kill()
    with pytest.raises(RunError, match=rf"player 1 .*, pid {pids[1]}\) was killed by signal 9"):
        drive(env, 5)
    env.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_resumed_environment_begins_new_episodes(make):
    env = make("--agents", "2")
    first = env.current_observation()
    state = env.state_dict()
    env.load_state_dict(state)
    assert not np.array_equal(env.current_observation(), first)
    with pytest.raises(CheckpointError, match=r"^the stored environment has shape \(3, 3\) .*, this one \(2, 3\); use"):
        env.load_state_dict({**state, "shape": np.array([3, 3])})
