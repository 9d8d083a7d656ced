"""An index page beside many pictures, so that a browser shows them all."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from drivetrain.rendering import style
from drivetrain.rendering.many import Drawn
from drivetrain.run_record import write_bytes_atomic

NAME = "index.html"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 14px/1.4 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }}
body {{ margin: 16px; }} h1 {{ font-size: 18px; }}
main {{ display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(min(100%, {width}px), 1fr)); }}
a {{ display: block; color: inherit; text-decoration: none; }}
a {{ border: 1px solid #8886; border-radius: 8px; padding: 10px; }}
a:hover, a:focus-visible {{ border-color: currentColor; }}
img, video {{ max-width: 100%; max-height: 460px; display: block; margin: 0 auto 6px; }}
img, video {{ background: #fff; border-radius: 4px; }}
p {{ margin: 4px 0; }} .bad {{ color: {event}; font-weight: 600; }}
</style></head><body><h1>{title}</h1><main>
{entries}
</main></body></html>
"""


def save_gallery(folder: Path, drawn: Sequence[Drawn], *, drivers: Sequence[str], title: str) -> Path:
    """Write the index of a folder of pictures and return its path.

    Args:
        folder: Where the pictures lie.
        drawn: The pictures.
        drivers: Who drove, as the scores of a picture are ordered.
        title: The page's heading.
    """
    made = [entry for entry in drawn if not entry.problem]
    page = _PAGE.format(
        title=html.escape(title),
        width=420,
        event=style.EVENT,
        entries="\n".join(_entry(entry, drivers) for entry in made),
    )
    path = folder / NAME
    write_bytes_atomic(path, page.encode())
    return path


def _entry(entry: Drawn, drivers: Sequence[str]) -> str:
    path = entry.picture.path
    shown = path.with_suffix(".png") if path.suffix == ".html" else path
    file, image = (html.escape(place.name, quote=True) for place in (path, shown))
    if path.suffix == ".mp4":
        picture = f'<video src="{image}" controls muted preload="metadata"></video>'
    else:
        picture = f'<img src="{image}" alt="" loading="lazy">'
    lines = [f"<p><b>{html.escape(entry.scenario_type.replace('_', ' '))}</b> {entry.scenario_id}</p>"]
    for driver, score, outcome in zip(drivers, entry.scores, entry.outcomes, strict=True):
        value = "?" if score is None else f"{100 * score:.0f}"
        kind = ' class="bad"' if outcome in style.FAILURES else ""
        lines.append(f"<p{kind}>{html.escape(driver)}: {value}, {style.EVENT_NAMES[outcome].lower()}</p>")
    return f'<a href="{file}">{picture}{"".join(lines)}</a>'
