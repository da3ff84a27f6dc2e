"""The rows of the table: the time of pyade, that of a minimal implementation (the yardstick), and a limit.

The rules of this file:

1. Both sides of a row are measured alternately in one run, so that a busy machine slows down both.
2. The median counts: of three runs, or of more if a run takes milliseconds.
3. Nothing fails. A row whose figure is above its limit is marked, and its note explains the difference.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from statistics import median
from typing import Literal

import attrs

_WIDTHS = (66, 72, 9, 9, 9, 7)
_TITLES = ("what", "yardstick", "yardstick", "pyade", "figure", "limit")


@attrs.frozen(kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        what: What pyade did.
        yardstick: What the minimal implementation did.
        bare: Its time in seconds, or its memory in MiB; NaN if it was not measured.
        pyade: The same for pyade.
        reach: The limit: how many times the time of the yardstick pyade may take, or how many MiB more; None
            for no limit.
        unit: The figure of seconds is a quotient, that of MiB a difference.
        note: Explains the difference, or why nothing was measured.
    """

    what: str
    yardstick: str
    bare: float = math.nan
    pyade: float = math.nan
    reach: float | None = None
    unit: Literal["s", "MiB"] = "s"
    note: str = ""

    @property
    def figure(self) -> float:
        """The time of pyade divided by that of the yardstick; for memory, how many MiB more."""
        return self.pyade / self.bare if self.unit == "s" else self.pyade - self.bare

    @property
    def is_over(self) -> bool:
        """True if the figure is above the limit."""
        return self.reach is not None and self.figure > self.reach  # rule 3

    def line(self) -> str:
        """Return the row as a line of the table."""
        if math.isnan(self.pyade):
            bare = pyade = figure = "-"
        elif self.unit == "s":
            bare, pyade, figure = seconds(self.bare), seconds(self.pyade), f"{self.figure:.2f} x"
        else:
            bare, pyade, figure = f"{self.bare:.0f} MiB", f"{self.pyade:.0f} MiB", f"{self.figure:+.1f} MiB"
        form = "{:g} x" if self.unit == "s" else "{:+g} MiB"
        reach = "" if self.reach is None else form.format(self.reach)
        return _line(self.what, self.yardstick, bare, pyade, figure, reach, self._remark)

    @property
    def _remark(self) -> str:
        return ": ".join(filter(None, ("OVER" if self.is_over else "", self.note)))


def head() -> str:
    """Return the first two lines of the table."""
    return f"{_line(*_TITLES, 'note')}\n|{'|'.join('-' * (width + 2) for width in (*_WIDTHS, 30))}|"


def seconds(value: float) -> str:
    """Return a time as text, in seconds, milliseconds or microseconds."""
    for factor, name in ((1, "s"), (1e3, "ms")):
        if value * factor >= 0.995:
            return f"{value * factor:.2f} {name}"
    return f"{value * 1e6:.1f} us"


def timed(work: Callable[[], object], *, times: int = 1) -> float:
    """Return the mean seconds of *times* calls of *work*; earlier garbage is collected first."""
    gc.collect()
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def interleaved(
    bare: Callable[[], float], pyade: Callable[[], float], *, times: int = 3
) -> tuple[float, float]:
    """Return the medians of *bare* and *pyade*, each of which returns its own time, called alternately."""
    both = [(bare(), pyade()) for _ in range(times)]  # rule 1
    return median(one for one, _ in both), median(one for _, one in both)  # rule 2


def _line(*cells: str) -> str:
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=False)]
    return f"| {' | '.join((*padded, *cells[len(padded) :]))} |"
