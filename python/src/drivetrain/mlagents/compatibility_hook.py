"""Lets ML-Agents 1.1.0 run with today's protobuf, NumPy and torch; loaded at every start of the interpreter.

`drivetrain mlagents install` copies this file into site-packages beside a `.pth` line that imports it, so it stands on
its own: it uses nothing of drivetrain, and until a module of ML-Agents is imported it costs one object in
`sys.meta_path`. Four repairs, each made when the module that needs it is loaded:

- `mlagents_envs.communicator_objects.*_pb2`: protobuf 4 and later refuse to build these generated classes. The file is
  parsed, not run; the serialized description in it goes to protobuf's own builder.
- `mlagents.trainers.buffer` names `numpy.float`, which NumPy no longer has.
- `mlagents.trainers.torch_entities.model_serialization` means torch's TorchScript exporter; since torch 2.9 the default
  is another one, which needs a further package and writes models that Unity does not read.
- `mlagents.trainers.training_status` cannot write NumPy's numbers as JSON.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = "1.1.0"
"""Of ML-Agents; beside another version this does nothing but say so."""
_MESSAGES = "mlagents_envs.communicator_objects"


def _say(text: str) -> None:
    sys.stderr.write(f"drivetrain: ML-Agents compatibility: {text}\n")


class Finder:
    """Finds the modules that need a repair, and nothing else."""

    def __init__(self) -> None:
        self._active: bool | None = None
        self._before = {"mlagents.trainers.buffer": _give_numpy_float}
        self._after = {
            "mlagents.trainers.torch_entities.model_serialization": _default_to_torchscript,
            "mlagents.trainers.training_status": _write_numpy_numbers,
        }

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return how to load a module that needs a repair, else None: somebody else's."""
        if not name.startswith("mlagents"):
            return None
        message = name.startswith(_MESSAGES + ".") and name.endswith("_pb2")
        if not (message or name in self._before or name in self._after) or not self._is_active():
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return None
        if not message:
            loader: Any = _Repaired(spec.loader, self._before.get(name), self._after.get(name))
        elif _protobuf_refuses():
            loader = _Messages(spec.origin or "")
        else:
            return None
        spec.loader = loader
        return spec

    def _is_active(self) -> bool:
        if self._active is None:
            from importlib.metadata import PackageNotFoundError, version

            found = {}
            for package in ("mlagents-envs", "mlagents"):
                try:
                    found[package] = version(package)
                except PackageNotFoundError:
                    continue
            other = [f"{package} {number}" for package, number in found.items() if number != VERSION]
            self._active = bool(found) and not other
            if other:
                _say(f"made for {VERSION}, found {', '.join(other)}: nothing is changed")
        return self._active


class _Repaired:
    """A loader with something to do before or after a module runs."""

    def __init__(self, loader: Any, before: Any, after: Any) -> None:
        self._loader, self._first, self._last = loader, before, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        """Return what the loader makes."""
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """Run the module with its repair."""
        if self._first:
            self._first()
        self._loader.exec_module(module)
        if self._last:
            self._last(module)


class _Messages:
    """Builds the classes of a generated protobuf file from the description in it; its code never runs."""

    def __init__(self, path: str) -> None:
        self._path = path

    def create_module(self, spec: Any) -> None:
        """Leave it to Python."""

    def exec_module(self, module: Any) -> None:
        """Fill the module."""
        import ast
        from importlib import import_module

        with open(self._path, encoding="utf-8") as file:
            tree = ast.parse(file.read(), self._path)
        for node in tree.body:
            # The files it builds on must be known first.
            if isinstance(node, ast.ImportFrom) and node.module == _MESSAGES:
                for alias in node.names:
                    import_module(f"{_MESSAGES}.{alias.name}")
        description = _description(tree)
        if description is None:
            raise ImportError(f"{self._path}: no serialized description found; reinstall mlagents-envs {VERSION}")
        from google.protobuf import descriptor_pool
        from google.protobuf.internal import builder

        descriptor = descriptor_pool.Default().AddSerializedFile(description)
        module.DESCRIPTOR = descriptor
        builder.BuildMessageAndEnumDescriptors(descriptor, vars(module))
        builder.BuildTopDescriptorsAndMessages(descriptor, module.__name__, vars(module))


def _description(tree: Any) -> bytes | None:
    import ast

    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "serialized_pb":
            value = node.value
            if isinstance(value, ast.Call) and value.args:  # text, turned into bytes when the file runs
                value = value.args[0]
            if isinstance(value, ast.Constant) and isinstance(value.value, str | bytes):
                return value.value.encode("latin-1") if isinstance(value.value, str) else value.value
    return None


def _protobuf_refuses() -> bool:
    from google.protobuf import __version__

    return int(__version__.split(".")[0]) >= 4


def _give_numpy_float() -> None:
    import numpy as np

    np.__dict__.setdefault("float", float)


def _default_to_torchscript(_module: Any) -> None:
    import functools
    import inspect

    import torch.onnx

    export = torch.onnx.export
    if "dynamo" not in inspect.signature(export).parameters:
        return

    @functools.wraps(export)
    def torchscript_unless_asked(*arguments: Any, **named: Any) -> Any:
        import warnings

        named.setdefault("dynamo", False)
        with warnings.catch_warnings():
            # That there is a newer exporter is no news at every checkpoint.
            warnings.simplefilter("ignore", DeprecationWarning)
            return export(*arguments, **named)

    torch.onnx.export = torchscript_unless_asked


def _write_numpy_numbers(module: Any) -> None:
    import functools
    import types

    real = module.json
    own = types.ModuleType("json")
    vars(own).update(vars(real))
    vars(own)["dump"] = functools.partial(real.dump, default=float)
    module.json = own


if not any(type(finder).__qualname__ == "Finder" and type(finder).__module__ == __name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, Finder())
