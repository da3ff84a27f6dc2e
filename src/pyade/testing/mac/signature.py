"""How a Mac reads a signed profile: CMS with the content in it.

Written with no code of ``pyade.crypto`` and ``pyade.builders``, so that what they make has a second reader.

Source: RFC 5652, 5; that Macs take profiles in this form is observed.
"""

from __future__ import annotations

import hashlib
from typing import Any

from asn1crypto import cms
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pyade.testing.errors import MacError
from pyade.testing.mac.keys import DIGESTS


def read_signed(message: bytes) -> tuple[bytes, x509.Certificate]:
    """Return what is signed, and the certificate of the signer, which nobody vouches for.

    Raises:
        MacError: The message cannot be read, or the signature is not over its content.
    """
    try:
        return _read(message)
    except InvalidSignature:
        raise MacError("the signature of the profile is not over its content") from None
    except (KeyError, LookupError, TypeError, ValueError) as error:
        raise MacError(f"the signed profile cannot be read: {error}") from error


def _read(message: bytes) -> tuple[bytes, x509.Certificate]:
    info = cms.ContentInfo.load(message, strict=True)
    if info["content_type"].native != "signed_data":
        raise MacError(f"the profile is {info['content_type'].native}, and not signed data")
    signed = info["content"]
    content = signed["encap_content_info"]["content"].native
    if content is None:
        raise MacError("the signature comes without the profile in it")
    (signer,) = signed["signer_infos"]
    certificate = _signer_certificate(signed["certificates"], signer["sid"])
    digest = signer["digest_algorithm"]["algorithm"].native
    _verify(certificate.public_key(), signer["signature"].native, _signed_bytes(signer, content), digest)
    return content, certificate


def _signer_certificate(bag: Any, identifier: Any) -> x509.Certificate:
    number = identifier.chosen["serial_number"].native
    issuer = identifier.chosen["issuer"]
    for entry in bag:
        if entry.chosen.serial_number == number and entry.chosen.issuer == issuer:
            return x509.load_der_x509_certificate(entry.chosen.dump())
    raise MacError("the certificate of the signer is not in the message")


def _signed_bytes(signer: Any, content: bytes) -> bytes:
    """Return what the signature is over, once the attributes are found to be about *content*."""
    attributes = {entry["type"].native: entry["values"] for entry in signer["signed_attrs"]}
    if not attributes:
        return content
    digest = hashlib.new(signer["digest_algorithm"]["algorithm"].native, content).digest()
    if [value.native for value in attributes["message_digest"]] != [digest]:
        raise MacError("the signature of the profile is over another content")
    encoded: bytes = signer["signed_attrs"].untag().dump()
    return encoded


def _verify(key: object, signature: bytes, data: bytes, digest: str) -> None:
    if digest not in DIGESTS:
        raise MacError(f"the digest {digest} is none that a Mac knows")
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, data, padding.PKCS1v15(), DIGESTS[digest])
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, data, ec.ECDSA(DIGESTS[digest]))
    else:
        raise MacError("the profile is signed with a key that is neither RSA nor on a curve")
