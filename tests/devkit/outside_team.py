"""A stand-in of the devkit's simulation: our own loop, whose every frame goes through the devkit's objects and back."""

import numpy as np
from tests.devkit import stand_in as devkit

from drivetrain.sim.scenario import AgentType, LightState

PACIFICA = devkit.VehicleParameters(width=2.297, front_length=4.049, rear_length=1.127, wheel_base=3.089)


def outside_team(planner, maps_root, *, initialize=True):
    """Sets a devkit planner to work in one scenario."""
    return lambda scenarios: _OutsideTeam(planner, maps_root, *scenarios, initialize=initialize)


def initialization_of(scenario, maps_root):
    road = scenario.map
    goal = scenario.goal + np.array([*road.origin, 0.0])
    return devkit.PlannerInitialization(
        route_roadblock_ids=[str(road.roadblock_id[row]) for row in scenario.route],
        mission_goal=devkit.StateSE2(*goal) if scenario.goal_known else None,
        map_api=devkit.NuPlanMap(str(maps_root), road.name),
    )


def input_of(moment, scenario):
    """The moment as the devkit's planner input."""
    origin = np.array([*scenario.map.origin, 0.0])
    ego = devkit.EgoState.build_from_rear_axle(
        rear_axle_pose=devkit.StateSE2(*(moment.ego.pose + origin)),
        rear_axle_velocity_2d=devkit.StateVector2D(*moment.ego.velocity),
        rear_axle_acceleration_2d=devkit.StateVector2D(moment.ego.acceleration, 0.0),
        tire_steering_angle=moment.ego.steering,
        time_point=devkit.TimePoint(moment.time_us),
        vehicle_parameters=PACIFICA,
    )
    lanes, lights = scenario.map.lanes, scenario.lights.lane
    told = [
        devkit.TrafficLightStatusData(
            devkit.TrafficLightStatusType(int(state)), int(lanes.source_id[lane]), moment.time_us
        )
        for lane, state in zip(lights, moment.light_state, strict=True)
        if state != LightState.UNKNOWN
    ]
    observation = devkit.DetectionsTracks(devkit.TrackedObjects(_objects(moment.objects, scenario)))
    return devkit.PlannerInput(
        iteration=devkit.SimulationIteration(devkit.TimePoint(moment.time_us), moment.frame),
        history=devkit.SimulationHistoryBuffer([ego], [observation]),
        traffic_light_data=told,
    )


def _objects(seen, scenario):
    things = []
    for i, column in enumerate(seen.column):
        x, y = seen.position[i] + scenario.map.origin
        box = devkit.OrientedBox(devkit.StateSE2(x, y, seen.heading[i]), *seen.size[i], 1.6)
        kind = devkit.TrackedObjectType(int(seen.type[i]))
        token = f"{int(scenario.agents.token[column]):016x}"
        if seen.type[i] in (AgentType.VEHICLE, AgentType.PEDESTRIAN, AgentType.BICYCLE):
            things.append(devkit.Agent(kind, box, token, devkit.StateVector2D(*seen.velocity[i])))
        else:
            things.append(devkit.StaticObject(kind, box, token))
    return things


class _OutsideTeam:
    def __init__(self, planner, maps_root, scenario, *, initialize):
        self.planner, self.scenario = planner, scenario
        if initialize:
            planner.initialize(initialization_of(scenario, maps_root))

    def plan(self, moments):
        ((number, moment),) = moments.items()
        trajectory = self.planner.compute_trajectory(input_of(moment, self.scenario))
        states = trajectory.get_sampled_trajectory()
        assert np.all(np.diff([state.time_us for state in states]) == 100_000)
        assert states[0].time_us == moment.time_us
        poses = np.array([[s.rear_axle.x, s.rear_axle.y, s.rear_axle.heading] for s in states])
        return {number: poses - np.array([*self.scenario.map.origin, 0.0])}
