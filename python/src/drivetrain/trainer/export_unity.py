"""A policy as a model for Unity, proven on real observations before it gets its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from drivetrain.errors import DrivetrainError
from drivetrain.models.export_form import ExportedPolicy, split_rows, undecided
from drivetrain.models.unity_form import CONSTANTS, OPSET, UnityForm
from drivetrain.run_record import write_bytes_atomic
from drivetrain.trainer.checkpoint import LoadedPolicy, checkpoint_file, load_checkpoint
from drivetrain.trainer.export_document import export_document
from drivetrain.trainer.export_files import check_installed, onnx_content, runner_of
from drivetrain.trainer.export_observations import real_observations
from drivetrain.trainer.export_parity import TOLERANCE, in_float32, precision_of
from drivetrain.trainer.export_policy import OBSERVATIONS, export_target


@dataclass(frozen=True, kw_only=True, slots=True)
class UnityModel:
    """What was written."""

    file: Path
    num_bytes: int
    """Size of the file [byte]."""
    inputs: tuple[str, ...]
    """Names in order."""
    outputs: tuple[str, ...]
    """Names in order."""
    observations: int
    """How many real ones it was compared on."""
    largest: float
    """Largest difference of an action from torch's; discrete: share of rows that differ."""


def export_unity(
    checkpoint: Path,
    *,
    out: Path | None = None,
    data: str | None = None,
    split: str = "val",
    overwrite: bool = False,
) -> UnityModel:
    """Write a policy under ML-Agents' names once the file was found to act as the policy does.

    Args:
        checkpoint: File, or folder of checkpoints.
        out: File to write; None: beside the checkpoint.
        data: Scenario store of the observations to compare on; None: that of the training.
        split: Which part of it.
        overwrite: Replace a file that is there.

    Raises:
        DrivetrainError: Something cannot be used, or the file acts otherwise; then there is no file.
    """
    check_installed("onnx")
    target = export_target(checkpoint, "onnx", out, overwrite=overwrite)
    source = checkpoint_file(checkpoint)
    loaded = LoadedPolicy(load_checkpoint(source), source)
    rows = torch.from_numpy(real_observations(loaded, OBSERVATIONS, data=data, split=split).rows)
    form = ExportedPolicy(LoadedPolicy(in_float32(loaded.checkpoint), source).module).eval()
    unity = UnityForm(form).eval()
    arrays = _inputs(unity, rows)
    document = export_document(form, loaded.checkpoint, source, precision=precision_of(loaded.checkpoint))
    content = onnx_content(
        unity,
        [array[:2] for array in arrays],
        inputs=unity.input_names,
        outputs=unity.output_names,
        document=document,
        constants=CONSTANTS,
        opset=OPSET,
    )
    run = runner_of("onnx", content, in_float32(loaded.checkpoint))
    found = run([array.numpy() for array in arrays])
    with torch.no_grad():
        expected = unity(*arrays)
    largest = _difference(unity, found[2], expected[2].numpy(), undecided(form.policy, rows).numpy())
    if not largest <= TOLERANCE:
        raise DrivetrainError(
            f"export: the model differs from the policy by {largest:.1e} on {len(rows):,} observations, more than "
            f"{TOLERANCE:g}; no file was left"
        )
    write_bytes_atomic(target, content, durable=True)
    return UnityModel(
        file=target,
        num_bytes=len(content),
        inputs=unity.input_names,
        outputs=unity.output_names,
        observations=len(rows),
        largest=largest,
    )


def _inputs(unity: UnityForm, rows: torch.Tensor) -> list[torch.Tensor]:
    """Return what Unity would feed for rows of the environment."""
    parts = [part.flatten(1) for part in split_rows(rows, unity.form.schema)]
    if unity.has_masks:
        return [*parts[:-1], unity.masks_of(parts[-1])]
    return [*parts, torch.ones(len(rows), unity.num_choices)] if unity.is_discrete else parts


def _difference(unity: UnityForm, found: np.ndarray, expected: np.ndarray, either: np.ndarray) -> float:
    if unity.is_discrete:
        return float(((found != expected).any(axis=1) & ~either).mean())
    return float(np.abs(found - expected).max(where=~either[:, None], initial=0.0))
