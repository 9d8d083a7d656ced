"""`drivetrain evaluate --trajectories`: one document or a table, one line for each thing that is wrong."""

import json

import numpy as np
import pytest
from tests.golden_sets import GOLDEN

from drivetrain.data.convert import convert
from drivetrain.interfaces import cli

CASES = [1, 158]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("trajectories") / "golden"
    convert("nuplan", [GOLDEN], path)
    return str(path)


@pytest.fixture
def drives(tmp_path):
    """A function: two golden cases, changed, in a file."""

    def write(**changes):
        with np.load(GOLDEN / "oracle_metrics.npz", allow_pickle=False) as oracle:
            arrays = {name: oracle[name] for name in ("timestamps_us", "origin")} | {"ego": oracle["ego"][CASES]}
            np.savez(tmp_path / "drives.npz", **arrays | changes)
            return str(tmp_path / "drives.npz"), oracle["score"][CASES]

    return write


def test_json_is_one_document_with_a_record_per_trajectory(drives, store, capsys):
    file, expected = drives()
    assert cli.main(["evaluate", "--trajectories", file, "--data", store, "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (document["planner"], document["traffic"], document["data"]) == (file, "replay", store)
    assert document["scenarios"] == {"asked": 2, "scored": 2, "failed": 0}
    np.testing.assert_allclose([record["score"] for record in document["trajectories"]], expected, atol=1e-6)
    assert document["score"]["mean"] == pytest.approx(expected.mean(), abs=1e-6)
    assert document["reference"][0]["planner"] == "log_replay"
    assert err == "scoring: 3/3\n", "two trajectories and the logged drive"


def test_the_table_for_people(drives, store, capsys):
    file, expected = drives()
    assert cli.main(["evaluate", "--trajectories", file, "--data", store, "--per-scenario", "--no-reference"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        f"{store}: 2 of 2 trajectories scored by nuPlan's closed-loop metrics; x 100, ± half the 95 % interval"
    )
    assert lines[1].split() == ["metric", "drives.npz", "physically", "right"]
    assert lines[2].split()[:2] == ["score", f"{100 * expected.mean():.1f}"]
    assert lines[3].split()[0] == "no_ego_at_fault_collisions"
    assert lines[3].split()[4:] == ["-"], "physics and nuPlan agree on what a collision is"
    assert [line.split()[:2] for line in lines[-2:]] == [["0", "0.00"], ["1", f"{expected[1]:.2f}"]]


def test_a_trajectory_that_cannot_be_scored_is_one_line_and_exit_code_1(drives, store, capsys):
    with np.load(GOLDEN / "oracle_metrics.npz", allow_pickle=False) as oracle:
        ego = oracle["ego"][CASES].copy()
    ego[0, 3, 2] = np.nan
    file, expected = drives(ego=ego)
    assert cli.main(["evaluate", "--trajectories", file, "--data", store, "--json"]) == 1
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["scenarios"] == {"asked": 2, "scored": 1, "failed": 1}
    assert document["trajectories"][1]["score"] == pytest.approx(expected[1], abs=1e-6)
    assert err.splitlines()[-1] == (
        f"drivetrain: {file}: trajectory 0: heading of state 3 in 'ego' is nan, no finite number"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"origin": np.zeros(3)}, "'origin' is [0.0, 0.0, 0.0], expected [easting, northing]"),
        ({"timestamps_us": 100_000 * np.arange(151)}, "no log covers 0 to 15000000 us"),
        ({"origin": np.zeros(2)}, "check 'origin', or convert its log too"),
    ],
)
def test_nothing_to_score_is_one_line(drives, store, capsys, changes, message):
    file, _ = drives(**changes)
    assert cli.main(["evaluate", "--trajectories", file, "--data", store, "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"drivetrain: {file}: ")
    assert message in err


def test_a_missing_store_and_options_of_other_evaluations(drives, store, tmp_path, monkeypatch, capsys):
    file, _ = drives()
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    assert cli.main(["evaluate", "--trajectories", file]) == 1
    assert (
        "data: there is no store in datasets/processed/nuplan or datasets/processed/sample" in capsys.readouterr().err
    )
    assert not (tmp_path / "datasets").exists(), "no sample is generated: it would hold other logs"
    assert cli.main(["evaluate", "--trajectories", file, "--data", str(tmp_path / "none")]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert cli.main(["evaluate", "--trajectories", file, "--traffic", "idm"]) == 2
    assert "--traffic does not go with --trajectories, which have been driven already" in capsys.readouterr().err
    assert cli.main(["evaluate", "--trajectories", file, "--episodes", "3"]) == 2
    assert "--episodes does not go with --trajectories" in capsys.readouterr().err
    assert cli.main(["evaluate", "--trajectories", file, "--data", store, "--workers", "0"]) == 2
    assert "the number of processes must be at least 1, got 0" in capsys.readouterr().err
