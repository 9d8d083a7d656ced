"""Stand-ins of the classes of nuplan-devkit that a planner meets, by the names and in the modules of the devkit.

Written after the public definitions (commit e9241677 and before): what the adapter reads and calls is there, with the
devkit's meanings; nothing else.
"""

import abc
import sys
import types
from dataclasses import dataclass
from enum import Enum, IntEnum

import numpy as np


@dataclass(frozen=True)
class StateSE2:
    x: float
    y: float
    heading: float


@dataclass(frozen=True)
class StateVector2D:
    x: float
    y: float


@dataclass(frozen=True)
class TimePoint:
    time_us: int

    def __post_init__(self):
        assert isinstance(self.time_us, int)
        assert self.time_us >= 0


class VehicleParameters:
    def __init__(self, width, front_length, rear_length, wheel_base):
        self.width, self.front_length, self.rear_length, self.wheel_base = width, front_length, rear_length, wheel_base
        self.length = front_length + rear_length

    @property
    def rear_axle_to_center(self):
        return self.length / 2.0 - self.rear_length


@dataclass
class CarFootprint:
    rear_axle: StateSE2
    vehicle_parameters: VehicleParameters


@dataclass
class DynamicCarState:
    rear_axle_velocity_2d: StateVector2D
    rear_axle_acceleration_2d: StateVector2D
    angular_velocity: float


class EgoState:
    def __init__(self, car_footprint, dynamic_car_state, tire_steering_angle, is_in_auto_mode, time_point):
        self.car_footprint, self.dynamic_car_state = car_footprint, dynamic_car_state
        self.tire_steering_angle, self.time_point = tire_steering_angle, time_point
        self.is_in_auto_mode = is_in_auto_mode

    @property
    def rear_axle(self):
        return self.car_footprint.rear_axle

    @property
    def time_us(self):
        return int(self.time_point.time_us)

    @classmethod
    def build_from_rear_axle(
        cls,
        rear_axle_pose,
        rear_axle_velocity_2d,
        rear_axle_acceleration_2d,
        tire_steering_angle,
        time_point,
        vehicle_parameters,
        is_in_auto_mode=True,
        angular_vel=0.0,
        angular_accel=0.0,
    ):
        return cls(
            CarFootprint(rear_axle_pose, vehicle_parameters),
            DynamicCarState(rear_axle_velocity_2d, rear_axle_acceleration_2d, angular_vel),
            tire_steering_angle,
            is_in_auto_mode,
            time_point,
        )


class TrackedObjectType(Enum):
    VEHICLE = 0, "vehicle"
    PEDESTRIAN = 1, "pedestrian"
    BICYCLE = 2, "bicycle"
    TRAFFIC_CONE = 3, "traffic_cone"
    BARRIER = 4, "barrier"
    CZONE_SIGN = 5, "czone_sign"
    GENERIC_OBJECT = 6, "generic_object"
    EGO = 7, "ego"

    def __new__(cls, value, name):
        member = object.__new__(cls)
        member._value_ = value
        member.fullname = name
        return member


@dataclass
class OrientedBox:
    center: StateSE2
    length: float
    width: float
    height: float


class StaticObject:
    """Has no velocity in some versions of the devkit."""

    def __init__(self, tracked_object_type, box, track_token):
        self.tracked_object_type, self.box, self.track_token = tracked_object_type, box, track_token

    @property
    def center(self):
        return self.box.center


class Agent(StaticObject):
    def __init__(self, tracked_object_type, box, track_token, velocity):
        super().__init__(tracked_object_type, box, track_token)
        self.velocity = velocity


class TrackedObjects:
    def __init__(self, tracked_objects):
        self.tracked_objects = sorted(tracked_objects, key=lambda thing: thing.tracked_object_type.value)


class Observation:
    pass


@dataclass
class DetectionsTracks(Observation):
    tracked_objects: TrackedObjects


class TrafficLightStatusType(IntEnum):
    GREEN = 0
    YELLOW = 1
    RED = 2
    UNKNOWN = 3


@dataclass
class TrafficLightStatusData:
    status: TrafficLightStatusType
    lane_connector_id: int
    timestamp: int


class SimulationHistoryBuffer:
    def __init__(self, ego_states, observations):
        self.ego_states, self.observations = ego_states, observations

    @property
    def current_state(self):
        return self.ego_states[-1], self.observations[-1]


@dataclass(frozen=True)
class SimulationIteration:
    time_point: TimePoint
    index: int


@dataclass(frozen=True)
class PlannerInitialization:
    route_roadblock_ids: list
    mission_goal: object
    map_api: object


@dataclass(frozen=True)
class PlannerInput:
    iteration: SimulationIteration
    history: SimulationHistoryBuffer
    traffic_light_data: object = None


class AbstractPlanner(abc.ABC):
    requires_scenario = False

    def __new__(cls, *args, **kwargs):
        instance = super().__new__(cls)
        instance._compute_trajectory_runtimes = []
        return instance

    @abc.abstractmethod
    def name(self): ...

    @abc.abstractmethod
    def initialize(self, initialization): ...

    @abc.abstractmethod
    def observation_type(self): ...

    @abc.abstractmethod
    def compute_planner_trajectory(self, current_input): ...

    def compute_trajectory(self, current_input):
        return self.compute_planner_trajectory(current_input)


class AbstractTrajectory:
    pass


class InterpolatedTrajectory(AbstractTrajectory):
    def __init__(self, trajectory):
        assert len(trajectory) > 1
        assert all(isinstance(state, EgoState) for state in trajectory)
        assert (np.diff([state.time_us for state in trajectory]) > 0).all()
        self._trajectory = trajectory

    def get_sampled_trajectory(self):
        return self._trajectory


class MapsDB:
    def __init__(self, map_root):
        self._map_root = map_root


class NuPlanMap:
    def __init__(self, map_root, map_name):
        self._maps_db = MapsDB(map_root)
        self.map_name = map_name


MODULES = {
    "nuplan.common.actor_state.ego_state": [EgoState],
    "nuplan.common.actor_state.state_representation": [StateSE2, StateVector2D, TimePoint],
    "nuplan.planning.simulation.observation.observation_type": [DetectionsTracks, Observation],
    "nuplan.planning.simulation.planner.abstract_planner": [AbstractPlanner, PlannerInitialization, PlannerInput],
    "nuplan.planning.simulation.trajectory.abstract_trajectory": [AbstractTrajectory],
    "nuplan.planning.simulation.trajectory.interpolated_trajectory": [InterpolatedTrajectory],
}


def install(monkeypatch):
    """Make the stand-ins importable by the devkit's names until the test ends."""
    for name, classes in MODULES.items():
        parts = name.split(".")
        for end in range(1, len(parts)):
            package = ".".join(parts[:end])
            if package not in sys.modules:
                monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
                sys.modules[package].__path__ = []
        module = types.ModuleType(name)
        for one in classes:
            setattr(module, one.__name__, one)
        monkeypatch.setitem(sys.modules, name, module)
