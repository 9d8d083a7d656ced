"""Demonstrations from logs: every logged drive re-driven through the vehicle model by rolling state match.

W worlds of a batch, N rows (drives) of it, T steps, D observation values.

The simulator itself moves the worlds, so that observation, dynamics and traffic are exactly those that a policy meets;
the actions come from ``planners/state_match.py``. Rows are those of the *re-driven* states: an imitator that does the
same sees the same. In displaced passes the vehicle is put beside its log now and then, and finds back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivetrain.data.demonstrations import DemonstrationConfig, Demonstrations
from drivetrain.data.displacement import displace_some
from drivetrain.data.episode_book import EpisodeBook
from drivetrain.planners.state_match import match_actions
from drivetrain.processes import usable_cores
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.kernel_cache import source_hash
from drivetrain.sim.kernels import step as step_kernels
from drivetrain.sim.kernels.vehicle import category_values
from drivetrain.sim.observation import CANONICAL, OBSERVATION_DTYPES
from drivetrain.sim.scene_arrays import COS, HEADING, PRESENT, SIN, SPEED, X, Y
from drivetrain.sim.scene_bank import DT, SceneBank
from drivetrain.sim.world import REPLAYED

SCENES_AT_ONCE = {"ego": 256, "all": 32}
"""Scenes driven side by side, by whose drives are wanted: bounds the memory of who does it."""
MOST_AGENTS = 32
"""Drives per scene with ``agents: all``."""
LEAST_STEPS = 10
"""A shorter drive teaches nothing."""
JUMP_M = 1.0
"""A log may be this much farther from its last position than its speed allows [m]."""
JUMP_MPS = 2.0
"""A logged speed may change by this much in a step [m/s]: 20 m/s^2."""
ROOM_M = 2.0
"""How much farther from the log a displaced vehicle may be [m]."""

NOT_FINITE = "scenes hold values that are not finite"
JUMPS = "drives jump in their log"
LEAVES = "drives cannot be followed by the vehicle model"
SHORT = f"pieces are shorter than {LEAST_STEPS} steps"
REASONS = (NOT_FINITE, JUMPS, LEAVES, SHORT)


def inputs_of(content: str, config: DemonstrationConfig, driving: DrivingConfig) -> dict[str, Any]:
    """Return everything that the demonstrations depend on.

    Args:
        content: Names the scenes and what is in them.
        config: How the logs are matched.
        driving: The vehicle model and how observations are stored.
    """
    settings = {name: getattr(config, name) for name in config.__dataclass_fields__ if name != "episodes"}
    return {
        "content": content,
        "dynamics": {
            "dt_s": DT,
            "acceleration_lag_s": driving.acceleration_lag_s,
            "steering_lag_s": driving.steering_lag_s,
        },
        "observation": [CANONICAL.hash, driving.observation_dtype],
        "settings": settings,
        "sources": [source_hash(__file__), source_hash(step_kernels.__file__)],
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Scenes that are driven side by side in one pass: what one worker makes at a time."""

    number: int
    """Of the pass; displaced from 1 on."""
    first: int
    """The first scene, counted among all that were chosen."""
    count: int


def pieces_of(num_scenes: int, config: DemonstrationConfig) -> list[Piece]:
    """Return what has to be made of so many scenes, pass after pass."""
    at_once = SCENES_AT_ONCE[config.agents]
    return [
        Piece(number=number, first=first, count=min(at_once, num_scenes - first))
        for number in range(1 + config.displaced_passes)
        for first in range(0, num_scenes, at_once)
    ]


def drive_logs(
    bank: SceneBank,
    config: DemonstrationConfig,
    driving: DrivingConfig,
    *,
    piece: Piece | None = None,
    progress: Callable[[float], None] | None = None,
) -> Demonstrations:
    """Return the demonstrations of all scenes of a bank in one pass; there may be none.

    Args:
        bank: The scenes; with ``agents: all`` built with every vehicle controllable.
        config: Whose drives, and how they are matched.
        driving: The environment they are for.
        piece: What the bank holds, less what cannot be simulated; None: everything, undisturbed.
        progress: Told which share is done, 0..1.
    """
    piece = piece or Piece(number=0, first=0, count=len(bank))
    threads = driving.threads or usable_cores()
    with ThreadPoolExecutor(threads, thread_name_prefix="match") as pool:
        batch = _Batch(bank, config, driving, piece=piece, pool=pool, threads=threads)
        parts = batch.run(progress or (lambda share: None))
    return _joined(parts, {reason: batch.skipped[reason] for reason in REASONS}, driving)


