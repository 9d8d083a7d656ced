"""What a reproduction needs of a record, what differs, and when a result has come out again."""

import json
from dataclasses import replace

import pytest
from tests.runs.run_folders import rows_of, write_ended_run, write_run

from drivetrain.errors import DrivetrainError
from drivetrain.run_record import DataChoice, RunPaths, write_json_atomic
from drivetrain.runs.reproduction import ScoreAgain, _differences, plan_reproduction
from drivetrain.runs.run_store import RunStore

SCORE = ScoreAgain(
    metric="score_basic", traffic="replay", recorded=0.5, low=0.4, high=0.6, again=0.5, scenes=100, differing=3,
    difference=(-0.01, 0.02),
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"again": 0.4}, True),
        ({"again": 0.6}, True),
        ({"again": 0.399}, False),
        ({"again": 0.601}, False),
        ({"low": None, "high": None}, False),  # one scene says nothing of others
        ({"low": None, "high": None, "differing": 0}, True),
        ({"recorded": 1.0, "again": 1.0, "low": 1.0, "high": 1.0}, True),
    ],
)
def test_within_is_between_the_ends_of_the_recorded_interval(changes, expected):
    assert replace(SCORE, **changes).is_within is expected


@pytest.fixture
def run(tmp_path):
    """A completed run and its data."""
    store = tmp_path / "datasets/processed/sample"
    store.mkdir(parents=True)
    write_json_atomic(store / "manifest.json", {"fingerprint": "f00d"})
    return _run(tmp_path, "one")


def _run(root, run_id, *, config="data: auto\ntraining:\n  seed: 0\n", status="completed", **info):
    paths = write_ended_run(root, run_id, rows=rows_of(2), status=status, **info).paths
    paths.config_yaml.write_text(config)
    paths.checkpoint_dir.mkdir(parents=True, exist_ok=True)
    paths.last.write_bytes(b"last")
    return RunStore(root).get(run_id)


def test_the_re_run_has_the_recorded_config_weights_and_data(tmp_path, run):
    plan = plan_reproduction(run)
    assert plan.paths.run_id == "one-repro"
    assert plan.request.config == run.paths.config_yaml
    assert plan.request.data == str(tmp_path / "datasets/processed/sample")
    assert (plan.request.init_from, plan.request.changes, plan.request.resume) == (None, (), False)
    (tmp_path / "clone.pt").write_bytes(b"weights")
    begun = _run(tmp_path, "begun", parent="clone.pt")
    assert plan_reproduction(begun, run_id="again").request.init_from == tmp_path / "clone.pt"
    (tmp_path / "clone.pt").unlink()
    with pytest.raises(
        DrivetrainError, match=r"began from the weights of clone\.pt, which is gone; put it there again"
    ):
        plan_reproduction(begun)


def test_what_was_trained_already_is_not_trained_again(tmp_path, run):
    _run(tmp_path, "one-repro", config="data: /elsewhere\ntraining:\n  seed: 0\n  device: cpu\n")
    assert plan_reproduction(run).request is None
    _run(tmp_path, "cut", status="stopped")
    request = plan_reproduction(run, run_id="cut").request
    assert (request.resume, request.config, request.run_id) == (True, None, "cut")


def refusal(run, **options):
    with pytest.raises(DrivetrainError) as error:
        plan_reproduction(run, **options)
    return str(error.value)


def test_bad_input_is_one_line(tmp_path, run):
    _run(tmp_path, "other", config="data: auto\ntraining:\n  seed: 1\n")
    assert refusal(run, run_id="other") == (
        "repro: run 'other' is another training (training.seed differs); name one with --run-id"
    )
    assert refusal(run, run_id="one") == "repro: --run-id: 'one' is the run itself; give another name"
    _, lock = write_run(tmp_path, "busy", rows=rows_of(2))
    RunPaths(root=tmp_path, run_id="busy").config_yaml.write_text("data: auto\ntraining:\n  seed: 0\n")
    try:
        assert refusal(run, run_id="busy") == "run 'busy' is running; wait for it, or stop it first"
    finally:
        lock.release()
    assert refusal(_run(tmp_path, "half", status="stopped")) == (
        "run 'half' is stopped at step 20,000 of 1,000,000; "
        "only a run that was completed has a result to come out again"
    )
    environment = DataChoice(path="CartPole-v1", fingerprint="g", choice="environment")
    assert refusal(_run(tmp_path, "pole", data=environment), data="x") == (
        "repro: --data: run 'pole' has no data set (CartPole-v1); leave it out"
    )
    manifest = tmp_path / "datasets/processed/sample/manifest.json"
    manifest.write_text(json.dumps({"fingerprint": "beef"}))
    assert refusal(run) == (
        "repro: datasets/processed/sample has fingerprint beef, run 'one' was trained on data of fingerprint f00d; "
        "give those with --data DIR"
    )
    manifest.unlink()
    assert refusal(run) == (
        "repro: datasets/processed/sample: holds no scenario store; run 'one' was trained on "
        "datasets/processed/sample, fingerprint f00d; say where that is with --data DIR"
    )
    run.paths.last.unlink()
    assert refusal(run) == (
        "run 'one' has no experiments/checkpoints/one/last.pt any more, without which it cannot be reproduced"
    )


def test_what_differs_is_named_and_nothing_else(tmp_path, run):
    versions = {"torch": "2.13.0", "numpy": "2.4.6"}
    one = _run(tmp_path, "old", versions={**versions, "git_commit": "x"}, host="there", git_commit="a" * 40)
    same = _run(tmp_path, "same", versions={**versions, "git_commit": "y"}, host="there", git_commit="a" * 40)
    assert _differences(one, same) == {}
    now = _run(
        tmp_path, "new", versions={"torch": "2.12.0", "numpy": "2.4.6", "numba": "0.68"}, host="here",
        git_commit="a" * 40, git_dirty=True,
    )  # fmt: skip
    assert _differences(one, now) == {
        "code": ("aaaaaaaaaa", "aaaaaaaaaa and changes of run 'new'"),
        "machine": ("there", "here"),
        "torch": ("2.13.0", "2.12.0"),
        "numba": ("-", "0.68"),
    }
