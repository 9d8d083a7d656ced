"""A run as one archive: what a colleague needs to evaluate it, look at it and train it again.

A pack is a zip file of a fixed set of names with a manifest of their SHA-256. Whoever opens one trusts nothing in it:
every name, kind, size and hash is checked before the first byte lies in the project, and nothing is left of a pack
that was refused. Scenes are not packed (their licence may forbid it, and they are large): their fingerprint is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import stat
import time
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drivetrain import __version__
from drivetrain.errors import RunError
from drivetrain.run_record import RunPaths, read_json, read_run_info, read_run_state, write_atomic
from drivetrain.runs.run_store import Run

FORMAT = "drivetrain-pack"
VERSION = 1
MANIFEST = "manifest.json"
RECORD = ("run.json", "state.json", "config.yaml", "metrics.jsonl", "events.jsonl", "train.log")
"""Files of the run folder, in ``run/``; the first three must be there."""
CHECKPOINTS = ("best.pt", "last.pt", "parent.pt")
"""In ``checkpoints/``; the first must be there. ``parent.pt`` is the one from whose weights the run began."""
NAMES = frozenset({MANIFEST, *(f"run/{name}" for name in RECORD), *(f"checkpoints/{name}" for name in CHECKPOINTS)})
NEEDED = frozenset({MANIFEST, "run/run.json", "run/state.json", "run/config.yaml", "checkpoints/best.pt"})
LARGEST_FILE = 2 * 1024**3
"""A policy of ours has megabytes [bytes]."""
LARGEST_MANIFEST = 1024**2
LARGEST_RATIO = 200
"""Text becomes this much smaller at most; checkpoints are stored as they are."""
_BLOCK = 1024**2
_DATE = (2020, 1, 1, 0, 0, 0)
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\\u00(?:0[0-8bcef]|1[0-9a-f]|7f)", re.IGNORECASE)
"""Bytes that make a terminal do things, and how JSON spells them."""


@dataclass(frozen=True, kw_only=True)
class Pack:
    """An archive that was written, or found to be right."""

    file: Path
    bytes: int
    sha256: str
    """Of the archive, to be told by another way than the archive itself."""
    manifest: Mapping[str, Any]
    """``run_id``, ``algorithm``, ``step``, ``score``, ``data``, ``versions``, ``files`` and more."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document."""
        return {**asdict(self), "file": str(self.file), "manifest": dict(self.manifest)}


def pack_run(run: Run, out: Path) -> Pack:
    """Write a run's archive.

    Args:
        run: It must have ended, and have been evaluated.
        out: File to write; one that is there is replaced.

    Raises:
        RunError: The run cannot be packed, or the file not be written; then an older file is as it was.
    """
    sources = _sources(run)
    # Whoever opens a pack refuses what a terminal would obey, so a message that holds such a thing loses it here.
    texts = {name: _CONTROL.sub(b"?", path.read_bytes()) for name, path in sources.items() if name.startswith("run/")}
    checkpoints = {name: path for name, path in sources.items() if name not in texts}
    files = {name: {"sha256": hashlib.sha256(text).hexdigest(), "bytes": len(text)} for name, text in texts.items()}
    files |= {name: {"sha256": _sha256(path), "bytes": path.stat().st_size} for name, path in checkpoints.items()}
    manifest = {"format": FORMAT, "version": VERSION, **_description(run), "files": files}

    def write(file: Any) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(_member(MANIFEST), json.dumps(manifest, indent=1).encode())
            for name, text in texts.items():
                archive.writestr(_member(name), text)
            for name, path in checkpoints.items():
                _copy_in(archive, name, path, files[name])

    write_atomic(out, write, durable=True)
    return Pack(file=out, bytes=out.stat().st_size, sha256=_sha256(out), manifest=manifest)


