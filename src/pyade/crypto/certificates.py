"""Read private keys and certificates from PEM, match them, and create self-signed certificates."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

from pyade.core.certificate_values import CERTIFICATE_LABELS, mistaken_label
from pyade.core.secret import Secret, masked
from pyade.errors import SigningError
from pyade.text import printable

Passphrase: TypeAlias = str | bytes | Secret | None
"""For an encrypted key; None for one that is not."""

MAX_PEM_BYTES: Final = 256 * 1024
MAX_DAYS: Final = 36_500
MAX_COMMON_NAME_BYTES: Final = 64
"""RFC 5280, Appendix A.1, limits the characters; libraries count the bytes of UTF-8."""

_CLOCK_TOLERANCE: Final = timedelta(hours=1)
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_FIRST_YEAR, _LAST_YEAR = 1950, 9999 - MAX_DAYS // 365  # RFC 5280, 4.1.2.5


def read_pem(
    data: bytes, passphrase: Passphrase = None
) -> tuple[PrivateKeyTypes, tuple[x509.Certificate, ...]]:
    """Return the private key and the certificates of *data*, in order.

    Args:
        data: PEM blocks in any order, at most 256 KiB; text between them is ignored.
        passphrase: For an encrypted key; None for one that is not.

    Raises:
        SigningError: A part is missing, cut short or unreadable, or the passphrase is wrong.

    Source: RFC 7468.
    """
    data, passphrase = masked(data), masked(passphrase)
    keys, certificates = _read_blocks(data)
    if len(keys) != 1:
        raise SigningError(
            f"the PEM file has {len(keys)} private keys, exactly one is needed: a .p7m file and a"
            " certificate for the portal have none"
        )
    if not certificates:
        raise SigningError(
            "the PEM file has no certificate: put the certificate and its private key into one file"
        )
    return _read_key(keys[0], passphrase), certificates


def read_certificate_pem(
    data: bytes, passphrase: Passphrase = None
) -> tuple[PrivateKeyTypes | None, tuple[x509.Certificate, ...]]:
    """Return the private key, if there is one, and the certificates of *data*; else as ``read_pem``."""
    data, passphrase = masked(data), masked(passphrase)
    keys, certificates = _read_blocks(data)
    if len(keys) > 1:
        raise SigningError(f"the PEM file has {len(keys)} private keys, at most one is allowed")
    if not certificates:
        raise SigningError("the PEM file has no certificate")
    if passphrase is not None and not keys:
        raise SigningError("a passphrase was given, but the PEM file has no private key")
    return _read_key(keys[0], passphrase) if keys else None, certificates


def _read_blocks(data: bytes) -> tuple[list[bytes], tuple[x509.Certificate, ...]]:
    """Return the PEM blocks of the private keys, and the certificates."""
    if not isinstance(data, bytes):
        raise SigningError(f"the PEM file is {type(data).__name__}, bytes are needed: read it in binary mode")
    if len(data) > MAX_PEM_BYTES:
        raise SigningError(f"the PEM file has {len(data)} bytes, at most {MAX_PEM_BYTES} are allowed")
    keys: list[bytes] = []
    certificates: list[x509.Certificate] = []
    others: list[bytes] = []
    for label, pem in map(_split_block, data.split(b"-----BEGIN ")[1:]):
        if not pem:
            raise SigningError("the PEM file is cut short: a block has no END line")
        if label.endswith(b"PRIVATE KEY"):
            keys.append(pem)
        elif label.decode("ascii", "replace") in CERTIFICATE_LABELS:
            certificates.append(_read_certificate(pem))
        elif label == b"TRUSTED CERTIFICATE":
            # To ignore it would silently leave a gap in a chain.
            raise SigningError(_describe_mistake(label))
        else:
            others.append(label)
    if not certificates and (known := [text for text in map(_describe_mistake, others) if text]):
        raise SigningError(known[0])
    return keys, tuple(certificates)


def _describe_mistake(label: bytes) -> str:
    """Return the message for a block that is not a certificate; "" if it can be ignored."""
    name = label.decode("ascii", "replace")
    found = mistaken_label(name)
    return f"the PEM file has {found[0]} (BEGIN {name}): {found[1]}" if found else ""


def _split_block(rest: bytes) -> tuple[bytes, bytes]:
    """Return label and PEM of the block whose text after ``BEGIN`` is *rest*; the PEM is b"" without END."""
    label, _, rest = rest.partition(b"-----")
    end = b"-----END " + label + b"-----"
    body, found, _ = rest.partition(end)
    pem = b"-----BEGIN " + label + b"-----" + body + end + b"\n"
    # A label without an end includes the rest of the file, so mask it too.
    return masked(label), masked(pem if found else b"")


def split_chain(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, certificates: tuple[x509.Certificate, ...]
) -> tuple[x509.Certificate, tuple[x509.Certificate, ...]]:
    """Return the certificate that belongs to *key*, and the others.

    Raises:
        SigningError: None of them belongs to the key.
    """
    for certificate in certificates:
        if is_pair(certificate, key):
            return certificate, tuple(other for other in certificates if other != certificate)
    raise SigningError(
        "the private key does not belong to the certificate: use the key that created the certificate"
    )


def is_pair(certificate: x509.Certificate, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bool:
    """Return True if *certificate* has the public key of *key*."""
    try:
        return certificate.public_key() == key.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False


def check_pair(instance: Any, _attribute: attrs.Attribute[Any], value: x509.Certificate) -> None:
    """Accept the certificate of ``instance.private_key``; a validator for attrs.

    Raises:
        SigningError: The key belongs to another certificate.
    """
    if not is_pair(value, instance.private_key):
        raise SigningError("the private key does not belong to the certificate")


def self_signed(
    common_name: str,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    *,
    days: int,
    now: datetime | None,
    key_encipherment: bool,
) -> x509.Certificate:
    """Return a self-signed end-entity certificate with a random serial number and SHA-256.

    Args:
        common_name: The whole subject, 1 to 64 characters that are at most 64 bytes in UTF-8.
        key: The private key of the certificate.
        days: Validity in days, 1 to 36500.
        now: Start of the validity, UTC; None reads the clock. The certificate starts one hour earlier, for
            clocks that are slow.
        key_encipherment: True if the key will decrypt other keys.

    Raises:
        SigningError: A value is out of range.

    Source: RFC 5280, 4.1 and 4.2.1.3; upper bound of a common name: Appendix A.1.
    """
    start = check_certificate(common_name, days=days, now=now)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_encipherment=key_encipherment,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - _CLOCK_TOLERANCE)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
    )
    return builder.sign(key, hashes.SHA256())


def check_certificate(common_name: str, *, days: int, now: datetime | None) -> datetime:
    """Check the arguments of ``self_signed``, and return the start of the validity.

    Raises:
        SigningError: A value is out of range.
    """
    check_common_name(common_name)
    if not 1 <= days <= MAX_DAYS:
        raise SigningError(f"days {days!r:.40}: 1 to {MAX_DAYS} are allowed")
    start = (now or datetime.now(UTC)).replace(microsecond=0)
    if start.utcoffset() is None:
        raise SigningError(f"now {start.isoformat()} has no time zone: use UTC")
    if not _FIRST_YEAR < start.year < _LAST_YEAR:
        raise SigningError(f"now {start.isoformat()} is out of range for a certificate: check the clock")
    return start


def check_common_name(name: str) -> None:
    """Check the whole subject of a certificate.

    Raises:
        SigningError: It is not a text, is blank or too long, or contains control characters.
    """
    if not isinstance(name, str):
        raise SigningError(f"common_name is {type(name).__name__}: a text of 1 to 64 characters is allowed")
    size = len(name.encode(errors="replace"))
    if not name.strip() or size > MAX_COMMON_NAME_BYTES or _UNPRINTABLE.search(name):
        raise SigningError(
            f"common_name {name[:80]!r} has {len(name)} characters, {size} bytes in UTF-8: 1 to 64 characters"
            f" of at most {MAX_COMMON_NAME_BYTES} bytes are allowed, not only spaces and without control"
            " characters"
        )


def common_name_of(text: str) -> str:
    """Return *text* as a common name that ``check_common_name`` accepts, shortened and escaped if needed."""
    start = printable(text).encode()[:MAX_COMMON_NAME_BYTES]
    return start.decode(errors="ignore")  # the end may be half of a character


def as_bytes(passphrase: Passphrase) -> bytes | None:
    """Return *passphrase* as bytes whose ``repr`` shows stars.

    Raises:
        SigningError: It is empty, or not valid Unicode.
    """
    if passphrase is None:
        return None
    text = masked(passphrase.reveal() if isinstance(passphrase, Secret) else passphrase)
    del passphrase
    encoded = masked(text.encode(errors="replace") if isinstance(text, str) else text)
    if isinstance(text, str) and encoded.decode() != text:
        raise SigningError("the passphrase is not valid Unicode: remove unpaired surrogates")
    if not encoded:
        raise SigningError("the passphrase is empty: use None for a key that is not encrypted")
    return encoded


def _read_certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as exc:
        raise SigningError("the PEM file has a certificate that cannot be read") from exc


def _read_key(pem: bytes, passphrase: Passphrase) -> PrivateKeyTypes:
    secret = as_bytes(passphrase)
    is_encrypted = pem.startswith(b"-----BEGIN ENCRYPTED") or b"Proc-Type: 4,ENCRYPTED" in pem
    if is_encrypted and secret is None:
        raise SigningError("the private key is encrypted: a passphrase is needed")
    if secret is not None and not is_encrypted:
        raise SigningError("a passphrase was given, but the private key is not encrypted")
    try:
        return serialization.load_pem_private_key(pem, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        problem = (
            "the passphrase is wrong, or the private key is damaged"
            if secret
            else "the private key cannot be read"
        )
    # A parser's error may quote the private key, so it is never chained to this one.
    raise SigningError(problem)
