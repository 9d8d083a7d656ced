"""`drivetrain triage` as it is typed."""

import contextlib
import io
import json
import re
import shlex

import pytest
from tests.rendering.driving_policies import plain_policy, write_policy
from tests.runs.run_folders import write_run

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.interfaces.cli import main
from drivetrain.trainer.evaluate import evaluate
from drivetrain.triage.kinds import KINDS

GOES_ON = ["triage", "--planner", "constant_velocity", "--dynamics", "direct"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "few"
    return write_sample(path, train=0, val=10, test=0, progress=lambda *_: None)


@pytest.fixture(scope="module")
def found(store):
    """The document, and the list."""
    out = store.parent / "failures.txt"
    with contextlib.redirect_stdout(io.StringIO()) as told:
        assert main([*GOES_ON, "--data", str(store), "--json", "--out", str(out)]) == 0
    return json.loads(told.getvalue()), out


def test_failures_are_those_that_an_evaluation_counts(store, found):
    document, _ = found
    result = evaluate("constant_velocity", store, dynamics="direct")
    bad = {
        scenario
        for at, scenario in enumerate(result.scenario_ids)
        if result.values["collision_any_rate"][at]
        or result.values["offroad_rate"][at]
        or result.values["red_light_rate"][at]
        or result.values["progress"][at] < 0.2
    }
    assert {failure["scenario"] for failure in document["failures"]} == bad
    assert document["failed"] == len(bad) > 0
    assert document["driven"] == 10
    scores = dict(zip(result.scenario_ids, result.values["score_basic"].tolist(), strict=True))
    for failure in document["failures"]:
        assert failure["score"] == pytest.approx(scores[failure["scenario"]])
    assert document["score_basic"]["mean"] == pytest.approx(result.score)


def test_counts_shares_and_chances_add_up(found):
    document, _ = found
    kinds = document["kinds"]
    assert sum(kind["count"] for kind in kinds) == document["failed"]
    assert [kind["count"] for kind in kinds] == sorted((kind["count"] for kind in kinds), reverse=True)
    assert {kind["kind"] for kind in kinds} <= set(KINDS)
    for kind in kinds:
        assert kind["rate"]["mean"] == pytest.approx(kind["count"] / document["driven"])
        own = [failure for failure in document["failures"] if failure["kind"] == kind["kind"]]
        assert sorted(kind["scenarios"]) == sorted(failure["scenario"] for failure in own)
        assert kind["avoidable"] == sum(f["avoidance"] is not None and f["avoidance"]["avoidable"] for f in own)
    for failure in document["failures"]:
        chance = failure["avoidance"]
        if failure["frame"] is None:
            assert chance is None
        elif chance["avoidable"]:
            assert chance["seconds_before"] == pytest.approx(0.1 * (failure["frame"] - chance["frame"]))
            assert chance["actions"]
        else:
            assert chance["action"] is None


def test_the_list_is_driven_and_triaged_again(store, found, capsys):
    document, out = found
    result = evaluate("constant_velocity", store, scenarios=out, dynamics="direct")
    assert set(result.scenario_ids) == {failure["scenario"] for failure in document["failures"]}
    assert main([*GOES_ON, "--data", str(store), "--scenarios", str(out), "--json", "--look-back", "0"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["failed"] == again["driven"] == document["failed"]
    assert again["look_back_s"] is None
    assert all(failure["avoidance"] is None for failure in again["failures"])


def test_the_table_names_commands_that_draw_the_examples(store, found, capsys):
    assert main([*GOES_ON, "--data", str(store)]) == 0
    told = capsys.readouterr().out
    assert re.match(r"constant_velocity: \d+ of 10 scenes failed \(\d+\.\d ± \d+\.\d %\), ", told)
    commands = [shlex.split(line) for line in told.splitlines() if line.startswith("  drivetrain render")]
    assert len(commands) == len(found[0]["kinds"])
    for words in commands:
        assert words[2:4] == ["--planner", "constant_velocity"]
        at = words.index("--scenario")
        assert words[at + 1] in ScenarioStore(store).ids("val")


def test_no_failures_say_so_and_leave_no_list(store, tmp_path, capsys):
    good = tmp_path / "good.txt"
    result = evaluate("log_replay", store, dynamics="direct")
    fine = [s for at, s in enumerate(result.scenario_ids) if result.values["score_basic"][at] > 0]
    good.write_text("\n".join(fine[:2]) + "\n")
    out = tmp_path / "none.txt"
    words = ["triage", "--planner", "log_replay", "--data", str(store), "--scenarios", str(good)]
    assert main([*words, "--dynamics", "direct", "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "0 of 2 scenes failed" in told.out
    assert "no failures: nothing to sort" in told.out
    assert f"no failures, so {out} was not written" in told.err
    assert not out.exists()


def test_failures_of_nuplans_closed_loop_are_driven_again(store, capsys):
    words = ["triage", "--planner", "constant_velocity", "--data", str(store), "--json"]
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["dynamics"] == "tracker"
    assert document["score"]["n"] == document["driven"] == 10
    tried = [failure for failure in document["failures"] if failure["avoidance"] is not None]
    assert tried
    for failure in tried:
        assert failure["avoidance"]["seconds_before"] > 0


def test_a_policy_is_triaged_by_its_checkpoint(store, tmp_path, capsys):
    checkpoint = write_policy(tmp_path / "policy" / "best.pt", plain_policy())
    assert main(["triage", str(checkpoint), "--data", str(store), "--max", "3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["driven"] == 3
    assert document["driver"] == str(checkpoint)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "triage: give a run, a checkpoint or --planner NAME; for example: drivetrain triage ppo_v1"),
        (["--planner", "imd"], 2, "planner: 'imd' does not exist; did you mean 'idm'?"),
        (["--planner", "idm", "--max", "0"], 2, "triage --max: 0 is too few; use 1 or more"),
        (["--planner", "idm", "--look-back", "-1"], 2, "triage --look-back: -1 s is no time; use 0 to 60"),
        (["--planner", "idm", "--out", "no/x"], 2, "triage: --out: the folder no does not exist; make it first"),
        (
            ["--planner", "idm", "--dynamics", "tracker", "--traffic", "idm", "--look-back", "2"],
            2,
            "triage: states among 'idm' traffic cannot be gone back to; use --dynamics direct, or --look-back 0",
        ),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line(store, words, code, message, capsys):
    assert main(["triage", *words, *(["--data", str(store)] if words else [])]) == code
    assert capsys.readouterr().err == f"drivetrain: {message}\n"


def test_a_list_is_never_replaced_by_chance(store, tmp_path, capsys):
    out = tmp_path / "failures.txt"
    out.write_text("mine\n")
    assert main([*GOES_ON, "--data", str(store), "--out", str(out)]) == 2
    assert capsys.readouterr().err == (
        f"drivetrain: triage: {out} exists; give another file with --out, or --overwrite\n"
    )
    assert out.read_text() == "mine\n"


def test_a_run_without_a_checkpoint_is_told(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    _, lock = write_run(tmp_path, "young")
    assert main(["triage", "young", "--data", str(store)]) == 1
    assert capsys.readouterr().err == (
        "drivetrain: run 'young': has no checkpoint in experiments/checkpoints/young yet; wait for its first, or name "
        "another run\n"
    )
    assert main(["triage", "yuong", "--data", str(store)]) == 1
    assert "run 'yuong' does not exist in experiments/logs; did you mean 'young'?" in capsys.readouterr().err
    lock.release()
