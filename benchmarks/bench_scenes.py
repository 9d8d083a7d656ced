"""The scenes that benchmarks run on: a sample store of their own, made once."""

from __future__ import annotations

from functools import cache
from itertools import islice
from pathlib import Path

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.errors import DataError
from drivetrain.sim.scene_bank import SceneBank, build_bank
from figures import ROOT

STORE = ROOT / "datasets" / "processed" / "sample-bench"
TRAIN, VALIDATION = 400, 100


def bench_store() -> Path:
    """Return the folder of the store, generating it where it is missing or made by other code."""
    try:
        if ScenarioStore(STORE).splits.get("train") == TRAIN:
            return STORE
    except DataError:
        pass
    return write_sample(STORE, train=TRAIN, val=VALIDATION, test=0, overwrite=True)


@cache
def bench_bank(*, all_controllable: bool = False, scenes: int = TRAIN) -> SceneBank:
    """Return the first training scenes, compiled; for self-play with every moving vehicle controllable."""
    scenarios = islice(ScenarioStore(bench_store()).scenarios("train"), scenes)
    return build_bank(list(scenarios), all_controllable=all_controllable)
