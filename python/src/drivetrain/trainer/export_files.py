"""Policies as files of other programs: written, and run again to see that they do the same.

ONNX: a graph for onnxruntime and the like. TorchScript: for libtorch. safetensors: the weights alone, by name.
"""

from __future__ import annotations

import importlib
import io
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from drivetrain.errors import DrivetrainError, UsageError
from drivetrain.models.export_form import ExportedPolicy
from drivetrain.trainer.checkpoint import Checkpoint, build_policy
from drivetrain.trainer.export_document import METADATA_KEY

OPSET = 17
"""Of ONNX; what onnxruntime 1.12 (2022) and newer run."""

Run = Callable[[Sequence[NDArray]], Sequence[NDArray]]
"""Arrays of the inputs in order -> arrays of the outputs in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """A kind of file."""

    suffix: str
    packages: tuple[str, ...]
    """What must be installed, by the name of the module; all of them come with the extra ``export``."""


FORMATS = {
    "onnx": Format(suffix=".onnx", packages=("onnx", "onnxruntime")),
    "torchscript": Format(suffix=".torchscript", packages=()),
    "safetensors": Format(suffix=".safetensors", packages=("safetensors",)),
}


def check_installed(name: str) -> None:
    """Make sure that what a format needs is there.

    Raises:
        UsageError: It is not.
    """
    for package in FORMATS[name].packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UsageError(
                f"export: --format {name} needs the package {package}; install it with pip install 'drivetrain[export]'"
            ) from error


def content_of(name: str, form: ExportedPolicy, arrays: Sequence[Tensor], document: Mapping[str, Any]) -> bytes:
    """Return a policy's file.

    Args:
        name: A key of :data:`FORMATS`.
        form: The policy.
        arrays: An example of its inputs, with a batch of at least 2.
        document: What the file says of itself.
    """
    if name == "onnx":
        inputs = [group.name for group in form.schema.groups]
        return onnx_content(form, arrays, inputs=inputs, outputs=form.output_names, document=document)
    if name == "torchscript":
        return _torchscript_content(form, arrays, document)
    from safetensors.torch import save

    weights = {key: value.clone().contiguous() for key, value in form.policy.state_dict().items()}
    return save(weights, metadata={METADATA_KEY: json.dumps(document)})


def onnx_content(
    module: nn.Module,
    arrays: Sequence[Tensor],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    document: Mapping[str, Any],
    constants: Sequence[str] = (),
    opset: int = OPSET,
) -> bytes:
    """Return an ONNX file of any module: other names and outputs are another module around the same policy.

    Args:
        module: Called with the arrays; standard operations only.
        arrays: An example of them, with a batch of at least 2.
        inputs: Their names.
        outputs: Names of what the module returns; the first dimension of all is the batch, whose size is free.
        document: Goes into the metadata.
        constants: Outputs that have no batch.
        opset: Of ONNX.
    """
    import onnx

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that torch prefers needs one more package and opset 18, which Unity does not read.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(arrays),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs) if name not in constants},
            opset_version=opset,
        )
    model = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(document)})
    model.producer_name, model.producer_version = "drivetrain", str(document.get("drivetrain", ""))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _torchscript_content(form: ExportedPolicy, arrays: Sequence[Tensor], document: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates what was asked for
        traced = torch.jit.trace(form.eval(), tuple(arrays), check_trace=False)
        torch.jit.save(traced, buffer, _extra_files={METADATA_KEY: json.dumps(document)})
    return buffer.getvalue()


def runner_of(name: str, content: bytes, checkpoint: Checkpoint) -> Run:
    """Return what runs a file on one thread, as whoever receives it would.

    Raises:
        DrivetrainError: The file does not run.
    """
    try:
        if name == "onnx":
            return _onnx_runner(content)
        if name == "torchscript":
            return _torchscript_runner(content)
        return _weights_runner(content, checkpoint)
    except Exception as error:  # onnxruntime has errors of its own kind, and each kind only where it is installed
        reason = " ".join(str(error).split())[:160]
        raise DrivetrainError(f"export: the {name} file does not run ({reason}); no file was left") from error


def _onnx_runner(content: bytes) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))  # type: ignore[return-value]


def _torchscript_runner(content: bytes) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.load(io.BytesIO(content))
    return _torch_runner(module)


def _weights_runner(content: bytes, checkpoint: Checkpoint) -> Run:
    from safetensors.torch import load

    policy = build_policy(replace(checkpoint, policy=load(content)), Path("policy.safetensors"))
    return _torch_runner(ExportedPolicy(policy))


def _torch_runner(module: Any) -> Run:
    def run(arrays: Sequence[NDArray]) -> Sequence[NDArray]:
        with torch.no_grad():
            outputs = module(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))
        return [output.numpy() for output in outputs]

    return run
