"""A pack becomes a run of this project, or a checkpoint for as long as it is evaluated: all of it, or nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from drivetrain.errors import RunError, UsageError
from drivetrain.run_record import (
    ProcessIdentity,
    RunInfo,
    RunPaths,
    check_run_id,
    read_json,
    read_run_info,
    write_json_atomic,
)
from drivetrain.runs.launcher import LAUNCHERS
from drivetrain.runs.pack import Pack, read_pack, unpack

_STAGE = ".opening-"
"""Begins the name of a folder in which a pack is opened; its process follows."""


@contextlib.contextmanager
def opened_pack(file: Path) -> Iterator[tuple[Pack, Path]]:
    """Yield a pack and its best checkpoint, in a folder that is gone afterwards.

    Raises:
        RunError: It is no pack, is damaged, or holds what no pack holds.
    """
    with tempfile.TemporaryDirectory(prefix="drivetrain-pack-") as folder:
        paths = RunPaths(root=Path(folder), run_id="packed")
        yield unpack(file, paths), paths.best


def open_pack(file: Path, *, root: Path, run_id: str | None = None) -> tuple[Pack, RunPaths]:
    """Make a pack a run of this project.

    Killed at any time, there is no run, and opening the pack again goes through.

    Args:
        file: The pack.
        root: The project root.
        run_id: Name of the run; None: the one that it had.

    Raises:
        UsageError: The name cannot be one.
        RunError: It is no pack, is damaged, or holds what no pack holds, or there is a run of that name.
    """
    pack = read_pack(file)
    if pack.manifest["algorithm"] not in LAUNCHERS:
        raise RunError(
            f"{file}: refused, algorithm {ascii(pack.manifest['algorithm'])[:40]} is not one of {', '.join(LAUNCHERS)}"
        )
    name = check_run_id(run_id or str(pack.manifest["run_id"]))
    paths = RunPaths(root=root, run_id=name)
    for folder in (paths.folder, paths.checkpoint_dir):
        _refuse_taken(folder, paths, pack)
    rooms = RunPaths.logs(root).parent
    try:
        rooms.mkdir(parents=True, exist_ok=True)
        _forget_dead_stages(rooms)
        stage = RunPaths(root=rooms / f"{_STAGE}{os.getpid()}", run_id=name)
        try:
            stage.root.mkdir()
            unpack(file, stage)
            _make_ours(stage, paths)
            for made, target in ((stage.checkpoint_dir, paths.checkpoint_dir), (stage.folder, paths.folder)):
                target.parent.mkdir(parents=True, exist_ok=True)
                if target == paths.checkpoint_dir and target.is_dir():
                    shutil.rmtree(target)  # of an opening that was killed, see _refuse_taken
                made.replace(target)
        finally:
            shutil.rmtree(stage.root, ignore_errors=True)
    except OSError as error:
        raise RunError(
            f"{error.filename or rooms}: cannot be written ({error.strerror}); nothing was opened"
        ) from error
    return pack, paths


def _refuse_taken(folder: Path, paths: RunPaths, pack: Pack) -> None:
    if not folder.exists() or not any(folder.iterdir()):
        return
    if folder == paths.checkpoint_dir and not paths.folder.exists() and _is_leftover(folder, pack):
        return
    raise UsageError(
        f"pack: {paths.relative(folder)} exists; open the pack under another name: "
        f"drivetrain pack --open {pack.file} --as {paths.run_id}-2"
    )


def _is_leftover(folder: Path, pack: Pack) -> bool:
    """Return whether a folder holds checkpoints of this pack and nothing else."""
    import hashlib

    for path in folder.iterdir():
        told = pack.manifest["files"].get(f"checkpoints/{path.name}")
        if told is None or not path.is_file() or path.is_symlink():
            return False
        if hashlib.sha256(path.read_bytes()).hexdigest() != told["sha256"]:
            return False
    return True


def _forget_dead_stages(rooms: Path) -> None:
    for stage in rooms.glob(f"{_STAGE}*"):
        number = stage.name.removeprefix(_STAGE)
        if number.isdigit() and (int(number) == os.getpid() or not ProcessIdentity.of(int(number)).is_alive()):
            shutil.rmtree(stage, ignore_errors=True)


def _make_ours(stage: RunPaths, paths: RunPaths) -> None:
    """Write into the record where the run lies now, and who may be asked to go on with it.

    The command that it was started with comes from somebody else: what people are told to type is never taken from it.
    """
    info = read_run_info(stage)
    assert info is not None
    has_parent = (stage.checkpoint_dir / "parent.pt").is_file()
    checkpoints = paths.relative(paths.checkpoint_dir)
    ours = dataclasses.replace(
        info,
        run_id=paths.run_id,
        algorithm=_algorithm(info),
        argv=("python", f"python/src/training/{LAUNCHERS[_algorithm(info)]}", "--run-id", paths.run_id),
        checkpoint_dir=checkpoints,
        parent=f"{checkpoints}/parent.pt" if has_parent else info.parent,
    )
    write_json_atomic(stage.run_json, dataclasses.asdict(ours), durable=True)
    state = read_json(stage.state_json)
    assert state is not None
    write_json_atomic(stage.state_json, {**state, "checkpoint_dir": checkpoints}, durable=True)


def _algorithm(info: RunInfo) -> str:
    if info.algorithm not in LAUNCHERS:
        raise RunError(
            f"run.json: algorithm {ascii(info.algorithm)[:40]} is not one of {', '.join(LAUNCHERS)}; refused"
        )
    return info.algorithm
