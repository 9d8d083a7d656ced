"""Agent-steps per second of our server for ML-Agents players, and of Unity's own package where it is installed.

python benchmarks/mlagents_server.py [--store]

The player is the stand-in of the tests: agents on a line, whose observation is padded to the size asked for. It runs in
a process of its own, so the whole is measured in wall time on two cores; both servers take turns with players of their
own. The parsing alone is measured in processor time.
"""

from __future__ import annotations

import argparse
import importlib.util
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain.mlagents import messages, wire
from drivetrain.mlagents.player import Player
from figures import ROOT, Figure, figure, measure_and_store, pinned, print_figures, window_rates

SIZES = ((256, 64), (64, 64), (64, 3), (8, 3))
"""Agents, values of each."""
WINDOWS, STEPS_PER_WINDOW = 11, 150
Drive = Callable[[], float]
"""Drives a window and returns how many agent-steps it was."""


def _build(folder: Path, agents: int, values: int) -> Path:
    sys.path.insert(0, str(ROOT))
    go_to_target = importlib.import_module("tests.mlagents.go_to_target")
    return go_to_target.write_build(
        folder / f"build_{agents}_{values}", "--agents", str(agents), "--values", str(values)
    )


def _by_our_server(build: Path, agents: int, values: int) -> tuple[Drive, Callable[[], None]]:
    player = Player(build, log=build.with_suffix(".log"))
    player.connect()
    state = {"message": player.reset()}
    (name,) = player.behaviors
    reader = wire.AgentReader((values,), most=2 * agents)
    nothing = np.zeros((agents, 0), np.int64)

    def drive() -> float:
        for _ in range(STEPS_PER_WINDOW):
            rows = reader.read(state["message"], name)
            seen = rows.observation[~rows.done]
            player.send({name: wire.agent_actions(seen[:, 1:2] - seen[:, :1], nothing)})
            state["message"] = player.receive()
        return float(agents * STEPS_PER_WINDOW)

    return drive, player.close


def _by_unitys_package(build: Path, agents: int) -> tuple[Drive, Callable[[], None]]:
    base: Any = importlib.import_module("mlagents_envs.base_env")
    environment: Any = importlib.import_module("mlagents_envs.environment")
    stats: Any = importlib.import_module("mlagents_envs.side_channel.stats_side_channel")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    channels = [stats.StatsSideChannel()]
    env = environment.UnityEnvironment(str(build), no_graphics=True, base_port=port, side_channels=channels)
    env.reset()
    (name,) = env.behavior_specs

    def drive() -> float:
        for _ in range(STEPS_PER_WINDOW):
            waiting, _ = env.get_steps(name)
            seen = waiting.obs[0]
            env.set_actions(name, base.ActionTuple(continuous=seen[:, 1:2] - seen[:, :1]))
            env.step()
        return float(agents * STEPS_PER_WINDOW)

    return drive, env.close


def _round_trips(folder: Path, agents: int, values: int) -> list[Figure]:
    build = _build(folder, agents, values)
    drivers = {"ours": _by_our_server(build, agents, values)}
    if importlib.util.find_spec("mlagents_envs") is not None:
        drivers["mlagents_envs"] = _by_unitys_package(build, agents)
    rates: dict[str, list[float]] = {name: [] for name in drivers}
    try:
        for window in range(WINDOWS + 2):
            for name, (drive, _) in drivers.items():
                begun = time.perf_counter()
                steps = drive()
                if window >= 2:
                    rates[name].append(steps / (time.perf_counter() - begun))
    finally:
        for _, close in drivers.values():
            close()
    return [
        figure(f"server, {name}, {agents} agents x {values} values", found, unit="agent-steps/s", clock="wall", cores=2)
        for name, found in rates.items()
    ]


def _parsing(agents: int, values: int) -> list[Figure]:
    message = messages.UnityMessage()
    message.header.status = messages.OK
    listed = message.unity_output.rl_output.agentInfos["Line?team=0"].value
    for i in range(agents):
        agent = listed.add(id=i, reward=0.5)
        agent.observations.add(shape=[values]).float_data.data.extend(range(values))
    data = message.SerializeToString()
    reader = wire.AgentReader((values,), most=agents)

    def by_kernel() -> float:
        for _ in range(50):
            reader.read(wire.take_apart(data), "Line?team=0")
        return 50.0 * agents

    def by_protobuf() -> float:
        out = np.empty((agents, values), np.float32)
        found = messages.UnityMessage.FromString(data).unity_output.rl_output.agentInfos["Line?team=0"].value
        for i, agent in enumerate(found):
            out[i] = agent.observations[0].float_data.data
        return float(agents)

    return [
        figure(
            f"parsing, {name}, {agents} agents x {values} values",
            window_rates(work, clock=time.process_time, windows=WINDOWS),
            unit="agent-steps/s",
            clock="processor",
            cores=1,
        )
        for name, work in (("kernel", by_kernel), ("protobuf objects", by_protobuf))
    ]


def measure() -> list[Figure]:
    """Return all figures."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="drivetrain-bench-") as folder, pinned(2):
        found = _parsing(*SIZES[0])
        for agents, values in SIZES:
            found += _round_trips(Path(folder), agents, values)
    return found


def main() -> int:
    """Measure and print; store where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", action="store_true", help="write benchmarks/results/mlagents_server.json")
    store = parser.parse_args().store
    print_figures(measure_and_store("mlagents_server", measure) if store else measure())
    return 0


if __name__ == "__main__":
    sys.exit(main())
