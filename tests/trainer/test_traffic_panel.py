"""Several kinds of traffic: what they come to together, and training that is judged by them."""

import json
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
from tests.trainer.conftest import CARTPOLE
from tests.trainer.outcomes import rows_of

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.errors import CheckpointError, DataError, UsageError
from drivetrain.interfaces import cli
from drivetrain.run_record import RunPaths, read_jsonl_tail, read_run_state
from drivetrain.sim.traffic_kinds import KINDS
from drivetrain.trainer import data_choice
from drivetrain.trainer.checkpoint import load_checkpoint
from drivetrain.trainer.closed_loop_evaluation import NamedPlanner, RowDriver
from drivetrain.trainer.command import main
from drivetrain.trainer.evaluate import evaluate
from drivetrain.trainer.evaluation_result import METRICS, result_of
from drivetrain.trainer.traffic_choice import choose_traffic
from drivetrain.trainer.traffic_panel import panel_metrics, panel_of
from drivetrain.trainer.trainer import Trainer

CONFIG = """\
environment: {name: driving, num_worlds: 6, threads: 1}
algorithm: {name: ppo, rollout_steps: 32, minibatch_size: 64, epochs: 1}
policy: {hidden: [16], agents_width: 32, road_width: 32, value_width: 8}
evaluation: {episodes: 3, max_share: 0, traffic: [replay, idm_timid], best_by: worst}
training: {total_steps: 700, threads: 1, device: cpu}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Return a root with a tiny sample store, where ``auto`` finds it, and a run that was judged by a panel."""
    root = tmp_path_factory.mktemp("root")
    folder = root / data_choice.SAMPLE
    folder.parent.mkdir(parents=True)
    write_sample(folder, train=6, val=3, test=0, workers=1, progress=lambda done, total: None)
    (root / "panel.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as context:
        context.setenv("DRIVETRAIN_ROOT", str(root))
        context.setattr(Trainer, "_evaluation_due", lambda self: True)
        assert train(root, "judged") == 0
    return root


@pytest.fixture(autouse=True)
def here(root, monkeypatch, tmp_path):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(root))
    monkeypatch.setattr("drivetrain.trainer.reference_rows.cache_root", lambda: tmp_path / "kernels")


def train(root: Path, run_id: str, *flags: str) -> int:
    return main("rl", ["--config", str(root / "panel.yaml"), "--no-mlflow", "--run-id", run_id, *flags])


@pytest.fixture(scope="module")
def checkpoint(root) -> Path:
    return RunPaths(root=root, run_id="judged").last


def among(traffic, scores):
    """The result of a planner in a traffic: scenario -> score."""
    values = {metric: np.zeros(len(scores)) for metric in METRICS} | {"score_basic": np.array(list(scores.values()))}
    return result_of(
        values, kinds=METRICS, planner="p", traffic=traffic, dynamics="direct", scenario_ids=list(scores), failures={},
        inputs={},
    )  # fmt: skip


def test_mean_and_worst_by_hand():
    """Means 0.7 and 0.5; per scenario the panel has 0.9, 0.6, 0.3; with 0 and 1: 0.56 +- t(4) sqrt(0.173 / 5)."""
    panel = panel_of([among("replay", {"a": 1.0, "b": 0.7, "c": 0.4}), among("idm", {"a": 0.8, "b": 0.5, "c": 0.2})])
    assert (panel.score, panel.worst_traffic) == ("score_basic", "idm")
    assert panel.mean.mean == pytest.approx(0.6)
    assert panel.mean.low == pytest.approx(0.56 - 2.776445 * np.sqrt(0.173 / 5))
    assert (panel.mean.high, panel.mean.num) == (1.0, 3)
    assert panel.worst.mean == pytest.approx(0.5)
    assert set(panel.to_json()) == {"score", "mean", "worst", "worst_traffic"}


def test_only_scenarios_with_a_score_everywhere_count():
    """The hard scenario c failed in idm, d has no score in replay: neither makes a traffic look easy."""
    results = [
        among("replay", {"a": 0.9, "b": 0.9, "c": 0.0, "d": np.nan}),
        among("idm", {"a": 0.8, "b": 0.8, "d": 0.9}),
    ]
    panel = panel_of(results)
    assert panel.worst_traffic == "idm"
    assert panel.worst.mean == pytest.approx(0.8)
    assert panel.mean.num == panel.worst.num == 2
    nothing = panel_of([among("replay", {"a": 1.0}), among("idm", {"b": 1.0})])
    assert (nothing.mean.mean, nothing.worst.mean, nothing.worst_traffic) == (None, None, "replay")
    assert panel_of([among("idm", {"a": 0.5}), among("replay", {"a": 0.5})]).worst_traffic == "idm"


