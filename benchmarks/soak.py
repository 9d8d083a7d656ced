"""Kills runs at random and looks whether the truth comes out: ``python benchmarks/soak.py [--kills 200] [--runs 20]``.

After every blow the state that ``drivetrain status`` reads must be right within 5 s, no process of a dead run may be
left, no row of metrics.jsonl lost or doubled, and the run must resume. Most runs are trained by `soak_trainer.py`, so
that the time goes into kills and not into loading torch; ``--real N`` adds real CartPole trainings with two learner
processes. Some runs are mirrored to MLflow, which must agree in the end. Exit code 1: something did not hold.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drivetrain.errors import DrivetrainError
from drivetrain.run_record import ProcessIdentity, RunPaths, read_json, read_run_state, write_json_atomic
from drivetrain.runs.control import resume_run, stop_run
from drivetrain.runs.launcher import LaunchRequest, start_command, start_run
from drivetrain.runs.processes_of_run import family_of, marked_processes, supervisor_of, trainer_of
from drivetrain.runs.run_store import Run, RunStore

LIMIT_S = 5.0
"""A killed run is told within this time [s]."""
ORPHAN_S = 20.0
"""After this no process of a dead run may be left, the side-car that tells MLflow included [s]."""
SIDECARS = frozenset((b"drivetrain.runs.sidecar", b"drivetrain.runs.mlflow_mirror"))
BLOWS = (
    "kill_trainer",
    "kill_worker",
    "kill_supervisor",
    "kill_supervisor_and_trainer",
    "kill_sidecar",
    "suspend",
    "stop_suspended",
    "kill_suspended",
    "reboot",
    "reuse_pid",
)
SOURCE = Path(__file__).resolve().parents[1] / "python" / "src"
CARTPOLE = """\
environment: {name: gymnasium, id: CartPole-v1, num_worlds: 4}
algorithm: {name: ppo, rollout_steps: 16, minibatch_size: 32, epochs: 2}
policy: {hidden: [8]}
evaluation: {episodes: 3, max_share: 0}
training: {total_steps: 10_000_000, threads: 1, device: cpu, processes: 2, save_interval_s: 1}
"""


class Subject:
    """One run that is beaten."""

    def __init__(self, root: Path, run_id: str, *, is_real: bool, is_mirrored: bool) -> None:
        self.paths = RunPaths(root=root, run_id=run_id)
        self.run_id, self.is_real, self.is_mirrored = run_id, is_real, is_mirrored

    def begin(self) -> None:
        """Start the run for the first time."""
        if not self.is_real:
            self._stand_in()
            return
        config = self.paths.root / "cartpole.yaml"
        config.write_text(CARTPOLE)
        start_run(
            LaunchRequest(config=config, run_id=self.run_id, mlflow=self.is_mirrored),
            root=self.paths.root,
            settle_s=60.0,
        )

    def resume(self, *, total_steps: int | None = None) -> None:
        """Continue it where its checkpoint stands."""
        if self.is_real:
            resume_run(self.run_id, root=self.paths.root, total_steps=total_steps)
        else:
            self._stand_in("--resume", *(["--total-steps", str(total_steps)] if total_steps else []))

    def _stand_in(self, *flags: str) -> None:
        trainer = str(Path(__file__).with_name("soak_trainer.py"))
        mirror = ["--mirror"] if self.is_mirrored else []
        start_command([sys.executable, trainer, "--run-id", self.run_id, *mirror, *flags], self.paths)

    def look(self) -> Run:
        """Return what a reader sees now."""
        return RunStore(self.paths.root).get(self.run_id)

    def trainer(self) -> ProcessIdentity:
        """Return its trainer, which must live."""
        found = trainer_of(self.paths)
        assert found is not None, f"{self.run_id} has no trainer"
        return found

    def wait_for(self, is_right: Callable[[Run], bool], *, seconds: float) -> float | None:
        """Return after what time a reader sees what is right; None if not in time."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            if is_right(self.look()):
                return time.monotonic() - begun
            time.sleep(0.02)
        return None

    def wait_for_rows(self, *, seconds: float = 60.0) -> None:
        """Wait until this life has written a row."""
        done = self.wait_for(
            lambda run: bool(run.state and run.rows and run.rows[-1].get("life") == run.state.life), seconds=seconds
        )
        assert done is not None, f"{self.run_id} writes no rows: {self.look().health}"

    def sidecars(self) -> list[ProcessIdentity]:
        """Return the processes beside it: the side-car and the MLflow mirror, which outlive it for a moment."""
        folder = str(self.paths.folder).encode()
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        found = [ProcessIdentity.of(pid) for pid in pids]
        words = [(process, _command_line(process).split(b"\0")) for process in found]
        return [process for process, line in words if folder in line and SIDECARS & set(line)]


