"""The scenes of a store that a run learns in, compiled once and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivetrain.data import scenario_store
from drivetrain.data.counted import StderrProgress
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import DataError
from drivetrain.sim import route_ahead
from drivetrain.sim.bank_cache import cached_bank
from drivetrain.sim.kernel_cache import source_hash
from drivetrain.sim.scenario import Scenario
from drivetrain.sim.scene_bank import NothingToSimulateError, SceneBank, build_bank
from drivetrain.trainer.scenario_choice import listed_rows

MANY_SCENES = 200
"""From this many on, compiling takes seconds and is shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingScenes:
    """A choice of scenes of a store."""

    store: ScenarioStore
    rows: NDArray[np.int64]
    """Of the store."""
    all_controllable: bool
    """A policy may drive any vehicle, not only the egos."""
    min_distance_m: float
    """Scenes whose ego drives less are left out [m]."""
    route: str = "log"
    """What the egos are told of their way, see ``DrivingConfig.route``."""

    @staticmethod
    def choose(
        store: ScenarioStore,
        *,
        split: str,
        most: int,
        seed: int,
        all_controllable: bool,
        min_distance_m: float,
        route: str = "log",
        listed: Path | None = None,
    ) -> TrainingScenes:
        """Return the scenes of a split, or those that a file lists, or ``most`` of them drawn by ``seed``.

        Raises:
            DrivetrainError: The file cannot be read, or lists other scenes than those of the store.
        """
        rows = store.rows(split) if listed is None else listed_rows(store, listed)
        if len(rows) > most:
            rows = np.sort(np.random.default_rng(seed).permutation(rows)[:most])
        return TrainingScenes(
            store=store, rows=rows, all_controllable=all_controllable, min_distance_m=min_distance_m, route=route
        )

    @property
    def content(self) -> str:
        """Names everything a bank of these scenes is made from."""
        choice = hashlib.sha256(np.ascontiguousarray(self.rows, dtype=np.int64).tobytes()).hexdigest()
        reading = source_hash(scenario_store.__file__)
        told = "" if self.route == "log" else f" {self.route} {source_hash(route_ahead.__file__)}"
        return f"{self.store.fingerprint} {reading} {choice} {self.all_controllable} {self.min_distance_m}{told}"

    def compile(self, *, say: Callable[[str], None], is_shown: bool) -> SceneBank:
        """Return the compiled scenes: from disk, else made now.

        Args:
            say: Told how many there are.
            is_shown: Show a progress bar where compiling takes long.

        Raises:
            DataError: There is no scene that can be used.
        """

        def build() -> SceneBank:
            scenes = self._load()
            if not scenes:
                raise DataError(
                    f"data: {self.store.path} has no training scene with a drive of {self.min_distance_m} m or more; "
                    "lower environment.min_distance_m, or use another data set"
                )
            report = StderrProgress("compiling training scenes") if is_shown and len(scenes) >= MANY_SCENES else None
            return build_bank(
                scenes,
                all_controllable=self.all_controllable,
                route_of=route_ahead.ROUTES[self.route],
                progress=None if report is None else lambda done: report(done, len(scenes)),
            )

        bank = cached_bank(self.content, build)
        say(f"training: {len(bank):,} scenes{f', {len(bank.dropped):,} cannot be simulated' if bank.dropped else ''}")
        return bank

    def compile_part(self, first: int, count: int) -> SceneBank | None:
        """Return ``count`` of the scenes from ``first`` on, compiled and kept nowhere; None: none can be simulated."""
        scenes = replace(self, rows=self.rows[first : first + count])._load()
        try:
            return build_bank(scenes, all_controllable=self.all_controllable, route_of=route_ahead.ROUTES[self.route])
        except NothingToSimulateError:
            return None

    def _load(self) -> list[Scenario]:
        """Return the scenes whose logged ego covers the least distance."""
        return [scene for scene in (self.store.load(int(row)) for row in self.rows) if self._drives(scene)]

    def _drives(self, scenario: Scenario) -> bool:
        """Return True if the logged ego covers the least distance."""
        legs = np.diff(scenario.ego.pose[:, :2], axis=0)
        return float(np.hypot(legs[:, 0], legs[:, 1]).sum()) >= self.min_distance_m
