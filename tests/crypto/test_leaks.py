"""Errors of ``crypto`` hold no secret, not even in the locals of their frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from tests.cases import each
from tests.leaks import leaks

from pyade.core.secret import Secret
from pyade.core.token import Token
from pyade.crypto import (
    BypassCode,
    Signer,
    TokenKeypair,
    authorization_header,
    hash_password,
    managed_apple_account_jwt,
)
from pyade.crypto.jwt import client_assertion, read_assertion_key
from pyade.crypto.push_certificate import PushCertificate
from pyade.crypto.secret_box import SecretBox
from pyade.errors import BypassCodeError, ProfileError, SigningError, StoreError, TokenError

if TYPE_CHECKING:
    from tests.crypto.conftest import Seal

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def imported(data: bytes, keypair: TokenKeypair) -> Token:
    return Token.from_p7m(data, keypair, name="hq", apple_id="it@contoso.com", consented_at=NOW)


def test_the_error_for_a_token_file_without_one_secret_holds_none_of_the_others(
    seal: Seal, keypair: TokenKeypair, fields: dict[str, str]
) -> None:
    secrets = (fields["consumer_secret"], fields["access_token"])
    for changed in ({"access_secret": ""}, {"access_secret": 5}, {"access_token_expiry": 7}):
        with pytest.raises(TokenError, match="was decrypted") as caught:
            imported(seal.write(json.dumps({**fields, **changed}).encode()), keypair)
        assert not leaks(caught.value, *secrets)


def test_the_error_for_a_damaged_token_file_holds_none_of_its_content(
    seal: Seal, keypair: TokenKeypair, fields: dict[str, str]
) -> None:
    with pytest.raises(TokenError, match="damaged") as caught:
        imported(seal.write(json.dumps(fields).encode()[:-1] + b'"}'), keypair)
    assert not leaks(caught.value, fields["access_secret"], fields["consumer_secret"])


def test_the_error_for_a_token_with_a_wrong_value_holds_none_of_its_secrets(
    seal: Seal, keypair: TokenKeypair, fields: dict[str, str]
) -> None:
    data = seal.write(json.dumps(fields).encode())
    with pytest.raises(TokenError, match="is not an address") as caught:
        Token.from_p7m(data, keypair, name="hq", apple_id="nobody", consented_at=NOW)
    assert not leaks(caught.value, fields["access_secret"], fields["consumer_secret"])


def test_the_error_for_a_token_file_of_another_key_holds_none_of_its_content(
    seal: Seal, other_keypair: TokenKeypair, fields: dict[str, str]
) -> None:
    with pytest.raises(TokenError, match="another certificate") as caught:
        imported(seal.write(json.dumps(fields).encode()), other_keypair)
    assert not leaks(caught.value, fields["access_secret"], fields["consumer_secret"])


def test_the_error_for_an_unencrypted_file_does_not_hold_it(
    keypair: TokenKeypair, fields: dict[str, str]
) -> None:
    for data in (json.dumps(fields).encode(), b"\xef\xbb\xbf" + json.dumps(fields).encode()):
        with pytest.raises(TokenError, match="not encrypted") as caught:
            imported(data, keypair)
        assert not leaks(caught.value, fields["access_secret"])
    with pytest.raises(TokenError, match="private key") as caught:
        imported(keypair.to_pem(), keypair)
    assert not leaks(caught.value, body_of(keypair.to_pem()))


def body_of(pem: bytes) -> str:
    """Return a line from the middle of the first block of *pem*."""
    return pem.decode().splitlines()[5]


def ec_pem() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


LOADERS: dict[str, Callable[..., object]] = {
    "key pair": TokenKeypair.from_pem,
    "signer": Signer.from_pem,
    "push certificate": PushCertificate.load,
}


@each("loader", list(LOADERS))
def test_the_error_for_a_pem_file_does_not_hold_it(keypair: TokenKeypair, loader: str) -> None:
    load, pem = LOADERS[loader], keypair.to_pem()
    key, certificate = pem.split(b"-----BEGIN CERTIFICATE")
    for data, passphrase in (
        (pem, "hunter2 hunter2"),
        (pem, Secret("hunter2 hunter2")),
        (key, None),
        (key.replace(b"-----END", b"-----ENDE"), None),
        (key.replace(b"PRIVATE KEY-----", b"PRIVATE KEY"), None),
        (key[:200] + b"!" + key[200:] + b"-----BEGIN CERTIFICATE" + certificate, None),
        (ec_pem() + pem, None),
        (pem, "hunter2 hunter2\ud800"),
        (keypair.to_pem("correct horse"), "hunter2 hunter2"),
        (keypair.to_pem("correct horse"), b"hunter2 hunter2"),
    ):
        with pytest.raises(SigningError) as caught:
            load(data, passphrase)
        assert not leaks(caught.value, body_of(data), "hunter2"), (loader, data[:40], passphrase)


def test_no_error_holds_a_passphrase(keypair: TokenKeypair) -> None:
    for passphrase in ("hunter2" * 200, b"hunter2" * 200, "hunter2\ud800", Secret("hunter2\udc80")):
        with pytest.raises(SigningError) as caught:
            keypair.to_pem(passphrase)
        assert not leaks(caught.value, "hunter2")
    data = pkcs12.serialize_key_and_certificates(
        None, keypair.private_key, keypair.certificate, None, BestAvailableEncryption(b"correct horse")
    )
    with pytest.raises(SigningError, match="passphrase is wrong") as caught:
        Signer.from_pkcs12(data, "hunter2")
    assert not leaks(caught.value, "hunter2")
    assert caught.value.__context__ is None


def test_the_error_for_a_key_of_an_api_account_does_not_hold_it() -> None:
    pem = ec_pem()
    body = pem.decode().splitlines()[1]
    for data in (
        pem.replace(b"-----END", b"-----ENDE"),
        pem.replace(b"\n-----END", b"!\n-----END"),
        pem.replace(b"\nM", b"\nA", 1),
        pem.replace(b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY"),
    ):
        with pytest.raises(SigningError) as caught:
            read_assertion_key(data)
        assert not leaks(caught.value, body[10:30])
        assert caught.value.__context__ is None


def test_no_error_holds_the_keys_of_a_store_or_what_they_encrypt() -> None:
    key, other = SecretBox.generate_key(), SecretBox.generate_key()
    box = SecretBox([key])
    calls: list[Callable[[], object]] = [
        lambda: SecretBox([key.reveal(), "short hunter2"]),
        lambda: SecretBox(key.reveal()),
        lambda: SecretBox([other]).open(box.seal("hunter2")),
        lambda: SecretBox().open(box.seal("hunter2")),
        lambda: SecretBox().open("hunter2 \ud800"),
        lambda: SecretBox().rotate("hunter2"),
        lambda: box.seal("hunter2 \ud800"),
    ]
    for call in calls:
        with pytest.raises(StoreError) as caught:
            call()
        assert not leaks(caught.value, "hunter2", key.reveal(), other.reveal())


def test_the_error_for_a_bypass_code_or_a_password_does_not_hold_it() -> None:
    for text in ("HUNTER2-HUNTER2-BIOS", "HNTER2HNTER2"):
        with pytest.raises(BypassCodeError) as caught:
            BypassCode.parse(text)
        assert not leaks(caught.value, "HUNTER2", "HNTER2")
    for given in ("hunter2", "hunter2 hunter2\ud800", Secret("hunter2 hunter2\n")):
        with pytest.raises(ProfileError) as refused:
            hash_password(given)
        assert not leaks(refused.value, "hunter2")
    with pytest.raises(ProfileError) as refused:
        hash_password("hunter2 hunter2", iterations=1)
    assert not leaks(refused.value, "hunter2")


def test_what_is_signed_for_apple_is_a_secret(keypair: TokenKeypair, fields: dict[str, str]) -> None:
    token = Token(
        name="hq",
        consumer_key=fields["consumer_key"],
        consumer_secret=fields["consumer_secret"],
        access_token=fields["access_token"],
        access_secret=fields["access_secret"],
        access_token_expiry=None,
        apple_id="it@contoso.com",
        consented_at=NOW,
    )
    key = ec.generate_private_key(ec.SECP256R1())
    about = {"client_id": "a", "key_id": "b", "audience": "c", "jti": "d"}
    for made in (
        authorization_header(token, "GET", "https://apple.example/session", timestamp=1, nonce="n"),
        client_assertion(key, **about, issued_at=1, lifetime_s=2),
        managed_apple_account_jwt(keypair, "server"),
    ):
        assert isinstance(made, Secret)
        assert made.reveal() not in f"{made}{made!r}"
    with pytest.raises(ValueError, match="Port") as caught:
        authorization_header(token, "GET", "https://apple.example:port/", timestamp=1, nonce="n")
    assert not leaks(caught.value, fields["access_token"], fields["consumer_secret"], fields["access_secret"])
