"""Shapes and texts of pictures: escaped, inside their width, readable on their fill."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.pictures import HOSTILE, read_svg, texts

from pyade import svg


@given(st.text() | st.text(alphabet=HOSTILE), st.floats(20, 400), st.sampled_from([9.0, 12.0]))
def test_a_text_is_cut_to_its_width_and_escaped(text: str, width: float, size: float) -> None:
    shown = svg.fit(text, width, size)
    assert shown.isprintable()
    assert svg.width_of(shown.removesuffix("…"), size) <= width
    drawing = svg.Drawing(460)
    drawing.text(0, 10, text)
    assert drawing.paragraph(20, text) >= 20
    root = read_svg(drawing.svg(40_000, title=f"t{text}", description=f"d{text}"))
    assert all("\x1b" not in str(one.text) for one in texts(root))


def test_a_paragraph_is_wrapped_at_the_right_edge() -> None:
    drawing = svg.Drawing(200)
    end = drawing.paragraph(20, "word " * 40, indent=8)
    lines = texts(read_svg(drawing.svg(end, title="t", description="d")))
    assert len(lines) > 5
    assert " ".join(str(one.text) for one in lines) == ("word " * 40).strip()
    assert all(float(str(one.get("x"))) + svg.width_of(str(one.text), 11.5) <= 215 for one in lines)


def _luminance(colour: str) -> float:
    digits = colour.removeprefix("#")
    digits = "".join(one * 2 for one in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_letters_on_a_fill_have_the_contrast_that_small_text_needs() -> None:
    """The ratio of WCAG 2.2, level AA."""
    fills = [svg.BLUE, svg.SKY, svg.GREEN, svg.YELLOW, svg.ORANGE, svg.VERMILION, svg.PURPLE, svg.GREY]
    for fill in fills:
        bright, dark = sorted((_luminance(fill), _luminance(svg.ON_FILL.get(fill, "#000"))), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, fill
