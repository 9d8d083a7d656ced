"""The compiled simulator against the readable one, step by step, from a shared state."""

import functools

import numpy as np
import pytest
from tests.sim import worlds
from tests.sim.comparison import Tally, compare_states, compare_step, make_env
from tests.sim.scenario_builder import GREEN, RED, YELLOW, Mover, constant, line

from drivetrain.sim import oracle
from drivetrain.sim.observation import CANONICAL
from drivetrain.sim.scene_arrays import HEADING, PRESENT, SPEED, X, Y
from drivetrain.sim.scene_bank import build_bank
from drivetrain.sim.world import (
    ACTION_COMMAND,
    ACTION_CONTINUOUS,
    ACTION_DISCRETE,
    ACTION_LOG,
    ACTION_POSE,
    AT_FAULT,
    COLLISION,
    GOAL,
    OFFROAD,
    RED_LIGHT,
    TTC,
    copy_state,
)

STRAIGHT_ON = 3 * 13 + 6
"""Category of no acceleration and no steering."""


@functools.cache
def everything():
    """All hand-built scenes, turned so that no road lies along an axis."""
    chaser = Mover(path=line((-40, 0), (300, 0)), arc_length=constant(0, 15.0))
    scenes = [
        *worlds.all_worlds(),
        worlds.straight_road(agents=[chaser], lead=False),
        worlds.signalled_crossing(ego_state=RED),
    ]
    return build_bank([worlds.moved(scene, turn=0.3, shift=(137.0, -55.0)) for scene in scenes], all_controllable=True)


def random_actions(random, env):
    action = np.zeros((env.num_rows, 2), np.float32)
    action[:, 0] = random.integers(0, 91, env.num_rows)
    return ACTION_DISCRETE, action


def gentle_actions(random, env):
    action = np.zeros((env.num_rows, 2), np.float32)
    action[:, 0] = STRAIGHT_ON + random.choice([0, 0, 0, -1, 1, 13, -13], env.num_rows)
    return ACTION_DISCRETE, action


def continuous_actions(random, env):
    return ACTION_CONTINUOUS, random.uniform(-1, 1, (env.num_rows, 2)).astype(np.float32)


def commands(random, env):
    return ACTION_COMMAND, (random.normal(0, 1, (env.num_rows, 2)) * [2.0, 0.05]).astype(np.float32)


def commands_that_hurry(random, env):
    """Faster than the log, and straight on mostly: many reach its end long before it."""
    action = np.zeros((env.num_rows, 2), np.float32)
    action[:, 0] = 1.5 + random.normal(0, 0.3, env.num_rows)
    action[:, 1] = random.normal(0, 0.002, env.num_rows)
    return ACTION_COMMAND, action


def the_log(random, env):
    return ACTION_LOG, np.zeros((env.num_rows, 2), np.float32)


def poses(random, env):
    """Small hops from where they are; now and then far off the map, or onto somebody else."""
    state, rows = env.state, np.arange(env.num_rows)
    world = rows // env.config.rows_per_world
    pose = state.agents[world, :, state.slot][:, [X, Y, HEADING, SPEED, SPEED]].astype(np.float64)
    pose[:, 4] = random.normal(0, 1, len(rows))
    pose[:, :2] += random.normal(0, 1.5, (len(rows), 2))
    pose[:, 2] += random.normal(0, 0.3, len(rows))
    pose[:, 3] += random.normal(0, 0.5, len(rows))
    far = random.random(len(rows)) < 0.1
    pose[far, :2] += random.normal(0, 300.0, (far.sum(), 2))
    for row in np.flatnonzero(random.random(len(rows)) < 0.1):
        slots = state.agents[world[row]]
        pose[row, :2] = slots[[X, Y], random.choice(np.flatnonzero(slots[PRESENT] > 0))] + random.normal(0, 2.0, 2)
    return ACTION_POSE, np.ascontiguousarray(pose, dtype=np.float32)


CASES = {
    "random ego": (random_actions, 60, {"num_worlds": 9, "compute_ttc": True}),
    "gentle ego": (gentle_actions, 75, {"num_worlds": 9, "compute_ttc": True, "sequential": True, "perturb": False}),
    "self-play among reactive traffic": (
        continuous_actions,
        50,
        {
            "num_worlds": 7,
            "control": "all",
            "agents_per_world": 5,
            "traffic": "idm",
            "action": "continuous",
            "horizon_s": 2.5,
        },
    ),
    "gentle self-play": (
        gentle_actions,
        50,
        {"num_worlds": 9, "control": "all", "agents_per_world": 4, "traffic": "idm", "compute_ttc": True},
    ),
    "commands, short horizon": (commands, 25, {"num_worlds": 9, "horizon_s": 1.0, "traffic": "idm"}),
    "log replay": (the_log, 95, {"num_worlds": 6, "sequential": True, "perturb": False}),
    "poses off the map": (poses, 60, {"num_worlds": 9, "compute_ttc": True}),
    "yellow lights": (the_log, 112, {"num_worlds": 8, "sequential": True, "perturb": False, "traffic": "idm"}),
    "red lights": (the_log, 60, {"num_worlds": 7, "sequential": True, "perturb": False}),
    "driving on past the goal": (
        commands_that_hurry,
        95,
        {"num_worlds": 9, "sequential": True, "perturb": False, "compute_ttc": True, "at_goal": "drive_on"},
    ),
    "no automatic reset": (random_actions, 40, {"num_worlds": 9, "automatic_reset": False, "horizon_s": 3.0}),
}


