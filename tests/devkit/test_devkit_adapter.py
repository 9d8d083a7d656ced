"""The exported adapter in a stand-in of the devkit drives as our own closed loop does, and fails in words."""

import ast
import copy
import importlib.util
import os
import pickle  # noqa: TID251 - the devkit sends planners to its workers that way
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tests.devkit import stand_in
from tests.devkit.outside_team import initialization_of, input_of, outside_team
from tests.devkit.random_policy import write_policy
from tests.golden_sets import GOLDEN2

from drivetrain.closed_loop.simulation import Rollout, one_by_one, simulate
from drivetrain.closed_loop.traffic import LogReplay
from drivetrain.interfaces import cli
from drivetrain.interfaces.devkit_export import ADAPTER
from drivetrain.trainer.golden_rollouts import golden_rollouts
from drivetrain.trainer.planning_service import named_team, policy_team_of

MAPS = GOLDEN2 / "maps"
FRAMES = 40
"""Of a scenario that need not be driven to its end."""


@pytest.fixture(scope="module")
def scenarios():
    """The six scenarios of the small town."""
    return [golden.scenario for golden in golden_rollouts(GOLDEN2) if golden.name.endswith("simple_nr")]


@pytest.fixture(scope="module")
def moments(scenarios):
    """The first moments of a scenario."""
    seen = []

    def note(moment):
        seen.append(moment)
        return np.tile(moment.ego.pose, (20, 1))

    simulate([cut(scenarios[0], 4)], planner=one_by_one(lambda scenario: note), traffic=LogReplay)
    return seen


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return write_policy(tmp_path_factory.mktemp("policy") / "best.pt")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """Returns the module of an exported planner, as the devkit imports it; their processes end with the tests."""
    loaded = {}

    def load(*what):
        if what not in loaded:
            folder = tmp_path_factory.mktemp("export")
            assert cli.main(["export", *map(str, what), "--format", "devkit", "--output", str(folder)]) == 0
            spec = importlib.util.spec_from_file_location("drivetrain_planner", folder / "drivetrain_planner.py")
            loaded[what] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded[what])
        patch.setitem(sys.modules, "drivetrain_planner", loaded[what])
        return loaded[what]

    with pytest.MonkeyPatch.context() as patch:
        stand_in.install(patch)
        yield load
        for module in loaded.values():
            module._close_all()


@pytest.fixture
def idm(adapters):
    return adapters("--planner", "idm")


def cut(scenario, frames):
    agents = scenario.agents
    return replace(
        scenario,
        timestamps_us=scenario.timestamps_us[:frames],
        ego=scenario.ego.take(np.arange(frames)),
        agents=replace(
            agents,
            position=agents.position[:frames],
            heading=agents.heading[:frames],
            velocity=agents.velocity[:frames],
            valid=agents.valid[:frames],
        ),
        lights=replace(scenario.lights, state=scenario.lights.state[:frames]),
    )


def process_of(planner):
    return planner._process._process


@pytest.mark.parametrize(("name", "which"), [("idm", 5), ("nuplan_idm", 1), ("nuplan_idm", 3)])
def test_planners_drive_as_at_home(adapters, scenarios, name, which):
    """``nuplan_idm`` looks at nothing that the devkit does not show: at home it may have the whole log."""
    planner = adapters("--planner", name).DrivetrainPlanner()
    (away,) = simulate(scenarios[which : which + 1], planner=outside_team(planner, MAPS))
    (home,) = simulate(scenarios[which : which + 1], planner=named_team(name))
    assert isinstance(away, Rollout), away
    assert len(away.ego) >= 149
    np.testing.assert_allclose(away.ego.pose, home.ego.pose, rtol=0, atol=1e-7)


def test_a_policy_drives_as_at_home(adapters, scenarios, policy):
    planner = adapters(policy).DrivetrainPlanner()
    scenario = cut(scenarios[0], FRAMES)
    (away,) = simulate([scenario], planner=outside_team(planner, MAPS))
    (home,) = simulate([scenario], planner=policy_team_of(policy, device="cpu"))
    assert isinstance(away, Rollout), away
    assert np.ptp(home.ego.velocity[:, 0]) > 0.2  # it does something
    np.testing.assert_allclose(away.ego.pose, home.ego.pose, rtol=0, atol=1e-6)


