"""Keys of devices and of their authority, and signatures with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pyade.crypto.signatures import needing

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
KeyKind: TypeAlias = Literal["rsa1024", "rsa2048", "p256", "p384"]
Digest: TypeAlias = Literal["sha1", "sha256", "sha384", "sha512"]

DIGESTS: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - what Macs sign with
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


def new_key(kind: KeyKind) -> PrivateKey:
    """Return a new key."""
    match kind:
        case "rsa1024":
            return rsa.generate_private_key(65537, 1024)  # noqa: S505 - what Macs have
        case "rsa2048":
            return rsa.generate_private_key(65537, 2048)
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())


def sign(key: PrivateKey, data: bytes, digest: Digest) -> bytes:
    """Return a signature over *data*: RSA PKCS #1 v1.5, or ECDSA.

    Raises:
        CryptoPolicyError: This machine refuses *digest*.
    """
    with needing(f"a signature with {digest.upper()}"):
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(data, padding.PKCS1v15(), DIGESTS[digest])
        return key.sign(data, ec.ECDSA(DIGESTS[digest]))


def signature_algorithm(key: PrivateKey, digest: Digest) -> str:
    """Return the name that asn1crypto has for the algorithm of such a signature."""
    return f"{digest}_{'rsa' if isinstance(key, rsa.RSAPrivateKey) else 'ecdsa'}"
