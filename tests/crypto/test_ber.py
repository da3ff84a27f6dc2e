"""Bounds of BER, checked without recursion."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from asn1crypto import core
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each
from tests.crypto.plain_ber import plain

from pyade.crypto import ber


def encode(value: object, *, indefinite: bool) -> bytes:
    """Bytes are OCTET STRINGs, lists are SEQUENCEs."""
    if isinstance(value, bytes):
        return bytes(core.OctetString(value).dump())
    assert isinstance(value, list)
    body = b"".join(encode(part, indefinite=indefinite) for part in value)
    if indefinite:
        return b"0\x80" + body + b"\0\0"
    return bytes(core.Sequence(contents=body).dump(force=True))


def flat(value: object) -> list[bytes]:
    return [value] if isinstance(value, bytes) else [leaf for part in value for leaf in flat(part)]  # type: ignore[attr-defined]


TREES = st.recursive(st.binary(max_size=300), lambda inner: st.lists(inner, max_size=4), max_leaves=20)


@given(TREES, st.booleans(), st.binary(max_size=5))
def test_leaves_come_in_order_and_what_follows_is_ignored(
    tree: object, indefinite: bool, tail: bytes
) -> None:
    data = encode(tree, indefinite=indefinite) + tail
    element = ber.parse(data)
    assert [leaf.contents for leaf in element.leaves()] == flat(tree)
    assert element.encoded + tail == data
    assert element.last == len(data) - len(tail)


@given(TREES, st.booleans(), st.data())
def test_a_prefix_is_truncated(tree: object, indefinite: bool, data: st.DataObject) -> None:
    encoded = encode(tree, indefinite=indefinite)
    with pytest.raises(ber.TruncatedError):
        ber.parse(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


@each(
    ("data", "reason"),
    [
        ("1f8100", "tag number above 30"),
        ("0480", "indefinite length"),
        ("0000", "end-of-contents"),
        ("30020000", "end-of-contents"),
        ("048900", "more than 8 bytes"),
        ("04ff", "more than 8 bytes"),
        ("30020402" + "00" * 9, "exceeds its parent"),
        ("300104" + "00" * 9, "exceeds its parent"),
        ("0641" + "81" * 64 + "01", "object identifier of more than 64 bytes"),
        ("3080" * 25, "deeper than 24 levels"),
        ("3082ffff" + "0500" * 32767 + "00", "more than 2000 elements"),
        ("3080" + "0500" * 1999 + "0000", "more than 2000 elements"),
    ],
)
def test_what_is_malformed_is_named(data: str, reason: str) -> None:
    with pytest.raises(ber.MalformedError, match=reason):
        ber.parse(bytes.fromhex(data))


def test_as_many_elements_as_are_allowed_are_read() -> None:
    assert len(ber.parse(bytes.fromhex("3080" + "0500" * 1998 + "0000")).children) == 1998
    data = bytes.fromhex("3004" + "0500" * 2)
    assert len(ber.parse(data, max_elements=3).children) == 2
    with pytest.raises(ber.MalformedError, match="more than 2 elements"):
        ber.parse(data, max_elements=2)


def test_lengths_with_leading_zeros_are_read() -> None:
    ber.parse(bytes.fromhex("04880000000000000001ff"))


def test_octets_of_one_part_and_of_nested_parts() -> None:
    assert ber.parse(bytes.fromhex("8002abcd")).octets() == b"\xab\xcd"
    assert ber.parse(bytes.fromhex("a0800401ab24030401cd0000")).octets() == b"\xab\xcd"
    assert ber.parse(bytes.fromhex("a000")).octets() == b""
    with pytest.raises(ber.MalformedError, match="not an OCTET STRING"):
        ber.parse(bytes.fromhex("a0030201ab")).octets()


@given(st.lists(TREES, max_size=5), st.booleans())
def test_children_are_cut_out_whole(trees: list[object], indefinite: bool) -> None:
    element = ber.parse(encode(trees, indefinite=indefinite))
    assert [child.encoded for child in element.children] == [
        encode(tree, indefinite=indefinite) for tree in trees
    ]


@given(
    st.tuples(st.integers(0, 1), st.integers(0, 39)) | st.tuples(st.just(2), st.integers(0, 2**40)),
    st.lists(st.integers(0, 2**40), max_size=5),
)
def test_identifiers_are_read_as_asn1crypto_writes_them(first: tuple[int, int], rest: list[int]) -> None:
    dotted = ".".join(map(str, (*first, *rest)))
    assert ber.parse(core.ObjectIdentifier(dotted).dump()).identifier() == dotted


@each("data", ["0600", "060181", "06032a8680", "04012a", "30030601" + "2a"])
def test_what_is_no_identifier(data: str) -> None:
    with pytest.raises(ber.MalformedError, match="an object identifier"):
        ber.parse(bytes.fromhex(data)).identifier()


def as_lists(element: ber.Element) -> list[object]:
    places = [element.tag, element.first, element.start, element.end, element.last]
    return [*places, [as_lists(child) for child in element.children]]


def outcome(read: Callable[[], object]) -> object:
    """Return what is read, or the kind of error."""
    try:
        return read()
    except ber.MalformedError as error:
        return type(error)


def without_places(element: ber.Element) -> list[object]:
    return [element.encoded, element.contents, [without_places(child) for child in element.children]]


BITS = st.sampled_from(
    "3080 0000 3000 3003020100 040161 06012a 1f8100 30 30820004 048102 2405 a003 008100 0680 3088".split()  # noqa: SIM905
).map(bytes.fromhex)
SCRAPS = st.lists(BITS | st.binary(max_size=3), max_size=30).map(b"".join)


@given(
    SCRAPS
    | st.tuples(TREES, st.booleans(), SCRAPS).map(
        lambda parts: encode(parts[0], indefinite=parts[1])[:-1] + parts[2]
    ),
    st.integers(1, 40),
)
def test_the_fast_parser_agrees_with_a_plain_one(data: bytes, most: int) -> None:
    assert outcome(lambda: as_lists(ber.parse(data, max_elements=most))) == outcome(lambda: plain(data, most))


@given(st.lists(TREES, min_size=1, max_size=5), st.booleans(), st.data(), st.integers(1, 60))
def test_what_is_known_is_read_as_if_it_were_not(
    trees: list[object], indefinite: bool, drawn: st.DataObject, most: int
) -> None:
    inner = [encode(tree, indefinite=False) for tree in trees if isinstance(tree, list)]
    known = ber.by_size(map(ber.Known.read, inner)) if inner else {}
    whole = encode([trees, *trees], indefinite=indefinite)
    # Known ones at any place, also where something else is in them or around them.
    at = drawn.draw(st.integers(0, len(whole)))
    data = whole[:at] + drawn.draw(st.sampled_from([b"", b"\x05\0", *inner])) + whole[at:]
    assert outcome(lambda: without_places(ber.parse(data, max_elements=most, known=known))) == outcome(
        lambda: without_places(ber.parse(data, max_elements=most))
    )


def test_known_elements_count_and_are_as_deep_as_they_are() -> None:
    inner = bytes.fromhex("30040500" + "0500")
    known = ber.by_size([ber.Known.read(inner)])
    assert (
        len(ber.parse(bytes.fromhex("3006") + inner, max_elements=4, known=known).children[0].children) == 2
    )
    with pytest.raises(ber.MalformedError, match="more than 3 elements"):
        ber.parse(bytes.fromhex("3006") + inner, max_elements=3, known=known)
    with pytest.raises(ber.MalformedError, match="more than 4 elements"):
        ber.parse(bytes.fromhex("3008") + inner + b"\x05\0", max_elements=4, known=known)
    deep = bytes.fromhex("3080" * (ber.MAX_DEPTH - 1)) + inner + b"\0\0" * (ber.MAX_DEPTH - 1)
    ber.parse(deep, known=known)
    with pytest.raises(ber.MalformedError, match="deeper"):
        ber.parse(b"0\x80" + deep + b"\0\0", known=known)
    with pytest.raises(ber.MalformedError, match="not a constructed element"):
        ber.Known.read(b"\x04\x01a")
