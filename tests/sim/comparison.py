"""Run the compiled and the readable simulator from the same state and hold every array of theirs side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from drivetrain.sim import oracle
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.kernels import step as kernels
from drivetrain.sim.observation import CANONICAL
from drivetrain.sim.scene_arrays import PRESENT
from drivetrain.sim.world import NUM_SUMS, REACTIVE, WorldState, copy_state

EVENT_MARGIN = 1e-4
"""Verdicts closer than this may differ."""
CHOICE_MARGIN = 2e-4
"""Selections and orders decided by less than this may differ [m]."""

STATE_TOLERANCE = np.array([5e-4, 5e-4, 1e-5, 1e-5, 2e-4, 3e-5, 4e-5, 1e-5, 2e-4, 2e-4, 0.0])
"""1e-5 of scale per state row: position 50 m, speed 20 m/s, acceleration 4 m/s^2, heading pi."""
EXACT = (
    "scene", "frame", "episode", "slot", "has_slot", "running", "steps", "route_index", "events", "terminated",
    "truncated", "valid", "mode",
)  # fmt: skip
CLOSE = {
    "path_s": 5e-4, "route_s": 5e-4, "route_offset": 5e-4, "start_s": 5e-4, "max_s": 5e-4, "last_acceleration": 4e-5,
    "last_level": 6e-5, "executed": 4e-5, "reward": 1e-4,
}  # fmt: skip
"""Absolute tolerances: 1e-5 of 50 m, of 4 m/s^2, of 6 levels and of a return of 10."""
SUM_TOLERANCE = 1e-4
"""Relative and absolute, of the episode's sums after one more step."""
ROAD_TOLERANCE = {"x": 1.5e-4, "y": 1.5e-4, "cos": 3e-5, "sin": 3e-5, "half_length": 5.1e-4, "is_edge": 0.0}
"""Midpoints are stored in centimetres per axis (rotated: 0.71 cm), directions in 1/32767."""
APPROACH_TOLERANCE = 1e-4
"""The time of closest approach divides by a relative speed that may be small."""


@dataclass
class Tally:
    """What was compared, what happened, and what was left out because it was decided too closely."""

    row_steps: int = 0
    observations: int = 0
    ended: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    events: dict[int, int] = field(default_factory=dict)

    def leave_out(self, why: str, count: int) -> None:
        self.left_out[why] = self.left_out.get(why, 0) + int(count)

    def share_left_out(self, why: str) -> float:
        return self.left_out.get(why, 0) / max(self.observations, 1)


class Outcome(NamedTuple):
    """All that a backend writes in one step."""

    state: WorldState
    observation: np.ndarray
    final: np.ndarray
    final_sums: np.ndarray


ENV_ARGUMENTS = ("sequential", "perturb", "compute_ttc", "automatic_reset", "first_world", "num_worlds_global")


def make_env(bank, *, seed=0, **options) -> DrivingEnv:
    """A batch on one thread; options that are no config fields go to DrivingEnv."""
    extra = {name: options.pop(name) for name in ENV_ARGUMENTS if name in options}
    env = DrivingEnv(bank, DrivingConfig(**{"threads": 1, **options}), **extra)
    env.reset(seed=seed)
    return env


def run_backend(backend, scenes, env, kind, action):
    """Step a copy of the environment's state with one backend; ``scenes`` is the bank in its form."""
    rows = env.num_rows
    outcome = Outcome(
        state=copy_state(env.state),
        observation=np.zeros((rows, CANONICAL.size), np.float32),
        final=np.zeros((rows, CANONICAL.size), np.float32),
        final_sums=np.zeros((rows, NUM_SUMS), np.float32),
    )
    margins = backend.step_worlds(
        scenes, outcome.state, env.parameters, 0, env.num_worlds, kind, action, outcome.observation,
        outcome.final, outcome.final_sums, int(env.automatic_reset),
    )  # fmt: skip
    return outcome, margins


