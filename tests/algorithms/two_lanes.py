"""Two lanes to a goal: the short one is risky, the long one safe. Resumable; batched like any environment.

N rows. Twelve cells lie ahead. A step on the short lane passes two cells and ends in a collision with probability
0.15; one on the long lane passes one cell and is safe; braking passes none. The log ends after 15 steps. Progress is
the reward, and nothing else: who discounts by 0.8 a step and fears nothing takes the short lane (return 0.469 against
0.388).
"""

import numpy as np

from drivetrain.sim.environment import ActionSpace, StepResult
from drivetrain.sim.observation import FeatureGroup, ObservationSchema

CELLS, LIMIT, HAZARD = 12, 15, 0.15
BRAKE, SHORT, LONG = range(3)
SCHEMA = ObservationSchema(
    name="two_lanes",
    groups=(FeatureGroup(name="vector", features=("cell", "is_on_short", "time"), count=1, is_set=False, presence=""),),
)


class TwoLanes:
    """See the module."""

    observation_size = 3
    observation_dtype = "float32"
    observation_schema = SCHEMA
    action_space = ActionSpace(num_categories=3, category_values=((-1.0, 0.0), (1.0, 1.0), (0.0, -1.0)))

    def __init__(self, num_rows=64, *, hazard=HAZARD):
        self.num_rows, self.hazard = num_rows, hazard
        self.shaping_scale = 1.0
        self._seed = 0
        self.clock = np.zeros(1, np.int64)
        self.cell, self.lane, self.time = (np.zeros(num_rows, np.int64) for _ in range(3))

    def reset(self, *, seed, out=None):
        self._seed = seed
        for array in (self.clock, self.cell, self.lane, self.time):
            array[:] = 0
        return self.current_observation(out=out)

    def current_observation(self, *, out=None):
        seen = np.stack([self.cell / CELLS, self.lane == SHORT, self.time / LIMIT], 1).astype(np.float32)
        if out is None:
            return seen
        out[:] = seen
        return out

    def step(self, action, *, out=None):
        # The mean of categories is what a deterministic policy may act by: the nearest category is taken.
        if action.ndim == 2:
            points = np.array(self.action_space.category_values)
            action = ((action[:, None] - points) ** 2).sum(-1).argmin(1)
        luck = np.random.default_rng([self._seed, int(self.clock[0])]).random(self.num_rows)
        self.clock += 1
        self.lane[:] = action
        gain = np.minimum(np.choose(action, [0, 2, 1]), CELLS - self.cell)
        self.cell += gain
        self.time += 1
        crashed = (action == SHORT) & (luck < self.hazard)
        arrived = self.cell >= CELLS
        terminated = crashed | arrived
        truncated = ~terminated & (self.time >= LIMIT)
        rows = np.flatnonzero(terminated | truncated).astype(np.int32)
        episodes = {
            "mean_reward": (self.cell[rows] / CELLS).astype(np.float32),
            "episode_length": self.time[rows].astype(np.float32),
            "progress": (self.cell[rows] / CELLS).astype(np.float32),
            "collision": crashed[rows].astype(np.float32),
        }
        final = self.current_observation()[rows]
        for array in (self.cell, self.lane, self.time):
            array[rows] = 0
        return StepResult(
            observation=self.current_observation(out=out),
            reward=(gain / CELLS).astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            valid=np.ones(self.num_rows, np.bool_),
            final_rows=rows,
            final_observation=final,
            episodes=episodes,
        )

    def state_dict(self):
        arrays = {"clock": self.clock, "cell": self.cell, "lane": self.lane, "time": self.time}
        return {**{name: array.copy() for name, array in arrays.items()}, "seed": np.array([self._seed])}

    def load_state_dict(self, state):
        for name in ("clock", "cell", "lane", "time"):
            getattr(self, name)[:] = state[name]
        self._seed = int(state["seed"][0])

    def close(self):
        pass
