"""Scoring over processes: the same results in the same order, and clear ends."""

import os

import numpy as np
import pytest
from tests.metrics.builders import agents_of, random_box, straight_ego

from drivetrain.errors import DataError, UsageError
from drivetrain.metrics.batch import TRAJECTORIES_PER_PROCESS, processes_for, score_in_order
from drivetrain.metrics.collisions import find_collisions


class Street:
    """Scores the seed of a random street; counts nothing, keeps nothing."""

    def __call__(self, seed: int) -> tuple[int, float, int]:
        random = np.random.default_rng(seed)
        agents = agents_of(20, *(random_box(random) for _ in range(6)))
        found = find_collisions(straight_ego(20), agents, np.ones(20, dtype=np.bool_))
        return seed, found.score, os.getpid()


def refuse_five(seed: int) -> int:
    if seed == 5:
        raise DataError("scene 5: its logged pose is not finite; leave this scene out")
    return seed


def die_at_two(seed: int) -> int:
    if seed == 2:
        os._exit(1)
    return seed


def test_processes_give_what_one_gives_in_the_same_order():
    told = []
    alone = list(score_in_order(Street(), range(23)))
    shared = list(
        score_in_order(Street(), range(23), processes=2, jobs_per_chunk=4, progress=lambda *at: told.append(at))
    )
    assert [row[:2] for row in shared] == [row[:2] for row in alone]
    assert [row[0] for row in shared] == list(range(23))
    assert told == [(4, 23), (8, 23), (12, 23), (16, 23), (20, 23), (23, 23)]
    assert {row[2] for row in alone} == {os.getpid()}
    assert os.getpid() not in {row[2] for row in shared}


def test_what_scoring_raises_arrives():
    results = score_in_order(refuse_five, range(8))
    with pytest.raises(DataError) as caught:
        list(results)
    assert str(caught.value) == "scene 5: its logged pose is not finite; leave this scene out"


def test_a_process_that_dies_is_one_clear_line():
    with pytest.raises(DataError) as caught:
        list(score_in_order(die_at_two, range(4), processes=2))
    assert str(caught.value) == (
        "a process that scores trajectories died (out of memory?); try again with fewer processes"
    )


def test_no_jobs_no_results():
    assert list(score_in_order(refuse_five, [], processes=2)) == []


@pytest.mark.parametrize("name", ["processes", "jobs_per_chunk"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(UsageError, match=rf"the number of {name.replace('_', ' ')} must be at least 1, got 0"):
        list(score_in_order(refuse_five, range(3), **{name: 0}))


def test_few_trajectories_start_no_process():
    assert processes_for(0) == processes_for(TRAJECTORIES_PER_PROCESS) == 1
    assert processes_for(10**9) == len(os.sched_getaffinity(0))


def test_systems_that_bind_no_process_to_processors_have_all_of_them(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert processes_for(10**9) == 3
