"""What the gate takes for harmless: paths inside the root, plain words, devices; and how a message repeats a value."""

from __future__ import annotations

import re
from pathlib import Path

from drivetrain.errors import UsageError, nearest
from drivetrain.runs.gate_keys import CLOSED_KEYS, OPEN_KEYS

MAX_PATH_LENGTH = 300
DEVICES = ("auto", "cpu", "cuda")
KNOWN_KEYS = OPEN_KEYS | CLOSED_KEYS.keys()
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
_FEATURE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}\.[A-Za-z][A-Za-z0-9_]{0,39}")
_FEATURE_KEYS = frozenset({"algorithm.discriminator.without", "algorithm.marginals.features"})
_ENVIRONMENT_ID = re.compile(r"(?:[A-Za-z0-9_-]{1,40}/)?[A-Za-z0-9_.-]{1,60}-v[0-9]{1,3}")


def allowed_device(device: str | None) -> str | None:
    """Return a device that may be asked for.

    Raises:
        UsageError: It is none of auto, cpu and cuda.
    """
    if device is not None and device not in DEVICES:
        raise UsageError(f"device '{shown(device)}': use {', '.join(DEVICES)}{nearest(device[:40], DEVICES)}")
    return device


def inside(path: str | Path, root: Path, *, what: str) -> Path:
    """Return a path with links followed, if it lies inside the root and in none of its hidden folders.

    Args:
        path: Absolute, or relative to the root.
        root: The project root.
        what: What the path is for; begins the message.

    Raises:
        UsageError: It lies elsewhere or is no path at all.
    """
    text = str(path)
    if not text or len(text) > MAX_PATH_LENGTH or not text.isprintable():
        raise UsageError(f"{what} '{shown(text)}': not a path; use at most {MAX_PATH_LENGTH} printable characters")
    base = root.resolve()
    try:
        resolved = (base / path).resolve()
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{what} '{shown(text)}': the path leads nowhere ({error}); give one inside {base}") from error
    if not resolved.is_relative_to(base):
        raise UsageError(f"{what} '{shown(text)}': lies outside the project; give a path inside {base}")
    for part in resolved.relative_to(base).parts:
        if part.startswith((".", "-")):
            raise UsageError(f"{what} '{shown(text)}': no part of the path may begin with '{part[0]}'")
    return resolved


def inside_experiments(path: str | Path, root: Path, *, what: str) -> Path:
    """Return a path inside ``experiments/``, the only folder that a run may write to.

    Raises:
        UsageError: It lies elsewhere.
    """
    resolved = inside(path, root, what=what)
    if not resolved.is_relative_to(root.resolve() / "experiments"):
        raise UsageError(f"{what} '{shown(path)}': runs write below experiments/ only")
    return resolved


def check_word(key: str, word: str) -> None:
    """Refuse text that is no plain word."""
    if key == "environment.id":
        if not _ENVIRONMENT_ID.fullmatch(word):
            raise UsageError(
                f"{key} '{shown(word)}': give a registered Gymnasium id such as CartPole-v1; "
                "an id with ':' would import a module"
            )
    elif key == "training.device":
        allowed_device(word)
    elif key in _FEATURE_KEYS:
        if not _FEATURE.fullmatch(word):
            raise UsageError(f"{key} '{shown(word)}': give a feature of the observation, such as ego.acceleration")
    elif not _WORD.fullmatch(word):
        raise UsageError(f"{key} '{shown(word)}': give a plain word of letters, digits, '_' and '-'")


def nearest_key(key: str, *, closed: bool = False) -> str:
    """Return a hint at the nearest key, or at how keys begin.

    Args:
        key: The key that is unknown.
        closed: Whether keys count that only a config file may hold.
    """
    known = KNOWN_KEYS if closed else OPEN_KEYS
    hint = nearest(key[:80], known)
    if hint:
        return hint
    blocks = sorted({name.partition(".")[0] for name in known})
    return f"; keys begin with {', '.join(blocks)}, for example training.total_steps"


def shown(value: object) -> str:
    """Return a value as a message may repeat it: short, and in one printable line."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(value)[:61])
    return text if len(text) <= 60 else f"{text[:57]}..."
