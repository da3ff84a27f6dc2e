"""The client assertion, checked by openssl and by hand; and every form of key file that was seen."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each
from tests.crypto.conftest import OpenSSL
from tests.keys import RSA_KEYS

from pyade.crypto import client_assertion, read_assertion_key
from pyade.crypto.jwt import es256
from pyade.errors import SigningError

KEY = ec.generate_private_key(ec.SECP256R1())
PKCS8, SEC1 = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL


def pem(key: Any, form: PrivateFormat, label: str | None = None) -> bytes:
    written: bytes = key.private_bytes(Encoding.PEM, form, NoEncryption())
    if label is None:
        return written
    body = b"".join(written.splitlines(keepends=True)[1:-1])
    return f"-----BEGIN {label}-----\n".encode() + body + f"-----END {label}-----\n".encode()


def der_of(signature: bytes) -> bytes:
    """Return the DER form of r and s, written by hand."""

    def integer(part: bytes) -> bytes:
        value = part.lstrip(b"\0") or b"\0"
        value = b"\0" + value if value[0] & 0x80 else value
        return b"\x02" + bytes([len(value)]) + value

    body = integer(signature[:32]) + integer(signature[32:])
    return b"\x30" + bytes([len(body)]) + body


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def assertion(**changes: Any) -> str:
    values: dict[str, Any] = {
        "client_id": "BUSINESSAPI.8a1c",
        "key_id": "d136aa66",
        "audience": "https://account.apple.com/auth/oauth2/v2/token",
        "issued_at": 1_780_000_000,
        "lifetime_s": 300,
        "jti": "7f",
        **changes,
    }
    return client_assertion(KEY, **values).reveal()


def test_openssl_accepts_the_signature(openssl: OpenSSL, tmp_path: Path) -> None:
    header, claims, signature = assertion().split(".")
    public = tmp_path / "public.pem"
    public.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    raw = decoded(signature)
    assert len(raw) == 64
    (tmp_path / "signature.der").write_bytes(der_of(raw))
    openssl(
        "dgst",
        "-sha256",
        "-verify",
        str(public),
        "-signature",
        str(tmp_path / "signature.der"),
        given=f"{header}.{claims}".encode(),
    )


def test_header_and_claims_are_what_apple_documents() -> None:
    header, claims, _ = assertion().split(".")
    assert json.loads(decoded(header)) == {"alg": "ES256", "kid": "d136aa66", "typ": "JWT"}
    assert json.loads(decoded(claims)) == {
        "iss": "BUSINESSAPI.8a1c",
        "sub": "BUSINESSAPI.8a1c",
        "aud": "https://account.apple.com/auth/oauth2/v2/token",
        "iat": 1_780_000_000,
        "exp": 1_780_000_300,
        "jti": "7f",
    }
    assert "=" not in assertion(jti="8f0")


@given(st.binary(max_size=200))
def test_both_halves_are_32_bytes_whatever_their_size(message: bytes) -> None:
    assert len(es256(KEY, message)) == 64


@each(
    "data",
    [
        pem(KEY, PKCS8),
        pem(KEY, SEC1),
        pem(KEY, PKCS8, "EC PRIVATE KEY"),
        pem(KEY, SEC1, "PRIVATE KEY"),
        b"\xef\xbb\xbf" + pem(KEY, PKCS8, "EC PRIVATE KEY").replace(b"\n", b"\r\n"),
        b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + pem(KEY, SEC1),
        pem(KEY, PKCS8).strip(),
    ],
)
def test_a_key_file_is_read_by_its_body_and_not_by_its_label(data: bytes) -> None:
    assert read_assertion_key(data).private_numbers() == KEY.private_numbers()


@each(
    ("data", "says"),
    [
        (pem(RSA_KEYS[0], PKCS8), "an RSA key cannot sign"),
        (pem(ec.generate_private_key(ec.SECP384R1()), PKCS8), "secp384r1"),
        (pem(ed25519.Ed25519PrivateKey.generate(), PKCS8), "a key of this kind"),
        (b"", "no private key"),
        (b"<html>sign in</html>", "no private key"),
        (pem(KEY, PKCS8)[:-30], "cut short"),
        (pem(KEY, PKCS8).replace(b"M", b"*"), "cannot be read"),
        (KEY.private_bytes(Encoding.PEM, PKCS8, BestAvailableEncryption(b"x")), "is encrypted"),
        (
            KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "no private key",
        ),
        (b" " * 65_537, "at most 65536"),
        ("text", "bytes are needed"),
    ],
)
def test_any_other_file_is_refused_and_none_of_it_shows(data: Any, says: str) -> None:
    with pytest.raises(SigningError, match=says) as caught:
        read_assertion_key(data)
    assert caught.value.__cause__ is None
