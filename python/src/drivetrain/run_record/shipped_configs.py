"""The configs that an installed package carries, for folders that have none.

In a checkout ``python/configs`` lies beside the sources. A wheel carries a copy, so that the commands of the
documentation work as printed in an empty folder: the first one that names or looks for a config of the project writes
the copy to ``python/configs`` there, to be read and changed like any file of the user's.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import drivetrain
from drivetrain.errors import RunError
from drivetrain.run_record.paths import project_root

CONFIGS = Path("python/configs")
"""Relative to the project's root."""
_LOOKING = {"ask", "mcp"}
"""Commands that list the configs of the project."""


def provide_configs(words: Sequence[str]) -> None:
    """Write the package's configs into a project without any, if a command line will want them.

    Args:
        words: Of the command line, without the program's name.

    Raises:
        RunError: They cannot be written.
    """
    shipped = Path(drivetrain.__file__).with_name("configs")
    if not shipped.is_dir() or not (any(map(_names_config, words)) or _LOOKING.intersection(words[:1])):
        return
    folder = project_root() / CONFIGS
    if folder.exists():
        return
    try:
        _copy(shipped, folder)
    except OSError as error:
        raise RunError(f"{folder}: the configs of the package cannot be written there ({error.strerror})") from error
    sys.stderr.write(f"{CONFIGS}/ was not here: written with the configs of drivetrain {drivetrain.__version__}\n")


def _names_config(word: str) -> bool:
    value = word.partition("=")[2] if word.startswith("--") else word
    return value.removeprefix("./").startswith(f"{CONFIGS}/")


def _copy(shipped: Path, folder: Path) -> None:
    """Copy so that the folder is there whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".configs-{os.getpid()}")
    try:
        shutil.copytree(shipped, draft)
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another command was quicker
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
