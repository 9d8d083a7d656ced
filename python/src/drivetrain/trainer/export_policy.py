"""A checkpoint's policy as a file for other programs, proven before it gets its name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from drivetrain.errors import UsageError, nearest
from drivetrain.models.export_form import ExportedPolicy, split_rows
from drivetrain.run_record import write_bytes_atomic
from drivetrain.trainer.checkpoint import LoadedPolicy, checkpoint_file, load_checkpoint
from drivetrain.trainer.export_document import export_document
from drivetrain.trainer.export_files import FORMATS, check_installed, content_of, runner_of
from drivetrain.trainer.export_observations import real_observations
from drivetrain.trainer.export_parity import (
    LIMIT_MS,
    TOLERANCE,
    Latency,
    Parity,
    compare,
    in_float32,
    latency,
    precision_of,
)

OBSERVATIONS = 1000
"""Real observations on which a file must agree with torch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """What was written, and how it was found to be right."""

    file: Path
    format: str
    bytes: int
    checkpoint: Path
    document: dict[str, Any]
    """What the file says of itself."""
    observations: str
    """What the real observations are of."""
    parity: Parity
    latency: Latency

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document."""
        return {
            "file": str(self.file),
            "format": self.format,
            "bytes": self.bytes,
            "checkpoint": str(self.checkpoint),
            "algorithm": self.document["algorithm"],
            "step": self.document["step"],
            "parity": {**asdict(self.parity), "tolerance": TOLERANCE, "of": self.observations},
            "latency": {**asdict(self.latency), "batch": 1, "threads": 1, "limit_ms": LIMIT_MS},
            "document": self.document,
        }


def export_target(checkpoint: Path, name: str, out: Path | None, *, overwrite: bool) -> Path:
    """Return the file to write: as asked, else beside the checkpoint.

    Raises:
        DrivetrainError: There is no such checkpoint, or the file cannot be written there.
    """
    source = checkpoint_file(checkpoint)
    suffix = FORMATS[name].suffix
    target = source.with_suffix(suffix) if out is None else out
    if target.is_dir():
        raise UsageError(
            f"export: --out: {target} is a folder; give a file, for example {target / source.stem}{suffix}"
        )
    if not target.parent.is_dir():
        raise UsageError(f"export: --out: the folder {target.parent} does not exist; make it first")
    if target.exists() and target.samefile(source):
        raise UsageError(f"export: --out: {target} is the checkpoint itself; give another file")
    if target.exists() and not overwrite:
        raise UsageError(f"export: --out: {target} exists; give another file, or --overwrite")
    return target


def export_policy(
    checkpoint: Path,
    name: str,
    *,
    out: Path | None = None,
    data: str | None = None,
    split: str = "val",
    overwrite: bool = False,
) -> Export:
    """Write a policy's file once it was found to do the same as the policy.

    Args:
        checkpoint: File, or folder of checkpoints.
        name: A key of :data:`~drivetrain.trainer.export_files.FORMATS`.
        out: File to write; None: beside the checkpoint.
        data: Scenario store of the observations to compare on; None: that of the training.
        split: Which part of it.
        overwrite: Replace a file that is there.

    Raises:
        DrivetrainError: Something cannot be used, or the file differs from the policy; then there is no file.
    """
    if name not in FORMATS:
        raise UsageError(f"export: format '{name}' is not one of {', '.join(FORMATS)}{nearest(name, FORMATS)}")
    check_installed(name)
    target = export_target(checkpoint, name, out, overwrite=overwrite)
    source = checkpoint_file(checkpoint)
    loaded = LoadedPolicy(load_checkpoint(source), source)
    observations = real_observations(loaded, OBSERVATIONS, data=data, split=split)
    form = ExportedPolicy(LoadedPolicy(in_float32(loaded.checkpoint), source).module).eval()
    document = export_document(form, loaded.checkpoint, source, precision=precision_of(loaded.checkpoint))
    arrays = split_rows(torch.from_numpy(observations.rows), form.schema)
    content = content_of(name, form, [array[:2] for array in arrays], document)
    run = runner_of(name, content, in_float32(loaded.checkpoint))
    parity = compare(name, run, loaded, observations.rows)
    timing = latency(run, [array.numpy() for array in arrays])
    write_bytes_atomic(target, content, durable=True)
    return Export(
        file=target,
        format=name,
        bytes=len(content),
        checkpoint=source,
        document=document,
        observations=observations.source,
        parity=parity,
        latency=timing,
    )
