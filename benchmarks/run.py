"""`make bench`: measure all, store it under benchmarks/results/, print the table, put it into docs/benchmarks.md.

The README shows the figures that people ask for first.

python benchmarks/run.py [--only simulator peer_layout ppo bc generator scenes conversion
    metrics closed_loop] [--table] [--no-pages]
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Any

from figures import RESULTS, ROOT, markdown_table, measure_and_store, number, print_figures, stored

PARTS = ("simulator", "peer_layout", "ppo", "bc", "generator", "scenes", "conversion", "metrics", "closed_loop")
"""In the order of the table; each is a module here with `measure`."""
SHOWN = (*PARTS, "mlagents_ppo", "ray_learners")
"""With what needs more than this project and is measured by its own command."""
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
README, PAGE = ROOT / "README.md", ROOT / "docs" / "benchmarks.md"
HEADLINES = (
    "simulator, 1,024 controlled agents (ego only), int8, 8 scenes, 1 core",
    "simulator, 8,192 controlled agents (ego only), int8, 8 scenes, 1 core",
    "simulator, peer-equal 7.4 KB layout, Waymo scenes, 1 core",
    "PPO end to end, default policy, 2 cores",
    "PPO end to end, MLP 64-64, int8, 2 cores",
    "BC end to end, actions, minibatch 2,048, 2 cores",
    "conversion of a nuPlan log",
    "metrics: all metrics and the score, 2 processes",
    "1,118 scenarios of 15 s, learned policy, replay traffic",
)
"""The README's figures, in order."""


def main() -> int:
    """Run the benchmarks asked for and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--table", action="store_true", help="measure nothing; print and write what is stored")
    parser.add_argument(
        "--no-pages", action="store_true", help="leave the tables of docs/benchmarks.md and README alone"
    )
    arguments = parser.parse_args()
    if not arguments.table:
        load = os.getloadavg()[0]
        if load > 0.5:
            print(f"the machine is busy (load {load:.1f}): wall-time figures will be too low", file=sys.stderr)
        for part in arguments.only:
            print(f"measuring {part} ...", file=sys.stderr, flush=True)
            measure = importlib.import_module(part).measure
            print_figures(measure_and_store(part, measure))
            print(f"stored in {(RESULTS / part).relative_to(ROOT)}.json", file=sys.stderr)
    documents = [document for part in SHOWN if (document := stored(part)) is not None]
    if not documents:
        print("nothing is stored yet; run `make bench`", file=sys.stderr)
        return 1
    table = markdown_table(documents)
    print(table)
    if not arguments.no_pages:
        for page, shown in ((PAGE, table), (README, headlines(documents))):
            page.write_text(with_table(page.read_text(encoding="utf-8"), shown), encoding="utf-8")
    return 0


def headlines(documents: list[dict[str, Any]]) -> str:
    """Return the README's table: the figures asked for first, without their conditions."""
    entries = {entry["name"]: entry for document in documents for entry in document["figures"]}
    lines = ["| figure | median | of windows from, to |", "|---|---|---|"]
    for name in HEADLINES:
        entry = entries[name]
        spread = f"{number(entry['low'])} to {number(entry['high'])}"
        lines.append(f"| {name} | **{number(entry['value'])}** {entry['unit']} | {spread} |")
    machines = {f"{document['machine']['cpu']}, {document['machine']['cores']} cores" for document in documents}
    return "\n".join(
        [
            *lines,
            "",
            f"On {' and '.join(sorted(machines))}; conditions and commits: [docs/benchmarks.md](docs/benchmarks.md).",
        ]
    )


def with_table(text: str, table: str) -> str:
    """Return a document with what stands between the marks replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


if __name__ == "__main__":
    sys.exit(main())
