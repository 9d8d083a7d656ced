"""Episodes of a policy in an ML-Agents player that is started for them.

N rows, an agent each at a time; E episodes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from drivetrain.algorithms.unity_config import UnityConfig
from drivetrain.errors import UsageError
from drivetrain.sim.environment import VectorEnvironment
from drivetrain.trainer.drivers import Policy, PolicyDriver
from drivetrain.trainer.evaluation import HELD_OUT_SEED, policy_driver
from drivetrain.trainer.evaluation_result import GYMNASIUM_METRICS, EvaluationResult, result_of
from drivetrain.trainer.player_logs import player_logs

LONGEST_EPISODE = 5_000
"""An episode that takes longer counts with what it has by then [steps]."""


def evaluate_unity(
    policy: Policy,
    environment: UnityConfig,
    *,
    name: str,
    root: Path,
    episodes: int = 100,
    deterministic: bool = True,
    temperature: float = 1.0,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> EvaluationResult:
    """Return the result of a policy over ``episodes`` episodes of a player of its own.

    Args:
        policy: Who acts.
        environment: Which player; one of them is started.
        name: What the policy is called.
        root: The project root, for the player's path.
        episodes: How many count.
        deterministic: The policy does not draw its actions.
        temperature: Of a policy that samples.
        seed: Of the player, and of a policy that samples.
        device: Where the policy computes.

    Raises:
        UsageError: No episode is asked for.
        DrivetrainError: The player cannot be started or fails.
    """
    from drivetrain.algorithms.unity_environment import UnityEnvironment  # gRPC is loaded by those who play alone

    if episodes < 1:
        raise UsageError(f"episodes: {episodes} is too few; use 1 or more")
    driver = policy_driver(policy, deterministic=deterministic, temperature=temperature, seed=seed, device=device)
    folder = player_logs(root)
    logs = None if folder is None else folder / "evaluation"
    env = UnityEnvironment(replace(environment, num_players=1), root=root, seed=HELD_OUT_SEED + seed, logs=logs)
    try:
        values = roll_out_episodes(env, driver, episodes)
    finally:
        env.close()
    return result_of(
        values,
        kinds=GYMNASIUM_METRICS,
        planner=name,
        traffic="",
        dynamics="",
        scenario_ids=[str(i) for i in range(episodes)],
        failures={},
        inputs={"environment": environment.path, "deterministic": deterministic, "seed": seed},
    )


def roll_out_episodes(env: VectorEnvironment, driver: PolicyDriver, episodes: int) -> dict[str, NDArray[np.float64]]:
    """Return the statistics of the first episodes of every row, equally many of each (+- 1), each of shape [E].

    To take the first that end, whichever rows they are of, would favour short ones.
    """
    observation = env.reset(seed=0)
    wanted: NDArray[np.int64] | None = None
    total, length = np.zeros(env.num_rows), np.zeros(env.num_rows, np.int64)
    found: dict[str, list[float]] = {"mean_reward": [], "episode_length": []}
    while wanted is None or (wanted > 0).any():
        result = driver.step(env, observation)
        observation = result.observation
        total += result.reward
        length += result.valid
        if wanted is None:
            wanted = _shares(episodes, result.valid)
        ended = length >= LONGEST_EPISODE
        ended[result.final_rows] = True
        for row in np.flatnonzero(ended & (wanted > 0)).tolist():
            found["mean_reward"].append(float(total[row]))
            found["episode_length"].append(float(length[row]))
            wanted[row] -= 1
        total[ended] = 0.0
        length[ended] = 0
    return {metric: np.array(values) for metric, values in found.items()}


def _shares(episodes: int, seated: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many episodes each row gives; those without an agent give none."""
    rows = np.flatnonzero(seated)
    shares = np.zeros(len(seated), np.int64)
    shares[rows] = episodes // len(rows) + (np.arange(len(rows)) < episodes % len(rows))
    return shares
