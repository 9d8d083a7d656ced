"""Demonstration files: bytes written by hand, there and back, ML-Agents' own loader, and what is no such file."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from drivetrain.data.synthetic.sample import write_sample
from drivetrain.errors import DataError, UsageError
from drivetrain.sim.observation import CANONICAL

pytestmark = pytest.mark.needs_unity
demo_file = pytest.importorskip("drivetrain.mlagents.demo_file")
demos = pytest.importorskip("drivetrain.algorithms.demo_demonstrations")


def records(behavior, *, done, cut_off=None, discrete=None, forbidden=None):
    count = len(done)
    size = sum(spec.shape[0] for spec in behavior.observations)
    random = np.random.default_rng(0)
    return demo_file.DemoRecords(
        behavior=behavior,
        observation=random.normal(size=(count, size)).astype(np.float32),
        continuous=random.uniform(-1, 1, (count, behavior.num_continuous)).astype(np.float32),
        discrete=np.zeros((count, 0), np.int64) if discrete is None else np.array(discrete),
        forbidden=np.zeros((count, 0), bool) if forbidden is None else np.array(forbidden, bool),
        reward=np.arange(count, dtype=np.float32),
        done=np.array(done, bool),
        cut_off=np.zeros(count, bool) if cut_off is None else np.array(cut_off, bool),
    )


def behavior(*, continuous=0, branches=()):
    spec = demo_file.ObservationSpec
    seen = (spec(name="near", shape=(2,), is_picture=False), spec(name="far", shape=(1,), is_picture=False))
    return demo_file.Behavior(name="Walker", observations=seen, num_continuous=continuous, branches=branches)


def written(path, made, *, is_scaled=False):
    path.write_bytes(b"".join(demo_file.demo_bytes(made, name="walk", is_scaled=is_scaled)))
    return path


def test_the_head_of_a_file_is_the_bytes_written_by_hand(tmp_path):
    data = written(tmp_path / "a.demo", records(behavior(continuous=1), done=[0, 0, 1])).read_bytes()
    meta = b"\x08\x01" + b"\x12\x04walk" + b"\x18\x03" + b"\x20\x01" + b"\x2d" + struct.pack("<f", 3.0)
    assert data[:33] == bytes([len(meta)]) + meta + bytes(32 - len(meta))
    brain = b"\x3a\x06Walker" + b"\x40\x01" + b"\x4a\x02\x08\x01"
    assert data[33 : 34 + len(brain)] == bytes([len(brain)]) + brain


@pytest.mark.parametrize("is_scaled", [False, True])
def test_records_come_back(tmp_path, is_scaled):
    made = records(behavior(continuous=2), done=[0, 0, 1, 0, 1], cut_off=[0, 0, 1, 0, 0])
    read = demo_file.read_demo(written(tmp_path / "a.demo", made, is_scaled=is_scaled))
    assert read.behavior == made.behavior
    assert np.allclose(read.continuous, made.continuous, atol=1e-7)
    for name in ("observation", "reward", "done", "cut_off", "discrete"):
        assert np.array_equal(getattr(read, name), getattr(made, name)), name


def test_recordings_become_transitions(tmp_path):
    made = records(behavior(continuous=1), done=[0, 0, 1, 0, 1, 0, 0], cut_off=[0, 0, 1, 0, 0, 0, 0])
    path = written(tmp_path / "a.demo", made)
    shown = demos.read_demonstrations(path, inputs={})
    assert shown.episode_start.tolist() == [0, 2, 3, 4]
    assert shown.terminated.tolist() == [False, True, False]
    assert np.array_equal(shown.observation, made.observation[[0, 1, 3, 5]])
    assert np.array_equal(shown.action, made.continuous[[0, 1, 3, 5]])
    assert np.array_equal(shown.final_observation, made.observation[[2, 4, 6]])
    other = written(tmp_path / "b.demo", records(behavior(continuous=2), done=[0, 1]))
    with pytest.raises(DataError) as error:
        demos.read_demonstrations(tmp_path, inputs={})
    assert str(error.value) == f"{other}: sees or does something else than {path}; use files of one behavior"


def test_branches_become_categories_with_their_masks(tmp_path):
    made = records(
        behavior(branches=(3, 2)),
        done=[0, 0, 1],
        discrete=[[2, 1], [0, 1], [0, 0]],
        forbidden=[[1, 0, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]],
    )
    shown = demos.read_demonstrations(written(tmp_path / "a.demo", made), inputs={})
    assert shown.action_index.tolist() == [5, 1]  # 2 * 2 + 1, 0 * 2 + 1
    assert shown.observation[:, 3:].tolist() == [[1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 1, 0]]
    assert shown.action.shape == (2, 0)


def test_what_is_no_demonstration_is_said(tmp_path):
    whole = written(tmp_path / "a.demo", records(behavior(continuous=1), done=[0, 0, 1])).read_bytes()
    path = tmp_path / "b.demo"
    for data, expected in (
        (b"", "is no demonstration of ML-Agents, or damaged"),
        (b"\x00" * 40, "holds 0 records of 0; record it again"),
        (whole[:-3], "is no demonstration of ML-Agents, or damaged"),
        (b"\x02\x08\x07" + whole[3:], "is of version 7; versions 0 and 1 can be read"),
    ):
        path.write_bytes(data)
        with pytest.raises(DataError) as error:
            demo_file.read_demo(path)
        assert str(error.value) == f"{path}: {expected}"
    path.unlink()
    with pytest.raises(DataError, match=r"there is no \.demo file .*/c\.demo; did you mean 'a\.demo'\?$"):
        demos.demo_files(tmp_path / "c.demo")
    rng = np.random.default_rng(3)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(bytes(data))
        try:
            demo_file.read_demo(path)
        except DataError:
            continue


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return a file of recorded drives, and the transitions that it was made from."""
    from drivetrain.data.scenario_store import ScenarioStore
    from drivetrain.mlagents_player.demo_export import export_demo

    folder = tmp_path_factory.mktemp("demo")
    write_sample(folder / "scenes", train=6, val=1, test=1, workers=1, progress=lambda done, total: None)
    store, path = ScenarioStore(folder / "scenes"), folder / "experts.demo"
    done = export_demo(path, store=store, root=folder, drives=4, seed=0, is_scaled=True, say=lambda text: None)
    with pytest.raises(UsageError, match=r"^demo-export: .*experts: ML-Agents reads files that end in \.demo; use "):
        export_demo(
            folder / "experts", store=store, root=folder, drives=4, seed=0, is_scaled=True, say=lambda text: None
        )
    return path, done


