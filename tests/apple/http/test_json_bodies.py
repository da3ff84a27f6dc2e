"""NUL characters in Apple's responses are replaced before they are decoded, and counted."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyade.apple.http.json_bodies import decode_json, replace_nul
from pyade.apple.responses import Account, DevicePage
from pyade.business.paging import read_page

TEXTS = st.lists(st.sampled_from(["\0", "\\", '"', "u0000", "a", "ü", "\n"]), max_size=8).map("".join)
VALUES = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=8,
)


def cleaned(value: Any) -> tuple[Any, int]:
    """Do the same on what was decoded; a second opinion."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd"), value.count("\0")
    if isinstance(value, list):
        parts = [cleaned(one) for one in value]
        return [one for one, _ in parts], sum(count for _, count in parts)
    if isinstance(value, dict):
        pairs = [(cleaned(key), cleaned(one)) for key, one in value.items()]
        return {key: one for (key, _), (one, _) in pairs}, sum(a + b for (_, a), (_, b) in pairs)
    return value, 0


@given(VALUES)
def test_nul_characters_and_nothing_else_are_replaced(value: Any) -> None:
    content, count = replace_nul(json.dumps(value).encode())
    assert (json.loads(content), count) == cleaned(value)


def test_what_has_none_is_not_touched() -> None:
    content = b'{"a": "\\\\u0001"}'
    assert replace_nul(content) == (content, 0)
    assert replace_nul(content)[0] is content


def test_page_of_devices_says_how_many_were_replaced(caplog: pytest.LogCaptureFixture) -> None:
    device = {"serial_number": "C\0", "asset_tag": "\0\0", "unknown": {"\0": "kept \\u0000"}}
    page = DevicePage.decode(
        json.dumps({"devices": [device], "cursor": "c\0", "more_to_follow": False}).encode()
    )
    (found,) = page.devices
    assert (found.serial_number, found.asset_tag, page.cursor, page.replaced) == (
        "C\ufffd",
        "\ufffd\ufffd",
        "c\ufffd",
        5,
    )
    assert found.extra == {"unknown": {"\ufffd": "kept \\u0000"}}
    assert "5 NUL characters" in caplog.text


def test_other_answers_have_none_either() -> None:
    assert Account.decode(b'{"org_name": "A\\u0000"}').org_name == "A\ufffd"
    assert decode_json(b'"\\u0000"', str) == "\ufffd"
    page = read_page(b'{"data": [{"id": "x\\u0000", "type": "t"}]}', lambda one: one)
    assert "\\u0000" not in msgspec.json.encode(page, enc_hook=str).decode()