def _command_line(process: ProcessIdentity) -> bytes:
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:
        return b""


class Soak:
    """The subjects, the blows and what came of them."""

    def __init__(self, root: Path, *, runs: int, real: int, mirrored: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.subjects = [
            Subject(root, f"soak_{os.getpid()}_{k}", is_real=k < real, is_mirrored=k >= runs - mirrored)
            for k in range(runs)
        ]
        self.blows: Counter[str] = Counter()
        self.failures: list[str] = []
        self.seconds: list[float] = []
        self.lives = 0

    def run(self, kills: int) -> dict[str, Any]:
        """Strike, look and resume so many times; then end every run in order and look at what is left."""
        for subject in self.subjects:
            subject.begin()
            subject.wait_for_rows()
        for k in range(kills):
            subject = self.subjects[k % len(self.subjects)]
            blow = BLOWS[(k // len(self.subjects) + k) % len(BLOWS)]
            time.sleep(self.random.uniform(0.0, 0.4))
            self._strike(blow, subject)
        for k, subject in enumerate(self.subjects):
            self._guarded("end", subject, self._complete if k % 2 else self._stop)
        return self._result()

    def _strike(self, blow: str, subject: Subject) -> None:
        self._guarded(blow, subject, getattr(self, f"_{blow}"))
        # One that has said its last word is leaving.
        subject.wait_for(lambda run: not run.health.is_active or run.health.status == "running", seconds=LIMIT_S)
        if not subject.look().health.is_active:
            self._guarded("orphan", subject, self._no_orphan)
            self._guarded("rows", subject, self._rows_are_whole)
            self._guarded("resume", subject, self._resume)

    def _guarded(self, name: str, subject: Subject, act: Callable[[Subject], None]) -> None:
        self.blows[name] += 1
        try:
            act(subject)
        except (AssertionError, DrivetrainError, OSError) as error:
            self.failures.append(f"{name} {subject.run_id}: {error}")
            sys.stderr.write(f"FAILED {self.failures[-1]}\n")

    def _expect(self, subject: Subject, status: str, detail: str = "") -> None:
        took = subject.wait_for(
            lambda run: run.health.status == status and detail in run.health.detail, seconds=LIMIT_S
        )
        assert took is not None, f"expected {status} ({detail}), saw {subject.look().health}"
        self.seconds.append(took)

    def _kill_trainer(self, subject: Subject) -> None:
        trainer = subject.trainer()
        has_supervisor = supervisor_of(trainer) is not None
        trainer.send(signal.SIGKILL)
        self._expect(subject, "lost", "signal 9" if has_supervisor else "killed")

    def _kill_worker(self, subject: Subject) -> None:
        workers = family_of(subject.trainer())
        assert workers, "no worker to kill"
        workers[0].send(signal.SIGKILL)
        self._expect(subject, "failed", "learner process 1")

    def _kill_supervisor(self, subject: Subject) -> None:
        supervisor = supervisor_of(subject.trainer())
        if supervisor is not None:
            supervisor.send(signal.SIGKILL)
        subject.wait_for_rows()
        self._expect(subject, "running")

    def _kill_supervisor_and_trainer(self, subject: Subject) -> None:
        trainer = subject.trainer()
        supervisor = supervisor_of(trainer)
        if supervisor is not None:
            supervisor.send(signal.SIGKILL)
        trainer.send(signal.SIGKILL)
        self._expect(subject, "lost")

    def _kill_sidecar(self, subject: Subject) -> None:
        for sidecar in subject.sidecars():
            sidecar.send(signal.SIGKILL)
        self._expect(subject, "running")

    def _suspend(self, subject: Subject) -> None:
        trainer = subject.trainer()
        trainer.send(signal.SIGSTOP)
        self._expect(subject, "stalled", "suspended")
        trainer.send(signal.SIGCONT)
        self._expect(subject, "running")

    def _stop_suspended(self, subject: Subject) -> None:
        subject.trainer().send(signal.SIGSTOP)
        outcome = stop_run(subject.run_id, root=subject.paths.root)
        assert (outcome.status, outcome.how) == ("stopped", "saved"), f"stopped as {outcome}"
        self._expect(subject, "stopped")

    def _kill_suspended(self, subject: Subject) -> None:
        trainer = subject.trainer()
        trainer.send(signal.SIGSTOP)
        trainer.send(signal.SIGKILL)
        self._expect(subject, "lost")

    def _reboot(self, subject: Subject) -> None:
        self._kill_supervisor_and_trainer(subject)
        self._rewrite(subject, boot_id="00000000-0000-0000-0000-000000000000")
        self._expect(subject, "lost", "host rebooted")

    def _reuse_pid(self, subject: Subject) -> None:
        self._kill_supervisor_and_trainer(subject)
        self._rewrite(subject, pid=os.getpid())  # lives, but began at another time
        self._expect(subject, "lost")

    def _rewrite(self, subject: Subject, **changes: Any) -> None:
        state = read_json(subject.paths.state_json)
        assert state is not None
        write_json_atomic(subject.paths.state_json, {**state, **changes})

    def _no_orphan(self, subject: Subject) -> None:
        deadline = time.monotonic() + ORPHAN_S
        left = self._processes(subject)
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            left = self._processes(subject)
        if not left:
            return
        raise AssertionError(f"left: {[_command_line(p).replace(bytes(1), b' ')[:80] for p in left]}")

    def _processes(self, subject: Subject) -> list[ProcessIdentity]:
        return marked_processes().get(subject.run_id, []) + subject.sidecars()

    def _rows_are_whole(self, subject: Subject) -> None:
        lines = subject.paths.metrics_jsonl.read_bytes().split(b"\n")
        rows = [json.loads(line) for line in lines[:-1]]
        # The real trainer evaluates before its first iteration, and writes that as row 0.
        first = 0 if subject.is_real else 1
        assert [row["iteration"] for row in rows] == list(range(first, first + len(rows))), "rows are lost or doubled"
        assert all(row["step"] < later["step"] for row, later in itertools.pairwise(rows)), "steps go back"
        if not subject.is_real and subject.paths.last.is_file():
            from soak_trainer import value_at

            assert all(row["mean_reward"] == value_at(row["step"]) for row in rows), "a row is not its own"
            saved = read_json(subject.paths.last)
            assert saved is not None, "the checkpoint is torn"
            assert saved["step"] <= (rows[-1]["step"] if rows else 0), "rows before the checkpoint are lost"

    def _resume(self, subject: Subject) -> None:
        before = read_run_state(subject.paths)
        life = before.life if before is not None else 0
        subject.resume()
        # On a busy machine a resume returns before the new life has begun.
        subject.wait_for(lambda run: run.state is not None and run.state.life > life, seconds=120.0)
        subject.wait_for_rows()
        after = read_run_state(subject.paths)
        assert before is not None, "state.json is gone"
        assert after is not None, "state.json is damaged"
        assert after.life == before.life + 1, "it is no new life"
        self._expect(subject, "running")
        self.lives += 1

    def _stop(self, subject: Subject) -> None:
        stop_run(subject.run_id, root=subject.paths.root)
        self._expect(subject, "stopped")
        self._is_in_order(subject, "KILLED")

    def _complete(self, subject: Subject) -> None:
        stop_run(subject.run_id, root=subject.paths.root)
        self._no_orphan(subject)
        subject.resume(total_steps=subject.look().step + 300)
        assert subject.wait_for(lambda run: run.health.status == "completed", seconds=60.0) is not None
        self._is_in_order(subject, "FINISHED")

    def _is_in_order(self, subject: Subject, word: str) -> None:
        self._no_orphan(subject)
        self._rows_are_whole(subject)
        if subject.is_mirrored:
            mirrored_rightly(subject, word)

    def _result(self) -> dict[str, Any]:
        return {
            "runs": len(self.subjects),
            "real": sum(subject.is_real for subject in self.subjects),
            "mirrored": sum(subject.is_mirrored for subject in self.subjects),
            "acts": dict(self.blows),
            "resumed_lives": self.lives,
            "slowest_right_state_s": round(max(self.seconds, default=0.0), 2),
            "median_right_state_s": round(sorted(self.seconds)[len(self.seconds) // 2], 3) if self.seconds else 0.0,
            "failures": self.failures,
        }


def mirrored_rightly(subject: Subject, word: str) -> None:
    """Check that MLflow has the status of a run and every row of it.

    Raises:
        AssertionError: It has not.
    """
    from drivetrain.runs.mlflow_mirror import open_store

    client = open_store(subject.paths.root)
    mlflow_id = subject.paths.mlflow_run_id.read_text().strip()
    status = client.get_run(mlflow_id).info.status
    assert status == word, f"MLflow says {status} instead of {word}"
    rows = [json.loads(line) for line in subject.paths.metrics_jsonl.read_text().splitlines()]
    known = {(m.step, m.timestamp): m.value for m in client.get_metric_history(mlflow_id, "mean_reward")}
    for row in rows:
        if row.get("mean_reward") is not None:
            found = known.get((row["step"], round(row["time"] * 1000)))
            assert found == row["mean_reward"], f"MLflow lacks step {row['step']}"


def full_disk(seed: int) -> str:
    """Run one run into a full disk and out of it again; return what came of it.

    Raises:
        AssertionError: Something was lost.
    """
    folder = Path(tempfile.mkdtemp(prefix="drivetrain-soak-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        folder.rmdir()
        return f"skipped: no small disk can be mounted here ({mounted.stderr.strip()})"
    try:
        soak = Soak(folder, runs=1, real=0, mirrored=0, seed=seed)
        subject = soak.subjects[0]
        os.environ["DRIVETRAIN_ROOT"] = str(folder)
        subject.begin()
        subject.wait_for_rows()
        stuffing = folder / "stuffing"
        for block in (1 << 16, 1 << 10, 1):
            _fill(stuffing, block)
        took = subject.wait_for(lambda run: not run.health.is_active, seconds=30.0)
        assert took is not None, "it goes on with a full disk"
        health = subject.look().health
        stuffing.unlink()
        for act in (soak._no_orphan, soak._rows_are_whole, soak._resume, soak._stop):
            act(subject)
        return f"{health.status} ({health.detail}) after {took:.1f} s; resumed, nothing lost"
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _fill(path: Path, block: int) -> None:
    try:
        with path.open("ab", buffering=0) as file:
            while file.write(bytes(block)) == block:
                pass
    except OSError:
        return


def main() -> int:
    """Run the soak and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--real", type=int, default=2, help="runs with the real trainer (CartPole)")
    parser.add_argument("--mirrored", type=int, default=2, help="runs mirrored to MLflow")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--root", type=Path, help="where the runs lie (default: a folder that is deleted afterwards)")
    arguments = parser.parse_args()
    root = (arguments.root or Path(tempfile.mkdtemp(prefix="drivetrain-soak-"))).resolve()
    root.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    os.environ["DRIVETRAIN_ROOT"] = str(root)
    begun, cpu = time.monotonic(), sum(os.times()[:4])
    soak = Soak(root, runs=arguments.runs, real=arguments.real, mirrored=arguments.mirrored, seed=arguments.seed)
    result: dict[str, Any] = {}
    try:
        result |= soak.run(arguments.kills)
        result["full_disk"] = full_disk(arguments.seed)
    except AssertionError as error:
        soak.failures.append(str(error))
        result["failures"] = soak.failures
    finally:
        for subject in soak.subjects:
            for process in marked_processes().get(subject.run_id, []):
                process.send(signal.SIGKILL)
    result["minutes"] = round((time.monotonic() - begun) / 60, 1)
    result["own_cpu_s"] = round(sum(os.times()[:4]) - cpu, 1)
    print(json.dumps(result, indent=1))
    if arguments.root is None and not result["failures"]:
        shutil.rmtree(root, ignore_errors=True)
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
