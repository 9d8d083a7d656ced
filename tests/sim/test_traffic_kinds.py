"""Kinds of traffic: names, drivers that are drawn per vehicle, and what they do in the training simulator."""

from typing import get_args, get_type_hints

import numpy as np
import pytest
from tests.sim.scenario_builder import Mover, line
from tests.sim.worlds import signalled_crossing, straight_road

from drivetrain.errors import UsageError
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.kernels.traffic import idm_acceleration
from drivetrain.sim.scene_arrays import PRESENT, SPEED, X
from drivetrain.sim.scene_bank import PLAIN_DRIVER, build_bank
from drivetrain.sim.traffic_kinds import (
    CHOICES,
    KINDS,
    REACTING,
    DriverRanges,
    draw_drivers,
    kind_of,
    labels,
    listed,
    with_drivers,
)

TOKENS = np.array([3, 8, 2**63 + 5, 1], dtype=np.uint64)


def test_the_environment_knows_every_kind():
    assert set(get_args(get_type_hints(DrivingConfig)["traffic"])) == {*KINDS, "both"}


def test_names_and_groups():
    assert listed("both") == ("replay", "idm")
    assert listed("panel") == KINDS
    assert listed("idm_timid, panel,self_play:a/b.pt") == (
        "idm_timid",
        "replay",
        "idm",
        "idm_aggressive",
        "self_play:a/b.pt",
    )
    assert kind_of("self_play:runs/x") == ("self_play", "runs/x")
    assert labels(["idm", "self_play:a", "replay", "self_play:b"]) == ("idm", "self_play", "replay", "self_play_2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "idm,idm_timd",
            f"traffic: 'idm_timd' is not one of {', '.join(CHOICES)}, both, panel; did you mean 'idm_timid'?",
        ),
        ("self_play", "traffic: 'self_play' lacks the checkpoint that drives; write self_play:CHECKPOINT"),
        ("idm:best.pt", f"traffic: 'idm:best.pt' is not one of {', '.join(CHOICES)}"),
    ],
)
def test_wrong_names_are_answered_with_the_right_ones(text, message):
    with pytest.raises(UsageError) as error:
        listed(text)
    assert str(error.value) == message


def test_drivers_depend_on_scenario_and_track_only():
    drawn = draw_drivers("idm_timid", "a", TOKENS)
    np.testing.assert_array_equal(draw_drivers("idm_timid", "a", TOKENS[::-1])[::-1], drawn)
    np.testing.assert_array_equal(draw_drivers("idm_timid", "a", TOKENS[2:3]), drawn[2:3])
    assert len(np.unique(drawn)) == drawn.size
    assert not (draw_drivers("idm_timid", "b", TOKENS) == drawn).any()


@pytest.mark.parametrize("kind", REACTING)
def test_drivers_fill_their_ranges_evenly(kind):
    drawn = draw_drivers(kind, "scenario", np.arange(4000, dtype=np.uint64))
    for column, (low, high) in zip(drawn.T, REACTING[kind], strict=True):
        assert low <= column.min() <= column.max() <= high
        if low < high:  # the mean of 4000 even draws scatters by width / sqrt(12 * 4000)
            assert column.mean() == pytest.approx((low + high) / 2, abs=4 * (high - low) / np.sqrt(12 * 4000))
    correlation = np.corrcoef(drawn.T + 1e-9 * np.arange(len(drawn))) - np.eye(5)
    assert kind == "idm" or np.abs(correlation).max() < 0.08


def test_plain_drivers_are_those_of_the_bank():
    bank = build_bank([signalled_crossing()])
    assert tuple(low for low, _ in REACTING["idm"][:4]) == PLAIN_DRIVER
    plain = with_drivers(bank.arrays, bank.scenario_ids, bank.slot_tokens, "idm")
    np.testing.assert_array_equal(plain.driver, bank.arrays.driver)
    np.testing.assert_array_equal(plain.desired_speed, bank.arrays.desired_speed)


def following_gap(kind: str, backend: str = "kernels") -> tuple[float, np.ndarray]:
    """Return the gap at which a car settles behind an ego of 6 m/s after 40 s, and the car's driver."""
    behind = Mover(path=line((-60, 0), (600, 0)), arc_length=lambda t: 30 + 10.0 * t, frames=(0, 401))
    scenario = straight_road(ego_speed=6.0, lead=False, agents=[behind], frames=402)
    bank = build_bank([scenario])
    config = DrivingConfig(num_worlds=1, traffic=kind, horizon_s=60, backend=backend)
    env = DrivingEnv(bank, config, sequential=True, automatic_reset=False, perturb=False)
    env.reset(seed=0)
    for _ in range(400):
        env.step_log()
    agents = env.state.agents[0]
    assert agents[PRESENT, 1] == 1
    assert agents[SPEED, 1] == pytest.approx(6.0, abs=0.05)  # gaps are seen in metres
    half = bank.arrays.half_length
    driver = draw_drivers(kind, scenario.scenario_id, scenario.agents.token)[0]
    return float(agents[X, 0] - agents[X, 1] - half[0] - half[1]), driver


def test_who_is_aggressive_follows_closer_and_who_is_timid_keeps_away():
    """At equal speeds v the model rests where the gap is (s0 + v T) / sqrt(1 - (v / v0)^4); v0: 10 m/s logged."""
    gaps = {}
    for kind in REACTING:
        gap, (headway, min_gap, _, _, factor) = following_gap(kind)
        assert gap == pytest.approx((min_gap + 6.0 * headway) / np.sqrt(1 - (6.0 / (10.0 * factor)) ** 4), abs=0.6)
        gaps[kind] = gap
    assert gaps["idm"] == pytest.approx((1 + 6 * 1.5) / np.sqrt(1 - 0.6**4), abs=0.6)  # 10.72 m
    assert gaps["idm_aggressive"] < gaps["idm"] - 1.5
    assert gaps["idm_timid"] > gaps["idm"] + 3.0


@pytest.mark.parametrize("kind", ["idm_aggressive", "idm_timid"])
def test_both_simulators_have_the_same_drivers(kind):
    bank = build_bank([signalled_crossing()])
    ends = []
    for backend in ("kernels", "oracle"):
        config = DrivingConfig(num_worlds=1, traffic=kind, backend=backend)
        env = DrivingEnv(bank, config, sequential=True, automatic_reset=False, perturb=False)
        env.reset(seed=0)
        for _ in range(60):
            env.step_log()
        ends.append(env.state.agents[0, :, : bank.arrays.num_slots[0]].copy())
    np.testing.assert_allclose(ends[0], ends[1], atol=2e-3)


def test_ranges_have_the_order_of_the_columns():
    assert DriverRanges._fields == ("headway", "min_gap", "max_acceleration", "max_deceleration", "speed_factor")


def test_plain_drivers_compute_as_constants_do():
    """Bit for bit: what states are made of is single precision, what drivers are made of is double."""
    random = np.random.default_rng(0)
    driver = np.array([PLAIN_DRIVER])
    for _ in range(200):
        speed, lead, desired = random.uniform(0, 15, 3).astype(np.float32)
        gap = float(random.uniform(2, 60))
        closing = float(speed * (speed - lead)) / (2.0 * np.sqrt(2.0))
        wanted = 1.0 + float(speed) * 1.5 + closing
        square = (speed / desired) * (speed / desired)
        value = 1.0 - float(square * square) - (wanted / gap) ** 2
        assert idm_acceleration(driver, 0, speed, desired, gap, lead) == min(max(value, -4.0), 1.0)
