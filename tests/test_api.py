"""The Python API as a user meets it: three functions, an own planner, a Gymnasium vector environment."""

import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from tests.golden_sets import GOLDEN2
from tests.sim.worlds import parked_car_road, signalled_crossing, straight_road

import drivetrain
from drivetrain.config import plain
from drivetrain.errors import CheckpointError, DataError, UsageError
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.observation import CANONICAL, FeatureGroup, ObservationSchema
from drivetrain.trainer import reference_rows as reference_module
from drivetrain.trainer.checkpoint import Checkpoint, save_checkpoint
from drivetrain.trainer.golden_rollouts import golden_rollouts

ROOT = Path(__file__).resolve().parents[1]
ACTIONS = ActionSpace(num_categories=91)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(reference_module, "cache_root", lambda: tmp_path / "kernels")


def saved(path, *, schema=CANONICAL, space=ACTIONS, environment=None):
    torch.manual_seed(0)
    policy = ActorCritic(schema, space, PolicyConfig())
    checkpoint = Checkpoint(
        algorithm="ppo",
        step=1234,
        metric={},
        observation_schema=schema,
        action_space=space,
        dynamics={},
        policy_config=plain(PolicyConfig()),
        policy=dict(policy.state_dict()),
        config={"environment": plain(DrivingConfig()) if environment is None else environment},
        data={},
        code={},
        training=None,
    )
    save_checkpoint(path, checkpoint)
    return path


def test_import_is_light():
    """The module must not pull in NumPy, torch, numba or even typing on its own account."""
    code = "import sys; before = set(sys.modules); import drivetrain; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"drivetrain", "drivetrain.registration", "__future__"}


def test_own_planner_in_five_lines():
    def keep_left(view):
        t = np.arange(31) / 10
        x, y, heading = view.pose
        return np.stack([x + view.speed * t, y + 0.1 * t, np.full(31, heading)], axis=1)

    result = drivetrain.evaluate(keep_left, [straight_road(), parked_car_road()], reference=True)
    assert result.planner == "keep_left"
    assert [row.planner for row in result.reference] == ["log_replay", "constant_velocity", "idm", "expert"]
    document = result.to_json()
    assert [set(row) for row in document["reference"]] == [set(document) - {"reference", "selection", "vs"}] * 4
    assert document["scenarios"] == {"asked": 2, "scored": 2, "failed": 0}


@pytest.mark.parametrize(("name", "planner"), [("own_planner", "keep_slowing"), ("planner_with_memory", "Follower")])
def test_examples_run(tmp_path, name, planner):
    """On a store of two scenes they drive and print a table."""
    from drivetrain.data.synthetic.sample import write_sample

    store = write_sample(tmp_path / "store", train=1, val=2, test=1, workers=1, progress=lambda done, count: None)
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines()]
    names = ["log_replay", "constant_velocity", "idm", "nuplan_idm", "rule_based"]
    assert rows == ["planner", "---", planner, *names]


@pytest.mark.parametrize("dynamics", ["tracker", "direct"])
def test_a_planner_that_remembers_begins_anew_with_every_scenario(dynamics):
    begun = []

    class Counting:
        def __init__(self):
            self.frames = 0

        def begin(self, view):
            begun.append(Counting())
            return begun[-1]

        def __call__(self, view):
            assert view.time_s == pytest.approx(0.1 * self.frames)
            assert len(view.agent_id) == len(view.agent_type)
            self.frames += 1
            return np.repeat(view.pose[None], 20, axis=0)

    result = drivetrain.evaluate(Counting(), [parked_car_road(), straight_road()], dynamics=dynamics)
    assert result.failures == {}
    assert result.planner == "Counting"
    assert [planner.frames > 80 for planner in begun] == [True, True]


def test_snippet_of_the_documentation_runs(tmp_path, monkeypatch):
    """The Python block of docs/evaluation.md, with its data folder swapped for a small store."""
    from drivetrain.data.synthetic.sample import write_sample

    write_sample(tmp_path / "data", train=1, val=2, test=1, workers=1, progress=lambda done, count: None)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", text, flags=re.DOTALL).group(1)
    assert len(block.strip().splitlines()) <= 8
    names = {}
    exec(block.replace("datasets/processed/sample", str(tmp_path / "data")), names)
    assert names["result"].scored == 2


def test_checkpoints_are_policies_and_can_be_scored(tmp_path):
    path = saved(tmp_path / "best.pt")
    policy = drivetrain.load_policy(path)
    assert policy(np.zeros(CANONICAL.size, np.float32)).shape == ()
    assert policy(np.zeros((5, CANONICAL.size), np.float32)).dtype == np.int64
    for planner in (path, str(path), tmp_path):
        result = drivetrain.evaluate(planner, [straight_road()], traffic="idm")
        assert result.dynamics == "direct"
        assert result.traffic == "idm"
        assert result.to_json()["step"] == 1234


