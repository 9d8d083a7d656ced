"""Where a Ray cluster answers, and the token that it wants to see."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from drivetrain.errors import RunError, UsageError

DEFAULT = "http://127.0.0.1:8265"
"""Where the head of a cluster on this machine answers."""
VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Variables of Ray that may name the cluster; the second may also hold an address that is not for jobs."""


def jobs_address(asked: str | None) -> str:
    """Return the address of the Jobs API: as given, else as Ray's variables say, else of this machine.

    Raises:
        UsageError: It is no such address.
    """
    if asked is not None:
        return _checked(asked, source="--address")
    for variable in VARIABLES:
        value = os.environ.get(variable, "")
        if value.startswith(("http://", "https://")):
            return _checked(value, source=variable)
    return DEFAULT


def token() -> str | None:
    """Return the cluster's token from where Ray itself looks for it; None where there is none.

    Raises:
        RunError: A file of a token is named that cannot be read.
    """
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        return None
    direct = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    if direct:
        return direct
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        if named:
            why = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
            raise RunError(
                f"RAY_AUTH_TOKEN_PATH={named}: cannot be read ({why}); name the file of the token"
            ) from error
        return None


def token_source() -> str:
    """Return where :func:`token` found the token, for a message."""
    if os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return "RAY_AUTH_TOKEN"
    return os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"


def _checked(text: str, *, source: str) -> str:
    example = f"such as {DEFAULT}"
    if text.startswith("ray://"):
        host = urlsplit(text).hostname or "HOST"
        raise UsageError(f"{source} {text}: an address of Ray Client; jobs go to http://{host}:8265")
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{source} {text}: no address ({error}); give one {example}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or any(c.isspace() for c in text):
        raise UsageError(f"{source} {text}: no address of a Ray cluster; give one {example}")
    if parts.username or parts.query or parts.fragment:
        raise UsageError(f"{source} {text}: only scheme, host, port and path are understood; give one {example}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is None and "://" not in text:
        port = 8265
    return f"{parts.scheme}://{host}{f':{port}' if port is not None else ''}{parts.path.rstrip('/')}"
