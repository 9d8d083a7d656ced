"""PPO on one ML-Agents player: ours through our server beside the real ``mlagents-learn``, taking turns.

python benchmarks/mlagents_ppo.py PLAYER MLAGENTS_LEARN [--players 1 2] [--rounds 3] [--store]

PLAYER is the executable that ``drivetrain mlagents player-export`` writes, MLAGENTS_LEARN the program of an environment
in which ``drivetrain mlagents install`` was run. Both learn with the same network, rollout, minibatches and epochs; the
steps after the first third count, in wall time, since each is several processes. With one player ours learns in one
process; with more, in as many processes as players, and theirs gathers from as many (``--num-envs``).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from figures import ROOT, Figure, figure, measure_and_store, print_figures

AGENTS, STEPS = 64, 128
"""Rows of the player, steps of each per update."""
UPDATES = {"ours": 15, "mlagents-learn": 4}
"""Per round: about as long."""
_LINE = re.compile(r"Step: (\d+)\. Time Elapsed: ([\d.]+) s")
OURS = """\
environment: {{name: unity, path: {player}, num_players: {players}, timeout_s: 120}}
algorithm: {{name: ppo, rollout_steps: 128, minibatch_size: 1024, epochs: 3, minibatch_order: rows}}
policy: {{hidden: [128, 128]}}
evaluation: {{episodes: 2, max_share: 0}}
training: {{total_steps: {steps}, log_interval: 1, device: cpu, threads: 1, processes: {players}}}
"""
THEIRS = """\
behaviors:
  DrivingPlanner:
    trainer_type: ppo
    hyperparameters: {{batch_size: 1024, buffer_size: {update}, num_epoch: 3}}
    network_settings: {{hidden_units: 128, num_layers: 2}}
    max_steps: {steps}
    time_horizon: 128
    summary_freq: {update}
    checkpoint_interval: 1000000
"""


def _rate(points: list[tuple[float, float]]) -> float:
    """Return steps per second from (steps, seconds), the first third left out."""
    first, last = points[len(points) // 3], points[-1]
    return (last[0] - first[0]) / (last[1] - first[1])


def _ours(player: Path, players: int, folder: Path) -> float:
    config = folder / "ours.yaml"
    steps = AGENTS * STEPS * UPDATES["ours"] * players
    config.write_text(OURS.format(player=player, players=players, steps=steps), encoding="utf-8")
    script = ROOT / "python" / "src" / "training" / "train_rl.py"
    command = [sys.executable, str(script), "--config", str(config), "--run-id", "ours", "--no-mlflow", "--overwrite"]
    subprocess.run(command, env={**os.environ, "DRIVETRAIN_ROOT": str(folder)}, check=True, capture_output=True)
    text = (folder / "experiments" / "logs" / "ours" / "metrics.jsonl").read_text(encoding="utf-8")
    rows = [row for row in map(json.loads, text.splitlines()) if "sps" in row]
    # The seconds of a row leave the evaluation out.
    return _rate([(row["step"], row["seconds"]) for row in rows])


def _theirs(player: Path, program: Path, players: int, folder: Path) -> float:
    update = AGENTS * STEPS * players
    config = folder / "theirs.yaml"
    config.write_text(THEIRS.format(update=update, steps=update * UPDATES["mlagents-learn"]), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [str(program), str(config), "--run-id", "theirs", "--force", "--env", str(player), "--no-graphics"]
    command += ["--results-dir", str(folder / "results"), "--base-port", str(port)]
    command += ["--num-envs", str(players)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return _rate([(float(step), float(seconds)) for step, seconds in _LINE.findall(done.stdout + done.stderr)])


def measure(player: Path, program: Path, players: list[int], rounds: int) -> list[Figure]:
    """Return the rate of both at each count of ``players``."""
    rates: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="drivetrain-bench-") as name:
        folder = Path(name)
        for _ in range(rounds):
            for count in players:
                rates.setdefault(("ours", count), []).append(_ours(player, count, folder))
                rates.setdefault(("mlagents-learn", count), []).append(_theirs(player, program, count, folder))
    settings = {"unit": "agent-steps/s", "clock": "wall", "agents": AGENTS, "epochs": 3}
    return [
        figure(f"PPO on a player, {who}", found, **settings, players=count)
        for (who, count), found in sorted(rates.items(), key=lambda item: (item[0][1], item[0][0]))
    ]


def main() -> int:
    """Measure and print; store where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("player", type=Path, metavar="PLAYER", help=f"of {AGENTS} agents")
    parser.add_argument("program", type=Path, metavar="MLAGENTS_LEARN")
    parser.add_argument("--players", type=int, nargs="+", default=[1, 2], metavar="N", help="at once (1 2)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of both in turn (3)")
    parser.add_argument("--store", action="store_true", help="write benchmarks/results/mlagents_ppo.json")
    arguments = parser.parse_args()
    work = functools.partial(
        measure, arguments.player.resolve(), arguments.program, arguments.players, arguments.rounds
    )
    print_figures(measure_and_store("mlagents_ppo", work) if arguments.store else work())
    return 0


if __name__ == "__main__":
    sys.exit(main())
