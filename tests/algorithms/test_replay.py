"""The replay ring: its contents against a plain list, returns by hand, and a copy that draws the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from drivetrain.algorithms.replay import Field, ReplayRing
from drivetrain.errors import CheckpointError
from drivetrain.sim.environment import ActionSpace, StepResult

GAMMA = 0.5


def _ring(**changes: object) -> ReplayRing:
    settings: dict = {
        "capacity": 8,
        "num_rows": 2,
        "observation_size": 1,
        "observation_dtype": "float32",
        "action_space": ActionSpace(num_categories=100),
    }
    return ReplayRing(**(settings | changes))


def _step(ring: ReplayRing, t: int, *, terminated: tuple = (), truncated: tuple = (), void: tuple = ()) -> None:
    """Take step t: row r sees 10 t + r before it and is rewarded 2^t; ended episodes end at 1000 + 10 t + r."""
    n = ring.num_rows
    ring.next_rows()[:, 0] = 10 * (t + 1) + np.arange(n)
    ended = sorted({*terminated, *truncated})
    flags = [np.isin(np.arange(n), rows) for rows in (terminated, truncated, void)]
    result = StepResult(
        observation=np.zeros((n, 1), np.float32),
        reward=np.full(n, 2.0 ** (t % 60), np.float32),
        terminated=flags[0],
        truncated=flags[1],
        valid=~flags[2],
        final_rows=np.array(ended, np.int32),
        final_observation=np.array([[1000 + 10 * t + r] for r in ended], np.float32).reshape(-1, 1),
        episodes={},
    )
    ring.store(torch.full((n,), t), result)


def _begun(**changes: object) -> ReplayRing:
    ring = _ring(**changes)
    ring.first_rows()[:, 0] = np.arange(ring.num_rows)
    ring.begin()
    return ring


def _all(ring: ReplayRing, **settings: object) -> list[tuple[float, ...]]:
    """Return (observation, action, reward, discount, next observation) of all that is held, sorted."""
    read = ring.read(ring.places("valid"), gamma=GAMMA, **settings)
    columns = (read.observation[:, 0], read.action, read.reward, read.discount, read.next_observation[:, 0])
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def test_one_step_transitions_hold_their_own_next_observation() -> None:
    ring = _begun()
    _step(ring, 0)
    _step(ring, 1, terminated=(0,), truncated=(1,))
    _step(ring, 2)
    assert _all(ring) == [
        (0, 0, 1, 0.5, 10),
        (1, 0, 1, 0.5, 11),
        (10, 1, 2, 0.0, 1010),  # terminated: nothing follows
        (11, 1, 2, 0.5, 1011),  # truncated: the episode's own last observation, not the next episode's first (21)
        (20, 2, 4, 0.5, 30),
        (21, 2, 4, 0.5, 31),
    ]


def test_returns_of_three_steps_by_hand() -> None:
    ring = _begun()
    for t in range(4):
        _step(ring, t, truncated=(0,) if t == 1 else (), terminated=(1,) if t == 2 else ())
    read = _all(ring, num_steps=3)
    # Row 0 is cut at t = 1: 1 + 2/2, then half of half of the value of 1010. Its next episode: 4 + 8/2 to the newest.
    assert read[0] == (0, 0, 2.0, 0.25, 1010)
    assert read[2] == (10, 1, 2.0, 0.5, 1010)
    assert read[4] == (20, 2, 8.0, 0.25, 40)
    assert read[6] == (30, 3, 8.0, 0.5, 40)
    # Row 1 terminates at t = 2: 1 + 2/2 + 4/4, and no value behind it.
    assert read[1] == (1, 0, 3.0, 0.0, 1021)
    assert read[3] == (11, 1, 4.0, 0.0, 1021)
    assert read[5] == (21, 2, 4.0, 0.0, 1021)
    assert read[7] == (31, 3, 8.0, 0.5, 41)


def test_the_oldest_steps_give_way_and_what_stays_is_whole() -> None:
    ring = _begun()
    for t in range(23):
        _step(ring, t, terminated=(t % 2,) if t % 3 == 0 else ())
        held = min(t + 1, 4)
        assert len(ring) == 2 * held
        assert ring.fill == held / 4
        want = []
        for s in range(t - held + 1, t + 1):
            for row in range(2):
                over = s % 3 == 0 and s % 2 == row
                want.append((10 * s + row, s, 2.0**s, 0.0 if over else 0.5, 10 * s + row + (1000 if over else 10)))
        assert _all(ring) == want


def test_an_unlucky_ring_makes_room_for_every_final_observation() -> None:
    ring = _begun(capacity=3000, num_rows=2)
    for t in range(4000):
        _step(ring, t, truncated=(0, 1))
    read = ring.read(ring.places("valid"), gamma=GAMMA)
    assert len(ring) == 3000
    assert torch.equal(read.next_observation, read.observation + 1000)
    assert ring.num_bytes < 2 * 1501 * 60 + 4096 * 4


def test_void_rows_are_never_drawn() -> None:
    ring = _begun()
    _step(ring, 0, void=(0,))
    _step(ring, 1, void=(1,))
    drawn = ring.read(ring.draw(64, torch.Generator().manual_seed(0)), gamma=GAMMA)
    assert len(ring) == 2
    assert set(drawn.observation[:, 0].tolist()) == {1.0, 10.0}


def test_draws_are_uniform_or_among_named_places() -> None:
    ring = _begun(fields={"cost": Field()})
    for t in range(4):
        ring.next_rows()[:] = 10 * (t + 1)
        flags = np.zeros(2, bool)
        result = StepResult(
            observation=flags,
            reward=np.zeros(2, np.float32),
            terminated=flags,
            truncated=flags,
            valid=~flags,
            final_rows=np.zeros(0, np.int32),
            final_observation=np.zeros((0, 1), np.float32),
            episodes={},
        )
        ring.store(torch.full((2,), t), result, cost=np.array([0.0, t == 2], np.float32))
    generator = torch.Generator().manual_seed(1)
    counts = torch.bincount(ring.draw(80_000, generator), minlength=8)
    # Each of 8 cells has mean 10,000 and standard deviation 94.
    assert (counts[:8] - 10_000).abs().max() < 500
    costly = ring.places("cost")
    read = ring.read(ring.draw(5, generator, among=costly), gamma=GAMMA)
    assert read.action.tolist() == [2] * 5
    assert read.fields["cost"].tolist() == [1.0] * 5


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 9])
def test_a_restored_ring_draws_the_same(steps: int) -> None:
    ring, copy = _begun(), _ring()
    for t in range(steps):
        _step(ring, t, truncated=(1,) if t % 2 else ())
    copy.load_arrays({name: array.copy() for name, array in ring.arrays().items()})
    for t in range(steps, steps + 3):
        for each in (ring, copy):
            _step(each, t, terminated=(0,) if t % 2 else ())
        assert _all(ring, num_steps=2) == _all(copy, num_steps=2)
        draws = [each.draw(32, torch.Generator().manual_seed(t)) for each in (ring, copy)]
        reads = [each.read(places, gamma=GAMMA) for each, places in zip((ring, copy), draws, strict=True)]
        assert torch.equal(reads[0].observation, reads[1].observation)


def test_an_environment_put_back_alone_leaves_a_gap() -> None:
    ring = _begun()
    for t in range(3):
        _step(ring, t)
    ring.go_on_from(np.array([[30.0], [31.0]], np.float32))
    assert len(ring) == 6
    ring.go_on_from(np.array([[500.0], [501.0]], np.float32))
    _step(ring, 3)
    # Step 2 would have led from 20 to 500: it is gone, and returns of two steps end before it.
    assert [read[0] for read in _all(ring)] == [0, 1, 10, 11, 500, 501]
    assert _all(ring, num_steps=2)[0] == (0, 0, 2.0, 0.25, 20)
    assert _all(ring, num_steps=2)[2] == (10, 1, 2.0, 0.5, 20)


def test_a_ring_of_another_shape_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"the stored replay has \(5, 2, 1\).*this one \(9, 2, 1\); use the"):
        _ring(capacity=16).load_arrays(_begun().arrays())


def test_half_precision_halves_the_observations() -> None:
    full, half = _begun(observation_size=100), _begun(observation_size=100, half=True)
    for ring in (full, half):
        for t in range(3):
            _step(ring, t)
    assert half.present()[0, 0] == full.present()[0, 0] == 30
    reads = [ring.read(ring.places("valid"), gamma=GAMMA) for ring in (full, half)]
    assert reads[1].observation.dtype == torch.float32
    assert torch.equal(reads[0].observation, reads[1].observation)
    assert half.num_bytes < 0.6 * full.num_bytes


def test_bfloat16_observations_come_back_as_they_were_written() -> None:
    ring = _ring(observation_dtype="bfloat16")
    ring.first_rows()[:, 0] = 0x3F80  # 1.0
    ring.begin()
    ring.next_rows()[:, 0] = 0xC000  # -2.0
    flags = np.array([False, False])
    ends = np.array([False, True])
    result = StepResult(
        observation=flags,
        reward=np.zeros(2, np.float32),
        terminated=flags,
        truncated=ends,
        valid=~flags,
        final_rows=np.array([1], np.int32),
        final_observation=np.array([[0x4040]], np.uint16),  # 3.0
        episodes={},
    )
    ring.store(torch.zeros(2, dtype=torch.int64), result)
    read = ring.read(ring.places("valid"), gamma=GAMMA)
    assert read.observation.dtype == torch.bfloat16
    assert read.observation[:, 0].tolist() == [1.0, 1.0]
    assert read.next_observation[:, 0].tolist() == [-2.0, 3.0]
