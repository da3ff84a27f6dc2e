"""Verify that a trusted device, by default one that Apple made, signed a message.

The rules of this file; 1 to 6 are checked in this order:

1. The signer's certificate is in the message, in DER. No other certificate of the message is used: the sender
   chose them.
2. A pinned authority issued it: both key and name match. Until that signature is verified, only pyade's own
   bounded parser reads the certificate: others need milliseconds for the extensions and names that fit into
   64 KiB.
3. It is not the certificate of an authority.
4. Its dates are reported; it is refused outside them only if a clock is given.
5. Digest and signature algorithm fit together.
6. The signature is over the content, or over attributes that hold the digest of the content.
7. A certificate has a fingerprint only if it has a single encoding: DER, with a signature that cannot be
   rewritten. Any client can rewrite the signature of an EC authority, (r, s) as (r, -s), so it has none.
8. Apple's authority for device identities is pinned, not Apple's root, which also signs for every developer.
   The authority expired in 2014, but Apple still issues under its key, so its dates are ignored.

``x509.verification`` is not used: Apple's authority has expired, and devices have RSA keys of 1024 bits under
SHA-1.

Source: RFC 5652, 5.4 and 5.6; Apple, "Authenticating through web views"; how Macs sign: observed. Apple,
certificate "Apple iPhone Device CA", as Macs send it along; signed by "Apple iPhone Certification Authority"
under "Apple Root CA". SHA-256 of the certificate:
76f27d00e1333bc88de0e2916c38c9a7f2b75774c25a794c092a80e3c4c66cce; of its public key (SubjectPublicKeyInfo):
13686ec675f9fd26a123adb17b5533f593cf451edd6105ae39b748277a3922e5.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final, Self

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from pyade.core.arguments import check_arguments
from pyade.core.input_limits import check_size, malformed, reading
from pyade.core.problems import Problem, Severity
from pyade.crypto.signatures import SHA1, check_sha1, is_signed, needing
from pyade.crypto.signed_data import (
    ID_DATA,
    CertificateParts,
    KnownCertificates,
    SignedData,
    read_signed_data,
)
from pyade.errors import PolicyError, SigningError, TrustError

APPLE_IPHONE_DEVICE_CA: Final = b"""\
-----BEGIN CERTIFICATE-----
MIIDaTCCAlGgAwIBAgIBATANBgkqhkiG9w0BAQUFADB5MQswCQYDVQQGEwJVUzET
MBEGA1UEChMKQXBwbGUgSW5jLjEmMCQGA1UECxMdQXBwbGUgQ2VydGlmaWNhdGlv
biBBdXRob3JpdHkxLTArBgNVBAMTJEFwcGxlIGlQaG9uZSBDZXJ0aWZpY2F0aW9u
IEF1dGhvcml0eTAeFw0wNzA0MTYyMjU0NDZaFw0xNDA0MTYyMjU0NDZaMFoxCzAJ
BgNVBAYTAlVTMRMwEQYDVQQKEwpBcHBsZSBJbmMuMRUwEwYDVQQLEwxBcHBsZSBp
UGhvbmUxHzAdBgNVBAMTFkFwcGxlIGlQaG9uZSBEZXZpY2UgQ0EwgZ8wDQYJKoZI
hvcNAQEBBQADgY0AMIGJAoGBAPGUSsnquloYYK3Lok1NTlQZaRdZB2bLl+hmmkdf
Rq5nerVKc1SxywT2vTa4DFU4ioSDMVJl+TPhl3ecK0wmsCU/6TKqewh0lOzBSzgd
Z04IUpRai1mjXNeT9KD+VYW7TEaXXm6yd0UvZ1y8Cxi/WblshvcqdXbSGXH0KWO5
JQuvAgMBAAGjgZ4wgZswDgYDVR0PAQH/BAQDAgGGMA8GA1UdEwEB/wQFMAMBAf8w
HQYDVR0OBBYEFLL+ISNEhpVqedWBJo5zENinTI50MB8GA1UdIwQYMBaAFOc0Ki4i
3jlga7SUzneDYS8xoHw1MDgGA1UdHwQxMC8wLaAroCmGJ2h0dHA6Ly93d3cuYXBw
bGUuY29tL2FwcGxlY2EvaXBob25lLmNybDANBgkqhkiG9w0BAQUFAAOCAQEAd13P
Z3pMViukVHe9WUg8Hum+0I/0kHKvjhwVd/IMwGlXyU7DhUYWdja2X/zqj7W24Aq5
7dEKm3fqqxK5XCFVGY5HI0cRsdENyTP7lxSiiTRYj2mlPedheCn+k6T5y0U4Xr40
FXwWb2nWqCF1AgIudhgvVbxlvqcxUm8Zz7yDeJ0JFovXQhyO5fLUHRLCQFssAbf8
B4i8rYYsBUhYTspVJcxVpIIltkYpdIRSIARA49HNvKK4hzjzMS/OhKQpVKw+OCEZ
xptCVeN2pjbdt9uzi175oVo/u6B2ArKAW17u6XEHIdDMOe7cb33peVI6TD15W4MI
pyQPbp8orlXe+tA8JA==
-----END CERTIFICATE-----
"""


@functools.cache
def apple_device_ca() -> x509.Certificate:
    """Return the certificate of Apple's authority for device identities."""
    return x509.load_pem_x509_certificate(APPLE_IPHONE_DEVICE_CA)  # rule 8


