"""Puts the real ML-Agents into the environment at hand, and takes it out again without a trace.

What was there before is written down first (`drivetrain_mlagents.json` in site-packages), so that an installation that
was broken off can be finished or taken back: `remove` uninstalls what came with it and restores what it replaced.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from drivetrain.errors import RunError, UsageError
from drivetrain.mlagents.requirements import ITSELF, PYTHON, VERSION, Standing, installed, normal, standings
from drivetrain.run_record import read_json, write_bytes_atomic, write_json_atomic

HOOK_SOURCE = Path(__file__).with_name("compatibility_hook.py")
HOOK_MODULE = "drivetrain_mlagents_hook"
RECORD = "drivetrain_mlagents.json"

Say = Callable[[str], None]
Pip = Callable[[list[str]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What an installation has to do."""

    standings: tuple[Standing, ...]
    """Of every requirement."""
    itself: bool
    """mlagents and mlagents-envs are to be installed."""
    hook: bool
    """The compatibility hook is missing or of another drivetrain."""

    @property
    def missing(self) -> list[Standing]:
        """Packages that come new."""
        return [standing for standing in self.standings if standing.state == "missing"]

    @property
    def unfit(self) -> list[Standing]:
        """Packages whose version is replaced."""
        return [standing for standing in self.standings if standing.state == "unfit"]

    @property
    def is_empty(self) -> bool:
        """Nothing to do."""
        return not (self.missing or self.unfit or self.itself or self.hook)

    def lines(self) -> list[str]:
        """Return what would be done, in words."""
        lines = [
            f"replace {s.requirement.name} {s.found} by {s.requirement.pin}: {s.requirement.reason or 'too old'}"
            for s in self.unfit
        ]
        if self.missing:
            lines.append("add " + ", ".join(f"{s.requirement.name} {s.requirement.pin}" for s in self.missing))
        if self.itself:
            lines.append(f"add {' and '.join(ITSELF)} {VERSION}, without what their metadata asks for")
        if self.hook:
            lines.append(f"write the compatibility hook {HOOK_MODULE} into site-packages")
        return lines


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """The environment that is changed."""

    site: Path = field(default_factory=lambda: Path(sysconfig.get_path("purelib")))
    """Its site-packages."""
    pip: Pip = field(default_factory=lambda: run_pip)
    """Runs pip with arguments."""
    list_installed: Callable[[], dict[str, str]] = installed
    """What is installed."""


def plan(environment: Environment) -> Plan:
    """Return what is to be done in an environment."""
    found = environment.list_installed()
    return Plan(
        standings=tuple(standings(found)),
        itself=any(found.get(name) != VERSION for name in ITSELF),
        hook=not hook_is_current(environment.site),
    )


def install(environment: Environment, *, say: Say) -> Plan:
    """Install what is missing and return what was done.

    Raises:
        UsageError: This Python or this environment is not fit for it.
        RunError: pip failed, or site-packages cannot be written.
    """
    refuse_unfit(environment)
    todo = plan(environment)
    if todo.is_empty:
        return todo
    before = environment.list_installed()
    record = _read_record(environment.site)
    # A record that is there already is of the state before the first installation: that is what `remove` restores.
    original = record["before"] if record else before
    write_json_atomic(environment.site / RECORD, {"before": original, "complete": False})
    for line in todo.lines():
        say(line)
    wanted = [f"{s.requirement.name}=={s.requirement.pin}" for s in (*todo.unfit, *todo.missing)]
    if wanted:
        kept = {normal(s.requirement.name) for s in (*todo.unfit, *todo.missing)}
        _install_beside(environment, wanted, {name: v for name, v in before.items() if name not in kept})
    if todo.itself:
        names = [f"{name}=={VERSION}" for name in ITSELF]
        environment.pip(["install", "--no-deps", "--ignore-requires-python", *names])
    write_hook(environment.site)
    added = sorted(set(environment.list_installed()) - set(original))
    write_json_atomic(environment.site / RECORD, {"before": original, "complete": True, "added": added})
    return todo


