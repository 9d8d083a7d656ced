"""A checkpoint's policy as a planner in nuPlan's closed loop."""

from __future__ import annotations

import contextlib
import multiprocessing
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from drivetrain.closed_loop.simulation import StartTeam, Team
from drivetrain.closed_loop.teams import policy_team
from drivetrain.config import from_plain
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.models.observation_rows import to_torch
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.observation import CANONICAL
from drivetrain.sim.scenario import Scenario
from drivetrain.trainer.checkpoint import LoadedPolicy, check_fits


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread: sums over several round differently, and figures are to repeat anywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointPlanner:
    """A policy, read once: all scenarios are driven by the same one, whatever becomes of its file."""

    loaded: LoadedPolicy
    path: Path
    """As it was given."""
    deterministic: bool
    """Do not draw actions."""
    temperature: float
    """Divides the logits of a policy that draws."""
    seed: int
    """Of those draws."""
    device: str

    @property
    def name(self) -> str:
        """The path of the checkpoint."""
        return str(self.path)

    def inputs(self) -> dict[str, Any]:
        """Return what else its figures depend on."""
        inputs: dict[str, Any] = {"deterministic": self.deterministic}
        if not self.deterministic:
            inputs |= {"temperature": self.temperature, "seed": self.seed}
        return inputs | {"step": self.loaded.checkpoint.step}

    def team(self, store: ScenarioStore | None) -> StartTeam:
        """Return the policy at work."""
        del store
        if multiprocessing.parent_process() is not None:
            torch.set_num_threads(1)  # processes that share the work have a core each; for good, as switching costs
        loaded = self.loaded
        check_fits(loaded.checkpoint, self.path, CANONICAL, loaded.checkpoint.action_space)
        module = loaded.module.to(self.device)
        driving = from_plain(DrivingConfig, loaded.checkpoint.config["environment"])

        def at_work(scenarios: Sequence[Scenario]) -> Team:
            # Scenarios that are driven together get draws of their own: others would see the same ones.
            seed = np.random.SeedSequence([self.seed, zlib.crc32(scenarios[0].scenario_id.encode())])
            generator = torch.Generator(device=self.device).manual_seed(int(seed.generate_state(1)[0]))

            def act(observation: NDArray) -> NDArray[np.float32]:
                with one_thread(), torch.no_grad():
                    action = module.act(
                        to_torch(observation).to(self.device),
                        deterministic=self.deterministic,
                        temperature=self.temperature,
                        generator=generator,
                    )
                return action.cpu().numpy()

            return policy_team(act, driving)(scenarios)

        return at_work
