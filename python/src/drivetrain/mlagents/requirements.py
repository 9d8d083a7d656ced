"""What the real ML-Agents 1.1.0 needs on Python 3.11, in versions that are known to work together.

Its own metadata asks for Python 3.10.12 at most and for packages that have no build for 3.11, so it is installed
without its dependencies and these take their place. A package that is there in a version that does is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import Literal

PYTHON = (3, 11)
"""The one Python that drivetrain and ML-Agents have in common; on 3.12 ML-Agents no longer finds its plugins."""
VERSION = "1.1.0"
"""Of mlagents and mlagents-envs."""
ITSELF = ("mlagents", "mlagents-envs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirement:
    """A package that ML-Agents imports."""

    name: str
    """As the package index spells it."""
    accepted: str
    """Versions that do, as a version specifier."""
    pin: str
    """The version installed where none that does is there."""
    reason: str = ""
    """Why the accepted versions are limited; empty: old enough suffices."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How a requirement stands in an environment."""

    requirement: Requirement
    """What is asked for."""
    found: str | None
    """The version installed; None: the package is missing."""
    state: Literal["good", "missing", "unfit"]
    """``unfit``: another version must take its place."""


REQUIREMENTS = (
    Requirement(name="torch", accepted=">=2.6", pin="2.13.0"),
    Requirement(name="numpy", accepted=">=1.24", pin="2.4.6"),
    Requirement(
        name="protobuf", accepted=">=4.25", pin="7.36.2", reason="older ones have no compiled build for Python 3.11"
    ),
    Requirement(name="grpcio", accepted=">=1.60", pin="1.85.1"),
    Requirement(name="onnx", accepted=">=1.15", pin="1.23.2"),
    Requirement(name="ml_dtypes", accepted=">=0.4", pin="0.6.0"),
    Requirement(
        name="cattrs",
        accepted="==1.5.*",
        pin="1.5.0",
        reason="later ones lose the hyperparameters of default_settings without a word",
    ),
    Requirement(name="attrs", accepted=">=19.3", pin="26.1.0"),
    Requirement(name="h5py", accepted=">=2.9", pin="3.16.0"),
    Requirement(name="pillow", accepted=">=4.2.1", pin="13.0.0"),
    Requirement(name="PyYAML", accepted=">=5.1", pin="6.0.3"),
    Requirement(name="six", accepted=">=1.16", pin="1.17.0"),
    Requirement(name="filelock", accepted=">=3.4", pin="4.2.11"),
    Requirement(name="cloudpickle", accepted=">=1.0", pin="3.1.2"),
    Requirement(name="huggingface_hub", accepted=">=0.14", pin="2.4.0"),
    Requirement(name="tensorboard", accepted=">=2.14", pin="2.21.0"),
    Requirement(
        name="setuptools",
        accepted="<81",
        pin="80.10.2",
        reason="ML-Agents imports pkg_resources, which later ones have given up",
    ),
)
"""In the order they are shown; mlagents and mlagents-envs follow without their dependencies."""


def installed() -> dict[str, str]:
    """Return every installed distribution, in the spelling that compares, with its version."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(normal(name), distribution.version)
    return found


def normal(name: str) -> str:
    """Return a package's name in the one spelling that compares (PEP 503)."""
    return name.lower().replace("_", "-").replace(".", "-")


def standings(found: dict[str, str]) -> list[Standing]:
    """Return how every requirement stands among installed distributions."""
    from packaging.specifiers import SpecifierSet

    results = []
    for requirement in REQUIREMENTS:
        version = found.get(normal(requirement.name))
        fits = version is not None and SpecifierSet(requirement.accepted, prereleases=True).contains(version)
        state: Literal["good", "missing", "unfit"] = "missing" if version is None else "good" if fits else "unfit"
        results.append(Standing(requirement=requirement, found=version, state=state))
    return results
