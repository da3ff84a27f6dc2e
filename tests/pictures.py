"""Read pictures: parse the SVG, and check what holds for every picture."""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree as ET

NAMESPACE: Final = "{http://www.w3.org/2000/svg}"
FRAME: Final = {"svg", "title", "desc"}
DRAWN: Final = {"rect", "line", "text"}
HOSTILE: Final = '<script>alert(1)</script>"&\x1b[2J\r\n\u202egnp\u2066\ud800\0' + "x" * 500
"""A name that must not become an element, a line, or a control character of a page."""


def read_svg(text: str) -> ET.Element:
    """Return the picture, which has no script, style, id, link or external resource, and fits a phone."""
    root = ET.fromstring(text.encode())
    assert root.tag == f"{NAMESPACE}svg"
    assert root.get("role") == "img"
    _, _, width, height = map(float, str(root.get("viewBox")).split())
    assert width <= 480
    assert "max-width:100%" in str(root.get("style"))
    assert [one.tag.removeprefix(NAMESPACE) for one in root[:2]] == ["title", "desc"]
    assert all(one.text for one in root[:2])
    for one in root[2:]:
        assert one.tag.removeprefix(NAMESPACE) in DRAWN
        assert not {"id", "class", "href", "onload", "onclick"} & one.attrib.keys()
        assert "url(" not in str(one.attrib)
        x, y = (float(one.get(name, one.get(f"{name}1", "0"))) for name in "xy")
        assert -0.5 <= x <= width
        assert -0.5 <= y <= height
    assert all("".join(one.itertext()).isprintable() for one in root.iter())
    return root


def texts(root: ET.Element) -> list[ET.Element]:
    """Return the elements with text, in their order."""
    return [one for one in root if one.tag == f"{NAMESPACE}text"]


def place(one: ET.Element) -> tuple[float, float]:
    """Return where a text stands."""
    return float(str(one.get("x"))), float(str(one.get("y")))


def check_text(text: str) -> None:
    """Check that a text for readers is printable and at most 110 columns wide."""
    for line in text.splitlines():
        assert line.isprintable()
        assert len(line) <= 110, line