def test_the_planner_by_rules_drives_as_at_home(adapters, scenarios):
    """It remembers how agents turn, by their columns."""
    planner, scenario = adapters("--planner", "rule_based").DrivetrainPlanner(), cut(scenarios[3], FRAMES)
    (away,) = simulate([scenario], planner=outside_team(planner, MAPS))
    (home,) = simulate([scenario], planner=named_team("rule_based"))
    assert isinstance(away, Rollout), away
    np.testing.assert_allclose(away.ego.pose, home.ego.pose, rtol=0, atol=1e-6)


def test_drives_may_run_side_by_side_in_one_process(idm, scenarios, moments):
    alone, first, second = (idm.DrivetrainPlanner() for _ in range(3))
    for planner in (alone, first, second):
        planner.initialize(initialization_of(scenarios[0], MAPS))
    assert process_of(first) is process_of(second)
    want = [poses_of(alone.compute_trajectory(input_of(moment, scenarios[0]))) for moment in moments]
    for moment, other, poses in zip(moments, reversed(moments), want, strict=True):
        second.compute_trajectory(input_of(other, scenarios[0]))
        np.testing.assert_array_equal(poses_of(first.compute_trajectory(input_of(moment, scenarios[0]))), poses)


def poses_of(trajectory):
    return np.array([[s.rear_axle.x, s.rear_axle.y, s.rear_axle.heading] for s in trajectory.get_sampled_trajectory()])


def test_states_of_a_trajectory_fit_its_poses(idm, scenarios, moments):
    """8 s; from state to state the pose moves by the next one's speed, the first state is the ego's."""
    planner = idm.DrivetrainPlanner()
    planner.initialize(initialization_of(scenarios[0], MAPS))
    trajectory = planner.compute_trajectory(input_of(moments[2], scenarios[0]))
    states, poses = trajectory.get_sampled_trajectory(), poses_of(trajectory)
    assert len(states) >= 81
    speed = np.array([state.dynamic_car_state.rear_axle_velocity_2d.x for state in states])
    np.testing.assert_allclose(np.hypot(*np.diff(poses[:, :2], axis=0).T), 0.1 * np.abs(speed[1:]), atol=1e-3)
    assert speed[0] == moments[2].ego.velocity[0]
    assert states[0].tire_steering_angle == moments[2].ego.steering
    assert (states[0].time_us, states[80].time_us - states[0].time_us) == (moments[2].time_us, 8_000_000)


def test_planners_can_be_copied_and_sent_before_and_after_they_start(idm, scenarios, moments):
    planner = idm.DrivetrainPlanner(name="mine")
    for _ in range(2):
        for copied in (copy.deepcopy(planner), pickle.loads(pickle.dumps(planner))):  # noqa: S301 - our own
            assert copied.name() == "mine"
            with pytest.raises(idm.PlanningError, match=r"^DrivetrainPlanner: initialize\(\) has to be called before"):
                copied.compute_trajectory(input_of(moments[0], scenarios[0]))
        planner.initialize(initialization_of(scenarios[0], MAPS))
    copied.initialize(initialization_of(scenarios[0], MAPS))
    copied.compute_trajectory(input_of(moments[0], scenarios[0]))
    assert planner.observation_type() is stand_in.DetectionsTracks


def test_a_process_that_is_killed_is_noticed_and_replaced(idm, scenarios, moments):
    planner = idm.DrivetrainPlanner()
    planner.initialize(initialization_of(scenarios[0], MAPS))
    os.kill(process_of(planner).pid, signal.SIGKILL)
    with pytest.raises(idm.PlanningError, match=r"^the planning process was killed by signal 9 \(.*planning_process"):
        planner.compute_trajectory(input_of(moments[0], scenarios[0]))
    planner.initialize(initialization_of(scenarios[0], MAPS))
    planner.compute_trajectory(input_of(moments[0], scenarios[0]))


