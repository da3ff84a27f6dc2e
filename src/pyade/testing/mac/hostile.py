"""The most expensive messages to parse that fit into 64 KiB, one for each shape.

For measuring: none may cost much more than the refusal of an ordinary message. An attacker needs no key for
those of ``unsigned_messages`` and ``requests``: one captured message of a Mac is enough. Those of
``signed_messages`` need the key of a device. Written without ``pyade.crypto``.

Source: RFC 5652, 5; RFC 5280, 4.1; RFC 2986, 4; ITU-T X.690, 8.
"""

from __future__ import annotations

import plistlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from asn1crypto import algos, cms
from asn1crypto import x509 as asn1
from cryptography.hazmat.primitives.serialization import Encoding

from pyade.core.input_limits import MAX_BYTES
from pyade.testing.der import definite, indefinite
from pyade.testing.mac.authority import DeviceIdentity
from pyade.testing.mac.cms import CmsForm

SEQUENCE, SET, OCTETS, OID, INTEGER, BITS = 0x30, 0x31, 0x04, 0x06, 0x02, 0x03
NULL: Final = b"\x05\x00"
COMMON_NAME: Final = bytes.fromhex("0603550403")
NAME_PART: Final = definite(SET, definite(SEQUENCE, COMMON_NAME, b"\x0c\x01a"))
ATTRIBUTE: Final = definite(SEQUENCE, b"\x06\x01*", b"\x31\x00")
SPACE: Final = MAX_BYTES - 3_000
"""Bytes for the expensive part of a message; the rest of the message and lengths need the others."""


class Writer:
    """Repeats expensive elements as often as the limits allow."""

    def __init__(self, elements: int) -> None:
        self._elements = elements

    def fill(self, piece: bytes) -> bytes:
        """Return *piece* repeated up to the limits."""
        return piece * min(SPACE // len(piece), self._elements // count_elements(piece))

    def numbered(self, make: Callable[[int], bytes], count: int = SPACE) -> bytes:
        """Return different pieces, at most *count* and up to the limits."""
        pieces: list[bytes] = []
        space, elements = SPACE, self._elements
        while len(pieces) < count:
            piece = make(len(pieces) + 1)
            space, elements = space - len(piece), elements - count_elements(piece)
            if space < 0 or elements < 0:
                break
            pieces.append(piece)
        return b"".join(pieces)


def count_elements(data: bytes) -> int:
    """Return the number of BER elements in *data*, end-of-contents octets included."""
    count = at = 0
    while at < len(data):
        length, start = data[at + 1], at + 2
        if length == 0x80:
            length = 0
        elif length > 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[at + 2 : start], "big")
        count += 1
        at = start if data[at] & 0x20 else start + length
    return count


def nested(tag: int, form: Callable[..., bytes] = definite) -> bytes:
    """Return an empty element nested in 15 others."""
    element = b""
    for _ in range(16):
        element = form(tag, element)
    return element


def long_element(tag: int, size: int = SPACE - 1_000) -> bytes:
    """Return one element of *size* bytes."""
    return definite(tag, b"\x01" + b"\x7f" * size)


