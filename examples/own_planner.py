"""Score a planner of one's own beside the reference planners: ``python examples/own_planner.py [DATA]``."""

import sys

import numpy as np

import drivetrain


def keep_slowing(view):  # noqa: ANN001, ANN201 - the point is how little is needed
    """Go straight on and lose 1 m/s every second."""
    t = np.arange(81) / 10
    way = np.where(t < view.speed, view.speed * t - t**2 / 2, view.speed**2 / 2)
    x, y, heading = view.pose
    return np.stack([x + way * np.cos(heading), y + way * np.sin(heading), np.full(81, heading)], axis=1)


if __name__ == "__main__":
    data = sys.argv[1] if len(sys.argv) > 1 else "auto"
    result = drivetrain.evaluate(keep_slowing, data, episodes=100, reference=True)
    sys.stdout.write(result.to_table() + "\n")
