"""What a config says of an ML-Agents player; the player itself needs gRPC, which is loaded with it only."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from drivetrain.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class UnityConfig:
    """Which ML-Agents player, and how many of them."""

    name: Literal["unity"] = "unity"
    """Selects the kind of environment."""
    path: str = ""
    """The executable, relative to the project root; Unity's suffix may be left out."""
    behavior: str = ""
    """Which one to train, with or without its team; empty: the only one there is. Others stand still."""
    num_players: int = 1
    """Processes of the build that step together."""
    agents: int | None = None
    """Rows per player: the most agents that are there at a time; None: as many as at the beginning."""
    num_areas: int = 1
    """Training areas that a build which replicates its scene shall create."""
    parameters: Mapping[str, float] = field(default_factory=dict)
    """Environment parameters by name."""
    arguments: tuple[str, ...] = ()
    """Appended to the player's command line."""
    time_scale: float = 20.0
    """Simulated seconds per second that a Unity build aims at."""
    graphics: bool = False
    """True: the players show their windows."""
    timeout_s: float = 60.0
    """A player may stay silent this long [s]."""

    def __post_init__(self) -> None:
        if any(importlib.util.find_spec(module) is None for module in ("grpc", "google.protobuf")):
            raise ConfigError("environment: unity needs gRPC and protobuf; run: pip install 'drivetrain[unity]'")
        if not self.path:
            raise ConfigError("environment.path: is empty; name the executable of a Unity build")
        for name in ("num_players", "num_areas", "agents"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"environment.{name}: {value} is too small; use 1 or more")
        for name in ("timeout_s", "time_scale"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"environment.{name}: {getattr(self, name)} is impossible; use a number above 0")
