"""`start --seeds N`: names, seeds, what is refused, and the summary over seeds."""

import json

import pytest
from tests.runs.run_folders import write_ended_run
from tests.runs.test_comparison import run_of
from tests.trainer.conftest import CARTPOLE

from drivetrain.errors import RunError, UsageError
from drivetrain.interfaces import cli
from drivetrain.run_record import append_line
from drivetrain.runs import seed_runs
from drivetrain.runs.launcher import LaunchRequest, StartedRun
from drivetrain.runs.queue_store import RunQueue
from drivetrain.runs.run_store import RunStore
from drivetrain.runs.seed_runs import seed_requests, with_seeds


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    path = tmp_path / "c.yaml"
    path.write_text(CARTPOLE)
    return path


@pytest.fixture
def begun(monkeypatch):
    """Record what is started, instead of training."""
    requests = []

    def start(request, *, root):
        requests.append(request)
        if request.run_id.startswith("bad"):
            raise UsageError("algorithm.epoch: unknown key; did you mean 'epochs'?")
        write_ended_run(root, request.run_id, status="completed")
        return StartedRun(run_id=request.run_id, pid=7, folder=root, command=[])

    monkeypatch.setattr(seed_runs, "start_run", start)
    monkeypatch.setattr(seed_runs, "start_worker", lambda root: requests.append("worker"))
    return requests


def test_the_first_seed_starts_and_the_others_wait(tmp_path, config, begun, capsys):
    assert cli.main(["start", str(config), "--run-id", "a", "--seeds", "3", "--seed", "4", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "name": "a",
        "runs": [{"run_id": f"a_s{seed}", "seed": seed} for seed in (4, 5, 6)],
        "started": "a_s4",
        "queued": ["a_s5", "a_s6"],
    }
    assert [(begun[0].run_id, begun[0].seed), begun[1]] == [("a_s4", 4), "worker"]
    assert [(entry.run_id, entry.request.seed) for entry in RunQueue(tmp_path).entries()] == [("a_s5", 5), ("a_s6", 6)]
    assert cli.main(["start", str(config), "--run-id", "b", "--seeds", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "run 'b_s0' started (pid 7)",
        "next: drivetrain status | drivetrain queue list | drivetrain compare b",
    ]


def test_the_configs_seed_is_the_first(tmp_path, config):
    config.write_text(CARTPOLE.replace("threads: 1", "threads: 1, seed: 7"))
    requests = seed_requests(LaunchRequest(config=config, run_id="a"), 2)
    assert [(each.run_id, each.seed) for each in requests] == [("a_s7", 7), ("a_s8", 8)]


def test_what_cannot_start_leaves_nothing_in_the_queue(tmp_path, config, begun, capsys):
    assert cli.main(["start", str(config), "--run-id", "bad", "--seeds", "2"]) == 2
    assert "did you mean 'epochs'?" in capsys.readouterr().err
    write_ended_run(tmp_path, "a_s1", status="completed")
    with pytest.raises(RunError, match="run 'a_s1' exists in"):
        seed_runs.start_seeds(LaunchRequest(config=config, run_id="a"), 2, root=tmp_path)
    RunQueue(tmp_path).add(LaunchRequest(config=config, run_id="q_s1"))
    with pytest.raises(UsageError, match=r"run 'q_s1' is in the queue already; .*drivetrain queue remove q_s1"):
        seed_runs.start_seeds(LaunchRequest(config=config, run_id="q"), 2, root=tmp_path)
    assert [entry.run_id for entry in RunQueue(tmp_path).entries()] == ["q_s1"]
    assert [each.run_id for each in begun] == ["bad_s0"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--seeds", "0"], "start --seeds: 0 is no number of seeds; use 1 to 1000"),
        (["--seeds", "2", "--output", "x"], "start --seeds: --output names one folder for all seeds; leave it out"),
        (
            ["--seeds", "2", "--set", "training.seed=3"],
            "start --seeds: --set training.seed is one seed for all; give the first one with --seed",
        ),
        (
            ["--seeds", "2", "--env", "player"],
            "start --seeds: trainings of ML-Agents start one by one; give each its own --run-id and --seed",
        ),
    ],
)
def test_mistakes_are_one_line(config, begun, capsys, words, line):
    assert cli.main(["start", str(config), "--run-id", "a", *words]) == 2
    assert capsys.readouterr().err == f"drivetrain: {line}\n"
    assert begun == []


def test_a_name_means_all_its_seeds_unless_it_is_a_run():
    known = ["a_s0", "a_s2", "a_s10", "a_s1_bc", "b", "b_s0"]
    assert with_seeds(["a", "b", "c"], known) == ["a_s0", "a_s2", "a_s10", "b", "c"]


def test_compare_says_what_the_seeds_say_together(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    for seed, score in enumerate((0.1, 0.5, 0.6, 0.7, 0.9)):
        run_of(tmp_path, f"a_s{seed}", [score], seed=seed)
    assert cli.main(["compare", "a", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (group,) = document["groups"]
    figure = group["final"]["score_basic"]
    assert (figure["iqm"], figure["seeds"]) == (pytest.approx(0.6), 5)
    assert 0.1 <= figure["iqm_ci95"][0] < 0.6 < figure["iqm_ci95"][1] <= 0.9


def test_kinds_of_traffic_are_tasks_of_their_own(tmp_path):
    for seed in range(4):
        record = run_of(tmp_path, f"a_s{seed}", [0.5], seed=seed)
        row = {"step": 10_000, "life": 1, "eval/score_basic": 0.5}
        row |= {"eval/replay/score_basic": 0.90 + 0.01 * seed, "eval/idm/score_basic": 0.10 + 0.01 * seed}
        append_line(record.paths.metrics_jsonl, row | {"eval/worst/score_basic": 0.1})
    from drivetrain.runs.comparison import compare_runs

    (group,) = compare_runs([RunStore(tmp_path).get(f"a_s{seed}") for seed in range(4)]).groups
    assert group.over_seeds("score_basic").iqm == pytest.approx((0.12 + 0.13 + 0.90 + 0.91) / 4)
