"""The conversion of nuPlan logs: many processes read, one assembles; killed at any time, it goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain.data.conversion_folder import ConversionFolder, conversion_settings
from drivetrain.data.convert_report import BAD_FILE, LICENCES, ConvertReport, Progress
from drivetrain.data.log_choice import NuplanSource, choose_logs
from drivetrain.data.log_part import (
    LogPart,
    PartJob,
    PartMaker,
    PartResult,
    PartSettings,
    ensure_map,
    peak_memory,
    read_part,
)
from drivetrain.data.nuplan_files import LogFile, find_maps_root
from drivetrain.data.scenario_limits import Candidates, within_limits
from drivetrain.data.shards import ShardReader
from drivetrain.data.store_files import is_replaceable, with_a_name
from drivetrain.data.store_writer import ScenarioStoreWriter
from drivetrain.data.worker_pool import Died, work_through
from drivetrain.errors import DataError, UsageError


class _Conversion:
    """The state of one conversion."""

    def __init__(self, source: NuplanSource, out: Path, *, overwrite: bool, progress: Progress | None) -> None:
        self.source, self.out, self.overwrite, self.progress = source, out, overwrite, progress
        choice = choose_logs(source)
        self.logs, self.splits, self.missing = choice.logs, choice.splits, choice.missing
        self.maps_root = source.maps_root or find_maps_root(source.data_root)
        if not any(self.maps_root.glob("*/*/map.gpkg")):
            raise DataError(
                f"{self.maps_root}: holds no <city>/<version>/map.gpkg; give the folder that holds the city folders"
            )
        self.problems: dict[str, str] = {}
        self.places: dict[str, Path] = {}
        self.dropped: dict[str, int] = {}
        self._drop("log that the list of splits does not name", choice.unlisted)
        self.resumed = 0
        self.peak_bytes = peak_memory()
        self.began = time.monotonic()

    def read(self, folder: ConversionFolder, workers: int | None) -> None:
        """Make the parts that are not there yet.

        Raises:
            DataError: The disk refuses.
        """
        settings = PartSettings(
            store=self.out, key=folder.key, maps_root=self.maps_root, selection=self.source.selection
        )
        todo = self._look_for_parts(folder)
        done = len(self.logs) - len(todo)
        if self.resumed and self.progress is not None:
            self.progress(done, len(self.logs), "were read before")
        boxes = 0
        for job, result in _results(todo, settings, workers):
            done, log = done + 1, job.log
            if isinstance(result, Died):
                problem = f"{log.path}: the process that read it {result.reason}, twice; leave this log out"
            else:
                problem = result.error
                boxes += result.boxes
                self.peak_bytes = max(self.peak_bytes, result.peak_bytes)
                if result.fatal:
                    raise DataError(str(problem))
            if problem is not None:
                self.problems[log.name] = problem
            if self.progress is not None:
                rate = boxes / max(1e-3, time.monotonic() - self.began)
                self.progress(done, len(self.logs), f"{rate / 1000:.0f} k boxes/s, {log.path.name}")

    def _look_for_parts(self, folder: ConversionFolder) -> list[PartJob]:
        """Settle where the part of every log lies and return the logs without one; one that is gone is a problem."""
        todo = []
        for log in self.logs:
            try:
                place = folder.part(log.path)
            except DataError as error:
                self.problems[log.name] = str(error)
                continue
            self.places[log.name] = place
            if not place.is_file():
                todo.append(PartJob(log=log, place=place))
        self.resumed = len(self.places) - len(todo)
        return todo

    def assemble(self, folder: ConversionFolder) -> ConvertReport:
        """Write the store from the parts.

        Raises:
            DataError: Not one log can be used, or the disk refuses.
        """
        parts = self._parts()
        if not parts:
            lines = list(self.problems.values())
            others = f" (and {len(lines) - 1} other files failed too)" if len(lines) > 1 else ""
            raise DataError(lines[0] + others)
        kept = self._limits(parts)
        with ScenarioStoreWriter(
            self.out,
            source="nuplan",
            config=self._config(),
            licence=LICENCES["nuplan"],
            overwrite=self.overwrite,
            may_be_empty=True,
        ) as writer:
            details = [self._add(writer, folder, log, kept[log.name]) for log, _ in parts]
            self._drop(BAD_FILE, len(self.problems))
            for reason, count in self.dropped.items():
                writer.note_dropped(reason, count)
            copies = sum(bool(log.copies) for log in self.logs)
            if copies:
                writer.note("log that lies in several folders (read once)", copies)
            self._look_for_missing(parts, kept)
            conversion = self._cost(parts)
            report = {
                "missing": self.missing,
                "problems": [{"log": name, "problem": text} for name, text in sorted(self.problems.items())],
                "dropped": dict(sorted(self.dropped.items())),
                "conversion": conversion,
                "logs": details,
            }
            manifest = writer.finish(conversion=conversion, report=report)
        problems = [text for _, text in sorted(self.problems.items())]
        return ConvertReport.of_store(
            self.out, manifest, problems=problems, missing=self.missing, conversion=conversion
        )

    def _parts(self) -> list[tuple[LogFile, LogPart]]:
        """Return the logs that were read, without their records; a second log of one name is a problem."""
        parts: list[tuple[LogFile, LogPart]] = []
        seen: dict[str, Path] = {}
        for log in self.logs:
            if log.name in self.problems:
                continue
            part = _stored_part(self.places[log.name], log, with_block=False)
            name = part.entry.name
            if name in seen:
                self.problems[log.name] = f"{log.path}: holds log '{name}', which {seen[name]} brought before"
            else:
                seen[name] = log.path
                parts.append((log, part))
        return parts

    def _limits(self, parts: list[tuple[LogFile, LogPart]]) -> dict[str, np.ndarray]:
        """Return which scenarios of each log are kept."""
        number: dict[str, int] = {}
        kinds, tokens, starts = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for _, part in parts:
            of = np.array([number.setdefault(kind, len(number)) for kind in part.entry.types], dtype=np.int64)
            kinds.append(of[part.entry.rows["type"]] if len(of) else np.zeros(0, np.int64))
            tokens.append(part.entry.rows["token"])
            starts.append(part.starts_us)
        candidates = Candidates(
            token=np.concatenate(tokens),
            kind=np.concatenate(kinds),
            types=tuple(number),
            start_us=np.concatenate(starts),
        )
        kept, dropped = within_limits(candidates, self.source.selection)
        for reason, count in dropped.items():
            self._drop(reason, count)
        ends = np.cumsum([len(part.entry.rows) for _, part in parts])
        return dict(zip((log.name for log, _ in parts), np.split(kept, ends[:-1]), strict=True))

    def _add(
        self, writer: ScenarioStoreWriter, folder: ConversionFolder, log: LogFile, kept: np.ndarray
    ) -> dict[str, Any]:
        """Append one log and return what became of it."""
        part = _stored_part(self.places[log.name], log, with_block=True)
        city = part.entry.map_name
        if not writer.has_map(city):
            ensure_map(folder, self.maps_root, city)
            shard = ShardReader(folder.map_part(city))
            writer.add_map_block(city, shard.block(0))
            for reason, count in shard.read(1).meta["dropped"].items():
                self._drop(reason, count)
        split = self.splits[log.name]
        writer.add_entry(part.entry.keep(kept), split)
        for reason, count in part.facts["dropped"].items():
            self._drop(reason, count)
        names = ("frames", "boxes", "tracks", "dropped", "refused", "cpu_s")
        facts = {name: part.facts[name] for name in names}
        own = {"log": part.entry.name, "file": str(log.path), "map": city, "split": split}
        return {**own, "scenarios": int(kept.sum()), **facts}

    def _look_for_missing(self, parts: list[tuple[LogFile, LogPart]], kept: dict[str, np.ndarray]) -> None:
        """Note what was asked for and is not in the store."""
        selection = self.source.selection
        self.missing += [text for _, text in sorted(self.problems.items())]
        if selection.tokens is not None:
            found = {int(token) for _, part in parts for token in part.entry.rows["token"]}
            refused = {token: reason for _, part in parts for token, reason in part.facts["refused"].items()}
            for token in sorted(set(selection.tokens) - found):
                name = f"{token:016x}"
                self.missing.append(f"token {name}: {refused.get(name, 'is in none of the logs that were read')}")
        patterns = selection.type_patterns or selection.scenario_types
        if patterns is not None and selection.tokens is None:
            made = {
                part.entry.types[kind]
                for log, part in parts
                for kind in np.unique(part.entry.rows["type"][kept[log.name]]).tolist()
            }
            self.missing += [
                f"scenario type {pattern}: no log has a usable scenario of it"
                for pattern in patterns
                if not any(fnmatchcase(kind, pattern) for kind in made)
            ]

    def _config(self) -> dict[str, Any]:
        splits = "folders, else by name" if self.source.splits is None else "a list of logs"
        return {"source": "nuplan", "selection": self.source.selection.document(), "splits": splits}

    def _cost(self, parts: list[tuple[LogFile, LogPart]]) -> dict[str, Any]:
        boxes = sum(part.facts["boxes"] for _, part in parts)
        cpu_s = sum(part.facts["cpu_s"] for _, part in parts)
        return {
            "seconds": round(time.monotonic() - self.began, 3),
            "logs_from_before": self.resumed,
            "boxes": boxes,
            "boxes_per_cpu_second": round(boxes / cpu_s) if cpu_s else None,
            "peak_bytes_per_process": self.peak_bytes,
        }

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count


def convert_nuplan(
    source: NuplanSource,
    out: Path,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ConvertReport:
    """Write a scenario store from nuPlan logs; see :func:`drivetrain.data.convert.convert`."""
    if workers is not None and workers < 1:
        raise UsageError(f"the number of workers must be at least 1, got {workers}")
    out = with_a_name(out)
    if out.exists() and not overwrite:
        raise DataError(f"{out}: exists already and is left as it is; choose another folder or pass --overwrite")
    if out.exists() and not is_replaceable(out):
        raise DataError(f"{out}: is no scenario store, so it is not overwritten; choose another folder")
    conversion = _Conversion(source, out, overwrite=overwrite, progress=progress)
    settings = conversion_settings(conversion.maps_root, source.selection.within_a_log())
    with ConversionFolder(out) as folder:
        discarded = folder.begin(settings)
        try:
            if discarded and progress is not None:
                progress(0, len(conversion.logs), "a conversion with other settings was begun here: starting anew")
            conversion.read(folder, workers)
            report = conversion.assemble(folder)
        except KeyboardInterrupt as stop:
            done = len(list(folder.parts.glob("*.dts")))
            raise KeyboardInterrupt(
                f"{done} of {len(conversion.logs)} logs are read; the same command goes on from there"
            ) from stop
        except DataError:
            if folder.is_idle():
                folder.remove()
            raise
        folder.remove()
    return report


def _stored_part(place: Path, log: LogFile, *, with_block: bool) -> LogPart:
    """Read the part of a log; a damaged one is removed, so that the next attempt makes it anew."""
    try:
        return read_part(place, with_block=with_block)
    except DataError as error:
        place.unlink(missing_ok=True)
        raise DataError(f"{log.path}: what was read of it is damaged; run the same command again") from error


def _results(
    todo: list[PartJob], settings: PartSettings, workers: int | None
) -> Iterator[tuple[PartJob, PartResult | Died]]:
    if workers is None:
        maker = PartMaker(settings)
        for job in todo:
            yield job, maker(job)
    elif todo:
        # Large logs first, so that none of them is left to one process at the end.
        todo = sorted(todo, key=_size, reverse=True)
        yield from work_through(todo, PartMaker, settings, workers=min(workers, len(todo)))


def _size(job: PartJob) -> int:
    try:
        return job.log.path.stat().st_size
    except OSError:
        return 0
