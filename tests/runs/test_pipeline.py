"""Phases that follow one another: each a run of its own, resumable wherever it ended."""

import json
import time

import pytest
from tests.runs.run_folders import rewrite_state, write_ended_run, write_run

from drivetrain.errors import ConfigError, RunError, UsageError
from drivetrain.interfaces import cli
from drivetrain.run_record import RunLock, RunPaths
from drivetrain.runs import pipeline
from drivetrain.runs.launcher import LaunchRequest, StartedRun
from drivetrain.runs.pipeline import drive, planned, resume_pipeline, start_pipeline
from drivetrain.runs.queue_store import RunQueue
from drivetrain.runs.queue_worker import work_off
from drivetrain.runs.waiting import waiting_runs

PHASES = """\
pipeline:
  - {name: bc, config: bc.yaml, epochs: 20, set: [training.seed=4]}
  - {name: cimrl, config: cimrl.yaml, init_from: bc}
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    for name in ("bc", "cimrl"):
        (tmp_path / f"{name}.yaml").write_text(f"algorithm: {{name: {name}}}\n")
    path = tmp_path / "pipe.yaml"
    path.write_text(PHASES)
    return path


@pytest.fixture
def begun(monkeypatch):
    """Record what is started or resumed instead of training; `ends` says how each start ends."""
    names, ends = [], {}

    def start(request, *, root):
        names.append(request.run_id)
        record = write_ended_run(root, request.run_id, status=ends.get(request.run_id, "completed"))
        if record.state.status == "running":
            rewrite_state(record, start_ticks=1)  # its process is gone
        return StartedRun(run_id=request.run_id, pid=1, folder=root, command=[])

    def resume(run_id, *, root):
        names.append(f"resume {run_id}")
        return StartedRun(run_id=run_id, pid=1, folder=root, command=[])

    monkeypatch.setattr(pipeline, "start_run", start)
    monkeypatch.setattr(pipeline, "resume_run", resume)
    monkeypatch.setattr(pipeline, "start_detached", lambda command, *, log, root: names.append("driver"))
    return names, ends


def request_of(config, **options):
    return LaunchRequest(config=config, run_id="v1", **options)


def test_the_phases_get_names_budgets_and_the_weights_of_earlier_ones(tmp_path, config):
    plan = planned(
        request_of(config, seed=7, changes=("cimrl.algorithm.rl=sac", "bc.training.epochs=2")), root=tmp_path
    )
    first, last = plan.phases
    assert (first.run_id, first.config, first.seed) == ("v1_bc", tmp_path / "bc.yaml", 7)
    assert first.changes == ("training.seed=4", "training.epochs=2")
    assert first.epochs is None  # what was given at the start counts
    assert (last.run_id, last.init_from) == ("v1", tmp_path / "experiments/checkpoints/v1_bc/best.pt")
    assert last.changes == ("algorithm.rl=sac",)
    assert planned(request_of(config), root=tmp_path).phases[0].epochs == 20


def test_the_shipped_pipeline_clones_and_then_improves(monkeypatch):
    from tests.test_docs import ROOT

    monkeypatch.chdir(ROOT)
    path = ROOT / "python/configs/planning/cimrl_pipeline.yaml"
    phases = planned(LaunchRequest(config=path, run_id="v1"), root=ROOT).phases
    assert [phase.run_id for phase in phases] == ["v1_bc", "v1"]
    assert all(phase.config.is_file() for phase in phases)
    assert phases[1].init_from == ROOT / "experiments/checkpoints/v1_bc/best.pt"


def test_the_driver_starts_phase_after_phase(tmp_path, config, begun):
    names, _ = begun
    said = []
    assert start_pipeline(request_of(config), root=tmp_path).run_id == "v1_bc"
    assert names == ["v1_bc", "driver"]
    assert drive(pipeline.read_pipeline("v1", root=tmp_path), say=said.append) == 0
    assert names == ["v1_bc", "driver", "v1"]
    assert said[-1] == "phase 'v1' completed"
    with pytest.raises(RunError, match=r"pipeline 'v1' has completed all its phases \(v1_bc, v1\)"):
        resume_pipeline("v1", root=tmp_path)


@pytest.mark.parametrize("killed", ["v1_bc", "v1"])
def test_killed_in_either_phase_it_goes_on(tmp_path, config, begun, killed):
    names, ends = begun
    ends[killed] = "running"  # no last word: lost
    start_pipeline(request_of(config), root=tmp_path)
    said = []
    assert drive(pipeline.read_pipeline("v1", root=tmp_path), say=said.append) == 1
    assert said[-1] == f"phase '{killed}' lost (killed?), the pipeline stops; 'drivetrain resume v1' goes on"
    started = resume_pipeline("v1", root=tmp_path)
    assert started is not None
    assert started.run_id == killed
    assert names[-2:] == [f"resume {killed}", "driver"]


def test_a_driver_that_was_killed_between_two_phases_is_replaced(tmp_path, config, begun):
    names, _ = begun
    start_pipeline(request_of(config), root=tmp_path)
    resume_pipeline("v1", root=tmp_path)
    assert names == ["v1_bc", "driver", "v1", "driver"]


def test_a_phase_that_ended_before_its_training_began_is_started_anew(tmp_path, config, begun):
    names, _ = begun
    start_pipeline(request_of(config), root=tmp_path)
    paths = RunPaths(root=tmp_path, run_id="v1_bc")
    paths.run_json.unlink()
    paths.exit_json.write_text("{}")
    resume_pipeline("v1", root=tmp_path)
    assert names == ["v1_bc", "driver", "v1_bc", "driver"]


def test_while_a_phase_trains_a_resume_only_replaces_the_driver(tmp_path, config, begun):
    names, _ = begun
    start_pipeline(request_of(config), root=tmp_path)
    _, lock = write_run(tmp_path, "v1")
    assert resume_pipeline("v1", root=tmp_path) is None
    assert pipeline.active_phase("v1", root=tmp_path) == "v1"
    assert names == ["v1_bc", "driver", "driver"]
    lock.release()


def test_a_coming_phase_and_a_queued_run_are_seen(tmp_path, config, begun, capsys):
    start_pipeline(request_of(config), root=tmp_path)
    # No driver lives: nothing will start by itself, and the way on is told.
    assert [(run.run_id, run.detail) for run in waiting_runs(tmp_path)] == [("v1", "nobody starts this next phase")]
    assert cli.main(["stop", "v1"]) == 1
    assert "has not begun" in (said := capsys.readouterr().err)
    assert "'drivetrain resume v1' goes on" in said
    lock = RunLock(RunPaths.pipelines(tmp_path) / "v1.lock")
    assert [(run.run_id, run.detail) for run in waiting_runs(tmp_path)] == [("v1", "a pipeline's next phase")]
    RunQueue(tmp_path).add(LaunchRequest(config=tmp_path / "bc.yaml", run_id="q"))
    assert cli.main(["status", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["runs"]
    assert [(row["run_id"], row["algorithm"], row["status"]) for row in rows] == [
        ("v1_bc", "ppo", "completed"),
        ("q", "bc", "queued"),
        ("v1", "cimrl", "queued"),
    ]
    assert cli.main(["list", "--status", "queued"]) == 0
    assert "v1_bc" not in capsys.readouterr().out
    for command in ("stop", "logs", "delete"):
        assert cli.main([command, "q"]) == 1
        assert "run 'q' has not begun (in the queue); 'drivetrain queue list' says why" in capsys.readouterr().err
    lock.release()


def test_a_failed_phase_leaves_nothing_waiting(tmp_path, config, begun):
    begun[1]["v1_bc"] = "failed"
    start_pipeline(request_of(config), root=tmp_path)
    assert waiting_runs(tmp_path) == []


def test_the_queue_starts_a_pipeline_with_its_driver(tmp_path, config, begun):
    queue = RunQueue(tmp_path)
    assert queue.add(request_of(config)).algorithm == "bc"
    assert work_off(tmp_path, say=lambda text: None) == 1
    assert begun[0] == ["v1_bc", "driver"]
    assert queue.entries() == []


def test_a_worker_killed_while_a_pipeline_starts_leaves_a_driver(tmp_path, config, begun):
    queue = RunQueue(tmp_path)
    assert queue.claim(queue.add(request_of(config)))
    time.sleep(0.01)
    start_pipeline(request_of(config), root=tmp_path)
    begun[0].clear()
    assert work_off(tmp_path, say=lambda text: None) == 0
    assert begun[0] == ["driver"]
    assert queue.entries() == []


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"total_steps": 5}, "--total-steps: belongs to a phase; write it into"),
        ({"changes": ("training.seed=1",)}, "--set training.seed=1: begin with the phase it is for, as in bc.training"),
        ({"changes": ("cimr.a=1",)}, r"did you mean 'cimrl'\?"),
    ],
)
def test_options_that_belong_to_a_phase(tmp_path, config, options, line):
    with pytest.raises(UsageError, match=line):
        start_pipeline(request_of(config, **options), root=tmp_path)


def test_wrong_pipelines(tmp_path, config, begun):
    config.write_text(PHASES.replace("init_from: bc", "init_from: bcc"))
    with pytest.raises(UsageError, match=r"cimrl\.init_from: no phase 'bcc'; did you mean 'bc'\?"):
        start_pipeline(request_of(config), root=tmp_path)
    config.write_text(PHASES.replace("epochs", "epoch"))
    with pytest.raises(ConfigError, match=r"epoch: unknown key; did you mean 'epochs'\?"):
        start_pipeline(request_of(config), root=tmp_path)
    config.write_text(PHASES.replace("config: cimrl.yaml", "config: none.yaml"))
    with pytest.raises(UsageError, match=r"none\.yaml: cannot be read"):
        start_pipeline(request_of(config), root=tmp_path)
    assert begun[0] == []
