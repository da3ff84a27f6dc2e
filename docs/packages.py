"""The floors and packages of pyade: for the picture in ``architecture.md``, and for the test of imports."""

from __future__ import annotations

from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent.parent / "src" / "pyade"

FLOORS: Final = (
    ("loading", "text", "svg", "errors"),
    ("core", "core.macos", "core.profile", "core.fleet"),
    ("hooks", "flow"),
    ("builders", "builders.intune", "crypto", "apple.http", "apple", "business", "storage"),
    ("sync", "assignment", "enrollment", "operations"),
    ("testing", "cli"),
)
"""From the ground up; a package imports only those before it, on its own floor too."""

_WIDTH, _HEIGHT, _GAP, _LEFT = 112, 46, 8, 4


def files_of(package: str) -> list[Path]:
    """Return the files of a package, without those of packages that are drawn beside it."""
    place = PACKAGE.joinpath(*package.split("."))
    if not place.is_dir():
        return [place.with_suffix(".py")]
    inner = {PACKAGE.joinpath(*other.split(".")) for floor in FLOORS for other in floor}
    inner = {other for other in inner if place in other.parents}
    return [path for path in sorted(place.rglob("*.py")) if not inner & set(path.parents)]


def picture() -> str:
    """Return the floors as SVG, the highest first, with the size of each package."""
    wide = max(map(len, FLOORS)) * (_WIDTH + _GAP) + _LEFT
    high = len(FLOORS) * (_HEIGHT + _GAP) + _GAP
    boxes = []
    for row, floor in enumerate(reversed(FLOORS)):
        top = _GAP + row * (_HEIGHT + _GAP)
        for column, package in enumerate(floor):
            left, files = _LEFT + column * (_WIDTH + _GAP), files_of(package)
            lines = sum(len(path.read_text("utf-8").splitlines()) for path in files)
            boxes.append(
                f'<rect x="{left}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" rx="5"/>'
                f'<text x="{left + _WIDTH / 2}" y="{top + 20}">{package}</text>'
                f'<text x="{left + _WIDTH / 2}" y="{top + 36}" class="size">{_size(len(files), lines)}</text>'
            )
    style = (
        ".packages rect{fill:none;stroke:currentColor;opacity:.5}"
        ".packages text{fill:currentColor;font:13px sans-serif;text-anchor:middle}"
        ".packages .size{font-size:10px;opacity:.75}"
    )
    return (
        '<div class="wide">'
        '<svg class="packages" role="img" aria-label="The packages of pyade, floor by floor"'
        f' viewBox="0 0 {wide} {high}" style="width:{wide}px">'
        f"<style>{style}</style>{''.join(boxes)}</svg></div>"
    )


def _size(files: int, lines: int) -> str:
    return f"{lines:,} lines" if files == 1 else f"{files} files, {lines:,} lines"