def test_names_of_a_panels_metrics():
    one = {"score_basic": 0.5, "progress": 0.5}
    assert panel_metrics({"idm": one}) == one
    assert panel_metrics({"replay": {"score_basic": 0.75, "progress": 1.0}, "idm": one}) == {
        "score_basic": 0.625,
        "progress": 0.75,
        "worst/score_basic": 0.5,
        "replay/score_basic": 0.75,
        "replay/progress": 1.0,
        "idm/score_basic": 0.5,
        "idm/progress": 0.5,
    }


def test_a_run_judged_by_its_worst_traffic(root):
    paths = RunPaths(root=root, run_id="judged")
    rows = [row for row in rows_of(paths) if "eval/worst/score_basic" in row]
    assert len(rows) >= 4
    for row in rows:
        scores = [row[f"eval/{traffic}/score_basic"] for traffic in ("replay", "idm_timid")]
        assert row["eval/worst/score_basic"] == min(scores)
        assert row["eval/score_basic"] == pytest.approx(np.mean(scores))
        assert row["eval/idm_timid/progress"] >= 0
    worst = {row["step"]: row["eval/worst/score_basic"] for row in rows}
    best = load_checkpoint(paths.best)
    assert best.metric == {
        "name": "eval/worst/score_basic",
        "traffic": ["replay", "idm_timid"],
        "value": max(worst.values()),
        "ties": {name: row[name] for row in rows if row["step"] == best.step for name in best.metric["ties"]},
        "step": best.step,
    }
    assert list(best.metric["ties"]) == ["eval/score_basic", "eval/mean_reward"]
    assert worst[best.step] == best.metric["value"] == read_run_state(paths).best_score
    told = [event for event in read_jsonl_tail(paths.events_jsonl, 100) if event["event"] == "evaluated"]
    assert told[0]["worst/score_basic"] == rows[0]["eval/worst/score_basic"]
    assert told[0]["idm_timid/score_basic"] == rows[0]["eval/idm_timid/score_basic"]
    lines = paths.train_log.read_text()
    assert "eval/idm_timid/score_basic" in lines
    assert "eval/idm_timid/progress" not in lines


def test_what_was_best_by_another_figure_is_not_kept(root, checkpoint):
    """A resume may change what is looked at; then the first evaluation is the best, whatever its value."""
    assert train(root, "resumed", "--total-steps", "192") == 0
    paths = RunPaths(root=root, run_id="resumed")
    kept = load_checkpoint(paths.best).metric
    more = ("--resume", "--total-steps", "384")
    assert train(root, "resumed", *more, "--set", f"evaluation.traffic=[idm, 'self_play:{checkpoint}']") == 0
    now = load_checkpoint(paths.best).metric
    assert now["traffic"] == ["idm", f"self_play:{checkpoint}"]
    assert (now["name"], now["step"]) == (kept["name"], 384)
    assert {"eval/self_play/score_basic", "eval/idm/score_basic"} <= rows_of(paths)[-1].keys()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (
            "evaluation.traffic=idm_timd",
            "evaluation.traffic: 'idm_timd' is not one of replay, idm, idm_aggressive, idm_timid, "
            "self_play:CHECKPOINT; did you mean 'idm_timid'?",
        ),
        ("evaluation.traffic=[]", "evaluation.traffic: an empty list; name at least one of replay, idm, idm_agg"),
        ("evaluation.traffic=[idm, idm]", "evaluation.traffic: names a traffic twice; name each once"),
        ("evaluation.traffic=[self_play]", "evaluation.traffic: 'self_play' lacks the checkpoint that drives; write"),
        ("evaluation.best_by=median", "evaluation.best_by: 'median' is unknown; use mean or worst"),
        ("evaluation.traffic='self_play:gone.pt'", "gone.pt: no such checkpoint; train first, or check the path"),
    ],
)
def test_wrong_panels_are_one_line(root, capfd, flag, message):
    assert train(root, "wrong", "--set", flag) in (1, 2)
    shown = [line for line in capfd.readouterr().err.splitlines() if message in line]
    assert len(shown) == 1


