"""The report: the headings and columns of the contract, in this order, in both languages."""

import json
import re

import pytest
from tests.runs.run_folders import noise, rows_of, write_ended_run, write_run

from drivetrain.interfaces import cli, report
from drivetrain.interfaces.report import build_report, markdown_table, spread_rows
from drivetrain.interfaces.report_words import _ADVICE, _SENTENCES, LANGUAGES, advice_text
from drivetrain.runs.advice import Advice
from drivetrain.runs.resources import GpuReading, SystemResources
from drivetrain.trainer.watchdog_config import WatchdogConfig

HEADINGS = [
    "## Training Status Report",
    "### Active Training Runs",
    "### Recent Metrics (ppo_v1)",
    "### System Resources",
    "### Estimated Completion",
    "### Recommendations",
]
GPU = GpuReading(
    uuid="GPU-1", name="RTX 4090", utilization=0.78, memory_used_bytes=18 * 10**9, memory_total_bytes=24 * 10**9
)


def machine(*, gpus=()):
    return SystemResources(
        gpus=gpus,
        gpu_reason=None if gpus else "NVML library not found",
        ram_used_bytes=45 * 10**9,
        ram_total_bytes=128 * 10**9,
        disk_used_bytes=230 * 10**9,
        disk_free_bytes=3_770 * 10**9,
        disk_total_bytes=4_000 * 10**9,
        num_processors=8,
        load_average=1.0,
    )


@pytest.fixture
def active(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "read_resources", lambda root: machine(gpus=(GPU,)))
    rows = rows_of(35, mean_reward=lambda i: 0.1 * i, collision=0.06, progress=0.8, loss=0.1)
    gpu = {"uuid": "GPU-1", "name": "RTX 4090", "memory_reserved": 10**9}
    _, lock = write_run(tmp_path, "ppo_v1", rows=rows, state={"gpu": gpu})
    yield tmp_path
    lock.release()


def headings(text):
    return [line for line in text.splitlines() if line.startswith("#")]


def test_the_report_of_an_active_run(active):
    text = build_report(active).to_markdown("en")
    assert headings(text) == HEADINGS
    assert "| Run ID | Algorithm | Step | Reward | GPU Usage |\n|--------|" in text
    assert "| ppo_v1 | PPO | 350K | 3.40 | 78% |" in text
    assert "| Step | Reward | Collision | Progress | Loss |" in text
    # 35 rows: the last of every fifth.
    assert re.findall(r"^\| (\d+K) \| ([\d.]+) \| 0\.06 \| 0\.80 \| 0\.100 \|$", text, flags=re.MULTILINE) == [
        ("70K", "0.60"), ("140K", "1.30"), ("210K", "2.00"), ("280K", "2.70"), ("350K", "3.40")
    ]  # fmt: skip
    assert "- GPU: RTX 4090 - 78% usage, 18 GB / 24 GB VRAM" in text
    assert "- RAM: 45 GB / 128 GB\n- Disk: 230 GB / 4 TB (3.8 TB free)" in text
    assert "- ppo_v1: ~2.2 minutes (650K steps remaining at 5K steps/s)" in text.replace("~2 minutes", "~2.2 minutes")
    assert text.endswith("### Recommendations\nNone.\n")


def test_korean_keeps_headings_and_columns(active):
    text = build_report(active).to_markdown("ko")
    assert headings(text) == HEADINGS
    assert "| Run ID | Algorithm | Step | Reward | GPU Usage |" in text
    assert text.endswith("### Recommendations\n없습니다.\n")
    assert "650K 스텝 남음" in text


def test_every_sentence_exists_in_both_languages_with_the_same_values():
    def values(text):
        return sorted(re.findall(r"{(\w+)}", text))

    for name, texts in [*_SENTENCES.items(), *_ADVICE.items()]:
        assert set(texts) == set(LANGUAGES), name
    for name, texts in _SENTENCES.items():
        assert values(texts["en"]) == values(texts["ko"]), name


def test_without_runs_the_headings_stand_and_nothing_is_invented(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "read_resources", lambda root: machine())
    text = build_report(tmp_path).to_markdown("en")
    assert headings(text) == [heading.replace("ppo_v1", "none") for heading in HEADINGS]
    assert "|-----------|\n\nNo active run." in text
    assert "- GPU: none (NVML library not found)" in text
    assert "### Estimated Completion\nNo active run." in text


def test_the_newest_ended_run_is_shown_where_none_is_active(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "read_resources", lambda root: machine())
    write_ended_run(tmp_path, "older", status="completed", created=1.0, rows=rows_of(5, mean_reward=1.0))
    write_ended_run(tmp_path, "newer", status="completed", created=2.0, rows=rows_of(5, mean_reward=2.0))
    text = build_report(tmp_path).to_markdown("en")
    assert "### Recent Metrics (newer)" in text
    assert "| 50K | 2.00 | - | - | - |" in text


def test_a_young_run_is_warming_up(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "read_resources", lambda root: machine())
    _, lock = write_run(tmp_path, "young", rows=rows_of(3, mean_reward=1.0))
    text = build_report(tmp_path).to_markdown("en")
    assert "- young: warming up (970K steps remaining)" in text
    assert "| young | PPO | 30K | 1.00 | none (cpu) |" in text
    lock.release()


