"""Draw pictures as SVG: shapes and texts without scripts, style sheets, ids or external resources.

Several pictures may stand in one page, so nothing here has a name that another picture could have. Texts and
lines have the colour of the page, in light and in dark. Every fill has a letter or a pattern of its own, so
that a reader need not tell colours apart.

Source: the colours are those of Okabe and Ito, "Color Universal Design".
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator
from html import escape
from typing import Final

from pyade.text import printable

BLUE: Final = "#0072B2"
SKY: Final = "#56B4E9"
GREEN: Final = "#009E73"
YELLOW: Final = "#F0E442"
ORANGE: Final = "#E69F00"
VERMILION: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
GREY: Final = "#8C8C8C"
PAGE: Final = "currentColor"
"""The colour of the text around the picture."""

ON_FILL: Final = {BLUE: "#fff", SKY: "#000", GREEN: "#000", YELLOW: "#000", ORANGE: "#000", GREY: "#000"}
"""The colour of a text on a fill; black on those that are not listed."""

_EM: Final = 0.56
"""The mean width of a letter in a sans-serif font, as a part of its size; 1 for wide ones."""


def width_of(text: str, size: float) -> float:
    """Return about how wide *text* is, in the units of the picture."""
    wide = sum(unicodedata.east_asian_width(one) in "WF" for one in text)
    return (wide + (len(text) - wide) * _EM) * size


def fit(text: str, width: float, size: float) -> str:
    """Return *text*, escaped for readers, cut with an ellipsis if it is wider than *width*."""
    shown = printable(text[:1_000])
    if width_of(shown, size) <= width:
        return shown
    while shown and width_of(shown, size) > width - size:
        shown = shown[: -max(1, len(shown) // 16)]
    return f"{shown.rstrip()}…"


class Drawing:
    """A picture in the making, from top left to bottom right.

    Args:
        width: Its width in its own units; about that of a phone, so that texts stay readable there.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._parts: list[str] = []

    def rect(
        self, x: float, y: float, width: float, height: float, *, fill: str = "none", more: str = ""
    ) -> None:
        """Add a rectangle; *more* are further attributes, never from outside."""
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}"{_more(more)}/>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, *, stroke: str = PAGE, more: str = "") -> None:
        """Add a line."""
        self._parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{stroke}"{_more(more)}/>'
        )

    def text(
        self, x: float, y: float, text: str, *, size: float = 11, fill: str = PAGE, more: str = ""
    ) -> None:
        """Add a text, which is escaped; *y* is its base line."""
        shown = escape(printable(text))
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{fill}"{_more(more)}>{shown}</text>'
        )

    def paragraph(self, y: float, text: str, *, x: float = 6, size: float = 11.5, indent: float = 0) -> float:
        """Add a text that is wrapped at the right edge; return the base line of the next one.

        Args:
            y: The base line of its first line.
            text: The text.
            x: The left edge of its first line.
            size: The size of its letters.
            indent: How much further right the other lines begin.
        """
        em = max(_EM, width_of(text, 1) / max(len(text), 1)) * 0.94  # a little less than the mean fits
        room = int((self.width - x - indent - 6) / (size * em))
        for number, line in enumerate(wrap(text, room)):
            self.text(x + (indent if number else 0), y, line, size=size)
            y += size + 3.5
        return y

    def svg(self, height: float, *, title: str, description: str) -> str:
        """Return the picture.

        Args:
            height: Its height, in its own units.
            title: What it shows; screen readers read it out.
            description: What can be read from it, in a sentence or two.
        """
        shown, about = escape(printable(title)), escape(printable(description))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{shown}" '
            f'viewBox="0 0 {self.width} {height:g}" width="{self.width}" font-family="system-ui, sans-serif" '
            f'style="max-width:100%;height:auto"><title>{shown}</title><desc>{about}</desc>'
            f"{''.join(self._parts)}</svg>"
        )


def _more(more: str) -> str:
    return f" {more}" if more else ""


def wrap(text: str, width: int) -> list[str]:
    """Return the lines of *text*, escaped for readers, each at most *width* letters long."""
    return textwrap.wrap(printable(text[:2_000]), max(width, 8), break_on_hyphens=False)


def spread(start: float, width: float, count: int) -> Iterator[float]:
    """Yield the left edge of each of *count* columns in *width*."""
    return (start + index * width / count for index in range(count))
