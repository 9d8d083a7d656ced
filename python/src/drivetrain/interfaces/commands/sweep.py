"""`drivetrain sweep`: many trainings of one config with other values, of which the poor ones end early."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drivetrain.errors import RunError, UsageError
from drivetrain.interfaces.command_line import add_command, add_json_option, print_json

if TYPE_CHECKING:
    from drivetrain.runs.sweeps.folder import SweepFolder


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "sweep",
        summary="search for better values of config keys: many trainings, the poor ones ended early",
        text="SWEEP is a file (docs/sweeps.md), or the name of a sweep that was begun. Each trial is a run like any "
        "other. Interrupted or killed at any moment, the same command goes on: what trains is taken over, what was "
        "lost is resumed, nothing is counted twice.",
        examples="drivetrain sweep python/configs/sweeps/ppo_search.yaml\n"
        "drivetrain sweep python/configs/sweeps/ppo_search.yaml --detach\n"
        "drivetrain sweep python/configs/sweeps/ppo_search.yaml --backend ray --address 10.0.0.1:6379\n"
        "drivetrain sweep ppo_search --show --json\ndrivetrain sweep ppo_search --stop",
    )
    parser.add_argument("sweep", metavar="SWEEP", help="sweep file, or name of a sweep that was begun")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--detach", action="store_true", help="go on without this terminal; says where it logs")
    what.add_argument("--show", action="store_true", help="show what came of it so far, and change nothing")
    what.add_argument("--stop", action="store_true", help="let its trainings save and end; it can go on later")
    parser.add_argument("--parallel", metavar="N", type=int, help="trainings at once, instead of the file's")
    parser.add_argument(
        "--backend", choices=("local", "ray"), default="local", help="where trials train (default: local)"
    )
    parser.add_argument("--address", metavar="HOST:PORT", help="head of the Ray cluster (default: as Ray finds it)")
    parser.add_argument("--no-mlflow", action="store_true", help="do not mirror its runs to MLflow")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run, show or stop a sweep; 130 where it was interrupted."""
    from drivetrain.run_record import project_root
    from drivetrain.runs.sweeps.launch import SweepOptions, detach_sweep, run_sweep, stop_sweep

    root = project_root()
    if arguments.parallel is not None and arguments.parallel < 1:
        raise UsageError(f"sweep --parallel: {arguments.parallel} is too small; use 1 or more")
    if arguments.show or arguments.stop:
        folder = _begun(arguments.sweep, root)
        if arguments.stop:
            ran = stop_sweep(folder.name, root=root, say=_say)
            print(f"sweep '{folder.name}' {'stopped' if ran else 'is not running'}; it goes on: {_again(arguments)}")
            return 0
        _show(folder, as_json=arguments.json)
        return 0
    if arguments.address is not None and arguments.backend != "ray":
        raise UsageError("sweep --address: is for clusters; add --backend ray")
    options = SweepOptions(
        mlflow=not arguments.no_mlflow,
        parallel=arguments.parallel,
        backend=arguments.backend,
        address=arguments.address,
    )
    file = _file(arguments.sweep, root)
    if arguments.detach:
        folder, pid = detach_sweep(file, root=root, options=options)
        if arguments.json:
            print_json({"sweep": folder.name, "pid": pid, "log": str(folder.log)})
        else:
            print(f"sweep '{folder.name}' goes on by itself (pid {pid}); it logs in {folder.log}")
            print(f"next: drivetrain status | drivetrain sweep {folder.name} --show | --stop")
        return 0
    with _Interrupts() as interrupts:
        folder, is_done = run_sweep(file, root=root, options=options, is_stopped=lambda: interrupts.seen, say=_say)
    _draw(folder)
    _show(folder, as_json=arguments.json)
    if not is_done:
        print(f"drivetrain: sweep '{folder.name}' was stopped; it goes on: {_again(arguments)}", file=sys.stderr)
    return 0 if is_done else 130


class _Interrupts:
    """While entered, Ctrl-C and SIGTERM ask for an orderly end; a second Ctrl-C leaves at once."""

    def __init__(self) -> None:
        self.seen = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _take(self, number: int, frame: object) -> None:
        if self.seen and number == signal.SIGINT:
            raise KeyboardInterrupt("its trainings go on; the same command takes them over")
        self.seen = True
        _say("stopping: its trainings save and end")


def _file(text: str, root: Path) -> Path:
    """Return the file of a sweep: as typed, or of a sweep of that name."""
    path = Path(text)
    if path.is_file() or path.suffix in (".yaml", ".yml") or "/" in text:
        return path
    return _begun(text, root).file


def _begun(text: str, root: Path) -> SweepFolder:
    """Return the folder of a sweep by its name or its file."""
    from drivetrain.runs.sweeps.folder import find_sweep

    if not Path(text).is_file():
        return find_sweep(text, root)
    from drivetrain.runs.sweeps.sweep_config import load_sweep, name_of

    return find_sweep(name_of(load_sweep(Path(text)), Path(text)), root)


def _show(folder: SweepFolder, *, as_json: bool) -> None:
    from drivetrain.interfaces.sweep_tables import print_sweep
    from drivetrain.run_record import RunPaths, read_json

    summary = read_json(folder.summary)
    if summary is None:
        raise RunError(f"{folder.summary}: missing or damaged; 'drivetrain sweep {folder.name}' writes it anew")
    if as_json:
        print_json(summary)
        return
    paths = RunPaths(root=folder.root, run_id="")
    print_sweep(summary, picture=paths.relative(folder.picture) if folder.picture.is_file() else None)


def _draw(folder: SweepFolder) -> None:
    from drivetrain.rendering.sweep_picture import sweep_picture
    from drivetrain.run_record import read_json, write_bytes_atomic

    summary = read_json(folder.summary)
    if summary is not None:
        write_bytes_atomic(folder.picture, sweep_picture(summary))


def _again(arguments: argparse.Namespace) -> str:
    return f"drivetrain sweep {arguments.sweep}"


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
