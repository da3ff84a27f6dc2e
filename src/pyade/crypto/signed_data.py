"""CMS SignedData: its parts as the bytes that they are.

Read by hand, because a signature is over bytes: what a parser takes apart and puts together again may be
others. Every form that OpenSSL and Apple write: DER and BER with indefinite lengths, strings in one or
several parts, with and without signed attributes. Nothing is verified here.

Source: RFC 5652, 5, 10.2 and 11; RFC 5280, 4.1.
"""

from __future__ import annotations

from typing import Final

import attrs

from pyade.core.untrusted import malformed
from pyade.crypto import ber

ID_DATA: Final = "1.2.840.113549.1.7.1"
_SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
_CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
_KEY_IDENTIFIER: Final = "2.5.29.14"
_OCTETS: Final = "04/24"
_SEQUENCE: Final = 0x30
_SET: Final = b"\x31"


@attrs.frozen(kw_only=True)
class SignedAttributes:
    """What was signed instead of the content.

    Attributes:
        signed: The bytes under the signature.
        content_type: Of the content, with dots.
        message_digest: Of the content.
    """

    signed: bytes
    content_type: str
    message_digest: bytes


@attrs.frozen(kw_only=True)
class CertificateParts:
    """An X.509 certificate, not verified.

    Attributes:
        der: All of it.
        issuer: DER of the name.
        subject: DER of the name.
        serial_number: As its issuer gave it.
        public_key: DER of the SubjectPublicKeyInfo.
        inner_algorithm: DER of the signature's algorithm, in the signed part.
        outer_algorithm: The same beside the signature.
        key_identifier: Subject key identifier; None if it has none.
    """

    der: bytes = attrs.field(repr=False)
    issuer: bytes
    subject: bytes
    serial_number: int
    public_key: bytes
    inner_algorithm: bytes
    outer_algorithm: bytes
    key_identifier: bytes | None


@attrs.frozen(kw_only=True)
class SignedData:
    """A signed message with exactly one signer.

    Attributes:
        content: What it is about.
        certificates: Those of the message that could be read, each once; nothing vouches for them.
        signer_issuer: DER of the name of whoever issued the signer's certificate; None if it is named by
            ``signer_key_identifier``.
        signer_serial_number: Of that certificate.
        signer_key_identifier: Of that certificate.
        digest_algorithm: With dots.
        signature_algorithm: With dots.
        signature: Of the signer.
        attributes: None if the signature is over the content itself.
    """

    content: bytes = attrs.field(repr=False)
    certificates: tuple[CertificateParts, ...]
    signer_issuer: bytes | None
    signer_serial_number: int | None
    signer_key_identifier: bytes | None
    digest_algorithm: str
    signature_algorithm: str
    signature: bytes
    attributes: SignedAttributes | None

    def signer_certificate(self) -> CertificateParts | None:
        """Return the certificate that the signer names; None if there is none, or if there are several."""
        found = [
            one
            for one in self.certificates
            if (
                one.key_identifier == self.signer_key_identifier
                if self.signer_issuer is None
                else (one.issuer, one.serial_number) == (self.signer_issuer, self.signer_serial_number)
            )
        ]
        return found[0] if len(found) == 1 else None


def read_signed_data(message: bytes) -> SignedData:
    """Return the parts of a CMS message.

    Raises:
        TrustError: It is a CMS message of another kind, or one with no content, with no signer or several.
        MalformedError: It is no CMS message.
    """
    if ber.walk(message)[1] != len(message):
        raise malformed("something follows the signed message")
    kind, wrapped = _parts(message, "30", "06 a0?")
    if ber.identifier(kind) != _SIGNED_DATA:
        raise malformed(f"a CMS message of type {ber.identifier(kind)}, signed data is {_SIGNED_DATA}")
    (data,) = _parts(wrapped, "a0", "30")
    _, _, encapsulated, bag, _, signers = _parts(data, "30", "02 31 30 a0? a1? 31")
    kind, wrapped = _parts(encapsulated, "30", "06 a0?")
    if ber.identifier(kind) != ID_DATA:
        raise malformed(f"a signed message with content of type {ber.identifier(kind)}, data is {ID_DATA}")
    if not wrapped:
        raise malformed("the signed message has no content in it")
    (content,) = _parts(wrapped, "a0", _OCTETS)
    infos = ber.children(signers)
    if len(infos) != 1:
        raise malformed(f"the message has {len(infos)} signers, exactly one is needed")
    _, signer, digest, attributes, algorithm, signature, _ = _parts(
        infos[0], "30", f"02 30/80/a0 30 a0? 30 {_OCTETS} a1?"
    )
    issuer, number = _parts(signer, "30", "30 02") if signer[0] == _SEQUENCE else (None, None)
    return SignedData(
        content=ber.octets(content),
        certificates=_certificates(bag),
        signer_issuer=issuer,
        signer_serial_number=None if number is None else _integer(number),
        signer_key_identifier=ber.octets(signer) if issuer is None else None,
        digest_algorithm=algorithm_identifier(digest),
        signature_algorithm=algorithm_identifier(algorithm),
        signature=ber.octets(signature),
        attributes=_attributes(attributes) if attributes else None,
    )


