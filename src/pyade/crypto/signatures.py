"""Verify RSA and EC signatures, including SHA-1, which Macs and their certificate authorities still use.

The policy of a machine may forbid SHA-1: RHEL 9 and its derivatives and FIPS modes do, if ``cryptography``
uses the OpenSSL of the distribution. Then no Mac can enroll; creating the trust raises an error before the
first Mac connects.

Source: Red Hat, "Security hardening", RHEL 9, system-wide cryptographic policies; how Macs sign: observed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pyade.errors import CryptoPolicyError

SHA1: hashes.HashAlgorithm = hashes.SHA1()  # noqa: S303 - Macs sign with it

_NEXT_STEP: Final = (
    "install the cryptography package of PyPI, which includes its own OpenSSL, or allow the algorithm in the"
    " policy of the system, on RHEL 9 with update-crypto-policies --set DEFAULT:SHA1"
)
_PADDING: Final = padding.PKCS1v15()
_PROBE: Final = b"SHA-1"
_MODULUS: Final = int(
    "e21fbd7a03189660349328d7aed18633cbd4adf7b89c1d25e506ab9689a1a3f4c78e4c79e8d968e6825d07d6fa167f23"
    "75f0a7795a0021947bcc7bb7b316f311d7d1ab5c3fe47e1d88199a71d78e073cb7d4a5446e3325309cbe2ffba0af1e48"
    "ef6d2aed6584e5aa6fb3c9c55ec2b270c9fa8a06e420b93841589e8c46674083",
    16,
)
_SIGNATURE: Final = bytes.fromhex(
    "3a92766b67c1b4c9e8174718d852cbcb2f2bc1d05e62bc144cf2737031da7eaaf45990abbac4ce2c796c5d5d8b259a70"
    "6f70c50c3fd7a045507e0454a7b9dfb0365f84c2b0d11c5f3b5980d2e901fe78152d5edf448d03882801979e434ad029"
    "b621237edffd19359cf0a6aeee08e7abdfcd29941a276b1b5ac6ddd55daa0b6a"
)


@functools.cache  # does not cache exceptions: the policy may be changed
def check_sha1() -> None:
    """Check that this machine verifies signatures as Macs make them: RSA keys of 1024 bits with SHA-1.

    Raises:
        CryptoPolicyError: It does not.
    """
    with needing("RSA with 1024 bits and SHA-1"):
        hashes.Hash(SHA1)
        key = rsa.RSAPublicNumbers(65537, _MODULUS).public_key()
        try:
            key.verify(_SIGNATURE, _PROBE, padding.PKCS1v15(), SHA1)
        except InvalidSignature:
            raise UnsupportedAlgorithm("a valid signature is refused") from None


@contextmanager
def needing(algorithm: str) -> Iterator[None]:
    """Raise ``CryptoPolicyError`` if the policy of this machine refuses an algorithm in the block.

    Args:
        algorithm: Name of the algorithm, for the error.

    Raises:
        CryptoPolicyError: The algorithm is refused.
    """
    try:
        yield
    except UnsupportedAlgorithm as error:
        raise _policy_error(algorithm) from error


def is_signed(key: object, digest: hashes.HashAlgorithm, signature: bytes, data: bytes) -> bool:
    """Return True if *signature* over *data* was made with the private key of *key*.

    Args:
        key: RSA or EC; the result is False for any other key.
        digest: Hash of the signature; RSA uses PKCS #1 v1.5.
        signature: Its bytes.
        data: The signed bytes.

    Raises:
        CryptoPolicyError: This machine refuses *digest*.
    """
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, _PADDING, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(digest))
        else:
            return False
    except InvalidSignature:
        return False
    except UnsupportedAlgorithm as error:
        raise _policy_error(f"a signature with {digest.name.upper()}") from error
    return True


def _policy_error(algorithm: str) -> CryptoPolicyError:
    return CryptoPolicyError(algorithm, _NEXT_STEP)
