"""What must not matter to the box metrics: where the scene lies, how it is turned, the order of its agents."""

from dataclasses import replace

import numpy as np
import pytest
from tests.metrics.builders import agents_of, random_box, straight_ego, times_of

from drivetrain.metrics.collisions import find_collisions
from drivetrain.metrics.comfort import comfort, physical_comfort
from drivetrain.metrics.time_to_collision import physical_time_to_collision, time_to_collision

NUM = 20
SOME = np.arange(NUM) % 3 > 0


def street(seed: int):
    """A bending ego among twenty agents, whose velocities are not quite along their headings."""
    random = np.random.default_rng(seed)
    ego = straight_ego(NUM, speed=6.0)
    turn = 0.02 * np.arange(NUM)
    pose = np.column_stack([ego.pose[:, 0], 0.05 * np.arange(NUM) ** 1.5, turn])
    boxes = [random_box(random) for _ in range(20)]
    agents = agents_of(NUM, *({**b, "x": 2.5 * b["x"], "y": 2.5 * b["y"]} for b in boxes))
    sliding = (agents.velocity + random.normal(size=agents.velocity.shape)).astype(np.float32)
    return replace(ego, pose=pose), replace(agents, velocity=sliding)


def verdict(ego, agents):
    """Everything the box metrics say, by track token."""
    found = find_collisions(ego, agents, SOME)
    masks = {"collisions": found, "in_lane": SOME, "rear_axle_in_intersection": ~SOME}
    contacts = sorted(
        zip(
            found.frame.tolist(),
            agents.token[found.agent].tolist(),
            found.type.tolist(),
            found.at_fault.tolist(),
            strict=True,
        )
    )
    return contacts, time_to_collision(ego, agents, **masks), physical_time_to_collision(ego, agents, **masks)


def same(first, second) -> bool:
    return first[0] == second[0] and all(
        np.allclose(a, b, atol=1e-9) for a, b in zip(first[1:], second[1:], strict=True)
    )


@pytest.mark.parametrize("seed", range(12))
def test_turning_and_moving_the_scene(seed):
    ego, agents = street(seed)
    angle, shift = 0.7 + seed, np.array([4000.0, -7000.0])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    moved_ego = replace(ego, pose=np.column_stack([ego.pose[:, :2] @ turn + shift, ego.heading + angle]))
    moved_agents = replace(
        agents,
        position=agents.position @ turn + shift,
        heading=(agents.heading + angle).astype(np.float32),
        velocity=(agents.velocity @ turn).astype(np.float32),
    )
    before, after = verdict(ego, agents), verdict(moved_ego, moved_agents)
    assert same(before, after)
    for rule in (comfort, physical_comfort):
        one, other = rule(ego, times_of(NUM)), rule(moved_ego, times_of(NUM))
        assert one is not None
        assert other is not None
        for name, values in one.signals.items():
            np.testing.assert_allclose(other.signals[name], values, atol=2e-8)


@pytest.mark.parametrize("seed", range(12))
def test_the_order_of_the_agents(seed):
    ego, agents = street(seed)
    order = np.random.default_rng(seed).permutation(len(agents.type))
    shuffled = replace(
        agents,
        **{name: getattr(agents, name)[order] for name in ("token", "type", "size")},
        **{name: getattr(agents, name)[:, order] for name in ("position", "heading", "velocity", "valid")},
    )
    assert same(verdict(ego, agents), verdict(ego, shuffled))


@pytest.mark.parametrize("seed", range(4))
def test_frames_after_the_last_state_do_not_count(seed):
    ego, agents = street(seed)
    longer = replace(
        agents,
        **{name: np.concatenate([getattr(agents, name)] * 2) for name in ("position", "heading", "velocity", "valid")},
    )
    assert same(verdict(ego, agents), verdict(ego, longer))


def test_the_streets_hold_what_is_compared():
    verdicts = [verdict(*street(seed)) for seed in range(12)]
    assert sum(len(contacts) for contacts, _, _ in verdicts) >= 10
    assert len({round(float(t), 6) for _, times, _ in verdicts for t in times}) > 20
    assert any((times != physical).any() for _, times, physical in verdicts)
