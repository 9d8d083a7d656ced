"""Our environment under its id in Gymnasium, held to Gymnasium's own checks and its synchronous vector environment."""

import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, check_returned_data_not_reused, data_equivalence
from gymnasium.vector import AutoresetMode
from tests.sim.worlds import parked_car_road, signalled_crossing, straight_road

import drivetrain
from drivetrain.errors import DataError, SimulationError, UsageError
from drivetrain.registration import DRIVING
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.gymnasium_world import GymnasiumWorld
from drivetrain.sim.scene_bank import build_bank

SCENES = [straight_road(), parked_car_road(), signalled_crossing()]
STRAIGHT_ON, FULL_SPEED = 45, 84
"""Of the 91 categories: no acceleration (level 3 of 0..6), the highest (6); no steering (level 6 of 0..12)."""

# What Gymnasium's own tests overlook as well: speeds and sizes have no bound that holds for every data set.
unbounded_is_meant = pytest.mark.filterwarnings("ignore:.*A Box observation space (min|max)imum value is -?infinity")


def world(**options):
    return gymnasium.make(DRIVING, data=SCENES, **options)


def rows(num_envs, **options):
    return gymnasium.make_vec(DRIVING, num_envs=num_envs, data=SCENES, **options)


def played(env, num_steps, seed):
    """Everything that reset and some steps of drawn actions return."""
    env.action_space.seed(seed)
    yield env.reset(seed=seed)
    for _ in range(num_steps):
        yield env.step(env.action_space.sample())


