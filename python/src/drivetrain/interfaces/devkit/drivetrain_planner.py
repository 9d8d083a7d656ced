"""A drivetrain planner inside nuplan-devkit: ``DrivetrainPlanner`` is an ``AbstractPlanner`` of the devkit.

This file runs in the devkit's own Python environment (3.8 or newer) and needs nothing there but NumPy and the devkit.
The planner itself works in another process, in the environment in which drivetrain is installed; the two talk over
pipes. What was exported, and which Python runs it, is written in ``drivetrain_export.json`` beside this file.

K poses of a trajectory, A tracked objects.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import struct
import subprocess
import tempfile
import threading
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from nuplan.common.actor_state.ego_state import EgoState
from nuplan.common.actor_state.state_representation import StateSE2, StateVector2D, TimePoint
from nuplan.planning.simulation.observation.observation_type import DetectionsTracks, Observation
from nuplan.planning.simulation.planner.abstract_planner import AbstractPlanner, PlannerInitialization, PlannerInput
from nuplan.planning.simulation.trajectory.abstract_trajectory import AbstractTrajectory
from nuplan.planning.simulation.trajectory.interpolated_trajectory import InterpolatedTrajectory

PROTOCOL = 1
STEP_US = 100_000
"""Between two poses of a trajectory."""
EXPORT_FILE = "drivetrain_export.json"
FOREIGN_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
"""Belong to the devkit's environment and would mislead another Python."""
LAST_WORDS = 2000
"""How much of what a process said before it ended is repeated [characters]."""


class PlanningError(RuntimeError):
    """The planner could not plan; the message says why in one line."""


class DrivetrainPlanner(AbstractPlanner):
    """Plans with an exported policy or a planner of drivetrain."""

    requires_scenario = False

    def __init__(
        self,
        maps_root: str | None = None,
        python: str | None = None,
        policy: str | None = None,
        planner: str | None = None,
        device: str = "cpu",
        name: str = "DrivetrainPlanner",
    ) -> None:
        """Choose what plans; nothing is started before ``initialize``.

        Args:
            maps_root: Folder of nuPlan's maps; None: where the devkit reads them, else NUPLAN_MAPS_ROOT.
            python: Interpreter in whose environment drivetrain is installed; None: the environment variable
                DRIVETRAIN_PYTHON, else the one that exported.
            policy: Checkpoint; None: the exported one.
            planner: Name of a drivetrain planner instead of a policy; None: the exported one.
            device: Where a policy runs.
            name: As the devkit's results show it.
        """
        self._maps_root, self._python, self._device, self._name = maps_root, python, device, name
        self._policy, self._planner = policy, planner
        self._process: _PlanningProcess | None = None
        self._drive = ""

    def __getstate__(self) -> dict[str, Any]:
        """Leave the process behind: a copy in another process starts its own with ``initialize``."""
        state = dict(self.__dict__)
        state["_process"], state["_drive"] = None, ""
        return state

    def __deepcopy__(self, memo: dict[int, Any]) -> DrivetrainPlanner:
        """Return a planner with the same settings."""
        copied = DrivetrainPlanner(self._maps_root, self._python, self._policy, self._planner, self._device, self._name)
        memo[id(self)] = copied
        return copied

    def __del__(self) -> None:
        """Let the process forget the drive."""
        process = self.__dict__.get("_process")
        if process is not None:
            process.forget(self._drive)

    def name(self) -> str:
        """Return the name of this planner."""
        return self._name

    def observation_type(self) -> type[Observation]:
        """Return what the planner wants to see: tracked objects."""
        return DetectionsTracks

    def initialize(self, initialization: PlannerInitialization) -> None:
        """Take route, goal and map; starts the planning process if none runs."""
        if self._process is not None:
            self._process.forget(self._drive)
        self._process, self._drive = _process_for(self._command()), uuid.uuid4().hex
        goal = initialization.mission_goal
        map_api = initialization.map_api
        self._process.ask(
            {
                "do": "begin",
                "drive": self._drive,
                "map": map_api.map_name,
                "maps_root": self._find_maps(map_api),
                "roadblocks": [int(block) for block in initialization.route_roadblock_ids if str(block).isdigit()],
                "goal": None if goal is None else [float(goal.x), float(goal.y), float(goal.heading)],
            }
        )

    def compute_planner_trajectory(self, current_input: PlannerInput) -> AbstractTrajectory:
        """Return the trajectory of the next 8 s."""
        if self._process is None:
            raise PlanningError("DrivetrainPlanner: initialize() has to be called before a trajectory is asked for")
        ego, observation = current_input.history.current_state
        words, arrays = _told(ego, observation, current_input.traffic_light_data)
        words.update(do="plan", drive=self._drive)
        return _trajectory(self._process.ask(words, arrays)[1]["poses"], ego)

    def _command(self) -> _Command:
        folder = Path(__file__).resolve().parent
        path = folder / EXPORT_FILE
        try:
            export = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PlanningError(f"{path}: cannot be read ({error}); export again with 'drivetrain export'") from error
        python = self._python or os.environ.get("DRIVETRAIN_PYTHON") or export["python"]
        if not Path(python).is_file():
            raise PlanningError(
                f"{python}: no such Python interpreter; give the one in whose environment drivetrain is installed, "
                "by the argument 'python' or the environment variable DRIVETRAIN_PYTHON"
            )
        if self._planner or (not self._policy and export.get("planner")):
            target = ["--planner", self._planner or export["planner"]]
        else:
            target = [str(Path(self._policy) if self._policy else folder / export["policy"])]
        return _Command(
            words=(python, "-m", "drivetrain.interfaces.planning_process", *target, "--device", self._device),
            source=export.get("source") or "",
        )

    def _find_maps(self, map_api: Any) -> str:
        found = self._maps_root or getattr(getattr(map_api, "_maps_db", None), "_map_root", None)
        found = found or os.environ.get("NUPLAN_MAPS_ROOT")
        if not found:
            raise PlanningError(
                "maps_root: not known; give the folder of nuPlan's maps by the argument 'maps_root' or by the "
                "environment variable NUPLAN_MAPS_ROOT"
            )
        return str(Path(found).expanduser().resolve())


