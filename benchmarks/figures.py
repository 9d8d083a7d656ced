"""What every benchmark reports and where it is stored: figures with their conditions, machine, commit, versions."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("drivetrain", "numpy", "numba", "torch", "gymnasium")


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured number with everything needed to judge it."""

    name: str
    value: float
    """The median of the windows."""
    unit: str
    low: float
    """Smallest window."""
    high: float
    """Largest window."""
    windows: int
    conditions: dict[str, Any]
    """Policy, precision, epochs, observation bytes, N, W, cores, clock, ... as far as they apply."""


def window_rates(
    work: Callable[[], float], *, clock: Callable[[], float], windows: int, warm_up: int = 2
) -> list[float]:
    """Return units of work per second of ``clock`` in each window.

    Args:
        work: Does one window of work and returns how many units it was.
        clock: ``time.process_time`` (CPU time) or ``time.perf_counter`` (wall time).
        windows: How many windows count.
        warm_up: How many windows run first and do not count.
    """
    rates = []
    for window in range(warm_up + windows):
        start = clock()
        units = work()
        seconds = clock() - start
        if window >= warm_up:
            rates.append(units / seconds)
    return rates


def figure(name: str, rates: list[float], *, unit: str, **conditions: Any) -> Figure:
    """Return the median of rates as a figure."""
    return Figure(
        name=name,
        value=statistics.median(rates),
        unit=unit,
        low=min(rates),
        high=max(rates),
        windows=len(rates),
        conditions=conditions,
    )


@contextmanager
def pinned(cores: int) -> Iterator[int]:
    """Keep this process on the first ``cores`` of the CPUs it may use, and give their number; a no-op off Linux."""
    if not hasattr(os, "sched_setaffinity"):
        yield cores
        return
    before = os.sched_getaffinity(0)
    chosen = sorted(before)[:cores]
    os.sched_setaffinity(0, chosen)
    try:
        yield len(chosen)
    finally:
        os.sched_setaffinity(0, before)


def machine() -> dict[str, Any]:
    """Describe the machine without naming it."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def commit() -> dict[str, Any]:
    """Return the commit measured and whether the sources differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return {"commit": git("rev-parse", "HEAD") or "unknown", "dirty": bool(git("status", "--porcelain", "python"))}


def versions() -> dict[str, str]:
    """Return the versions that decide about speed."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def store(name: str, figures: list[Figure], *, wall_s: float) -> Path:
    """Write ``benchmarks/results/<name>.json`` atomically and return its path."""
    document = {
        "name": name,
        "measured": datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "wall_s": round(wall_s, 1),
        **commit(),
        "machine": machine(),
        "versions": versions(),
        "figures": [asdict(entry) for entry in figures],
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def measure_and_store(name: str, measure: Callable[[], list[Figure]]) -> list[Figure]:
    """Run a benchmark, store its figures and return them."""
    start = time.perf_counter()
    figures = measure()
    store(name, figures, wall_s=time.perf_counter() - start)
    return figures


def stored(name: str) -> dict[str, Any] | None:
    """Return a stored result, or None where there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def print_figures(figures: Sequence[Figure]) -> None:
    """Print figures with all their conditions."""
    for entry in figures:
        conditions = ", ".join(f"{name} {value}" for name, value in entry.conditions.items())
        print(f"{entry.name}: {number(entry.value)} {entry.unit} ({number(entry.low)} to {number(entry.high)})")
        print(f"    {conditions}")


def markdown_table(documents: Sequence[dict[str, Any]]) -> str:
    """Return the table of stored results, with machine and commit beneath."""
    lines = ["| figure | median | windows | conditions |", "|---|---|---|---|"]
    for document in documents:
        for entry in document["figures"]:
            conditions = ", ".join(_condition(name, value) for name, value in entry["conditions"].items())
            value = f"**{number(entry['value'])}** {entry['unit']}"
            spread = f"{entry['windows']}: {number(entry['low'])} to {number(entry['high'])}"
            lines.append(f"| {entry['name']} | {value} | {spread} | {conditions} |")
    lines.append("")
    for document in documents:
        machine_text = f"{document['machine']['cpu']}, {document['machine']['cores']} cores"
        changed = " with changes" if document["dirty"] else ""
        versions_text = ", ".join(f"{name} {value}" for name, value in document["versions"].items())
        lines.append(
            f"- `benchmarks/results/{document['name']}.json`: {document['measured']}, commit "
            f"`{document['commit'][:12]}`{changed}, {machine_text}; {versions_text}"
        )
    return "\n".join(lines)


def number(value: float) -> str:
    """Return a rate as people write it: 1.25 M, 83 k, 21.4."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _condition(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"{name.replace('_', ' ')} " + " ".join(f"{key} {part}" for key, part in value.items())
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return f"{name.replace('_', ' ')} {text}"
