"""The watchdog: one history per rule, silence on healthy ones, and real runs that stop, roll back and continue."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.trainer.outcomes import rows_of
from tests.trainer.test_resume import Crash, die_at, same_end

from drivetrain.algorithms.ppo import PPO
from drivetrain.algorithms.sac import SAC
from drivetrain.errors import ConfigError
from drivetrain.run_record import read_jsonl_tail, read_run_state
from drivetrain.sim.environment import ActionSpace
from drivetrain.trainer import rescue, trainer
from drivetrain.trainer.checkpoint import load_checkpoint
from drivetrain.trainer.trends import chance, growth, rises
from drivetrain.trainer.watchdog import Scales, Watchdog, are_finite
from drivetrain.trainer.watchdog_config import (
    DiscriminatorSaturation,
    EntropyCollapse,
    ExplainedVariance,
    KlSpike,
    NonFinite,
    QBlowUp,
    RewardHacking,
    WatchdogConfig,
)

DRIVING = Scales(action_space=ActionSpace(num_categories=91), gamma=0.99)
HEALTHY: dict[str, Any] = {
    "loss": 0.1,
    "grad_norm": 0.8,
    "approx_kl": 0.008,
    "entropy": 3.5,
    "explained_variance": 0.8,
    "advantage_std": 0.6,
    "value_mean": 2.0,
    "mean_reward": 5.0,
}


def told(watchdog: Watchdog, rows: list[dict[str, Any]], *, first: int = 1) -> list[tuple[int, str]]:
    """Return (iteration, rule) of what a watchdog says about rows, one per iteration."""
    return [
        (iteration, finding.rule)
        for iteration, row in enumerate(rows, first)
        for finding in watchdog.observe({**row, "iteration": iteration}, seconds=iteration, weights_are_finite=True)
    ]


def history(count: int, **values: float | Callable[[int], float]) -> list[dict[str, Any]]:
    return [{**HEALTHY, **{k: v(i) if callable(v) else v for k, v in values.items()}} for i in range(count)]


def watchdog(scales: Scales = DRIVING, **rules: Any) -> Watchdog:
    return Watchdog(WatchdogConfig(**rules), scales)


# One history per rule


def test_a_kl_spike_has_to_last():
    rows = [*history(2, approx_kl=0.5), *history(1), *history(3, approx_kl=0.5)]
    assert told(watchdog(), rows) == [(6, "kl_spike")]
    (finding,) = watchdog(kl_spike=KlSpike(patience=1)).observe(
        {**HEALTHY, "approx_kl": 0.5, "iteration": 1}, seconds=0.0, weights_are_finite=True
    )
    assert finding.text == "watchdog (kl_spike): approx_kl is 0.5, above 0.15"


def test_the_same_trouble_is_told_once_in_a_while():
    assert told(watchdog(), history(40, approx_kl=0.5)) == [(3, "kl_spike"), (33, "kl_spike")]


def test_patience_counts_time_too():
    """One row a second: the third row is two seconds after the first, the sixth five."""
    rule = KlSpike(patience=3, patience_s=5.0)
    assert told(watchdog(kl_spike=rule), history(10, approx_kl=0.5)) == [(6, "kl_spike")]


def test_iterations_are_counted_not_rows():
    looked = watchdog()
    row = {**HEALTHY, "approx_kl": 0.5}
    first = looked.observe({**row, "iteration": 10}, seconds=0.0, weights_are_finite=True)
    second = looked.observe({**row, "iteration": 20}, seconds=0.0, weights_are_finite=True)
    assert (first, [(f.rule, f.iterations) for f in second]) == ([], [("kl_spike", 11)])


def test_entropy_is_compared_with_what_there_can_be():
    """2 % of ln 91 is 0.0902 nat; a uniform draw over 2 % of [-1, 1] in two dimensions has 2 ln 0.04 = -6.4378."""
    rule = EntropyCollapse(patience=5)
    assert told(watchdog(entropy_collapse=rule), history(9, entropy=0.0905)) == []
    assert told(watchdog(entropy_collapse=rule), history(9, entropy=0.0900)) == [(5, "entropy_collapse")]
    pair = Scales(action_space=ActionSpace(size=2, low=(-1.0,) * 2, high=(1.0,) * 2), gamma=0.99)
    assert told(watchdog(pair, entropy_collapse=rule), history(9, entropy=-6.43)) == []
    assert told(watchdog(pair, entropy_collapse=rule), history(9, entropy=-6.44)) == [(5, "entropy_collapse")]


def test_values_that_explain_nothing():
    rule = ExplainedVariance(patience=30)
    assert told(watchdog(explained_variance=rule), history(40, explained_variance=-0.1)) == [(30, "explained_variance")]
    # A solved task: returns hardly vary, and the values know them to 1 %.
    solved = history(40, explained_variance=-2.0, advantage_std=0.5, value_mean=50.0)
    assert told(watchdog(explained_variance=rule), solved) == []
    assert told(watchdog(explained_variance=rule), history(40, explained_variance=-1.0, policy_frozen=1.0)) == []


def test_action_values_beyond_all_returns():
    """Returns of 5 and an entropy bonus of 0.2 * 3.5 over 100 steps explain 75; ten times that is too much."""
    rule = QBlowUp(patience=3)
    growing = history(60, alpha=0.2, q1_mean=lambda i: 1.2**i, target_q=1.0)
    assert 1.2**36 < 10 * (5.0 + 0.2 * 3.5 / 0.01) < 1.2**37
    assert told(watchdog(q_blow_up=rule), growing)[0] == (38 + 2, "q_blow_up")
    assert told(watchdog(q_blow_up=rule), history(60, alpha=1.0, q1_mean=-400.0)) == []


def test_a_discriminator_that_is_always_right():
    rule = DiscriminatorSaturation(patience=10)
    looked = watchdog(discriminator_saturation=rule)
    assert told(looked, history(15, d_acc_expert=0.99, d_acc_gen=0.98)) == [(10, "discriminator_saturation")]
    one_sided = history(15, d_acc_expert=1.0, d_acc_gen=0.6)
    assert told(watchdog(discriminator_saturation=rule), one_sided) == []


def test_what_is_not_finite_is_told_at_once():
    for metric, action in (("loss", "stop"), ("value_loss", "stop"), ("grad_norm", "stop"), ("max_ratio", "warn")):
        row = {**HEALTHY, metric: math.inf, "iteration": 1}
        (finding,) = watchdog().observe(row, seconds=0.0, weights_are_finite=True)
        assert (finding.rule, finding.action, finding.note) == ("non_finite", action, f"{metric} is not finite")
    (finding,) = watchdog().observe({**HEALTHY, "iteration": 1}, seconds=0.0, weights_are_finite=False)
    assert (finding.action, finding.note) == ("stop", "a weight is not finite")
    quiet = watchdog(non_finite=NonFinite(metrics="off"))
    assert told(quiet, history(3, max_ratio=math.nan)) == []


def test_weights_are_looked_through():
    weights = [torch.ones(3), torch.zeros(2, 2), torch.zeros(0), torch.arange(3)]
    assert are_finite(weights)
    for bad in (math.nan, math.inf, -math.inf):
        weights[1] = torch.tensor([[1.0, bad], [0.0, 0.0]])
        assert not are_finite(weights)


# Rewards that rise while driving gets worse


def noise(seed: int, phi: float, count: int) -> np.ndarray:
    """Return noise of spread 1 in which each value resembles the one before it."""
    rng = np.random.default_rng(seed)
    values = np.zeros(count)
    for i in range(1, count):
        values[i] = phi * values[i - 1] + math.sqrt(1 - phi**2) * rng.normal()
    return values


def driven(count: int, *, seed: int = 0, reward: float = 0.0, collision: float = 0.0, progress: float = 0.0, phi=0.5):
    """Return rows whose reward, collisions and progress change by so much over the history, with noise."""
    a, b, c = (noise(seed * 3 + k, phi, count) for k in range(3))
    share = np.arange(count) / count
    return [
        {
            "mean_reward": float(5.0 + reward * share[i] + 0.5 * a[i]),
            "collision": float(max(0.2 + collision * share[i] + 0.04 * b[i], 0.0)),
            "offroad": 0.05,
            "progress": float(0.7 + progress * share[i] + 0.03 * c[i]),
        }
        for i in range(count)
    ]


def test_rewards_that_rise_with_collisions_or_standing_still():
    hacks = {"reward": 3.0, "collision": 0.25}
    found = told(watchdog(), driven(600, **hacks))
    assert found
    assert {rule for _, rule in found} == {"reward_hacking"}
    assert found[0][0] >= 150  # two looks at 100 rows each or more, half a window apart
    assert told(watchdog(), driven(600, reward=3.0, progress=-0.4))
    # Any one of them alone is no hack, nor is driving further at more risk per episode but less per progress.
    for healthy in ({"reward": 3.0}, {"collision": 0.3}, {"progress": -0.4}, {"reward": 3.0, "progress": 0.25}):
        assert told(watchdog(), driven(600, **healthy)) == []
    learning = driven(600, reward=3.0, collision=0.05, progress=0.5)
    assert told(watchdog(), learning) == []


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_noise_is_no_trend(phi):
    """30 runs of 1000 rows without trend in anything, neighbours alike up to 0.9: 270 looks, none of them wrong."""
    for seed in range(30):
        assert told(watchdog(), driven(1000, seed=seed, phi=phi)) == []


def test_chances_by_hand():
    """Three values: of six orders one rises throughout, two more have two rising pairs and one falling."""
    assert chance(3, 3) == pytest.approx(1 / 6)
    assert chance(1, 3) == pytest.approx(3 / 6)
    assert chance(-3, 3) == 1.0
    assert chance(45, 10) == pytest.approx(1 / math.factorial(10))
    assert rises([float(i) for i in range(10)])
    assert not rises([1.0] * 10)
    assert not rises([float(i) for i in (0, 9, 1, 8, 2, 7, 3, 6, 4, 5)])
    assert growth([1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 2.0, 2.0, 2.0]) == pytest.approx(1.0)


# Config


def test_wrong_settings_are_one_line_each():
    for make, message in (
        (lambda: KlSpike(patience=0), "watchdog.kl_spike.patience: 0 is too small; use 1 or more"),
        (lambda: QBlowUp(patience_s=-1.0), "watchdog.q_blow_up.patience_s: -1.0 is negative; use 0 or more"),
        (lambda: RewardHacking(window=3), "watchdog.reward_hacking.window: 3 is too short; use 20 or more"),
        (
            lambda: WatchdogConfig(learning_rate_factor=2.0),
            "watchdog.learning_rate_factor: 2.0 is impossible; use more than 0, at most 1",
        ),
        (lambda: WatchdogConfig(max_rollbacks=-1), "watchdog.max_rollbacks: -1 is negative; use 0 or more"),
    ):
        with pytest.raises(ConfigError) as refused:
            make()
        assert str(refused.value) == message


def test_a_wrong_action_names_the_right_ones(train, run_paths, capfd):
    assert train("a", "--set", "watchdog.kl_spike.action=rolback") == 2
    line = capfd.readouterr().err.strip()
    assert "watchdog.kl_spike.action: expected 'off', 'warn', 'stop' or 'rollback', got \"rolback\"" in line
    assert not run_paths("a").folder.exists()


def test_what_is_remembered_survives_a_checkpoint():
    whole, first = watchdog(), watchdog()
    rows = [*driven(500, reward=3.0, collision=0.25), *history(30, approx_kl=0.5)]
    before = told(first, rows[:350])
    again = watchdog(kl_spike=KlSpike(action="stop"))
    again.load_state_dict(first.state_dict())
    assert before + told(again, rows[350:], first=351) == told(whole, rows)
    assert not again.is_calm


# Runs


SAVES = ("--set", "training.save_interval_s=0")


def events_of(paths, *names):
    return [event for event in read_jsonl_tail(paths.events_jsonl, 200) if event["event"] in names]


def harmed(monkeypatch, at: int, change: Callable[[PPO], None], *, times: int = 1) -> None:
    """Change a learner when it first (or first few times) stands at a step."""
    original, calls = PPO.iterate, []

    def iterate(self, *arguments, **keywords):
        if self.agent_steps == at and len(calls) < times:
            calls.append(1)
            change(self)
        return original(self, *arguments, **keywords)

    monkeypatch.setattr(PPO, "iterate", iterate)


def poison(learner: PPO) -> None:
    """One weight that is no number."""
    learner.policy.pi.weight.data[0, 0] = math.nan


def blow_up(learner: PPO) -> None:
    """Steps thousands of times too long, in one iteration."""
    scheduled = learner._scheduled

    def once(start: float, end: float) -> float:
        learner._scheduled = scheduled
        return 3.0

    learner._scheduled = once


BACK = ("--set", "watchdog.non_finite.action=rollback")
ON_KL = ("--set", "watchdog.kl_spike.action=rollback", "--set", "watchdog.kl_spike.patience=1")


def test_silence_leaves_the_same_bits(train, run_paths, monkeypatch):
    assert train("watched", *BACK) == 0
    monkeypatch.setattr(Watchdog, "observe", lambda self, row, **rest: [])
    assert train("alone") == 0
    same_end(run_paths("watched"), run_paths("alone"))
    assert run_paths("watched").good.exists()
    assert not run_paths("alone").good.exists()


def test_a_poisoned_run_stops_with_the_reason(train, run_paths, monkeypatch, capfd):
    harmed(monkeypatch, 256, poison)
    assert train("a", *SAVES) == 1
    paths = run_paths("a")
    state = read_run_state(paths)
    assert state.status == "failed"
    assert "the loss became NaN or infinite after 320 steps" in state.message
    assert "--resume with --set watchdog.non_finite.action=rollback" in state.message
    assert state.message in capfd.readouterr().err
    (alert,) = events_of(paths, "alert")
    assert (alert["rule"], alert["action"], alert["step"]) == ("non_finite", "stop", 256)
    assert load_checkpoint(paths.last).step == 256
    assert "watchdog (non_finite)" in paths.train_log.read_text()


@pytest.mark.parametrize(("harm", "flags"), [(poison, BACK), (blow_up, ON_KL)])
def test_a_harmed_run_goes_back_and_ends_well(train, run_paths, monkeypatch, harm, flags):
    harmed(monkeypatch, 256, harm)
    assert train("a", *SAVES, *flags) == 0
    paths = run_paths("a")
    (alert,), (back,) = events_of(paths, "alert"), events_of(paths, "rolled_back")
    assert alert["rule"] == back["rule"] == flags[1].split(".")[1]
    assert (back["to_step"], back["learning_rate_scale"], back["rollbacks"]) == (256, 0.5, 1)
    rows = rows_of(paths)
    assert [row["step"] for row in rows] == [0, *range(64, 641, 64)]  # none lost, none doubled
    assert all(math.isfinite(row["loss"]) and row["approx_kl"] < 0.15 for row in rows[1:])
    # Step sizes fall linearly from 1e-3; from the roll-back on they are half of that.
    rates = {row["step"]: row["lr"] for row in rows if "lr" in row}
    whole = {step: 1e-3 + ((step - 64) / 640) * (5e-5 - 1e-3) for step in rates}
    factors = [rates[step] / whole[step] for step in sorted(rates)]
    assert factors == pytest.approx([1.0] * 4 + [0.5] * 6)
    state = read_run_state(paths)
    assert (state.status, state.step) == ("completed", 640)
    assert state.alert.startswith(f"step {alert['step']}: ")
    assert "rolled back from step" in paths.train_log.read_text()


def test_roll_backs_have_an_end(train, run_paths, monkeypatch, capfd):
    harmed(monkeypatch, 256, poison, times=9)
    assert train("a", *SAVES, *BACK, "--set", "watchdog.max_rollbacks=2") == 1
    assert "after 2 roll-backs (watchdog.max_rollbacks) the run ends" in capfd.readouterr().err
    paths = run_paths("a")
    assert [event["learning_rate_scale"] for event in events_of(paths, "rolled_back")] == [0.5, 0.25]
    assert read_run_state(paths).status == "failed"


def test_a_stopped_run_is_taken_up_again_with_a_roll_back(train, run_paths, monkeypatch):
    """As the message says."""
    harmed(monkeypatch, 256, poison, times=2)
    assert train("a", *SAVES) == 1
    assert train("a", "--resume", *BACK, with_config=False) == 0
    paths = run_paths("a")
    (back,) = events_of(paths, "rolled_back")
    assert (back["to_step"], read_run_state(paths).step) == (256, 640)


@pytest.mark.parametrize(
    ("name", "after"), [("save_checkpoint", False), ("save_checkpoint", True), ("link_atomic", False)]
)
def test_death_while_going_back(train, run_paths, monkeypatch, name, after):
    """Killed at either side of what a roll-back writes, a run resumes with no row lost and none doubled."""
    with monkeypatch.context() as context:
        harmed(context, 256, poison)
        assert train("whole", *SAVES, *BACK) == 0
    recover = rescue.Rescue.recover
    with monkeypatch.context() as context:
        harmed(context, 256, poison)

        def dying(self, error, progress):
            found = recover(self, error, progress)
            die_at(context, trainer if name == "save_checkpoint" else rescue, name, 1, after=after)
            return found

        context.setattr(rescue.Rescue, "recover", dying)
        with suppress(Crash):
            train("a", *SAVES, *BACK)
    paths = run_paths("a")
    assert load_checkpoint(paths.last).step == 256
    assert train("a", "--resume", *BACK, with_config=False) == 0
    assert [row["step"] for row in rows_of(paths)] == [0, *range(64, 641, 64)]
    if (name, after) != ("save_checkpoint", False):  # the roll-back was already on disk
        same_end(run_paths("whole"), paths)


def test_a_checkpoint_of_a_troubled_time_is_no_good_one(train, run_paths, monkeypatch):
    """The trouble must last eight iterations before the run goes back; what was saved meanwhile is not gone back to."""
    original = PPO.iterate

    def iterate(self, *arguments, **keywords):
        result = original(self, *arguments, **keywords)
        bad = self.agent_steps > 128 and self.learning_rate_scale == 1.0
        return replace(result, metrics={**result.metrics, "approx_kl": 1.0}) if bad else result

    monkeypatch.setattr(PPO, "iterate", iterate)
    rule = ("--set", "watchdog.kl_spike.patience=6", "--set", "watchdog.kl_spike.action=rollback")
    assert train("a", *SAVES, *rule) == 0
    (back,) = events_of(run_paths("a"), "rolled_back")
    assert (back["from_step"], back["to_step"]) == (512, 128)


def test_several_processes_go_back_together(train, run_paths, monkeypatch):
    """The leader's weights alone are harmed: the mean gradient harms all, and all say so at the same point."""
    harmed(monkeypatch, 128, poison)
    flags = ("--set", "training.processes=2", "--total-steps", "384")
    assert train("a", *SAVES, *BACK, *flags) == 0
    assert read_run_state(run_paths("a")).status == "completed"
    (back,) = events_of(run_paths("a"), "rolled_back")
    assert back["learning_rate_scale"] == 0.5


