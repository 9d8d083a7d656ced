"""Copies one run into MLflow, from a process of its own: `python -m drivetrain.runs.mlflow_mirror RUN_DIR [--once]`.

The trainer starts this beside itself and forgets it. A write to MLflow takes tens of milliseconds and importing it
more than a second; a failure here is a line in mirror.log and nothing else. The mirror always begins at the start of
metrics.jsonl and leaves out what MLflow has: sending a row twice would leave one row (same key, step and time), but
MLflow takes twice as long over it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from drivetrain.errors import DrivetrainError, RunError
from drivetrain.run_record import (
    RunInfo,
    RunPaths,
    probe_lock,
    read_run_info,
    read_run_state,
    write_bytes_atomic,
)

EXPERIMENT = "drivetrain"
"""The one experiment of all algorithms; created first in an empty store, it gets id 1."""
POLL_S = 2.0
SEND_S = 10.0
"""How long rows are gathered before they are sent together: MLflow then takes half the time per row [s]."""
METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
PARAM_LENGTH = 500
MAX_FAILURES = 5
"""Attempts in a row that may fail (a locked or unreachable store) before the mirror gives up."""
NOT_METRICS = frozenset({"step", "iteration", "seconds", "cpu_seconds", "life", "time", "monotonic"})
FINAL_WORD = {"completed": "FINISHED", "stopped": "KILLED"}
"""MLflow's word by our final status; whatever else ends a run is FAILED."""


def main(argv: Sequence[str] | None = None) -> int:
    """Mirror one run until its trainer is gone; return 0 if all of it arrived."""
    parser = argparse.ArgumentParser(
        prog="python -m drivetrain.runs.mlflow_mirror", description="Copy a run's metrics into MLflow as they appear."
    )
    parser.add_argument("run_dir", type=Path, help="run folder, e.g. experiments/logs/ppo_v1")
    parser.add_argument("--once", action="store_true", help="copy what is there now and leave")
    arguments = parser.parse_args(argv)
    try:
        return mirror(paths_of(arguments.run_dir), follow=not arguments.once)
    except DrivetrainError as error:
        sys.stderr.write(f"mlflow mirror: {error}\n")
        return error.exit_code


def paths_of(run_dir: Path) -> RunPaths:
    """Return the paths of the run in a folder ``<root>/experiments/logs/<run_id>``.

    Raises:
        RunError: There is no run in that folder.
    """
    folder = run_dir.resolve()
    root = folder.parents[2] if len(folder.parents) > 2 else folder
    paths = RunPaths(root=root, run_id=folder.name)
    if paths.folder != folder or not paths.run_json.is_file():
        raise RunError(f"{run_dir}: not a run folder; name one like experiments/logs/<run_id> that holds run.json")
    return paths


def mirror(paths: RunPaths, *, follow: bool) -> int:
    """Copy a run into MLflow; with `follow`, until the trainer's lock is free and nothing new came."""
    with _only_mirror(paths) as log:
        failures = 0
        while True:
            try:
                _Mirror(paths, log=log).copy(follow=follow)
                return 0
            except Exception as error:  # MLflow fails in many ways, none of which may matter to a training
                failures += 1
                log.write(f"{_now()} attempt {failures} failed: {' '.join(str(error).split())[:300]}\n")
                if failures >= MAX_FAILURES or not follow:
                    log.write(
                        f"{_now()} gave up; 'python -m drivetrain.runs.mlflow_mirror RUN_DIR --once' tries again\n"
                    )
                    return 1
                time.sleep(POLL_S * failures)


