"""Key pairs, writers of messages that share no code with the readers, and the real openssl."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import attrs
import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from tests.keys import RSA_KEYS, keypair_of

from pyade.crypto.keypair import TokenKeypair

RSA_PKCS1_V15 = bytes.fromhex("300d06092a864886f70d0101010500")
ENVELOPED_DATA = bytes.fromhex("06092a864886f70d010703")
DATA = bytes.fromhex("06092a864886f70d010701")
CIPHERS: dict[str, tuple[str, type[AES | TripleDES], int, int]] = {  # OID, class, bytes of a key, of a block
    "aes128": ("0609608648016503040102", AES, 16, 16),
    "aes192": ("0609608648016503040116", AES, 24, 16),
    "aes256": ("060960864801650304012a", AES, 32, 16),
    "des3": ("06082a864886f70d0307", TripleDES, 24, 8),
    "aes128-gcm": ("0609608648016503040106", AES, 16, 16),
}

FIELDS = {
    "consumer_key": "CK_" + "0123456789abcdef" * 6,
    "consumer_secret": "CS_" + "1a" * 20,
    "access_token": "AT_O15970O" + "2b" * 20 + "O1389734861908",
    "access_secret": "AS_" + "3c" * 20,
    "access_token_expiry": "2027-01-14T21:27:41Z",
}


def tlv(tag: int, *parts: bytes, indefinite: bool = False) -> bytes:
    body = b"".join(parts)
    if indefinite:
        return bytes([tag, 0x80]) + body + b"\0\0"
    size = (len(body).bit_length() + 7) // 8
    length = (
        bytes([len(body)]) if len(body) < 0x80 else bytes([0x80 | size]) + len(body).to_bytes(size, "big")
    )
    return bytes([tag]) + length + body


@attrs.frozen(kw_only=True)
class Seal:
    """How a message is written; the defaults are what Apple's sample has."""

    recipients: Sequence[TokenKeypair]
    indefinite: bool = True
    chunk: int = 1 << 20
    constructed: bool = True
    cipher: str = "aes128"
    key_encryption: bytes = RSA_PKCS1_V15
    key_size: int | None = None
    padded: bool = True
    serial_number: int | None = None
    vector_size: int | None = None
    content_type: bytes = ENVELOPED_DATA
    cut: int = 0
    before_recipients: bytes = b""
    key_identifier: bytes | None = None
    has_content: bool = True

    def write(self, plaintext: bytes) -> bytes:
        oid, _, _, block_size = CIPHERS[self.cipher]
        vector_size = block_size if self.vector_size is None else self.vector_size
        ciphertext = self._encrypt(plaintext)
        ciphertext = ciphertext[: len(ciphertext) - self.cut]
        pieces = [
            tlv(0x04, ciphertext[start : start + self.chunk])
            for start in range(0, len(ciphertext), self.chunk)
        ]
        content = (
            tlv(0xA0, *pieces, indefinite=self.indefinite) if self.constructed else tlv(0x80, ciphertext)
        )
        content = content if self.has_content else b""
        recipients = tlv(0x31, self.before_recipients, *map(self.recipient, self.recipients))
        encrypted = self._sequence(
            DATA, tlv(0x30, bytes.fromhex(oid), tlv(0x04, bytes(vector_size))), content
        )
        enveloped = self._sequence(tlv(0x02, b"\0"), recipients, encrypted)
        return self._sequence(self.content_type, tlv(0xA0, enveloped, indefinite=self.indefinite))

    def _sequence(self, *parts: bytes) -> bytes:
        return tlv(0x30, *parts, indefinite=self.indefinite)

    def _encrypt(self, plaintext: bytes) -> bytes:
        _, algorithm, key_size, block_size = CIPHERS[self.cipher]
        if self.padded:
            padder = PKCS7(block_size * 8).padder()
            plaintext = padder.update(plaintext) + padder.finalize()
        encryptor = Cipher(algorithm(bytes(range(key_size))), CBC(bytes(block_size))).encryptor()
        return encryptor.update(plaintext) + encryptor.finalize()

    def recipient(self, keypair: TokenKeypair) -> bytes:
        serial = keypair.certificate.serial_number if self.serial_number is None else self.serial_number
        number = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
        identifier = tlv(0x30, keypair.certificate.issuer.public_bytes(), tlv(0x02, number))
        if self.key_identifier is not None:
            identifier = tlv(0x80, self.key_identifier)
        public_key = keypair.certificate.public_key()
        assert isinstance(public_key, rsa.RSAPublicKey)
        size = CIPHERS[self.cipher][2] if self.key_size is None else self.key_size
        encrypted_key = public_key.encrypt(bytes(range(size)), padding.PKCS1v15())
        return tlv(0x30, tlv(0x02, b"\0"), identifier, self.key_encryption, tlv(0x04, encrypted_key))


class OpenSSL(Protocol):
    def __call__(self, *arguments: str | Path, given: bytes = b"") -> bytes: ...


@pytest.fixture(scope="session")
def openssl() -> OpenSSL:
    """Run the real openssl: standard input in, standard output out."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")

    def run(*arguments: str | Path, given: bytes = b"") -> bytes:
        done = subprocess.run([program, *arguments], input=given, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


@pytest.fixture(scope="session")
def keypair() -> TokenKeypair:
    return keypair_of(RSA_KEYS[0])


@pytest.fixture(scope="session")
def other_keypair() -> TokenKeypair:
    return keypair_of(RSA_KEYS[1])


@pytest.fixture(scope="session")
def fields() -> dict[str, str]:
    """The five values of the token in ``plaintext``."""
    return dict(FIELDS)


@pytest.fixture(scope="session")
def plaintext() -> bytes:
    """What Apple encrypts: MIME head, markers, JSON."""
    return (
        b"Content-Type: text/plain;charset=UTF-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
        b"-----BEGIN MESSAGE-----\r\n" + json.dumps(FIELDS).encode() + b"\r\n-----END MESSAGE-----\r\n"
    )


@pytest.fixture(scope="session")
def seal(keypair: TokenKeypair) -> Seal:
    """A writer of messages for ``keypair`` in Apple's form; ``attrs.evolve`` it for others."""
    return Seal(recipients=[keypair])
