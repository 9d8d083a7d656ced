"""Closed-loop rollouts of the reference implementation, scored: other trajectories, other agents, one frame fewer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.golden_sets import GOLDEN, GOLDEN2
from tests.metrics.golden_cases import golden_cases

from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.scene import ScoringScene
from drivetrain.metrics.score import METRICS, score_trajectory
from drivetrain.sim.scenario import AgentTracks

ORDER = (
    "ego_progress_along_expert_route",
    "time_to_collision_within_bound",
    "speed_limit_compliance",
    "ego_is_comfortable",
    "no_ego_at_fault_collisions",
    "drivable_area_compliance",
    "ego_is_making_progress",
    "driving_direction_compliance",
)


def rolled_out(scene: ScoringScene, states: np.ndarray, shift: np.ndarray) -> EgoStates:
    """The ego of a rollout: columns x, y, heading, v, a, steering, yaw rate; its first state is the logged one."""
    num = len(states)
    lateral = np.zeros((2, num))
    lateral[:, 0] = scene.expert.velocity[0, 1], scene.expert.acceleration[0, 1]
    steps = np.diff(scene.timestamps_us[:num]) * 1e-6
    return EgoStates(
        pose=states[:, :3] + np.append(shift, 0.0),
        velocity=np.column_stack([states[:, 3], lateral[0]]),
        acceleration=np.column_stack([states[:, 4], lateral[1]]),
        yaw_rate=states[:, 6],
        yaw_acceleration=np.append(0.0, np.diff(states[:, 6]) / steps),
    )


def simulated(scene: ScoringScene, rows: np.ndarray, tokens: list[str], shift: np.ndarray) -> AgentTracks:
    """The agents of a rollout: columns x, y, heading, speed, type; NaN where absent; none in the last frame."""
    logged = scene.agents
    columns = [int(np.flatnonzero(logged.token == int(token, 16))[0]) for token in tokens]
    states = np.full((len(scene.timestamps_us), len(tokens), 5), np.nan)
    states[: len(rows)] = rows
    valid = np.isfinite(states[..., 0])
    states = np.where(valid[..., None], states, 0.0)
    heading, speed = states[..., 2], states[..., 3]
    return AgentTracks(
        token=logged.token[columns],
        type=states[..., 4].max(axis=0).astype(np.uint8),
        size=logged.size[columns],
        position=states[..., :2] + shift,
        heading=heading.astype(np.float32),
        velocity=np.stack([speed * np.cos(heading), speed * np.sin(heading)], axis=2).astype(np.float32),
        valid=valid,
    )


@pytest.mark.parametrize(("root", "num_rollouts"), [(GOLDEN, 3), (GOLDEN2, 36)], ids=["set1", "set2"])
def test_rollouts_score_as_in_the_reference_implementation(root: Path, num_rollouts: int):
    scenes = list({id(case.scene): case.scene for case in golden_cases(root)}.values())
    with np.load(root / "oracle_rollouts.npz") as file, np.load(root / "oracle_metrics.npz") as metrics:
        arrays, origin = {name: file[name] for name in file.files}, metrics["origin"]
    names = [name.removesuffix("_ego") for name in arrays if name.endswith("_ego")]
    assert len(names) == num_rollouts
    if "metric_names" in arrays:
        assert tuple(arrays["metric_names"].tolist()) == ORDER
    for name in names:
        scene = scenes[int(name[1])] if len(scenes) > 1 else scenes[0]
        shift = origin - scene.map.origin
        tokens = arrays.get(f"{name}_tokens", arrays.get("tokens"))
        assert tokens is not None
        agents = simulated(scene, arrays[f"{name}_agents"], tokens.tolist(), shift)
        found = score_trajectory(replace(scene, agents=agents), rolled_out(scene, arrays[f"{name}_ego"], shift))
        assert found.score == pytest.approx(float(arrays[f"{name}_score"]), abs=1e-9), name
        if f"{name}_metrics" in arrays:
            expected = dict(zip(ORDER, arrays[f"{name}_metrics"].tolist(), strict=True))
            assert {key: found.metrics[key] for key in METRICS} == pytest.approx(expected, abs=1e-9), name
