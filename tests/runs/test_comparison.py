"""Runs side by side: figures, groups of seeds, config difference and what is called significant."""

import pytest
from tests.runs.run_folders import rows_of, write_ended_run

from drivetrain.errors import UsageError
from drivetrain.run_record import DataChoice, RunPaths, append_line
from drivetrain.runs.comparison import compare_runs
from drivetrain.runs.evaluations import rate_interval, read_evaluations
from drivetrain.runs.run_store import RunStore

DRIVING = """
environment: {{name: driving, num_worlds: 64, reward: {{penalty_offroad: {penalty}}}}}
algorithm: {{name: ppo, learning_rate: {rate}}}
evaluation: {{episodes: 100, split: val, traffic: {traffic}}}
training: {{seed: {seed}, total_steps: 20000, log_interval: {interval}}}
"""
CARTPOLE = (
    "environment: {{name: gymnasium, id: CartPole-v1}}\nevaluation: {{episodes: 10}}\ntraining: {{seed: {seed}}}\n"
)


def run_of(root, run_id, scores, *, seed=0, rate=1e-4, traffic="replay", penalty=1.0, interval=1, text=DRIVING, **info):
    """A completed run whose evaluations had these scores, collision rates 0.1 and rewards ten times the score."""
    rows = rows_of(len(scores), loss=0.5, mean_reward=1.0, seconds=lambda index: 10.0 * (index + 1))
    if text == CARTPOLE:
        evaluations = [{"eval/mean_reward": score} for score in scores]
    else:
        evaluations = [
            {"eval/score_basic": score, "eval/collision_at_fault_rate": 0.1, "eval/mean_reward": 10.0 * score}
            for score in scores
        ]
    rows = [row | evaluation for row, evaluation in zip(rows, evaluations, strict=True)]
    record = write_ended_run(
        root, run_id, rows=rows, status=info.pop("status", "completed"), seed=seed, total_steps=20_000, **info
    )
    paths = RunPaths(root=root, run_id=run_id)
    values = {"seed": seed, "rate": rate, "traffic": traffic, "penalty": penalty, "interval": interval}
    paths.config_yaml.write_text(text.format(**values))
    return record


def compared(root, *run_ids):
    store = RunStore(root)
    return compare_runs([store.get(run_id) for run_id in run_ids])


def test_figures_of_runs(tmp_path):
    run_of(tmp_path, "a", [0.6, 0.5])
    run_of(tmp_path, "b", [0.4, 0.7], rate=3e-4)
    document = compared(tmp_path, "a", "b").to_json()
    first = document["runs"][0]
    assert (first["step"], first["seconds"], first["steps_per_s"]) == (20_000, 20.0, 1_000.0)
    assert first["training"] == {"mean_reward": 1.0, "collision": None, "progress": None, "loss": 0.5}
    assert (first["final"]["step"], first["best"]["step"]) == (20_000, 10_000)
    assert first["final"]["metrics"]["score_basic"] == {"mean": 0.5, "ci95": [None, None]}
    low, high = first["final"]["metrics"]["collision_at_fault_rate"]["ci95"]
    assert (low, high) == (pytest.approx(0.0552, abs=1e-4), pytest.approx(0.1744, abs=1e-4))
    assert document["config"] == {"algorithm.learning_rate": {"a": 1e-4, "b": 3e-4}}
    assert document["differences"] == []
    assert document["remarks"] == [
        "a and b: one seed each: no statement about significance; train two or more seeds of both"
    ]


def test_seeds_are_one_group_and_compared_pair_by_pair(tmp_path):
    for seed, (score, other) in enumerate([(0.50, 0.60), (0.60, 0.71), (0.70, 0.79)]):
        run_of(tmp_path, f"a{seed}", [score], seed=seed, interval=seed + 1)
        run_of(tmp_path, f"b{seed}", [other], seed=seed, rate=3e-4)
    comparison = compared(tmp_path, "a0", "a1", "a2", "b2", "b1", "b0")
    assert [group.name for group in comparison.groups] == ["a0 (3 seeds)", "b2 (3 seeds)"]
    score = comparison.contrasts[0].to_json()
    assert (score["metric"], score["method"], score["significant"]) == ("score_basic", "paired t", True)
    assert score["difference"] == pytest.approx(-0.1)
    assert score["ci95"][1] == pytest.approx(-0.1 + 4.302653 * 0.01 / 3**0.5, abs=1e-6)
    collisions = next(c for c in comparison.contrasts if c.metric == "collision_at_fault_rate")
    assert (collisions.judged.p, collisions.is_significant) == (None, False)
    assert comparison.remarks == (
        "3 differences were tested, each at 5 %: chance alone makes one in twenty look significant",
        "where the seeds of both sides do not differ at all, there is no interval",
    )


