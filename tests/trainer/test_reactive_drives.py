"""The reference implementation's drives among reactive agents: scored against the agents it recorded, not the log's."""

import numpy as np
import pytest
from tests.golden_sets import GOLDEN, GOLDEN2

from drivetrain.data.convert import convert
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.scene import ScoringScene
from drivetrain.metrics.score import score_trajectory
from drivetrain.sim.scenario import AgentTracks
from drivetrain.trainer.golden_drives import all_drives
from drivetrain.trainer.trajectory_file import read_trajectories
from drivetrain.trainer.trajectory_match import covering_logs


def recorded_agents(recorded, tokens, tracks, shift, num_frames):
    """Agents of a rollout (x, y, heading, speed, type; NaN where absent) with the sizes that the log gives them."""
    frames, num = recorded.shape[:2]
    rows = [int(np.flatnonzero(tracks.token == np.uint64(int(token, 16)))[0]) for token in tokens]
    valid = np.zeros((num_frames, num), dtype=np.bool_)
    valid[:frames] = np.isfinite(recorded[..., 0])
    values = np.zeros((num_frames, num, 5))
    values[:frames] = np.nan_to_num(recorded)
    heading, speed = values[..., 2], values[..., 3]
    return AgentTracks(
        token=tracks.token[rows],
        type=tracks.type[rows],
        size=tracks.size[rows],
        position=np.where(valid[..., None], values[..., :2] + shift, 0.0),
        heading=heading.astype(np.float32),
        velocity=(speed[..., None] * np.stack([np.cos(heading), np.sin(heading)], axis=2)).astype(np.float32),
        valid=valid,
    )


@pytest.mark.parametrize(("root", "num_drives"), [(GOLDEN, 1), (GOLDEN2, 18)])
def test_scores_among_reactive_agents_are_those_of_the_reference_implementation(tmp_path, root, num_drives):
    convert("nuplan", [root], tmp_path / "store")
    store = ScenarioStore(tmp_path / "store")
    file = read_trajectories(root / "oracle_metrics.npz")
    drives = [drive for drive in all_drives(root) if drive.name.endswith("_idm")]
    assert len(drives) == num_drives
    with np.load(root / "oracle_rollouts.npz", allow_pickle=False) as oracle:
        rollouts = {name: oracle[name] for name in oracle.files}
    for drive in drives:
        times = file.timestamps_us[drive.scenario]
        (log,) = covering_logs(store, times)
        window = store.window(log.row, log.frames)
        shift = file.origin - window.map.origin
        tokens = rollouts.get(f"{drive.name}_tokens", rollouts.get("tokens")).tolist()
        tracks = store.log(window.log_name).tracks
        agents = recorded_agents(rollouts[f"{drive.name}_agents"], tokens, tracks, shift, len(times))
        states = drive.trajectory()
        ego = EgoStates(
            pose=states[:, :3] + np.append(shift, 0.0),
            velocity=np.column_stack([states[:, 3], np.zeros(len(states))]),
            acceleration=np.column_stack([states[:, 4], np.zeros(len(states))]),
            yaw_rate=states[:, 5],
            yaw_acceleration=states[:, 6],
        )
        # the first state is the logged one, which may slide a little; later ones do not
        first = window.ego
        ego.velocity[0, 1], ego.acceleration[0, 1] = first.velocity[0, 1], first.acceleration[0, 1]
        scene = ScoringScene(map=window.map, timestamps_us=times, expert=window.ego, agents=agents)
        verdict = score_trajectory(scene, ego)
        found = {"score": verdict.score, **verdict.metrics}
        assert {name: found[name] for name in drive.expected} == pytest.approx(drive.expected, abs=1e-3), drive.name
