"""What a training would cost, by what earlier ones took."""

import pytest
from tests.runs.run_folders import rows_of, write_ended_run

from drivetrain.run_record import RunPaths
from drivetrain.runs.launch_estimate import estimate_launch

CONFIG = "environment: {{name: gymnasium, id: {task}, num_worlds: {worlds}}}\nalgorithm: {{name: ppo}}\n"


def earlier(root, run_id, *, seconds, steps=30_000, task="CartPole-v1", worlds=8, **info):
    rows = rows_of(3, steps=steps // 3, seconds=lambda index: seconds * (index + 1) / 3)
    write_ended_run(root, run_id, rows=rows, status="completed", **info)
    text = CONFIG.format(task=task, worlds=worlds) + "training: {processes: 1, device: cpu}\n"
    RunPaths(root=root, run_id=run_id).config_yaml.write_text(text)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(task="CartPole-v1", worlds=8) + "training: {total_steps: 60_000, device: cpu}\n")
    return path


def estimate(tmp_path, config, **options):
    return estimate_launch(config, root=tmp_path, **{"max_minutes": 60.0} | options)


def test_time_is_steps_by_the_median_speed_with_the_extremes_around(tmp_path, config):
    for run_id, seconds in (("a", 60.0), ("b", 100.0), ("c", 150.0)):
        earlier(tmp_path, run_id, seconds=seconds)
    found = estimate(tmp_path, config)
    assert found.steps_per_s == pytest.approx(300.0)
    assert (found.expected_s, found.expected_low_s, found.expected_high_s) == (200.0, 120.0, 300.0)
    assert sorted(found.based_on) == ["a", "b", "c"]


def test_only_runs_of_the_same_kind_count(tmp_path, config):
    earlier(tmp_path, "other_task", seconds=100.0, task="Pendulum-v1")
    earlier(tmp_path, "other_algorithm", seconds=100.0, algorithm="sac")
    earlier(tmp_path, "other_machine", seconds=100.0, host="elsewhere")
    earlier(tmp_path, "too_short", seconds=3.0)
    found = estimate(tmp_path, config)
    assert (found.steps_per_s, found.expected_s, found.based_on) == (None, None, ())


def test_runs_most_alike_count_alone(tmp_path, config):
    earlier(tmp_path, "alike", seconds=100.0)
    earlier(tmp_path, "wide", seconds=50.0, worlds=64)
    assert estimate(tmp_path, config).based_on == ("alike",)
    wide = estimate(tmp_path, config, changes=["environment.num_worlds=64"])
    assert (wide.based_on, wide.expected_s) == (("wide",), 100.0)
    unlike = estimate(tmp_path, config, changes=["environment.num_worlds=32"])
    assert sorted(unlike.based_on) == ["alike", "wide"]


def test_the_smaller_budget_ends_it(tmp_path, config):
    earlier(tmp_path, "a", seconds=100.0)
    assert estimate(tmp_path, config, max_minutes=1.0).expected_s == 60.0
    assert estimate(tmp_path, config, total_steps=3_000).expected_s == 10.0


def test_epochs_and_missing_budgets(tmp_path, config):
    counted = estimate(tmp_path, config, epochs=5)
    assert (counted.total_steps, counted.epochs) == (None, 5)
    assert counted.remark == "time unknown (counted in epochs); it ends after 60 min at the latest"
    config.write_text("algorithm: {name: ppo}\n")
    assert estimate(tmp_path, config).total_steps == 1_000_000
