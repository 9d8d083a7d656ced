"""The two simulators, and scenes in the form that each of them reads."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from drivetrain.sim.scene_bank import SceneBank
from drivetrain.sim.traffic_kinds import REACTING, with_drivers


def simulator(name: str, bank: SceneBank, traffic: str) -> tuple[ModuleType, Any]:
    """Return a simulator (``reset_worlds``, ``observe_worlds``, ``step_worlds``) and the scenes in its form.

    Args:
        name: ``kernels`` or ``oracle``.
        bank: The scenes.
        traffic: Whose drivers drive the vehicles that react, see ``DrivingConfig.traffic``.
    """
    scenes = bank.arrays
    if traffic in REACTING and traffic != "idm":  # the bank has plain drivers
        scenes = with_drivers(scenes, bank.scenario_ids, bank.slot_tokens, traffic)
    if name == "oracle":
        from drivetrain.sim import oracle

        return oracle, scenes
    from drivetrain.sim.kernels import step, tables

    return step, tables.pack(scenes)
