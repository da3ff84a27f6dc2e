"""Read the parts of a CMS SignedData message as its original bytes; verifies nothing.

The rules of this file:

1. Return signed parts as the bytes that were received: a parser that encodes them again may change them.
2. Accept every form that OpenSSL and Apple write: DER and BER with indefinite lengths, strings in one or
   several parts, with and without signed attributes.
3. The message is untrusted input, so its number of elements bounds the work: parse no element twice, and
   compare names of algorithms, attributes and extensions as bytes.

Source: RFC 5652, 5, 10.2 and 11; RFC 5280, 4.1.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Self

import attrs

from pyade.core.input_limits import malformed
from pyade.crypto import ber

MAX_CERTIFICATES: Final = 32
"""Maximum number of certificates in a message; Macs send up to four."""

ID_DATA: Final = "1.2.840.113549.1.7.1"
_SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
_CONTENT_TYPE: Final = bytes.fromhex("2a864886f70d010903")  # 1.2.840.113549.1.9.3
_MESSAGE_DIGEST: Final = bytes.fromhex("2a864886f70d010904")  # 1.2.840.113549.1.9.4
_KEY_IDENTIFIER: Final = bytes.fromhex("551d0e")  # 2.5.29.14
_LONG: Final = 64
"""Size in bytes from which an AlgorithmIdentifier is not cached; usual ones have up to 15."""
_OCTETS: Final = "04/24"
_OCTET_STRING: Final = 0x04
_SEQUENCE: Final = 0x30
_SET: Final = b"\x31"
_ABSENT: Final = ber.Element(b"", 0, 0, 0, 0, 0, ())


@attrs.frozen(kw_only=True)
class SignedAttributes:
    """The attributes that were signed instead of the content.

    Attributes:
        signed: The signed bytes.
        content_type: Type of the content, a dotted object identifier.
        message_digest: Digest of the content.
    """

    signed: bytes
    content_type: str
    message_digest: bytes


@attrs.frozen(kw_only=True)
class CertificateParts:
    """An X.509 certificate, not verified.

    Attributes:
        encoded: The bytes of the whole certificate.
        is_der: False if a part that the issuer's signature does not protect is not in DER form: lengths, or
            the unused bits of the signature or the public key.
        signed: The part that the issuer signed, as its original bytes.
        signature: The signature of the issuer.
        issuer: DER of the issuer's name.
        subject: DER of the subject's name.
        serial_number: The serial number from the issuer.
        public_key: DER of the SubjectPublicKeyInfo.
        algorithm: Algorithm of the issuer's signature, a dotted object identifier.
        is_consistent: False if the signed part names another algorithm.
        key_identifier: Subject key identifier; None if it has none.
    """

    encoded: bytes = attrs.field(repr=False)
    is_der: bool
    signed: bytes = attrs.field(repr=False)
    signature: bytes
    issuer: bytes
    subject: bytes
    serial_number: int
    public_key: bytes
    algorithm: str
    is_consistent: bool
    key_identifier: bytes | None


@attrs.frozen(kw_only=True)
class SignedData:
    """A signed message with exactly one signer.

    Attributes:
        content: The signed content.
        certificates: The readable certificates of the message, each once; not verified.
        signer_issuer: DER of the issuer's name of the signer's certificate; None if
            ``signer_key_identifier`` identifies that certificate.
        signer_serial_number: Serial number of that certificate; None like ``signer_issuer``.
        signer_key_identifier: Subject key identifier of that certificate; None if its issuer and serial
            number identify it.
        digest_algorithm: A dotted object identifier.
        signature_algorithm: A dotted object identifier.
        signature: The signature of the signer.
        attributes: None if the content itself was signed.
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
        """Return the certificate of the signer; None if there is none, or if several match."""
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


