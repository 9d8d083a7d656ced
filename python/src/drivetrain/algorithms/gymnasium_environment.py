"""Any Gymnasium environment as a :class:`~drivetrain.sim.environment.VectorEnvironment`.

N rows, one world each; D observation values, E rows whose episode ended.

Checks the algorithms against published numbers, and trains on whatever else speaks Gymnasium.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.errors import CheckpointError, ConfigError, nearest
from drivetrain.sim.environment import ActionSpace, StepResult
from drivetrain.sim.observation import FeatureGroup, ObservationSchema


class GymnasiumEnvironment:
    """A batch of Gymnasium environments with automatic reset.

    Continuous actions arrive in [-1, 1], are clipped, and are stretched to the box of the environment (a side without
    a bound keeps its unit). States of the classic-control environments can be saved and continued bit-identically;
    all others start new episodes when a state is loaded.
    """

    def __init__(self, config: GymnasiumConfig, *, seed: int = 0, first_world: int = 0) -> None:
        self._first_world = first_world
        self.config = config
        self.shaping_scale = 1.0
        self._vector = SyncVectorEnv(
            [lambda: _make(config.id) for _ in range(config.num_worlds)], autoreset_mode=AutoresetMode.SAME_STEP
        )
        self.num_rows = config.num_worlds
        self.observation_size = int(np.prod(self._vector.single_observation_space.shape or (1,)))
        self.action_space = _action_space(config.id, self._vector.single_action_space)
        self.observation_dtype = "float32"
        self.observation_schema = _vector_schema(config.id, self.observation_size)
        # The box as the environment sees it; the learner's side is always [-1, 1].
        self._low = np.array(self.action_space.low, np.float32)
        self._high = np.array(self.action_space.high, np.float32)
        self._observation = np.zeros((self.num_rows, self.observation_size), np.float32)
        self._return = np.zeros(self.num_rows, np.float64)
        self._length = np.zeros(self.num_rows, np.int64)
        self._num_reseeds = 0
        self.reset(seed=seed)

    def reset(self, *, seed: int, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Start every row anew; observation [N, D]."""
        observation, _ = self._vector.reset(
            seed=[_world_seed(seed, self._first_world + i) for i in range(self.num_rows)]
        )
        self._seed = seed
        self._return[:] = 0.0
        self._length[:] = 0
        self._observation[:] = np.reshape(observation, self._observation.shape)
        return self.current_observation(out=out)

    def step(self, action: NDArray, *, out: NDArray[np.float32] | None = None) -> StepResult:
        """Advance every row by one action: int64 [N], or float32 [N, size] in [-1, 1]."""
        if not self.action_space.is_discrete:
            unit = (np.clip(action, -1.0, 1.0) + 1.0) * 0.5
            action = (self._low + unit * (self._high - self._low)).astype(np.float32)
            action = action.reshape(self.num_rows, *(self._vector.single_action_space.shape or ()))
        observation, reward, terminated, truncated, info = self._vector.step(action)
        self._observation[:] = np.reshape(observation, self._observation.shape)
        self._return += reward
        self._length += 1
        rows = np.flatnonzero(terminated | truncated).astype(np.int32)
        final = np.zeros((len(rows), self.observation_size), np.float32)
        for i, row in enumerate(rows):
            final[i] = np.reshape(info["final_obs"][row], self.observation_size)
        episodes = {
            "mean_reward": self._return[rows].astype(np.float32),
            "episode_length": self._length[rows].astype(np.float32),
        }
        self._return[rows] = 0.0
        self._length[rows] = 0
        return StepResult(
            observation=self.current_observation(out=out),
            reward=np.asarray(reward, np.float32),
            terminated=np.asarray(terminated, bool),
            truncated=np.asarray(truncated, bool),
            valid=np.ones(self.num_rows, bool),
            final_rows=rows,
            final_observation=final,
            episodes=episodes,
        )

    def current_observation(self, *, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the observation of the present state, shape [N, D]."""
        if out is None:
            return self._observation.copy()
        out[:] = self._observation
        return out

    def state_dict(self) -> dict[str, NDArray]:
        """Return episode sums, and for classic control the physical state and the random numbers of every world."""
        state: dict[str, NDArray] = {
            "seed": np.int64(self._seed),
            "num_reseeds": np.int64(self._num_reseeds),
            "episode_return": self._return.copy(),
            "episode_length": self._length.copy(),
            "observation": self._observation.copy(),
        }  # type: ignore[dict-item]
        if self._is_restorable:
            physical = [np.asarray(env.unwrapped.state) for env in self._vector.envs]  # type: ignore[attr-defined]
            state["physical"] = np.stack(physical).astype(np.float64)
            state["physical_is_float32"] = np.array([p.dtype == np.float32 for p in physical])
            state["elapsed_steps"] = np.array([_time_limit(env)._elapsed_steps or 0 for env in self._vector.envs])
            state["random"] = np.stack([_random_state(env.unwrapped.np_random) for env in self._vector.envs])
        return state

    def load_state_dict(self, state: Mapping[str, NDArray]) -> None:
        """Continue from :meth:`state_dict`; worlds whose state cannot be restored start new episodes."""
        if np.shape(state["observation"]) != self._observation.shape:
            raise CheckpointError(
                f"the stored environment has shape {np.shape(state['observation'])} (worlds, observation values), this "
                f"one {self._observation.shape}; use the environment.id and environment.num_worlds of the checkpoint"
            )
        self._num_reseeds = int(state["num_reseeds"])
        if not self._is_restorable:
            self._num_reseeds += 1
            seed = int(state["seed"])
            self.reset(seed=_world_seed(seed, 1_000_000 + self._num_reseeds))
            self._seed = seed
            return
        self.reset(seed=int(state["seed"]))
        self._return[:] = state["episode_return"]
        self._length[:] = state["episode_length"]
        self._observation[:] = state["observation"]
        for i, env in enumerate(self._vector.envs):
            physical = np.array(state["physical"][i])
            is_float32 = bool(state["physical_is_float32"][i])
            env.unwrapped.state = physical.astype(np.float32) if is_float32 else physical  # type: ignore[attr-defined]
            _time_limit(env)._elapsed_steps = int(state["elapsed_steps"][i])
            _restore_random(env.unwrapped.np_random, state["random"][i])

    def close(self) -> None:
        """Free what the environments hold."""
        self._vector.close()

    @property
    def _is_restorable(self) -> bool:
        env = self._vector.envs[0]
        is_classic = type(env.unwrapped).__module__.startswith("gymnasium.envs.classic_control")
        return is_classic and isinstance(getattr(env.unwrapped, "state", None), np.ndarray | tuple)


def _make(env_id: str) -> gymnasium.Env:
    try:
        env = gymnasium.make(env_id)
    except gymnasium.error.DependencyNotInstalled as error:
        raise ConfigError(f"environment.id: '{env_id}' needs a package that is not installed: {error}") from error
    except gymnasium.error.Error as error:
        hint = nearest(env_id, gymnasium.registry.keys())
        raise ConfigError(f"environment.id: '{env_id}' is not a Gymnasium environment{hint}") from error
    is_vector = isinstance(env.observation_space, spaces.Box) and len(env.observation_space.shape) == 1
    return env if is_vector else gymnasium.wrappers.FlattenObservation(env)


def _action_space(env_id: str, space: spaces.Space) -> ActionSpace:
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return ActionSpace(num_categories=int(space.n))
    if isinstance(space, spaces.Box):
        low = np.where(np.isfinite(space.low), space.low, -1.0).ravel().astype(float)
        high = np.where(np.isfinite(space.high), space.high, 1.0).ravel().astype(float)
        return ActionSpace(size=len(low), low=tuple(low.tolist()), high=tuple(high.tolist()))
    raise ConfigError(
        f"environment.id: '{env_id}' has action space {space}; only Discrete (from 0) and Box are supported"
    )


def _vector_schema(env_id: str, size: int) -> ObservationSchema:
    features = tuple(f"value_{i}" for i in range(size))
    group = FeatureGroup(name="vector", features=features, count=1, is_set=False, presence="")
    return ObservationSchema(name=f"gymnasium:{env_id}", groups=(group,))


def _world_seed(seed: int, world: int) -> int:
    """Return a seed that differs between worlds and between neighbouring seeds."""
    return int(np.random.SeedSequence([seed, world]).generate_state(1, np.uint32)[0])


def _time_limit(env: gymnasium.Env) -> Any:
    """Return the wrapper that counts steps."""
    while not isinstance(env, gymnasium.wrappers.TimeLimit):
        if not isinstance(env, gymnasium.Wrapper):
            raise ConfigError(f"environment.id: '{env}' has no time limit; register it with max_episode_steps")
        env = env.env
    return env


_WORD = (1 << 64) - 1


def _random_state(generator: np.random.Generator) -> NDArray[np.uint64]:
    """Return the PCG64 state as six 64-bit words."""
    state: Any = generator.bit_generator.state
    inner = state["state"]
    words = [inner["state"] >> 64, inner["state"] & _WORD, inner["inc"] >> 64, inner["inc"] & _WORD]
    return np.array([*words, state["has_uint32"], state["uinteger"]], np.uint64)


def _restore_random(generator: np.random.Generator, words: NDArray) -> None:
    w = [int(x) for x in words]
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": w[0] << 64 | w[1], "inc": w[2] << 64 | w[3]},
        "has_uint32": w[4],
        "uinteger": w[5],
    }