def no_demonstrations(driving: DrivingConfig) -> Demonstrations:
    """Return what scenes give that cannot be simulated: nothing."""
    return _joined([], dict.fromkeys(REASONS, 0), driving)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """One episode."""

    observation: NDArray
    action: NDArray[np.int16]
    pose: NDArray[np.float32]
    final: NDArray
    terminated: bool
    displaced: bool
    scene: int


def _joined(parts: list[_Part], skipped: dict[str, int], driving: DrivingConfig) -> Demonstrations:
    lengths = [len(part.action) for part in parts]
    nothing = np.zeros((0, CANONICAL.size), OBSERVATION_DTYPES[driving.observation_dtype])
    index = np.concatenate([np.zeros(0, np.int16), *(part.action for part in parts)])
    return Demonstrations(
        observation=np.concatenate([nothing, *(part.observation for part in parts)]),
        action_index=index,
        action=np.array(category_values(), np.float32)[index],
        pose=np.concatenate([np.zeros((0, 3), np.float32), *(part.pose for part in parts)]),
        episode_start=np.cumsum([0, *lengths], dtype=np.int64),
        terminated=np.array([part.terminated for part in parts], np.bool_),
        final_observation=np.concatenate([nothing, *(part.final[None] for part in parts)]),
        displaced=np.array([part.displaced for part in parts], np.bool_),
        group=np.array([part.scene for part in parts], np.int32),
        skipped=skipped,
    )


