"""How episodes ended, kept for a learner that gives its own rewards.

N rows, E rows whose episode ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.environment import StepResult, VectorEnvironment


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """The episodes that ended in one step."""

    step: int
    """Steps since the last :meth:`EndingRecorder.clear`."""
    rows: NDArray[np.int64]
    """Ascending, shape [E]."""
    events: Mapping[str, NDArray[np.float32]]
    """Statistics of the episodes by name, each of shape [E]."""
    observation: NDArray
    """The last of those episodes, as the environment stores it, shape [E, D]."""


class EndingRecorder:
    """An environment that remembers how its episodes ended.

    With ``goal_cuts`` a reached goal truncates: the drive would go on, so there is something to bootstrap from.
    """

    def __init__(self, env: VectorEnvironment, *, goal_cuts: bool) -> None:
        self.env, self._goal_cuts = env, goal_cuts
        self.num_rows, self.observation_size = env.num_rows, env.observation_size
        self.observation_dtype, self.observation_schema = env.observation_dtype, env.observation_schema
        self.action_space = env.action_space
        self.shaping_scale = env.shaping_scale
        self.endings: list[Ending] = []
        self._step = 0

    def clear(self) -> None:
        """Forget what ended; the next step is step 0."""
        self.endings, self._step = [], 0

    def step(self, action: NDArray, *, out: NDArray | None = None) -> StepResult:
        """Advance; see VectorEnvironment."""
        self.env.shaping_scale = self.shaping_scale
        result = self.env.step(action, out=out)
        if len(result.final_rows):
            rows = result.final_rows.astype(np.int64)
            events = {name: np.array(values) for name, values in result.episodes.items()}
            last = result.final_observation
            self.endings.append(Ending(step=self._step, rows=rows, events=events, observation=last))
            if self._goal_cuts and "goal" in events:
                result = _cut_at_goal(result, rows[events["goal"] > 0])
        self._step += 1
        return result

    def reset(self, *, seed: int, out: NDArray | None = None) -> NDArray:
        """Start every row anew."""
        return self.env.reset(seed=seed, out=out)

    def current_observation(self, *, out: NDArray | None = None) -> NDArray:
        """Return the observation of the present state."""
        return self.env.current_observation(out=out)

    def state_dict(self) -> dict[str, NDArray]:
        """Return the environment's state; endings are of one rollout only."""
        return self.env.state_dict()

    def load_state_dict(self, state: Mapping[str, NDArray]) -> None:
        """Continue from :meth:`state_dict`."""
        self.env.load_state_dict(state)

    def close(self) -> None:
        """Free what the environment holds."""
        self.env.close()


def _cut_at_goal(result: StepResult, rows: NDArray[np.int64]) -> StepResult:
    """Return the step with the terminated ones of ``rows`` truncated, unless a worse event ended them as well."""
    worse = ("collision_any", "offroad", "red_light")
    failed = np.zeros(len(result.final_rows), dtype=np.bool_)
    for name in worse:
        failed |= result.episodes[name] > 0
    rows = np.setdiff1d(rows, result.final_rows[failed])
    terminated, truncated = result.terminated.copy(), result.truncated.copy()
    truncated[rows] |= terminated[rows]
    terminated[rows] = False
    return replace(result, terminated=terminated, truncated=truncated)
