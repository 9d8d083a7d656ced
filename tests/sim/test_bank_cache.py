"""Compiled scenes from disk are those that were built, and the disk may fail."""

import os
from pathlib import Path

import numpy as np
import pytest
from tests.sim.worlds import crowd, roundabout, signalled_crossing

from drivetrain.sim import bank_cache
from drivetrain.sim.bank_cache import cached_bank
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.scene_bank import build_bank


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DRIVETRAIN_CACHE_DIR", str(tmp_path))
    return tmp_path / "scenes"


class Builder:
    """Builds a bank and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return build_bank([signalled_crossing(), roundabout(), crowd(count=9)], all_controllable=True)


def test_a_bank_from_disk_is_the_one_that_was_built(folder):
    build = Builder()
    built, kept = cached_bank("a", build), cached_bank("a", build)
    assert build.calls == 1
    for name, array in built.arrays._asdict().items():
        other = getattr(kept.arrays, name)
        assert other.dtype == array.dtype, name
        assert np.array_equal(other, array), name
    assert np.array_equal(kept.slot_tokens, built.slot_tokens)
    assert (kept.scenario_ids, kept.scenario_types) == (built.scenario_ids, built.scenario_types)
    assert (kept.knowledge, kept.dropped) == (built.knowledge, built.dropped)
    config = DrivingConfig(num_worlds=4, control="all", agents_per_world=3)
    first, second = (DrivingEnv(bank, config).reset(seed=3) for bank in (built, kept))
    assert np.array_equal(first, second)


def test_other_content_is_another_bank(folder):
    build = Builder()
    cached_bank("a", build)
    cached_bank("b", build)
    assert build.calls == 2


@pytest.mark.parametrize("damage", [b"", b"drvtscn1", b"something else entirely", None])
def test_a_damaged_file_is_made_again(folder, damage):
    build = Builder()
    cached_bank("a", build)
    (file,) = folder.glob("*.bank")
    file.write_bytes(file.read_bytes()[:-1] if damage is None else damage)
    assert len(cached_bank("a", build)) == 3
    assert build.calls == 2
    cached_bank("a", build)
    assert build.calls == 2


def test_a_disk_that_cannot_be_written_is_no_matter(folder, monkeypatch):
    def full(path, bank):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bank_cache, "_write", full)
    assert len(cached_bank("a", Builder())) == 3
    folder.rmdir()
    folder.write_text("in the way")
    assert len(cached_bank("a", Builder())) == 3


def test_the_longest_unused_banks_go(folder, monkeypatch):
    build = Builder()
    cached_bank("any", build)
    (file,) = folder.glob("*.bank")
    monkeypatch.setattr(bank_cache, "KEPT_BYTES", int(2.5 * file.stat().st_size))
    file.unlink()
    build.calls = 0
    for age, name in ((300, "old"), (200, "used"), (100, "new")):
        cached_bank(name, build)
        newest = max(folder.glob("*.bank"), key=lambda path: path.stat().st_mtime)
        then = newest.stat().st_mtime - age
        os.utime(newest, (then, then))
    assert build.calls == 3
    cached_bank("used", build)
    cached_bank("new", build)
    assert build.calls == 3
    cached_bank("old", build)
    assert build.calls == 4
