"""Any ML-Agents player as a :class:`~drivetrain.sim.environment.VectorEnvironment`.

N rows, a seat for an agent each; D observation values; E rows whose episode ended; M continuous actions; K categories.

Observations are the behavior's vectors one behind the other. A discrete behavior's branches become one category per
combination, and a last group of the observation says which of them are forbidden now: the policy never takes those.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivetrain.algorithms.player_rows import PlayerRows
from drivetrain.algorithms.unity_config import UnityConfig
from drivetrain.errors import CheckpointError, ConfigError, RunError, nearest
from drivetrain.mlagents.player import Behavior, Player
from drivetrain.mlagents.player_process import executable_of
from drivetrain.sim.environment import ActionSpace, StepResult
from drivetrain.sim.observation import FORBIDDEN_ACTIONS, FeatureGroup, ObservationSchema

MOST_CATEGORIES = 1024
"""Combinations of discrete branches that one categorical can choose among."""


class UnityEnvironment:
    """The agents of one behavior in some players, each player a block of rows."""

    def __init__(
        self,
        config: UnityConfig,
        *,
        root: Path | None = None,
        seed: int = 0,
        first_player: int = 0,
        logs: Path | None = None,
    ) -> None:
        """Start the players and wait for their first observations.

        Args:
            config: Which player, how many.
            root: What the path is relative to; None: the working folder.
            seed: Of the first player of all; the others follow.
            first_player: How many players other processes have before these.
            logs: Folder for their output; None: a temporary one.

        Raises:
            ConfigError: There is no such player or behavior, or one that cannot be trained.
            RunError: A player ended, stayed silent or said something impossible.
        """
        self.config = config
        self._executable = executable_of((root or Path.cwd()) / Path(config.path).expanduser())
        self._first_player, self._seed, self._num_restarts = first_player, seed, 0
        self._logs = logs or Path(tempfile.mkdtemp(prefix="drivetrain-players-"))
        self.shaping_scale = 1.0
        self.observation_dtype = "float32"
        self._blocks: list[PlayerRows] = []
        self._players: list[Player] = []
        self._start()
        first = self._blocks[0]
        self.behavior = first.behavior
        self.num_rows = sum(block.num_seats for block in self._blocks)
        self.observation_schema = _schema(self.behavior, first.code.choices)
        self.observation_size = self.observation_schema.size
        self.action_space = _action_space(self.behavior)
        self._return = np.zeros(self.num_rows, np.float64)
        self._length = np.zeros(self.num_rows, np.int64)

    def _start(self) -> None:
        config = self.config
        try:
            for i in range(config.num_players):
                index = self._first_player + i
                seed = (self._seed + index + 1_000_003 * self._num_restarts) % (1 << 31)
                player = Player(
                    self._executable,
                    index=index,
                    seed=seed,
                    arguments=config.arguments,
                    graphics=config.graphics,
                    time_scale=config.time_scale,
                    parameters=config.parameters,
                    num_areas=config.num_areas,
                    timeout_s=config.timeout_s,
                    log=self._logs / f"player-{index}.log",
                )
                self._players.append(player)
            for player in self._players:
                player.connect()
            self._blocks = [self._seated(player) for player in self._players]
            _check_alike(self._blocks)
        except BaseException:
            self.close()
            raise
        self._is_fresh = True

    def _seated(self, player: Player) -> PlayerRows:
        message = player.reset()
        while not player.behaviors or (self.config.behavior and not _named(player.behaviors, self.config.behavior)):
            if message.agents and player.behaviors:
                break
            player.send({})
            message = player.receive()
        behavior = _chosen(player.behaviors, self.config.behavior)
        rows = PlayerRows(player, behavior, seats=self.config.agents)
        rows.begin(message)
        return rows

    def reset(self, *, seed: int, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Start every row anew; observation [N, D]. Players draw from the seed of their start, whatever ``seed`` is."""
        del seed
        if not self._is_fresh:
            for block in self._blocks:
                block.begin(block.player.reset())
            self._check_rows()
            self._return[:] = 0.0
            self._length[:] = 0
            self._is_fresh = True
        return self.current_observation(out=out)

    def step(self, action: NDArray, *, out: NDArray[np.float32] | None = None) -> StepResult:
        """Advance every row by one action: int64 [N], or float32 [N, M] in [-1, 1]."""
        self._is_fresh = False
        begin = 0
        for block in self._blocks:
            block.tell(action[begin : begin + block.num_seats])
            begin += block.num_seats
        for block in self._blocks:
            block.await_outcome()
        valid = self._joined("acting")
        reward = np.where(valid, self._joined("reward"), np.float32(0.0)).astype(np.float32)
        terminated, truncated = self._joined("terminated"), self._joined("truncated")
        self._return += reward
        self._length += valid
        rows, final = self._finals()
        episodes = {
            "mean_reward": self._return[rows].astype(np.float32),
            "episode_length": self._length[rows].astype(np.float32),
        }
        self._return[rows] = 0.0
        self._length[rows] = 0
        return StepResult(
            observation=self.current_observation(out=out),
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            valid=valid,
            final_rows=rows,
            final_observation=final,
            episodes=episodes,
        )

    def current_observation(self, *, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the observation of the present state, shape [N, D]; of an empty seat, the last one."""
        if out is None:
            return self._joined("observation")
        np.concatenate([block.observation for block in self._blocks], out=out)
        return out

    def state_dict(self) -> dict[str, NDArray]:
        """Return what a resumed run needs to know; what happens in a player cannot be saved."""
        return {
            "seed": np.array(self._seed),
            "num_restarts": np.array(self._num_restarts),
            "shape": np.array([self.num_rows, self.observation_size]),
        }

    def load_state_dict(self, state: Mapping[str, NDArray]) -> None:
        """Continue from :meth:`state_dict`: the players start again, from a seed that they have not had yet."""
        stored = tuple(np.asarray(state["shape"]).tolist())
        if stored != (self.num_rows, self.observation_size):
            raise CheckpointError(
                f"the stored environment has shape {stored} (rows, observation values), this one "
                f"{(self.num_rows, self.observation_size)}; use the build, environment.num_players and "
                "environment.agents of the checkpoint"
            )
        self.close()
        self._seed, self._num_restarts = int(state["seed"]), int(state["num_restarts"]) + 1
        self._start()
        self._check_rows()
        self._return[:] = 0.0
        self._length[:] = 0

    def close(self) -> None:
        """End the players."""
        for player in self._players:
            player.hang_up()
        for player in self._players:
            player.close()
        self._players, self._blocks = [], []

    def _joined(self, name: str) -> NDArray:
        return np.concatenate([getattr(block, name) for block in self._blocks])

    def _finals(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        found, begin = [], 0
        for block in self._blocks:
            found += [(begin + seat, values) for seat, values in block.finals]
            begin += block.num_seats
        found.sort(key=lambda final: final[0])
        rows = np.array([row for row, _ in found], np.int32)
        final = np.array([values for _, values in found], np.float32).reshape(len(rows), self.observation_size)
        return rows, final

    def _check_rows(self) -> None:
        now = sum(block.num_seats for block in self._blocks)
        if now != self.num_rows:
            raise RunError(
                f"{self._executable}: {now} agents ask at the beginning, {self.num_rows} did before; set "
                "environment.agents to the most that are there at a time in one player"
            )


def _named(behaviors: Mapping[str, Behavior], name: str) -> list[Behavior]:
    return [behavior for behavior in behaviors.values() if name in (behavior.name, behavior.short_name)]


def _chosen(behaviors: Mapping[str, Behavior], name: str) -> Behavior:
    """Return the behavior to train."""
    known = ", ".join(behaviors)
    found = _named(behaviors, name) if name else list(behaviors.values())
    if not found:
        hint = nearest(name, [*behaviors, *(behavior.short_name for behavior in behaviors.values())])
        raise ConfigError(f"environment.behavior: '{name}' is not a behavior of this player ({known}){hint}")
    if len(found) > 1:
        remedy = f"environment.behavior={found[0].name}"
        raise ConfigError(f"environment.behavior: this player has several ({known}); choose one: {remedy}")
    behavior = found[0]
    for spec in behavior.observations:
        if spec.is_picture or len(spec.shape) != 1:
            kind = "a picture" if spec.is_picture or len(spec.shape) == 3 else "a list of entities"
            shape = " x ".join(map(str, spec.shape))
            raise ConfigError(
                f"environment.behavior: '{behavior.name}' sees '{spec.name}', {kind} ({shape}); only vectors can be "
                "learnt from, remove that sensor from the agents"
            )
    if behavior.branches and behavior.num_continuous:
        raise ConfigError(
            f"environment.behavior: '{behavior.name}' has {behavior.num_continuous} continuous and "
            f"{len(behavior.branches)} discrete actions; only one of the two can be learnt"
        )
    if not behavior.branches and not behavior.num_continuous:
        raise ConfigError(f"environment.behavior: '{behavior.name}' has no actions; there is nothing to learn")
    if math.prod(behavior.branches) > MOST_CATEGORIES:
        raise ConfigError(
            f"environment.behavior: the branches {list(behavior.branches)} of '{behavior.name}' have "
            f"{math.prod(behavior.branches):,} combinations, at most {MOST_CATEGORIES:,} can be learnt; use fewer"
        )
    return behavior


def _check_alike(blocks: list[PlayerRows]) -> None:
    for block in blocks[1:]:
        if block.behavior != blocks[0].behavior:
            raise block.player.fail(f"its behavior '{block.behavior.name}' differs from that of the first player")


def _action_space(behavior: Behavior) -> ActionSpace:
    if behavior.branches:
        return ActionSpace(num_categories=math.prod(behavior.branches))
    size = behavior.num_continuous
    return ActionSpace(size=size, low=(-1.0,) * size, high=(1.0,) * size)


def _schema(behavior: Behavior, choices: NDArray[np.int64]) -> ObservationSchema:
    """Return one group per observation, and one of what is forbidden where actions are discrete."""
    groups, names = [], set()
    for i, spec in enumerate(behavior.observations):
        name = spec.name if spec.name not in names else f"{spec.name}_{i}"
        names.add(name)
        features = tuple(f"value_{j}" for j in range(spec.shape[0]))
        groups.append(FeatureGroup(name=name, features=features, count=1, is_set=False, presence=""))
    if len(choices):
        # Which choice in each branch a category stands for: an exported policy has to know.
        features = tuple("choices_" + "_".join(map(str, row)) for row in choices.tolist())
        groups.append(FeatureGroup(name=FORBIDDEN_ACTIONS, features=features, count=1, is_set=False, presence=""))
    return ObservationSchema(name=f"unity:{behavior.short_name}", groups=tuple(groups))
