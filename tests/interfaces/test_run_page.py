import json
import re

import pytest
from tests.rendering.browser import browser, program
from tests.rendering.driving_policies import plain_policy, write_policy
from tests.runs.run_folders import rows_of, write_ended_run

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.interfaces.cli import main
from drivetrain.interfaces.run_page.chart import BOTTOM, HEIGHT, LEFT, MOST_POINTS, Chart, Line, thinned, ticks
from drivetrain.interfaces.run_page.curves import evaluation_charts, read_columns, throughput
from drivetrain.interfaces.run_page.page import run_page
from drivetrain.run_record import DataChoice, RunPaths, append_line
from drivetrain.runs.evaluations import Evaluation


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [(0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (-3.0, 7.0, [-2, 0, 2, 4, 6]), (0.0, 4.9e6, [0, 1e6, 2e6, 3e6, 4e6])],
)
def test_axes_have_round_numbers(low, high, marks):
    assert ticks(low, high) == pytest.approx(marks)


def test_long_curves_are_drawn_by_means():
    points = [(float(step), float(step % 2)) for step in range(4 * MOST_POINTS)]
    shown = thinned(points)
    assert len(shown) == MOST_POINTS
    assert shown[0] == (1.5, 0.5)  # the mean of 0, 1, 2, 3
    assert thinned(points[:MOST_POINTS]) == points[:MOST_POINTS]


def test_a_curve_lies_where_its_values_say():
    svg = Chart(title="a < b", lines=[Line(label="x", points=[(0, 0.0), (10, 1.0)])], bounds=(0.0, 1.0)).svg()
    assert f"M{LEFT:.1f} {HEIGHT - BOTTOM:.1f}L" in svg
    assert "a &lt; b" in svg
    assert Chart(title="nothing", lines=[Line(label="x", points=[])]).svg() == ""
    flat = Chart(title="flat", lines=[Line(label="x", points=[(5, 2.0), (9, 2.0)])]).svg()
    assert "nan" not in flat
    assert "inf" not in flat


def test_names_of_near_reference_rows_share_a_line():
    line = Line(label="score", points=[(0, 0.5), (10, 0.6)])
    levels = [("log replay", 0.981), ("expert", 0.985), ("idm", 0.3)]
    svg = Chart(title="score", lines=[line], levels=levels, bounds=(0.0, 1.0)).svg()
    assert ">expert, log replay</text>" in svg
    assert ">idm</text>" in svg


def test_what_was_logged_is_read_with_torn_lines_and_repeated_steps(tmp_path):
    paths = RunPaths(root=tmp_path, run_id="a")
    paths.metrics_jsonl.parent.mkdir(parents=True)
    for row in (
        {"step": 20, "loss": 3.0},
        {"step": 10, "loss": 1.0},
        {"step": 20, "loss": 2.0},
        {"step": 30, "sps": 5},
    ):
        append_line(paths.metrics_jsonl, row)
    with paths.metrics_jsonl.open("a") as file:
        file.write('{"step": 40, "lo')
    assert read_columns(paths, ("loss", "sps", "entropy")) == {"loss": [(10, 1.0), (20, 2.0)], "sps": [(30, 5.0)]}
    assert read_columns(RunPaths(root=tmp_path, run_id="none"), ("loss",)) == {}


def test_rates_have_intervals_and_shares_a_rest():
    found = [Evaluation(step=5, metrics={"score_basic": 0.5, "collision_at_fault_rate": 0.0, "progress": 0.7})]
    score, failures, progress = evaluation_charts(found, 100, [])
    # Wilson's interval of 0 in 100 ends at z^2 / (n + z^2) = 3.8415 / 103.8415.
    assert failures.lines[0].intervals == [(0.0, pytest.approx(0.036995, abs=1e-5))]
    assert score.lines[0].intervals == ()
    assert [line.label for line in progress.lines] == ["progress"]
    assert evaluation_charts([], 100, []) == []
    shares = throughput({"frac_sim": [(1, 0.25), (2, 0.15)], "frac_learn": [(1, 0.5)]})
    assert shares == {"simulating": pytest.approx(0.2), "learning": 0.5, "other": pytest.approx(0.3)}
    assert throughput({}) == {}


