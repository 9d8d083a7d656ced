"""Damages nuPlan files in thousands of ways and reads them: nothing but DataError may come out.

``python -m tests.data.fuzz_readers --inputs 10000 --seed 1`` runs many; the test suite runs a few. An input is known by
its number and the seed: ``--first N --inputs 1`` runs it alone.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import random
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

from tests.golden_sets import GOLDEN

from drivetrain.data.conversion_folder import ConversionFolder
from drivetrain.data.log_part import PartMaker, PartSettings
from drivetrain.data.nuplan_files import LogFile
from drivetrain.data.nuplan_map import read_nuplan_map
from drivetrain.data.record_codec import check_finite, map_record
from drivetrain.data.selection import Selection
from drivetrain.data.shards import encode_record
from drivetrain.errors import DataError

CITY = "us-nv-las-vegas-strip"
LIMIT_S = 60
"""An input that takes longer hangs."""
FIRST_FRAME, LAST_FRAME = 720, 1120
"""Frames of the golden log that the small one keeps: one scenario and a little."""
SQL_VALUES = (
    *("NULL", "''", "'x'", "'9e999'", "9e999", "-9e999", "1e308", "-1e-320", "0", "-1", "9223372036854775807"),
    *("-9223372036854775808", "X''", "X'00'", "X'0102030405060708'", "CAST(X'ff80' AS TEXT)", "zeroblob(100)"),
    *("'nan'", "randomblob(8)", "random()", "4294967296", "1.5", "'1 2 3'", "'-7,,8'", "'\u0664\u0662'", "char(0)"),
)


def small_log(folder: Path) -> Path:
    """The golden log cut down, its tables without keys, so that they can hold anything."""
    path = folder / "small.db"
    shutil.copy(next(GOLDEN.glob("splits/mini/*.db")), path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            database.execute(f"CREATE TABLE copy AS SELECT * FROM {table}")
            database.execute(f"DROP TABLE {table}")
            database.execute(f"ALTER TABLE copy RENAME TO {table}")
        database.execute(
            "DELETE FROM lidar_pc WHERE token NOT IN (SELECT token FROM lidar_pc ORDER BY timestamp LIMIT ? OFFSET ?)",
            (LAST_FRAME - FIRST_FRAME, FIRST_FRAME),
        )
        for table in ("lidar_box", "traffic_light_status", "scenario_tag"):
            database.execute(f"DELETE FROM {table} WHERE lidar_pc_token NOT IN (SELECT token FROM lidar_pc)")
        database.execute("DELETE FROM ego_pose WHERE token NOT IN (SELECT ego_pose_token FROM lidar_pc)")
        database.execute("UPDATE scene SET goal_ego_pose_token = (SELECT token FROM ego_pose LIMIT 1)")
        # Five scenes over the frames that are left: the tags lie in the middle one.
        scenes = [token for (token,) in database.execute("SELECT token FROM scene ORDER BY name LIMIT 5")]
        frames = [token for (token,) in database.execute("SELECT token FROM lidar_pc ORDER BY timestamp")]
        cuts = (0, 20, 40, 300, 360, len(frames))
        for scene, first, end in zip(scenes, cuts, cuts[1:], strict=False):
            for token in frames[first:end]:
                database.execute("UPDATE lidar_pc SET scene_token = ? WHERE token = ?", (scene, token))
        database.execute("DELETE FROM scene WHERE token NOT IN (SELECT scene_token FROM lidar_pc)")
        database.commit()
        database.execute("VACUUM")
    return path


def damage_bytes(path: Path, rng: random.Random) -> str:
    """Damage the file itself."""
    block = bytearray(path.read_bytes())
    kind = rng.choice(("flip", "flip", "cut", "zero", "page", "header", "garbage"))
    if kind == "flip":
        for _ in range(rng.choice((1, 3, 30, 300))):
            block[rng.randrange(len(block))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del block[rng.randrange(len(block)) :]
    elif kind == "zero":
        start = rng.randrange(len(block))
        length = rng.choice((8, 100, 4096, 50_000))
        block[start : start + length] = bytes(len(block[start : start + length]))
    elif kind == "page":
        a, b = (4096 * rng.randrange(len(block) // 4096) for _ in range(2))
        block[a : a + 4096], block[b : b + 4096] = block[b : b + 4096], block[a : a + 4096]
    elif kind == "header":
        for _ in range(rng.choice((1, 2, 5))):
            block[rng.randrange(100)] = rng.randrange(256)
    else:
        block = bytearray(rng.randbytes(rng.choice((0, 1, 99, 5000)))) + (block if rng.random() < 0.5 else b"")
    path.write_bytes(block)
    return kind


def damage_tables(path: Path, rng: random.Random) -> str:
    """Change rows, columns and tables by SQL; a statement that SQLite refuses changes nothing."""
    done = []
    with contextlib.closing(sqlite3.connect(path)) as database:
        # SQLite's own random numbers have no seed; an input is to be the same whenever it is made.
        database.create_function("random", 0, lambda: rng.getrandbits(62))
        database.create_function("randomblob", 1, rng.randbytes)
        tables = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if not re.match("sqlite_|gpkg_|rtree_", name)
        ]
        for _ in range(rng.choice((1, 1, 2, 4))):
            table = rng.choice(tables)
            columns = [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]
            if not columns:
                continue
            statement = _statement(table, columns, database, rng)
            done.append(statement)
            with contextlib.suppress(sqlite3.Error):
                database.execute(statement)
        database.commit()
    return "; ".join(done)


def _statement(table: str, columns: list[str], database: sqlite3.Connection, rng: random.Random) -> str:
    column, other = rng.choice(columns), rng.choice(columns)
    some = f'rowid IN (SELECT rowid FROM "{table}" ORDER BY random() LIMIT {rng.choice((1, 1, 3, 50, 100_000))})'
    kind = rng.choice(("set", "set", "set", "set", "copy", "column", "table", "delete", "double", "swap", "blob"))
    if kind == "set":
        return f'UPDATE "{table}" SET "{column}" = {rng.choice(SQL_VALUES)} WHERE {some}'
    if kind == "copy":
        return f'UPDATE "{table}" SET "{column}" = "{other}" WHERE {some}'
    if kind == "column":
        return rng.choice(
            (f'ALTER TABLE "{table}" DROP COLUMN "{column}"', f'ALTER TABLE "{table}" RENAME "{column}" TO q')
        )
    if kind == "table":
        return rng.choice((f'DROP TABLE "{table}"', f'DELETE FROM "{table}"', f'ALTER TABLE "{table}" RENAME TO q'))
    if kind == "delete":
        return f'DELETE FROM "{table}" WHERE {some}'
    if kind == "double":
        return f'INSERT INTO "{table}" SELECT * FROM "{table}" WHERE {some}'
    if kind == "swap":
        names = ", ".join(f'"{name}"' for name in rng.sample(columns, len(columns)))
        return f'INSERT INTO "{table}" SELECT {names} FROM "{table}" WHERE {some}'
    found = database.execute(f'SELECT CAST("{column}" AS BLOB) FROM "{table}" ORDER BY random() LIMIT 1').fetchone()
    blob = bytearray(found[0] if found and isinstance(found[0], bytes) else rng.randbytes(20))
    for _ in range(rng.choice((1, 2, 8))):
        if blob:
            blob[rng.randrange(len(blob))] = rng.randrange(256)
    del blob[rng.choice((len(blob), len(blob), rng.randrange(len(blob) + 1))) :]
    return f'UPDATE "{table}" SET "{column}" = X\'{blob.hex()}\' WHERE {some}'


class Fuzzer:
    """Makes inputs and reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = small_log(folder)
        self.map = next(GOLDEN.glob("maps/*/*/map.gpkg"))
        # The log's map is read once; the working folder is where a conversion keeps it.
        settings = PartSettings(store=folder / "store", key="", maps_root=GOLDEN / "maps", selection=Selection())
        self.working = ConversionFolder(settings.store)
        self.working.maps.mkdir(parents=True)
        self.maker = PartMaker(settings)
        assert len(self.maker.read(LogFile(path=self.log, folder="mini")).entry.rows) > 0

    def run(self, seed: int, number: int) -> tuple[str, str]:
        """Read one input; return what was done to it and what came out: a short word, or the traceback of a failure."""
        rng = random.Random(f"{seed}/{number}")
        target = rng.choice(("log", "log", "map"))
        damage = rng.choice((damage_bytes, damage_tables, damage_tables))
        path = self.folder / f"input.{'db' if target == 'log' else 'gpkg'}"
        shutil.copyfile(self.log if target == "log" else self.map, path)
        what = f"{target}: {damage(path, rng)}"
        try:
            if target == "log":
                self.maker.read(LogFile(path=path, folder="mini"))
            else:
                record = map_record(read_nuplan_map(path, CITY).map)
                check_finite(record, "map")
                encode_record(record.arrays, record.meta)
        except DataError as error:
            text = str(error)
            return what, "error" if "\n" not in text else f"more than one line: {text!r}"
        except Exception:
            return what, traceback.format_exc()
        return what, "read"


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {LIMIT_S} s")


def main() -> int:
    """Run many inputs and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    faulthandler.enable()
    warnings.simplefilter("error")
    signal.signal(signal.SIGALRM, _too_long)
    outcomes: collections.Counter[str] = collections.Counter()
    failures: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(Path(folder))
        for number in range(arguments.first, arguments.first + arguments.inputs):
            signal.alarm(LIMIT_S)
            what, outcome = fuzzer.run(arguments.seed, number)
            signal.alarm(0)
            outcomes[outcome if outcome in ("read", "error") else "failure"] += 1
            if outcome not in ("read", "error"):
                place = outcome.strip().splitlines()[-1][:100]
                if failures.setdefault(place, number) == number:
                    sys.stdout.write(f"--- input {number} of seed {arguments.seed}: {what[:500]}\n{outcome}\n")
            if (number + 1) % 500 == 0:
                sys.stdout.write(f"{number + 1}: {dict(outcomes)}\n")
                sys.stdout.flush()
    sys.stdout.write(f"{sum(outcomes.values())} inputs, seed {arguments.seed}: {dict(outcomes)}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
