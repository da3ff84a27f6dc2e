"""Bypass codes: known answers, both ways, and refusals that show nothing of the text."""

from __future__ import annotations

import base64
import pickle
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.crypto import BypassCode
from pyade.errors import BypassCodeError

if TYPE_CHECKING:
    from tests.crypto.conftest import OpenSSL

KNOWN = [
    (
        "00000000000000000000000000000000",
        "00000-00000-0000-0000-0000-0000",
        "deab860d28deb5b7121d6d8fcf0f78e1471756d1b2c566c03277c23ea8930b4f",
    ),
    (
        "1ea841db5edfafe6075b5ae0d845d254",
        "3UM43-PUYVY-QYD1-UVCC-HEHJ-FKA4",
        "6ab40d5eabe7218ec04182f461005600c7e3426bddd82cdb405bde9a1e0014b5",
    ),
    (
        "cb84798c3ca85a674194550a2e96aed8",
        "TF27L-31WN1-E6FH-DMAM-52X5-NFV0",
        "23cf8b7873425fd8efe31dc5b6ab9c357eb98a2a59c82ea1084ca8af58cc480a",
    ),
    (
        "f398ef9199e9f0aefea0e782ab8b61a9",
        "YFDFZ-4DTX7-RAXZ-N0WY-1AQ2-V1N1",
        "7c7715d092a5cfcd16a6037555e11e4fa53edda9cda4d8464d58ef39ba9b5b0f",
    ),
]


@each(("raw", "text", "escrow_key"), KNOWN)
def test_known_codes(raw: str, text: str, escrow_key: str) -> None:
    code = BypassCode(bytes.fromhex(raw))
    assert (code.text, code.escrow_key) == (text, escrow_key)
    assert BypassCode.parse(text) == code


def test_the_hash_is_what_other_libraries_derive(openssl: OpenSSL) -> None:
    code = BypassCode.generate()
    kdf = PBKDF2HMAC(hashes.SHA256(), length=32, salt=b"\0\0\0\0", iterations=50_000)
    assert code.escrow_key == kdf.derive(code.raw).hex()
    options = [f"hexpass:{code.raw.hex()}", "hexsalt:00000000", "iter:50000", "digest:SHA256"]
    arguments = [word for option in options for word in ("-kdfopt", option)]
    shown = openssl("kdf", "-keylen", "32", *arguments, "PBKDF2").decode()
    assert code.escrow_key == shown.strip().replace(":", "").lower()


@given(st.binary(min_size=16, max_size=16))
def test_every_code_is_read_as_it_is_written(raw: bytes) -> None:
    """Against Base32 of Python with another alphabet, whose last symbol is shifted by two bits."""
    code = BypassCode(raw)
    assert BypassCode.parse(code.text) == code
    symbols = code.text.replace("-", "")
    base32 = base64.b32encode(raw).decode().rstrip("=")
    letters = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789ACDEFGHJKLMNPQRTUVWXYZ")
    assert symbols[:-1] == base32[:-1].translate(letters)
    assert int(symbols[-1]) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".index(base32[-1]) >> 2


@each("change", [str.lower, lambda text: text.replace("-", ""), lambda text: f" {text} \n"])
def test_case_dashes_and_blanks_do_not_matter(change: Any) -> None:
    raw, text, _ = KNOWN[1]
    assert BypassCode.parse(change(text)).raw.hex() == raw


def test_two_codes_differ() -> None:
    assert BypassCode.generate() != BypassCode.generate()


@each(
    ("text", "reason"),
    [
        ("", "26 symbols, not 0"),
        ("3UM43-PUYVY-QYD1-UVCC-HEHJ-FKA", "26 symbols, not 25"),
        ("3UM43-PUYVY-QYD1-UVCC-HEHJ-FKA44", "26 symbols, not 27"),
        ("3UM43-PUYVY-QYD1-UVCC-HEHJ-FKA8", "last symbol"),
        ("3UM43-PUYVY-QYDI-UVCC-HEHJ-FKA4", "without B, I, O and S"),
        ("3UM43-PUYVY-QYDÄ-UVCC-HEHJ-FKA4", "without B, I, O and S"),
        ("٣UM43-PUYVY-QYD1-UVCC-HEHJ-FKA4", "without B, I, O and S"),
        ("6ab40d5eabe7218ec04182f461005600c7e3426bddd82cdb405bde9a1e0014b5", "without B, I, O and S"),
        (b"3UM43-PUYVY-QYD1-UVCC-HEHJ-FKA4", "not bytes"),
        (None, "not NoneType"),
    ],
)
def test_what_is_no_code_is_refused_without_showing_it(text: Any, reason: str) -> None:
    with pytest.raises(BypassCodeError, match=reason) as caught:
        BypassCode.parse(text)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert "UVCC" not in f"{caught.value}{caught.value!r}"


@each("raw", [b"", bytes(15), bytes(17), "0" * 16, bytearray(16)])
def test_a_raw_value_has_sixteen_bytes(raw: Any) -> None:
    with pytest.raises(BypassCodeError, match="16 bytes"):
        BypassCode(raw)


def test_a_code_does_not_show_by_itself() -> None:
    code = BypassCode(bytes.fromhex(KNOWN[1][0]))
    shown = "".join(traceback.format_exception(LookupError(code))) + f"{code}{code!r}{[code]}"
    assert not any(secret in shown for secret in (*KNOWN[1], "\\x1e"))
