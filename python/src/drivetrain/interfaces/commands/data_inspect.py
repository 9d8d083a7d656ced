"""`drivetrain data inspect`: what a scenario store holds, or what raw nuPlan data there is to convert."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drivetrain.errors import UsageError
from drivetrain.interfaces.command_line import add_command, add_json_option, print_json
from drivetrain.interfaces.number_text import bytes_text, clock_text
from drivetrain.interfaces.tables import print_table

SHOWN_TYPES = 15
SHOWN_PROBLEMS = 20


def add_parser(parts: Any) -> None:
    """Add the command."""
    parser = add_command(
        parts,
        "inspect",
        summary="show what a scenario store holds, or what raw nuPlan data there is to convert",
        text="Raw data of any size takes seconds: what cannot be counted by then is extrapolated from some of the logs,"
        " and marked so.",
        examples="drivetrain data inspect datasets/processed/sample\n"
        "drivetrain data inspect --data-root nuplan/nuplan-v1.1 --maps-root nuplan/maps",
    )
    parser.add_argument("store", nargs="?", type=Path, metavar="DIR", help="folder of a store")
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="folder of nuPlan's .db logs, in any layout")
    parser.add_argument(
        "--maps-root", type=Path, metavar="DIR", help="folder of the city maps (default: maps/ beside the logs)"
    )
    add_json_option(parser)
    parser.set_defaults(run=run_inspect)


def run_inspect(arguments: argparse.Namespace) -> int:
    """Print what a store holds or what raw data there is; 1 if raw data has problems."""
    store, data_root = arguments.store, arguments.data_root
    if data_root is None:
        if store is None:
            raise UsageError(
                "data inspect: give the folder of a store, or --data-root; see 'drivetrain data inspect -h'"
            )
        if arguments.maps_root is not None:
            raise UsageError("data inspect: --maps-root goes with --data-root; a store has its maps in it")
        return _inspect_store(arguments)
    if store is not None:
        raise UsageError(f"data inspect: give either a store ({store}) or --data-root ({data_root}), not both")
    from drivetrain.data.raw_inspection import inspect_raw

    facts = inspect_raw(data_root, arguments.maps_root)
    if arguments.json:
        print_json(facts)
    else:
        _show_raw(facts)
    return 1 if facts["problems"] else 0


def _inspect_store(arguments: argparse.Namespace) -> int:
    from drivetrain.data.inspection import inspect_store

    facts = inspect_store(arguments.store)
    if arguments.json:
        print_json(facts)
        return 0
    for name, value in facts.items():
        print(f"{name:<19} {_fact_text(name, value)}")
    return 0


def _show_raw(facts: Mapping[str, Any]) -> None:
    about = "" if facts["exact"] else "about "
    outlook = facts["forecast"]
    lines = {
        "path": facts["path"],
        "logs": f"{facts['logs']}, {bytes_text(facts['bytes'])}",
        "in folders": _counts(facts["folders"]),
        "splits": _counts(facts["splits"]),
        "counted": "all logs" if facts["exact"] else f"{facts['opened']} logs, extrapolated to all",
        "driven": f"{about}{facts['hours']:g} h, {facts['frames']} frames, {facts['boxes']} boxes",
        "store": f"about {bytes_text(outlook['store_bytes'])}, from {outlook['basis']}",
        "conversion": f"about {clock_text(outlook['seconds'])} with {outlook['workers']} workers",
    }
    if facts["logs_in_several_folders"]:
        lines["repeated"] = f"{facts['logs_in_several_folders']} logs lie in several folders and are read once"
    for name, value in lines.items():
        print(f"{name:<11} {value}")
    print()
    cities = [(city, str(count), facts["maps"].get(city) or "missing") for city, count in facts["cities"].items()]
    print_table(("city", f"{about}logs", "map"), cities, right=(f"{about}logs",))
    print()
    types = list(facts["tags"].items())
    shown = [(kind, str(count)) for kind, count in types[:SHOWN_TYPES]]
    print_table(("scenario type", f"{about}tags"), shown, right=(f"{about}tags",))
    if len(types) > SHOWN_TYPES:
        print(f"and {len(types) - SHOWN_TYPES} more types; --json lists them all")
    for problem in facts["problems"][:SHOWN_PROBLEMS]:
        print(f"problem: {problem}", file=sys.stderr)
    if len(facts["problems"]) > SHOWN_PROBLEMS:
        print(f"problem: {len(facts['problems']) - SHOWN_PROBLEMS} more; --json lists them all", file=sys.stderr)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _fact_text(name: str, value: Any) -> str:
    if name == "bytes":
        return bytes_text(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_fact_text('', entry)}" for key, entry in value.items()) or "-"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
