"""The numbers of docs/scaling.md: what is measured here, and the plan that follows from it.

`--measure` measures what no other benchmark stores (all-reduce, checkpoint, bytes of scenes and logs) and keeps it in
benchmarks/scaling_inputs.json; rates come from benchmarks/results/. `--write` puts the tables into the page; a test
holds them to these files.

python benchmarks/scaling.py
python benchmarks/scaling.py --measure --write
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "scaling.md"
INPUTS = ROOT / "benchmarks" / "scaling_inputs.json"
RESULTS = ROOT / "benchmarks" / "results"

NUPLAN_FRAMES = 92e6
"""Frames of nuPlan v1.1 at 20 Hz, about; estimate from its published 1,282 hours."""
BOXES_PER_FRAME = 80.0
"""Estimate."""
NUPLAN_HZ = 20.0
SCENE_S, STEP_S = 15.0, 0.1
GPU_RATE = 1.0e6
"""Agent-steps/s of one GPU with 16 cores: the goal, not measured."""
_REDUCE = "all-reduce of the gradient, 2 processes, shared memory"
SAVE_EVERY_S = 30.0
"""Default of ``training.save_interval_s``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One row of the plan: a machine or several."""

    name: str
    learners: int
    cores: int
    """Per learner."""
    worlds: int
    """Per learner."""
    minibatch: int
    """Rows per learner and optimiser step."""
    reduce_s: float | None
    """Time of one all-reduce [s]; None: the measured one."""


PLACES = (
    Place(name="laptop, 2 cores", learners=2, cores=1, worlds=256, minibatch=256, reduce_s=None),
    Place(name="1 GPU, 16 cores", learners=1, cores=16, worlds=16_384, minibatch=16_384, reduce_s=0.0),
    Place(name="8 GPUs, 128 cores", learners=8, cores=16, worlds=16_384, minibatch=16_384, reduce_s=50e-6),
    Place(name="64 nodes of 8 GPUs", learners=512, cores=16, worlds=16_384, minibatch=16_384, reduce_s=300e-6),
)
"""All-reduce times of GPUs are estimates of latency: 305 kB take 1 us at 300 GB/s and 12 us at 25 GB/s besides."""


def stored(name: str, figure: str) -> Mapping[str, object]:
    """Return a figure that a benchmark stored."""
    document = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return next(entry for entry in document["figures"] if entry["name"] == figure)


def value_of(name: str, figure: str) -> float:
    """Return the median of such a figure."""
    return float(str(stored(name, figure)["value"]))


def inputs() -> list[tuple[str, float, str, str]]:
    """Return what the plan is computed from: (what, value, unit, where it comes from)."""
    own = json.loads(INPUTS.read_text(encoding="utf-8"))
    one, two = (f"PPO end to end, default policy, {n}" for n in ("1 core", "2 cores"))
    shares = stored("ppo", one)["conditions"]
    assert isinstance(shares, dict)
    simulated = value_of("ppo", one) / float(shares["share_of_time"]["sim"])
    here = "`benchmarks/scaling.py --measure`"
    ppo, scenes, logs = (f"`benchmarks/{name}.py`" for name in ("ppo", "scenes", "conversion"))
    loaded = value_of("scenes", "store, load, 1 core")
    ready = value_of("scenes", "scenes made ready for simulation, 1 core")
    converted = value_of("conversion", "conversion of a nuPlan log")
    return [
        ("values of an observation", own["observation_values"], "", here),
        ("bytes of an observation, bfloat16", 2 * own["observation_values"], "B", here),
        ("parameters of the default policy", own["parameters"], "", here),
        ("gradient, float32", 4 * own["parameters"], "B", here),
        ("PPO end to end, 1 core", value_of("ppo", one), "steps/s", ppo),
        ("PPO end to end, 2 processes on 2 cores", value_of("ppo", two), "steps/s", ppo),
        ("simulator within PPO, 1 core", simulated, "steps/s", ppo),
        (_REDUCE, own["reduce_shared_s"], "s", here),
        ("all-reduce of the gradient, 2 processes, gloo", own["reduce_gloo_s"], "s", here),
        ("checkpoint without worlds", own["checkpoint_bytes"], "B", here),
        ("checkpoint per world", own["world_bytes"], "B", here),
        ("writing a checkpoint of 512 worlds", own["checkpoint_s"], "s", here),
        ("compiled scene", own["scene_bytes"], "B", here),
        ("log in the store, golden set, per box", own["store_bytes_per_box"], "B", here),
        ("boxes per frame of the golden set", own["boxes_per_frame"], "", here),
        ("store, loading, 1 core", loaded, "scenes/s", scenes),
        ("compiling scenes, 1 core", ready, "scenes/s", scenes),
        ("conversion, 1 core", converted, "boxes/s", logs),
    ]


def known() -> dict[str, float]:
    """Return the inputs by name."""
    return {what: value for what, value, _, _ in inputs()}


def rate_of(place: Place) -> float:
    """Return agent-steps per second [1/s]: measured on the laptop, else the goal times the learners, less waiting."""
    if place.reduce_s is None:
        return known()["PPO end to end, 2 processes on 2 cores"]
    return place.learners * GPU_RATE / (1.0 + place.reduce_s * GPU_RATE / place.minibatch)


def plan_rows() -> list[list[str]]:
    """Return the table of the plan, headings first."""
    have = known()
    episode = SCENE_S / STEP_S
    drives = NUPLAN_FRAMES / NUPLAN_HZ / SCENE_S
    rows: dict[str, list[str]] = {}

    def put(what: str, text: str) -> None:
        rows.setdefault(what, []).append(text)

    for place in PLACES:
        rate, worlds = rate_of(place), place.learners * place.worlds
        each = rate / place.learners
        updates = each / place.minibatch
        reduce_s = have[_REDUCE] if place.reduce_s is None else place.reduce_s
        ring = 2.0 * (place.learners - 1) / place.learners * have["gradient, float32"]
        checkpoint = have["checkpoint without worlds"] + worlds * have["checkpoint per world"]
        put("learners, worlds in all", f"{place.learners}, {short(worlds)}")
        put("agent-steps/s", f"{short(rate)} {'M' if place.reduce_s is None else 'E'}")
        put("rows per optimiser step, all together", short(place.learners * place.minibatch))
        put("optimiser steps/s", f"{updates:.0f}")
        seen, busy = each * have["bytes of an observation, bfloat16"], each / have["simulator within PPO, 1 core"]
        put("observations to each device", "-" if place.cores == 1 else f"{size(seen)}/s")
        put("cores per learner that the simulator keeps busy", f"{busy:.1f} of {place.cores}")
        put("all-reduce traffic of a learner", size(ring * updates) + "/s")
        put("time waiting for all-reduce", f"{reduce_s * updates:.1%}")
        put("checkpoint", size(checkpoint))
        put(f"checkpoint traffic, one each {SAVE_EVERY_S:.0f} s", size(checkpoint / SAVE_EVERY_S) + "/s")
        put("drives (15 s) finished per second", short(rate / episode))
        put("time for all of nuPlan once", clock(drives * episode / rate))
    return [["", *(place.name for place in PLACES)], *([what, *texts] for what, texts in rows.items())]


def store_rows() -> list[list[str]]:
    """Return the table of all of nuPlan, headings first."""
    have = known()
    boxes = NUPLAN_FRAMES * BOXES_PER_FRAME
    hours = NUPLAN_FRAMES / NUPLAN_HZ / 3600.0
    drives = hours * 3600.0 / SCENE_S
    store = boxes * have["log in the store, golden set, per box"]
    compile_s = drives / have["compiling scenes, 1 core"]
    return [
        ["all of nuPlan", "value", "from"],
        ["hours, frames at 20 Hz", f"{hours:,.0f} h, {short(NUPLAN_FRAMES)}", "E: of published sizes"],
        ["boxes", short(boxes), f"E: {BOXES_PER_FRAME:.0f} per frame"],
        ["store of the logs", f"{size(store)}, {size(store / hours)} per hour", "E: golden bytes per box times boxes"],
        ["drives of 15 s side by side", short(drives), "E"],
        [
            "the same, compiled, in memory",
            size(drives * have["compiled scene"]),
            "E: bytes per generated scene",
        ],
        ["conversion", f"{boxes / have['conversion, 1 core'] / 3600.0:.1f} core-hours", "E: measured boxes/s"],
        ["compiling every drive once", f"{compile_s / 60.0:.0f} core-minutes", "E: measured scenes/s"],
    ]


def input_rows() -> list[list[str]]:
    """Return the table of inputs, headings first."""
    rows = [[what, with_unit(value, unit), f"M: {source}"] for what, value, unit, source in inputs()]
    return [["measured here", "value", "by"], *rows]


def with_unit(value: float, unit: str) -> str:
    """Return a number with its unit, short."""
    if unit == "B":
        return size(value)
    if unit == "s":
        return f"{value * 1e6:.0f} us" if value < 1e-3 else f"{value * 1e3:.1f} ms"
    return f"{short(value)} {unit}".strip()


def short(value: float) -> str:
    """Return a number in three digits: 512, 74.4 k, 8.39 M."""
    for scale, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}"


def size(value: float) -> str:
    """Return bytes in three digits, decimal units."""
    for scale, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.3g} B"


def clock(seconds: float) -> str:
    """Return a duration."""
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def markdown(rows: list[list[str]]) -> str:
    """Return a table."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


TABLES = {"inputs": input_rows, "plan": plan_rows, "store": store_rows}


def with_tables(page: str) -> str:
    """Return the page with its marked tables as they should be."""
    for name, rows in TABLES.items():
        begin, end = f"<!-- scaling:{name} -->\n", f"<!-- scaling:{name}:end -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), flags=re.DOTALL)
        page = f"{begin}{markdown(rows())}\n{end}".join(pattern.split(page))
    return page


def main() -> None:
    """Measure where asked, then print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure the inputs that no other benchmark stores")
    parser.add_argument("--data", type=Path, help="scenario store to measure with (default: one is generated)")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scaling.md")
    arguments = parser.parse_args()
    if arguments.measure:
        from scaling_inputs import measure

        found = measure(arguments.data)
        assert all(math.isfinite(value) for value in found.values())
        INPUTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if arguments.write:
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print("\n\n".join(markdown(rows()) for rows in TABLES.values()))


if __name__ == "__main__":
    main()