class _Batch:
    """The scenes of a bank driven side by side, once."""

    def __init__(
        self,
        bank: SceneBank,
        config: DemonstrationConfig,
        driving: DrivingConfig,
        *,
        piece: Piece,
        pool: ThreadPoolExecutor,
        threads: int,
    ) -> None:
        self._bank, self._config, self._first = bank, config, piece.first
        self._displaces = piece.number > 0
        self._random = np.random.default_rng([config.seed, piece.number, piece.first])
        self._pool = pool
        self.skipped: Counter[str] = Counter()
        self._frames = int(bank.arrays.num_frames.max())
        self._env = DrivingEnv(
            bank,
            _played(driving, bank, all_agents=config.agents == "all", frames=self._frames, threads=threads),
            sequential=True,
            automatic_reset=False,
            perturb=False,
        )
        rows = self._env.num_rows
        bounds = np.linspace(0, rows, min(threads, rows) + 1).round().astype(int)
        self._ranges = [(int(a), int(b)) for a, b in pairwise(bounds)]
        self._world = np.arange(rows) // (rows // len(bank))
        self._book = EpisodeBook(rows)

    def run(self, report: Callable[[float], None]) -> list[_Part]:
        """Return the episodes of the batch."""
        env = self._env
        try:
            steps = self._frames - 1
            shape = (steps + 1, env.num_rows)
            observation = np.zeros((*shape, env.observation_size), env._observation.dtype)
            action = np.zeros(shape, np.int16)
            pose = np.zeros((*shape, 3), np.float32)
            env.reset(seed=self._config.seed, out=observation[0])
            self._leave_out_broken()
            last, logged = self._read_logs()
            for t in range(steps):
                self._cut(t, t >= last)
                self._cut(t, self._lost(logged[t]))
                if not env.state.running.any():
                    break
                pose[t] = self._poses()
                moved = np.zeros(env.num_rows, np.bool_)
                if self._displaces:
                    moved = displace_some(env.state, self._world, self._config, self._random)
                # The next step of a row that was just put aside is nobody's choice.
                for row in np.flatnonzero(moved).tolist():
                    self._book.close(row, t)
                self._book.open((env.state.running > 0) & ~moved, t)
                chosen = self._match()
                action[t] = chosen
                result = env.step(chosen, out=observation[t + 1])
                for row, seen in zip(result.final_rows.tolist(), result.final_observation, strict=True):
                    self._book.close(row, t + 1, terminated=bool(result.terminated[row]), final=seen.copy())
                report((t + 1) / steps)
            self._cut(steps, np.ones(env.num_rows, np.bool_))
        finally:
            env.close()
        report(1.0)
        return self._collect(observation, action, pose)

    def _match(self) -> NDArray[np.int64]:
        """Return the action [N] of every running row."""
        env, config = self._env, self._config
        out = np.zeros(env.num_rows, np.int64)

        def part(rows: tuple[int, int]) -> None:
            match_actions(
                self._bank.arrays,
                env.state,
                acceleration_lag=env.config.acceleration_lag_s,
                steering_lag=env.config.steering_lag_s,
                horizon=config.relabel_horizon if self._displaces else config.match_horizon,
                change_weight=config.action_change_weight,
                rows=rows,
                out=out,
            )

        list(self._pool.map(part, self._ranges))
        return out

    def _logged(self, row: int) -> NDArray[np.float32]:
        """Return the log of the slot that a row drives, shape [T, STATE_ROWS]."""
        log = self._bank.log_of(int(self._env.state.scene[self._world[row]]))
        return log[:, :, int(self._env.state.slot[row])]

    def _leave_out_broken(self) -> None:
        """Stop scenes whose log holds values that are not finite: they would poison everything."""
        state = self._env.state
        for world, scene in enumerate(state.scene.tolist()):
            if not np.isfinite(self._bank.log_of(scene)).all():
                rows = self._world == world
                state.running[rows] = 0
                state.route_s[rows] = state.route_offset[rows] = 0.0
                self.skipped[NOT_FINITE] += not self._displaces  # once, however many passes

    def _read_logs(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return each row's last frame before a gap, a jump or the end, shape [N], and its positions [T, N, 2]."""
        state = self._env.state
        last = np.zeros(self._env.num_rows, np.int64)
        position = np.zeros((self._frames, self._env.num_rows, 2), np.float32)
        for row in np.flatnonzero(state.running).tolist():
            log = self._bank.log_of(int(state.scene[self._world[row]]))[:, :, int(state.slot[row])]
            position[: len(log), row] = log[:, [X, Y]]
            ends = np.flatnonzero(log[:, PRESENT] == 0.0)
            log = log[: int(ends[0])] if len(ends) else log
            far = np.hypot(np.diff(log[:, X]), np.diff(log[:, Y]))
            fastest = np.maximum(np.abs(log[1:, SPEED]), np.abs(log[:-1, SPEED]))
            jumps = np.flatnonzero((far > fastest * DT + JUMP_M) | (np.abs(np.diff(log[:, SPEED])) > JUMP_MPS))
            self.skipped[JUMPS] += len(jumps) > 0 and not self._displaces
            last[row] = jumps[0] if len(jumps) else len(log) - 1
        return last, position

    def _cut(self, t: int, over: NDArray[np.bool_]) -> None:
        """End these rows [N] where they run, before step ``t``."""
        state = self._env.state
        for row in np.flatnonzero(over & (state.running > 0)).tolist():
            self._book.close(row, t)
            state.running[row] = 0
            state.mode[self._world[row], state.slot[row]] = REPLAYED

    def _lost(self, logged: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which rows are too far from where their log is now [N, 2]; shape [N]."""
        state = self._env.state
        agents = state.agents[self._world, :, state.slot]
        away = np.hypot(agents[:, X] - logged[:, 0], agents[:, Y] - logged[:, 1])
        lost = (away > self._config.max_deviation_m + (ROOM_M if self._displaces else 0.0)) & (state.running > 0)
        self.skipped[LEAVES] += int(lost.sum())
        return lost

    def _poses(self) -> NDArray[np.float32]:
        """Return the rear axles' poses, shape [N, 3]."""
        state, arrays = self._env.state, self._bank.arrays
        agents = state.agents[self._world, :, state.slot]
        rear = arrays.rear_axle_to_center[arrays.slot_start[state.scene[self._world]] + state.slot]
        x, y = agents[:, X] - rear * agents[:, COS], agents[:, Y] - rear * agents[:, SIN]
        return np.stack([x, y, agents[:, HEADING]], axis=1).astype(np.float32)

    def _collect(self, observation: NDArray, action: NDArray, pose: NDArray) -> list[_Part]:
        parts: list[_Part] = []
        for row, episodes in enumerate(self._book.episodes):
            for episode in episodes:
                if episode.end - episode.first < LEAST_STEPS:
                    self.skipped[SHORT] += 1
                    continue
                rows = slice(episode.first, episode.end)
                final = observation[episode.end, row] if episode.final is None else episode.final
                parts.append(
                    _Part(
                        observation=observation[rows, row],
                        action=action[rows, row],
                        pose=pose[rows, row],
                        final=final,
                        terminated=episode.terminated,
                        displaced=self._displaces and episode.number > 0,
                        scene=self._first + int(self._world[row]),
                    )
                )
        return parts


def _played(driving: DrivingConfig, bank: SceneBank, *, all_agents: bool, frames: int, threads: int) -> DrivingConfig:
    """Return the environment in which logs are re-driven: replayed traffic, whole logs, discrete actions."""
    agents = 1
    if all_agents:
        arrays = bank.arrays
        counts = [
            int(arrays.controllable[start : start + slots].sum())
            for start, slots in zip(arrays.slot_start, arrays.num_slots, strict=True)
        ]
        agents = min(max(counts), MOST_AGENTS)
    return replace(
        driving,
        num_worlds=len(bank),
        control="all" if all_agents else "ego",
        agents_per_world=max(agents, 1),
        traffic="replay",
        action="discrete",
        horizon_s=frames * DT,
        threads=threads,
    )
