"""Stable-Baselines3 trains on our environment: endings told apart, returns ours, bootstrap right, a road learnt."""

import re
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from tests.sim.worlds import parked_car_road, straight_road

import drivetrain
from drivetrain.errors import UsageError

pytestmark = pytest.mark.needs_sb3

SCENES = [straight_road(), parked_car_road()]


def adapted(num_worlds=4, **options):
    from drivetrain.trainer.stable_baselines3 import StableBaselinesVector

    return StableBaselinesVector(drivetrain.make_env(SCENES, num_worlds=num_worlds, **options))


def test_endings_and_returns_are_those_of_the_vector_environment():
    """The same seed and actions on both sides; VecMonitor sums rewards itself."""
    from stable_baselines3.common.vec_env import VecMonitor

    ours = drivetrain.make_env(SCENES, num_worlds=4, horizon_s=3.0)
    theirs = VecMonitor(adapted(4, horizon_s=3.0), info_keywords=("progress", "collision"))
    theirs.seed(7)
    np.testing.assert_array_equal(ours.reset(seed=7)[0], theirs.reset())
    ours.action_space.seed(0)
    endings = {"terminated": 0, "truncated": 0}
    for _ in range(120):
        action = ours.action_space.sample()
        observation, reward, terminated, truncated, info = ours.step(action)
        found = theirs.step(action)
        for expected, value in zip((observation, reward, terminated | truncated), found, strict=False):
            np.testing.assert_array_equal(expected, value)
        assert (found[0].shape, found[1].dtype, len(found[3])) == ((4, 692), np.float32, 4)
        for row, told in enumerate(found[3]):
            assert told["TimeLimit.truncated"] == truncated[row]
            if not found[2][row]:
                assert set(told) == {"TimeLimit.truncated"}
                continue
            endings["truncated" if truncated[row] else "terminated"] += 1
            np.testing.assert_array_equal(told["terminal_observation"], info["final_obs"][row])
            assert told["episode"]["r"] == pytest.approx(told["mean_reward"], rel=1e-4, abs=1e-5)
            assert told["episode"]["l"] == told["episode_length"] <= 30
            assert told["episode"]["progress"] == info["final_info"]["progress"][row]
    assert min(endings.values()) > 2


def test_ppo_trains_and_bootstraps_where_an_episode_was_cut_off():
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecMonitor

    env = VecMonitor(adapted(8, horizon_s=2.0))
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=128, n_epochs=1, gamma=0.9, seed=0, device="cpu")
    before = [weight.clone() for weight in model.policy.parameters()]
    cut = []
    collected = env.step_wait

    def remember():
        returned = collected()
        cut.append([told.get("terminal_observation") if told["TimeLimit.truncated"] else None for told in returned[3]])
        cut[-1].append(returned[1].copy())
        return returned

    env.step_wait = remember
    untrained = model.policy.state_dict()
    untrained = {name: value.clone() for name, value in untrained.items()}
    model.learn(512)
    assert model.num_timesteps == 512
    assert any(not torch.equal(a, b) for a, b in zip(before, model.policy.parameters(), strict=True))
    assert len(model.ep_info_buffer) > 8
    # What PPO stored: the reward, and where cut off also gamma times the value of the last observation.
    model.policy.load_state_dict(untrained)
    checked = 0
    for t, (*last, reward) in enumerate(cut):
        for row, observation in enumerate(last):
            stored, expected = model.rollout_buffer.rewards[t, row], reward[row]
            if observation is not None:
                with torch.no_grad():
                    expected += 0.9 * model.policy.predict_values(torch.as_tensor(observation)[None]).item()
                checked += 1
            assert stored == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert checked >= 8


def test_ppo_learns_to_drive_a_road():
    """Some 9,000 steps: from a driver who gets nowhere to one who covers most of the way to the goal."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecMonitor

    from drivetrain.trainer.stable_baselines3 import StableBaselinesVector

    env = drivetrain.make_env([straight_road(lead=False)], num_worlds=16, seed=0)
    env = VecMonitor(StableBaselinesVector(env), info_keywords=("progress",))
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=128, learning_rate=1e-3, seed=0, device="cpu")
    returns = []
    model.learn(1024)
    returns.append(np.mean([episode["r"] for episode in model.ep_info_buffer]))
    model.learn(8192)
    returns.append(np.mean([episode["r"] for episode in model.ep_info_buffer]))
    assert returns[0] < 1
    assert returns[1] > 4  # of 10 for the whole way at the right speed


def test_the_example_of_the_documentation_runs(tmp_path, capsys):
    """The block of docs/gymnasium.md that trains, with its data folder swapped for a small store."""
    from drivetrain.data.synthetic.sample import write_sample

    write_sample(tmp_path / "store", train=4, val=1, test=1, workers=1, progress=lambda done, total: None)
    page = Path(__file__).resolve().parents[2] / "docs" / "gymnasium.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    (block,) = [block for block in blocks if "stable_baselines3" in block]
    names = {}
    exec(block.replace("datasets/processed/sample", str(tmp_path / "store")), names)
    assert names["model"].num_timesteps == 4096
    assert 0 <= float(capsys.readouterr().out) <= 1


def test_a_single_world_goes_through_stable_baselines_own_tools():
    from stable_baselines3.common.env_checker import check_env
    from stable_baselines3.common.env_util import make_vec_env

    check_env(gymnasium.make("drivetrain/Driving-v0", data=SCENES), warn=False)
    env = make_vec_env("drivetrain/Driving-v0", n_envs=2, seed=1, env_kwargs={"data": SCENES, "horizon_s": 1.0})
    env.reset()
    for _ in range(10):
        observation, _, done, infos = env.step(np.array([45, 45]))
    assert (observation.shape, done.tolist()) == ((2, 692), [True, True])
    assert [told["TimeLimit.truncated"] for told in infos] == [True, True]
    assert infos[0]["episode"]["r"] == pytest.approx(infos[0]["mean_reward"], rel=1e-4, abs=1e-5)


def test_seed_counts_once_and_what_is_asked_of_rows_is_asked_of_the_environment():
    env = adapted(3)
    env.seed(5)
    first, second = env.reset(), env.reset()
    assert not np.array_equal(first, second)
    env.seed(5)
    np.testing.assert_array_equal(first, env.reset())
    assert env.get_attr("num_envs", [0, 2]) == [3, 3]
    assert env.env_is_wrapped(gymnasium.Wrapper) == [False] * 3
    assert env.env_method("reset", indices=1, seed=5)[0][0].shape == (3, 692)
    env.set_attr("render_mode", "none")
    assert env.env.render_mode == "none"


def test_what_stable_baselines_cannot_represent_is_refused():
    from drivetrain.trainer.stable_baselines3 import StableBaselinesVector

    env = adapted(4, control="all", agents_per_world=3)
    env.reset()
    with pytest.raises(UsageError, match=r"^env: row \d+ had no transition: .*; use control='ego'$"):
        env.step(np.full(12, 45))
    next_step = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
    with pytest.raises(UsageError, match=r"^env: its autoreset mode is .*NEXT_STEP; .* needs .*SAME_STEP$"):
        StableBaselinesVector(next_step)