_CLOCK_TOLERANCE: Final = timedelta(hours=1)
"""Allowed difference between the clock of this server and that of Apple."""

_YEARS: Final = range(1970, 9999)

_SHA256: Final = hashes.SHA256()
_SHA384: Final = hashes.SHA384()
_SHA512: Final = hashes.SHA512()
_DIGESTS: Final[dict[str, hashes.HashAlgorithm]] = {
    "1.3.14.3.2.26": SHA1,
    "2.16.840.1.101.3.4.2.1": _SHA256,
    "2.16.840.1.101.3.4.2.2": _SHA384,
    "2.16.840.1.101.3.4.2.3": _SHA512,
}
# The first one names its digest in another field, and is not used in certificates.
_SIGNATURES: Final[dict[str, tuple[type[object], hashes.HashAlgorithm | None]]] = {
    "1.2.840.113549.1.1.1": (rsa.RSAPublicKey, None),
    "1.2.840.113549.1.1.5": (rsa.RSAPublicKey, SHA1),
    "1.2.840.113549.1.1.11": (rsa.RSAPublicKey, _SHA256),
    "1.2.840.113549.1.1.12": (rsa.RSAPublicKey, _SHA384),
    "1.2.840.113549.1.1.13": (rsa.RSAPublicKey, _SHA512),
    "1.2.840.10045.4.1": (ec.EllipticCurvePublicKey, SHA1),
    "1.2.840.10045.4.3.2": (ec.EllipticCurvePublicKey, _SHA256),
    "1.2.840.10045.4.3.3": (ec.EllipticCurvePublicKey, _SHA384),
    "1.2.840.10045.4.3.4": (ec.EllipticCurvePublicKey, _SHA512),
}


@attrs.frozen(kw_only=True)
class DeviceSignature:
    """Facts about a verified signature and the certificate of the signer.

    Attributes:
        leaf_sha256: SHA-256 of the device's certificate, 64 lower-case hexadecimal digits; "" under an
            authority with an EC key, since any client can rewrite its signatures. Apple's key is RSA.
        leaf_not_before: When the certificate became valid, UTC.
        leaf_expires_at: When the certificate expires, UTC. Devices keep using an expired one (observed).
        digest: Digest algorithm of the signature: ``sha1``, ``sha256``, ``sha384`` or ``sha512``.
    """

    leaf_sha256: str
    leaf_not_before: datetime
    leaf_expires_at: datetime
    digest: str

    def check(self, *, now: datetime) -> tuple[Problem, ...]:
        """Return a problem if the device's certificate has expired.

        Args:
            now: The time, UTC.
        """
        if now <= self.leaf_expires_at:
            return ()
        fix = "nothing if the Mac was switched off for long; DeviceTrust.apple(leaf_clock=...) refuses it"
        ended = f"{self.leaf_expires_at:%Y-%m-%d}"
        return (Problem("device_certificate", ended, "one that has not ended", fix, Severity.WARNING),)


@attrs.frozen(kw_only=True)
class SignedContent:
    """The content that a trusted device signed.

    Attributes:
        content: The unchanged bytes.
        signature: What the verified signature showed.
    """

    content: bytes = attrs.field(repr=False)
    signature: DeviceSignature


