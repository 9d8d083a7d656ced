"""Every recommendation appears on its evidence, and not without."""

import time

import pytest
from tests.runs.run_folders import noise, rewrite_state, rows_of, write_ended_run, write_run

from drivetrain.interfaces.report_words import advice_text
from drivetrain.runs.advice import advise
from drivetrain.runs.resources import SystemResources
from drivetrain.runs.run_store import RunStore

GIB = 2**30


def resources(*, free=100 * GIB, used=GIB):
    return SystemResources(
        gpus=(),
        gpu_reason="NVML library not found",
        ram_used_bytes=used,
        ram_total_bytes=4 * GIB,
        disk_used_bytes=GIB,
        disk_free_bytes=free,
        disk_total_bytes=200 * GIB,
        num_processors=2,
        load_average=0.0,
    )


def advice_for(root, **options):
    return advise(RunStore(root).runs(), resources(**options))


@pytest.fixture
def active_run(tmp_path):
    """Writes an active run and gives its advice; the lock is freed at the end."""
    locks = []

    def write(**options):
        record, lock = write_run(tmp_path, "ppo_v1", **options)
        locks.append(lock)
        return record

    yield write
    for lock in locks:
        lock.release()


def test_nothing_to_say_about_a_run_that_learns(tmp_path, active_run):
    active_run(rows=rows_of(300, mean_reward=noise(rise=0.02), frac_sim=0.4, frac_infer=0.2, frac_learn=0.4))
    write_ended_run(tmp_path, "done", status="completed")
    assert advice_for(tmp_path) == []


def test_a_plateau_late_in_the_budget_suggests_to_stop(tmp_path, active_run):
    active_run(rows=rows_of(600, mean_reward=noise(start=5.0)), total_steps=7_000_000)
    (advice,) = advice_for(tmp_path)
    assert (advice.kind, advice.run_id, advice.evidence["metric"]) == ("early_stop", "ppo_v1", "mean_reward")
    assert advice.evidence["budget_used"] == pytest.approx(6 / 7)
    assert -advice.evidence["delta"] <= advice.evidence["change_low"] < advice.evidence["change_high"]


@pytest.mark.parametrize(
    ("rows", "total_steps"),
    [
        (rows_of(600, mean_reward=noise(start=5.0)), 16_000_000),  # less than 40 % used
        (rows_of(600, mean_reward=noise(start=5.0), lr=lambda i: 1e-3 * (1 - i / 700)), 7_000_000),  # schedule moves
        (rows_of(66, mean_reward=noise(start=5.0)), 1_000_000),  # at the earlier look nothing was decided
    ],
)
def test_a_plateau_alone_is_not_enough(tmp_path, active_run, rows, total_steps):
    active_run(rows=rows, total_steps=total_steps)
    assert [advice.kind for advice in advice_for(tmp_path)] == []


def test_evaluations_are_preferred_once_there_are_enough(tmp_path, active_run):
    rows = rows_of(300, mean_reward=noise(rise=0.05), **{"eval/mean_reward": noise(rise=-0.02, seed=4)})
    active_run(rows=rows)
    (advice,) = advice_for(tmp_path)
    assert (advice.kind, advice.evidence["metric"]) == ("degrading", "eval/mean_reward")
    assert advice.evidence["change_high"] < 0.0


def test_a_collapse_is_named(tmp_path, active_run):
    active_run(rows=rows_of(300, mean_reward=lambda i: (0.0 if i >= 280 else 10.0) + noise(seed=i)(0)))
    assert [advice.kind for advice in advice_for(tmp_path)] == ["collapse"]


def test_a_stalled_run_says_how_long_and_where_to_look(tmp_path, active_run):
    record = active_run(rows=rows_of(20))
    rewrite_state(record, updated=time.time() - 300.0)
    (advice,) = advice_for(tmp_path)
    assert advice.kind == "stalled"
    assert advice.evidence["silent_s"] == 300
    assert advice.evidence["usual_interval_s"] == pytest.approx(2.0)
    assert advice.evidence["log"] == "experiments/logs/ppo_v1/train.log"


def test_a_failed_run_can_be_resumed_where_there_is_a_checkpoint(tmp_path):
    record = write_ended_run(tmp_path, "broken", status="failed", message="the loss is nan", rows=rows_of(5))
    assert advice_for(tmp_path) == []
    record.paths.last.write_bytes(b"weights")
    (advice,) = advice_for(tmp_path)
    assert advice.kind == "resume"
    assert advice.evidence["step"] == 50_000
    assert advice.evidence["command"].endswith("--run-id broken --resume")
    rewrite_state(record, updated=time.time() - 8 * 86400.0)
    assert advice_for(tmp_path) == []