# --- the devkit's objects ---------------------------------------------------------------------------------------------


def _told(
    ego: EgoState, observation: DetectionsTracks, lights: list[Any] | None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what the process is told of one frame."""
    objects = list(observation.tracked_objects.tracked_objects)
    lights = list(lights or [])
    vehicle = ego.car_footprint.vehicle_parameters
    velocity, acceleration = (
        ego.dynamic_car_state.rear_axle_velocity_2d,
        ego.dynamic_car_state.rear_axle_acceleration_2d,
    )
    rear = ego.rear_axle
    words = {
        "time_us": int(ego.time_us),
        "tokens": [str(thing.track_token) for thing in objects],
        "vehicle": {
            "length": float(vehicle.length),
            "width": float(vehicle.width),
            "wheelbase": float(vehicle.wheel_base),
            "rear_axle_to_center": float(vehicle.rear_axle_to_center),
        },
    }
    own = [rear.x, rear.y, rear.heading, velocity.x, velocity.y, acceleration.x, ego.tire_steering_angle]
    arrays = {
        "ego": np.array(own, dtype=np.float64),
        "type": np.array([int(thing.tracked_object_type.value) for thing in objects], dtype=np.uint8),
        "boxes": np.array([_box(thing) for thing in objects], dtype=np.float64).reshape(len(objects), 7),
        "light_connector": np.array([int(light.lane_connector_id) for light in lights], dtype=np.int64),
        "light_state": np.array([int(light.status.value) for light in lights], dtype=np.uint8),
    }
    return words, arrays


def _box(thing: Any) -> list[float]:
    """Return centre x, y, heading, length, width, velocity x, y of a tracked object; static ones may have none."""
    velocity = getattr(thing, "velocity", None)
    moving = (0.0, 0.0) if velocity is None else (velocity.x, velocity.y)
    return [thing.center.x, thing.center.y, thing.center.heading, thing.box.length, thing.box.width, *moving]


def _trajectory(poses: np.ndarray, ego: EgoState) -> InterpolatedTrajectory:
    """Return poses [K, 3] as states, with the velocities and the steering angles that lead from one to the next."""
    vehicle = ego.car_footprint.vehicle_parameters
    dt = STEP_US * 1e-6
    heading = np.unwrap(poses[:, 2])
    step = np.diff(poses[:, :2], axis=0)
    along = (step[:, 0] * np.cos(heading[:-1]) + step[:, 1] * np.sin(heading[:-1])) / dt
    speed = np.append(ego.dynamic_car_state.rear_axle_velocity_2d.x, along)
    acceleration = np.append(ego.dynamic_car_state.rear_axle_acceleration_2d.x, np.diff(speed) / dt)
    yaw_rate = np.append(0.0, np.diff(heading) / dt)
    moving = np.abs(speed) > 0.1
    steering = np.where(moving, np.arctan(vehicle.wheel_base * yaw_rate / np.where(moving, speed, 1.0)), 0.0)
    steering[0] = ego.tire_steering_angle
    yaw_rate[0] = speed[0] * np.tan(steering[0]) / vehicle.wheel_base
    states = [
        EgoState.build_from_rear_axle(
            rear_axle_pose=StateSE2(float(x), float(y), float(angle)),
            rear_axle_velocity_2d=StateVector2D(float(speed[k]), 0.0),
            rear_axle_acceleration_2d=StateVector2D(float(acceleration[k]), 0.0),
            tire_steering_angle=float(steering[k]),
            time_point=TimePoint(int(ego.time_us) + STEP_US * k),
            vehicle_parameters=vehicle,
            angular_vel=float(yaw_rate[k]),
        )
        for k, (x, y, angle) in enumerate(poses)
    ]
    return InterpolatedTrajectory(states)


# --- the planning process ---------------------------------------------------------------------------------------------


class _Command:
    """How a planning process is started."""

    def __init__(self, words: tuple[str, ...], source: str) -> None:
        self.words = words
        self.source = source
        """Folder of drivetrain's sources, for environments in which it is not installed."""

    @property
    def key(self) -> tuple[Any, ...]:
        """Planners of one Python process that are started alike share a planning process."""
        return (os.getpid(), self.source, *self.words)


class _PlanningProcess:
    """A running planning process; several drives, and threads, may use it, one question after another."""

    def __init__(self, command: _Command) -> None:
        self.command = command
        self._lock = threading.Lock()
        self._forgotten: list[str] = []
        self._end = ""
        """Why nobody can ask any more."""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process lives
        environment = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
        if command.source:
            environment["PYTHONPATH"] = command.source
        try:
            self._process = subprocess.Popen(
                [*command.words, "--parent", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise PlanningError(f"{command.words[0]}: cannot be started ({error})") from error
        try:
            greeting = self._answer()[0]
        except PlanningError:
            if not self._end:
                self.close()
            raise
        if greeting.get("protocol") != PROTOCOL:
            self.close()
            raise PlanningError(
                f"drivetrain {greeting.get('version')} speaks another protocol ({greeting.get('protocol')}) than this "
                f"file ({PROTOCOL}); export again with 'drivetrain export'"
            )

    @property
    def lives(self) -> bool:
        return not self._end and self._process.poll() is None

    def forget(self, drive: str) -> None:
        """Note that a drive is over; told with the next question, for this may be called at any time."""
        self._forgotten.append(drive)

    def ask(
        self, words: dict[str, Any], arrays: dict[str, np.ndarray] | None = None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the answer to a question.

        Raises:
            PlanningError: The planner says what is wrong, or the process has ended.
        """
        with self._lock:
            if self._end:
                raise PlanningError(self._end)
            forgotten, self._forgotten = self._forgotten, []
            try:
                _write(self._process.stdin, dict(words, forgotten=forgotten), arrays or {})
            except OSError:
                raise self._ended() from None
            return self._answer()

    def _answer(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        try:
            words, arrays = _read(self._process.stdout)
        except EOFError:
            raise self._ended() from None
        if "error" in words:
            raise PlanningError(words["error"])
        return words, arrays

    def _ended(self) -> PlanningError:
        """Return what became of the process, and let go of it."""
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._said.seek(0)
        said = self._said.read().decode("utf-8", "replace")[-LAST_WORDS:].strip()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        last = f"; it said: {said.splitlines()[-1]}" if said else ""
        end = f"the planning process {how} ({' '.join(self.command.words)}){last}"
        self.close()
        self._end = end
        return PlanningError(end)

    def close(self) -> None:
        """End the process: it goes when nobody can ask any more."""
        self._end = "the planning process was ended"
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._said.close()


_PROCESSES: dict[tuple[Any, ...], _PlanningProcess] = {}
_STARTING = threading.Lock()


def _process_for(command: _Command) -> _PlanningProcess:
    """Return the running process of a command, started anew where there is none or it has ended."""
    with _STARTING:
        process = _PROCESSES.get(command.key)
        if process is not None and not process.lives:
            process.close()
            process = None
        if process is None:
            process = _PROCESSES[command.key] = _PlanningProcess(command)
        return process


@atexit.register
def _close_all() -> None:
    for key, process in list(_PROCESSES.items()):
        if key[0] == os.getpid():
            process.close()


# --- messages ---------------------------------------------------------------------------------------------------------


def _write(stream: Any, words: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Send words and arrays: eight bytes of length, then an ``.npz`` archive."""
    packed = io.BytesIO()
    contents: dict[str, Any] = dict(arrays, words=np.frombuffer(json.dumps(words).encode("utf-8"), dtype=np.uint8))
    np.savez(packed, **contents)
    content = packed.getvalue()
    stream.write(struct.pack("<Q", len(content)) + content)
    stream.flush()


def _read(stream: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Receive words and arrays; raises EOFError where the other side has gone."""
    (size,) = struct.unpack("<Q", _exactly(stream, 8))
    with np.load(io.BytesIO(_exactly(stream, size)), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return json.loads(arrays.pop("words").tobytes().decode("utf-8")), arrays


def _exactly(stream: Any, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = stream.read(size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return parts