def _anchors(value: Iterable[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    try:
        anchors = tuple(value)
    except TypeError:
        raise SigningError("anchors is not a collection: put a single certificate into a list") from None
    if not anchors:
        raise SigningError("anchors is empty: give certificates of authorities, or use DeviceTrust.apple()")
    for anchor in anchors:
        if not isinstance(anchor, x509.Certificate):
            raise SigningError(f"anchors holds {type(anchor).__name__}: certificates are needed")
        try:
            is_usable = _is_authority(anchor) and isinstance(
                anchor.public_key(), rsa.RSAPublicKey | ec.EllipticCurvePublicKey
            )
        except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as exc:
            raise SigningError("anchors holds a certificate that cannot be read") from exc
        if not is_usable:
            raise SigningError(
                "anchors holds a certificate that does not belong to an authority with an RSA or EC key"
            )
    return anchors


@attrs.frozen(kw_only=True)
class _Authority:
    subject: bytes
    key: object


@attrs.frozen
class _Authorities:
    """The parsed anchors, prepared once for all messages."""

    known: KnownCertificates
    keys: tuple[_Authority, ...]

    @classmethod
    def of(cls, trust: DeviceTrust) -> Self:
        encoded = [anchor.public_bytes(Encoding.DER) for anchor in trust.anchors]
        known = KnownCertificates.read(encoded)
        named = zip(encoded, trust.anchors, strict=True)
        return cls(
            known,
            tuple(_Authority(subject=known.parts[der].subject, key=one.public_key()) for der, one in named),
        )


@check_arguments(but=("anchors", "message"))
@attrs.frozen
class DeviceTrust:
    """Verifies messages against the authorities whose devices are trusted.

    Attributes:
        anchors: Certificates of the authorities that issue identities to devices, for tests and simulators;
            use ``apple()`` for Apple's. Their own dates and issuers are ignored.
        leaf_clock: Returns the time, UTC; a device certificate outside its dates is then refused. None only
            reports the dates, since Apple does not say that devices renew in time.

    Raises:
        SigningError: An anchor is not the certificate of an authority with an RSA or EC key.
        CryptoPolicyError: This machine refuses SHA-1, with which Macs sign.
        PolicyError: *leaf_clock* does not return a time with a time zone, or one outside the years 1970 to
            9998.
    """

    anchors: tuple[x509.Certificate, ...] = attrs.field(converter=_anchors)
    leaf_clock: Callable[[], datetime] | None = attrs.field(default=None, kw_only=True)
    _authorities: _Authorities = attrs.field(
        default=attrs.Factory(_Authorities.of, takes_self=True), init=False, repr=False, eq=False
    )

    def __attrs_post_init__(self) -> None:
        check_sha1()
        self._time()

    @classmethod
    def apple(cls, *, leaf_clock: Callable[[], datetime] | None = None) -> Self:
        """Return a ``DeviceTrust`` for devices that Apple made, including virtual Macs on Apple's hardware.

        Args:
            leaf_clock: Returns the time, UTC; a device certificate outside its dates is then refused. None
                only reports the dates.
        """
        return cls((apple_device_ca(),), leaf_clock=leaf_clock)

    @staticmethod
    def of_apple() -> DeviceTrust:
        """Return ``apple()`` without a clock, from a cache."""
        check_sha1()
        return _apple_trust()

    def verify(self, message: bytes) -> SignedContent:
        """Verify a CMS message and return its content.

        Args:
            message: DER or BER, at most 64 KiB and 2,000 elements.

        Raises:
            TrustError: The message cannot be read, or no trusted device signed it.
            CryptoPolicyError: This machine refuses an algorithm of its signature.
            PolicyError: *leaf_clock* did not return a time with a time zone.
        """
        check_size(message, "the signed message")
        with reading("the signed message"):
            signed = read_signed_data(message, self._authorities.known)
        parts = signed.signer_certificate()
        if parts is None:
            raise TrustError(
                "the signer's certificate is not in the message, or is not the only one of its name"
            )
        if not parts.is_der:  # rule 1
            raise malformed("the signer's certificate is not in DER")
        if parts.serial_number <= 0:  # RFC 5280, 4.1.2.2; cryptography warns and is going to refuse it
            raise malformed("the serial number of the signer's certificate is not positive")
        authority = self._issuer_of(parts)  # rule 2
        with reading("the signer's certificate"):
            leaf = x509.load_der_x509_certificate(parts.encoded)
            key = leaf.public_key()
            is_authority = _is_authority(leaf)
            starts, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        if any(key == one.key for one in self._authorities.keys):
            raise TrustError("the signer's certificate has the key of the authority itself")
        if is_authority or parts.issuer == parts.subject:  # rule 3
            raise TrustError("the signer's certificate is that of an authority, not of a device")
        self._check_dates(starts, ends)  # rule 4
        digest = _check_signature(signed, key)
        has_fingerprint = isinstance(authority.key, rsa.RSAPublicKey)  # rule 7
        return SignedContent(
            content=signed.content,
            signature=DeviceSignature(
                leaf_sha256=hashlib.sha256(parts.encoded).hexdigest() if has_fingerprint else "",
                leaf_not_before=starts,
                leaf_expires_at=ends,
                digest=digest.name,
            ),
        )

    def _issuer_of(self, parts: CertificateParts) -> _Authority:
        if not parts.is_consistent:
            raise TrustError("the signer's certificate names two different signature algorithms")
        kind, digest = _SIGNATURES.get(parts.algorithm, (None, None))
        for authority in self._authorities.keys:
            if (
                parts.issuer == authority.subject
                and kind is not None
                and digest is not None
                and isinstance(authority.key, kind)
                and is_signed(authority.key, digest, parts.signature, parts.signed)
            ):
                return authority
        raise TrustError("the signer's certificate was not issued by a trusted authority")

    def _check_dates(self, starts: datetime, ends: datetime) -> None:
        if (now := self._time()) is None:
            return
        # The tolerance is applied to now: added to the end of a certificate it might exceed datetime.max.
        if now + _CLOCK_TOLERANCE < starts or now - _CLOCK_TOLERANCE > ends:
            raise TrustError(
                f"the signer's certificate is valid from {starts:%Y-%m-%d} to {ends:%Y-%m-%d},"
                f" today is {now:%Y-%m-%d}"
            )

    def _time(self) -> datetime | None:
        """Return the checked time of *leaf_clock*; None if there is no clock."""
        if self.leaf_clock is None:
            return None
        now: object = self.leaf_clock()
        if not isinstance(now, datetime) or now.utcoffset() is None:
            zone = "a time without a time zone" if isinstance(now, datetime) else type(now).__name__
            raise PolicyError(f"leaf_clock returned {zone}: a time in UTC is needed, as datetime.now(UTC)")
        if not _YEARS.start <= now.year < _YEARS.stop:
            raise PolicyError(f"leaf_clock returned {now.isoformat()}: check the clock")
        return now


@functools.cache
def _apple_trust() -> DeviceTrust:
    return DeviceTrust.apple()


def _check_signature(signed: SignedData, key: object) -> hashes.HashAlgorithm:
    """Check the signature of the message and return its digest algorithm."""
    digest = _DIGESTS.get(signed.digest_algorithm)
    if digest is None:
        raise TrustError(f"the digest algorithm {signed.digest_algorithm} is not accepted")
    if signed.signature_algorithm not in _SIGNATURES:
        raise TrustError(f"the signature algorithm {signed.signature_algorithm} is not accepted")
    kind, named = _SIGNATURES[signed.signature_algorithm]
    if named not in (None, digest):  # rule 5
        raise TrustError("digest and signature algorithm do not fit together")
    attributes = signed.attributes
    if attributes is not None:  # rule 6
        if attributes.content_type != ID_DATA:
            raise TrustError("the signed attributes name another type of content")
        with needing(digest.name.upper()):
            hasher = hashes.Hash(digest)
        hasher.update(signed.content)
        if hasher.finalize() != attributes.message_digest:
            raise TrustError("the digest in the signed attributes is not that of the content")
    data = signed.content if attributes is None else attributes.signed
    if not isinstance(key, kind) or not is_signed(key, digest, signed.signature, data):
        raise TrustError("the signature is not by the key of the signer's certificate")
    return digest


def _is_authority(certificate: x509.Certificate) -> bool:
    """Return True if *certificate* is of an authority; raise an error if an extension cannot be read."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
