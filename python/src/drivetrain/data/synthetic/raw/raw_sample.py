"""The raw sample: many synthetic worlds as nuPlan logs and city maps, laid out like nuPlan's download.

::

    <out>/sample.json                                   what was asked for, and the licence
    <out>/maps/nuplan-maps-v1.0.json                    city -> version
    <out>/maps/<city>/<version>/map.gpkg                four cities
    <out>/nuplan-v1.1/splits/{train,val,test}/*.db      one log per world

It is built in a hidden folder beside ``out`` that survives a kill: the same call goes on with what is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

from drivetrain.data.nuplan_files import MAP_INDEX
from drivetrain.data.store_files import SPLITS, io_errors, move_into_place, write_json
from drivetrain.data.synthetic.processes import in_order, process_count
from drivetrain.data.synthetic.raw.city_features import map_features
from drivetrain.data.synthetic.raw.database_file import UNFINISHED
from drivetrain.data.synthetic.raw.geopackage_writer import (
    encoded_rows,
    read_rows,
    write_geopackage,
    write_layers,
)
from drivetrain.data.synthetic.raw.log_database import FRAME_US, write_log
from drivetrain.data.synthetic.raw.places import CITIES, MAX_WORLDS, Place, place_world
from drivetrain.data.synthetic.raw.yard import yard_features
from drivetrain.data.synthetic.sample import LICENCE, check_request, world_seed
from drivetrain.data.synthetic.world import FRAMES, generate_world
from drivetrain.errors import DataError, UsageError

SPLITS_FOLDER = Path("nuplan-v1.1", "splits")
MAPS_FOLDER = Path("maps")
MANIFEST = "sample.json"

Progress = Callable[[int, int, str], None]
"""Called with (logs written, logs wanted, name of the log)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """One world to write."""

    place: Place
    log: Path
    """The log's database."""
    roads: Path
    """Its part of the city map."""