@pytest.mark.parametrize(
    "order",
    [
        "import drivetrain, gymnasium",
        "import gymnasium, drivetrain",
        "import importlib.util, drivetrain; importlib.util.find_spec('gymnasium'); import gymnasium",
        "import drivetrain; from gymnasium.vector import VectorEnv; import gymnasium",
        "import drivetrain, importlib; importlib.reload(drivetrain); import gymnasium",
    ],
)
def test_whichever_package_comes_first_the_id_is_known_and_no_trace_is_left(order):
    code = (
        f"import sys; before = list(sys.meta_path)\n{order}\n"
        f"spec = gymnasium.spec('{DRIVING}')\n"
        "print(spec.entry_point, spec.vector_entry_point, sys.meta_path == before, gymnasium.__spec__.loader.name)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    makers = "drivetrain.trainer.make_env:make_world drivetrain.trainer.make_env:make_vector"
    assert (done.stdout.strip(), done.stderr) == (f"{makers} True gymnasium", "")


@unbounded_is_meant
@pytest.mark.parametrize("options", [{}, {"traffic": "idm", "action": "continuous"}], ids=["default", "reactive"])
def test_a_single_world_passes_the_environment_checker(options):
    check_env(world(**options).unwrapped)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The folder of a tiny sample store."""
    from drivetrain.data.synthetic.sample import write_sample

    folder = tmp_path_factory.mktemp("data") / "store"
    write_sample(folder, train=2, val=1, test=1, workers=1, progress=lambda done, total: None)
    return folder


@unbounded_is_meant
def test_a_single_world_made_from_a_folder_passes_too(store):
    env = gymnasium.make(DRIVING, data=str(store))
    check_env(env.unwrapped)
    assert len(env.unwrapped.environment.bank) == 2
    validation = gymnasium.make_vec(DRIVING, num_envs=3, data=store, split="val")
    assert len(validation.environment.bank) == 1


def test_the_example_of_the_documentation_runs(store, capsys):
    """The first Python block of docs/gymnasium.md, with its data folder swapped for a small store."""
    page = Path(__file__).resolve().parents[1] / "docs" / "gymnasium.md"
    block = re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL).group(1)
    names = {}
    exec(block.replace("datasets/processed/sample", str(store)), names)
    assert names["worlds"].num_envs == 16
    assert names["world"].action_space.shape == (2,)
    assert len(capsys.readouterr().out.splitlines()) > 1


def test_an_episode_of_a_single_world_ends_once_and_says_how():
    """Full speed into the car ahead, with the statistics of the whole episode."""
    env = gymnasium.make(DRIVING, data=[straight_road()])
    _, info = env.reset(seed=3)
    assert info == {"scenario": straight_road().scenario_id}
    rewards, over = [], False
    while not over:
        observation, reward, terminated, truncated, info = env.step(FULL_SPEED)
        rewards.append(reward)
        over = terminated or truncated
        assert over or info == {}
    assert (terminated, truncated, info["collision"]) == (True, False, 1.0)
    assert info["episode_length"] == len(rewards)
    assert info["mean_reward"] == pytest.approx(sum(rewards), rel=1e-5)
    assert observation[0] * 20 > 15  # the speed [m/s] of the end, not of the beginning of a next episode (11 at most)
    with pytest.raises(SimulationError, match=r"^step: the episode is over; call reset\(\) first$"):
        env.step(STRAIGHT_ON)
    env.reset()
    assert not env.step(STRAIGHT_ON)[2]


def test_a_single_world_truncates_at_the_horizon_and_begins_at_the_first_frame():
    env = gymnasium.make(DRIVING, data=[straight_road()], horizon_s=2.0)
    for _ in range(3):
        env.reset()
        assert env.unwrapped.environment.state.frame[0] == 0
        steps = [env.step(STRAIGHT_ON)[2:4] for _ in range(20)]
        assert steps == [(False, False)] * 19 + [(False, True)]


def test_seeds_of_a_single_world():
    def scenes(env, first):
        names = [env.reset(seed=first)[1]["scenario"]]
        return names + [env.reset()[1]["scenario"] for _ in range(7)]

    assert scenes(world(), 5) == scenes(world(), 5) == scenes(world(seed=5), None)
    assert len(set(scenes(world(), 5))) == 3
    # Copies that nobody seeds differ, as Gymnasium's environments do.
    starts = [tuple(world().reset()[0]) for _ in range(4)]
    assert len(set(starts)) == 4


def test_vector_is_what_gymnasium_asks_for():
    env = rows(6)
    assert isinstance(env, gymnasium.vector.VectorEnv)
    assert (env.num_envs, env.spec.id) == (6, DRIVING)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    single = world()
    assert env.single_observation_space == single.observation_space
    assert env.single_action_space == single.action_space
    assert env.observation_space.shape == (6, *single.observation_space.shape)
    assert repr(env) == f"GymnasiumVector({DRIVING}, num_envs=6)"
    env.close()
    env.close()
    check_returned_data_not_reused(rows(1))


def test_vector_repeats_by_seed():
    for seed in (0, 11):
        for a, b in zip(played(rows(4), 60, seed), played(rows(4), 60, seed), strict=True):
            assert data_equivalence(a, b, exact=True)
    first, second = (next(played(rows(4), 0, seed))[0] for seed in (0, 11))
    assert not np.array_equal(first, second)
    env = rows(4)
    env.reset(seed=[9, None, None, None])
    assert env.np_random_seed == 9


def form(info):
    """Names, dtypes and shapes of a vector environment's info."""
    return {
        name: form(value) if isinstance(value, dict) else (value.dtype.kind, value.shape)
        for name, value in info.items()
        if name not in {"valid", "_valid"}
    }


def test_info_of_ended_rows_has_the_form_of_gymnasiums_own_vector_environment():
    """Two copies of the single world behind SyncVectorEnv; there a row's reset info (its scenario) comes on top."""
    same_step = {"autoreset_mode": AutoresetMode.SAME_STEP}
    forms, ended = [], 0
    for env in (rows(2), rows(2, vectorization_mode="sync", vector_kwargs=same_step)):
        for returned in played(env, 150, seed=1):
            info = returned[-1]
            if "final_obs" not in info:
                continue
            ended += 1
            over = returned[2] | returned[3]
            for name in ("_final_obs", "_final_info"):
                np.testing.assert_array_equal(info[name], over)
            assert [last is None for last in info["final_obs"]] == (~over).tolist()
            for row in np.flatnonzero(over):
                assert env.single_observation_space.contains(info["final_obs"][row])
                assert not np.array_equal(info["final_obs"][row], returned[0][row])
        forms.append({name: kind for name, kind in form(info_of_last_end(env)).items() if "scenario" not in name})
    assert ended > 4
    assert forms[0] == forms[1]
    assert {"final_obs", "_final_obs", "final_info", "_final_info"} == set(forms[0])


def info_of_last_end(env):
    """Play until a row ends."""
    for returned in played(env, 200, seed=2):
        if "final_obs" in returned[-1]:
            return returned[-1]
    raise AssertionError("no row ended")


def test_gymnasiums_episode_statistics_agree_with_ours():
    """RecordEpisodeStatistics sums rewards itself."""
    env = gymnasium.wrappers.vector.RecordEpisodeStatistics(rows(5))
    compared = 0
    for returned in played(env, 150, seed=4):
        info = returned[-1]
        if "episode" not in info:
            continue
        over = info["_episode"]
        ours = info["final_info"]
        np.testing.assert_allclose(info["episode"]["r"][over], ours["mean_reward"][over], rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(info["episode"]["l"][over], ours["episode_length"][over])
        compared += int(over.sum())
    assert compared > 5


def test_self_play_counts_rows():
    env = gymnasium.make_vec(DRIVING, num_envs=6, data=SCENES, control="all", agents_per_world=3)
    assert (env.num_envs, env.environment.num_worlds) == (6, 2)
    env.reset(seed=0)
    info = env.step(np.full(6, STRAIGHT_ON))[-1]
    assert info["valid"].shape == (6,)
    assert info["_valid"].all()


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (
            make,
            {},
            UsageError,
            r"^drivetrain/Driving-v0: data is missing; make a sample with 'drivetrain data sample' and give its "
            r"folder, data='datasets/processed/sample', or data='auto' to use \(or make\) what trainings use$",
        )
        for make in (gymnasium.make, gymnasium.make_vec)
    ]
    + [
        (gymnasium.make, {"data": "nowhere"}, DataError, r"^data: nowhere does not exist; make a sample with "),
        (
            gymnasium.make,
            {"data": SCENES, "traffic": "replayed"},
            UsageError,
            r"^traffic: 'replayed' is unknown; use replay or idm or idm_aggressive or idm_timid or both; "
            r"did you mean 'replay'\?$",
        ),
        (
            gymnasium.make,
            {"data": SCENES, "control": "all"},
            UsageError,
            r"^control: 'all' needs several rows; use gymnasium\.make_vec, or control='ego'$",
        ),
        (
            gymnasium.make_vec,
            {"data": SCENES, "num_envs": 12, "control": "all"},
            UsageError,
            r"^num_envs: 12 is no positive multiple of the 8 rows per world; use 16$",
        ),
        (gymnasium.make_vec, {"data": SCENES, "num_envs": 0}, UsageError, r"^num_envs: 0 is no positive .* use 1$"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(make, options, error, message):
    with pytest.raises(error, match=message):
        make(DRIVING, **options)


def test_what_a_world_cannot_be_made_of_is_refused():
    batch = DrivingEnv(build_bank(SCENES), DrivingConfig(num_worlds=2))
    with pytest.raises(SimulationError, match="one row without automatic reset is needed, got 2 rows"):
        GymnasiumWorld(batch)
    env = drivetrain.make_env(SCENES, num_worlds=2)
    with pytest.raises(UsageError, match="'reset_mask' is for environments without automatic reset"):
        env.reset(options={"reset_mask": np.array([True, False])})
