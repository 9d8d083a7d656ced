"""What an exported file says of itself: inputs with units and scales, what its action means, where it comes from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from drivetrain import __version__
from drivetrain.models.export_form import ExportedPolicy, input_shape
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.observation import FeatureGroup, ObservationSchema
from drivetrain.sim.observation_units import unit_of
from drivetrain.trainer.checkpoint import Checkpoint

DOCUMENT_VERSION = 1
METADATA_KEY = "drivetrain"
"""Under this name the document lies in the metadata of a file, as JSON."""
_DRIVING_ACTION = (
    {
        "name": "acceleration",
        "unit": "m/s^2",
        "scale": 4.0,
        "meaning": "commanded acceleration = scale * value; the actuator follows with its lag",
    },
    {
        "name": "curvature",
        "unit": "1/m",
        "scale": 0.2,
        "meaning": "commanded path curvature = value * min(scale, 4 / max(speed, 0.1)^2), left positive; "
        "steering angle = atan(wheelbase * curvature), wheelbase and speed at the rear axle",
    },
)


def export_document(form: ExportedPolicy, checkpoint: Checkpoint, file: Path, *, precision: str) -> dict[str, Any]:
    """Return the document for a checkpoint's policy.

    Args:
        form: The policy as it leaves.
        checkpoint: Where it comes from.
        file: Of the checkpoint.
        precision: Number format in which it was trained.
    """
    schema = checkpoint.observation_schema
    return {
        "version": DOCUMENT_VERSION,
        "drivetrain": __version__,
        "algorithm": checkpoint.algorithm,
        "step": checkpoint.step,
        "metric": checkpoint.metric,
        "checkpoint_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "observation": {
            "schema": schema.name,
            "hash": schema.hash,
            "inputs": [_input(schema, g) for g in schema.groups],
        },
        "action": _action(checkpoint.action_space, is_driving=_is_driving(schema)),
        "outputs": list(form.output_names),
        "dynamics": checkpoint.dynamics,
        "precision": {"file": "float32", "training": precision},
        "deterministic": True,
        "data": {name: checkpoint.data.get(name) for name in ("path", "fingerprint")},
        "code": checkpoint.code,
    }


def _is_driving(schema: ObservationSchema) -> bool:
    return schema.name.startswith("driving-")


def _input(schema: ObservationSchema, group: FeatureGroup) -> dict[str, Any]:
    features = []
    for feature in group.features:
        unit, scale = unit_of(schema, group.name, feature)
        features.append({"name": feature, "unit": unit, "scale": scale})
    return {
        "name": group.name,
        "shape": ["batch", *input_shape(group)],
        "layout": "features" if group.count == 1 else "features, entities",
        "value": "quantity / scale; an entity that is absent is all zeros",
        "presence": group.presence,
        "features": features,
    }


def _action(space: ActionSpace, *, is_driving: bool) -> dict[str, Any]:
    if space.is_discrete and not space.category_values:
        return {"kind": "category", "count": space.num_categories, "meaning": "index of the most likely category"}
    size = space.size or len(space.category_values[0])
    document: dict[str, Any] = {"kind": "continuous", "size": size, "range": [-1.0, 1.0]}
    if space.is_discrete:
        document["categories"] = [list(values) for values in space.category_values]
        document["meaning"] = "mean of the categories' values under the policy's probabilities"
    if is_driving:
        document["dimensions"] = list(_DRIVING_ACTION)
    else:
        bounds = zip(space.low, space.high, strict=True)
        meaning = "value of the environment = low + (value + 1) / 2 * (high - low)"
        document["dimensions"] = [{"low": low, "high": high, "meaning": meaning} for low, high in bounds]
    return document