def test_a_killed_devkit_leaves_no_process_behind():
    """Neither where its pipe is closed with it, nor where a fork of it holds the pipe open."""
    middle = """
import os, subprocess, sys, time
words = [sys.executable, "-m", "drivetrain.interfaces.planning_process", "--planner", "nuplan_simple"]
process = subprocess.Popen([*words, "--parent", str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
process.stdout.read(1)
fork = os.fork() if sys.argv[1] == "fork" else -1
if fork != 0:
    print(process.pid, fork, flush=True)
time.sleep(60)
"""
    for kind in ("alone", "fork"):
        with subprocess.Popen([sys.executable, "-c", middle, kind], stdout=subprocess.PIPE, text=True) as devkit:
            assert devkit.stdout is not None
            planning, fork = map(int, devkit.stdout.readline().split())
            devkit.kill()
            try:
                assert ends(planning), kind
            finally:
                if fork > 0:
                    os.kill(fork, signal.SIGKILL)


def ends(pid):
    for _ in range(200):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        ({"python": "/no/python"}, {}, r"^/no/python: no such Python interpreter; give the one in whose environment "),
        ({"planner": "idmm"}, {}, r"^planner: 'idmm' is not one of .*; did you mean 'idm'\?$"),
        ({"maps_root": "/no/maps"}, {}, r"^/no/maps: has no map 'us-pa-pittsburgh-hazelwood' \(there: none\)"),
        ({"policy": "/no/policy.pt"}, {}, r"^/no/policy.pt: no such checkpoint; train first, or check the path$"),
        ({}, {"map_name": "us-ma-bosten"}, r"has no map 'us-ma-bosten' \(there: us-pa-pittsburgh-hazelwood\)"),
        ({}, {"roadblocks": ["1", "2"]}, r"^route: the map .* has none of its 2 roadblocks \(first: 1\)"),
        ({}, {"map_root": None}, r"^maps_root: not known; give the folder of nuPlan's maps"),
    ],
    ids=["python", "planner", "maps", "policy", "city", "route", "nowhere"],
)
def test_what_is_wrong_is_said_in_one_line(idm, scenarios, monkeypatch, settings, changes, message):
    monkeypatch.delenv("NUPLAN_MAPS_ROOT", raising=False)
    told = initialization_of(scenarios[0], MAPS)
    api = stand_in.NuPlanMap(changes.get("map_root", str(MAPS)), changes.get("map_name", scenarios[0].map.name))
    told = replace(told, map_api=api, route_roadblock_ids=changes.get("roadblocks", told.route_roadblock_ids))
    with pytest.raises(idm.PlanningError, match=message) as error:
        idm.DrivetrainPlanner(**settings).initialize(told)
    assert "\n" not in str(error.value)


def test_an_environment_without_drivetrain_says_so(idm, scenarios, tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    python.chmod(0o755)
    planner = idm.DrivetrainPlanner(python=str(python))
    with pytest.raises(idm.PlanningError, match=r"ended with exit code 1 .*; it said: .*No module named 'drivetrain'"):
        planner.initialize(initialization_of(scenarios[0], MAPS))


def test_an_unfinished_export_says_so(idm, scenarios, tmp_path, monkeypatch):
    monkeypatch.setattr(idm, "__file__", str(tmp_path / "drivetrain_planner.py"))
    with pytest.raises(idm.PlanningError, match=r"drivetrain_export.json: cannot be read .*export again"):
        idm.DrivetrainPlanner().initialize(initialization_of(scenarios[0], MAPS))


def test_the_adapter_is_python_3_8_and_needs_numpy_and_the_devkit_alone():
    tree = ast.parse(ADAPTER.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [node.module] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    assert imported - sys.stdlib_module_names == {"numpy", "nuplan"}
    # Annotations are never evaluated; newer forms may stand there, and nowhere else.
    assert isinstance(tree.body[1], ast.ImportFrom)
    assert tree.body[1].module == "__future__"


def test_static_objects_need_no_velocity(idm):
    box = SimpleNamespace(length=1.0, width=0.5)
    thing = SimpleNamespace(center=SimpleNamespace(x=1.0, y=2.0, heading=0.5), box=box)
    assert idm._box(thing) == [1.0, 2.0, 0.5, 1.0, 0.5, 0.0, 0.0]
