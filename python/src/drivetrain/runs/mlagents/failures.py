"""Why a `mlagents-learn` failed, in one line that names the player's part in it."""

from __future__ import annotations

import re
from pathlib import Path

from drivetrain.errors import one_line


def reason(error: BaseException, *, timeout_s: float, run_logs: Path) -> str:
    """Return what went wrong.

    Args:
        error: What ended the training.
        timeout_s: How long ML-Agents waits for a player [s].
        run_logs: Folder of the players' logs.
    """
    kind, text = type(error).__name__, str(error)
    ended = re.search(r"shut down with return code (-?\d+)", text)
    if ended:
        code = int(ended[1])
        how = f"was killed (signal {-code})" if code < 0 else f"ended with exit code {code}"
        return f"the player {how}{_last_words(run_logs)}"
    if kind == "UnityTimeOutException":
        return f"the player did not answer within {timeout_s:g} s (env_settings.timeout_wait){_last_words(run_logs)}"
    return one_line(error)


def _last_words(run_logs: Path) -> str:
    """Return the last line of the newest log of a player."""
    try:
        logs = sorted(run_logs.glob("Player-*.log"), key=lambda path: path.stat().st_mtime)
        lines = logs[-1].read_text(encoding="utf-8", errors="replace").strip().splitlines() if logs else []
    except OSError:
        return ""
    return f"; its last line in {logs[-1].name}: {lines[-1].strip()}" if lines else "; it left no log"
