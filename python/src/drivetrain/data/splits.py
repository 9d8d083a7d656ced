"""Which logs are for training, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

_FOLDERS = {"train": "train", "training": "train", "val": "val", "validation": "val", "test": "test", "testing": "test"}


def split_folder(file: Path, *, levels: int) -> str:
    """Return the name of the nearest of ``levels`` folders above a file that decides its split, else of its own."""
    names = [folder.name for folder in list(file.absolute().parents)[:levels]]
    return next((name for name in names if name in _FOLDERS), names[0])


def assign_splits(names: Sequence[str], folders: Sequence[str]) -> dict[str, str]:
    """Return the split of every log.

    A folder called ``train``, ``val`` or ``test`` (or ``training``, ``validation``, ``testing``) decides. The other
    logs are ordered by a hash of their name: a tenth (at least one of two) is for validation, a tenth (at least one of
    three) for the test, the rest for training; none for a split that has a folder of its own.
    """
    splits = {name: _FOLDERS[folder] for name, folder in zip(names, folders, strict=True) if folder in _FOLDERS}
    rest = sorted((n for n in names if n not in splits), key=lambda n: hashlib.sha256(n.encode()).digest())
    count = len(rest)
    given = set(splits.values())
    val = 0 if "val" in given else max(count // 10, 1 if count >= 2 else 0)
    test = 0 if "test" in given else max(count // 10, 1 if count >= 3 else 0)
    for i, name in enumerate(rest):
        splits[name] = "val" if i < val else "test" if i < val + test else "train"
    return splits
