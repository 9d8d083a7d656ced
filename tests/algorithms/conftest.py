"""A toy environment: act as the sign of the first observation says. Resumable, with every kind of ending."""

import numpy as np
import pytest

from drivetrain.sim.environment import ActionSpace, StepResult
from drivetrain.sim.observation import FeatureGroup, ObservationSchema

SCHEMA = ObservationSchema(
    name="toy",
    groups=(FeatureGroup(name="vector", features=("signal", "time"), count=1, is_set=False, presence=""),),
)


class SignEnvironment:
    """Reward 1 for the right sign. Even rows terminate after 5 steps, odd rows are truncated after 7.

    With ``gap`` a row rests for one step after each episode (as a removed agent does until its world resets); its
    observation and reward are then poison that nothing may learn from.
    """

    observation_size = 2
    observation_dtype = "float32"
    observation_schema = SCHEMA

    def __init__(self, num_rows=16, *, gap=False, continuous=False, poison=100.0):
        self.num_rows, self.gap, self.poison = num_rows, gap, poison
        self.action_space = (
            ActionSpace(size=1, low=(-1.0,), high=(1.0,)) if continuous else ActionSpace(num_categories=2)
        )
        self.shaping_scale = 1.0
        self.limit = np.where(np.arange(num_rows) % 2 == 0, 5, 7)
        self.time = np.zeros(num_rows, np.int64)
        self.clock = np.zeros(1, np.int64)
        self.total = np.zeros(num_rows)

    def _observe(self):
        rows = np.arange(self.num_rows)
        observation = np.stack([np.sin(12.9898 * (rows + 1) + 78.233 * self.clock), self.time / 7], 1)
        observation[self.time > self.limit] = self.poison
        return observation.astype(np.float32)

    def current_observation(self, *, out=None):
        observation = self._observe()
        if out is None:
            return observation
        out[:] = observation
        return out

    def reset(self, *, seed, out=None):
        self.clock[:] = seed * 1000
        self.time[:] = 0
        self.total[:] = 0
        return self.current_observation(out=out)

    def step(self, action, *, out=None):
        signal = self._observe()[:, 0]
        valid = self.time <= self.limit
        choice = action[:, 0] > 0 if action.ndim == 2 else action == 1
        reward = np.where(valid, (choice == (signal > 0)).astype(np.float32), self.poison).astype(np.float32)
        self.total += np.where(valid, reward, 0)
        self.clock += 1
        self.time += 1
        ended = valid & (self.time >= self.limit)
        even = np.arange(self.num_rows) % 2 == 0
        rows = np.flatnonzero(ended).astype(np.int32)
        final = self._observe()[rows]
        episodes = {
            "mean_reward": self.total[rows].astype(np.float32),
            "episode_length": self.limit[rows].astype(np.float32),
        }
        self.total[rows] = 0
        if self.gap:
            self.time[ended] = self.limit[ended] + 1
            self.time[~valid] = 0
        else:
            self.time[ended] = 0
        return StepResult(
            observation=self.current_observation(out=out),
            reward=reward,
            terminated=ended & even,
            truncated=ended & ~even,
            valid=valid,
            final_rows=rows,
            final_observation=final,
            episodes=episodes,
        )

    def state_dict(self):
        return {"time": self.time.copy(), "clock": self.clock.copy(), "total": self.total.copy()}

    def load_state_dict(self, state):
        self.time[:], self.clock[:], self.total[:] = state["time"], state["clock"], state["total"]

    def close(self):
        pass


@pytest.fixture
def sign_environment():
    return SignEnvironment