def _sources(run: Run) -> dict[str, Path]:
    """Return the files of a pack by their names in it."""
    if run.health.is_active:
        raise RunError(f"run '{run.run_id}' is {run.health.status}; stop it first: drivetrain stop {run.run_id}")
    info, paths = run.info, run.paths
    for path in (paths.run_json, paths.state_json, paths.config_yaml):
        if not path.is_file():
            raise RunError(f"run '{run.run_id}' has no {path.name}, so that nobody could use its pack; train it again")
    if info is None:
        raise RunError(f"{paths.run_json}: damaged, so that nobody could use a pack of it; train it again")
    if not paths.best.is_file():
        raise RunError(
            f"run '{run.run_id}' has no {paths.relative(paths.best)}: it was never evaluated; resume it until it is"
        )
    found = {f"run/{name}": paths.folder / name for name in RECORD if (paths.folder / name).is_file()}
    found |= {f"checkpoints/{path.name}": path for path in (paths.best, paths.last) if path.is_file()}
    if info.parent is not None:
        parent = paths.root / info.parent
        parent = next((p for p in (parent, parent / "best.pt", parent / "last.pt") if p.is_file()), parent)
        if parent.is_file():
            found["checkpoints/parent.pt"] = parent
    return found


def _description(run: Run) -> dict[str, Any]:
    info, state = run.info, run.state
    assert info is not None
    return {
        "run_id": run.run_id,
        "algorithm": info.algorithm,
        "step": run.step,
        "score": state.best_score if state is not None else None,
        "seed": info.seed,
        "config_hash": info.config_hash,
        "data": {**asdict(info.data), "made": _made(run.paths, info.data.path)},
        "code": {"git_commit": info.git_commit, "git_dirty": info.git_dirty},
        "versions": dict(info.versions),
        "host": info.host,
        "packed": time.time(),
        "packed_by": __version__,
    }


def _made(paths: RunPaths, data: str) -> dict[str, Any]:
    """Return how a store was made, so that generated scenes can be generated again."""
    manifest = read_json(paths.root / data / "manifest.json") or {}
    return {"source": manifest.get("source"), "creator": manifest.get("creator")}


def _member(name: str, *, compress: bool = True) -> zipfile.ZipInfo:
    """Return a member whose bytes depend on nothing but its content."""
    member = zipfile.ZipInfo(name, date_time=_DATE)
    member.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    member.external_attr = (stat.S_IFREG | 0o644) << 16
    return member


def _copy_in(archive: zipfile.ZipFile, name: str, path: Path, told: Mapping[str, Any]) -> None:
    member = _member(name, compress=False)
    digest = hashlib.sha256()
    with path.open("rb") as source, archive.open(member, "w", force_zip64=True) as target:
        while block := source.read(_BLOCK):
            digest.update(block)
            target.write(block)
    if digest.hexdigest() != told["sha256"]:
        raise RunError(f"{path}: changed while it was packed; is the run being trained? Pack it once that has ended")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_pack(path: Path) -> bool:
    """Return whether a file says that it is a pack; whether it is right is another question."""
    try:
        with zipfile.ZipFile(path) as archive:
            return MANIFEST in archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return path.suffix == ".zip" and path.is_file()


def read_pack(path: Path) -> Pack:
    """Return an archive all of which was checked: names, kinds, sizes, hashes.

    Raises:
        RunError: It is no pack, is damaged, or holds what no pack holds.
    """
    return _checked(path, None)


def unpack(path: Path, paths: RunPaths) -> Pack:
    """Check an archive while its files are written where a run has them, in a root that is new and nobody's yet.

    Raises:
        RunError: It is no pack, is damaged, or holds what no pack holds; what was written is to be thrown away.
    """
    pack = _checked(path, paths)
    if read_run_info(paths) is None or read_run_state(paths) is None:
        raise RunError(f"{path}: refused, its run.json or state.json is none of ours; ask for it once more")
    return pack


