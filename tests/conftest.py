"""Tests that need an extra: they skip with the reason where it is not installed, and fail where it was asked for."""

import importlib.util
import os

import pytest

EXTRAS = {"sb3": "stable_baselines3", "arrow": "pyarrow", "mcp": "mcp", "tui": "textual", "video": "imageio_ffmpeg"}
"""The module by which an installed extra of pyproject.toml is known."""


def pytest_runtest_setup(item):
    for extra, module in EXTRAS.items():
        if item.get_closest_marker(f"needs_{extra}") is None or importlib.util.find_spec(module) is not None:
            continue
        reason = f"the extra '{extra}' is not installed: pip install --editable '.[{extra}]'"
        if os.environ.get("DRIVETRAIN_REQUIRE_EXTRA") == extra:
            pytest.fail(reason)
        pytest.skip(reason)
