"""Proposals for speed: what is tried, what is taken, what is said of it; trials measured by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from drivetrain.algorithms.algorithm import IterationResult
from drivetrain.config import load_config
from drivetrain.errors import RunError, UsageError
from drivetrain.trainer import tuning
from drivetrain.trainer.experiment import ExperimentConfig
from drivetrain.trainer.speed_trial import Bench, Trial, measurable, summary
from drivetrain.trainer.tuning import as_flags, plan, reasons, tune

CONFIGS = Path(__file__).resolve().parents[2] / "python" / "configs"


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Four cores that multiply bfloat16."""
    monkeypatch.setattr(tuning, "usable_cores", lambda: 4)
    monkeypatch.setattr(tuning, "has_bfloat16", lambda device: True)


def config_of(name, **training):
    config = load_config(CONFIGS / f"{name}.yaml", ExperimentConfig)
    return replace(config, training=replace(config.training, device="cpu", **training))


def bench_of(name="planning/ppo", **training):
    return Bench(config=config_of(name, **training), root=Path(), bank=None)


def candidates(config):
    return {step.name: [dict(candidate) for candidate in step.candidates] for step in plan(config)}


def test_a_cpu_plan_never_asks_for_more_than_the_cores(monkeypatch):
    tried = candidates(config_of("planning/ppo"))  # 512 worlds, minibatches of 512, two processes, bfloat16
    shares = [
        (c["training.processes"], c["training.threads"], c["environment.threads"])
        for c in tried["processes and threads"]
    ]
    assert shares == [(1, 1, 4), (1, 4, 4), (2, 2, 2), (4, 1, 1)]
    assert tried["precision"] == [{"policy.precision": "float32"}]
    assert tried["worlds"] == [{"environment.num_worlds": n} for n in (256, 1024, 2048)]
    monkeypatch.setattr(tuning, "has_bfloat16", lambda device: False)
    assert "precision" not in candidates(config_of("planning/ppo")), "without instructions for it both are float32"
    assert tried["minibatch"] == [{"algorithm.minibatch_size": n} for n in (1024, 2048)]


def test_a_gpu_plan_has_one_process_and_larger_steps():
    config = config_of("planning/ppo")
    tried = candidates(replace(config, training=replace(config.training, device="cuda", processes=1)))
    assert {c["training.processes"] for c in tried["processes and threads"]} == {1}
    assert [c["environment.num_worlds"] for c in tried["worlds"]] == [2048, 8192, 32768]


def test_plans_fit_their_algorithms():
    sac = candidates(config_of("planning/sac", processes=1))
    assert {c["training.processes"] for c in sac["processes and threads"]} == {1}
    assert "algorithm.minibatch_size" in sac["minibatch"][0]
    assert list(candidates(config_of("planning/bc"))) == ["processes and threads", "precision"]
    assert "algorithm.ppo.minibatch_size" in candidates(config_of("planning/gail"))["minibatch"][0]
    assert "algorithm.ppo.minibatch_size" in candidates(config_of("planning/cimrl"))["minibatch"][0]
    cartpole = candidates(config_of("gymnasium/ppo_cartpole"))["processes and threads"]
    assert all("environment.threads" not in c for c in cartpole)


def trial(changes, rate, *, memory=1_000_000_000, steps=1 / 512):
    return Trial(
        changes=dict(changes),
        rate=rate,
        rate_low=rate,
        rate_high=rate,
        phase_rates={"sim": 4 * rate, "infer": 4 * rate, "learn": 2 * rate},
        shares={"sim": 0.25, "infer": 0.25, "learn": 0.5},
        gradient_steps_per_step=steps,
        iterations=3,
        memory_bytes=memory,
    )


def measured(rates):
    """A stand-in for the measurement: rates by the changed values, 100 for what is not listed."""

    def run(changes, *, seconds):
        assert seconds > 0
        asked.append(dict(changes))
        rate = 100.0
        for key, value in changes.items():
            rate *= rates.get((key, value), 1.0)
        size = changes.get("algorithm.minibatch_size", 512)
        return trial(changes, rate, steps=1 / size)

    asked = []
    return run, asked


def found(rates, *, free=None, budget=100.0, bench=None):
    run, asked = measured(rates)
    shown = []
    result = tune(
        bench or bench_of(), budget_s=budget, free_bytes=free, progress=lambda *what: shown.append(what), run=run
    )
    return result, asked, shown