def test_recorded_drives_are_what_the_players_agents_see(exported):
    path, done = exported
    read = demo_file.read_demo(path)
    assert [spec.name for spec in read.behavior.observations] == [group.name for group in CANONICAL.groups]
    assert (read.behavior.name, read.behavior.num_continuous) == ("DrivingPlanner", 2)
    assert 1 <= done.episodes <= 4
    assert len(read.done) == done.transitions + done.episodes
    assert np.abs(read.continuous).max() <= 1.0 + 1e-6
    shown = demos.read_demonstrations(path, inputs={})
    assert (shown.num_episodes, len(shown)) == (done.episodes, done.transitions)


@pytest.mark.needs_mlagents
@pytest.mark.filterwarnings("ignore")  # ML-Agents' own
def test_ml_agents_own_loader_reads_the_same(exported):
    from mlagents.trainers.buffer import BufferKey
    from mlagents.trainers.demo_loader import demo_to_buffer, load_demonstration

    path, done = exported
    spec, pairs, total = load_demonstration(str(path))
    assert [observation.shape for observation in spec.observation_specs] == [(g.size,) for g in CANONICAL.groups]
    assert (spec.action_spec.continuous_size, len(pairs), total) == (2, total, done.transitions + done.episodes)
    _, buffer = demo_to_buffer(str(path), 1)
    ours = demo_file.read_demo(path)
    actions = np.array(buffer[BufferKey.CONTINUOUS_ACTION])
    # Its last record begins nothing; actions are three times ours.
    assert np.allclose(actions, 3 * ours.continuous[: len(actions)], atol=1e-6)
    assert np.array(buffer[BufferKey.DONE]).sum() == done.episodes
