"""`drivetrain tune`: which worlds, minibatch, processes and precision train a config fastest on this machine."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivetrain.errors import UsageError
from drivetrain.interfaces.command_line import add_command, add_json_option, print_json

if TYPE_CHECKING:
    from drivetrain.trainer.speed_trial import Trial
    from drivetrain.trainer.tuning import Tuning

BUDGET_S = 120.0
"""How long to measure unless told otherwise [s]."""
_PHASES = {"sim": "simulator", "infer": "inference", "learn": "learning"}


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "tune",
        summary="measure how fast a config trains here; propose worlds, minibatch, processes, threads, precision",
        text="Runs short pieces of the training itself; trains, writes and evaluates nothing. What leaves the "
        "algorithm as it is and what changes it are proposed apart.",
        examples="drivetrain tune python/configs/planning/ppo.yaml\n"
        "drivetrain tune python/configs/planning/ppo.yaml --budget 300 --write experiments/ppo_here.yaml\n"
        "drivetrain tune python/configs/planning/sac.yaml --set environment.num_worlds=256 --json",
    )
    parser.add_argument("config", metavar="CONFIG", type=Path, help="YAML config of a training")
    parser.add_argument(
        "--budget", metavar="SECONDS", type=float, default=BUDGET_S, help=f"time to measure [s] (default: {BUDGET_S:g})"
    )
    parser.add_argument(
        "--write", metavar="FILE", type=Path, help="write the config with the changes that leave the algorithm as it is"
    )
    parser.add_argument("--all", action="store_true", help="with --write: also the changes that alter the algorithm")
    parser.add_argument("--data", metavar="DIR", help="scenario store, instead of the config's")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda or auto, instead of the config's")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change a dotted key first; repeatable"
    )
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print what was found."""
    if not (math.isfinite(arguments.budget) and arguments.budget > 0):
        raise UsageError(f"tune: --budget {arguments.budget:g} is no time; give seconds above 0, such as 120")
    if arguments.all and arguments.write is None:
        raise UsageError("tune: --all says what --write writes; give --write FILE too")
    from drivetrain.config import Override, load_config, parse_override
    from drivetrain.interfaces.progress import StderrProgress
    from drivetrain.run_record import project_root
    from drivetrain.runs.resources import read_memory
    from drivetrain.trainer.experiment import ExperimentConfig
    from drivetrain.trainer.speed_trial import Bench
    from drivetrain.trainer.tuning import tune

    root = project_root()
    overrides = [parse_override(text) for text in arguments.set]
    data = arguments.data if arguments.data in (None, "auto") else str(Path(arguments.data).expanduser().resolve())
    for name, key, value in (("--data", ("data",), data), ("--device", ("training", "device"), arguments.device)):
        if value is not None:
            overrides.append(Override(path=key, value=value, flag=f"{name} {value}"))
    config = load_config(arguments.config, ExperimentConfig, overrides=overrides)
    busy = _busy(root)
    if busy:
        _say(f"warning: {busy}; the figures will be too low: measure again when nothing else runs")
    bench = Bench.prepare(config, root=root, say=_say)
    used, total = read_memory()
    with StderrProgress("tuning") as progress:
        found = tune(bench, budget_s=arguments.budget, free_bytes=total - used, progress=progress)
    written = None
    if arguments.write is not None:
        changes = {**found.same, **(found.altering if arguments.all else {})}
        written = _write(arguments.write, arguments.config, changes, bench)
    if arguments.json:
        print_json(_document(found, bench, busy=busy, written=written))
        return 0
    _print(found, bench, config=arguments.config, written=written)
    return 0


def _busy(root: Path) -> str | None:
    """Return what else the machine is doing; None: nothing worth mentioning."""
    from drivetrain.runs.run_store import RunStore

    store = RunStore(root)
    active = [name for name in store.ids() if store.get(name, num_rows=0).health.is_active]
    if active:
        return f"{len(active)} training(s) run on this machine ({', '.join(active[:3])})"
    load = os.getloadavg()[0]
    return f"the machine is busy (load {load:.1f})" if load > 0.5 else None