def read_certificate(der: bytes) -> CertificateParts:
    """Return the parts of a certificate that ``ber.walk`` accepted.

    Raises:
        MalformedError: It is none.
    """
    tbs, outer, _ = _parts(der, "30", "30 30 03")
    _, number, inner, issuer, _, subject, public_key, _, _, extensions = _parts(
        tbs, "30", "a0? 02 30 30 30 30 30 81? 82? a3?"
    )
    return CertificateParts(
        der=der,
        issuer=issuer,
        subject=subject,
        serial_number=_integer(number),
        public_key=public_key,
        inner_algorithm=inner,
        outer_algorithm=outer,
        key_identifier=_key_identifier(extensions) if extensions else None,
    )


def _certificates(bag: bytes) -> tuple[CertificateParts, ...]:
    found: dict[bytes, CertificateParts] = {}
    for element in ber.children(bag) if bag else ():
        if element[0] != _SEQUENCE:  # attribute certificates and other formats
            continue
        try:
            found[element] = read_certificate(element)
        except ber.MalformedError:
            continue
    return tuple(found.values())


def _key_identifier(extensions: bytes) -> bytes | None:
    (listed,) = _parts(extensions, "a3", "30")
    for extension in ber.children(listed):
        name, _, value = _parts(extension, "30", "06 01? 04")
        if ber.identifier(name) == _KEY_IDENTIFIER:
            return ber.octets(ber.octets(value))
    return None


def _attributes(element: bytes) -> SignedAttributes:
    if element[1] == 0x80:
        raise malformed("the signed attributes are not in DER")
    values: dict[str, list[bytes]] = {_CONTENT_TYPE: [], _MESSAGE_DIGEST: []}
    for attribute in ber.children(element):
        name, value = _parts(attribute, "30", "06 31")
        if (key := ber.identifier(name)) in values:
            # One without a value, or with several, must count as well.
            values[key] += ber.children(value) or [b"", b""]
    if any(len(found) != 1 for found in values.values()):
        raise malformed("the signed attributes need contentType and messageDigest, each exactly once")
    (content_type,), (digest,) = values[_CONTENT_TYPE], values[_MESSAGE_DIGEST]
    if digest[0] != 0x04:
        raise malformed("messageDigest is no string of octets")
    # The tag of a SET in the place of [0]; the bytes stay, for a new encoding might sort them.
    return SignedAttributes(
        signed=_SET + element[1:],
        content_type=ber.identifier(content_type),
        message_digest=ber.octets(digest),
    )


def _parts(element: bytes, tag: str, form: str) -> list[bytes]:
    """Return the elements in *element*.

    Args:
        element: Must have the *tag*.
        tag: Hexadecimal.
        form: The tags of the elements in it, in order: ``04/24`` is one or the other, ``a0?`` may be missing
            and is then b"" in the result.

    Raises:
        MalformedError: It is made in another way.
    """
    if element[:1].hex() != tag:
        raise ber.MalformedError(f"no element {tag}")
    found: list[bytes] = []
    rest = ber.children(element)
    for wanted in form.split():
        if rest and f"{rest[0][0]:02x}" in wanted:
            found.append(rest.pop(0))
        elif wanted.endswith("?"):
            found.append(b"")
        else:
            raise ber.MalformedError(f"no element {wanted} in one that is made of {form}")
    if rest:
        raise ber.MalformedError(f"more elements than {form}")
    return found


def algorithm_identifier(element: bytes) -> str:
    """Return the name of an AlgorithmIdentifier, with dots.

    Raises:
        MalformedError: It is none.
    """
    return ber.identifier(_parts(element, "30", "06 05/30?")[0])


def _integer(element: bytes) -> int:
    leaves, _ = ber.walk(element)
    return int.from_bytes(element[leaves[0].start : leaves[0].end], "big", signed=True)
