"""Stands beside one training from its start to its end: `python -m drivetrain.runs.sidecar RUN_DIR --life N`.

The trainer starts it and forgets it, however the trainer itself was started. It looks at the run every two seconds as
any reader does, keeps the MLflow mirror alive, runs the command of ``alerts.yaml`` for what happens (each kind once per
life of the run), and writes down how a trainer ended that could not do so itself. Nothing it does or fails to do
touches the training; what it has to say stands in sidecar.log.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from drivetrain.errors import ConfigError, DrivetrainError
from drivetrain.run_record import (
    FINAL_STATUSES,
    ProcessIdentity,
    RunPaths,
    append_line,
    read_jsonl_tail,
)
from drivetrain.runs.alerts import Alert, AlertsConfig, load_alerts, run_hook
from drivetrain.runs.exit_facts import ExitWitness
from drivetrain.runs.health import STALL_S
from drivetrain.runs.mlflow_mirror import paths_of
from drivetrain.runs.run_store import TAIL_ROWS, Run, read_run

POLL_S = 2.0
EVENTS_READ = 100
"""Newest events in which an alert of the watchdog is looked for."""
MIRROR_RESTARTS = 3
"""A mirror that was killed is started again this often."""
MIRROR_PATIENCE_S = 600.0
"""How long the mirror may go on after the training has ended [s]."""


def main(argv: Sequence[str] | None = None) -> int:
    """Stand beside one life of a run until it has ended."""
    parser = argparse.ArgumentParser(
        prog="python -m drivetrain.runs.sidecar", description="Watch one run: alerts, MLflow, how it ended."
    )
    parser.add_argument("run_dir", type=Path, help="run folder, e.g. experiments/logs/ppo_v1")
    parser.add_argument("--life", type=int, required=True, help="the life of the run that is watched")
    parser.add_argument("--no-mlflow", action="store_true", help="no copy in MLflow; only useful with alerts")
    arguments = parser.parse_args(argv)
    try:
        paths = paths_of(arguments.run_dir)
        with paths.sidecar_log.open("a", buffering=1) as log:
            config = _alerts_of(paths, log)
            if config.is_active or not arguments.no_mlflow:
                Sidecar(paths, life=arguments.life, config=config, log=log, mlflow=not arguments.no_mlflow).stand()
    except (DrivetrainError, OSError) as error:
        sys.stderr.write(f"side-car: {error}\n")
        return 1
    return 0


class Sidecar:
    """The watch over one life of a run."""

    def __init__(self, paths: RunPaths, *, life: int, config: AlertsConfig, log: IO[str], mlflow: bool) -> None:
        self._paths, self._life, self._config, self._log = paths, life, config, log
        self._raised = _raised_before(paths, life)
        self._events_size = -1
        self._diverged = ""
        self._trainer: ProcessIdentity | None = None
        self._witness = ExitWitness(paths, life=life)
        self._mirror = Mirror(paths, log=log) if mlflow else None

    def stand(self) -> None:
        """Look every two seconds until the life has ended and the mirror has said its last word."""
        if self._mirror is not None:
            self._mirror.start()
        while self.look():
            if self._mirror is not None:
                self._mirror.keep_alive()
            time.sleep(POLL_S)
        if self._mirror is not None:
            self._mirror.await_end(MIRROR_PATIENCE_S)

    def look(self) -> bool:
        """Raise what is new; return whether this life of the run goes on."""
        run = self._read()
        if not self._paths.folder.is_dir():
            return False  # deleted meanwhile
        if run.state is not None:
            if run.state.life > self._life:
                self._end_unseen(run)
                return False
            self._trainer = self._trainer or run.state.identity
            if run.state.identity != self._trainer:
                return False  # overwritten meanwhile: another run of this name, with a side-car of its own
        self._look_for_divergence(run)
        if run.health.is_active:
            if run.health.status == "stalled":
                self._raise("stalled", run, run.health.detail)
            return True
        self._witness.bear(run.state, command=run.info.argv if run.info else ())
        # What the witness wrote down may say more than "killed?".
        self._end(self._read())
        return False

    def _read(self) -> Run:
        run = read_run(self._paths, num_rows=0)
        silent = run.state is not None and time.time() - run.state.updated > STALL_S
        # Rows are only needed to know how long this trainer may be silent.
        return read_run(self._paths, num_rows=TAIL_ROWS) if run.health.is_active and silent else run

    def _end(self, run: Run) -> None:
        ended_well = run.health.status in ("completed", "stopped")
        self._raise("finished" if ended_well else "failed", run, run.health.detail)

    def _end_unseen(self, run: Run) -> None:
        """Tell how this life ended when the next one began before anybody looked: the events know."""
        events = read_jsonl_tail(self._paths.events_jsonl, EVENTS_READ)
        last = next((e for e in reversed(events) if e.get("event") == "exited" and e.get("life") == self._life), {})
        status = last.get("status") if last.get("status") in FINAL_STATUSES else "lost"
        detail = str(last.get("message", "") if last else "killed?")
        health = dataclasses.replace(run.health, status=str(status), detail=detail, is_active=False)
        self._end(dataclasses.replace(run, health=health))

    def _look_for_divergence(self, run: Run) -> None:
        with contextlib.suppress(OSError):
            size = self._paths.events_jsonl.stat().st_size
            if size == self._events_size:
                return
            self._events_size = size
        for event in run.events(EVENTS_READ):
            if event.get("event") == "alert" and event.get("life") == self._life:
                self._raise("diverged", run, str(event.get("message", "") or event.get("rule", "")))
                return

    def _raise(self, kind: str, run: Run, message: str) -> None:
        """Run the command for one kind of alert, once per life, and note it."""
        if kind in self._raised or kind not in self._config.on:
            return
        self._raised.add(kind)
        alert = alert_of(run, kind=kind, life=self._life, message=message)
        result = run_hook(self._config, alert, root=self._paths.root, output=self._paths.alerts_log)
        self._say(f"alert '{kind}' ({message or 'no message'}): {result.problem or f'done in {result.seconds:.1f} s'}")
        row = {"time": time.time(), "life": self._life, "kind": kind, "message": message}
        with contextlib.suppress(DrivetrainError):  # a full disk must not raise the alert twice in this process
            append_line(self._paths.alerts_jsonl, row | dataclasses.asdict(result))

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._log.write(f"{_now()} {text}\n")


class Mirror:
    """The MLflow mirror in a process of its own: it outlives the side-car, and the side-car it."""

    def __init__(self, paths: RunPaths, *, log: IO[str]) -> None:
        self._paths, self._log = paths, log
        self._process: subprocess.Popen[bytes] | None = None
        self._restarts = 0

    def start(self) -> None:
        """Start the process."""
        try:
            with self._paths.mirror_log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "drivetrain.runs.mlflow_mirror", str(self._paths.folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self._paths.root,
                    start_new_session=True,
                )
        except OSError as error:
            self._log.write(f"{_now()} MLflow mirror not started ({error.strerror})\n")

    def keep_alive(self) -> None:
        """Start it again if it was killed; one that gave up has said why and stays away."""
        code = self._process.poll() if self._process is not None else None
        if code is not None and code < 0 and self._restarts < MIRROR_RESTARTS:
            self._restarts += 1
            self._log.write(f"{_now()} MLflow mirror was killed by signal {-code}; it is started again\n")
            self.start()

    def await_end(self, patience_s: float) -> None:
        """Wait until it has copied everything; started again if it is killed meanwhile."""
        deadline = time.monotonic() + patience_s
        while self._process is not None and time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=POLL_S)
            self.keep_alive()
            if self._process.poll() is not None:
                return


def alert_of(run: Run, *, kind: str, life: int, message: str) -> Alert:
    """Return what the command is told about a run."""
    return Alert(
        kind=kind,
        run_id=run.run_id,
        algorithm=run.algorithm,
        life=life,
        status=run.health.status,
        message=message,
        step=run.step,
        total_steps=run.total_steps,
        reward=run.metric("mean_reward"),
        log=run.paths.relative(run.paths.train_log),
        resume_command=run.resume_command() if run.paths.last.is_file() and not run.health.is_active else None,
    )


def _alerts_of(paths: RunPaths, log: IO[str]) -> AlertsConfig:
    """Return the alerts; a wrong file means none, and a line in the log (`drivetrain doctor` says it, too)."""
    try:
        return load_alerts(paths.root)
    except ConfigError as error:
        log.write("".join(f"{_now()} no alerts: {line}\n" for line in str(error).splitlines()))
        return AlertsConfig()


def _raised_before(paths: RunPaths, life: int) -> set[str]:
    """Return what an earlier side-car of this life has raised."""
    rows = read_jsonl_tail(paths.alerts_jsonl, EVENTS_READ)
    return {str(row.get("kind")) for row in rows if row.get("life") == life}


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


if __name__ == "__main__":
    with contextlib.suppress(OSError):
        os.nice(10)  # the trainer comes first
    sys.exit(main())
