"""Checkpoints: what they hold, what they refuse."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.sim.worlds import straight_road

from drivetrain.closed_loop.simulation import simulate
from drivetrain.config import plain
from drivetrain.errors import CheckpointError
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.observation import (
    CANONICAL,
    OBSERVATION_DTYPES,
    FeatureGroup,
    ObservationSchema,
    decode,
    encode,
)
from drivetrain.trainer.checkpoint import (
    Checkpoint,
    build_policy,
    check_fits,
    checkpoint_file,
    host_copy,
    load_checkpoint,
    load_policy,
    save_checkpoint,
)
from drivetrain.trainer.closed_loop_policy import CheckpointPlanner

VECTOR = ObservationSchema(
    name="toy", groups=(FeatureGroup(name="vector", features=("a", "b"), count=1, is_set=False, presence=""),)
)
SIZES = PolicyConfig(hidden=(4,))


THREE_ACTIONS = ActionSpace(num_categories=3)


def checkpoint_of(schema=VECTOR, space=THREE_ACTIONS, sizes=SIZES) -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(
        algorithm="ppo",
        step=7,
        metric={"name": "eval/score", "value": 0.5, "step": 7},
        observation_schema=schema,
        action_space=space,
        dynamics={},
        policy_config=plain(sizes),
        policy=ActorCritic(schema, space, sizes).state_dict(),
        config={"training": {"seed": 0}},
        data={"path": "p", "fingerprint": "f", "choice": "explicit"},
        code={"torch": "2"},
        training=None,
    )


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "best.pt"
    save_checkpoint(path, checkpoint_of())
    return path


def test_what_is_saved_is_loaded(saved):
    loaded, made = load_checkpoint(saved), checkpoint_of()
    assert replace(loaded, policy={}) == replace(made, policy={})
    assert all(torch.equal(loaded.policy[name], made.policy[name]) for name in made.policy)
    raw = torch.load(saved, weights_only=True)
    assert raw["observation_schema"]["hash"] == VECTOR.hash
    assert len(raw["action_space"]["hash"]) == 16


def test_all_scenarios_are_driven_by_the_policy_that_was_read(tmp_path):
    """A running training may replace its checkpoint meanwhile; what other processes get is a copy."""
    path, scenario = tmp_path / "best.pt", straight_road(frames=12)
    made = checkpoint_of(schema=CANONICAL, space=ActionSpace(num_categories=91))
    save_checkpoint(path, replace(made, config={"environment": plain(DrivingConfig())}))
    planner = CheckpointPlanner(
        loaded=load_policy(path), path=path, deterministic=True, temperature=1.0, seed=0, device="cpu"
    )
    (before,) = simulate([scenario], planner=planner.team(None))
    path.write_bytes(b"another one")
    for later in (planner, copy.deepcopy(planner)):
        assert later.inputs() == {"deterministic": True, "step": 7}
        (after,) = simulate([scenario], planner=later.team(None))
        np.testing.assert_array_equal(after.ego.pose, before.ego.pose)


@pytest.mark.parametrize(
    "space", [ActionSpace(num_categories=3), ActionSpace(size=2, low=(-1.0, -2.0), high=(1.0, 2.0))]
)
def test_a_policy_acts_alike_after_loading(tmp_path, space):
    made = checkpoint_of(space=space)
    save_checkpoint(tmp_path / "last.pt", made)
    rows = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    policy = load_policy(tmp_path)
    expected = build_policy(made, tmp_path).act(torch.from_numpy(rows), deterministic=True).numpy()
    np.testing.assert_array_equal(policy(rows), expected)
    np.testing.assert_array_equal(policy(rows[0]), expected[0])
    with pytest.raises(CheckpointError, match="takes observations of 2 values, got 5"):
        policy(np.zeros((3, 5), np.float32))


def test_a_folder_means_its_best(saved, tmp_path):
    assert checkpoint_file(tmp_path) == saved
    saved.rename(tmp_path / "last.pt")
    assert checkpoint_file(tmp_path) == tmp_path / "last.pt"


def test_missing_damaged_and_foreign_files(tmp_path, saved):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"bst.pt: no such checkpoint; there are best.pt"):
        load_policy(tmp_path / "bst.pt")
    with pytest.raises(CheckpointError, match=r"empty: holds no best.pt or last.pt"):
        load_policy(tmp_path / "empty")
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"best.pt: cannot be read"):
        load_policy(saved)
    torch.save({"weights": torch.zeros(2)}, saved)
    with pytest.raises(CheckpointError, match="is no drivetrain checkpoint"):
        load_policy(saved)
    torch.save({"format": "drivetrain-checkpoint", "version": 99}, saved)
    with pytest.raises(CheckpointError, match="format version 99 is newer than 1"):
        load_policy(saved)
    torch.save({"format": "drivetrain-checkpoint", "version": 1}, saved)
    with pytest.raises(CheckpointError, match="incomplete checkpoint"):
        load_policy(saved)


def test_nothing_is_unpickled(tmp_path):
    torch.save({"format": "drivetrain-checkpoint", "trap": tmp_path}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "best.pt")


def test_another_schema_is_refused_with_both_hashes(saved):
    checkpoint = load_checkpoint(saved)
    check_fits(checkpoint, saved, VECTOR, ActionSpace(num_categories=3))
    with pytest.raises(CheckpointError) as refused:
        check_fits(checkpoint, saved, CANONICAL, ActionSpace(num_categories=3))
    assert VECTOR.hash in str(refused.value)
    assert CANONICAL.hash in str(refused.value)
    with pytest.raises(
        CheckpointError, match=r"made for action schema \w{16} \(3 categories\), here it is \w{16} \(91"
    ):
        check_fits(checkpoint, saved, VECTOR, ActionSpace(num_categories=91))


def test_weights_that_do_not_fit_their_sizes(saved):
    broken = replace(load_checkpoint(saved), policy_config=plain(PolicyConfig(hidden=(5,))))
    with pytest.raises(CheckpointError, match="the weights do not fit the network"):
        build_policy(broken, saved)


def test_a_state_is_copied_not_shared():
    weight = torch.ones(2)
    state = {"a": [weight, np.arange(3)], "b": 1}
    copy = host_copy(state)
    weight[0] = 5
    assert copy["a"][0].tolist() == [1, 1]
    assert copy["a"][1].tolist() == [0, 1, 2]
    assert copy["b"] == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_a_loaded_policy_reads_rows_as_environments_store_them(tmp_path, dtype):
    sizes = PolicyConfig()
    network = ActorCritic(CANONICAL, THREE_ACTIONS, sizes, seed=1)
    with torch.no_grad():
        network.pi.weight.normal_(generator=torch.Generator().manual_seed(2))
    checkpoint = replace(checkpoint_of(CANONICAL, THREE_ACTIONS, sizes), policy=dict(network.state_dict()))
    save_checkpoint(tmp_path / "last.pt", checkpoint)
    policy = load_policy(tmp_path / "last.pt")
    values = np.random.default_rng(0).normal(0.0, 0.5, (64, CANONICAL.size)).astype(np.float32)
    stored = encode(values, OBSERVATION_DTYPES[dtype])
    actions = policy(stored)
    assert len(np.unique(actions)) == 3
    np.testing.assert_array_equal(actions, policy(decode(stored)))
