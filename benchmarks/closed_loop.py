"""nuPlan's closed loop: how long `drivetrain evaluate` takes for as many scenarios as the usual benchmark has.

    python benchmarks/closed_loop.py [SCENARIOS]

1,118 scenarios of 15 s (default), one per log of a raw sample that is generated and converted once. Timed are whole
processes, from their start to their end, with warm kernels, on as many processes as there are cores, up to two.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from drivetrain.config import plain
from drivetrain.data.convert import convert
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.synthetic.raw.raw_sample import write_raw_sample
from drivetrain.errors import DataError
from drivetrain.interfaces.progress import StderrProgress
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.processes import usable_cores
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.kernel_cache import cache_root
from drivetrain.sim.observation import CANONICAL
from drivetrain.trainer.checkpoint import Checkpoint, save_checkpoint
from figures import ROOT, Figure, figure, measure_and_store, print_figures

SCENARIOS = 1118
CORES = 2
TIMED_PLANNERS = ("rule_based",)
"""By name; the others take less."""
TRAFFIC = ("replay", "idm")
_WARM_UP = "2"
_NUM_ACTIONS = 91


def bench_store(scenarios: int) -> Path:
    """Return the folder of the store, made where it is missing or made by other code."""
    store = ROOT / "datasets" / "processed" / f"raw-sample-bench-{scenarios}"
    raw = ROOT / "datasets" / "raw" / f"raw-sample-bench-{scenarios}"
    try:
        if ScenarioStore(store).splits.get("val") == scenarios:
            return store
    except DataError:
        pass
    if not raw.is_dir():
        with StderrProgress("raw sample logs") as progress:
            write_raw_sample(raw, train=0, val=scenarios, test=0, progress=progress)
    with StderrProgress("converting") as progress:
        convert("nuplan", [raw], store, overwrite=True, workers=usable_cores(), progress=progress)
    return store


def measure(scenarios: int = SCENARIOS) -> list[Figure]:
    """Return how many seconds each planner takes in each kind of traffic."""
    store = bench_store(scenarios)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = _untrained(Path(folder) / "best.pt")
        drivers = {name: ["--planner", name] for name in TIMED_PLANNERS}
        drivers["learned policy"] = [str(checkpoint)]
        return [
            _timed(name, words, store, traffic, scenarios, Path(folder))
            for name, words in drivers.items()
            for traffic in TRAFFIC
        ]


def _timed(name: str, words: list[str], store: Path, traffic: str, scenarios: int, folder: Path) -> Figure:
    processes = min(CORES, usable_cores())
    run = partial(_evaluate, words, store, traffic, processes, folder)
    run("--episodes", _WARM_UP)
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    return figure(
        f"{scenarios:,} scenarios of 15 s, {name}, {traffic} traffic", [seconds], unit="s", clock="wall, whole process",
        processes=processes, kernels="compiled, loaded",
    )  # fmt: skip


def _evaluate(words: list[str], store: Path, traffic: str, processes: int, folder: Path, *more: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as cache:  # no row is taken from an earlier run
        (Path(cache) / "kernels").symlink_to(cache_root(), target_is_directory=True)
        subprocess.run(
            [
                *(sys.executable, "-m", "drivetrain", "evaluate", *words, "--data", str(store), "--traffic", traffic),
                *(
                    "--dynamics",
                    "tracker",
                    "--no-reference",
                    "--allow-partial",
                    "--json",
                    "--workers",
                    str(processes),
                    *more,
                ),
            ],
            env={**os.environ, "DRIVETRAIN_CACHE_DIR": cache},
            stdout=subprocess.DEVNULL,
            check=True,
        )


def _untrained(path: Path) -> Path:
    """Save a policy of the default size; what it has learnt does not change what it costs."""
    torch.manual_seed(0)
    space = ActionSpace(num_categories=_NUM_ACTIONS)
    policy = ActorCritic(CANONICAL, space, PolicyConfig())
    checkpoint = Checkpoint(
        algorithm="ppo", step=0, metric={}, observation_schema=CANONICAL, action_space=space, dynamics={},
        policy_config=plain(PolicyConfig()), policy=dict(policy.state_dict()),
        config={"environment": plain(DrivingConfig())}, data={}, code={}, training=None,
    )  # fmt: skip
    save_checkpoint(path, checkpoint)
    return path


def main() -> None:
    """Measure, store and print."""
    scenarios = int(sys.argv[1]) if len(sys.argv) > 1 else SCENARIOS
    if scenarios == SCENARIOS:
        print_figures(measure_and_store("closed_loop", measure))
    else:
        print_figures(measure(scenarios))  # a trial, not stored


if __name__ == "__main__":
    main()
