"""Planners that look at views, and policies, at work in nuPlan's simulation.

N scenarios, W worlds that show them, K poses of a trajectory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from drivetrain.closed_loop.mirror import WorldMirror, held
from drivetrain.closed_loop.moment import Moment
from drivetrain.closed_loop.simulation import StartTeam
from drivetrain.planners.trajectory import Planner, Planners, RowPlanner, StatefulPlanner, sampled
from drivetrain.planners.view import PlanningRows
from drivetrain.planners.world_view import planning_rows, scenario_view
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.scenario import Float64, Scenario
from drivetrain.sim.scene_arrays import SPEED, STEERING
from drivetrain.sim.scene_bank import DT

POLICY_STEPS = 20
"""Steps of 0.1 s that a policy acts in its imagination before its last state is held: twice what the tracker needs."""
PLAN_STEPS = 80
"""Length of a policy's trajectory: 8 s."""
Act = Callable[[NDArray], NDArray]
"""Observations [W, D] in, actions [W] or [W, 2] out; see ``DrivingEnv.step``."""


def view_team(planner: Planner | StatefulPlanner, *, name: str, unfolding: bool = True) -> StartTeam:
    """Return a planner that is called with views.

    Args:
        planner: The planner.
        name: What it is called.
        unfolding: It sees what nuPlan would show it, see :class:`WorldMirror`; where no lane graph is known, the
            route follows the log all the same.
    """
    return lambda scenarios: _ViewTeam(planner, name, scenarios, unfolding=unfolding)


def policy_team(
    act: Act, driving: DrivingConfig, *, unfolding: bool = True
) -> Callable[[Sequence[Scenario]], PolicyTeam]:
    """Return a policy as a planner: rolled out into an 8 s trajectory at every frame.

    The policy acts for 2 s in a world where everybody keeps its velocity and lights stay as they are; then speed and
    steering angle are held.

    Args:
        act: The policy.
        driving: The environment it was trained in (action space, actuator lags, observation type).
        unfolding: As in :func:`view_team`.
    """
    return lambda scenarios: PolicyTeam(act, driving, scenarios, unfolding=unfolding)


def _lanes_known(scenarios: Sequence[Scenario]) -> bool:
    return all(scenario.map.knowledge.lane_graph for scenario in scenarios)


class _ViewTeam:
    def __init__(
        self, planner: Planner | StatefulPlanner, name: str, scenarios: Sequence[Scenario], *, unfolding: bool
    ) -> None:
        self._planner, self._planners, self._name = planner, Planners(planner), name
        self._scenarios = scenarios
        self._mirror = WorldMirror(scenarios, unfolding=unfolding and _lanes_known(scenarios))

    def plan(self, moments: Mapping[int, Moment]) -> dict[int, Float64 | Exception]:
        """Return a trajectory [K, 3] for each moment, or what went wrong."""
        mirror = self._mirror
        plans: dict[int, Float64 | Exception] = {n: mirror.problems[n] for n in moments if n in mirror.problems}
        shown = {number: moment for number, moment in moments.items() if number in mirror.world_of}
        if not shown:
            return plans
        worlds = mirror.show(shown)
        rows = _exact(planning_rows(mirror.bank.arrays, mirror.state, worlds), list(shown.values()))
        if isinstance(self._planner, RowPlanner):
            try:
                return plans | dict(zip(shown, self._planner.plan_rows(rows), strict=True))
            except Exception as error:  # a planner of many fails in all of them
                return plans | dict.fromkeys(shown, error)
        for at, number in enumerate(shown):
            plans[number] = self._plan(rows, at, int(worlds[at]), number, shown[number].frame)
        return plans

    def _plan(self, rows: PlanningRows, at: int, world: int, number: int, frame: int) -> Float64 | Exception:
        mirror, scenario = self._mirror, self._scenarios[number]
        try:
            view = scenario_view(
                mirror.bank, mirror.state, rows, at=at, row=world, scenario=scenario, time_s=DT * frame
            )
            return sampled(self._planners(number, view), name=self._name)
        except Exception as error:  # whatever a planner raises fails its scenario only
            return error


def _exact(rows: PlanningRows, moments: list[Moment]) -> PlanningRows:
    """Return rows with the egos' states as they are: the worlds keep single precision only."""
    return rows._replace(
        pose=np.stack([m.ego.pose for m in moments]),
        speed=np.array([m.ego.velocity[0] for m in moments]),
        acceleration=np.array([m.ego.acceleration for m in moments]),
        steering=np.array([m.ego.steering for m in moments]),
    )


class PolicyTeam:
    """A policy at work in scenarios."""

    def __init__(self, act: Act, driving: DrivingConfig, scenarios: Sequence[Scenario], *, unfolding: bool) -> None:
        self._act = act
        self._mirror = WorldMirror(scenarios, driving, unfolding=unfolding and _lanes_known(scenarios))

    @property
    def world_of(self) -> Mapping[int, int]:
        """Scenario -> its row in the observations of the policy; those that cannot be shown are missing."""
        return self._mirror.world_of

    def plan(self, moments: Mapping[int, Moment]) -> dict[int, Float64 | Exception]:
        """Return a trajectory [K, 3] for each moment, or what went wrong."""
        mirror = self._mirror
        plans: dict[int, Float64 | Exception] = {n: mirror.problems[n] for n in moments if n in mirror.problems}
        shown = {number: moment for number, moment in moments.items() if number in mirror.world_of}
        if not shown:
            return plans
        worlds = mirror.show(shown)
        remembered = mirror.remember()
        imagined = [np.stack([moment.ego.pose for moment in shown.values()])]
        for _ in range(POLICY_STEPS):
            mirror.imagine(self._act(mirror.env.current_observation()))
            imagined.append(mirror.rear_axles()[worlds])
        arrays, own = mirror.bank.arrays, mirror.state.agents[worlds, :, 0].astype(np.float64)
        wheelbase = arrays.wheelbase[arrays.slot_start[mirror.state.scene[worlds]]].astype(np.float64)
        rest = held(imagined[-1], own[:, SPEED], own[:, STEERING], wheelbase, PLAN_STEPS - POLICY_STEPS)
        mirror.restore(remembered)
        poses = np.concatenate([np.stack(imagined, axis=1), rest], axis=1)
        return plans | dict(zip(shown, poses, strict=True))
