"""What a config says of a Gymnasium environment; Gymnasium itself is loaded with the environment only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from drivetrain.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class GymnasiumConfig:
    """Which Gymnasium environment, and how many of them."""

    name: Literal["gymnasium"] = "gymnasium"
    """Selects the kind of environment."""
    id: str = "CartPole-v1"
    """Registered id."""
    num_worlds: int = 8
    """Environments stepped together (N)."""

    def __post_init__(self) -> None:
        if self.num_worlds < 1:
            raise ConfigError(f"environment.num_worlds: {self.num_worlds} is too small; use 1 or more")
