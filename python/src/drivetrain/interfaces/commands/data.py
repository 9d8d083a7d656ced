"""`drivetrain data ...`: make, convert, inspect, verify and export scenario stores, and what is imitated of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from drivetrain.interfaces.command_line import OneLineParser, add_command, add_json_option, print_json
from drivetrain.interfaces.commands import data_convert, data_demonstrations, data_export, data_inspect

SAMPLE = Path("datasets/processed/sample")
SAMPLE_SCENES = {"train": 1000, "val": 500, "test": 500}
RAW_SAMPLE = Path("datasets/raw/sample")
RAW_SAMPLE_LOGS = {"train": 100, "val": 50, "test": 50}


def add_parser(subparsers: Any) -> None:
    """Add the command and its parts."""
    parser = add_command(
        subparsers,
        "data",
        summary="make, convert, inspect, verify and export scenario stores",
        examples="drivetrain data sample\n"
        "drivetrain data convert --source nuplan --data-root nuplan/nuplan-v1.1 --maps-root nuplan/maps "
        "--out datasets/processed/nuplan\n"
        "drivetrain data inspect --data-root nuplan/nuplan-v1.1\n"
        "drivetrain data inspect datasets/processed/sample\ndrivetrain data verify datasets/processed/sample --json\n"
        "drivetrain data export datasets/processed/sample --format waymo-json --output scenes",
    )
    parts = parser.add_subparsers(
        dest="data_command", metavar="ACTION", title="actions", required=True, parser_class=OneLineParser
    )
    _add_sample(parts)
    data_convert.add_parser(parts)
    data_inspect.add_parser(parts)
    _add_verify(parts)
    data_export.add_parser(parts)
    data_demonstrations.add_parser(parts)


def _add_sample(parts: Any) -> None:
    parser = add_command(
        parts,
        "sample",
        summary="generate sample scenes: roads, traffic, signals, an expert ego",
        text="The same seed gives the same scenes, on processors of one kind bit by bit; training, validation and test "
        "share no road.\n"
        "With --raw the same worlds are written as nuPlan's raw files instead, for 'drivetrain data convert'.",
        examples="drivetrain data sample\n"
        "drivetrain data sample --train 200 --val 50 --test 0 --seed 7 --out datasets/processed/few\n"
        "drivetrain data sample --raw --train 20 --val 10 --test 10 --out datasets/raw/few",
    )
    parser.add_argument(
        "--raw", action="store_true", help="write nuPlan logs (.db) and city maps (map.gpkg) instead of a store"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help=f"folder to write (default: {SAMPLE}; with --raw {RAW_SAMPLE})",
    )
    for split, title in (("train", "training"), ("val", "validation"), ("test", "test")):
        parser.add_argument(
            f"--{split}",
            type=int,
            metavar="N",
            help=f"{title} scenes (default: {SAMPLE_SCENES[split]}; with --raw {RAW_SAMPLE_LOGS[split]})",
        )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, other roads (default: 0)")
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="only scenes of these kinds, in turn")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per processor)")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder if it exists")
    parser.set_defaults(run=run_sample)


def _add_verify(parts: Any) -> None:
    parser = add_command(
        parts,
        "verify",
        summary="check a scenario store: checksums, values, routes, splits",
        text="Exit code 1 if there is a problem.",
        examples="drivetrain data verify datasets/processed/sample",
    )
    parser.add_argument("store", type=Path, metavar="DIR", help="folder of the store")
    add_json_option(parser)
    parser.set_defaults(run=run_verify)


def run_sample(arguments: argparse.Namespace) -> int:
    """Write a store of sample scenes, or their raw files."""
    default = RAW_SAMPLE_LOGS if arguments.raw else SAMPLE_SCENES
    counts = {split: count if (n := getattr(arguments, split)) is None else n for split, count in default.items()}
    options = {"seed": arguments.seed, "kinds": arguments.kinds, "workers": arguments.workers}
    if arguments.raw:
        from drivetrain.data.synthetic.raw.raw_sample import write_raw_sample
        from drivetrain.interfaces.progress import StderrProgress

        with StderrProgress("raw sample logs") as progress:
            path = write_raw_sample(
                arguments.out or RAW_SAMPLE, **counts, **options, overwrite=arguments.overwrite, progress=progress
            )
    else:
        from drivetrain.data.synthetic.sample import write_sample

        path = write_sample(arguments.out or SAMPLE, **counts, **options, overwrite=arguments.overwrite)
    print(f"wrote {path}", file=sys.stderr)
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """Print what is wrong with a store; return 1 if anything is."""
    from drivetrain.data.inspection import verify_store
    from drivetrain.interfaces.progress import StderrProgress

    with StderrProgress("verifying") as progress:
        problems = verify_store(arguments.store, progress=progress)
    if arguments.json:
        print_json({"path": str(arguments.store), "ok": not problems, "problems": problems})
    elif problems:
        for problem in problems:
            print(f"{problem['place']}: {problem['problem']}")
    else:
        print(f"{arguments.store}: sound")
    return 1 if problems else 0
