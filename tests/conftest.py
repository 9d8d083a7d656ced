"""Tests that need an extra: they skip with the reason where it is not installed, and fail where it was asked for."""

import importlib.util
import os
import signal

import pytest
from tests.ray_cluster import RayCluster

# Whoever starts the tests may ignore Ctrl-C (a shell's background job, a worker of pytest-xdist) or name a width of the
# terminal; programs that the tests start would inherit both.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)

EXTRAS = {
    "sb3": "stable_baselines3",
    "arrow": "pyarrow",
    "mcp": "mcp",
    "tui": "textual",
    "unity": "grpc",
    "export": "onnxruntime",
    "video": "imageio_ffmpeg",
    "sweep": "optuna",
    "ray": "ray",
    "slurm": "submitit",
    "docs": "mkdocs",
}
"""The module by which an installed extra of pyproject.toml is known."""
MODULES = {**EXTRAS, "mlagents": "mlagents"}
"""With the real ML-Agents, which is no extra: a command installs it."""


def pytest_runtest_setup(item):
    for extra, module in MODULES.items():
        if item.get_closest_marker(f"needs_{extra}") is None or importlib.util.find_spec(module) is not None:
            continue
        how = f"pip install --editable '.[{extra}]'" if extra in EXTRAS else "drivetrain mlagents install"
        reason = f"the extra '{extra}' is not installed: {how}"
        if os.environ.get("DRIVETRAIN_REQUIRE_EXTRA") == extra:
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def ray_cluster():
    """A Ray cluster of one node with four processors to give away and a token, for tests marked needs_ray."""
    cluster = RayCluster(num_cpus=4)
    yield cluster
    cluster.stop()
