"""`drivetrain watch`: curves, what it shows of runs, and what it does without an extra."""

import io

import pytest
from rich.console import Console
from tests.runs.run_folders import rows_of, write_ended_run, write_run

from drivetrain.interfaces import cli
from drivetrain.interfaces.tables import STATUS_STYLES
from drivetrain.interfaces.watch_table import draw, rich_style
from drivetrain.interfaces.watch_view import Watcher, curve_line, sparkline
from drivetrain.run_record import append_line


@pytest.fixture
def root(tmp_path):
    """Two runs that have ended, one that trains."""
    for number in (1, 2):
        record = write_ended_run(
            tmp_path, f"old_{number}", status="completed", rows=rows_of(10, mean_reward=float), created=number
        )
    rows = rows_of(40, mean_reward=lambda index: -float(index))
    rows[10]["eval/score"], rows[30]["eval/score"] = 0.25, 0.5
    record, lock = write_run(tmp_path, "ppo_v1", rows=rows, created=0)
    record.paths.train_log.write_text("".join(f"line {number}\n" for number in range(30)))
    yield tmp_path
    lock.release()


def screen(view, *, height=None, width=160):
    console = Console(width=width, color_system=None, file=io.StringIO(), record=True)
    console.print(draw(view, height=height, width=width))
    return console.export_text()


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [
        ((), 5, ""),
        ((2.0,), 5, "▄"),
        ((3.0, 3.0, 3.0), 5, "▄▄▄"),
        ((0.0, 7.0), 5, "▁█"),
        ((0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0), 8, "▁▂▃▄▅▆▇█"),
        ((0.0, 2.0, 6.0, 8.0, 1.0, 1.0), 3, "▁█▁"),  # means 1, 7, 1
        (tuple(float(n) for n in range(1001)), 4, "▁▃▆█"),
    ],
)
def test_a_curve_is_the_means_of_neighbours(values, width, expected):
    assert sparkline(values, width) == expected


def test_a_curve_has_its_newest_value_and_its_range():
    assert curve_line("reward", (1.0, 4.0, 2.0), 10).split() == ["reward", "▁█▃", "2.00", "(1.00", "to", "4.00)"]
    assert curve_line("reward", ()).split() == ["reward", "-"]


@pytest.mark.parametrize("width", [50, 80, 100, 120])
def test_a_narrow_screen_has_fewer_columns_and_whole_names(root, width):
    lines = screen(Watcher(root).look(), width=width).splitlines()
    assert all(len(line) <= width for line in lines)
    header, runs = lines[1].split(), [line.split()[0] for line in lines[2:5]]
    assert header[:2] == ["Run", "Algorithm"] if width >= 100 else header[0] == "Run"
    assert {"Status", "Step"} <= set(header)
    assert runs == ["ppo_v1", "old_2", "old_1"]


def test_active_runs_come_first_then_the_newest(root):
    view = Watcher(root).look()
    assert [(run.run_id, run.is_active) for run in view.runs] == [("ppo_v1", True), ("old_2", False), ("old_1", False)]
    assert view.runs[0].rewards == tuple(-float(index) for index in range(40))
    assert view.runs[1].rewards == tuple(float(index) for index in range(10))
    assert view.detail.run_id == "ppo_v1"
    assert (view.detail.score_name, view.detail.scores) == ("evaluated score", (0.25, 0.5))
    assert view.detail.log == tuple(f"line {number}" for number in range(18, 30))


def test_a_run_is_chosen_by_name_and_one_that_is_gone_is_not_missed(root):
    watcher = Watcher(root)
    assert watcher.look("old_1").detail.run_id == "old_1"
    assert watcher.look("deleted").detail.run_id == "ppo_v1"


def test_the_curve_of_an_ended_run_is_read_once(root):
    watcher = Watcher(root)
    watcher.look()
    append_line(root / "experiments/logs/old_1/metrics.jsonl", {"step": 1, "mean_reward": 99.0})
    assert 99.0 not in watcher.look().runs[2].rewards
    assert 99.0 in Watcher(root).look().runs[2].rewards


def test_the_screen_has_runs_curves_the_machine_and_the_log(root):
    text = screen(Watcher(root).look())
    for part in ("ppo_v1", "running", "old_2", "400K/1M", "memory ", "disk ", "evaluated score", "line 29"):
        assert part in text
    assert "Collision" not in text  # a column in which no run says anything


def test_runs_that_do_not_fit_are_counted(root):
    view = Watcher(root).look(log_lines=0)
    for number in range(3, 10):
        write_ended_run(root, f"old_{number}", status="completed", created=number)
    text = screen(Watcher(root).look(log_lines=0), height=11)
    assert "... and 6 more" in text
    assert "old_9" in text
    assert "old_2" not in text
    assert "more" not in screen(view, height=11)


def test_why_a_run_failed_is_told(tmp_path):
    write_ended_run(tmp_path, "ppo_v1", status="failed", message="the loss is nan", rows=rows_of(3))
    assert "the loss is nan" in screen(Watcher(tmp_path).look())


def test_without_a_run_it_says_how_to_start_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["watch", "--once"]) == 0
    assert "No run yet; start one: drivetrain start python/configs/planning/ppo.yaml" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--interval", "0"], "watch --interval: 0 s; give 0.2 to 3600"),
        (["--interval", "nan"], "watch --interval: nan s; give 0.2 to 3600"),
        (["ppo_v2", "--once"], "run 'ppo_v2' does not exist in experiments/logs; did you mean 'ppo_v1'?"),
        ([], "watch: standard output is no terminal; 'drivetrain watch --once' prints one look"),
    ],
)
def test_what_cannot_be_is_one_line(root, monkeypatch, capsys, words, message):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(root))
    assert cli.main(["watch", *words]) != 0
    assert capsys.readouterr().err == f"drivetrain: {message}\n"


def test_every_colour_of_a_status_has_a_word():
    assert {status: rich_style(codes) for status, codes in STATUS_STYLES.items()}["failed"] == "red bold"
