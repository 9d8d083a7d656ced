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
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

PACKAGE = __name__.split(".", maxsplit=1)[0]
_SOURCES = Path(__file__).parents[1]
_IMPORT = re.compile(r"^(?:from|import)\b[^(\n]*(?:\([^)]*\))?[^\n]*", re.MULTILINE)
"""A line that begins with an import, and the following ones as far as its brackets reach."""
_HIDDEN_IMPORT = re.compile(r"^(?:from|import)\b.*\\$|[;:\f\ufeff][^\S\n]*(?:from|import)\b", re.MULTILINE)
"""An import that goes on after a backslash, or one that may not begin its line."""

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


def imported_modules(source: str) -> set[str]:
    """Return the names of ``drivetrain`` modules, and of what is in them, that a source imports at its top level."""
    names: set[str] = set()
    for node in ast.parse(_import_statements(source)).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE)
    return names


def _import_statements(source: str) -> str:
    """Return a source without everything that is not an import of this package at its top level.

    To parse whole sources would take every process half a second. An import at the top level stands at the beginning
    of a line; where it could be otherwise, the whole source is returned. A line of a text that looks like such an
    import is taken for one: then a hash covers a file more, which does no harm.
    """
    if _HIDDEN_IMPORT.search(source):
        return source
    statements = [found for found in _IMPORT.findall(source) if PACKAGE in found]
    try:
        ast.parse("\n".join(statements))
    except SyntaxError:
        return source
    return "\n".join(statements)


def _module_file(name: str) -> Path | None:
    """Return the file of a module of this package; None where the name is a function or class of a module."""
    place = _SOURCES.joinpath(*name.split(".")[1:])
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


@functools.cache
def _read(file: Path) -> tuple[bytes, tuple[Path, ...]]:
    """Return the digest of a source file, and the files of this package that it imports."""
    content = file.read_bytes()
    names = imported_modules(content.decode())
    imported = tuple(found for name in sorted(names) if (found := _module_file(name)) is not None)
    return hashlib.sha256(content).digest(), imported


@functools.cache
def source_hash(path: str) -> str:
    """Return a hash over a source file and everything of this package it imports, directly or not.

    Files are read once per process: what a process runs does not change while it runs.
    """
    seen: dict[Path, bytes] = {}
    waiting = [Path(path)]
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen[file], imported = _read(file)
            waiting.extend(imported)
    digest = hashlib.sha256(numba.__version__.encode())
    for file in sorted(seen):
        digest.update(file.name.encode() + b"\0" + seen[file])
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