def write_raw_sample(
    path: str | Path,
    *,
    train: int,
    val: int,
    test: int,
    seed: int = 0,
    kinds: Sequence[str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a raw sample and return its path; it appears complete or not at all.

    Args:
        path: Folder it is to appear in.
        train: Number of training logs.
        val: Number of validation logs.
        test: Number of test logs.
        seed: As for ``sample.write_sample``: the same worlds.
        kinds: Only these kinds (see ``casting.KINDS``), in turn; None draws them by their shares.
        workers: Processes; None takes one per usable core. The bytes do not depend on it.
        progress: Told after every log.
        overwrite: Replace a raw sample that is at ``path``.

    Raises:
        UsageError: A count is negative, all are zero, there are too many, or a kind does not exist.
        DataError: Something is at ``path``, the disk refuses, another process writes it, or a worker died.
    """
    path = Path(path)
    counts = {"train": train, "val": val, "test": test}
    check_request(counts, seed, kinds, workers)
    if sum(counts.values()) > MAX_WORLDS:
        raise UsageError(f"{sum(counts.values())} raw logs do not fit on the city maps; ask for at most {MAX_WORLDS}")
    _check_target(path, overwrite)
    request = {
        "made_by": "drivetrain data sample --raw",
        "licence": LICENCE,
        **counts,
        "seed": seed,
        "kinds": list(kinds) if kinds else None,
    }
    with _workplace(path, request) as folder:
        jobs = _jobs(folder, counts, seed, kinds)
        missing = [job for job in jobs if not (job.log.is_file() and job.roads.is_file())]
        done = len(jobs) - len(missing)
        for name in in_order(_write_world, missing, process_count(workers, len(missing))):
            done += 1
            if progress is not None:
                progress(done, len(jobs), name)
        out = folder / "out"
        _write_maps(out / MAPS_FOLDER, jobs)
        with io_errors(path):
            write_json(out / MANIFEST, request)
        move_into_place(out, path, replace=overwrite or _is_empty(path))
    return path


def raw_places(counts: dict[str, int], seed: int, kinds: Sequence[str] | None = None) -> list[Place]:
    """Return where every world of a raw sample lies, in the order of writing: train, val, test."""
    wanted = [(split, number) for split in SPLITS for number in range(counts[split])]
    return [
        place_world(
            order=order,
            split=split,
            number=number,
            world_seed=world_seed(seed, split, number),
            sample_seed=seed,
            kind=kinds[number % len(kinds)] if kinds else None,
            duration_s=(FRAMES - 1) * FRAME_US // 1_000_000,
        )
        for order, (split, number) in enumerate(wanted)
    ]


def _jobs(folder: Path, counts: dict[str, int], seed: int, kinds: Sequence[str] | None) -> list[_Job]:
    return [
        _Job(
            place=place,
            log=folder / "out" / SPLITS_FOLDER / place.split / f"{place.log_name}.db",
            roads=folder / "roads" / f"{place.log_name}.gpkg",
        )
        for place in raw_places(counts, seed, kinds)
    ]


def _write_world(job: _Job) -> str:
    """Write one world's part of its city map, then its log; return the log's name."""
    place = job.place
    world = generate_world(place.world_seed, place.kind)
    write_geopackage(job.roads, place.city.epsg, map_features(world.map, place.origin, place.first_id))
    write_log(job.log, place, world)
    return place.log_name


def _write_maps(folder: Path, jobs: list[_Job]) -> None:
    """Write every city's map, its yard and the roads of its worlds, and the list of versions."""
    for city in CITIES:
        rows = (read_rows(job.roads) for job in jobs if job.place.city == city)
        yard = encoded_rows(yard_features(city), city.epsg)
        write_layers(folder / city.name / city.version / "map.gpkg", city.epsg, chain(yard, chain.from_iterable(rows)))
    with io_errors(folder):
        write_json(folder / MAP_INDEX, {city.name: {"version": city.version, "layers": {}} for city in CITIES})


def _check_target(path: Path, overwrite: bool) -> None:
    if not path.exists() or _is_empty(path):
        return
    if not overwrite:
        raise DataError(f"{path}: exists already; choose another folder, or replace it with --overwrite")
    if not (path / MANIFEST).is_file() or not (path / MAPS_FOLDER).is_dir():
        raise DataError(f"{path}: is no raw sample and is not replaced; choose another folder")


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


@contextlib.contextmanager
def _workplace(path: Path, request: dict[str, object]) -> Iterator[Path]:
    """Give the hidden folder the sample is built in, with what an interrupted call of the same request left there.

    It is removed when the block ends without an error, and kept otherwise.

    Raises:
        DataError: Another process is at work there, or the disk refuses.
        KeyboardInterrupt: As raised in the block, saying how to go on.
    """
    work = json.loads(json.dumps(request | {"sources": _sources_digest()}))
    folder = path.with_name(f".{path.name}.raw-partial")
    lock = path.with_name(f".{path.name}.raw-lock")
    with io_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        held = lock.open("a")
    with held:
        _take(held, lock, path)
        with io_errors(path):
            if _work_in(folder) != work:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                write_json(folder / "request.json", work)
            for unfinished in folder.rglob(f".*{UNFINISHED}"):
                unfinished.unlink(missing_ok=True)
        try:
            yield folder
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt("the same command goes on with what is written") from stop
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)


def _take(held: IO[str], lock: Path, path: Path) -> None:
    """Lock an open file for as long as it is open.

    Raises:
        DataError: Another process has it, or has just removed it at the end of its work.
    """
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        taken = os.path.samestat(os.fstat(held.fileno()), lock.stat())
    except OSError:
        taken = False
    if not taken:
        raise DataError(f"{path}: another process writes this raw sample; wait for it, or choose another folder")


def _sources_digest() -> str:
    """Return what identifies the program that draws and writes worlds: half a sample of another one is of no use."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _work_in(folder: Path) -> object:
    """Return what was asked for where a folder was left unfinished, None where that is unknown."""
    try:
        return json.loads((folder / "request.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