def test_gymnasium_checkpoints_are_scored_by_return(tmp_path):
    group = FeatureGroup(
        name="vector", features=tuple(f"value_{i}" for i in range(4)), count=1, is_set=False, presence=""
    )
    schema = ObservationSchema(name="gymnasium:CartPole-v1", groups=(group,))
    environment = {"name": "gymnasium", "id": "CartPole-v1", "num_worlds": 8}
    path = saved(tmp_path / "best.pt", schema=schema, space=ActionSpace(num_categories=2), environment=environment)
    with pytest.raises(UsageError, match=r"save_trajectories: .* drives no vehicle; leave the option out"):
        drivetrain.evaluate(path, episodes=5, save_trajectories=tmp_path / "out.npz")
    document = drivetrain.evaluate(path, episodes=5).to_json()
    assert document["scenarios"]["scored"] == 5
    assert document["mean_reward"]["mean"] >= 8.0
    assert set(document["episode_length"]) == {"mean", "ci95", "n"}


def test_checkpoint_for_another_observation_is_refused(tmp_path):
    other = ObservationSchema(name="driving-0", groups=CANONICAL.groups[:1])
    path = saved(tmp_path / "old.pt", schema=other)
    message = f"made for observation schema {other.hash} .*, here it is {CANONICAL.hash} .*train anew$"
    with pytest.raises(CheckpointError, match=message):
        drivetrain.evaluate(path, [straight_road()])


def test_what_is_neither_planner_nor_checkpoint_is_named():
    with pytest.raises(
        UsageError,
        match=r"^planner: 'constant_speed' is no checkpoint and not one of log_replay, .*mean 'constant_velocity'\?$",
    ):
        drivetrain.evaluate("constant_speed", [straight_road()])


def test_what_cannot_plan_is_refused_before_anything_is_driven():
    class Forgotten:
        def __call__(self, view):
            raise AssertionError

    with pytest.raises(
        UsageError, match=r"^planner: Forgotten is a class; give an instance of it: Forgotten\(\.\.\.\)$"
    ):
        drivetrain.evaluate(Forgotten, [straight_road()])
    with pytest.raises(UsageError, match=r"^planner: an object of type int plans nothing; give a callable, "):
        drivetrain.evaluate(5, [straight_road()])  # pyright: ignore[reportArgumentType]


def test_missing_data_says_how_to_make_it(tmp_path):
    with pytest.raises(DataError, match="drivetrain data sample"):
        drivetrain.evaluate("idm", tmp_path / "nowhere")


def test_make_env_tells_the_egos_what_it_is_asked_to():
    goal = CANONICAL.start("ego") + CANONICAL.group("ego").features.index("distance_to_goal")
    told = {}
    scenarios = [golden.scenario for golden in golden_rollouts(GOLDEN2) if golden.name.endswith("simple_nr")]
    for route in ("log", "mission"):
        env = drivetrain.make_env(scenarios, num_worlds=4, route=route, seed=0)
        told[route] = env.reset(seed=1)[0]
        env.close()
    assert not np.array_equal(told["log"][:, goal], told["mission"][:, goal])
    np.testing.assert_array_equal(told["log"][:, 0], told["mission"][:, 0])  # they stand and drive where they did
    with pytest.raises(UsageError, match="route: 'logs' is unknown; use log or mission"):
        drivetrain.make_env([straight_road()], route="logs")  # pyright: ignore[reportArgumentType]


def test_make_env_is_a_gymnasium_vector():
    scenarios = [straight_road(), parked_car_road(), signalled_crossing()]
    env = drivetrain.make_env(scenarios, num_worlds=6, seed=4)
    assert isinstance(env, gymnasium.vector.VectorEnv)
    assert env.num_envs == 6
    assert env.single_action_space == gymnasium.spaces.Discrete(91)
    observation, info = env.reset(seed=1)
    assert info == {}
    assert env.observation_space.contains(observation)
    env.action_space.seed(0)
    ended = 0
    for _ in range(130):
        before = observation
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)
        assert before is not observation
        assert reward.shape == (6,)
        over = terminated | truncated
        if over.any():
            ended += int(over.sum())
            np.testing.assert_array_equal(info["_final_obs"], over)
            # The row has started anew: what it saw last is not what it sees now.
            assert (np.stack(info["final_obs"][over]) != observation[over]).any(axis=1).all()
            assert (info["final_info"]["episode_length"][over] >= 1).all()
    assert ended > 6
    env.close()


def test_make_env_repeats_by_seed():
    def rewards():
        env = drivetrain.make_env([parked_car_road(), straight_road()], num_worlds=4, action="continuous")
        env.reset(seed=7)
        steps = [env.step(np.full((4, 2), 0.25, np.float32))[1] for _ in range(40)]
        env.close()
        return np.array(steps)

    first = rewards()
    np.testing.assert_array_equal(first, rewards())
    assert np.abs(first).sum() > 0
