"""DrivingEnv: a batch of driving worlds as a VectorEnvironment.

W worlds, N rows (controlled agents), D features, E rows whose episode ended in a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from drivetrain.errors import CheckpointError, ConfigError, SimulationError
from drivetrain.processes import usable_cores
from drivetrain.sim.backends import simulator
from drivetrain.sim.environment import ActionSpace, StepResult
from drivetrain.sim.kernels.tables import KernelTables, renew
from drivetrain.sim.kernels.vehicle import MAX_ACCELERATION, MAX_CURVATURE, NUM_ACTIONS, category_values
from drivetrain.sim.observation import CANONICAL, OBSERVATION_DTYPES
from drivetrain.sim.reward import RewardConfig
from drivetrain.sim.scene_bank import DT, SceneBank
from drivetrain.sim.score import episode_statistics
from drivetrain.sim.world import (
    ACTION_COMMAND,
    ACTION_CONTINUOUS,
    ACTION_DISCRETE,
    ACTION_LOG,
    ACTION_POSE,
    ALL_REACT,
    EVERY_OTHER_REACTS,
    FAILURES,
    GOAL,
    NONE_REACTS,
    NUM_SUMS,
    StepParameters,
    WorldState,
    new_state,
)

WORLDS_PER_THREAD = 32
"""Fewer worlds than this are not worth a thread of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrivingConfig:
    """The driving environment."""

    name: Literal["driving"] = "driving"
    num_worlds: int = 512
    """Worlds stepped together."""
    control: Literal["ego", "all"] = "ego"
    """Who is driven by the policy: the recording vehicle, or up to ``agents_per_world`` vehicles (self-play)."""
    agents_per_world: int = 8
    """With ``control: all``: controlled agents per world, the ego among them."""
    traffic: Literal["replay", "idm", "idm_aggressive", "idm_timid", "both"] = "replay"
    """What the other vehicles do: replay, react (idm, or drivers that are aggressive or timid), both: in turns."""
    route: Literal["log", "mission"] = "log"
    """What the ego is told of its way. ``mission``: what nuPlan tells a planner, the way along the roadblocks and the
    mission goal. ``log``: the way that was driven and where the log ended, which tells how fast it was: easier, and
    misleading where there is no log. Scenes without a lane graph have the latter."""
    at_goal: Literal["end", "drive_on"] = "end"
    """What happens where the log ended. ``drive_on``: nothing, as in nuPlan's closed loop: there is no more progress to
    make, but still much to run into. ``end``: the episode terminates. Evaluations always end there."""
    action: Literal["discrete", "continuous"] = "discrete"
    """91 categories (7 accelerations x 13 steering values), or two numbers in [-1, 1]."""
    horizon_s: float = 15.0
    """Longest episode [s]; the log may end earlier. Both truncate."""
    start_speed: tuple[float, float] = (0.8, 1.1)
    """The start speed is multiplied by a number drawn from this range in training."""
    min_distance_m: float = 20.0
    """Scenes whose logged drive is shorter are left out of training [m]."""
    acceleration_lag_s: float = 0.2
    """Time constant of the acceleration actuator [s] (nuPlan: 0.2)."""
    steering_lag_s: float = 0.05
    """Time constant of the steering actuator [s] (nuPlan: 0.05)."""
    reward: RewardConfig = field(default_factory=RewardConfig)
    observation_dtype: Literal["float32", "bfloat16", "int8"] = "float32"
    """How observations are stored: float32, bfloat16 (half the bytes), or int8 (a quarter; units of 1/63.5)."""
    threads: int = 0
    """Threads that step worlds; 0 uses the process's cores. Results do not depend on it."""
    backend: Literal["kernels", "oracle"] = "kernels"
    """Compiled kernels, or the slow readable simulator that defines them."""

    def __post_init__(self) -> None:
        for name in ("num_worlds", "agents_per_world", "horizon_s"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"environment.{name}: {getattr(self, name)} must be greater than 0")
        for name in ("acceleration_lag_s", "steering_lag_s", "min_distance_m", "threads"):
            if getattr(self, name) < 0:
                raise ConfigError(f"environment.{name}: {getattr(self, name)} must not be negative")
        if self.observation_dtype not in OBSERVATION_DTYPES:
            known = ", ".join(OBSERVATION_DTYPES)
            raise ConfigError(f"environment.observation_dtype: '{self.observation_dtype}' must be one of {known}")
        low, high = self.start_speed
        if not 0 <= low <= high:
            raise ConfigError(f"environment.start_speed: [{low}, {high}] must be two ascending numbers, none negative")

    @property
    def rows_per_world(self) -> int:
        """Rows of the learner that belong to one world."""
        return 1 if self.control == "ego" else self.agents_per_world


