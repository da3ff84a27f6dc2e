"""The key pair for the portal: made, saved, loaded, and refused with a reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from tests.cases import each
from tests.keys import original_generate

from pyade.crypto.certificates import check_common_name, common_name_of, self_signed
from pyade.crypto.keypair import TokenKeypair
from pyade.crypto.signing import Signer
from pyade.errors import ArgumentError, SigningError

if TYPE_CHECKING:
    from tests.crypto.conftest import OpenSSL

NOW = datetime(2026, 3, 4, 5, 6, 7, 890, tzinfo=UTC)


def refusal(data: bytes, passphrase: str | bytes | None = None) -> str:
    with pytest.raises(SigningError) as caught:
        TokenKeypair.from_pem(data, passphrase)
    return caught.value.reason


def certificate_for(keypair: TokenKeypair, *, days: int = 10, now: datetime | None = NOW) -> x509.Certificate:
    return self_signed("Contoso MDM", keypair.private_key, days=days, now=now, key_encipherment=True)


def test_what_apple_needs() -> None:
    keypair = TokenKeypair.generate("Contoso MDM")
    certificate = keypair.certificate
    assert keypair.private_key.key_size == 2048
    assert certificate.subject.rfc4514_string() == certificate.issuer.rfc4514_string() == "CN=Contoso MDM"
    assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)
    certificate.verify_directly_issued_by(certificate)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_encipherment
    assert usage.digital_signature
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_each_key_pair_is_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rsa, "generate_private_key", original_generate)
    keys = {TokenKeypair.generate("Contoso MDM").private_key.private_numbers().p for _ in range(2)}
    assert len(keys) == 2


def test_serial_numbers_are_random(keypair: TokenKeypair) -> None:
    serials = {certificate_for(keypair).serial_number for _ in range(5)}
    assert len(serials) == 5
    assert all(serial.bit_length() <= 159 for serial in serials)


def test_validity_starts_at_now() -> None:
    keypair = TokenKeypair.generate("Contoso MDM", days=30, now=NOW)
    start = NOW.replace(microsecond=0)
    assert keypair.certificate.not_valid_before_utc == start - timedelta(hours=1)
    assert keypair.certificate.not_valid_after_utc == start + timedelta(days=30)


def test_the_default_outlives_several_renewals(keypair: TokenKeypair) -> None:
    certificate = keypair.certificate
    assert certificate.not_valid_before_utc < datetime.now(UTC)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc > timedelta(days=3649)


def test_the_portal_gets_the_certificate_only(openssl: OpenSSL, keypair: TokenKeypair) -> None:
    assert b"PRIVATE" not in keypair.certificate_pem
    assert b"Contoso MDM" in openssl("x509", "-noout", "-subject", given=keypair.certificate_pem)


@pytest.mark.parametrize("passphrase", [None, "correct horse", "pässwörd", b"\xff\x00"])
def test_saved_and_loaded(keypair: TokenKeypair, passphrase: str | bytes | None) -> None:
    pem = keypair.to_pem(passphrase)
    assert (b"ENCRYPTED PRIVATE KEY" in pem) == (passphrase is not None)
    loaded = TokenKeypair.from_pem(pem, passphrase)
    assert loaded == keypair
    assert hash(loaded) == hash(keypair)
    assert loaded.private_key.private_numbers() == keypair.private_key.private_numbers()


def test_openssl_reads_what_is_saved(openssl: OpenSSL, keypair: TokenKeypair) -> None:
    pem = keypair.to_pem("secret")
    openssl("pkey", "-passin", "pass:secret", "-noout", "-check", given=pem)


def test_two_key_pairs_differ(keypair: TokenKeypair, other_keypair: TokenKeypair) -> None:
    assert keypair != other_keypair


def test_the_private_key_does_not_show(keypair: TokenKeypair) -> None:
    assert "private_key" not in repr(keypair)


def test_any_order_line_ends_text_between_and_chain(
    keypair: TokenKeypair, other_keypair: TokenKeypair
) -> None:
    key = keypair.private_key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    other_block = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    parts = [
        b"Bag Attributes\n",
        other_block,
        other_keypair.certificate_pem,
        keypair.certificate_pem,
        b"\n# key\n",
        key,
    ]
    assert TokenKeypair.from_pem(b"".join(parts).replace(b"\n", b"\r\n")) == keypair


def test_an_encrypted_key_in_the_old_form(keypair: TokenKeypair) -> None:
    key = keypair.private_key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret")
    )
    assert b"Proc-Type: 4,ENCRYPTED" in key
    pem = key + keypair.certificate_pem
    assert TokenKeypair.from_pem(pem, "secret") == keypair
    assert "a passphrase is needed" in refusal(pem)
    assert "passphrase is wrong" in refusal(pem, "guess")


def test_passphrases_that_do_not_fit(keypair: TokenKeypair) -> None:
    encrypted = keypair.to_pem("secret")
    assert refusal(encrypted) == "the private key is encrypted: a passphrase is needed"
    assert refusal(encrypted, "guess") == "the passphrase is wrong, or the private key is damaged"
    assert refusal(encrypted, "") == "the passphrase is empty: use None for a key that is not encrypted"
    assert refusal(keypair.to_pem(), "x") == "a passphrase was given, but the private key is not encrypted"


@pytest.mark.parametrize("passphrase", ["", b"", "x" * 1024])
def test_passphrases_that_cannot_be_used(keypair: TokenKeypair, passphrase: str | bytes) -> None:
    with pytest.raises(SigningError, match="passphrase"):
        keypair.to_pem(passphrase)


def test_missing_and_damaged_parts(keypair: TokenKeypair) -> None:
    pem = keypair.to_pem()
    key = pem.removesuffix(keypair.certificate_pem)
    assert "has no certificate" in refusal(key)
    assert "has 0 private keys" in refusal(keypair.certificate_pem)
    assert "has 2 private keys" in refusal(key + pem)
    assert "has 0 private keys" in refusal(b"")
    assert "cut short" in refusal(pem[:-30])
    damaged_certificate = keypair.certificate_pem[:200] + b"AAAA" + keypair.certificate_pem[204:]
    assert refusal(key + damaged_certificate)
    assert "certificate that cannot be read" in refusal(
        key + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    )
    assert "private key cannot be read" in refusal(
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" + keypair.certificate_pem
    )
    assert "at most 262144 are allowed" in refusal(pem + b"\n" * 262_144)


def test_a_block_that_is_no_certificate_is_named(keypair: TokenKeypair) -> None:
    """And what to do; OpenSSL's own form also beside a good one: it may be a link of the chain."""
    key = keypair.to_pem().removesuffix(keypair.certificate_pem)
    trusted = keypair.certificate_pem.replace(b" CERTIFICATE", b" TRUSTED CERTIFICATE")
    for pem in (key + trusted, keypair.to_pem() + trusted):
        assert "BEGIN TRUSTED CERTIFICATE" in refusal(pem)
        assert "openssl x509" in refusal(pem)
    for label in ("CERTIFICATE REQUEST", "X509 CRL", "PKCS7", "PUBLIC KEY"):
        block = f"-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n".encode()
        assert f"BEGIN {label}" in refusal(key + block)
        assert TokenKeypair.from_pem(keypair.to_pem() + block) == keypair
    old = keypair.certificate_pem.replace(b" CERTIFICATE", b" X509 CERTIFICATE")
    assert TokenKeypair.from_pem(key + old) == keypair