def test_the_faster_settings_are_taken_and_kept_apart():
    result, asked, shown = found(
        {
            ("training.processes", 4): 1.5,
            ("policy.precision", "float32"): 1.02,  # within the noise
            ("environment.num_worlds", 1024): 1.2,
            ("environment.num_worlds", 2048): 1.1,
            ("algorithm.minibatch_size", 2048): 2.0,
        }
    )
    share = {"training.processes": 4, "training.threads": 1, "environment.threads": 1}
    assert result.same == share
    assert result.altering == {"environment.num_worlds": 1024, "algorithm.minibatch_size": 2048}
    assert (result.base.rate, result.rate_same, result.rate_all) == pytest.approx((100.0, 150.0, 360.0))
    assert asked[0] == {}
    assert asked[-1] == {**share, "environment.num_worlds": 1024, "algorithm.minibatch_size": 2048}
    assert as_flags(result.same) == "--set training.processes=4 --set training.threads=1 --set environment.threads=1"
    said = reasons(result)
    assert said[0].startswith("learning takes most of the time (50%)")
    assert any("0.25 times the optimiser steps per sample" in text for text in said)
    assert shown[0][:2] == (0, len(asked))
    assert shown[-1][:2] == (len(asked), len(asked))


def test_nothing_faster_changes_nothing():
    result, asked, _ = found({("algorithm.minibatch_size", 1024): 1.04})
    assert (result.same, result.altering, result.skipped) == ({}, {}, ())
    assert result.rate_all == result.base.rate == 100.0
    assert len(asked) == len(result.trials)


def test_without_time_the_config_itself_is_still_measured():
    result, asked, _ = found({}, budget=1e-9)
    assert asked == [{}]
    assert len(result.skipped) == 10
    assert result.skipped[-1] == "algorithm.minibatch_size=2048: no time left"


def test_what_would_not_fit_into_memory_is_not_tried():
    result, asked, _ = found({}, free=2_000_000_000)
    tried = [changes.get("environment.num_worlds") for changes in asked]
    assert 1024 in tried  # may double
    assert 2048 not in tried
    assert "environment.num_worlds=2048: might take 4.0 GB, and 2.0 GB are free" in result.skipped


def test_a_config_that_cannot_run_is_refused():
    failed = Trial(changes={}, phase_rates={}, shares={}, failure="the GPU is out of memory")
    with pytest.raises(RunError, match=r"^tune: the config itself cannot run here: the GPU is out of memory; make it"):
        tune(
            bench_of(), budget_s=1.0, free_bytes=None, progress=lambda *what: None, run=lambda changes, seconds: failed
        )


def result_of(steps, sim, infer, learn):
    seconds = {"sim": sim, "infer": infer, "learn": learn}
    return IterationResult(agent_steps=steps, gradient_steps=4, metrics={}, episodes={}, seconds=seconds)


def test_medians_by_hand():
    results = [result_of(100, 0.1, 0.1, 0.2), result_of(100, 0.2, 0.2, 0.4), result_of(90, 0.1, 0.2, 0.2)]
    told = summary({"a": 1}, results, [0.5, 1.0, 0.6], memory_bytes=7, gpu_bytes=None)
    assert (told.rate, told.rate_low, told.rate_high) == pytest.approx((150.0, 100.0, 200.0))
    assert told.phase_rates == pytest.approx({"sim": 900.0, "infer": 500.0, "learn": 450.0})
    assert told.shares == pytest.approx({"sim": 0.2, "infer": 0.2, "learn": 0.4})
    assert told.gradient_steps_per_step == pytest.approx(12 / 290)
    assert (told.iterations, told.memory_bytes) == (3, 7)


def test_the_steady_state_begins_at_once():
    assert measurable(config_of("planning/sac")).algorithm.learning_starts <= 2 * 512
    assert measurable(config_of("planning/cimrl")).algorithm.risk.pretrain_steps == 0
    anchored = measurable(config_of("planning/ppo_anchor")).algorithm.anchor
    assert not anchored.is_used or anchored.path is not None


def test_a_unity_player_is_no_matter_of_tuning():
    config = load_config(CONFIGS / "unity" / "ppo.yaml", ExperimentConfig)
    with pytest.raises(UsageError, match=r"^tune: a Unity player's speed is its own"):
        Bench.prepare(config, root=Path(), say=lambda text: None)
