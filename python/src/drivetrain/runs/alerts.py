"""A command of the user's that is run when something happens to a training.

Which command is decided by one file, ``python/configs/alerts.yaml`` of the project, and by nothing else: no training
config, no flag and no request from outside can name a program. The command gets the facts as environment variables and
as JSON on its standard input. It runs beside the training, which neither waits for it nor notices how it ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drivetrain.errors import ConfigError, nearest
from drivetrain.run_record import alerts_file, says_anything
from drivetrain.runs.processes_of_run import MARK

KINDS = ("failed", "stalled", "diverged", "finished")
"""What can be reported: the trainer failed or was killed; gives no sign of life; the watchdog raised an alert; the run
ended in order, by its budget or because somebody stopped it."""
LONGEST_TIMEOUT_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class AlertsConfig:
    """alerts.yaml: the command, and what it wants to hear of."""

    on: tuple[str, ...] = ()
    """Some of failed, stalled, diverged, finished."""
    command: tuple[str, ...] = ()
    """Program and arguments; no shell reads them. A program with a slash that is not absolute lies below the root."""
    timeout_s: float = 30.0
    """After this long the command and all it started are killed [s]."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for kind in self.on:
            if kind not in KINDS:
                raise ConfigError(f"on: unknown alert '{kind}'{nearest(kind, KINDS)}; choose from {', '.join(KINDS)}")
        if self.on and not self.command:
            raise ConfigError("command: is empty, so 'on' has nothing to run; give a list of words")
        if any(not word or "\0" in word for word in self.command[:1]):
            raise ConfigError("command: its first word must name a program")
        if not 0.0 < self.timeout_s <= LONGEST_TIMEOUT_S:
            raise ConfigError(f"timeout_s: {self.timeout_s:g} is not within 0 to {LONGEST_TIMEOUT_S:.0f} s")

    @property
    def is_active(self) -> bool:
        """True if anything is to be run at all."""
        return bool(self.on)


@dataclass(frozen=True, kw_only=True)
class Alert:
    """What the command is told."""

    kind: str
    """One of :data:`KINDS`."""
    run_id: str
    """The run."""
    algorithm: str
    """ppo, sac, bc, gail or cimrl; empty while unknown."""
    life: int
    """1 for the first start, one more for every resume."""
    status: str
    """Status of the run, as `drivetrain status` says it."""
    message: str
    """Why, in one line; may be empty."""
    step: int
    """Steps done."""
    total_steps: int
    """The budget [steps]."""
    reward: float | None
    """Newest ``mean_reward``; None before the first episode ended."""
    log: str
    """train.log, relative to the root."""
    resume_command: str | None
    """What continues the run; None where nothing can."""

    def environment(self) -> dict[str, str]:
        """Return the facts as environment variables; what is not known is empty."""
        facts = asdict(self)
        names = {name: f"DRIVETRAIN_ALERT_{name.upper()}" for name in facts} | {"kind": "DRIVETRAIN_ALERT"}
        return {names[name]: "" if value is None else str(value).replace("\0", "") for name, value in facts.items()}


@dataclass(frozen=True, kw_only=True)
class HookResult:
    """How the command ended."""

    exit_code: int | None
    """Its exit code; None if it never ran or was killed for time."""
    seconds: float
    """How long it ran [s]."""
    problem: str
    """What went wrong, in one line; empty where nothing did."""


def load_alerts(root: Path) -> AlertsConfig:
    """Return the alerts of a project; without the file, or with comments alone, there are none.

    Raises:
        ConfigError: The file is wrong.
    """
    path = alerts_file(root)
    if not says_anything(path):
        return AlertsConfig()
    from drivetrain.config import load_config

    return load_config(path, AlertsConfig)


def run_hook(config: AlertsConfig, alert: Alert, *, root: Path, output: Path) -> HookResult:
    """Run the command, wait until it ends or its time is over, and return how it went; never raises.

    Args:
        config: Names the command.
        alert: The facts.
        root: The command's working folder.
        output: What the command prints is appended here.
    """
    started = time.monotonic()
    try:
        code, problem = _run(config, alert, root=root, output=output)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        code, problem = None, f"{config.command[0]}: cannot be run ({reason})"
    return HookResult(exit_code=code, seconds=round(time.monotonic() - started, 3), problem=problem)


def _run(config: AlertsConfig, alert: Alert, *, root: Path, output: Path) -> tuple[int | None, str]:
    program = config.command[0]
    if "/" in program and not os.path.isabs(program):
        program = str(root / program)
    facts = json.dumps(asdict(alert), ensure_ascii=False).encode() + b"\n"
    with output.open("ab") as printed:
        process = subprocess.Popen(
            [program, *config.command[1:]],
            stdin=subprocess.PIPE,
            stdout=printed,
            stderr=printed,
            cwd=root,
            env=hook_environment(os.environ) | alert.environment(),
            start_new_session=True,
        )
    try:
        process.communicate(facts, timeout=config.timeout_s)
    except subprocess.TimeoutExpired:
        _kill_group(process)
        return None, f"{program}: killed, because it ran for more than {config.timeout_s:g} s"
    if process.returncode:
        return process.returncode, f"{program}: ended with {_code_text(process.returncode)}"
    return 0, ""


def hook_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what marks the processes of a run: a hook is none of them."""
    return {name: value for name, value in environment.items() if name != MARK}


def _kill_group(process: subprocess.Popen[Any]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()


def _code_text(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"
