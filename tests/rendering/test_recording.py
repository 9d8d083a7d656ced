import numpy as np
import pytest
from tests.sim.scenario_builder import Mover, constant, line
from tests.sim.worlds import signalled_crossing, straight_road

from drivetrain.errors import CheckpointError, DataError, UsageError
from drivetrain.rendering.direct_drives import record_drive
from drivetrain.rendering.drivers import planner_drive, policy_drive
from drivetrain.rendering.recording import record_log
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.scenario import LightState

KEEP = 3 * 13 + 6
"""The action that neither accelerates nor steers: level 3 of 7, level 6 of 13."""


def keep_going(env, observation):
    return env.step(np.array([KEEP]))


def test_replaying_the_log_records_the_log():
    scenario = straight_road()
    log = record_log(scenario)
    drive = record_drive(scenario, lambda env, observation: env.step_log(), label="replayed")
    assert drive.outcome in {"goal", "time"}
    assert np.allclose(drive.ego_pose, log.ego_pose[: drive.num_frames], atol=1e-3)
    assert np.allclose(drive.ego_speed, log.ego_speed[: drive.num_frames], atol=1e-3)
    assert drive.num_frames >= log.num_frames - 1
    agents = drive.agent_present[0]
    assert np.allclose(drive.agent_pose[:, agents], log.agent_pose[: drive.num_frames, agents], atol=1e-3)


def test_driving_into_a_parked_car_ends_at_the_contact():
    parked = Mover(path=line((45, 0), (46, 0)), arc_length=constant(0, 0))
    drive = record_drive(straight_road(lead=False, agents=[parked]), keep_going, label="straight on")
    assert drive.outcome == "collision_at_fault"
    # The car's centre is at x = 45; half of both lengths lie between the centres when they touch.
    gap = 45.0 - drive.ego_pose[:, 0] - drive.ego_size[0] / 2 - drive.agent_size[0, 0] / 2
    assert gap[-1] <= 0 < gap[-2]
    assert drive.progress[0] == 0.0
    assert (np.diff(drive.progress) >= 0).all()


def test_running_a_red_light_is_told():
    scenario = signalled_crossing(ego_state=int(LightState.RED))
    drive = record_drive(scenario, keep_going, label="straight on")
    assert drive.outcome == "red_light"
    front = drive.ego_pose[:, 0] + drive.ego_size[0] / 2
    assert front[-1] >= -8.0 > front[-2]


def test_a_scene_that_cannot_be_simulated_is_refused():
    with pytest.raises(DataError):
        record_drive(straight_road(frames=5), keep_going, label="x")


@pytest.mark.parametrize("name", ["constant_velocity", "idm", "expert"])
def test_reference_planners_are_recorded_under_their_names(name):
    drive = planner_drive(name, straight_road(lead=False))
    assert drive.label == name.replace("_", " ")
    assert drive.num_frames > 10
    assert drive.outcome in {"goal", "time"}


def test_traffic_that_reacts_does_not_run_into_a_braking_ego():
    follower = Mover(path=line((-50, 0), (250, 0)), arc_length=constant(25, 10.0))
    scenario = straight_road(lead=False, agents=[follower])

    def brake(env, observation):
        return env.step(np.array([6]))  # full braking, no steering

    assert record_drive(scenario, brake, label="braking").outcome == "collision"
    reacting = record_drive(scenario, brake, label="braking", config=DrivingConfig(traffic="idm"))
    assert reacting.outcome == "time"
    assert reacting.agent_pose[-1, 0, 0] < reacting.ego_pose[-1, 0] - 5.0


def test_wrong_names_get_the_nearest_one():
    with pytest.raises(UsageError, match=r"^planner: 'exprt' does not exist; did you mean 'expert'\?$"):
        planner_drive("exprt", straight_road())
    hint = r"did you mean 'idm'\?; choose one of replay, idm, idm_aggressive, idm_timid"
    with pytest.raises(UsageError, match=rf"^traffic: 'idn' does not exist; {hint}$"):
        planner_drive("idm", straight_road(), traffic="idn")


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing\.pt"):
        policy_drive(tmp_path / "nothing.pt", straight_road())
