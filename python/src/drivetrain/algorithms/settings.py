"""What settings of algorithms must fulfil, and how a wrong one reads."""

from __future__ import annotations

from collections.abc import Callable

from drivetrain.errors import ConfigError


def requirement(block: str) -> Callable[[bool, str, object, str], None]:
    """Return a check of the settings of one block of a config, such as ``algorithm.discriminator``.

    It is called with whether a setting is possible, its name, its value, and what to do where it is not.
    """

    def require(possible: bool, name: str, value: object, remedy: str) -> None:
        if not possible:
            raise ConfigError(f"{block}.{name}: {value} is impossible; {remedy}")

    return require
