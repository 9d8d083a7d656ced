"""The side-car against the real MLflow: the query that users type, several at once, a killed trainer, a resume."""

import json
import os
import sqlite3
import subprocess
import sys
import time

import pytest
from tests.runs.run_folders import living_trainer, rows_of, write_ended_run

from drivetrain.errors import RunError
from drivetrain.run_record import RunPaths, write_bytes_atomic
from drivetrain.runs.mlflow_mirror import (
    MetricFile,
    _Mirror,
    config_params,
    metrics_of,
    paths_of,
    tracking_uri,
)

QUERY = """
import mlflow
client = mlflow.tracking.MlflowClient()
runs = client.search_runs(experiment_ids=['1'])
for run in runs[:5]:
    print(f'{run.info.run_name}: reward={run.data.metrics.get(\"mean_reward\", \"N/A\")}')
"""
DETAILS = """
import json, mlflow
client = mlflow.tracking.MlflowClient()
print(json.dumps({
    run.info.run_name: {
        "status": run.info.status, "metrics": run.data.metrics, "tags": run.data.tags, "params": run.data.params,
        "rewards": [[m.step, m.value] for m in client.get_metric_history(run.info.run_id, "mean_reward")],
    }
    for run in client.search_runs(experiment_ids=['1'])
}))
"""
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}


