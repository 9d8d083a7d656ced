"""What people see."""

from __future__ import annotations

import io
import json
import sys

import pytest

from drivetrain.run_record import RunPaths
from drivetrain.trainer.display import BarDisplay, LineDisplay, clock, line, open_display, short_count
from drivetrain.trainer.metric_log import MetricLog, strict, text_of

ROW = {"step": 350_000, "mean_reward": 4.2512, "collision": 0.125, "progress": 0.8, "loss": None, "sps": 61234.5}


def test_a_line_says_how_far_how_well_how_fast_how_long():
    assert line(step=350_000, total_steps=2_000_000, row=ROW, eta_s=27.4) == (
        "step 350,000/2,000,000 (18 %) | reward 4.25 | collision 0.125 | progress 0.8 | 61,234 steps/s | ETA 00:27"
    )


@pytest.mark.parametrize(("seconds", "text"), [(0, "00:00"), (59.6, "01:00"), (754, "12:34"), (7322, "2:02:02")])
def test_durations(seconds, text):
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (950, "950"), (1000, "1K"), (350_000, "350K"), (1_200_000, "1.2M"), (2e9, "2B")]
)
def test_counts(number, text):
    assert short_count(int(number)) == text


def test_plain_lines_where_there_is_no_terminal(capsys):
    display = open_display(run_id="a", total_steps=100, step=0)
    assert isinstance(display, LineDisplay)
    for step in (1, 2, 3, 100):
        display.show(step=step, row={}, eta_s=None, phase="collecting")
    display.show(step=100, row={}, eta_s=None, phase="evaluating")
    display.close()
    assert capsys.readouterr().err == "step 1/100 (1 %)\nstep 100/100 (100 %)\n"


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    display = open_display(run_id="ppo_v1", total_steps=2_000_000, step=0)
    assert isinstance(display, BarDisplay)
    display.show(step=350_000, row=ROW, eta_s=27.4, phase="collecting")
    display.say("something to keep")
    display.close()
    shown = terminal.getvalue()
    assert "ppo_v1" in shown
    assert "ETA 00:27 | 350K/2M | reward 4.25 | collision 0.125" in shown
    assert "something to keep" in shown


def test_a_row_for_people_and_for_programs(tmp_path):
    row = strict({"step": 1000, "time": 5.0, "loss": 0.123456, "sps": 61234.5, "eval/score": 0.5, "bad": float("nan")})
    assert row["bad"] is None
    assert row["nonfinite"] == ["bad"]
    assert text_of(row) == "step 1,000 | loss 0.1235 | sps 61,234 | eval/score 0.5"
    paths = RunPaths(root=tmp_path, run_id="a")
    paths.folder.mkdir(parents=True)
    log = MetricLog(paths, resumed_step=None)
    log.write(row)
    log.flush()
    assert json.loads(paths.metrics_jsonl.read_text()) == row
    assert paths.train_log.read_text().endswith(" step 1,000 | loss 0.1235 | sps 61,234 | eval/score 0.5\n")