class TrafficDriver(Protocol):
    """Somebody outside who drives vehicles of the traffic: their slots are DRIVEN."""

    def begin(self, env: DrivingEnv) -> None:
        """Take over vehicles of worlds that have just been reset."""
        ...

    def move(self, env: DrivingEnv) -> None:
        """Put them where they will be in the next frame; nobody else has moved yet."""
        ...


class DrivingEnv:
    """A batch of driving worlds with automatic reset.

    Args:
        bank: Scenes to play.
        config: See DrivingConfig.
        sequential: World w plays scenes w, w + W, ... in order instead of drawing them (evaluation).
        automatic_reset: Worlds that are over start anew in the same step.
        perturb: Draw start speeds and stagger the first episodes (training); otherwise scenes start as logged.
        stagger: False: draw start speeds only; the first episode too begins at the log's first frame.
        compute_ttc: Also compute the ``ttc`` event and with it ``score_basic``.
        first_world: Global index of world 0, when several processes share a batch.
        num_worlds_global: Worlds over all processes; None: this batch is all.
        traffic_driver: Drives vehicles of the traffic, in worlds that are not reset automatically.
    """

    parts: tuple[slice, ...]
    """Rows of the two halves of the worlds (one, of a single world), which :meth:`step_part` steps apart."""

    def __init__(
        self,
        bank: SceneBank,
        config: DrivingConfig,
        *,
        sequential: bool = False,
        automatic_reset: bool = True,
        perturb: bool = True,
        stagger: bool = True,
        compute_ttc: bool = False,
        first_world: int = 0,
        num_worlds_global: int | None = None,
        traffic_driver: TrafficDriver | None = None,
    ) -> None:
        if traffic_driver is not None and automatic_reset:
            raise SimulationError("traffic_driver: it would not notice automatic resets; use automatic_reset=False")
        self._traffic_driver = traffic_driver
        self.bank = bank
        self.config = config
        self.num_worlds = config.num_worlds
        self.num_rows = config.num_worlds * config.rows_per_world
        self.observation_schema = CANONICAL
        self.observation_size = CANONICAL.size
        self.observation_dtype = config.observation_dtype
        self.shaping_scale = 0.0
        self.automatic_reset = automatic_reset
        self.state: WorldState = new_state(config.num_worlds, config.rows_per_world, int(bank.arrays.num_slots.max()))
        if config.action == "discrete":
            self.action_space = ActionSpace(num_categories=NUM_ACTIONS, category_values=category_values())
        else:
            self.action_space = ActionSpace(
                size=2, low=(-MAX_ACCELERATION, -MAX_CURVATURE), high=(MAX_ACCELERATION, MAX_CURVATURE)
            )
        self._kernels, self._scenes = simulator(config.backend, bank, config.traffic)
        self._parameters = StepParameters(
            seed=0,
            rows_per_world=config.rows_per_world,
            first_world=first_world,
            num_worlds_global=num_worlds_global or config.num_worlds,
            sequential=int(sequential),
            random_start=int(perturb and stagger),
            reactive_traffic={"replay": NONE_REACTS, "both": EVERY_OTHER_REACTS}.get(config.traffic, ALL_REACT),
            speed_low=config.start_speed[0] if perturb else 1.0,
            speed_high=config.start_speed[1] if perturb else 1.0,
            horizon=max(round(config.horizon_s / DT), 1),
            penalty_at_fault=config.reward.penalty_at_fault,
            penalty_other=config.reward.penalty_other_collision,
            penalty_offroad=config.reward.penalty_offroad,
            penalty_red_light=config.reward.penalty_red_light,
            shaping_acceleration=0.0,
            shaping_steering=0.0,
            compute_ttc=int(compute_ttc),
            acceleration_lag=config.acceleration_lag_s,
            steering_lag=config.steering_lag_s,
            ending=FAILURES | (GOAL if config.at_goal == "end" else 0),
        )
        threads = min(config.threads or usable_cores(), max(self.num_worlds // WORLDS_PER_THREAD, 1))
        self._ranges = _shared_out(0, self.num_worlds, threads)
        middle = self.num_worlds // 2
        halves = ((0, middle), (middle, self.num_worlds)) if middle else ((0, self.num_worlds),)
        self._part_ranges = [_shared_out(first, end, threads) for first, end in halves]
        self.parts = tuple(slice(a * config.rows_per_world, b * config.rows_per_world) for a, b in halves)
        self._pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="worlds") if threads > 1 else None
        self._action = np.zeros((self.num_rows, 2), dtype=np.float32)
        dtype = OBSERVATION_DTYPES[config.observation_dtype]
        self._final = np.zeros((self.num_rows, self.observation_size), dtype=dtype)
        self._final_sums = np.zeros((self.num_rows, NUM_SUMS), dtype=np.float32)
        self._observation = np.zeros((self.num_rows, self.observation_size), dtype=dtype)

    @property
    def parameters(self) -> StepParameters:
        """The constants of the next step."""
        reward = self.config.reward
        return self._parameters._replace(
            shaping_acceleration=reward.acceleration_change * self.shaping_scale,
            shaping_steering=reward.steering_change * self.shaping_scale,
        )

    def reset(self, *, seed: int, out: NDArray | None = None) -> NDArray:
        """Start every world anew; see VectorEnvironment."""
        self._parameters = self._parameters._replace(seed=int(seed))
        observation = self._target(out)
        self._over_worlds(partial(self._kernels.reset_worlds, self._scenes, self.state, self.parameters), observation)
        if self._traffic_driver is not None:
            self._traffic_driver.begin(self)
        return observation

    def current_observation(self, *, out: NDArray | None = None) -> NDArray:
        """Observe without stepping."""
        observation = self._target(out)
        self._over_worlds(partial(self._kernels.observe_worlds, self._scenes, self.state, self.parameters), observation)
        return observation

    def observe_rows(self, state: WorldState, *, rows_per_world: int, out: NDArray) -> None:
        """Write what other rows would see: those of a state that shares this one's worlds and has rows of its own."""
        parameters = self.parameters._replace(rows_per_world=rows_per_world)
        self._over_worlds(partial(self._kernels.observe_worlds, self._scenes, state, parameters), out)

    def step(self, action: NDArray, *, out: NDArray | None = None) -> StepResult:
        """Advance by a policy's action: int [N] categories, or float [N, 2] in [-1, 1] whatever ``action`` is set to.

        Raises:
            SimulationError: If an action has the wrong shape or range, or the simulation produced a NaN.
        """
        return self._advance(self._take_policy(action, slice(0, self.num_rows)), out)

    def step_part(self, part: int, action: NDArray, *, out: NDArray) -> StepResult:
        """Advance the worlds of one part by a policy's action; the others stay where they are.

        Args:
            part: Index in ``parts``.
            action: Of its rows, as :meth:`step` takes it.
            out: Observations of all rows, shape [N, D]; only the part's are written.

        Returns:
            The part's rows; ``final_rows`` counts within them.

        Raises:
            SimulationError: If an action has the wrong shape or range, or the simulation produced a NaN.
        """
        rows = self.parts[part]
        return self._advance(self._take_policy(action, rows), out, rows=rows, ranges=self._part_ranges[part])

    def _take_policy(self, action: NDArray, rows: slice) -> int:
        """Take over a policy's actions for some rows and return their kind."""
        action = np.asarray(action)
        if self.action_space.is_discrete and action.ndim == 1:
            if action.shape != (rows.stop - rows.start,):
                raise SimulationError(f"action: shape {action.shape}, expected ({rows.stop - rows.start},)")
            if not (np.isfinite(action).all() and action.min() >= 0 and action.max() < NUM_ACTIONS):
                raise SimulationError(f"action: values must be 0..{NUM_ACTIONS - 1}; the policy gave something else")
            self._action[rows, 0] = action
            return ACTION_DISCRETE
        self._take(action, rows)
        np.clip(self._action[rows], -1.0, 1.0, out=self._action[rows])
        return ACTION_CONTINUOUS

    def step_command(self, command: NDArray, *, out: NDArray | None = None) -> StepResult:
        """Advance by commanded acceleration [m/s^2] and steering angle [rad], shape [N, 2]."""
        self._take(command, slice(0, self.num_rows))
        return self._advance(ACTION_COMMAND, out)

    def step_log(self, *, out: NDArray | None = None) -> StepResult:
        """Advance with every controlled agent at its logged pose."""
        return self._advance(ACTION_LOG, out)

    def step_pose(self, pose: NDArray, *, out: NDArray | None = None) -> StepResult:
        """Advance to given box centres x, y [m], headings [rad], speeds [m/s], accelerations [m/s^2], shape [N, 5]."""
        pose = np.ascontiguousarray(pose, dtype=np.float32)
        if pose.shape != (self.num_rows, 5) or not np.isfinite(pose).all():
            raise SimulationError(
                f"pose: finite values of shape ({self.num_rows}, 5) are needed, got shape {pose.shape}"
            )
        return self._advance(ACTION_POSE, out, pose)

    def _take(self, action: NDArray, rows: slice) -> None:
        action = np.asarray(action, dtype=np.float32)
        if action.shape != (rows.stop - rows.start, 2):
            raise SimulationError(f"action: shape {action.shape}, expected ({rows.stop - rows.start}, 2)")
        if not np.isfinite(action).all():
            row = int(np.flatnonzero(~np.isfinite(action).all(axis=1))[0])
            raise SimulationError(f"action: row {row} is {action[row].tolist()}; the policy or planner produced a NaN")
        self._action[rows] = action

    def _target(self, out: NDArray | None) -> NDArray:
        if out is None:
            return self._observation
        expected = self._observation
        if out.shape != expected.shape or out.dtype != expected.dtype or not out.flags.c_contiguous:
            raise SimulationError(f"out: a contiguous {expected.dtype} array of shape {expected.shape} is needed")
        return out

    def _over_worlds(self, kernel: Any, *arguments: Any, ranges: list[tuple[int, int]] | None = None) -> None:
        """Run a kernel over ranges of worlds (all of them by default), one range per thread."""
        ranges = self._ranges if ranges is None else ranges
        if self._pool is None:
            for first, end in ranges:
                kernel(first, end, *arguments)
            return
        waiting = [self._pool.submit(kernel, first, end, *arguments) for first, end in ranges[1:]]
        kernel(*ranges[0], *arguments)
        for future in waiting:
            future.result()

    def _advance(
        self,
        kind: int,
        out: NDArray | None,
        action: NDArray | None = None,
        *,
        rows: slice = slice(None),
        ranges: list[tuple[int, int]] | None = None,
    ) -> StepResult:
        observation = self._target(out)
        if self._traffic_driver is not None:
            self._traffic_driver.move(self)
        kernel = partial(self._kernels.step_worlds, self._scenes, self.state, self.parameters)
        self._over_worlds(
            kernel,
            kind,
            self._action if action is None else action,
            observation,
            self._final,
            self._final_sums,
            int(self.automatic_reset),
            ranges=ranges,
        )
        state = self.state
        reward, valid = state.reward[rows], state.valid[rows].view(np.bool_)
        terminated, truncated = state.terminated[rows].view(np.bool_), state.truncated[rows].view(np.bool_)
        if not np.isfinite(reward.sum() + state.route_s[rows].sum() + state.route_offset[rows].sum()):
            raise self._blame()
        ended = np.flatnonzero((terminated | truncated) & valid).astype(np.int32)
        sums = self._final_sums[rows][ended]
        return StepResult(
            observation=observation[rows],
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            valid=valid,
            final_rows=ended,
            final_observation=self._final[rows][ended],
            episodes=episode_statistics(sums, with_ttc=bool(self._parameters.compute_ttc)) if len(ended) else {},
        )

    def _blame(self) -> SimulationError:
        rows = np.flatnonzero(~np.isfinite(self.state.reward + self.state.route_s + self.state.route_offset))
        world = int(rows[0]) // self.config.rows_per_world
        scenario = self.bank.scenario_ids[int(self.state.scene[world])]
        return SimulationError(
            f"the simulation produced a NaN in world {world}, scenario {scenario}; is the data sound?"
        )

    def renew_scenes(self) -> None:
        """Take over what was changed in the arrays of the bank: boxes, types, goals, lights, stop lines."""
        if isinstance(self._scenes, KernelTables):  # the other simulator reads the arrays themselves
            renew(self._scenes, self.bank.arrays)

    def state_dict(self) -> dict[str, NDArray]:
        """Return all worlds and the seed."""
        state = {name: array.copy() for name, array in self.state._asdict().items()}
        state["seed"] = np.array([self._parameters.seed], dtype=np.int64)
        return state

    def load_state_dict(self, state: Mapping[str, NDArray]) -> None:
        """Continue from a state of the same bank and configuration."""
        for name, array in self.state._asdict().items():
            if name not in state or state[name].shape != array.shape:
                found = state[name].shape if name in state else "nothing"
                raise CheckpointError(
                    f"environment state '{name}': {found}, expected shape {array.shape}; "
                    "resume with the same number of worlds and the same control"
                )
            array[...] = state[name]
        if int(self.state.scene.max()) >= len(self.bank):
            raise CheckpointError("environment state: it refers to scenes that this data set does not have")
        self._parameters = self._parameters._replace(seed=int(state["seed"][0]))

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _shared_out(first: int, end: int, threads: int) -> list[tuple[int, int]]:
    """Return ranges of worlds, one per thread."""
    bounds = np.linspace(first, end, min(threads, max(end - first, 1)) + 1).round().astype(int)
    return [(int(a), int(b)) for a, b in pairwise(bounds)]
