"""Rows of the table: what was measured beside which yardstick, and how far pyade may be from it.

1. Both sides of a row are measured in one run, in turns, so that a machine that is busy slows down both.
2. The median counts: of three runs, of more where one takes milliseconds.
3. Nothing is judged. A row that is over its figure is marked, and its note says what the rest is.
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
_TITLES = ("what", "yardstick", "yardstick", "pyade", "figure", "reach")


@attrs.frozen(kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        what: What pyade did.
        yardstick: What the least that can do it did.
        bare: What that took: seconds, or MiB; no number where it was not measured.
        pyade: What pyade took.
        reach: How many times the yardstick pyade may take, or how much more; None where nothing was set.
        unit: Seconds are shown with their quotient, MiB with their difference.
        note: Why the row is over its figure, or that what is left is the yardstick's own.
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
        """How many times the yardstick pyade took, or for memory how much more."""
        return self.pyade / self.bare if self.unit == "s" else self.pyade - self.bare

    @property
    def is_over(self) -> bool:
        """True if pyade took more than it may."""
        return self.reach is not None and self.figure > self.reach

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
    """Return a time in the unit in which it can be read."""
    for factor, name in ((1, "s"), (1e3, "ms")):
        if value * factor >= 0.995:
            return f"{value * factor:.2f} {name}"
    return f"{value * 1e6:.1f} us"


def timed(work: Callable[[], object], *, times: int = 1) -> float:
    """Return the seconds that one of *times* calls of *work* took, without garbage of what came before."""
    gc.collect()
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def interleaved(
    bare: Callable[[], float], pyade: Callable[[], float], *, times: int = 3
) -> tuple[float, float]:
    """Return the medians of *bare* and *pyade*, each of which measures itself, called in turns."""
    both = [(bare(), pyade()) for _ in range(times)]
    return median(one for one, _ in both), median(one for _, one in both)


def _line(*cells: str) -> str:
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=False)]
    return f"| {' | '.join((*padded, *cells[len(padded) :]))} |"
