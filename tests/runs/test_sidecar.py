"""The side-car beside trainers that end in every way: each alert once per life, and the facts of a sudden end."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.runs.run_folders import ARGV, living_trainer, rewrite_state, rows_of, write_ended_run, write_run

from drivetrain.run_record import RunPaths, RunRecord, alerts_file, claim_run, read_json, read_jsonl_tail
from drivetrain.runs import sidecar
from drivetrain.runs.alerts import KINDS, AlertsConfig, HookResult
from drivetrain.runs.sidecar import Sidecar

ALL = AlertsConfig(on=KINDS, command=("true",))


@pytest.fixture
def told(monkeypatch):
    """What the command would have been told, instead of running it; no waiting for supervisors that are not there."""
    alerts = []

    def run_hook(config, alert, *, root, output):
        alerts.append(alert)
        return HookResult(exit_code=0, seconds=0.0, problem="")

    monkeypatch.setattr(sidecar, "run_hook", run_hook)
    monkeypatch.setattr("drivetrain.runs.exit_facts.SUPERVISOR_PATIENCE_S", 0.0)
    return alerts


def beside(paths, *, life=1, config=ALL):
    return Sidecar(paths, life=life, config=config, log=io.StringIO(), mlflow=False)


def test_a_run_that_trains_raises_nothing(tmp_path, told):
    record, lock = write_run(tmp_path, "ppo_v1", rows=rows_of(20, mean_reward=1.0))
    assert beside(record.paths).look()
    lock.release()
    assert told == []
    assert not record.paths.alerts_jsonl.exists()


@pytest.mark.parametrize(("status", "kind"), [("completed", "finished"), ("stopped", "finished"), ("failed", "failed")])
def test_the_end_of_a_run_is_told_with_its_facts(tmp_path, told, status, kind):
    rows = rows_of(5, mean_reward=2.5)
    record = write_ended_run(tmp_path, "ppo_v1", rows=rows, status=status, message="because")
    record.paths.last.write_bytes(b"weights")
    assert not beside(record.paths).look()
    (alert,) = told
    assert (alert.kind, alert.status, alert.message, alert.step) == (kind, status, "because", 50_000)
    assert (alert.reward, alert.total_steps, alert.log) == (2.5, 1_000_000, "experiments/logs/ppo_v1/train.log")
    assert alert.resume_command.endswith("--run-id ppo_v1 --resume")
    assert not record.paths.exit_json.exists()  # the trainer has said itself how it ended
    (row,) = read_jsonl_tail(record.paths.alerts_jsonl, 10)
    assert (row["kind"], row["life"], row["exit_code"], row["problem"]) == (kind, 1, 0, "")


def test_each_kind_is_told_once_per_life_even_by_a_second_side_car(tmp_path, told):
    record, lock = write_run(tmp_path, "ppo_v1", rows=rows_of(20))
    rewrite_state(record, updated=time.time() - 300.0)
    watch = beside(record.paths)
    assert watch.look()
    assert watch.look()
    assert beside(record.paths).look()
    assert [alert.kind for alert in told] == ["stalled"]
    assert told[0].message == "no sign of life for 300 s while collecting"
    lock.release()


def test_only_what_is_asked_for_is_told(tmp_path, told):
    record = write_ended_run(tmp_path, "ppo_v1", status="failed", message="nan")
    assert not beside(record.paths, config=AlertsConfig(on=("finished",), command=("true",))).look()
    assert told == []


def test_an_alert_of_the_watchdog_is_a_divergence_of_its_own_life(tmp_path, told):
    record, lock = write_run(tmp_path, "ppo_v1", rows=rows_of(5))
    watch = beside(record.paths)
    record.event("alert", rule="kl_spike", message="KL 0.4 for 5 iterations", action="warn")
    assert watch.look()
    lock.release()
    assert [(alert.kind, alert.message) for alert in told] == [("diverged", "KL 0.4 for 5 iterations")]
    # The next life does not hear of it again.
    lock = claim_run(record.paths, resume=True, overwrite=False)
    RunRecord.resume(record.paths, step=10_000, total_steps=1_000_000)
    assert beside(record.paths, life=2).look()
    lock.release()
    assert len(told) == 1


def test_a_life_that_ended_unseen_is_told_as_the_events_have_it(tmp_path, told):
    record = write_ended_run(tmp_path, "ppo_v1", status="failed", message="no space left", rows=rows_of(5))
    lock = claim_run(record.paths, resume=True, overwrite=False)
    RunRecord.resume(record.paths, step=10_000, total_steps=1_000_000)
    assert not beside(record.paths, life=1).look()
    lock.release()
    assert [(alert.kind, alert.status, alert.message, alert.life) for alert in told] == [
        ("failed", "failed", "no space left", 1)
    ]


def test_a_run_of_the_same_name_that_replaced_this_one_is_none_of_its_business(tmp_path, told):
    record, lock = write_run(tmp_path, "ppo_v1", rows=rows_of(5))
    watch = beside(record.paths)
    assert watch.look()
    rewrite_state(record, pid=record.state.pid + 1)
    assert not watch.look()
    lock.release()
    assert told == []


def test_a_deleted_run_raises_nothing(tmp_path, told):
    import shutil

    record = write_ended_run(tmp_path, "ppo_v1", rows=rows_of(5))
    shutil.rmtree(record.paths.folder)
    assert not beside(record.paths).look()
    assert told == []


def test_a_killed_trainer_leaves_facts_unless_its_supervisor_wrote_them(tmp_path, told):
    record = write_ended_run(tmp_path, "ppo_v1", rows=rows_of(5))
    rewrite_state(record, start_ticks=1)  # of a process that has gone
    watch = beside(record.paths)
    assert not watch.look()
    facts = read_json(record.paths.exit_json)
    assert (facts["pid"], facts["start_ticks"]) == (record.state.pid, 1)
    assert (facts["code"], facts["signal"], facts["seen_by"]) == (None, None, "side-car")
    assert (facts["began"], facts["command"][:2]) == (record.state.started, list(ARGV[:2]))
    assert facts["oom_kills_after"] == facts["oom_kills_before"]
    assert told[0].kind == "failed"

    supervised = write_ended_run(tmp_path, "ppo_v2", rows=rows_of(5))
    rewrite_state(supervised, start_ticks=1)
    known = {"pid": supervised.state.pid, "start_ticks": 1, "signal": 9}
    supervised.paths.exit_json.write_text(json.dumps(known))
    assert not beside(supervised.paths).look()
    assert read_json(supervised.paths.exit_json) == known


def run_sidecar(paths, *options, life=1):
    command = [sys.executable, "-m", "drivetrain.runs.sidecar", str(paths.folder), "--life", str(life), *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def write_alerts(root, text):
    alerts_file(root).parent.mkdir(parents=True, exist_ok=True)
    alerts_file(root).write_text(text)


def test_a_killed_trainer_is_told_by_the_real_process(tmp_path):
    write_alerts(tmp_path, f"on: [failed]\ncommand: [{sys.executable}, -c, 'import sys; print(sys.stdin.read())']\n")
    with living_trainer(tmp_path, "ppo_v1") as trainer:
        paths = RunPaths(root=tmp_path, run_id="ppo_v1")
        process = run_sidecar(paths, "--no-mlflow")
        deadline = time.monotonic() + 30.0
        while not paths.sidecar_log.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert process.poll() is None
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    told = json.loads(paths.alerts_log.read_text())
    assert (told["kind"], told["run_id"], told["status"], told["life"]) == ("failed", "ppo_v1", "lost", 1)
    assert read_json(paths.exit_json)["pid"] == trainer.pid


def test_without_mlflow_and_alerts_there_is_nothing_to_stand_for(tmp_path):
    with living_trainer(tmp_path, "ppo_v1"):
        paths = RunPaths(root=tmp_path, run_id="ppo_v1")
        process = run_sidecar(paths, "--no-mlflow")
        assert process.wait(timeout=60) == 0
        process.stderr.close()


def test_a_wrong_alerts_file_means_none_and_a_line_in_the_log(tmp_path):
    write_alerts(tmp_path, "on: [faild]\ncommand: ['true']\n")
    record = write_ended_run(tmp_path, "ppo_v1", status="completed")
    assert sidecar.main([str(record.paths.folder), "--life", "1", "--no-mlflow"]) == 0
    (line,) = record.paths.sidecar_log.read_text().splitlines()
    assert "no alerts: " in line
    assert "unknown alert 'faild'; did you mean 'failed'?" in line


class FakeMirror:
    """A process that ends as told, instead of one that loads MLflow."""

    def __init__(self, codes):
        self.codes, self.started = list(codes), 0

    def __call__(self, *words, **options):
        self.started += 1
        code = self.codes.pop(0)
        return dataclasses.make_dataclass(
            "P", ["code"], namespace={"poll": lambda p: p.code, "wait": lambda p, timeout: p.code}
        )(code)


@pytest.mark.parametrize(
    ("codes", "starts"),
    [((-9, -9, None), 3), ((-9,) * 10, 4), ((1,), 1), ((0,), 1)],
    ids=["killed twice", "killed for ever", "gave up", "done"],
)
def test_a_mirror_that_is_killed_comes_back_and_one_that_gave_up_does_not(tmp_path, monkeypatch, codes, starts):
    record = write_ended_run(tmp_path, "ppo_v1", status="completed")
    fake = FakeMirror(codes)
    monkeypatch.setattr(sidecar.subprocess, "Popen", fake)
    mirror = sidecar.Mirror(record.paths, log=io.StringIO())
    mirror.start()
    for _ in range(6):
        mirror.keep_alive()
    assert fake.started == starts


@pytest.mark.parametrize(
    ("mlflow", "alerts", "started"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_the_trainer_starts_it_only_where_there_is_something_to_do(tmp_path, monkeypatch, mlflow, alerts, started):
    from drivetrain.trainer import command

    record = write_ended_run(tmp_path, "ppo_v1", status="completed")
    if alerts:
        write_alerts(tmp_path, "on: [failed]\ncommand: ['true']\n")
    calls = []
    monkeypatch.setenv("DRIVETRAIN_RUN_ID", "ppo_v1")
    monkeypatch.setattr(command.subprocess, "Popen", lambda words, **options: calls.append((words, options)))
    command.start_sidecar(record.paths, life=3, mlflow=mlflow)
    assert bool(calls) == started
    if started:
        words, options = calls[0]
        expected = ["-m", "drivetrain.runs.sidecar", str(record.paths.folder), "--life", "3"]
        assert words[1:] == [*expected, *([] if mlflow else ["--no-mlflow"])]
        # It outlives the run's own processes, so it does not carry their mark.
        assert "DRIVETRAIN_RUN_ID" not in options["env"]
        assert os.environ["DRIVETRAIN_RUN_ID"] == "ppo_v1"
