"""Compiled kernels with an on-disk cache that notices every edit.

Numba's own cache looks at the file a function stands in. It misses a change in a *callee* or a constant that lives
in another file and would then run, and test, stale machine code. Here the cache folder of a kernel is named by a
hash of its file and of every ``drivetrain`` module that this file imports, directly or not: any edit anywhere below
a kernel leads to a new folder.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

PACKAGE = __name__.split(".", maxsplit=1)[0]

# Reassociation and contraction make loops vectorise. 'No NaN' and 'no infinity' are left out on purpose: with
# them the compiler may remove the very comparison that would have shown a NaN.
FAST_MATH = {"reassoc", "contract", "nsz", "arcp"}


def cache_root() -> Path:
    """Return the folder below which compiled kernels are kept (``DRIVETRAIN_CACHE_DIR`` overrides it)."""
    configured = os.environ.get("DRIVETRAIN_CACHE_DIR")
    if configured:
        return Path(configured) / "kernels"
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return home / PACKAGE / "kernels"


def imported_modules(path: Path) -> set[str]:
    """Return the names of the ``drivetrain`` modules that a source file imports at its top level."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE)
    return names


def _module_file(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        return None  # ``name`` was a function or class of a module, not a module
    return Path(spec.origin) if spec is not None and spec.origin else None


@functools.cache
def source_hash(path: str) -> str:
    """Return a hash over a source file and everything of this package it imports, directly or not."""
    seen: dict[Path, bytes] = {}
    waiting = [Path(path)]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen[file] = file.read_bytes()
        waiting.extend(found for name in imported_modules(file) if (found := _module_file(name)) is not None)
    digest = hashlib.sha256(numba.__version__.encode())
    for file in sorted(seen):
        digest.update(file.name.encode() + b"\0" + seen[file] + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def _writable_folder(path: str) -> str | None:
    """Return the kernel cache folder of a source file, or None where nothing can be written."""
    key = source_hash(path)
    for root in (cache_root(), Path(tempfile.gettempdir()) / f"{PACKAGE}-kernels-{os.getuid()}"):
        folder = root / key
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return str(folder)
        except OSError:
            continue
    return None


def jit(
    function: Callable[..., Any] | None = None, *, fast: bool = False, inline: bool = False, allocates: bool = True
) -> Any:
    """Compile a kernel without the GIL and cache it under the hash of all its sources.

    Args:
        function: The kernel (when used as a bare decorator).
        fast: Allow reassociation and contraction of floating-point operations (results still do not depend on
            threads or batch, only on the build).
        inline: Ask LLVM to inline the function into its callers (for tiny helpers on hot paths).
        allocates: Whether it makes arrays. Without, nothing counts references to arrays: each view of one would
            otherwise cost two atomic operations. Its callees must not allocate either.
    """
    if function is None:
        return functools.partial(jit, fast=fast, inline=inline, allocates=allocates)
    path = function.__code__.co_filename
    folder = _writable_folder(path) if Path(path).is_file() else None
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": FAST_MATH if fast else False}
    if inline:
        options["forceinline"] = True
    if not allocates:
        options["_nrt"] = False
    if numba.config.DISABLE_JIT or folder is None:  # type: ignore[attr-defined]
        return numba.njit(**options)(function)
    previous = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    numba.config.CACHE_DIR = folder  # type: ignore[attr-defined]
    try:
        return numba.njit(cache=True, **options)(function)
    finally:
        numba.config.CACHE_DIR = previous  # type: ignore[attr-defined]


kernel = functools.partial(jit, allocates=False)
"""The decorator of everything that runs once per agent and step."""
