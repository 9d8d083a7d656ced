"""The check of the golden sets: all of it agrees, and what does not is counted, named and judged."""

import dataclasses
import tempfile

import numpy as np
import pytest

from drivetrain.errors import DataError
from drivetrain.metrics.score import METRICS
from drivetrain.planners import tracker
from drivetrain.trainer import golden_check, golden_drives
from drivetrain.trainer.golden_check import Agreement, check_golden_sets
from drivetrain.trainer.golden_rollouts import TOLERANCES


@pytest.fixture(scope="module")
def checked():
    seen = []
    report = check_golden_sets(lambda *args: seen.append(args))
    return report, seen


def test_every_value_of_both_sets_agrees(checked):
    report, _ = checked
    assert report.ok
    assert report.disagreements == ()
    cases = {(entry.part, entry.name): entry.cases for entry in report.agreements if entry.kind == "metric"}
    for name in ("score", *METRICS):
        assert cases["set1 trajectories", name] == 160
        assert cases["set2 trajectories", name] == 341
        assert cases["set2 drives", name] == 18
    assert cases["set1 drives", "score"] == 2
    assert all(entry.agree == entry.cases for entry in report.agreements)
    drives = {(entry.part, entry.name): entry for entry in report.agreements if entry.kind == "drive"}
    assert {key: entry.cases for key, entry in drives.items()} == {
        ("set1 drives", "vehicle model"): 3, ("set1 drives", "tracker"): 2,
        ("set2 drives", "vehicle model"): 36, ("set2 drives", "tracker"): 12,
        **{("set1 closed loop", name): 3 for name in TOLERANCES},
        **{("set2 closed loop", name): 36 for name in TOLERANCES},
    }  # fmt: skip
    assert max(entry.worst for (part, _), entry in drives.items() if part.endswith("drives")) < 1e-6
    assert max(entry.worst for (part, _), entry in drives.items() if part.endswith("loop")) < 2e-3
    statistics = [entry for entry in report.agreements if entry.kind == "statistic"]
    assert len(statistics) == 2 * 27
    assert max(entry.worst for entry in statistics) < 1e-4


def test_the_progress_only_grows_and_ends_at_the_end(checked):
    _, seen = checked
    done = [entry[0] for entry in seen]
    assert done == sorted(done)
    assert {entry[1] for entry in seen} == {done[-1]}


def spoilt_scores(monkeypatch, spoil):
    """Check set 1 only, with some of the scores changed by ``spoil(case, verdict)``."""
    real = golden_check.score_trajectories

    def score(file, store, **options):
        scores = real(file, store, **options)
        changed = [
            dataclasses.replace(entry, verdict=spoil(case, entry.verdict))
            for case, entry in enumerate(scores.trajectories)
        ]
        return dataclasses.replace(scores, trajectories=tuple(changed))

    monkeypatch.setattr(golden_check, "score_trajectories", score)
    monkeypatch.setattr(golden_check, "GOLDEN_SETS", ("set1",))
    return check_golden_sets()


def test_a_few_differences_are_listed_and_too_many_fail(monkeypatch):
    def spoil(case, verdict):
        changed = dict(verdict.metrics)
        if case == 7:
            changed["ego_is_comfortable"] = 1 - changed["ego_is_comfortable"]
        if case < 2:
            changed["ego_progress_along_expert_route"] = None
        score = verdict.score + (0.0011 if case < 3 else 0.0009)
        statistics = verdict.statistics | ({"min_ttc_s": 0.5} if case == 1 else {})
        return dataclasses.replace(verdict, metrics=changed, score=score, statistics=statistics)

    report = spoilt_scores(monkeypatch, spoil)
    found = {entry.name: entry for entry in report.agreements if entry.part == "set1 trajectories"}
    assert (found["score"].agree, found["score"].ok) == (157, True), "157 of 160 are more than 98 %"
    assert found["score"].worst == pytest.approx(0.0011)
    assert (found["ego_is_comfortable"].agree, found["ego_is_comfortable"].ok) == (159, True)
    progress = found["ego_progress_along_expert_route"]
    assert (progress.agree, progress.worst, progress.ok) == (158, np.inf, False), "158 of 160 are less than 99 %"
    assert (found["min_ttc_s"].agree, found["min_ttc_s"].worst, found["min_ttc_s"].ok) == (159, np.inf, True)
    assert not report.ok
    of_trajectories = [entry for entry in report.disagreements if entry.part == "set1 trajectories"]
    assert [(entry.name, entry.case, entry.found) for entry in of_trajectories if entry.name != "score"] == [
        ("ego_progress_along_expert_route", 0, None),
        ("ego_progress_along_expert_route", 1, None),
        ("ego_is_comfortable", 7, 0.0),
    ]
    assert sum(entry.name == "score" for entry in of_trajectories) == 3


def test_another_vehicle_model_is_noticed(monkeypatch, tmp_path):
    root = golden_check.unpack("set1", tmp_path)
    sound = golden_drives.drive_errors(root)
    assert max(errors.max() for errors in sound.values()) < 1e-6
    monkeypatch.setattr(tracker, "ACCELERATION_LAG_S", 0.21)
    spoilt = golden_drives.drive_errors(root)
    assert spoilt["tracker"].max() > golden_check.TOLERANCE


def test_half_a_case_is_not_rounded_up():
    row = dict(part="p", name="n", kind="metric", worst=0.0, required=0.98)
    assert Agreement(cases=100, agree=98, **row).ok
    assert not Agreement(cases=101, agree=98, **row).ok


def test_no_place_for_temporary_files_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"^no temporary folder can be made \(No such file or directory\); let TMPDIR"):
        check_golden_sets()
