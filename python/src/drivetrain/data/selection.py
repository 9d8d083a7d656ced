"""Which of the recorded scenarios a conversion is to give: by type, token, time, log, city and number."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from drivetrain.errors import UsageError

TAG_SPACING_S = 1.0
"""Of tags of one type closer than this only the first gives a scenario: many tags are set frame after frame."""
LEAST_STRIDE_S = 1e-3
"""Windows cannot begin closer than this: no log has frames as close."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What is asked for; the default is every tag, one of a type per second."""

    scenario_types: tuple[str, ...] | None = None
    """Types allowed; of several tags of a frame the alphabetically last allowed one counts. None: all."""
    type_patterns: tuple[str, ...] | None = None
    """Names and patterns that the types came from; each asks for a scenario. None: every type does."""
    tokens: tuple[int, ...] | None = None
    """Frames (nuPlan's ``lidar_pc`` tokens) that are to be scenarios. None: those with a tag."""
    stride_s: float | None = None
    """Not around tags, but a window every so many seconds [s]."""
    tag_spacing_s: float | None = None
    """Of tags of one type in a log closer than this only the first counts [s]; None: 1 s, with tokens 0 s."""
    remove_invalid_goals: bool = False
    """Leave out scenarios whose scene has no goal."""
    min_start_spacing_s: float | None = None
    """Over all logs: of scenarios of one type whose tags are closer than this only the first counts [s]."""
    limit_per_type: int | None = None
    """At most so many scenarios of a type, evenly spread over all of them."""
    limit_total: int | float | None = None
    """At most so many scenarios, or (below 1) this share of them; untyped ones go first."""
    logs: tuple[str, ...] | None = None
    """Names or shell patterns of the logs to convert. None: all."""
    maps: tuple[str, ...] | None = None
    """Names of the cities whose scenarios count. None: all."""
    split: str | None = None
    """Convert only the logs of this split."""

    def __post_init__(self) -> None:
        if self.stride_s is not None and (self.tokens is not None or self.scenario_types is not None):
            raise UsageError("a stride cuts windows without regard to tags; give it without types and tokens")
        for name, value in (
            ("stride", self.stride_s),
            ("tag spacing", self.tag_spacing_s),
            ("spacing of starts", self.min_start_spacing_s),
        ):
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"the {name} is {value:g} s, expected a time of 0 s or more")
        if self.stride_s is not None and self.stride_s < LEAST_STRIDE_S:
            raise UsageError(f"the stride is {self.stride_s:g} s, expected {LEAST_STRIDE_S:g} s or more")
        for name, limit in (("of a type", self.limit_per_type), ("in all", self.limit_total)):
            if limit is not None and not 0 < limit < math.inf:
                raise UsageError(f"the limit of scenarios {name} is {limit}, expected a number above 0")

    @property
    def spacing_s(self) -> float:
        """Time between tags of one type of a log [s]."""
        if self.tag_spacing_s is not None:
            return self.tag_spacing_s
        return TAG_SPACING_S if self.tokens is None and self.min_start_spacing_s is None else 0.0

    def takes_log(self, name: str) -> bool:
        """Return whether a log is asked for by its name."""
        return self.logs is None or any(fnmatchcase(name, pattern) for pattern in self.logs)

    def within_a_log(self) -> dict[str, Any]:
        """Return what decides on the scenarios of one log by itself, as JSON holds it."""
        return {
            "scenario_types": self.scenario_types,
            "tokens": None if self.tokens is None else [f"{token:016x}" for token in sorted(self.tokens)],
            "stride_s": self.stride_s,
            "tag_spacing_s": self.spacing_s,
            "remove_invalid_goals": self.remove_invalid_goals,
            "maps": self.maps,
        }

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON holds it; what is not asked for is absent."""
        fields = dataclasses.asdict(self) | self.within_a_log()
        return {name: value for name, value in fields.items() if value is not None and value is not False}