def compare_step(env, kind, action, tally) -> None:
    """Step both backends from the environment's state, compare, and continue with the compiled one's result."""
    was_running = env.state.running > 0
    fast, _ = run_backend(kernels, env._scenes, env, kind, action)
    slow, margins = run_backend(oracle, env.bank.arrays, env, kind, action)
    rows_per_world = env.config.rows_per_world
    decided = (margins.events > EVENT_MARGIN) & (margins.projection > CHOICE_MARGIN)
    worlds = decided.reshape(-1, rows_per_world).all(axis=1) & (margins.traffic > EVENT_MARGIN)
    tally.leave_out("worlds", (~worlds).sum())
    rows = np.repeat(worlds, rows_per_world)
    compare_states(fast.state, slow.state, worlds, rows)
    ended = was_running & ((slow.state.terminated > 0) | (slow.state.truncated > 0))
    compare_sums(fast.final_sums[ended & rows], slow.final_sums[ended & rows])
    running = slow.state.running > 0
    compare_observations(
        fast.observation, slow.observation, rows & running, margins.observation, margins.observation_order, tally
    )
    compare_observations(fast.final, slow.final, rows & ended, margins.final, margins.final_order, tally)
    np.testing.assert_array_equal(fast.observation[rows & ~running], 0.0)
    tally.row_steps += int(was_running.sum())
    tally.ended += int(ended.sum())
    for bit in (1, 2, 4, 8, 16, 32):
        tally.events[bit] = tally.events.get(bit, 0) + int(((slow.state.events & bit) > 0).sum())
    for mine, new in zip(env.state, fast.state, strict=True):
        mine[...] = new


def compare_states(fast: WorldState, slow: WorldState, worlds, rows) -> None:
    """Every array of the state, where no decision was too close."""
    for name in EXACT:
        a, b = getattr(fast, name), getattr(slow, name)
        keep = worlds if len(a) == len(worlds) and name in ("scene", "frame", "episode", "mode") else rows
        np.testing.assert_array_equal(a[keep], b[keep], err_msg=name)
    active = rows & (slow.has_slot > 0)
    for name, tolerance in CLOSE.items():
        a, b = getattr(fast, name), getattr(slow, name)
        if name == "path_s":
            reactive = (slow.mode == REACTIVE) & (slow.agents[:, PRESENT] > 0) & worlds[:, None]
            np.testing.assert_allclose(a[reactive], b[reactive], rtol=0, atol=tolerance, err_msg=name)
        else:
            np.testing.assert_allclose(a[active], b[active], rtol=1e-6, atol=tolerance, err_msg=name)
    compare_sums(fast.sums[active], slow.sums[active])
    present = slow.agents[worlds, PRESENT] > 0
    np.testing.assert_array_equal(fast.agents[worlds, PRESENT] > 0, present)
    difference = np.abs(fast.agents[worlds].astype(np.float64) - slow.agents[worlds]) * present[:, None]
    worst = difference.max(axis=(0, 2)) if len(difference) else np.zeros(len(STATE_TOLERANCE))
    assert (worst <= STATE_TOLERANCE).all(), f"agent state rows differ by {worst}"


def compare_sums(fast, slow) -> None:
    np.testing.assert_allclose(fast, slow, rtol=SUM_TOLERANCE, atol=SUM_TOLERANCE, err_msg="sums")


def compare_observations(fast, slow, rows, margins, order_margins, tally) -> None:
    """Group by group; entities whose order was too close are compared as a set."""
    tally.observations += int(rows.sum())
    start = 0
    for group in CANONICAL.groups:
        shape = (-1, len(group.features), group.count)
        clear = rows & (margins[group.name] > CHOICE_MARGIN)
        tally.leave_out(group.name, (rows & ~clear).sum())
        a = fast[clear, start : start + group.size].reshape(shape).astype(np.float64)
        b = slow[clear, start : start + group.size].reshape(shape).astype(np.float64)
        tolerance = feature_tolerances(group)
        tied = order_margins[group.name][clear] <= CHOICE_MARGIN
        for i in np.flatnonzero(tied):
            a[i] = a[i][:, best_order(a[i], b[i], tolerance)]
        worst = np.abs(a - b).max(axis=(0, 2), initial=0.0)
        assert (worst <= tolerance).all(), f"{group.name}: {dict(zip(group.features, worst, strict=True))}"
        start += group.size


def feature_tolerances(group) -> np.ndarray:
    """Tolerance of each feature: 1e-5 of its scale unless stated otherwise."""
    special = ROAD_TOLERANCE if group.name == "road" else {"closest_time": APPROACH_TOLERANCE}
    return np.array([special.get(feature, 1e-5) for feature in group.features])


def best_order(fast, slow, tolerance) -> np.ndarray:
    """For every entity of ``slow`` the nearest one of ``fast`` that is not yet taken, both [features, count]."""
    weight = 1.0 / np.maximum(tolerance, 1e-6)
    free = np.ones(fast.shape[1], dtype=bool)
    order = np.zeros(fast.shape[1], dtype=np.int64)
    for k in range(slow.shape[1]):
        distance = (np.abs(fast - slow[:, k : k + 1]) * weight[:, None]).max(axis=0)
        order[k] = int(np.argmin(np.where(free, distance, np.inf)))
        free[order[k]] = False
    return order
