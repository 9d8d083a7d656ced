"""Agent-steps per second of PPO without a simulator: inference and update on made-up rows, both precisions.

The environment costs almost nothing here, so these figures bound what a faster simulator could still give.

python benchmarks/learner.py
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from drivetrain.algorithms.ppo import PPO, PPOConfig
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.models.precision import emulated_bfloat16
from drivetrain.sim.environment import ActionSpace, StepResult
from drivetrain.sim.observation import CANONICAL
from figures import Figure, figure, measure_and_store, pinned, print_figures, window_rates

NUM_ROWS = 512
BUFFERED = 8
"""Steps of made-up rows, replayed in a circle."""
WINDOWS = 15


class MadeUpRows:
    """Random rows: half of the agent slots filled on average, all road segments."""

    num_rows = NUM_ROWS
    observation_size = CANONICAL.size
    observation_dtype = "float32"
    observation_schema = CANONICAL
    action_space = ActionSpace(num_categories=91)

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.shaping_scale = 0.0
        self.rows = rng.standard_normal((BUFFERED, NUM_ROWS, CANONICAL.size), dtype=np.float32)
        start, group = CANONICAL.start("agents"), CANONICAL.group("agents")
        agents = self.rows[:, :, start : start + group.size].reshape(BUFFERED, NUM_ROWS, -1, group.count)
        agents *= np.arange(group.count) < rng.integers(0, group.count + 1, (BUFFERED, NUM_ROWS, 1, 1))
        self.rows[:, :, start : start + group.size] = agents.reshape(BUFFERED, NUM_ROWS, -1)
        self.reward = rng.standard_normal((BUFFERED, NUM_ROWS)).astype(np.float32)
        self.t = 0

    def reset(self, *, seed: int, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the first rows."""
        self.t = seed
        return self.current_observation(out=out)

    def current_observation(self, *, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the present rows."""
        rows = self.rows[self.t % BUFFERED]
        if out is None:
            return rows
        out[:] = rows
        return out

    def step(self, action: NDArray, *, out: NDArray[np.float32] | None = None) -> StepResult:
        """Return the next rows; an episode is cut off every 128 steps."""
        self.t += 1
        truncated = np.arange(NUM_ROWS) % 128 == self.t % 128
        final = np.flatnonzero(truncated).astype(np.int32)
        return StepResult(
            observation=self.current_observation(out=out),
            reward=self.reward[self.t % BUFFERED],
            terminated=np.zeros(NUM_ROWS, bool),
            truncated=truncated,
            valid=np.ones(NUM_ROWS, bool),
            final_rows=final,
            final_observation=self.rows[self.t % BUFFERED, final],
            episodes={},
        )

    def state_dict(self) -> dict[str, NDArray]:
        """Return the position in the circle."""
        return {"t": np.array(self.t)}

    def load_state_dict(self, state: Mapping[str, NDArray]) -> None:
        """Continue from a position."""
        self.t = int(state["t"])

    def close(self) -> None:
        """Nothing is held."""


def measure() -> list[Figure]:
    """Return the rates of whole iterations on one core (CPU time) and two (wall time)."""
    figures = []
    for cores in (1, 2):
        with pinned(cores) as got:
            if got == cores:
                with emulated_bfloat16():  # as asked, whatever the processor has
                    figures += [_figure(cores, "float32"), _figure(cores, "bfloat16")]
    return figures


def _figure(cores: int, precision: Literal["float32", "bfloat16"]) -> Figure:
    torch.set_num_threads(cores)
    env, config = MadeUpRows(), PPOConfig()
    policy = ActorCritic(CANONICAL, env.action_space, PolicyConfig(precision=precision))
    ppo = PPO(env, policy, config)
    clock = time.process_time if cores == 1 else time.perf_counter
    rates = window_rates(lambda: ppo.iterate().agent_steps, clock=clock, windows=WINDOWS, warm_up=3)
    return figure(
        f"PPO without simulator, {precision}, {cores} core{'s' if cores > 1 else ''}",
        rates,
        unit="agent-steps/s",
        policy=f"ActorCritic, {sum(p.numel() for p in policy.parameters()):,} parameters",
        precision=precision,
        epochs=config.epochs,
        minibatch_size=config.minibatch_size,
        rollout_steps=config.rollout_steps,
        clock="CPU time, pinned" if cores == 1 else "wall time, pinned",
        cores=cores,
        observation=f"{CANONICAL.name}, float32, made up",
        observation_bytes=CANONICAL.size * 4,
        N=NUM_ROWS,
    )


if __name__ == "__main__":
    print_figures(measure_and_store("learner", measure))