def remove(environment: Environment, *, say: Say) -> bool:
    """Take an installation back; False: there is none of ours.

    Raises:
        UsageError: The environment has no pip.
        RunError: pip failed, or site-packages cannot be written.
    """
    record = _read_record(environment.site)
    if record is None and not _hook_files(environment.site):
        return False
    before: dict[str, str] = record["before"] if record else {}
    found = environment.list_installed()
    if record:
        added = set(record.get("added", set(found) - set(before))) & set(found)
        gone = sorted(name for name in added if name in ITSELF or not _needed_by(name, set(found) - added))
        changed = [f"{n}=={v}" for n, v in before.items() if n in found and found[n] != v and _is_ours(n)]
        _require_pip()
        if gone:
            say(f"uninstall {', '.join(gone)}")
            environment.pip(["uninstall", "--yes", *gone])
        if changed:
            say(f"restore {', '.join(changed)}")
            environment.pip(["install", "--no-deps", *changed])
    for path in (*_hook_files(environment.site), environment.site / RECORD):
        path.unlink(missing_ok=True)
    say("the compatibility hook is gone")
    return True


def refuse_unfit(environment: Environment) -> None:
    """Raise a UsageError where ML-Agents cannot be installed."""
    if sys.version_info[:2] != PYTHON:
        have, want = (".".join(map(str, version)) for version in (sys.version_info[:2], PYTHON))
        raise UsageError(
            f"mlagents install: this is Python {have}; ML-Agents {VERSION} and drivetrain meet on {want}: "
            f"make install PYTHON=python{want} in a fresh checkout, or a venv of its own"
        )
    if sys.prefix == sys.base_prefix:
        raise UsageError(
            f"mlagents install: {sys.executable} is no virtual environment; "
            "activate one (source .venv/bin/activate), so that nothing of the system is changed"
        )
    _require_pip()
    if not os.access(environment.site, os.W_OK):
        raise UsageError(f"mlagents install: {environment.site} cannot be written; use an environment of your own")


def write_hook(site: Path) -> None:
    """Put the compatibility hook into site-packages; the line that loads it comes last."""
    write_bytes_atomic(site / f"{HOOK_MODULE}.py", HOOK_SOURCE.read_bytes())
    write_bytes_atomic(site / f"{HOOK_MODULE}.pth", f"import {HOOK_MODULE}\n".encode())


def hook_is_current(site: Path) -> bool:
    """True: the hook is there, and it is this drivetrain's."""
    module, line = site / f"{HOOK_MODULE}.py", site / f"{HOOK_MODULE}.pth"
    return line.is_file() and module.is_file() and module.read_bytes() == HOOK_SOURCE.read_bytes()


def run_pip(arguments: list[str]) -> None:
    """Run pip for this interpreter, its words on stderr.

    Raises:
        RunError: It failed.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", arguments[0], "--quiet", *arguments[1:]]
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise RunError(
            f"mlagents: pip {arguments[0]} failed with exit code {done.returncode} (see above); nothing else was "
            "changed; run the command again to finish, or 'drivetrain mlagents remove' to take it back"
        )


def _install_beside(environment: Environment, wanted: list[str], kept: dict[str, str]) -> None:
    """Install packages with what they need, and change no package that is there."""
    # A local build (2.13.0+cpu) satisfies its public version; an editable package has no version on an index.
    lines = sorted(f"{name}=={version.split('+')[0]}" for name, version in kept.items() if name != "drivetrain")
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(lines) + "\n", encoding="utf-8")
        environment.pip(["install", "--constraint", str(constraints), *wanted])


def _require_pip() -> None:
    if importlib.util.find_spec("pip") is None:
        raise UsageError(
            f"mlagents: {sys.prefix} has no pip (uv makes environments without it); "
            "add it with 'uv pip install pip' or 'python -m ensurepip', then run this again"
        )


def _needed_by(name: str, others: Iterable[str]) -> bool:
    """Whether a distribution that stays asks for this one, extras aside."""
    for other in others:
        try:
            asked = metadata.requires(other) or []
        except metadata.PackageNotFoundError:
            continue
        for line in asked:
            words = line.split(";")
            asked_name = words[0].replace("(", " ").strip()
            for sign in "<>=!~[ ":
                asked_name = asked_name.split(sign)[0]
            if normal(asked_name) == name and "extra" not in ";".join(words[1:]):
                return True
    return False


def _is_ours(name: str) -> bool:
    return any(normal(standing.requirement.name) == name for standing in standings({}))


def _hook_files(site: Path) -> list[Path]:
    # The line goes first: without the module it would complain at every start.
    paths = [site / f"{HOOK_MODULE}.pth", site / f"{HOOK_MODULE}.py"]
    paths += sorted((site / "__pycache__").glob(f"{HOOK_MODULE}.*.pyc"))
    return [path for path in paths if path.exists()]


def _read_record(site: Path) -> dict[str, Any] | None:
    record = read_json(site / RECORD)
    return record if record is not None and isinstance(record.get("before"), dict) else None