@functools.cache
def lights_that_turn_red():
    """The crossing with its light turning red shortly before the ego, at frame 54, passes the line."""
    states = [[GREEN] * k + [RED] * (121 - k) for k in (0, 20, 40, 43, 44, 45, 50)]
    scenes = [worlds.signalled_crossing(ego_state=state) for state in states]
    return build_bank([worlds.moved(scene, turn=-1.0, shift=(3.0, 8.0)) for scene in scenes])


@functools.cache
def traffic_that_must_decide():
    """Yellow when a car could just, or just not, stop; slow cars that are just, or just not, in the way."""
    scenes = [
        worlds.signalled_crossing(ego_state=[GREEN] * k + [YELLOW] * (121 - k)) for k in (99, 101, 102, 103, 104, 106)
    ]
    for side in (2.05, 2.15):  # half widths of 0.95 m each and 0.2 m of room
        slow = Mover(path=line((20, side), (300, side)), arc_length=constant(0, 3.0))
        behind = Mover(path=line((-30, 0), (300, 0)), arc_length=constant(0, 9.0))
        scenes.append(worlds.straight_road(ego_speed=7.0, lead=False, agents=[slow, behind], frames=121))
    return build_bank([worlds.moved(scene, turn=0.7, shift=(-20.0, 31.0)) for scene in scenes])


BANKS = {"red lights": lights_that_turn_red, "yellow lights": traffic_that_must_decide}


@functools.cache
def tally_of(name):
    """Run a case, comparing at every step."""
    sample, steps, options = CASES[name]
    env = make_env(BANKS.get(name, everything)(), seed=11, **options)
    env.shaping_scale = 0.7
    random, tally = np.random.default_rng(5), Tally()
    for _ in range(steps):
        compare_step(env, *sample(random, env), tally)
    assert tally.left_out.get("worlds", 0) <= 0.25 * steps * env.num_worlds
    for group in ("ego", "stop", "route", "agents", "road"):
        assert tally.share_left_out(group) <= 0.15, group
    return tally


@pytest.mark.parametrize("name", CASES)
def test_both_simulators_agree(name):
    assert tally_of(name).row_steps > 150


@pytest.mark.parametrize("options", [{}, {"control": "all", "agents_per_world": 20}])
def test_both_simulators_agree_among_hundreds(options):
    """Far more agents than an observation holds or a vector has lanes: all count, the nearest are seen."""
    scene = worlds.moved(worlds.crowd(count=230), turn=0.2, shift=(12.0, 7.0))
    scenes = build_bank([scene, worlds.straight_road()], all_controllable=True)
    assert scenes.arrays.num_slots.tolist() == [231, 2]
    env = make_env(scenes, seed=3, num_worlds=2, sequential=True, perturb=False, compute_ttc=True, **options)
    random, tally = np.random.default_rng(4), Tally()
    for _ in range(12):
        compare_step(env, *gentle_actions(random, env), tally)
    assert tally.observations > 12
    assert tally.left_out.get("worlds", 0) <= 6
    agents = CANONICAL.group("agents")
    start = CANONICAL.start("agents") + agents.features.index(agents.presence) * agents.count
    seen = env.current_observation()[:, start : start + agents.count] > 0
    assert seen.all(axis=1).any(), "a full view was expected"


def test_both_simulators_begin_alike():
    """Scenes, start frames, slots and speeds are drawn; everything else follows from the log."""
    env = make_env(everything(), num_worlds=60, control="all", agents_per_world=5, traffic="idm")
    slow, observation = copy_state(env.state), np.zeros((env.num_rows, env.observation_size), np.float32)
    for seed in (1, 2**40 + 7):
        env.reset(seed=seed)
        oracle.reset_worlds(env.bank.arrays, slow, env.parameters, 0, env.num_worlds, observation)
        compare_states(env.state, slow, np.ones(60, dtype=bool), np.ones(300, dtype=bool))
        assert len(np.unique(slow.frame)) > 10


@pytest.mark.parametrize("first_world", [0, 7])
def test_traffic_of_every_other_world_reacts(first_world):
    """Each world does what it would do where all traffic is like its own, and both simulators agree."""
    options = {"num_worlds": 12, "first_world": first_world, "num_worlds_global": 40, "perturb": False}
    both, replay, idm = (make_env(everything(), seed=2, traffic=name, **options) for name in ("both", "replay", "idm"))
    tally = Tally()
    action = np.zeros((12, 2), np.float32)
    action[:, 0] = STRAIGHT_ON
    for _ in range(15):
        compare_step(both, ACTION_DISCRETE, action, tally)
        for env in (replay, idm):
            env.step(action[:, 0])
    odd = (np.arange(12) + first_world) % 2 == 1
    assert np.array_equal(both.state.agents[odd], idm.state.agents[odd])
    assert np.array_equal(both.state.agents[~odd], replay.state.agents[~odd])
    assert not np.array_equal(idm.state.agents[odd], replay.state.agents[odd])


def test_the_comparison_met_every_event_and_many_endings():
    tallies = [tally_of(name) for name in CASES]
    met = {bit: sum(tally.events.get(bit, 0) for tally in tallies) for bit in (1, 2, 4, 8, 16, 32)}
    for bit in (COLLISION, AT_FAULT, OFFROAD, RED_LIGHT, GOAL, TTC):
        assert met[bit] >= 5, f"event {bit} was met {met[bit]} times"
    assert met[COLLISION] > met[AT_FAULT], "no collision without fault was met"
    assert sum(tally.ended for tally in tallies) > 100