class _Mirror:
    """One attempt to copy a run: opened store, MLflow run and the place reached in metrics.jsonl."""

    def __init__(self, paths: RunPaths, *, log: IO[str]) -> None:
        info = read_run_info(paths)
        if info is None:
            raise RunError(f"{paths.relative(paths.run_json)}: damaged; nothing to mirror")
        self._paths = paths
        self._info: RunInfo = info
        self._log = log
        self._client = open_store(paths.root)
        self._arrived: set[tuple[str, int, int]] = set()
        """Key, time [ms] and step of the last metric of every row that MLflow has; rows are sent whole and in order."""
        self._mlflow_id = self._find_or_create()
        self._metrics = MetricFile(paths.metrics_jsonl)

    def copy(self, *, follow: bool) -> None:
        """Send rows as they appear, then the final status."""
        is_alive = True
        sent = -SEND_S
        while True:
            # Liveness first: rows written before the trainer died are then surely seen by the read that follows.
            is_alive = probe_lock(self._paths.run_lock).held
            if follow and is_alive and time.monotonic() - sent < SEND_S:
                time.sleep(POLL_S)
                continue
            rows, sent = self._metrics.new_rows(), time.monotonic()
            self._send(rows)
            if not follow or (not is_alive and not rows):
                break
        self._finish(is_alive=is_alive)

    def _find_or_create(self) -> str:
        """Return the id of this run in MLflow, created unless an earlier mirror did so."""
        from mlflow.exceptions import MlflowException

        marker = self._paths.mlflow_run_id
        if marker.is_file():
            known = marker.read_text().strip()
            try:
                self._client.update_run(known, status="RUNNING")
                self._arrived = self._rows_in_mlflow(known)
                return known
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                self._log.write(f"{_now()} run {known} is not in this store; it is created again\n")
        experiment = find_or_create_experiment(self._client, self._paths.root)
        if experiment != "1":
            self._log.write(f"{_now()} experiment '{EXPERIMENT}' has id {experiment}: another one was created first\n")
        created = self._client.create_run(
            experiment, start_time=round(self._info.created * 1000), run_name=self._info.run_id, tags=self._tags()
        )
        write_bytes_atomic(marker, f"{created.info.run_id}\n".encode())
        self._send_params(created.info.run_id)
        return created.info.run_id

    def _tags(self) -> dict[str, str]:
        info = self._info
        tags = {
            "algorithm": info.algorithm,
            "run_id": info.run_id,
            "checkpoints": info.checkpoint_dir,
            "data": info.data.path,
            "data_fingerprint": info.data.fingerprint,
            "config_hash": info.config_hash,
            "host": info.host,
            "git_commit": (info.git_commit or "unknown") + (" (dirty)" if info.git_dirty else ""),
        }
        return tags | ({"parent": info.parent} if info.parent else {})

    def _send_params(self, mlflow_id: str) -> None:
        from mlflow.entities import Param

        params = [
            Param(key, value[:PARAM_LENGTH])
            for key, value in config_params(self._paths.config_yaml).items()
            if value  # MLflow refuses an empty value on some stores
        ]
        for start in range(0, len(params), PARAMS_PER_BATCH):
            self._client.log_batch(mlflow_id, params=params[start : start + PARAMS_PER_BATCH])

    def _send(self, rows: Sequence[Mapping[str, Any]]) -> None:
        from mlflow.entities import Metric

        new = [metrics for row in rows if (metrics := metrics_of(row)) and _mark(metrics) not in self._arrived]
        flat = [Metric(key, value, timestamp, step) for metrics in new for key, value, timestamp, step in metrics]
        for start in range(0, len(flat), METRICS_PER_BATCH):
            self._client.log_batch(self._mlflow_id, metrics=flat[start : start + METRICS_PER_BATCH])
        self._arrived.update(_mark(metrics) for metrics in new)

    def _rows_in_mlflow(self, mlflow_id: str) -> set[tuple[str, int, int]]:
        rows = MetricFile(self._paths.metrics_jsonl).new_rows()
        keys = {metrics[-1][0] for row in rows if (metrics := metrics_of(row))}
        return {
            (key, point.timestamp, point.step)
            for key in keys
            for point in self._client.get_metric_history(mlflow_id, key)
        }

    def _finish(self, *, is_alive: bool) -> None:
        """Leave no run RUNNING whose trainer is gone."""
        if is_alive:
            return
        state = read_run_state(self._paths)
        status = FINAL_WORD.get(state.status if state else "", "FAILED")
        ended = state.updated if state else time.time()
        self._client.set_terminated(self._mlflow_id, status=status, end_time=round(ended * 1000))
        self._log.write(f"{_now()} {status}\n")


