"""The tables of docs/scaling.md are what its script computes from stored measurements."""

import sys
from pathlib import Path

import pytest

from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.kernels.vehicle import NUM_ACTIONS
from drivetrain.sim.observation import CANONICAL

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scaling():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import scaling

        yield scaling
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def test_the_page_shows_what_the_script_computes(scaling):
    page = scaling.PAGE.read_text(encoding="utf-8")
    assert scaling.with_tables(page) == page, "run `python benchmarks/scaling.py --write`"
    assert all(scaling.markdown(rows()) in page for rows in scaling.TABLES.values())


def test_an_old_table_would_be_found(scaling):
    page = scaling.PAGE.read_text(encoding="utf-8")
    assert scaling.with_tables(page.replace("optimiser steps/s |", "optimiser steps/s | 7 |", 1)) == page


def test_sizes_are_those_of_the_code(scaling):
    have = scaling.known()
    assert have["values of an observation"] == CANONICAL.size
    policy = ActorCritic(CANONICAL, ActionSpace(num_categories=NUM_ACTIONS), PolicyConfig())
    assert have["parameters of the default policy"] == sum(p.numel() for p in policy.parameters())


def test_a_plan_by_hand(scaling):
    one = next(place for place in scaling.PLACES if place.learners == 1)
    assert scaling.rate_of(one) == scaling.GPU_RATE
    many = scaling.Place(name="x", learners=10, cores=1, worlds=1, minibatch=1000, reduce_s=1e-3)
    # A step of 1000 rows takes 1 ms at a million a second, and the all-reduce another: half the rate.
    assert scaling.rate_of(many) == pytest.approx(10 * scaling.GPU_RATE / 2)
    assert (scaling.short(74414.0), scaling.short(8.388608e6), scaling.size(1384), scaling.clock(600)) == (
        "74.4 k",
        "8.39 M",
        "1.38 kB",
        "10 min",
    )
