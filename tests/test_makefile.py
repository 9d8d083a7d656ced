"""The Makefile does what the documents promise, from any folder, and says clearly when it cannot."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROMISED = ("demo", "test", "test-all", "wheel", "test-wheel", "install", "check", "bench", "results")

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments, cwd):
    # The suite itself may run under make; its variables and options must not reach the make under test.
    clean = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}
    command = ["make", *arguments]
    return subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False)


@pytest.fixture
def fresh(tmp_path):
    """A copy of what an install needs, in a folder of another name, with a space in it."""
    folder = tmp_path / "another checkout"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@needs_make
@pytest.mark.parametrize("target", PROMISED)
def test_every_promised_target_can_be_planned_from_nothing(fresh, target):
    planned = make("--dry-run", target, cwd=fresh)
    assert planned.returncode == 0, planned.stderr
    # All of them begin with the environment: torch pinned first, then the package with its development tools.
    order = [planned.stdout.find(text) for text in ("-m venv", "install torch==", "--editable '.[dev]'")]
    assert -1 < order[0] < order[1] < order[2]


@needs_make
def test_an_up_to_date_environment_costs_nothing_and_a_changed_pyproject_renews_it(fresh):
    (fresh / ".venv" / "bin").mkdir(parents=True)
    (fresh / ".venv" / "bin" / "python").touch()
    (fresh / ".venv" / ".installed").touch()
    assert "pip" not in make("--dry-run", "install", cwd=fresh).stdout
    newer = (fresh / ".venv" / ".installed").stat().st_mtime + 5
    os.utime(fresh / "pyproject.toml", (newer, newer))
    renewed = make("--dry-run", "install", cwd=fresh).stdout
    assert "pip" in renewed
    assert "-m venv" not in renewed


@needs_make
def test_an_old_python_is_refused_in_one_line(fresh):
    old = fresh / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.8.10" && exit 0\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)
    refused = make("install", "PYTHON=./old-python", cwd=fresh)
    assert refused.returncode != 0
    expected = (
        "'./old-python' is Python 3.8.10; drivetrain needs Python 3.11 to 3.13, e.g. make install PYTHON=python3.12"
    )
    assert refused.stderr.splitlines()[0] == expected
    assert not (fresh / ".venv").exists()


@needs_make
def test_a_missing_python_is_named(fresh):
    refused = make("install", "PYTHON=python9", cwd=fresh)
    assert refused.stderr.splitlines()[0].startswith("'python9' was not found; name a Python 3.11 to 3.13")


def test_every_extra_is_covered_by_test_all():
    extras = re.search(r"^EXTRAS :=(.*)$", MAKEFILE, flags=re.MULTILINE)[1].split()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert sorted(extras) == sorted(set(project["project"]["optional-dependencies"]) - {"dev"})


def test_ci_runs_check_and_test_all():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100
    assert script.splitlines()[-2:] == ["make check", "make test-all"]