def test_a_run_without_evaluations_or_checkpoint_says_so(root):
    record = write_ended_run(root, "young", rows=rows_of(3, loss=0.5), status="stopped")
    append_line(record.paths.events_jsonl, {"event": "watchdog", "message": "kl <too> long", "time": 0.0, "at_step": 5})
    page = run_page("young")
    assert "This run has made no evaluation yet." in page
    assert "Not evaluated: the run has no checkpoint yet, so nothing can be evaluated." in page
    assert "config.yaml cannot be read." in page
    assert "kl &lt;too&gt; long" in page
    assert "fingerprint f00d" in page
    assert "Worst scenes" not in page
    assert not re.search(r"https?:|<script|@import|url\(", page)


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    """The project root of a run with a policy, data and evaluations."""
    place = tmp_path_factory.mktemp("project")
    folder = place / "datasets" / "processed" / "few"
    write_sample(folder, train=0, val=3, test=0, progress=lambda *_: None)
    data = DataChoice(path="datasets/processed/few", fingerprint=ScenarioStore(folder).fingerprint, choice="explicit")
    evaluated = {"eval/score_basic": lambda i: 0.2 + 0.1 * i, "eval/collision_at_fault_rate": 0.5}
    rows = rows_of(5, loss=lambda i: 1.0 / (i + 1), frac_sim=0.4, frac_learn=0.5, **evaluated)
    record = write_ended_run(place, "grown", rows=rows, status="completed", data=data)
    write_policy(record.paths.best, plain_policy())
    record.paths.config_yaml.write_text("environment: {name: driving}\nevaluation: {episodes: 3}\n")
    return place


def test_a_page_has_scores_scenes_and_curves(driven, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(driven))
    out = tmp_path / "new" / "grown.html"
    assert main(["report", "grown", "--html", "--scenes", "2", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    page = out.read_text()
    assert page.count('<img src="data:image/png;base64,') == 2
    assert page.count('<svg class="chart"') == 3  # score, failures, loss: nothing else was logged
    assert "<th>constant_velocity</th>" in page
    assert "3 held-out episodes" in page
    assert "has changed since the training" not in page
    assert "learning 50%" in page
    if program() is None:
        pytest.skip("no chromium on this machine; the page itself was checked")
    with browser() as opened:
        opened.open(out, width=390, height=800)
        assert opened.evaluate("document.documentElement.scrollWidth") == 390
        assert opened.evaluate("[...document.images].every(image => image.naturalWidth > 100)")
        assert opened.problems() == []


def test_other_data_than_in_training_are_told(driven, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(driven))
    path = RunPaths(root=driven, run_id="grown").run_json
    before = path.read_text()
    try:
        path.write_text(before.replace(json.loads(before)["data"]["fingerprint"], "0123456789abcdef"))
        assert "has changed since the training" in run_page("grown", scenes=0)
        path.write_text(before.replace("datasets/processed/few", "datasets/processed/gone"))
        page = run_page("grown")
        assert "Not evaluated: " in page
        assert "datasets/processed/gone" in page
        assert '<svg class="chart"' in page
    finally:
        path.write_text(before)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--html"], "report --html: which run? for example: drivetrain report ppo_v1 --html"),
        (["a"], "report: the status report is about all runs; a page of one: drivetrain report a --html"),
        (
            ["a", "--html", "--json"],
            "report: --json does not go with --html, which writes a page in English; leave it out",
        ),
        (["a", "--html", "--scenes", "-1"], "report --scenes: -1 is negative; use 0 for none, or more"),
    ],
)
def test_wrong_use_is_one_line(root, words, message, capsys):
    assert main(["report", *words]) == 2
    assert capsys.readouterr().err == f"drivetrain: {message}\n"


def test_a_run_that_is_not_there_is_named(root, capsys):
    write_ended_run(root, "grown", status="completed")
    assert main(["report", "grwn", "--html"]) == 1
    assert "did you mean 'grown'?" in capsys.readouterr().err
    assert main(["report", "grown", "--html", "--out", str(root)]) == 2
    assert "is a folder; name a file" in capsys.readouterr().err
