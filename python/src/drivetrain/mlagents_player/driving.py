"""The driving task as agents of one ML-Agents behavior: every world is an agent that begins again when it is done."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from drivetrain.errors import SimulationError
from drivetrain.mlagents.agent_records import AgentRecords
from drivetrain.mlagents.messages import UnityMessage
from drivetrain.mlagents.side_channels import ENVIRONMENT_PARAMETERS, Stat, read_parameter, stats_bytes, unpack
from drivetrain.mlagents_player.knobs import Settings, unknown_line
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.environment import StepResult
from drivetrain.sim.scene_bank import DT, SceneBank

BEHAVIOR = "DrivingPlanner"
WIRE_NAME = f"{BEHAVIOR}?team=0"
NUM_ACTIONS = 2
"""Acceleration and curvature, both in [-1, 1]."""
STATS = {
    "collision": "Driving/Collision",
    "offroad": "Driving/Offroad",
    "red_light": "Driving/Red Light",
    "goal": "Driving/Goal",
    "progress": "Driving/Progress",
    "score_basic": "Driving/Score",
}
"""Statistic of an episode -> its name in TensorBoard."""
_RESEED = 1_000_003
"""Between the seeds of two resets: more than there are workers, who count on from one seed."""


class DrivingAgents:
    """Worlds as agents.

    Args:
        bank: Scenes to drive in.
        config: The worlds where the trainer turns no knob.
        seed: Of everything random.
        say: Takes a line for the player's log.
    """

    def __init__(self, bank: SceneBank, config: DrivingConfig, *, seed: int, say: Callable[[str], object]) -> None:
        self._bank, self._seed, self._say = bank, seed & 0x7FFFFFFF, say
        self._settings = Settings(config)
        self._config = config
        self._env = self._made(config)
        self._resets = self._next_id = self._steps = 0
        self._introduced = False
        sizes = {group.name: group.size for group in self._env.observation_schema.groups}
        self._records = AgentRecords(WIRE_NAME, sizes)
        self._ids = np.zeros(self._env.num_rows, dtype=np.int64)

    @property
    def num_agents(self) -> int:
        """Agents that live at any time."""
        return self._env.num_rows

    def reset(self, side_channel: bytes = b"") -> bytes:
        """Begin everywhere anew with the knobs as they now are; return the message that says so.

        Raises:
            DataError: The trainer set a knob beyond its range.
        """
        self._turn(side_channel)
        observation = self._begin(self._settings.config())
        return self._records.output(self._alive(observation)) + self._introduction()

    def step(self, actions: NDArray[np.float32], side_channel: bytes = b"") -> bytes:
        """Advance by actions in the order of the agents that lived after the last message; return what to send.

        Raises:
            SimulationError: Actions are missing, or are no numbers.
            DataError: The trainer set a knob beyond its range.
        """
        if actions.shape != (self.num_agents, NUM_ACTIONS):
            raise SimulationError(
                f"the trainer sent actions of shape {actions.shape}; {self.num_agents} agents need "
                f"{NUM_ACTIONS} numbers each"
            )
        result = self._env.step(actions)
        self._steps += 1
        agents, rows = self._ended(result), result.final_rows
        stats = self._stats(result)
        config = self._changed(side_channel)
        if config is None:
            reward = result.reward.copy()
            reward[rows] = 0.0
            self._ids[rows] = self._new_ids(len(rows))
            agents += self._alive(result.observation, reward)
        else:
            # Worlds of another kind: what runs is cut off here, and everybody begins anew.
            agents += self._cut_off(result) + self._alive(self._begin(config))
        return self._records.output(agents) + stats

    def trial(self) -> int:
        """Begin and drive straight on for a step, so that all is compiled; return the size of the message [byte]."""
        self.reset()
        return len(self.step(np.zeros((self.num_agents, NUM_ACTIONS), dtype=np.float32)))

    def close(self) -> None:
        """Stop the worlds."""
        self._env.close()

    def _made(self, config: DrivingConfig) -> DrivingEnv:
        return DrivingEnv(self._bank, config, compute_ttc=True)

    def _begin(self, config: DrivingConfig) -> NDArray[np.float32]:
        if config != self._config:
            self._env.close()
            self._env, self._config = self._made(config), config
        self._steps = 0
        observation = self._env.reset(seed=(self._seed + _RESEED * self._resets) & 0x7FFFFFFF)
        self._resets += 1
        self._ids = self._new_ids(self.num_agents)
        return observation

    def _new_ids(self, count: int) -> NDArray[np.int64]:
        first, self._next_id = self._next_id, self._next_id + count
        return np.arange(first, self._next_id, dtype=np.int64) & 0x7FFFFFFF

    def _alive(self, observation: NDArray[np.float32], reward: NDArray[np.float32] | None = None) -> bytes:
        no = np.zeros(self.num_agents, dtype=np.bool_)
        earned = np.zeros(self.num_agents, dtype=np.float32) if reward is None else reward
        return self._records.pack(ids=self._ids, reward=earned, done=no, interrupted=no, observation=observation)

    def _ended(self, result: StepResult) -> bytes:
        rows = result.final_rows
        return self._records.pack(
            ids=self._ids[rows],
            reward=result.reward[rows],
            done=np.ones(len(rows), dtype=np.bool_),
            interrupted=~result.terminated[rows],
            observation=result.final_observation,
        )

    def _cut_off(self, result: StepResult) -> bytes:
        running = np.setdiff1d(np.arange(self.num_agents), result.final_rows)
        yes = np.ones(len(running), dtype=np.bool_)
        return self._records.pack(
            ids=self._ids[running],
            reward=result.reward[running],
            done=yes,
            interrupted=yes,
            observation=result.observation[running],
        )

    def _turn(self, side_channel: bytes) -> bool:
        """Take what the trainer says of knobs; True: it said something."""
        known = set(self._settings.unknown)
        parameters = [
            read_parameter(text) for channel, text in unpack(side_channel) if channel == ENVIRONMENT_PARAMETERS
        ]
        for parameter in parameters:
            self._settings.turn(parameter)
        for name in sorted(self._settings.unknown - known):
            self._say(unknown_line(name))
        return bool(parameters)

    def _changed(self, side_channel: bytes) -> DrivingConfig | None:
        """Return the worlds as they have to be from now on; None: as they are."""
        said = self._turn(side_channel)
        is_due = self._settings.is_drawn and self._steps * DT >= self._config.horizon_s
        if not (said or is_due):
            return None
        config = self._settings.config()
        return None if config == self._config else config

    def _stats(self, result: StepResult) -> bytes:
        if not len(result.final_rows):
            return b""
        stats = [
            Stat(key=key, value=float(value))
            for name, key in STATS.items()
            if name in result.episodes
            for value in result.episodes[name]
        ]
        message = UnityMessage()
        message.unity_output.rl_output.side_channel = stats_bytes(stats)
        return message.SerializeToString()

    def _introduction(self) -> bytes:
        """Return what the first message with agents says of their behavior."""
        if self._introduced:
            return b""
        self._introduced = True
        message = UnityMessage()
        brain = message.unity_output.rl_initialization_output.brain_parameters.add()
        brain.brain_name = WIRE_NAME
        brain.is_training = True
        brain.action_spec.num_continuous_actions = NUM_ACTIONS
        return message.SerializeToString()