class MetricFile:
    """The complete lines of metrics.jsonl as they appear; starts over when a resume has replaced the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._inode: int | None = None

    def new_rows(self) -> list[dict[str, Any]]:
        """Return the rows that were completed since the last call."""
        try:
            with self._path.open("rb") as file:
                facts = os.fstat(file.fileno())
                if facts.st_ino != self._inode or facts.st_size < self._offset:
                    self._inode, self._offset = facts.st_ino, 0
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return []
        complete = content[: content.rfind(b"\n") + 1]
        self._offset += len(complete)
        return list(_parse(complete))


def _parse(lines: bytes) -> Iterator[dict[str, Any]]:
    for line in lines.splitlines():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict):
                yield row


def metrics_of(row: Mapping[str, Any]) -> list[tuple[str, float, int, int]]:
    """Return (key, value, time [ms], step) of every metric in a row.

    What is no finite number is left out: MLflow gives infinity back as 1.8e308.
    """
    timestamp = round(float(row.get("time", 0.0)) * 1000)
    step = int(row.get("step", 0))
    return [
        (key, float(value), timestamp, step)
        for key, value in row.items()
        if key not in NOT_METRICS
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(float(value)) < float("inf")
    ]


def _mark(metrics: Sequence[tuple[str, float, int, int]]) -> tuple[str, int, int]:
    """Return key, time and step of a row's last metric, by which MLflow is known to have all of it."""
    key, _, timestamp, step = metrics[-1]
    return key, timestamp, step


def config_params(path: Path) -> dict[str, str]:
    """Return the resolved config as flat parameters, `algorithm.learning_rate` and the like; empty if unreadable."""
    import yaml

    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError):
        return {}
    return dict(_flatten(config, ""))


def _flatten(value: Any, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _flatten(entry, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, str(value)


def tracking_uri(root: Path) -> str:
    """Return MLFLOW_TRACKING_URI if set, else the SQLite store at the project root.

    Absolute, because MLflow resolves a relative one against the working folder and would start a second store there.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(root / 'mlflow.db').resolve()}"


def open_store(root: Path) -> Any:
    """Return an MLflow client whose store exists.

    First use runs a schema migration which fails when two processes do it at once; a lock beside the store lets one at
    a time in.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # creating tables is no news
    uri = tracking_uri(root)
    database = _database_file(uri)
    if database is None:
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=uri)
    with _file_lock(database.with_name(database.name + ".lock")):
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)  # opens the store: creates tables where there are none
        _use_write_ahead_log(database)
        return client


def find_or_create_experiment(client: Any, root: Path) -> str:
    """Return the id of our experiment."""
    database = _database_file(tracking_uri(root))
    with _file_lock(database.with_name(database.name + ".lock")) if database else contextlib.nullcontext():
        found = client.get_experiment_by_name(EXPERIMENT)
        return found.experiment_id if found else client.create_experiment(EXPERIMENT)


def _use_write_ahead_log(database: Path) -> None:
    """Switch the store to a write-ahead log, which persists: readers and several writers then rarely wait."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(database, timeout=10.0)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _database_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


@contextlib.contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    import fcntl

    with path.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _only_mirror(paths: RunPaths) -> Iterator[IO[str]]:
    """Yield mirror.log, locked: after a resume the new mirror waits until the old one has said its last word."""
    import fcntl

    with paths.mirror_log.open("a", buffering=1) as log:
        fcntl.lockf(log, fcntl.LOCK_EX)
        yield log


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


if __name__ == "__main__":
    with contextlib.suppress(OSError):
        os.nice(10)  # the trainer comes first
    sys.exit(main())
