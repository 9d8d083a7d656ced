"""What docs/scaling.md needs and no other benchmark stores: all-reduce, checkpoints, bytes of scenes and logs."""

from __future__ import annotations

import multiprocessing
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

import torch

from bench_scenes import bench_store
from drivetrain.config import Override, load_config
from drivetrain.data.convert import convert
from drivetrain.data.golden import unpack
from drivetrain.parallel import ALONE, ProcessGroup, join_by_file
from drivetrain.sim.observation import CANONICAL
from drivetrain.trainer.checkpoint import host_copy
from drivetrain.trainer.experiment import ExperimentConfig, build_learner
from drivetrain.trainer.speed_trial import Bench
from figures import ROOT

CALLS, WINDOWS = 50, 9


def measure(data: Path | None = None) -> dict[str, float]:
    """Return every input by name."""
    state, scene_bytes, parameters = _learner(data or bench_store())
    worlds = {name: value for name, value in state["environment"].items()}
    world_bytes = sum(value.numel() * value.element_size() for value in worlds.values()) / len(worlds["scene"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "last.pt"
        seconds = [_timed(lambda: torch.save(state, path)) for _ in range(WINDOWS)]
        total = path.stat().st_size
    return {
        "observation_values": CANONICAL.size,
        "parameters": parameters,
        "reduce_shared_s": all_reduce_s(parameters, shared=True),
        "reduce_gloo_s": all_reduce_s(parameters, shared=False),
        "checkpoint_bytes": total - world_bytes * len(worlds["scene"]),
        "world_bytes": world_bytes,
        "checkpoint_s": median(seconds),
        "scene_bytes": scene_bytes,
        **golden_store(),
    }


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _learner(data: Path) -> tuple[dict, float, int]:
    """Return the state of the default PPO after one iteration, bytes of a compiled scene, and parameters."""
    config = ROOT / "python" / "configs" / "planning" / "ppo.yaml"
    given = {("data",): str(data), ("training", "device"): "cpu", ("training", "processes"): 1}
    overrides = [Override(path=path, value=value, flag="benchmark") for path, value in given.items()]
    bench = Bench.prepare(load_config(config, ExperimentConfig, overrides=overrides), root=ROOT, say=lambda text: None)
    assert bench.bank is not None
    learner = build_learner(bench.config, root=ROOT, group=ALONE, bank=bench.bank)
    learner.iterate()
    state = host_copy(learner.state_dict())
    learner.env.close()
    held = sum(array.nbytes for array in bench.bank.arrays)
    return state, held / len(bench.bank), sum(p.numel() for p in learner.policy.parameters())


def all_reduce_s(size: int, *, shared: bool) -> float:
    """Return the time of one mean over two processes [s], the fastest of several windows."""
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        answer = context.SimpleQueue()
        others = [
            context.Process(target=_reduce, args=(rank, Path(folder) / "meet", size, shared, answer)) for rank in (0, 1)
        ]
        for process in others:
            process.start()
        for process in others:
            process.join()
        return float(answer.get())


def _reduce(rank: int, meeting: Path, size: int, shared: bool, answer: multiprocessing.SimpleQueue) -> None:
    torch.set_num_threads(1)
    join_by_file(meeting, rank=rank, size=2)
    group = ProcessGroup(shared=shared)
    vector = torch.ones(size)

    def window() -> None:
        for _ in range(CALLS):
            group.mean_(vector)

    window()
    seconds = [_timed(window) / CALLS for _ in range(WINDOWS)]
    if rank == 0:
        answer.put(min(seconds))  # the slower ones waited for a core that somebody else had
    group.close()


def golden_store() -> dict[str, float]:
    """Return bytes per box, and boxes per frame, of the golden set's logs in a store."""
    with tempfile.TemporaryDirectory() as folder:
        root = unpack("set2", Path(folder))
        frames = boxes = 0
        for log in root.rglob("*.db"):
            with closing(sqlite3.connect(log)) as database:
                frames += database.execute("SELECT COUNT(*) FROM lidar_pc").fetchone()[0]
                boxes += database.execute("SELECT COUNT(*) FROM lidar_box").fetchone()[0]
        convert("nuplan", [root], Path(folder) / "store")
        stored = sum(path.stat().st_size for path in (Path(folder) / "store" / "logs").iterdir())
    return {"store_bytes_per_box": stored / boxes, "boxes_per_frame": boxes / frames}