def test_a_checkpoint_that_drives_nothing_is_no_traffic(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    config = tmp_path / "cartpole.yaml"
    config.write_text(CARTPOLE)
    words = ["--config", str(config), "--no-mlflow", "--run-id", "pole", "--total-steps", "1"]
    assert main("rl", words) == 0
    path = RunPaths(root=tmp_path, run_id="pole").best
    with pytest.raises(UsageError) as error:
        choose_traffic(f"self_play:{path}")
    assert str(error.value) == (
        f"traffic: {path} is a policy of a Gymnasium environment and drives no vehicle; name one that drives"
    )
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        choose_traffic(f"self_play:{tmp_path / 'gone.pt'}")


def test_self_play_in_both_engines(root, checkpoint):
    store = root / data_choice.SAMPLE
    name = f"self_play:{checkpoint}"
    for dynamics, score in (("direct", "score_basic"), ("tracker", "score")):
        replayed = evaluate("idm", store, dynamics=dynamics)
        played = evaluate("idm", store, dynamics=dynamics, traffic=name)
        assert played.traffic == name
        assert played.scenario_ids == replayed.scenario_ids
        assert any((played.values[metric] != replayed.values[metric]).any() for metric in played.values)
        again = evaluate("idm", store, dynamics=dynamics, traffic=name, reference=dynamics == "direct")
        np.testing.assert_array_equal(again.values[score], played.values[score])


def test_rows_among_a_policy_are_kept_by_its_content(root, checkpoint, tmp_path, monkeypatch):
    copy = tmp_path / "copy.pt"
    copy.write_bytes(checkpoint.read_bytes())
    store = root / data_choice.SAMPLE
    first = evaluate("idm", store, dynamics="direct", traffic=f"self_play:{checkpoint}")
    monkeypatch.setattr("drivetrain.trainer.reference_rows.evaluate_planner", None)
    second = evaluate("idm", store, dynamics="direct", traffic=f"self_play:{copy}")
    assert second.traffic == f"self_play:{copy}"
    np.testing.assert_array_equal(second.values["score_basic"], first.values["score_basic"])


@pytest.mark.parametrize("kind", ["idm_timid", "self_play"])
def test_traffic_travels_to_other_processes(root, checkpoint, kind):
    """What a process is sent drives as the original does."""
    traffic = choose_traffic(kind if kind != "self_play" else f"self_play:{checkpoint}")
    start = NamedPlanner(name="nuplan_simple")
    driver = RowDriver(path=root / data_choice.SAMPLE, start=start, traffic=traffic, scenarios=None)
    row = int(ScenarioStore(root / data_choice.SAMPLE).rows("val")[0])
    sent = ForkingPickler.loads(ForkingPickler.dumps(driver))
    (here,), (there,) = driver((row,)), sent((row,))
    assert here.values == there.values
    assert not here.failure


def test_the_command_shows_a_panel(root, checkpoint, capsys):
    words = ["evaluate", "--planner", "constant_velocity", "--data", str(root / data_choice.SAMPLE)]
    words += ["--dynamics", "direct", "--traffic", f"panel,self_play:{checkpoint}"]
    assert cli.main([*words, "--json", "--no-reference"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [part["traffic"] for part in document["results"]] == [*KINDS, f"self_play:{checkpoint}"]
    scores = [part["score_basic"]["mean"] for part in document["results"]]
    assert document["panel"]["mean"]["mean"] == pytest.approx(np.mean(scores))
    assert document["panel"]["worst"]["mean"] == pytest.approx(min(scores))
    assert cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("score_basic by traffic:")
    assert lines[start + 1].split()[:3] == ["traffic", "constant_velocity", "log_replay"]
    assert lines[start + 1].split().count("constant_velocity") == 1  # not once more as its own reference row
    assert [line.split()[0] for line in lines[start + 2 :]] == [*KINDS, f"self_play:{checkpoint}", "mean", "worst"]


def test_results_without_a_score_in_common_are_no_panel():
    pole = result_of(
        {"mean_reward": np.ones(1)}, kinds={"mean_reward": "amount"}, planner="p", traffic="", dynamics="",
        scenario_ids=["0"], failures={}, inputs={},
    )  # fmt: skip
    with pytest.raises(DataError, match=r"^panel: the results have no score in common$"):
        panel_of([pole, pole])
