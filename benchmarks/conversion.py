"""Box rows per second and core from a raw nuPlan log to a store's record, the memory it takes, and the sizes.

python benchmarks/conversion.py [--seconds 900] [--agents 150]
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np

from drivetrain.data.log_part import peak_memory
from drivetrain.data.nuplan import read_drive
from drivetrain.data.nuplan_files import LogFile
from drivetrain.data.record_codec import log_record
from drivetrain.data.shards import ShardWriter, encode_record
from figures import Figure, figure, measure_and_store, pinned, print_figures
from raw_logs import raw_log

SECONDS, AGENTS, WINDOWS = 100, 80, 5


def measure() -> list[Figure]:
    """Return the figures of a log of common length and density."""
    return measure_log(SECONDS, AGENTS, windows=WINDOWS)


def measure_log(seconds: int, agents: int, *, windows: int) -> list[Figure]:
    """Read, pack and write one log several times, in a process of its own, so that the peak is that of converting."""
    with tempfile.TemporaryDirectory() as folder, pinned(1):
        path, maps_root = raw_log(Path(folder), seconds=seconds, agents=agents)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rates, boxes, size, peak = pool.apply(_convert, (path, maps_root, windows))
        shrunk = path.stat().st_size / size
    conditions = {"cores": 1, "seconds_of_log": seconds, "agents_per_frame": agents, "boxes": boxes}
    return [
        figure("conversion of a nuPlan log", rates, unit="boxes/s", clock="CPU time, pinned", **conditions),
        figure("peak memory of a process that converts a log", [peak], unit="MiB", **conditions),
        figure("raw log against its part of the store", [shrunk], unit="times smaller", **conditions),
    ]


def _convert(path: Path, maps_root: Path, windows: int) -> tuple[list[float], int, int, float]:
    """Return boxes per second of each window, the boxes, the bytes written, and the peak memory [MiB]."""
    maps: dict = {}
    rates, boxes, size = [], 0, 0
    for number in range(windows + 1):
        begin = time.process_time()
        drive = read_drive(LogFile(path=path, folder="mini"), maps_root, maps)
        record = log_record(drive.log, np.arange(len(drive.log.timestamps_us)))
        writer = ShardWriter(path.with_name("log.dts"))
        writer.add(encode_record(record.arrays, record.meta))
        size = writer.close().bytes
        boxes = len(drive.log.tracks.frame)
        if number:  # the first reads the map and compiles
            rates.append(boxes / (time.process_time() - begin))
    return rates, boxes, size, peak_memory() / 2**20


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--agents", type=int, default=AGENTS)
    options = parser.parse_args()
    if (options.seconds, options.agents) == (SECONDS, AGENTS):
        print_figures(measure_and_store("conversion", measure))
    else:
        print_figures(measure_log(options.seconds, options.agents, windows=2))