SAC_CONFIG = """\
environment: {name: gymnasium, id: CartPole-v1, num_worlds: 4}
algorithm: {name: sac, learning_starts: 32, minibatch_size: 32, steps: 16, capacity: 1000}
policy: {hidden: [8]}
evaluation: {episodes: 3, max_share: 0}
training: {total_steps: 512, threads: 1, device: cpu}
"""


def test_a_learner_with_a_memory_goes_back_with_it(train, run_paths, config, monkeypatch):
    """Of all that was remembered at the good checkpoint, in a file beside it; older ones are gone."""
    config.write_text(SAC_CONFIG)
    original, calls, seen = SAC.iterate, [], []

    def iterate(self):
        if self.agent_steps == 256:
            seen.append(len(self.replay))
            if not calls:
                calls.append(1)
                self.critic.twins[0][-1].bias.data.fill_(math.nan)
        return original(self)

    monkeypatch.setattr(SAC, "iterate", iterate)
    assert train("a", *SAVES, *BACK) == 0
    paths = run_paths("a")
    (back,) = events_of(paths, "rolled_back")
    assert back["to_step"] == 256
    assert seen[0] == seen[1]
    assert [row["step"] for row in rows_of(paths)] == [0, *range(64, 513, 64)]
    assert sorted(path.name for path in paths.checkpoint_dir.glob("*.npz")) == [
        "good.replay-512.npz",
        "last.replay-512.npz",
    ]