def test_a_key_of_another_certificate(keypair: TokenKeypair, other_keypair: TokenKeypair) -> None:
    key = keypair.to_pem().removesuffix(keypair.certificate_pem)
    assert "does not belong to the certificate" in refusal(key + other_keypair.certificate_pem)
    with pytest.raises(SigningError, match="does not belong to the certificate"):
        TokenKeypair(keypair.private_key, other_keypair.certificate)


def test_other_kinds_of_keys(keypair: TokenKeypair) -> None:
    for key, reason in (
        (ec.generate_private_key(ec.SECP256R1()), "an EC key cannot decrypt a server token: an RSA key"),
        (ed25519.Ed25519PrivateKey.generate(), "a key of this kind cannot decrypt a server token"),
    ):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        assert reason in refusal(pem + keypair.certificate_pem)


@each("common_name", ["", "  ", "x" * 65, "a\x00b", "a\nb", "\ud800"])
def test_common_names_out_of_range(common_name: str) -> None:
    with pytest.raises(SigningError, match="1 to 64 characters"):
        TokenKeypair.generate(common_name)


@each("common_name", ["ü" * 33, "日" * 22, "\U0001f34e" * 17, None, b"Contoso", 5])
@pytest.mark.parametrize("make", [TokenKeypair.generate, Signer.self_signed])
def test_a_common_name_is_refused_before_a_key_is_made(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[Any], object], common_name: object
) -> None:
    """RFC 5280 counts characters, what reads and writes certificates counts the bytes of UTF-8."""
    monkeypatch.setattr(rsa, "generate_private_key", lambda **_: pytest.fail("a key was made"))
    with pytest.raises(SigningError, match="1 to 64 characters"):
        make(common_name)