def integer(value: int) -> bytes:
    """Return an INTEGER."""
    return definite(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def largest_integer(bits: int) -> bytes:
    """Return the largest INTEGER of so many bits."""
    return integer((1 << bits) - 1)


def rsa_key(modulus: bytes, exponent: bytes) -> bytes:
    """Return a SubjectPublicKeyInfo of two INTEGERs."""
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    return definite(SEQUENCE, algorithm, definite(BITS, b"\x00", definite(SEQUENCE, modulus, exponent)))


def extension(number: int) -> bytes:
    """Return an extension of an unknown type."""
    name = bytes((0x2A, 0x81 | number >> 14 & 0x7F, 0x80 | number >> 7 & 0x7F, number & 0x7F))
    return definite(SEQUENCE, definite(OID, name), b"\x04\x00")


def long_extension(number: int) -> bytes:
    """Return an extension of an unknown type with a long object identifier."""
    name = b"\x2a" + b"\x81" * 60 + bytes((0x80 | number >> 7 & 0x7F, number & 0x7F))
    return definite(SEQUENCE, definite(OID, name), b"\x04\x00")


def known_extension(identifier: str, value: bytes) -> bytes:
    """Return an extension of a type that parsers decode."""
    return definite(SEQUENCE, definite(OID, bytes.fromhex(identifier)), definite(OCTETS, value))


_SHA1: Final = algos.DigestAlgorithm({"algorithm": "sha1"}).dump()
_SHA1_RSA: Final = algos.SignedDigestAlgorithm({"algorithm": "sha1_rsa"}).dump()
_SHA256_RSA: Final = algos.SignedDigestAlgorithm({"algorithm": "sha256_rsa"}).dump()
_DATA: Final = cms.ContentType("data").dump()
_SIGNED_DATA: Final = cms.ContentType("signed_data").dump()
_CONTENT: Final = definite(OCTETS, plistlib.dumps({"SERIAL": "C02EXAMPLE01"}))
_HEAD: Final = b'<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict>'
_TAIL: Final = b"</dict></plist>"


def unsigned_messages(identity: DeviceIdentity, *, elements: int = MAX_BYTES) -> Mapping[str, bytes]:
    """Return messages without a valid signature, by the element that they repeat.

    Args:
        identity: The identity of a device; only its certificate is used, which all of its messages contain.
        elements: How many elements of BER the expensive part may have.
    """
    return _UnsignedMessages(identity, elements).messages()


def requests(*, elements: int = MAX_BYTES) -> Mapping[str, bytes]:
    """Return certificate requests of SCEP with an unknown challenge, by the element that they repeat.

    Args:
        elements: How many elements of BER the expensive part may have.
    """
    return _CertificateRequests(elements).messages()


def signed_messages(identity: DeviceIdentity, *, marks: int = MAX_BYTES) -> Mapping[str, bytes]:
    """Return validly signed messages with an expensive property list, by the element that it repeats.

    Args:
        identity: The identity of a device, with its key.
        marks: How many tags, line ends, references and quotes the expensive part may have.
    """
    key = b"<key>a</key>"
    text = partial(_inside, "string")

    def many(piece: bytes) -> bytes:
        return piece * min(SPACE // len(piece), marks // max(1, _count_marks(piece)))

    keys = (b"<key>%x</key><true/>" % number for number in range(min(2_700, marks // 3)))
    attributes = (b' a%x=""' % number for number in range(min(7_000, marks // 2)))
    lists = {
        "elements": key + b"<array>" + many(b"<true/>") + b"</array>",
        "keys": b"".join(keys),
        "depth": many(key + b"<array>" * 14 + b"</array>" * 14),
        "lines": text(many(b"\n")),
        "carriage returns": text(many(b"\r")),
        "references": text(many(b"&lt;")),
        "sections": text(many(b"<![CDATA[]]>")),
        "comments": many(b"<!---->"),
        "instructions": many(b"<?a?>"),
        "attributes": key + b"<string" + b"".join(attributes) + b"/>",
        "digits": _inside("integer", many(b"9")),
        "hexadecimal digits": _inside("integer", b"0x" + many(b"f")),
        "a real number": _inside("real", many(b"9")),
        "data": _inside("data", many(b"AAAA")),
        "spaces in data": _inside("data", many(b"A ")),
        "a date": _inside("date", many(b"9")),
    }
    form = CmsForm(has_chain=False)
    return {name: identity.sign(_HEAD + content + _TAIL, form=form) for name, content in lists.items()}


def _inside(element: str, text: bytes) -> bytes:
    tag = element.encode()
    return b"<key>a</key><%b>%b</%b>" % (tag, text, tag)


def _count_marks(piece: bytes) -> int:
    return sum(map(piece.count, (b"<", b"\n", b"\r", b"&", b'"', b"'")))


class _UnsignedMessages(Writer):
    """Writes messages that need no key."""

    def __init__(self, identity: DeviceIdentity, elements: int) -> None:
        super().__init__(elements)
        self._leaf = identity.certificate.public_bytes(Encoding.DER)
        self._issuer = identity.certificate.issuer.public_bytes()
        self._subject = identity.certificate.subject.public_bytes()
        self._number = integer(identity.certificate.serial_number)
        parts = asn1.Certificate.load(self._leaf)["tbs_certificate"]
        self._validity, self._key = parts["validity"].dump(), parts["subject_public_key_info"].dump()

    def messages(self) -> dict[str, bytes]:
        return {
            **self._of_elements(),
            **self._of_certificates(),
            **self._of_one_certificate(),
            **self._of_signers(),
        }

    def _of_elements(self) -> dict[str, bytes]:
        parts = self.fill(b"\x04\x00")
        return {
            "elements": self._message(content=definite(0x24, self.fill(NULL))),
            "empty elements": self._message(bag=self.fill(b"\x30\x00")),
            "nested elements": self._message(bag=self.fill(nested(SEQUENCE))),
            "nested elements of indefinite length": self._message(
                bag=self.fill(nested(SEQUENCE, indefinite))
            ),
            "nested content": self._message(content=definite(0x24, self.fill(nested(0x24)))),
            "parts of the content": self._message(content=definite(0x24, parts)),
            "parts of the signature": self._message(signature=definite(0x24, parts)),
            "digests": self._message(digests=self.fill(_SHA1)),
            "a long object identifier": self._message(kind=long_element(OID)),
            "content": self._message(content=long_element(OCTETS)),
        }

    def _of_certificates(self) -> dict[str, bytes]:
        return {
            "certificates": self._message(bag=self.numbered(self._smallest)),
            "certificates of one name": self._message(bag=self.numbered(self._namesake)),
            "the certificate again and again": self._message(bag=self.fill(self._leaf)),
            "certificates with elements in their key identifier": self._message(
                bag=self.numbered(self._identified, 14)
            ),
        }

    def _of_one_certificate(self) -> dict[str, bytes]:
        names, points = self.fill(b"\x82\x01a"), self.fill(b"\x30\x00")
        policies, usages = self.fill(b"\x30\x03\x06\x01*"), self.fill(b"\x06\x01*")
        values = definite(SET, self.fill(NAME_PART[2:]))
        name = definite(SET, definite(SEQUENCE, COMMON_NAME, long_element(0x0C)))
        serial = long_element(INTEGER, 30_000)
        return {
            "extensions": self._certified(extensions=self.numbered(extension)),
            "extensions with long names": self._certified(extensions=self.numbered(long_extension)),
            "alternative names": self._certified(
                extensions=known_extension("551d11", definite(SEQUENCE, names))
            ),
            "policies": self._certified(extensions=known_extension("551d20", definite(SEQUENCE, policies))),
            "distribution points": self._certified(
                extensions=known_extension("551d1f", definite(SEQUENCE, points))
            ),
            "usages": self._certified(extensions=known_extension("551d25", definite(SEQUENCE, usages))),
            "parts of a name": self._certified(subject=definite(SEQUENCE, self.fill(NAME_PART))),
            "a part of a name with many values": self._certified(subject=definite(SEQUENCE, values)),
            "a long name": self._certified(subject=definite(SEQUENCE, name)),
            "a long serial number": self._message(bag=self._certificate(number=serial), number=serial),
            "a long RSA exponent": self._certified(
                key=rsa_key(largest_integer(1_024), long_element(INTEGER))
            ),
            "a long RSA modulus": self._certified(key=rsa_key(long_element(INTEGER), integer(65_537))),
            "a large RSA key": self._certified(key=rsa_key(largest_integer(16_384), largest_integer(16_000))),
            "a long signature of the certificate": self._certified(signature=b"\x01" * SPACE),
        }

    def _of_signers(self) -> dict[str, bytes]:
        long_name = definite(SEQUENCE, definite(OID, b"\x81" * 63 + b"\x01"), b"\x31\x00")
        digest = cms.CMSAttributeType("message_digest").dump()
        digests = definite(SEQUENCE, digest, definite(SET, self.fill(b"\x04\x00")))
        return {
            "signers": self._message(signers=self.fill(self._signer())),
            "empty signers": self._message(signers=self.fill(b"\x30\x00")),
            "signed attributes": self._message(attributes=self.fill(ATTRIBUTE)),
            "signed attributes with long names": self._message(attributes=self.fill(long_name)),
            "values of a signed attribute": self._message(attributes=digests),
            "a long signature": self._message(signature=long_element(OCTETS)),
        }

    def _message(
        self,
        *,
        content: bytes = _CONTENT,
        bag: bytes = b"",
        digests: bytes = _SHA1,
        signers: bytes = b"",
        kind: bytes = _DATA,
        **signer: bytes,
    ) -> bytes:
        data = definite(
            SEQUENCE,
            b"\x02\x01\x01",
            definite(SET, digests),
            definite(SEQUENCE, kind, definite(0xA0, content)),
            definite(0xA0, bag or self._leaf),
            definite(SET, signers or self._signer(**signer)),
        )
        return definite(SEQUENCE, _SIGNED_DATA, definite(0xA0, data))

    def _signer(
        self,
        *,
        attributes: bytes = b"",
        signature: bytes = definite(OCTETS, b"\x01" * 128),
        number: bytes = b"",
    ) -> bytes:
        return definite(
            SEQUENCE,
            b"\x02\x01\x01",
            definite(SEQUENCE, self._issuer, number or self._number),
            _SHA1,
            definite(0xA0, attributes) if attributes else b"",
            _SHA1_RSA,
            signature,
        )

    def _certified(self, **parts: bytes) -> bytes:
        """Return a message whose signer has a certificate with an expensive element."""
        return self._message(bag=self._certificate(**parts))

    def _certificate(
        self,
        *,
        number: bytes = b"",
        subject: bytes = b"",
        key: bytes = b"",
        extensions: bytes = b"",
        signature: bytes = b"\x01" * 128,
    ) -> bytes:
        tbs = definite(
            SEQUENCE,
            b"\xa0\x03\x02\x01\x02",
            number or self._number,
            _SHA1_RSA,
            self._issuer,
            self._validity,
            subject or self._subject,
            key or self._key,
            definite(0xA3, definite(SEQUENCE, extensions)) if extensions else b"",
        )
        return definite(SEQUENCE, tbs, _SHA1_RSA, definite(BITS, b"\x00", signature))

    def _smallest(self, number: int) -> bytes:
        """Return a minimal certificate with almost empty fields."""
        empty, algorithm, nothing = b"\x30\x00", b"\x30\x03\x06\x01*", b"\x03\x01\x00"
        key = definite(SEQUENCE, empty, nothing)
        tbs = definite(SEQUENCE, integer(number), algorithm, empty, empty, empty, key)
        return definite(SEQUENCE, tbs, algorithm, nothing)

    def _namesake(self, number: int) -> bytes:
        return self._certificate(number=integer(number), signature=b"\x01")

    def _identified(self, number: int) -> bytes:
        identifier = known_extension("551d0e", definite(0x24, NULL * 2_000))
        return self._certificate(number=integer(number), signature=b"\x01", extensions=identifier)


class _CertificateRequests(Writer):
    """Writes certificate requests."""

    def messages(self) -> dict[str, bytes]:
        kind = bytes.fromhex("06092a864886f70d01090e")  # extensionRequest
        extensions = definite(SET, definite(SEQUENCE, self.numbered(extension)))
        values = definite(SET, self.fill(NAME_PART[2:]))
        nulls = definite(SET, self.fill(NULL))
        return {
            "parts of a name": self._request(subject=self.fill(NAME_PART)),
            "a part of a name with many values": self._request(subject=values),
            "attributes": self._request(attributes=self.fill(ATTRIBUTE)),
            "values of an attribute": self._request(attributes=definite(SEQUENCE, b"\x06\x01*", nulls)),
            "extensions": self._request(attributes=definite(SEQUENCE, kind, extensions)),
            "a large RSA key": self._signed(16_384, largest_integer(64)),
            "a long RSA exponent": self._signed(3_072, largest_integer(3_071)),
            "a long RSA modulus": self._signed(400_000, integer(65_537)),
        }

    def _signed(self, bits: int, exponent: bytes) -> bytes:
        return self._request(key=rsa_key(largest_integer(bits), exponent), signature=min(bits // 8, 2_048))

    def _request(
        self,
        *,
        subject: bytes = NAME_PART,
        key: bytes = b"",
        attributes: bytes = b"",
        signature: int = 128,
    ) -> bytes:
        kind = bytes.fromhex("06092a864886f70d010907")  # challengePassword
        guess = definite(SEQUENCE, kind, definite(SET, b"\x0c\x05guess"))
        info = definite(
            SEQUENCE,
            b"\x02\x01\x00",
            definite(SEQUENCE, subject),
            key or rsa_key(largest_integer(2_048), integer(65_537)),
            definite(0xA0, guess, attributes),
        )
        return definite(SEQUENCE, info, _SHA256_RSA, definite(BITS, b"\x00", b"\x01" * signature))
