"""`drivetrain evaluate` with what it cannot use: one line that says what there is instead, and its exit code."""

import json
import shutil

import pytest
from tests.data.test_convert import drive

from drivetrain.data.convert import convert
from drivetrain.data.store_files import MANIFEST, STORE_VERSION
from drivetrain.interfaces import cli


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Four Waymo scenes: no lane graph, no speed limits, no drivable area, no types."""
    folder = tmp_path_factory.mktemp("bad_input")
    for name in "abcd":
        drive(folder / "in" / f"{name}.json")
    convert("waymo-json", [folder / "in"], folder / "store")
    return folder / "store"


def evaluated(store, *words, capsys):
    code = cli.main(["evaluate", "--data", str(store), "--split", "train", *words])
    out, err = capsys.readouterr()
    return code, out, [line for line in err.splitlines() if line.startswith("drivetrain: ")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--planner", "idm", "--type", "merge"],
            "type: there are no scenarios of type 'merge', only unknown (2)",
        ),
        (["--planner", "idm", "--episodes", "0"], "episodes: 0 is too few; use 1 or more"),
        (["--planner", "idm", "--workers", "0"], "the number of processes must be at least 1, got 0"),
        (["--planner", "idm", "--seed", "-1"], "seed: -1 is negative; use 0 or more"),
        (["--planner", "idm", "--device", "gpu"], "device: 'gpu' is not one of cpu, cuda"),
        (
            ["--planner", "idm", "--device", "cuda:99"],
            "device: 'cuda:99' is not there on this machine or for this build of torch; use cpu",
        ),
        (["--planner", "idm", "--temperature", "0"], "temperature: 0 is not above 0; use 1 to draw as in training"),
        (["--planner", "idm", "--risk-filter", "off"], "risk_filter: 'idm' has no risk filter; leave the option out"),
        (["--planner", "idm", "--temperature", "nan"], "temperature: nan is not above 0; use 1 to draw as in training"),
        (["--planner", "idm", "--stochastic"], "stochastic: 'idm' draws no actions, only policies do; leave it out"),
        (["idm"], "planner: there is no checkpoint 'idm'; the planner of that name is --planner idm"),
        (
            ["--planner", "nuplan_idm"],
            "planner: 'nuplan_idm' drives in nuPlan's closed loop only, and these data do not know lane graph, "
            "drivable area, speed limits, which its score needs; use --dynamics tracker to drive without a score, "
            "or other data",
        ),
    ],
)
def test_wrong_use_is_one_line(store, capsys, words, said):
    assert evaluated(store, *words, capsys=capsys) == (2, "", [f"drivetrain: {said}"])


def test_an_unknown_planner_or_split_is_answered_with_the_known_ones(store, capsys):
    code, _, (line,) = evaluated(store, "--planner", "constant_velocty", capsys=capsys)
    assert code == 2
    assert line.startswith("drivetrain: planner: 'constant_velocty' is no checkpoint and not one of log_replay, const")
    assert line.endswith("; did you mean 'constant_velocity'?")
    code, _, (line,) = evaluated(store, "--planner", "idm", "--split", "vall", capsys=capsys)
    assert code == 2
    assert "choose from" in line
    assert "did you mean 'val'?" in line


def test_what_is_no_store_says_how_to_make_one(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for place, what in ((tmp_path / "empty", "is no scenario store"), (tmp_path / "none", "does not exist")):
        code, out, (line,) = evaluated(place, "--planner", "idm", capsys=capsys)
        assert (code, out) == (1, "")
        assert line.startswith(f"drivetrain: data: {place} {what}")
        assert "'drivetrain data sample'" in line


def test_a_store_of_an_older_version_says_how_to_make_it_anew(store, tmp_path, capsys):
    older = shutil.copytree(store, tmp_path / "older")
    manifest = json.loads((older / MANIFEST).read_text())
    (older / MANIFEST).write_text(json.dumps(manifest | {"version": STORE_VERSION - 1}))
    remedy = f"convert the recordings again with 'drivetrain data convert --source waymo-json ... --out {older}"
    assert evaluated(older, "--planner", "idm", capsys=capsys) == (
        1,
        "",
        [
            f"drivetrain: {older / MANIFEST}: has store version {STORE_VERSION - 1}, this program reads "
            f"{STORE_VERSION}; {remedy} --overwrite'"
        ],
    )


def test_metrics_that_need_a_lane_graph_are_unknown_without_one(store, capsys):
    """The scenes are driven and scored; there is no score, and the reason of each metric is said."""
    words = ["--planner", "constant_velocity", "--dynamics", "tracker", "--no-reference", "--json"]
    code, out, lines = evaluated(store, *words, capsys=capsys)
    document = json.loads(out)
    assert code == 0
    assert document["scenarios"] == {"asked": 2, "scored": 2, "failed": 0}
    assert document["unknown"] == {
        "drivable_area_compliance": "the map has no drivable area",
        "driving_direction_compliance": "the map has no lane graph",
        "ego_is_making_progress": "the map has no lane graph",
        "ego_progress_along_expert_route": "the map has no lane graph",
        "speed_limit_compliance": "the map has no lane graph",
    }
    for metric in (*document["unknown"], "score"):
        assert document[metric] == {"mean": None, "ci95": [None, None], "n": 0}
    assert document["no_ego_at_fault_collisions"]["mean"] == 1.0
    assert lines[0] == "drivetrain: no score: drivable_area_compliance is unknown: the map has no drivable area"


def test_more_episodes_than_there_are_takes_them_all_and_says_so(store, capsys):
    words = ["--planner", "constant_velocity", "--no-reference", "--episodes", "9", "--json"]
    code, out, lines = evaluated(store, *words, capsys=capsys)
    assert (code, json.loads(out)["scenarios"]["asked"]) == (0, 2)
    assert lines == ["drivetrain: --episodes 9 asks for more than the 2 scenes there are: all were driven"]


def test_where_nothing_could_be_scored_no_table_is_shown(store, capsys):
    words = ["--planner", "nuplan_idm", "--dynamics", "tracker", "--no-reference"]
    code, out, (line,) = evaluated(store, *words, capsys=capsys)
    assert code == 1
    assert [text.split(";")[0] for text in out.splitlines()] == [f"{store}, split train: PARTIAL, 0 of 2 scenes"]
    assert line.startswith("drivetrain: partial: 2 of 2 scenes failed (traffic replay), first ")
    assert line.endswith(": the route has 0 roadblocks, nuPlan's IDM planner needs at least 2")
