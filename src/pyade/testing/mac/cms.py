"""Sign messages as devices do: CMS SignedData in the observed formats and in others that the RFC allows.

Also the keys of devices and of their authority. Written without the CMS code of ``pyade.crypto``, as an
independent check of the reader there.

Source: RFC 5652, 5 and 11; how Macs and iPads sign: observed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Literal, TypeAlias

import attrs
from asn1crypto import algos, cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from pyade.core.arguments import check_arguments
from pyade.crypto.signatures import needing
from pyade.testing.der import definite, indefinite

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
        CryptoPolicyError: The crypto policy of this machine forbids *digest*.
    """
    with needing(f"a signature with {digest.upper()}"):
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(data, padding.PKCS1v15(), DIGESTS[digest])
        return key.sign(data, ec.ECDSA(DIGESTS[digest]))


def signature_algorithm(key: PrivateKey, digest: Digest) -> str:
    """Return asn1crypto's name of the signature algorithm of *key* with *digest*."""
    return f"{digest}_{'rsa' if isinstance(key, rsa.RSAPrivateKey) else 'ecdsa'}"


_SEQUENCE, _SET, _OCTETS, _CONTEXT_0 = 0x30, 0x31, 0x04, 0xA0
_CONSTRUCTED_OCTETS: Final = 0x24


@check_arguments
@attrs.frozen(kw_only=True)
class CmsForm:
    """The format of a signed message; the defaults are those of a Mac.

    Attributes:
        encoding: ``ber`` with indefinite lengths and the content in parts, or ``der``.
        digest: The digest of the content and of the signature.
        has_attributes: True signs attributes that hold the digest of the content, as iPads do; False signs
            the content.
        has_chain: False includes only the device's certificate.
        signer: How the signer is identified: by ``issuer`` and serial number, or by the subject
            ``key-identifier``.
        APPLE: The format of a Mac.
        IPAD: The format of an iPad: that of a Mac with signed attributes.
        MODERN: DER, SHA-256, signed attributes: the format of most other programs.
    """

    APPLE: ClassVar[CmsForm]
    IPAD: ClassVar[CmsForm]
    MODERN: ClassVar[CmsForm]

    encoding: Literal["ber", "der"] = "ber"
    digest: Digest = "sha1"
    has_attributes: bool = False
    has_chain: bool = True
    signer: Literal["issuer", "key-identifier"] = "issuer"


CmsForm.APPLE = CmsForm()
CmsForm.IPAD = CmsForm(has_attributes=True)
CmsForm.MODERN = CmsForm(encoding="der", digest="sha256", has_attributes=True)


def sign_message(
    content: bytes,
    key: PrivateKey,
    certificate: x509.Certificate,
    chain: Sequence[x509.Certificate],
    form: CmsForm,
) -> bytes:
    """Return *content* in a signed message."""
    bag = [certificate, *(chain if form.has_chain else ())]
    signed = _signer_info(content, key, certificate, form)
    by_issuer = form.signer == "issuer"
    outer, octets = (
        (indefinite, _constructed_octets) if form.encoding == "ber" else (definite, _primitive_octets)
    )
    data = outer(
        _SEQUENCE,
        b"\x02\x01\x01" if by_issuer else b"\x02\x01\x03",
        definite(_SET, algos.DigestAlgorithm({"algorithm": form.digest}).dump()),
        outer(_SEQUENCE, cms.ContentType("data").dump(), outer(_CONTEXT_0, octets(content))),
        outer(_CONTEXT_0, *(one.public_bytes(Encoding.DER) for one in bag)),
        definite(_SET, signed),
    )
    return outer(_SEQUENCE, cms.ContentType("signed_data").dump(), outer(_CONTEXT_0, data))


def _constructed_octets(content: bytes) -> bytes:
    return indefinite(_CONSTRUCTED_OCTETS, definite(_OCTETS, content))


def _primitive_octets(content: bytes) -> bytes:
    return definite(_OCTETS, content)


def _signer_info(content: bytes, key: PrivateKey, certificate: x509.Certificate, form: CmsForm) -> bytes:
    attributes = None
    to_sign = content
    if form.has_attributes:
        digest = hashlib.new(form.digest, content).digest()
        attributes = cms.CMSAttributes(
            [{"type": "content_type", "values": ["data"]}, {"type": "message_digest", "values": [digest]}]
        )
        to_sign = attributes.dump()
    info = {
        "version": "v1" if form.signer == "issuer" else "v3",
        "sid": _identifier(certificate, form),
        "digest_algorithm": {"algorithm": form.digest},
        "signed_attrs": attributes,
        "signature_algorithm": {"algorithm": signature_algorithm(key, form.digest)},
        "signature": sign(key, to_sign, form.digest),
    }
    encoded: bytes = cms.SignerInfo({name: value for name, value in info.items() if value is not None}).dump()
    return encoded


def _identifier(certificate: x509.Certificate, form: CmsForm) -> cms.SignerIdentifier:
    if form.signer == "key-identifier":
        identifier = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
        return cms.SignerIdentifier("subject_key_identifier", identifier)
    issuer = cms.Certificate.load(certificate.public_bytes(Encoding.DER)).issuer
    return cms.SignerIdentifier(
        "issuer_and_serial_number", {"issuer": issuer, "serial_number": certificate.serial_number}
    )
