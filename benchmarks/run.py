"""`make bench`: measure everything, store it under benchmarks/results/, print the table, put it into the README.

python benchmarks/run.py [--only simulator peer_layout ppo bc generator scenes conversion
    metrics closed_loop] [--table] [--no-readme]
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from figures import RESULTS, ROOT, markdown_table, measure_and_store, print_figures, stored

PARTS = ("simulator", "peer_layout", "ppo", "bc", "generator", "scenes", "conversion", "metrics", "closed_loop")
"""In the order of the table; each is a module here with `measure`."""
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
README = ROOT / "README.md"


def main() -> int:
    """Run the benchmarks asked for and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--table", action="store_true", help="measure nothing; print and write what is stored")
    parser.add_argument("--no-readme", action="store_true", help="leave the README's table alone")
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
    documents = [document for part in PARTS if (document := stored(part)) is not None]
    if not documents:
        print("nothing is stored yet; run `make bench`", file=sys.stderr)
        return 1
    table = markdown_table(documents)
    print(table)
    if not arguments.no_readme:
        text = README.read_text(encoding="utf-8")
        README.write_text(with_table(text, table), encoding="utf-8")
    return 0


def with_table(text: str, table: str) -> str:
    """Return a document with what stands between the marks replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


if __name__ == "__main__":
    sys.exit(main())
