"""`drivetrain data ...`: make, convert, inspect and verify scenario stores."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from drivetrain.interfaces import convert_command
from drivetrain.interfaces.command_line import OneLineParser, add_command, add_json_option, print_json
from drivetrain.interfaces.number_text import bytes_text

SAMPLE = Path("datasets/processed/sample")


def add_parser(subparsers: Any) -> None:
    """Add the command and its parts."""
    parser = add_command(
        subparsers,
        "data",
        summary="make, convert, inspect and verify scenario stores",
        examples="drivetrain data sample\n"
        "drivetrain data convert --source nuplan --data-root nuplan/nuplan-v1.1 --maps-root nuplan/maps "
        "--out datasets/processed/nuplan\n"
        "drivetrain data inspect datasets/processed/sample\ndrivetrain data verify datasets/processed/sample --json",
    )
    parts = parser.add_subparsers(
        dest="data_command", metavar="ACTION", title="actions", required=True, parser_class=OneLineParser
    )
    _add_sample(parts)
    convert_command.add_parser(parts)
    _add_inspect(parts)
    _add_verify(parts)


def _add_sample(parts: Any) -> None:
    parser = add_command(
        parts,
        "sample",
        summary="generate sample scenes: roads, traffic, signals, an expert ego",
        text="The same seed gives the same scenes, bit by bit; training, validation and test share no road.",
        examples="drivetrain data sample\n"
        "drivetrain data sample --train 200 --val 50 --test 0 --seed 7 --out datasets/processed/few",
    )
    parser.add_argument("--out", type=Path, default=SAMPLE, metavar="DIR", help=f"folder to write (default: {SAMPLE})")
    parser.add_argument("--train", type=int, default=1000, metavar="N", help="training scenes (default: 1000)")
    parser.add_argument("--val", type=int, default=500, metavar="N", help="validation scenes (default: 500)")
    parser.add_argument("--test", type=int, default=500, metavar="N", help="test scenes (default: 500)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, other roads (default: 0)")
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="only scenes of these kinds, in turn")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per processor)")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder if it exists")
    parser.set_defaults(run=run_sample)


def _add_inspect(parts: Any) -> None:
    parser = add_command(
        parts,
        "inspect",
        summary="show what a scenario store holds: counts, splits, types, sizes",
        examples="drivetrain data inspect datasets/processed/sample",
    )
    parser.add_argument("store", type=Path, metavar="DIR", help="folder of the store")
    add_json_option(parser)
    parser.set_defaults(run=run_inspect)


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
    """Write a store of sample scenes."""
    from drivetrain.data.synthetic.sample import write_sample

    path = write_sample(
        arguments.out,
        train=arguments.train,
        val=arguments.val,
        test=arguments.test,
        seed=arguments.seed,
        kinds=arguments.kinds,
        workers=arguments.workers,
        overwrite=arguments.overwrite,
    )
    print(f"wrote {path}", file=sys.stderr)
    return 0


def run_inspect(arguments: argparse.Namespace) -> int:
    """Print what a store holds."""
    from drivetrain.data.inspection import inspect_store

    facts = inspect_store(arguments.store)
    if arguments.json:
        print_json(facts)
        return 0
    for name, value in facts.items():
        print(f"{name:<19} {_fact_text(name, value)}")
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


def _fact_text(name: str, value: Any) -> str:
    if name == "bytes":
        return bytes_text(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_fact_text('', entry)}" for key, entry in value.items()) or "-"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
