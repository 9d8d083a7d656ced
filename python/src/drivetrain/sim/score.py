"""From the sums of an episode to its metrics and ``score_basic`` (docs/simulator.md, 'Score').

E episodes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.reward import OVERSPEED_SCALE
from drivetrain.sim.world import (
    ANY_EVENT,
    AT_FAULT,
    COLLISION,
    GOAL,
    LAST_COMPLETION,
    NUM_JERK,
    NUM_STEPS,
    OFFROAD,
    RED_LIGHT,
    SUM_JERK,
    SUM_OVERSPEED,
    SUM_REWARD,
    TTC,
)

COMFORTABLE_JERK = 2.0
UNCOMFORTABLE_JERK = 6.0
"""Mean absolute jerk at which the comfort term begins to fall, and reaches 0 [m/s^3]."""
MIN_PROGRESS = 0.2


def episode_statistics(sums: NDArray[np.float32], *, with_ttc: bool) -> dict[str, NDArray[np.float32]]:
    """Return the metrics of finished episodes by name, each of shape [E].

    Args:
        sums: Sums over the episodes, shape [E, NUM_SUMS].
        with_ttc: The ``ttc`` event was computed, so ``ttc_violation`` and ``score_basic`` can be given.
    """
    bits = sums[:, ANY_EVENT].astype(np.int64)
    length = np.maximum(sums[:, NUM_STEPS], 1.0)
    jerk = sums[:, SUM_JERK] / np.maximum(sums[:, NUM_JERK], 1.0)

    def flag(bit: int) -> NDArray[np.float32]:
        return ((bits & bit) != 0).astype(np.float32)

    result = {
        "mean_reward": sums[:, SUM_REWARD].copy(),
        "episode_length": length,
        "collision": flag(AT_FAULT),
        "collision_any": flag(COLLISION),
        "offroad": flag(OFFROAD),
        "red_light": flag(RED_LIGHT),
        "goal": flag(GOAL),
        "progress": sums[:, LAST_COMPLETION].copy(),
        "mean_abs_jerk": jerk,
        "overspeed": sums[:, SUM_OVERSPEED] / length,
    }
    if with_ttc:
        result["ttc_violation"] = flag(TTC)
        result["score_basic"] = score_basic(result)
    return result


def score_basic(metrics: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the basic score in [0, 1] of each episode from its metrics."""
    gate = (1 - metrics["collision"]) * (1 - metrics["offroad"]) * (1 - metrics["red_light"])
    gate = gate * (metrics["progress"] >= MIN_PROGRESS)
    speed = np.maximum(0.0, 1.0 - metrics["overspeed"] / OVERSPEED_SCALE)
    span = UNCOMFORTABLE_JERK - COMFORTABLE_JERK
    comfort = np.clip(1.0 - (metrics["mean_abs_jerk"] - COMFORTABLE_JERK) / span, 0.0, 1.0)
    weighted = 5.0 * metrics["progress"] + 5.0 * (1.0 - metrics["ttc_violation"]) + 4.0 * speed + 2.0 * comfort
    return (gate * weighted / 16.0).astype(np.float32)
