"""The sparse tracks of a log as dense arrays, which are easier to make statements about."""

import numpy as np

from drivetrain.sim.scenario import AgentTracks, DrivingLog


def all_agents(log: DrivingLog) -> AgentTracks:
    """Return the agents of all frames of a log."""
    return log.tracks.window(np.arange(len(log.timestamps_us)))