def _checked(path: Path, paths: RunPaths | None) -> Pack:
    if not path.is_file():
        raise RunError(
            f"{path}: {'is a folder' if path.is_dir() else 'no such file'}; give a file of 'drivetrain pack'"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                _check_member(path, member)
            _check_names(path, [member.filename for member in members])
            manifest = _manifest(path, archive)
            for member in members:
                if member.filename != MANIFEST:
                    _check_content(path, archive, member, manifest["files"][member.filename], paths)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise RunError(f"{path}: damaged, or no pack ({reason}); ask for it once more") from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read or unpacked ({error.strerror or error})") from error
    return Pack(file=path, bytes=path.stat().st_size, sha256=_sha256(path), manifest=manifest)


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
    shown = ascii(name)[:80]
    if kind not in (0, stat.S_IFREG):
        raise RunError(f"{path}: refused, {shown} is no plain file (a link, a device or a folder)")
    if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or ":" in name:
        raise RunError(f"{path}: refused, {shown} points out of the pack")
    if name not in NAMES:
        raise RunError(f"{path}: refused, {shown} is no file of a pack")
    if member.flag_bits & 0x1:
        raise RunError(f"{path}: refused, {shown} is encrypted")
    largest = LARGEST_MANIFEST if name == MANIFEST else LARGEST_FILE
    if member.file_size > largest:
        raise RunError(f"{path}: refused, {shown} would have {member.file_size:,} bytes, more than {largest:,}")
    if member.file_size > LARGEST_RATIO * max(member.compress_size, 1) and member.file_size > _BLOCK:
        ratio = member.file_size // max(member.compress_size, 1)
        raise RunError(f"{path}: refused, {shown} would grow {ratio:,} times, more than {LARGEST_RATIO}")


def _check_names(path: Path, names: list[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RunError(f"{path}: refused, it holds {twice} twice")
    missing = sorted(NEEDED - set(names))
    if missing:
        raise RunError(f"{path}: no pack of 'drivetrain pack' (it holds no {missing[0]})")


def _manifest(path: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    content = archive.read(MANIFEST)
    _refuse_control(path, MANIFEST, content)
    manifest = json.loads(content)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise RunError(f"{path}: no pack of 'drivetrain pack' ({MANIFEST} says something else)")
    if not isinstance(manifest.get("version"), int) or manifest["version"] > VERSION:
        raise RunError(f"{path}: pack version {manifest.get('version')}, this program reads {VERSION}; update it")
    files, held = manifest.get("files"), set(archive.namelist()) - {MANIFEST}
    if not isinstance(files, dict) or set(files) != held:
        raise RunError(f"{path}: damaged, its manifest lists other files than it holds; ask for it once more")
    wanted = {"run_id": str, "algorithm": str, "step": int, "data": dict, "versions": dict, "code": dict, "host": str}
    for name, kind in wanted.items():
        if not isinstance(manifest.get(name), kind):
            raise RunError(f"{path}: damaged, {MANIFEST} says no '{name}'; ask for it once more")
    return manifest


def _check_content(
    path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, told: Any, paths: RunPaths | None
) -> None:
    """Compare a file with what the manifest says of it, and write it where it is to be written."""
    room, _, name = member.filename.partition("/")
    is_text, digest, size, tail = room == "run", hashlib.sha256(), 0, b""
    with contextlib.ExitStack() as stack:
        target = None
        if paths is not None:
            folder = paths.folder if is_text else paths.checkpoint_dir
            folder.mkdir(parents=True, exist_ok=True)
            target = stack.enter_context((folder / name).open("xb"))
        source = stack.enter_context(archive.open(member))
        while block := source.read(_BLOCK):
            size += len(block)
            digest.update(block)
            if is_text:
                _refuse_control(path, member.filename, tail + block)
                tail = block[-5:]
            if target is not None:
                target.write(block)
    if not isinstance(told, dict) or (told.get("bytes"), told.get("sha256")) != (size, digest.hexdigest()):
        raise RunError(f"{path}: refused, {member.filename} is not what the manifest says; ask for it once more")


def _refuse_control(path: Path, name: str, text: bytes) -> None:
    if _CONTROL.search(text):
        raise RunError(f"{path}: refused, {name} holds control characters, which no log of ours does")