@attrs.frozen
class KnownCertificates:
    """Certificates that are in many messages, such as those of authorities, and are parsed only once.

    Attributes:
        parts: The parsed certificates, by their bytes.
        elements: The certificates and their subject names, which are the issuer names of others.
    """

    parts: Mapping[bytes, CertificateParts] = attrs.field(factory=dict)
    elements: Mapping[int, Sequence[ber.Known]] = attrs.field(factory=dict)

    @classmethod
    def read(cls, certificates: Iterable[bytes]) -> Self:
        """Return the parsed *certificates*, each in DER.

        Raises:
            MalformedError: One is not a certificate.
        """
        parts = {encoded: read_certificate(encoded) for encoded in certificates}
        names = {one.subject for one in parts.values()}
        return cls(parts, ber.by_size(map(ber.Known.read, (*parts, *names))))


def read_signed_data(message: bytes, known: KnownCertificates = KnownCertificates()) -> SignedData:
    """Return the parts of a CMS message.

    Args:
        message: DER or BER.
        known: Certificates that need not be parsed again; the result is the same without them.

    Raises:
        TrustError: It is a CMS message of another type, or has no content, or not exactly one signer.
        MalformedError: It is not a CMS message.
    """
    whole = ber.parse(message, known=known.elements)  # rule 3
    if whole.last != len(message):
        raise malformed("bytes follow the signed message")
    kind, wrapped = _parts(whole, 0x30, "06 a0?")
    if kind.identifier() != _SIGNED_DATA:
        raise malformed(f"a CMS message of type {kind.identifier()}; signed data has the type {_SIGNED_DATA}")
    (data,) = _parts(wrapped, 0xA0, "30")
    _, _, encapsulated, bag, _, signers = _parts(data, 0x30, "02 31 30 a0? a1? 31")
    kind, wrapped = _parts(encapsulated, 0x30, "06 a0?")
    if kind.identifier() != ID_DATA:
        raise malformed(
            f"a signed message with content of type {kind.identifier()}; allowed is data, {ID_DATA}"
        )
    if wrapped is _ABSENT:
        raise malformed("the signed message has no content")
    (content,) = _parts(wrapped, 0xA0, _OCTETS)
    if len(signers.children) != 1:
        raise malformed(f"the message has {len(signers.children)} signers, exactly one is needed")
    _, signer, digest, attributes, algorithm, signature, _ = _parts(
        signers.children[0], 0x30, f"02 30/80/a0 30 a0? 30 {_OCTETS} a1?"
    )
    issuer, number = _parts(signer, 0x30, "30 02") if signer.tag == _SEQUENCE else (None, None)
    return SignedData(
        content=content.octets(),  # rule 2
        certificates=_certificates(bag, known.parts),
        signer_issuer=None if issuer is None else issuer.encoded,
        signer_serial_number=None if number is None else _integer(number),
        signer_key_identifier=signer.octets() if issuer is None else None,
        digest_algorithm=_algorithm(digest),
        signature_algorithm=_algorithm(algorithm),
        signature=signature.octets(),
        attributes=None if attributes is _ABSENT else _attributes(attributes),
    )


def read_certificate(der: bytes) -> CertificateParts:
    """Return the parts of a certificate.

    Raises:
        MalformedError: *der* is not a certificate.
    """
    return _certificate(ber.parse(der))


def _certificate(element: ber.Element) -> CertificateParts:
    tbs, outer, signature = _parts(element, 0x30, "30 30 03")
    _, number, inner, issuer, _, subject, public_key, _, _, extensions = _parts(
        tbs, 0x30, "a0? 02 30 30 30 30 30 81? 82? a3?"
    )
    _, key = _parts(public_key, 0x30, "30 03")
    unused_bits = signature.contents[:1] + key.contents[:1]
    return CertificateParts(
        encoded=element.encoded,
        is_der=_is_shortest(element) and _is_shortest(signature) and unused_bits == b"\x00\x00",
        signed=tbs.encoded,  # rule 1
        signature=signature.contents[1:],
        issuer=issuer.encoded,
        subject=subject.encoded,
        serial_number=_integer(number),
        public_key=public_key.encoded,
        algorithm=_algorithm(outer),
        is_consistent=inner.encoded == outer.encoded,
        key_identifier=_key_identifier(extensions),
    )


def _is_shortest(element: ber.Element) -> bool:
    """Return True if the length of *element* has its DER form, which is the shortest."""
    size = element.end - element.start
    in_bytes = 0 if size < 0x80 else (size.bit_length() + 7) // 8
    return not element.is_indefinite and element.start - element.first == 2 + in_bytes