@pytest.mark.parametrize("part", ["sim", "infer", "learn"])
def test_the_part_that_takes_most_of_the_time_is_named(tmp_path, active_run, part):
    fractions = {"frac_sim": 0.1, "frac_infer": 0.1, "frac_learn": 0.1} | {f"frac_{part}": 0.75}
    active_run(rows=rows_of(30, **fractions))
    (advice,) = advice_for(tmp_path)
    assert (advice.kind, advice.evidence) == ("bottleneck", {"part": part, "fraction": 0.75, "rows": 20})


def test_an_idle_gpu_is_named_only_where_measured(tmp_path, active_run):
    gpu = {"uuid": "GPU-1", "name": "card", "memory_reserved": 10}
    rows = rows_of(100, gpu_util=0.3, gpu_mem=0.2, frac_sim=0.3, frac_infer=0.3, frac_learn=0.4)
    active_run(rows=rows, state={"gpu": gpu})
    (advice,) = advice_for(tmp_path)
    assert (advice.kind, advice.evidence["utilization"], advice.evidence["memory"]) == ("gpu_idle", 0.3, 0.2)
    assert advice.evidence["span_s"] == pytest.approx(198.0)


def test_a_busy_gpu_is_not_named(tmp_path, active_run):
    gpu = {"uuid": "GPU-1", "name": "card", "memory_reserved": 10}
    active_run(rows=rows_of(100, gpu_util=0.9, gpu_mem=0.2), state={"gpu": gpu})
    assert advice_for(tmp_path) == []


def test_little_disk_comes_first(tmp_path, active_run):
    record = active_run(rows=rows_of(30, frac_sim=0.9))
    assert [advice.kind for advice in advice_for(tmp_path, free=GIB)] == ["disk", "bottleneck"]
    # A checkpoint of 1 MiB asks for the least, 2 GiB; a sparse one of 1 GiB asks for five times its size.
    with record.paths.last.open("wb") as file:
        file.truncate(GIB)
    (disk,) = (advice for advice in advice_for(tmp_path, free=4 * GIB) if advice.kind == "disk")
    assert disk.evidence == {"free_bytes": 4 * GIB, "needed_bytes": 5 * GIB}


def test_full_memory_names_the_largest_trainer(tmp_path, active_run):
    record = active_run(rows=rows_of(20))
    rewrite_state(record, rss_peak=3 * GIB)
    limit = int(0.95 * 4 * GIB)
    assert advice_for(tmp_path, used=limit) == []
    (advice,) = advice_for(tmp_path, used=limit + 1)
    assert (advice.kind, advice.run_id) == ("memory", "ppo_v1")
    assert advice.evidence == {"free_bytes": 4 * GIB - limit - 1, "total_bytes": 4 * GIB, "peak_bytes": 3 * GIB}
    assert advice_text(advice, "en") == (
        "Free some memory: 215 MB of 4.3 GB left, and a trainer that asks for more is killed; the largest, ppo_v1, has "
        "used up to 3.2 GB; fewer worlds or a smaller buffer need less"
    )
    assert all(part in advice_text(advice, "ko") for part in ("215 MB", "4.3 GB", "ppo_v1", "3.2 GB"))


def test_full_memory_concerns_nobody_where_nobody_trains(tmp_path):
    write_ended_run(tmp_path, "done", status="completed")
    assert advice_for(tmp_path, used=4 * GIB) == []


def test_an_alert_of_this_life_is_passed_on(tmp_path, active_run):
    record = active_run(rows=rows_of(30))
    record.event("alert", message="entropy collapsed")
    (advice,) = advice_for(tmp_path)
    assert (advice.kind, advice.evidence["message"]) == ("alert", "entropy collapsed")
    record.event("rolled_back", to_step=100, learning_rate_scale=0.5, rollbacks=1, rule="kl_spike")
    (advice,) = advice_for(tmp_path)
    assert (advice.evidence["to_step"], advice.evidence["learning_rate_scale"]) == (100, 0.5)
    record.finish("completed", exit_code=0)
    (advice,) = advice_for(tmp_path)
    assert advice.kind == "alert"
