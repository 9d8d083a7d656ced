"""What a trainer may turn while it trains: ML-Agents' environment parameters, as the driving task understands them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from drivetrain.errors import DataError, nearest
from drivetrain.mlagents.side_channels import EnvironmentParameter
from drivetrain.sim.env import DrivingConfig

TRAFFIC = ("replay", "both", "idm", "idm_aggressive", "idm_timid")
"""Kinds of traffic in the order of the parameter ``traffic``: 0 is replay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Knob:
    """An environment parameter."""

    low: float
    """Least value."""
    high: float
    """Largest value."""
    meaning: str
    """For people."""


KNOBS: Mapping[str, Knob] = {
    "traffic": Knob(low=0, high=len(TRAFFIC) - 1, meaning=f"what others do: {', '.join(TRAFFIC)} by number"),
    "horizon_s": Knob(low=1.0, high=60.0, meaning="longest episode [s]"),
    "penalty_at_fault": Knob(low=0.0, high=100.0, meaning="cost of a collision that the agent causes"),
    "penalty_other_collision": Knob(low=0.0, high=100.0, meaning="cost of being hit"),
    "penalty_offroad": Knob(low=0.0, high=100.0, meaning="cost of leaving the road"),
    "penalty_red_light": Knob(low=0.0, high=100.0, meaning="cost of running a red light"),
    "start_speed_low": Knob(low=0.0, high=2.0, meaning="least factor of the logged speed at the start"),
    "start_speed_high": Knob(low=0.0, high=2.0, meaning="largest factor of the logged speed at the start"),
}


class Settings:
    """The knobs as the trainer has set them.

    Args:
        config: The worlds where no knob is turned.
    """

    def __init__(self, config: DrivingConfig) -> None:
        self._config = config
        self._values: dict[str, float] = {}
        self._drawn: dict[str, tuple[EnvironmentParameter, np.random.Generator]] = {}
        self.unknown: set[str] = set()
        """Parameters that were sent and that no knob understands."""

    @property
    def is_drawn(self) -> bool:
        """Some knob has no value of its own but is drawn."""
        return bool(self._drawn)

    def turn(self, parameter: EnvironmentParameter) -> None:
        """Take a parameter; one of an unknown name is only remembered."""
        if parameter.key not in KNOBS:
            self.unknown.add(parameter.key)
            return
        self._values.pop(parameter.key, None)
        self._drawn.pop(parameter.key, None)
        if parameter.sampler is None:
            self._values[parameter.key] = float(parameter.value or 0.0)
        else:
            self._drawn[parameter.key] = (parameter, np.random.default_rng(parameter.seed & 0xFFFFFFFF))

    def config(self) -> DrivingConfig:
        """Return the worlds as they are to be now; what is drawn is drawn anew.

        Raises:
            DataError: A value is beyond its knob's range.
        """
        values = dict(self._values)
        values.update({key: _draw(parameter, random) for key, (parameter, random) in self._drawn.items()})
        for key, value in values.items():
            knob = KNOBS[key]
            if not knob.low <= value <= knob.high:
                raise DataError(
                    f"environment parameter '{key}': {value:g} is not within {knob.low:g} to {knob.high:g} "
                    f"({knob.meaning})"
                )
        return _applied(self._config, values)


def unknown_line(name: str) -> str:
    """Return what to say of a parameter that no knob understands."""
    hint = nearest(name, KNOBS)
    return f"environment parameter '{name}' is none of {', '.join(KNOBS)}{hint}; it changes nothing"


def _applied(config: DrivingConfig, values: Mapping[str, float]) -> DrivingConfig:
    reward = {name: value for name, value in values.items() if name.startswith("penalty_")}
    low = values.get("start_speed_low", config.start_speed[0])
    high = values.get("start_speed_high", config.start_speed[1])
    traffic = TRAFFIC[round(values["traffic"])] if "traffic" in values else config.traffic
    return replace(
        config,
        traffic=traffic,
        horizon_s=values.get("horizon_s", config.horizon_s),
        start_speed=(min(low, high), high),
        reward=replace(config.reward, **reward),
    )


def _draw(parameter: EnvironmentParameter, random: np.random.Generator) -> float:
    given = parameter.sampler_parameters
    if parameter.sampler == "gaussian":
        return float(random.normal(given[0], given[1]))
    ranges = np.asarray(given, dtype=np.float64).reshape(-1, 2)
    # Ranges are drawn in proportion to their width, so that every value is as likely as any other.
    widths = np.maximum(ranges[:, 1] - ranges[:, 0], 0.0)
    chances = widths / widths.sum() if widths.sum() > 0 else np.full(len(ranges), 1.0 / len(ranges))
    low, high = ranges[random.choice(len(ranges), p=chances)]
    return float(random.uniform(low, max(low, high)))
