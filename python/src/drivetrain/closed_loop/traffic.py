"""Everybody else in a simulation: replayed from the log, or reacting."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from drivetrain.closed_loop.moment import Moment, ObservedObjects
from drivetrain.sim.scenario import Scenario


class Traffic(Protocol):
    """The objects of one scenario."""

    def objects(self) -> ObservedObjects:
        """Return who is present now."""
        ...

    def advance(self, moment: Moment, seconds: float) -> None:
        """Move on to the next frame, ``seconds`` after the moment."""
        ...


class LogReplay:
    """Everybody does what the log says."""

    def __init__(self, scenario: Scenario) -> None:
        """Start at the first frame."""
        self._agents = scenario.agents
        self._columns = np.arange(len(scenario.agents.token))
        self._frame = 0

    def objects(self) -> ObservedObjects:
        """Return who is present now."""
        return ObservedObjects.logged(self._agents, self._frame, self._columns)

    def advance(self, moment: Moment, seconds: float) -> None:
        """Show the next frame."""
        del seconds
        self._frame = moment.frame + 1
