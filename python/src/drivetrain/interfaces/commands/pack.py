"""`drivetrain pack`: a run as one archive, and such an archive as a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from drivetrain.errors import UsageError
from drivetrain.interfaces.command_line import add_command, add_json_option, print_json
from drivetrain.interfaces.number_text import bytes_text


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "pack",
        summary="write a run as one archive that a colleague evaluates with one command, or open one",
        text="The archive holds config, checkpoints, record and a manifest with SHA-256, and no scenes: 'drivetrain "
        "evaluate ARCHIVE' scores it as it is. --open makes it a run here, for report, repro and export. An archive "
        "that holds what no pack holds (links, paths out of it, absurd sizes, changed bytes) is refused: nothing is "
        "left of it.",
        examples="drivetrain pack ppo_v1\n"
        "drivetrain pack ppo_v1 --out exports/ppo_v1.zip --json\n"
        "drivetrain pack --open ppo_v1.zip\n"
        "drivetrain pack --open ppo_v1.zip --as ppo_of_a_colleague",
    )
    parser.add_argument("run_id", nargs="?", metavar="RUN", help="the run to pack")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write (default: RUN.zip)")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    parser.add_argument("--open", type=Path, metavar="ARCHIVE", dest="archive", help="make an archive a run here")
    parser.add_argument("--as", metavar="NAME", dest="name", help="with --open: name of the run (default: its own)")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Pack a run, or open a pack.

    Raises:
        DrivetrainError: The run cannot be packed, the archive not be opened.
    """
    if (arguments.run_id is None) == (arguments.archive is None):
        raise UsageError("pack: give a run to pack, or --open ARCHIVE; for example: drivetrain pack ppo_v1")
    if arguments.archive is not None:
        return _open(arguments)
    if arguments.name is not None:
        raise UsageError("pack: --as goes with --open only; leave it out")
    from drivetrain.run_record import check_run_id, project_root
    from drivetrain.runs.pack import pack_run
    from drivetrain.runs.run_store import RunStore

    run = RunStore(project_root()).get(check_run_id(arguments.run_id), num_rows=0)
    out = arguments.out or Path(f"{run.run_id}.zip")
    if out.is_dir():
        raise UsageError(f"pack: --out: {out} is a folder; give a file, for example {out / run.run_id}.zip")
    if not out.parent.is_dir():
        raise UsageError(f"pack: --out: the folder {out.parent} does not exist; make it first")
    if out.exists() and not arguments.overwrite:
        raise UsageError(f"pack: {out} exists; give another file with --out, or --overwrite")
    pack = pack_run(run, out)
    if arguments.json:
        print_json(pack.to_json())
        return 0
    print(f"run '{run.run_id}' packed: {pack.file} ({bytes_text(pack.bytes)}), sha256 {pack.sha256}")
    print(f"  next: drivetrain evaluate {pack.file} | drivetrain pack --open {pack.file}")
    return 0


def _open(arguments: argparse.Namespace) -> int:
    from drivetrain.run_record import project_root
    from drivetrain.runs.pack_opening import open_pack

    if arguments.out is not None or arguments.overwrite:
        raise UsageError("pack: --out and --overwrite do not go with --open; --as names the run")
    pack, paths = open_pack(arguments.archive, root=project_root(), run_id=arguments.name)
    if arguments.json:
        print_json({**pack.to_json(), "run_id": paths.run_id, "logs": paths.relative(paths.folder)})
        return 0
    manifest = pack.manifest
    print(
        f"{pack.file} opened as run '{paths.run_id}' ({manifest['algorithm']}, step {manifest['step']:,}), "
        f"logs in {paths.relative(paths.folder)}"
    )
    print(f"  sha256 {pack.sha256}; trained on {manifest['data'].get('path')}, {manifest['data'].get('fingerprint')}")
    print(f"  next: drivetrain evaluate {paths.relative(paths.best)} | drivetrain repro {paths.run_id}")
    return 0
