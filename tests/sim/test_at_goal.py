"""Where the log ended: the end of an episode, or a place like any other (``environment.at_goal``)."""

import numpy as np
import pytest
from tests.sim.comparison import make_env
from tests.sim.scenario_builder import Mover, constant, line
from tests.sim.worlds import straight_road

from drivetrain.config import from_plain
from drivetrain.errors import ConfigError
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.scene_bank import build_bank

FULL_SPEED_AHEAD = 6 * 13 + 6
"""Category of the hardest acceleration, straight on."""


def hurried(at_goal, *, agents=(), backend="kernels", steps=90):
    """Drive faster than the log, whose ego covers 90 m in 9 s; return every step's result and the events seen."""
    bank = build_bank([straight_road(lead=False, agents=agents)])
    options = {"num_worlds": 1, "sequential": True, "perturb": False, "automatic_reset": False, "compute_ttc": True}
    env = make_env(bank, at_goal=at_goal, backend=backend, **options)
    results = []
    for _ in range(steps):
        results.append(env.step(np.array([FULL_SPEED_AHEAD])))
        if len(results[-1].final_rows):
            break
    return results


@pytest.mark.parametrize("backend", ["kernels", "oracle"])
def test_by_default_an_episode_terminates_at_the_goal(backend):
    results = hurried("end", backend=backend)
    assert results[-1].terminated[0]
    assert not results[-1].truncated[0]
    assert results[-1].episodes["goal"][0] == 1
    assert len(results) < 60


@pytest.mark.parametrize("backend", ["kernels", "oracle"])
def test_who_drives_on_earns_no_more_and_is_cut_where_the_log_ends(backend):
    short, long = hurried("end", backend=backend), hurried("drive_on", backend=backend)
    assert len(long) == 90
    assert long[-1].truncated[0]
    assert not long[-1].terminated[0]
    for a, b in zip(short, long, strict=False):
        assert a.reward[0] == b.reward[0]
    assert all(result.reward[0] == 0.0 for result in long[len(short) :])
    found = long[-1].episodes
    assert (found["goal"][0], found["progress"][0], found["collision"][0]) == (1, 1, 0)
    assert found["mean_reward"][0] == pytest.approx(short[-1].episodes["mean_reward"][0])


@pytest.mark.parametrize("backend", ["kernels", "oracle"])
def test_what_is_hit_beyond_the_goal_counts(backend):
    wall = Mover(path=line((110, 0), (111, 0)), arc_length=constant(0, 0))  # the log ends at 90 m
    assert hurried("end", agents=[wall], backend=backend)[-1].episodes["collision"][0] == 0
    results = hurried("drive_on", agents=[wall], backend=backend)
    assert results[-1].terminated[0]
    assert results[-1].reward[0] == -4.0
    found = results[-1].episodes
    assert (found["goal"][0], found["progress"][0], found["collision"][0]) == (1, 1, 1)


def test_another_word_is_refused():
    with pytest.raises(ConfigError, match="at_goal"):
        from_plain(DrivingConfig, {"at_goal": "stop"})
