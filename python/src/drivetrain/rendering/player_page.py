"""The HTML player: one file with everything in it, for any browser, without a network."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from drivetrain.rendering import style
from drivetrain.rendering.player_data import player_document
from drivetrain.rendering.recording import DriveRecording
from drivetrain.run_record import write_bytes_atomic

SCRIPTS = ("scene.js", "paint.js", "timeline.js", "player.js")
"""Parts of the program, in order."""


def save_player(recordings: Sequence[DriveRecording], path: Path, *, traffic: str = "replay") -> None:
    """Write a page that plays the drives of one scenario, one panel each.

    Raises:
        RunError: The file cannot be written.
    """
    document = player_document(recordings, traffic=traffic)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(path, player_page(document).encode())


def player_page(document: Mapping[str, Any]) -> str:
    """Return the page for a document of ``player_document``."""
    scene = document["scene"]
    program = "\n".join([f"const themes = {_inline(style.THEMES)};", *(_asset(name) for name in SCRIPTS)])
    parts = {
        "title": html.escape(f"{scene['type']} {scene['id']}"),
        "style": _asset("page.css"),
        "scene": _inline(document),
        "script": f'(() => {{\n"use strict";\n{program}\n}})();',
    }
    # Cut at the marks and join: what is put in is never searched for further marks.
    page = _asset("page.html")
    for name, content in parts.items():
        before, mark, after = page.partition(f"{{{{{name}}}}}")
        assert mark, f"page.html has no {name}"
        parts[name] = before + content
        page = after
    return "".join(parts.values()) + page


def _asset(name: str) -> str:
    return files("drivetrain.rendering").joinpath("player", name).read_text("utf-8")


def _inline(value: Any) -> str:
    """Return JSON that may stand inside a script element: nothing in it can end the element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