def test_json_says_the_same(active):
    document = json.loads(json.dumps(build_report(active).to_json("en"), allow_nan=False))
    assert [run["run_id"] for run in document["active_runs"]] == ["ppo_v1"]
    assert document["recent_metrics"]["ppo_v1"][-1] == {
        "step": 350_000, "reward": pytest.approx(3.4), "collision": 0.06, "progress": 0.8, "loss": 0.1
    }  # fmt: skip
    assert document["estimated_completion"][0]["pace"]["remaining_steps"] == 650_000
    assert document["recommendations"] == []


def test_recommendations_carry_their_evidence(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "read_resources", lambda root: machine())
    rows = rows_of(600, mean_reward=noise(start=5.0), frac_sim=0.7)
    _, lock = write_run(tmp_path, "ppo_v1", rows=rows, total_steps=7_000_000)
    text = build_report(tmp_path).to_markdown("en")
    assert "\n1. Consider early stopping for ppo_v1: mean_reward has converged" in text
    assert "86% of the budget used" in text
    assert "\n2. ppo_v1 is bound by simulation (70% of its time, median of 20 rows)" in text
    lock.release()


CURVE = {
    "metric": "mean_reward", "change_low": -2.0, "change_high": -1.0, "delta": 0.5, "num_points": 400,
    "ahead_points": 100, "newest": 1.5, "budget_used": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("kind", "evidence", "shown"),
    [
        (
            "stalled",
            {"silent_s": 300, "phase": "saving", "usual_interval_s": 2.0, "log": "train.log"},
            ["300", "2.0"],
        ),
        ("stalled", {"silent_s": 300, "phase": "saving", "usual_interval_s": None, "log": "train.log"}, ["train.log"]),
        (
            "resume",
            {"status": "lost", "step": 350_000, "detail": "killed?", "command": "x --resume"},
            ["350K", "x --res"],
        ),
        ("alert", {"message": "entropy collapsed", "at_step": 1000}, ["entropy collapsed", "1K"]),
        (
            "alert",
            {"rule": "kl_spike", "action": "warn", "metric": "approx_kl", "value": 0.51, "limit": 0.15, "iterations": 3}
            | {"step": 1000},
            ["approx_kl", "0.51", "0.15", "3", "1K"],
        ),
        (
            "alert",
            {"rule": "non_finite", "action": "rollback", "metric": "loss", "iterations": 1, "step": 5000}
            | {"to_step": 4000, "learning_rate_scale": 0.25},
            ["loss", "5K", "4K", "25%"],
        ),
        ("collapse", CURVE, ["mean_reward", "1.50"]),
        ("degrading", CURVE, ["-2.00", "-1.00"]),
        ("early_stop", CURVE, ["50%", "0.50"]),
        ("bottleneck", {"part": "infer", "fraction": 0.7, "rows": 20}, ["70%"]),
        ("bottleneck", {"part": "learn", "fraction": 0.7, "rows": 20}, ["70%"]),
        ("gpu_idle", {"utilization": 0.3, "memory": 0.2, "span_s": 130.0}, ["30%", "20%"]),
        ("disk", {"free_bytes": 10**9, "needed_bytes": 2 * 10**9}, ["1 GB", "2 GB"]),
    ],
)
def test_every_kind_of_advice_has_words(kind, evidence, shown, language):
    text = advice_text(Advice(kind=kind, run_id="ppo_v1", evidence=evidence), language)
    assert all(part in text for part in [*shown, *([] if kind == "disk" else ["ppo_v1"])])
    assert "{" not in text


def test_every_rule_of_the_watchdog_has_words():
    for rule in ("non_finite", *WatchdogConfig().rules()):
        evidence = {"rule": rule, "action": "rollback", "metric": "m", "iterations": 1, "step": 1}
        texts = [advice_text(Advice(kind="alert", run_id="a", evidence=evidence), language) for language in LANGUAGES]
        assert len(set(texts)) == len(LANGUAGES)
        assert "the run was stopped" in texts[0]  # nothing says that it went back: it could not


def test_rows_are_spread_and_those_without_a_reward_left_out():
    rows = [{"step": i, "mean_reward": None if i % 2 else 1.0} for i in range(20)]
    assert [row["step"] for row in spread_rows(rows)] == [2, 6, 10, 14, 18]
    assert [row["step"] for row in spread_rows(rows[:3])] == [0, 2]
    assert spread_rows([]) == []
    assert [row["step"] for row in spread_rows([{"step": 1}])] == [1]


def test_a_pipe_in_a_cell_is_escaped():
    assert markdown_table(("A",), [("x|y",)])[-1] == "| x\\|y |"


def test_the_command_writes_to_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    target = tmp_path / "report.md"
    assert cli.main(["report", "--out", str(target), "--lang", "ko"]) == 0
    assert target.read_text().startswith("## Training Status Report\n")
    assert capsys.readouterr() == ("", f"wrote {target}\n")
    assert cli.main(["report", "--json", "--out", str(target)]) == 0
    assert json.loads(target.read_text())["active_runs"] == []
    assert cli.main(["report", "--out", str(tmp_path / "no" / "report.md")]) == 1
    assert "cannot write" in capsys.readouterr().err
    assert cli.main(["report"]) == 0
    assert capsys.readouterr().out.startswith("## Training Status Report\n")