def _certificates(bag: ber.Element, known: Mapping[bytes, CertificateParts]) -> tuple[CertificateParts, ...]:
    if len(bag.children) > MAX_CERTIFICATES:
        raise malformed(
            f"the message has {len(bag.children)} certificates, at most {MAX_CERTIFICATES} are allowed"
        )
    found: dict[bytes, CertificateParts] = {}
    for element in bag.children:
        try:
            if (encoded := element.encoded) not in found:
                found[encoded] = known.get(encoded) or _certificate(element)
        except ber.MalformedError:  # attribute certificates, other formats, garbage
            continue
    return tuple(found.values())


def _key_identifier(extensions: ber.Element) -> bytes | None:
    if extensions is _ABSENT:
        return None
    (listed,) = _parts(extensions, 0xA3, "30")
    for extension in listed.children:
        if extension.children and extension.children[0].contents == _KEY_IDENTIFIER:
            _, _, value = _parts(extension, 0x30, "06 01? 04")
            # One string in one part, because a certificate is in DER.
            identifier = ber.parse(value.contents, max_elements=1)
            if identifier.tag != _OCTET_STRING:
                raise ber.MalformedError("a key identifier that is not an OCTET STRING")
            return identifier.contents
    return None


def _attributes(element: ber.Element) -> SignedAttributes:
    if element.is_indefinite:
        raise malformed("the signed attributes are not in DER")
    values: dict[bytes, list[ber.Element]] = {_CONTENT_TYPE: [], _MESSAGE_DIGEST: []}
    for attribute in element.children:
        if attribute.children and attribute.children[0].contents in values:
            name, value = _parts(attribute, 0x30, "06 31")
            # An attribute without a value makes the number wrong as well.
            values[name.contents] += value.children or [_ABSENT, _ABSENT]
    if any(len(found) != 1 for found in values.values()):
        raise malformed("the signed attributes need contentType and messageDigest, each exactly once")
    (content_type,), (digest,) = values[_CONTENT_TYPE], values[_MESSAGE_DIGEST]
    if digest.tag != _OCTET_STRING:
        raise malformed("messageDigest is not an OCTET STRING")
    # Replace the tag [0] by that of a SET, and keep the other bytes: a new encoding might sort them.
    return SignedAttributes(
        signed=_SET + element.encoded[1:],
        content_type=content_type.identifier(),
        message_digest=digest.octets(),
    )


def _parts(element: ber.Element, tag: int, form: str) -> list[ber.Element]:
    """Return the children of *element*.

    Args:
        element: Must have the *tag*.
        tag: The identifier octet.
        form: Tags of the children, in order: ``04/24`` is one or the other, ``a0?`` is optional, and
            ``_ABSENT`` in the result if it is missing.

    Raises:
        MalformedError: *element* has another form.
    """
    if element.tag != tag:
        raise ber.MalformedError(f"no element {tag:02x}")
    children, position = element.children, 0
    found: list[ber.Element] = []
    for tags, may_be_missing in _tags_of(form):
        if position < len(children) and children[position].tag in tags:
            found.append(children[position])
            position += 1
        elif may_be_missing:
            found.append(_ABSENT)
        else:
            raise ber.MalformedError(f"no element {tags.hex()} in one of the form {form}")
    if position < len(children):
        raise ber.MalformedError(f"more elements than {form}")
    return found


@functools.cache
def _tags_of(form: str) -> tuple[tuple[bytes, bool], ...]:
    return tuple((bytes.fromhex(one.rstrip("?").replace("/", "")), one.endswith("?")) for one in form.split())


def _algorithm(element: ber.Element) -> str:
    encoded = element.encoded
    return _algorithm_of(encoded) if len(encoded) < _LONG else _algorithm_of.__wrapped__(encoded)


@functools.lru_cache(maxsize=64)
def _algorithm_of(encoded: bytes) -> str:
    return _parts(ber.parse(encoded), 0x30, "06 05/30?")[0].identifier()


def _integer(element: ber.Element) -> int:
    return int.from_bytes(element.contents, "big", signed=True)