def test_other_seeds_are_compared_by_welch_and_repeats_of_a_seed_count_once(tmp_path):
    for run_id, seed, score, rate in (
        ("a0", 0, 0.5, 1e-4),
        ("a0again", 0, 0.7, 1e-4),
        ("a1", 1, 0.8, 1e-4),
        ("b2", 2, 0.5, 3e-4),
        ("b3", 3, 0.6, 3e-4),
    ):
        run_of(tmp_path, run_id, [score], seed=seed, rate=rate)
    comparison = compared(tmp_path, "a0", "a0again", "a1", "b2", "b3")
    assert comparison.groups[0].by_seed("score_basic") == {0: pytest.approx(0.6), 1: pytest.approx(0.8)}
    assert not comparison.contrasts[0].is_paired
    assert comparison.contrasts[0].judged.difference == pytest.approx(0.15)


def test_one_seed_against_two_says_nothing(tmp_path):
    run_of(tmp_path, "a0", [0.5])
    run_of(tmp_path, "a1", [0.6], seed=1)
    run_of(tmp_path, "b0", [0.9], rate=3e-4)
    comparison = compared(tmp_path, "a0", "a1", "b0")
    assert comparison.contrasts == ()
    assert comparison.remarks == (
        "a0 and b0: one of them has one seed only: no statement about significance; train two or more seeds of both",
    )


def test_unlike_tasks_compare_speed_only(tmp_path):
    for seed in (0, 1):
        run_of(tmp_path, f"d{seed}", [0.5 + seed], seed=seed)
        run_of(tmp_path, f"c{seed}", [100.0 + seed], seed=seed, text=CARTPOLE)
    comparison = compared(tmp_path, "d0", "d1", "c0", "c1")
    assert comparison.contrasts == ()
    assert comparison.remarks == (
        "d0 and c0: driving and CartPole-v1 are different tasks; only speed and time compare",
    )


def test_other_scenes_or_rewards_do_not_compare(tmp_path):
    for seed in (0, 1):
        run_of(tmp_path, f"a{seed}", [0.5 + 0.1 * seed], seed=seed)
        run_of(tmp_path, f"idm{seed}", [0.5], seed=seed, traffic="idm")
        run_of(tmp_path, f"mild{seed}", [0.6 + 0.2 * seed], seed=seed, penalty=0.1)
        data = DataChoice(path="datasets/processed/other", fingerprint="beef", choice="explicit")
        run_of(tmp_path, f"far{seed}", [0.5], seed=seed, data=data)
    scenes = compared(tmp_path, "a0", "a1", "idm0", "idm1")
    assert scenes.contrasts == ()
    assert scenes.remarks[0].endswith("different scenes or traffic (evaluation.traffic); their figures do not compare")
    assert "record.data_fingerprint" in compared(tmp_path, "a0", "far0").remarks[0]
    rewards = compared(tmp_path, "a0", "a1", "mild0", "mild1")
    assert [contrast.metric for contrast in rewards.contrasts] == ["score_basic", "collision_at_fault_rate"]
    assert rewards.remarks[0].endswith("(environment.reward), so mean_reward does not compare")


def test_what_is_missing_is_said(tmp_path):
    run_of(tmp_path, "a", [], status="failed")
    run_of(tmp_path, "b", [0.5])
    RunPaths(root=tmp_path, run_id="a").config_yaml.write_text("environment: [")
    comparison = compared(tmp_path, "a", "b")
    assert comparison.remarks[:3] == (
        "a: not evaluated yet",
        "a: failed at 0% of its steps",
        "a: its config.yaml cannot be read; config and significance leave it out",
    )
    assert len(comparison.groups) == 2


def test_damaged_rows_are_passed_over(tmp_path):
    run_of(tmp_path, "a", [0.5])
    file = RunPaths(root=tmp_path, run_id="a").metrics_jsonl
    with file.open("ab") as rows:
        rows.write(
            b'{"eval/score": 1.0\n["eval/score"]\n{"eval/score_basic": null, "step": 7}\n{"eval/score": 2, "step'
        )
    found = read_evaluations(RunPaths(root=tmp_path, run_id="a"))
    assert [(evaluation.step, evaluation.score_name) for evaluation in found] == [(10_000, "score_basic"), (7, None)]


def test_the_best_is_the_one_that_was_kept(tmp_path):
    run_of(tmp_path, "a", [0.9, 0.5])
    run_of(tmp_path, "b", [0.1])
    append_line(RunPaths(root=tmp_path, run_id="a").events_jsonl, {"event": "best", "step": 20_000, "score": 0.5})
    assert compared(tmp_path, "a", "b").runs[0].best.step == 20_000


def test_a_rate_of_none_or_all_keeps_its_end():
    assert rate_interval(0.0, 100) == (0.0, pytest.approx(0.0370, abs=1e-4))
    assert rate_interval(1.0, 100) == (pytest.approx(0.9630, abs=1e-4), 1.0)


def test_a_run_is_not_compared_with_itself(tmp_path):
    run_of(tmp_path, "a", [0.5])
    with pytest.raises(UsageError, match=r"^compare: give two or more different runs; 'drivetrain list' shows all$"):
        compared(tmp_path, "a", "a")
