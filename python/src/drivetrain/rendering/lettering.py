"""Writing that changes from frame to frame, drawn straight into pixels: a figure would lay it out anew each time."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from drivetrain.rendering import style

STATUS_SIZE = 8.5
"""Of the line above a panel [pt]."""
BADGE_SIZE = 9.5
"""Of what happened [pt]."""
DIGIT_SPACE = "\N{FIGURE SPACE}"
"""As wide as a digit, so that numbers do not jump from frame to frame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lettering:
    """Writes for one panel of a picture."""

    image: Image.Image
    """The whole picture; it is written into."""
    corner: tuple[float, float]
    """Upper left corner of the panel [pixel]."""
    width: float
    """Of the panel [pixel]."""
    dpi: int
    """Pixels per inch."""

    def status(self, text: str) -> None:
        """Write the line above the panel."""
        spaced = text.replace("  ", 2 * DIGIT_SPACE)
        place = (self.corner[0], self.corner[1] - self._pixels(5.0))
        ImageDraw.Draw(self.image).text(
            place, spaced, fill=style.FAINT_INK, font=_font("DejaVuSans", self._pixels(STATUS_SIZE)), anchor="ls"
        )

    def badge(self, text: str, *, failed: bool) -> None:
        """Write into the panel what happened."""
        font = _font("DejaVuSans-Bold", self._pixels(BADGE_SIZE))
        middle = (self.corner[0] + self.width / 2, self.corner[1] + self._pixels(17.0))
        draw = ImageDraw.Draw(self.image)
        left, top, right, bottom = draw.textbbox(middle, text, font=font, anchor="mm")
        pad = self._pixels(4.0)
        fill = style.EVENT if failed else "#FFFFFF"
        line = max(round(self._pixels(0.8)), 1)
        draw.rectangle(
            (left - pad, top - pad, right + pad, bottom + pad), fill=fill, outline=style.ROAD_EDGE, width=line
        )
        draw.text(middle, text, fill="#FFFFFF" if failed else style.INK, font=font, anchor="mm")

    def _pixels(self, points: float) -> float:
        return points * self.dpi / 72.0


@functools.lru_cache(maxsize=16)
def _font(name: str, size: float) -> ImageFont.FreeTypeFont:
    """Return one of matplotlib's own fonts, the one that the rest of the picture is written in."""
    place = Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(str(place), size, layout_engine=ImageFont.Layout.BASIC)
