"""Encrypted messages that are hostile, damaged or of another kind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from pyade.crypto.keypair import TokenKeypair
from pyade.crypto.token_file import read_envelope, read_token_file
from pyade.errors import TokenError

if TYPE_CHECKING:
    from tests.crypto.conftest import OpenSSL, Seal


def reason(message: bytes) -> str:
    with pytest.raises(TokenError) as caught:
        read_envelope(message)
    return caught.value.reason


def test_an_unsupported_cipher_is_named(openssl: OpenSSL, tmp_path: Path, keypair: TokenKeypair) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(keypair.certificate_pem)
    message = openssl("cms", "-encrypt", "-camellia128", "-outform", "DER", certificate, given=b"{}")
    assert "encrypted with '1.2.392.200011.61.1.1.1.2'" in reason(message)


def test_authenticated_encryption_is_named(openssl: OpenSSL, tmp_path: Path, keypair: TokenKeypair) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(keypair.certificate_pem)
    message = openssl("cms", "-encrypt", "-aes-128-gcm", "-outform", "DER", certificate, given=b"{}")
    assert "of type 'authenticated_enveloped_data'; a server token is 'enveloped_data'" in reason(message)


def test_a_signed_message_is_no_token(seal: Seal) -> None:
    signed = attrs.evolve(seal, content_type=bytes.fromhex("06092a864886f70d010702"))
    assert "of type 'signed_data'" in reason(signed.write(b"{}"))


def test_a_mode_without_support_is_named(seal: Seal) -> None:
    assert "encrypted with 'aes128_gcm'" in reason(attrs.evolve(seal, cipher="aes128-gcm").write(b"{}"))


def test_a_message_for_a_password_has_no_rsa_recipient(openssl: OpenSSL) -> None:
    message = openssl("cms", "-encrypt", "-aes128", "-pwri_password", "x", "-outform", "DER", given=b"{}")
    assert "not encrypted for an RSA certificate" in reason(message)


def test_key_transport_without_support(seal: Seal) -> None:
    unknown = attrs.evolve(seal, key_encryption=bytes.fromhex("300506032a0304"))
    assert "not encrypted for an RSA certificate" in reason(unknown.write(b"{}"))


@pytest.mark.parametrize("part", ["digest", "mask digest"])
def test_oaep_with_an_unknown_digest(seal: Seal, keypair: TokenKeypair, part: str) -> None:
    md5 = bytes.fromhex("300c06082a864886f70d02050500")
    parameters = bytes.fromhex("a00e") + md5
    if part == "mask digest":
        mgf1 = bytes.fromhex("301906092a864886f70d010108") + md5
        parameters = bytes.fromhex("a11b") + mgf1
    algorithm = bytes.fromhex("06092a864886f70d010107") + bytes([0x30, len(parameters)]) + parameters
    oaep = attrs.evolve(seal, key_encryption=bytes([0x30, len(algorithm)]) + algorithm)
    assert "not encrypted for an RSA certificate" in reason(oaep.write(b"{}"))


def test_a_recipient_without_support_is_passed_over(
    seal: Seal, keypair: TokenKeypair, plaintext: bytes
) -> None:
    """The message has an unsupported recipient first; the second one still reads it."""
    unknown = attrs.evolve(seal, key_encryption=bytes.fromhex("300506032a0304")).recipient(keypair)
    message = attrs.evolve(seal, before_recipients=unknown).write(plaintext)
    assert len(read_envelope(message).recipients) == 2
    assert read_token_file(message, keypair).consumer_key


def test_the_number_of_recipients_is_limited(seal: Seal, keypair: TokenKeypair) -> None:
    assert len(read_envelope(attrs.evolve(seal, recipients=[keypair] * 100).write(b"{}")).recipients) == 100
    many = attrs.evolve(seal, recipients=[keypair] * 101)
    assert "names 101 recipients, at most 100" in reason(many.write(b"{}"))


def test_content_that_is_not_whole_blocks(seal: Seal) -> None:
    assert "multiple of the block size" in reason(attrs.evolve(seal, cut=1).write(b"{}"))


@pytest.mark.parametrize("size", [0, 8, 15, 17])
def test_an_initialization_vector_of_another_size(seal: Seal, size: int) -> None:
    assert "initialization vector" in reason(attrs.evolve(seal, vector_size=size).write(b"{}"))


def test_content_that_is_missing(seal: Seal) -> None:
    assert "multiple of the block size" in reason(attrs.evolve(seal, padded=False).write(b""))
    assert "has no content" in reason(attrs.evolve(seal, has_content=False).write(b"{}"))


def test_recipients_named_by_key_identifier(
    seal: Seal, keypair: TokenKeypair, other_keypair: TokenKeypair, plaintext: bytes
) -> None:
    """The name only orders the tries: with another one the key still opens the message."""
    own = x509.SubjectKeyIdentifier.from_public_key(keypair.certificate.public_key()).digest
    for key_identifier, is_named in ((own, True), (bytes(32), False)):
        message = attrs.evolve(seal, key_identifier=key_identifier).write(plaintext)
        (recipient,) = read_envelope(message).recipients
        assert recipient.is_named(keypair.certificate) == is_named
        assert read_token_file(message, keypair).consumer_key
        with pytest.raises(TokenError, match="encrypted for another certificate:"):
            read_token_file(message, other_keypair)


@given(data=st.data(), indefinite=st.booleans())
def test_a_damaged_message_is_one_clear_error(
    seal: Seal, keypair: TokenKeypair, plaintext: bytes, *, data: st.DataObject, indefinite: bool
) -> None:
    """Any byte changed, removed or added: a token, or a ``TokenError``, and nothing else."""
    message = bytearray(attrs.evolve(seal, indefinite=indefinite).write(plaintext))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, min(len(message), 700) - 1))
        match data.draw(st.sampled_from(["change", "remove", "add"])):
            case "change":
                message[position] = data.draw(st.integers(0, 255))
            case "remove":
                del message[position]
            case _:
                message.insert(position, data.draw(st.integers(0, 255)))
    text = ""
    try:
        read_token_file(bytes(message), keypair)
    except TokenError as error:
        text = str(error)
    assert not re.search("CS_|AT_|AS_", text)


@given(st.binary(max_size=300))
def test_random_bytes_are_one_clear_error(keypair: TokenKeypair, noise: bytes) -> None:
    for data in (noise, b"0\x80" + noise, b"Content-Type: x\n\nMI" + noise):
        with pytest.raises(TokenError):
            read_token_file(data, keypair)