def start_mirror(folder, *options):
    command = [sys.executable, "-m", "drivetrain.runs.mlflow_mirror", str(folder), *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def ended(process):
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def ask(root, code):
    """What a user sees who types this in the project's folder, with nothing configured."""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two ended runs and one whose trainer is killed -9, mirrored by three processes at once from an empty folder."""
    root = tmp_path_factory.mktemp("project")
    endings = {"done": ("completed", 1.5), "stopped": ("stopped", 2.5)}
    for run_id, (status, reward) in endings.items():
        rows = rows_of(3, mean_reward=lambda index, reward=reward: reward + index, loss=0.5, **{"eval/score": None})
        record = write_ended_run(root, run_id, rows=rows, status=status)
        write_bytes_atomic(record.paths.config_yaml, b"algorithm:\n  name: ppo\n  learning_rate: 0.001\ndata: auto\n")
    with living_trainer(root, "killed", count=1200) as trainer:
        mirrors = [start_mirror(RunPaths(root=root, run_id=run_id).folder) for run_id in (*endings, "killed")]
        results = [ended(mirror) for mirror in mirrors[:-1]]
        # A later mirror finds three of four rows in MLflow, and sends the fourth alone.
        done = RunPaths(root=root, run_id="done")
        last = json.dumps(rows_of(4, mean_reward=lambda index: 1.5 + index, loss=0.5)[-1])
        write_bytes_atomic(done.metrics_jsonl, done.metrics_jsonl.read_bytes() + f"{last}\n".encode())
        results.append(ended(start_mirror(done.folder, "--once")))
        paths = RunPaths(root=root, run_id="killed")
        while not paths.mlflow_run_id.exists():
            time.sleep(0.1)
        # A resume replaces the file; the mirror then sends every row again, which must not double any.
        last = json.dumps(rows_of(1201, mean_reward=77.0)[-1])
        write_bytes_atomic(paths.metrics_jsonl, paths.metrics_jsonl.read_bytes() + f"{last}\n".encode())
        trainer.kill()
        results.append(ended(mirrors[-1]))
    assert results == [(0, "")] * 4
    return root


@pytest.fixture(scope="module")
def answers(project):
    return ask(project, QUERY + DETAILS).splitlines()


@pytest.fixture(scope="module")
def runs(answers):
    return json.loads(answers[-1])


def test_the_query_of_the_specification_shows_the_runs(project, answers):
    assert sorted(answers[:-1]) == ["done: reward=4.5", "killed: reward=77.0", "stopped: reward=4.5"]
    assert not (project / "mlruns").exists()


def test_status_tags_parameters_and_every_row_arrive(runs):
    statuses = {name: run["status"] for name, run in runs.items()}
    assert statuses == {"done": "FINISHED", "stopped": "KILLED", "killed": "FAILED"}
    done = runs["done"]
    assert done["metrics"] == {"mean_reward": 4.5, "loss": 0.5}
    assert done["rewards"] == [[10_000, 1.5], [20_000, 2.5], [30_000, 3.5], [40_000, 4.5]]
    assert done["params"] == {"algorithm.name": "ppo", "algorithm.learning_rate": "0.001", "data": "auto"}
    assert (done["tags"]["algorithm"], done["tags"]["checkpoints"]) == ("ppo", "experiments/checkpoints/done")
    assert len(runs["killed"]["rewards"]) == 1201


def test_the_store_has_a_write_ahead_log_and_our_experiment_is_the_first(project):
    connection = sqlite3.connect(project / "mlflow.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    found = connection.execute("SELECT name FROM experiments WHERE experiment_id = 1").fetchone()
    connection.close()
    assert found == ("drivetrain",)


def test_only_rows_whose_last_metric_has_not_arrived_are_sent(tmp_path):
    rows = rows_of(3, mean_reward=float, loss=0.5)
    record = write_ended_run(tmp_path, "r", rows=rows)
    from mlflow.entities import Metric

    sent = []

    class Client:
        def get_metric_history(self, mlflow_id, key):
            assert (mlflow_id, key) == ("7", "loss")
            return [Metric("loss", 0.5, round(rows[0]["time"] * 1000), rows[0]["step"])]

        def log_batch(self, mlflow_id, *, metrics):
            sent.extend((m.key, m.step) for m in metrics)

    mirror = _Mirror.__new__(_Mirror)
    mirror._paths, mirror._client, mirror._mlflow_id = record.paths, Client(), "7"
    mirror._arrived = mirror._rows_in_mlflow("7")
    for _ in range(2):  # a resume replaces the file, and all its rows are read again
        mirror._send(MetricFile(record.paths.metrics_jsonl).new_rows())
    assert sent == [(key, step) for step in (20_000, 30_000) for key in ("mean_reward", "loss")]


def test_a_broken_store_is_a_line_in_the_log_and_nothing_else(tmp_path):
    record = write_ended_run(tmp_path, "done", status="completed", rows=rows_of(2, mean_reward=1.0))
    (tmp_path / "mlflow.db").write_text("no database at all, " * 100)
    code, errors = ended(start_mirror(record.paths.folder, "--once"))
    assert (code, errors) == (1, "")
    lines = record.paths.mirror_log.read_text().splitlines()
    assert "attempt 1 failed" in lines[0]
    assert "not a database" in lines[0]
    assert "gave up" in lines[-1]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(
        RunError, match=r"not a run folder; name one like experiments/logs/<run_id> that holds run.json"
    ):
        paths_of(tmp_path)


def test_metrics_leave_out_what_mlflow_distorts():
    row = {"step": 7, "iteration": 1, "life": 1, "time": 2.0, "monotonic": 5.0, "a": 1, "b": None, "c": float("inf")}
    row |= {"d": float("nan"), "e": True, "f": "text", "nonfinite": ["b"], "eval/score": 0.5}
    assert metrics_of(row) == [("a", 1.0, 2000, 7), ("eval/score", 0.5, 2000, 7)]


def test_a_metric_file_gives_whole_lines_once_and_starts_over_when_replaced(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = MetricFile(path)
    assert file.new_rows() == []
    path.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert file.new_rows() == [{"step": 1}, {"step": 2}]
    assert file.new_rows() == []
    with path.open("a") as torn:
        torn.write('p": 3}\nno json\n{"step": 4}\n')
    assert file.new_rows() == [{"step": 3}, {"step": 4}]
    # A resume replaces the file by a shorter one.
    write_bytes_atomic(path, b'{"step": 1}\n{"step": 2}\n{"step": 3}\n')
    assert file.new_rows() == [{"step": 1}, {"step": 2}, {"step": 3}]


def test_config_parameters_are_flat(tmp_path):
    path = tmp_path / "config.yaml"
    assert config_params(path) == {}
    path.write_text("a:\n  b: {c: 1}\n  d: [1, 2]\ne: null\n")
    assert config_params(path) == {"a.b.c": "1", "a.d": "[1, 2]", "e": "None"}


def test_the_store_lies_at_the_root_whatever_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path.resolve()}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking")
    assert tracking_uri(tmp_path) == "http://tracking"
