"""Whether an installation of ML-Agents works: every suspicion is a small program in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 180.0

_ONNX = """
import tempfile, pathlib, numpy, onnx, torch
import mlagents.trainers.torch_entities.model_serialization
from onnx.reference import ReferenceEvaluator
network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh())
given = torch.linspace(-1, 1, 6).reshape(2, 3)
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'tiny.onnx'
    torch.onnx.export(network, (given,), str(path), opset_version=9, input_names=['obs_0'], output_names=['action'],
                      dynamic_axes={'obs_0': {0: 'batch'}})
    model = onnx.load(path)
assert model.opset_import[0].version == 9, model.opset_import[0].version
found = ReferenceEvaluator(model).run(None, {'obs_0': given.numpy()})[0]
error = float(numpy.abs(found - network(given).detach().numpy()).max())
assert error < 1e-6, error
print(f'opset 9, largest difference {error:.0e}')
"""
_MESSAGES = """
from mlagents_envs.communicator_objects.unity_message_pb2 import UnityMessageProto
from google.protobuf import __version__
from google.protobuf.internal import api_implementation
message = UnityMessageProto()
message.header.status = 200
assert UnityMessageProto.FromString(message.SerializeToString()).header.status == 200
print(f'protobuf {__version__}, {api_implementation.Type()}')
"""
_TENSORBOARD = """
import pathlib, tempfile, tensorboard
from torch.utils.tensorboard import SummaryWriter
with tempfile.TemporaryDirectory() as folder:
    writer = SummaryWriter(folder)
    writer.add_scalar('reward', 1.0, 1)
    writer.close()
    assert list(pathlib.Path(folder).glob('events.out.tfevents.*'))
print(tensorboard.__version__)
"""
_MLFLOW = "import mlflow; from mlflow.tracking import MlflowClient; print(mlflow.__version__)"
_PLUGIN = """
from importlib.metadata import entry_points
names = [point.name for point in entry_points(group='mlagents.stats_writer')]
assert 'drivetrain' in names, 'drivetrain is not among ' + ', '.join(names) + '; run: pip install --editable .'
print(', '.join(names))
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """The outcome of one check."""

    name: str
    """What was looked at."""
    works: bool
    """Whether it does."""
    message: str
    """What it said: a version, or the last line of what went wrong."""


def run_checks() -> Iterator[Check]:
    """Yield the outcome of every check, about ten seconds in all."""
    learn = Path(sys.executable).with_name("mlagents-learn")
    programs = (
        ("messages", [sys.executable, "-c", _MESSAGES]),
        ("onnx export", [sys.executable, "-c", _ONNX]),
        ("tensorboard", [sys.executable, "-c", _TENSORBOARD]),
        ("mlflow", [sys.executable, "-c", _MLFLOW]),
        ("run files plugin", [sys.executable, "-c", _PLUGIN]),
        ("mlagents-learn", [str(learn), "--help"]),
    )
    for name, command in programs:
        yield _outcome(name, command)


def _outcome(name: str, command: list[str]) -> Check:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            env=environment,
            check=False,
        )
    except FileNotFoundError:
        return Check(name=name, works=False, message=f"{command[0]} is missing")
    except subprocess.TimeoutExpired:
        return Check(name=name, works=False, message=f"no answer within {TIMEOUT_S:.0f} s")
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        return Check(name=name, works=False, message=lines[-1] if lines else f"exit code {done.returncode}")
    said = done.stdout.strip().splitlines()
    return Check(name=name, works=True, message=said[0] if said else "")