@each("common_name", ["ü" * 32, "日" * 21, "x" * 64])
def test_a_common_name_of_64_bytes_is_taken_whole(common_name: str) -> None:
    (name,) = TokenKeypair.generate(common_name).certificate.subject
    assert name.value == common_name


@each("text", ["x" * 65, "ü" * 33, "a\nb", "\ud800", "日" * 30, "Contoso MDM"])
def test_any_text_has_a_common_name(text: str) -> None:
    check_common_name(common_name_of(text))
    assert common_name_of("Contoso MDM") == "Contoso MDM"


@each("options", [{"days": "ten"}, {"days": True}, {"days": 1.5}, {"now": "2026"}])
@pytest.mark.parametrize("make", [TokenKeypair.generate, Signer.self_signed])
def test_other_kinds_of_values_are_refused_before_a_key_is_made(
    monkeypatch: pytest.MonkeyPatch, make: Callable[..., object], options: dict[str, Any]
) -> None:
    monkeypatch.setattr(rsa, "generate_private_key", lambda **_: pytest.fail("a key was made"))
    with pytest.raises(ArgumentError, match=next(iter(options))):
        make("Contoso MDM", **options)


def test_what_is_no_certificate_or_passphrase_is_named(keypair: TokenKeypair) -> None:
    wrong: Any = "certificate"
    with pytest.raises(ArgumentError, match="certificate is a text: a Certificate is allowed"):
        TokenKeypair(keypair.private_key, wrong)
    calls: list[Callable[[Any], object]] = [
        keypair.to_pem,
        lambda passphrase: TokenKeypair.from_pem(keypair.to_pem("x"), passphrase),
    ]
    for call in calls:
        with pytest.raises(ArgumentError, match="passphrase is a whole number"):
            call(5)


def test_a_key_pair_reads_as_text() -> None:
    text = str(TokenKeypair.generate("Contoso MDM", days=30, now=NOW))
    assert text.startswith("key pair of CN=Contoso MDM: RSA 2048, certificate ")
    assert text.endswith(" valid until 2026-04-03 05:06 UTC")


@pytest.mark.parametrize("days", [0, -1, 36_501])
def test_days_out_of_range(keypair: TokenKeypair, days: int) -> None:
    with pytest.raises(SigningError, match="1 to 36500 are allowed"):
        certificate_for(keypair, days=days)


@pytest.mark.parametrize("year", [1, 1950, 9999])
def test_a_clock_that_is_far_off(keypair: TokenKeypair, year: int) -> None:
    """RFC 5280 has no form for the first, and the validity would end after the last day."""
    with pytest.raises(SigningError, match="check the clock"):
        certificate_for(keypair, now=NOW.replace(year=year))


def test_a_file_that_was_read_as_text(keypair: TokenKeypair) -> None:
    with pytest.raises(SigningError, match="bytes are needed"):
        TokenKeypair.from_pem(keypair.to_pem().decode())  # type: ignore[arg-type]


def test_a_time_without_zone(keypair: TokenKeypair) -> None:
    with pytest.raises(SigningError, match="no time zone"):
        certificate_for(keypair, now=NOW.replace(tzinfo=None))


def test_a_certificate_with_a_public_key_of_unknown_kind(keypair: TokenKeypair) -> None:
    """It is passed over like any other certificate that belongs to another key."""
    der = keypair.certificate.public_bytes(Encoding.DER)
    unknown = der.replace(bytes.fromhex("2a864886f70d010101"), bytes.fromhex("2a864886f70d01017f"))
    strange = x509.load_der_x509_certificate(unknown).public_bytes(serialization.Encoding.PEM)
    assert TokenKeypair.from_pem(strange + keypair.to_pem()) == keypair
    assert isinstance(keypair.certificate.public_key(), rsa.RSAPublicKey)
