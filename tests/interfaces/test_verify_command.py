"""`drivetrain verify` prints the agreement and returns 1 where it is too small."""

import json

import numpy as np
import pytest

from drivetrain.interfaces import cli
from drivetrain.trainer import golden_check
from drivetrain.trainer.golden_check import Agreement, Disagreement, GoldenReport


@pytest.fixture
def report(monkeypatch):
    """A function: what the check is to find, by number of agreeing scores."""

    def set_report(agree):
        rows = [
            Agreement(part="set1", name="score", kind="metric", cases=200, agree=agree, worst=0.25, required=0.98),
            Agreement(part="set1", name="n_hits", kind="statistic", cases=9, agree=9, worst=0.0, required=None),
            Agreement(part="set1", name="min_ttc_s", kind="statistic", cases=9, agree=8, worst=np.inf, required=None),
        ]
        differences = [
            Disagreement(part="set1", case=case, kind="expert" if case else "", name="score", expected=1.0, found=0.75)
            for case in range(200 - agree)
        ]

        def check(progress):
            progress(3, 3, "set1")
            return GoldenReport(agreements=tuple(rows), disagreements=tuple(differences))

        monkeypatch.setattr(golden_check, "check_golden_sets", check)

    return set_report


def test_enough_agree(report, capsys):
    report(196)
    assert cli.main(["verify"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["cases", "value", "agree", "of", "share", "worst", "required", "verdict"]
    assert lines[1].split() == ["set1", "score", "196", "200", "98.0", "%", "2.5e-01", "98", "%", "ok"]
    assert lines[2].split() == ["set1", "min_ttc_s", "8", "9", "88.9", "%", "inf", "-", "ok"], "all that differs shows"
    assert lines[3] == "statistics behind the metrics: 17 of 18 agree"
    assert lines[4:6] == [
        "set1, case 0: score is 0.75, expected 1.0",
        "set1, case 1 (expert): score is 0.75, expected 1.0",
    ]
    assert err == "verifying: 3/3 set1\n"


def test_too_few_agree(report, capsys):
    report(170)
    assert cli.main(["verify"]) == 1
    out, err = capsys.readouterr()
    assert "FAIL" in out.splitlines()[1]
    assert err.splitlines()[-1] == "and 10 more: see --json"
    assert cli.main(["verify", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], len(document["disagreements"])) == (False, 30)
    assert document["agreement"][0] | {"share": 0.85, "ok": False} == document["agreement"][0]
    assert document["agreement"][2]["worst"] is None, "infinity is no JSON number"
