"""The JWT for Managed Apple Accounts, judged by openssl."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from pyade.crypto import TokenKeypair, managed_apple_account_jwt
from pyade.errors import TokenError

if TYPE_CHECKING:
    from tests.crypto.conftest import OpenSSL

SERVER_UUID = "677CAC2FC5884B07A38F8D5E4C0B3D2A"
NOW = datetime(2026, 3, 1, 12, 0, 0, 999_999, tzinfo=UTC)


def unpacked(part: str) -> bytes:
    assert "=" not in part
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def claims_of(jwt: str) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(unpacked(jwt.split(".")[1]))
    return claims


def test_openssl_makes_the_same_signature(keypair: TokenKeypair, openssl: OpenSSL, tmp_path: Path) -> None:
    """RS256 has no chance in it: key and content make the signature."""
    jwt = managed_apple_account_jwt(keypair, SERVER_UUID, now=NOW, jti="1").reveal()
    signed, _, signature = jwt.rpartition(".")
    key = tmp_path / "key.pem"
    key.write_bytes(keypair.to_pem())
    assert unpacked(signature) == openssl("dgst", "-sha256", "-sign", key, given=signed.encode())


def test_openssl_verifies_it_with_the_certificate_of_the_portal(
    keypair: TokenKeypair, openssl: OpenSSL, tmp_path: Path
) -> None:
    signed, _, signature = managed_apple_account_jwt(keypair, SERVER_UUID).reveal().rpartition(".")
    certificate, public, file = tmp_path / "cert.pem", tmp_path / "public.pem", tmp_path / "signature"
    certificate.write_bytes(keypair.certificate_pem)
    public.write_bytes(openssl("x509", "-in", certificate, "-noout", "-pubkey"))
    file.write_bytes(unpacked(signature))
    output = openssl("dgst", "-sha256", "-verify", public, "-signature", file, given=signed.encode())
    assert output == b"Verified OK\n"


def test_it_says_what_apple_asks_for_and_nothing_else(keypair: TokenKeypair) -> None:
    jwt = managed_apple_account_jwt(keypair, SERVER_UUID, now=NOW, jti="1").reveal()
    assert json.loads(unpacked(jwt.split(".")[0])) == {"alg": "RS256", "typ": "JWT"}
    assert claims_of(jwt) == {
        "iss": SERVER_UUID,
        "iat": 1772366400,
        "jti": "1",
        "service_type": "com.apple.maid",
    }


def test_each_is_new(keypair: TokenKeypair) -> None:
    first, second = (
        claims_of(managed_apple_account_jwt(keypair, SERVER_UUID, now=NOW).reveal()) for _ in range(2)
    )
    assert UUID(first["jti"]) != UUID(second["jti"])


def test_left_out_the_time_is_the_real_one(keypair: TokenKeypair) -> None:
    before = int(datetime.now(UTC).timestamp())
    made = claims_of(managed_apple_account_jwt(keypair, SERVER_UUID).reveal())["iat"]
    assert before <= made <= datetime.now(UTC).timestamp()


@pytest.mark.parametrize("server_uuid", [None, ""])
def test_a_token_that_was_never_identified_is_named(keypair: TokenKeypair, server_uuid: str | None) -> None:
    with pytest.raises(TokenError, match=r"account\.identify"):
        managed_apple_account_jwt(keypair, server_uuid)