def _write(path: Path, source: Path, changes: dict[str, Any], bench: Any) -> str:
    """Write the config with changes, whole or not at all."""
    from drivetrain.config import dump_config
    from drivetrain.run_record import write_bytes_atomic
    from drivetrain.trainer.tuning import in_words

    head = f"# {source}, tuned by drivetrain tune: {in_words(changes)}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(path, (head + dump_config(bench.with_changes(changes))).encode())
    return str(path)


def _document(found: Tuning, bench: Any, *, busy: str | None, written: str | None) -> dict[str, Any]:
    from dataclasses import asdict

    from drivetrain.processes import usable_cores
    from drivetrain.trainer.tuning import as_flags, reasons

    return {
        "algorithm": bench.config.algorithm.name,
        "device": bench.config.training.device,
        "cores": usable_cores(),
        "busy": busy,
        "unit": _unit(bench),
        "trials": [asdict(trial) for trial in found.trials],
        "skipped": list(found.skipped),
        "same_algorithm": {"set": dict(found.same), "flags": as_flags(found.same), "rate": found.rate_same},
        "alters_algorithm": {"set": dict(found.altering), "flags": as_flags(found.altering), "rate": found.rate_all},
        "reasons": reasons(found),
        "written": written,
    }


def _unit(bench: Any) -> str:
    return "gradient steps/s" if bench.config.algorithm.name == "bc" else "agent-steps/s"


def _print(found: Tuning, bench: Any, *, config: Path, written: str | None) -> None:
    from drivetrain.interfaces.number_text import bytes_text, step_text
    from drivetrain.interfaces.tables import print_table
    from drivetrain.processes import usable_cores
    from drivetrain.trainer.tuning import as_flags, in_words, reasons

    phases = [name for name in _PHASES if any(name in trial.phase_rates for trial in found.trials)]
    headings = ["setting", _unit(bench), "slowest-fastest", *(_PHASES[n] for n in phases), "memory"]
    rows = [_row(trial, phases, step_text, bytes_text, in_words) for trial in found.trials]
    print(f"{config}: {bench.config.algorithm.name} on {bench.config.training.device}, {usable_cores()} cores")
    print("rates of whole iterations (median), and of each part alone with its share of the time\n")
    print_table(headings, rows, right=headings[1:])
    for text in found.skipped:
        print(f"not measured: {text}")
    base = found.base.rate
    faster = f"{step_text(found.rate_same)} {_unit(bench)} expected, {found.rate_same / base:.2f} times as fast"
    print(f"\nthe same algorithm: {faster if found.same else 'nothing is faster'}")
    if found.same:
        print(f"  {as_flags(found.same)}")
    if found.altering:
        gain = f"{step_text(found.rate_all)} {_unit(bench)} expected, {found.rate_all / base:.2f} times as fast"
        print(f"another algorithm: {gain}")
        print(f"  {as_flags({**found.same, **found.altering})}")
    for text in reasons(found):
        print(f"- {text}")
    if written:
        print(f"wrote {written}; drivetrain start {written}")


def _row(trial: Trial, phases: list[str], steps: Any, size: Any, words: Any) -> list[str]:
    if trial.failure is not None:
        return [words(trial.changes), "-", trial.failure, *("-" for _ in phases), "-"]
    parts = [f"{steps(trial.phase_rates[n])} {trial.shares[n]:.0%}" if n in trial.phase_rates else "-" for n in phases]
    memory = "-" if trial.memory_bytes is None else size(trial.memory_bytes)
    if trial.gpu_bytes:
        memory += f", GPU {size(trial.gpu_bytes)}"
    spread = f"{steps(trial.rate_low)}-{steps(trial.rate_high)}"
    return [words(trial.changes), steps(trial.rate), spread, *parts, memory]


def _say(text: str) -> None:
    import sys

    sys.stderr.write(text + "\n")
    sys.stderr.flush()
