"""What a trajectory is scored against: a stretch of a log on its map."""

from __future__ import annotations

from dataclasses import dataclass

from drivetrain.sim.scenario import AgentTracks, EgoTrack, Int64, RoadMap


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringScene:
    """The recorded surroundings of a driven trajectory, F frames."""

    map: RoadMap
    timestamps_us: Int64
    """Ascending, shape [F]."""
    expert: EgoTrack
    """The logged drive over all F frames."""
    agents: AgentTracks
    """Objects over all F frames, [F, A]; a trajectory of T < F states is scored against the first T."""
