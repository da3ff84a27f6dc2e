"""The server token file as the portal offers it for download: S/MIME around CMS EnvelopedData around JSON.

Written without ``pyade.crypto``, as an independent check of the reader there. The values are derived from the
seed: a file is reproducible, and useless as a secret.

Source: Apple, "Examining server tokens"; RFC 5652, section 6; RFC 8017, section 7.2; X.690, section 8.1.
"""

from __future__ import annotations

import textwrap
from base64 import encodebytes
from typing import Literal, TypedDict

import attrs
import msgspec
from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from pyade.testing.apple.model import Credentials, Identifiers, timestamp
from pyade.testing.der import definite, indefinite
from pyade.testing.errors import PortalError

_SEQUENCE, _SET, _OCTETS, _OID, _CONTEXT_0 = 0x30, 0x31, 0x04, 0x06, 0xA0
_VERSION_0, _NULL = b"\x02\x01\x00", b"\x05\x00"
_ENVELOPED_DATA = bytes.fromhex("2a864886f70d010703")
_DATA = bytes.fromhex("2a864886f70d010701")
_RSA_ENCRYPTION = bytes.fromhex("2a864886f70d010101")
_RSAES_OAEP = bytes.fromhex("2a864886f70d010107")
_CIPHERS = {
    "aes128": (bytes.fromhex("608648016503040102"), AES, 16),
    "aes192": (bytes.fromhex("608648016503040116"), AES, 24),
    "aes256": (bytes.fromhex("60864801650304012a"), AES, 32),
    "3des": (bytes.fromhex("2a864886f70d0307"), TripleDES, 24),
}
_HEADERS = (
    'Content-Type: application/pkcs7-mime; name="smime.p7m"; smime-type=enveloped-data',
    "Content-Transfer-Encoding: base64",
    'Content-Disposition: attachment; filename="smime.p7m"',
    "Content-Description: S/MIME Encrypted Message",
)
# Apple's own page shows the first header broken like this, and the next line does not start with white space.
_BROKEN_HEADERS = (
    'Content-Type: application/pkcs7-mime; name="smime.p7m"; smime-type=enveloped-',
    "data",
    *_HEADERS[1:],
)


class TokenFileForm(TypedDict, total=False):
    """The format of a token file; a key that is left out follows Apple's format.

    Attributes:
        cipher: ``aes128`` (Apple's current one), ``aes192``, ``aes256`` or ``3des`` (older files).
        key_transport: ``pkcs1v15`` (Apple's) or ``oaep``.
        encoding: ``ber`` with indefinite lengths (Apple's) or ``der``.
        armor: ``smime`` (Apple's), ``broken-smime`` (the header of Apple's page), ``pem`` or ``binary``.
        line_ending: The line ending of the outer and the inner headers.
        inner_headers: False leaves the inner MIME head out.
        markers: False leaves the ``MESSAGE`` marker lines out.
        wrap_json_at: Number of characters per line of JSON, also inside strings; None for one line.
    """

    cipher: Literal["aes128", "aes192", "aes256", "3des"]
    key_transport: Literal["pkcs1v15", "oaep"]
    encoding: Literal["ber", "der"]
    armor: Literal["smime", "broken-smime", "pem", "binary"]
    line_ending: Literal["\n", "\r\n"]
    inner_headers: bool
    markers: bool
    wrap_json_at: int | None


@attrs.frozen
class Upload:
    """A certificate that the portal accepted, with its public key."""

    certificate: x509.Certificate
    public_key: rsa.RSAPublicKey


def accept_certificate(certificate_pem: bytes) -> Upload:
    """Return the uploaded certificate.

    Raises:
        PortalError: It is not PEM, or has no RSA key.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError as exc:
        raise PortalError(
            "the portal accepts one certificate in PEM format (-----BEGIN CERTIFICATE-----)"
        ) from exc
    public_key = certificate.public_key()
    if not isinstance(public_key, rsa.RSAPublicKey):
        raise PortalError("the portal accepts only certificates with an RSA key")
    return Upload(certificate, public_key)


def build_token_file(
    credentials: Credentials,
    upload: Upload,
    identifiers: Identifiers,
    *,
    cipher: Literal["aes128", "aes192", "aes256", "3des"] = "aes128",
    key_transport: Literal["pkcs1v15", "oaep"] = "pkcs1v15",
    encoding: Literal["ber", "der"] = "ber",
    armor: Literal["smime", "broken-smime", "pem", "binary"] = "smime",
    line_ending: Literal["\n", "\r\n"] = "\n",
    inner_headers: bool = True,
    markers: bool = True,
    wrap_json_at: int | None = None,
) -> bytes:
    """Return the file for *credentials*, encrypted for *upload*; ``TokenFileForm`` documents the rest."""
    lines = (
        ["Content-Type: text/plain;charset=UTF-8", "Content-Transfer-Encoding: 7bit", ""]
        if inner_headers
        else []
    )
    text = token_json(credentials)
    wrapped = (
        [text[start : start + wrap_json_at] for start in range(0, len(text), wrap_json_at)]
        if wrap_json_at
        else [text]
    )
    lines += ["-----BEGIN MESSAGE-----", *wrapped, "-----END MESSAGE-----"] if markers else wrapped
    plain = "".join(line + line_ending for line in lines).encode()
    cms = _enveloped_data(
        plain, upload, identifiers, cipher=cipher, key_transport=key_transport, is_ber=encoding == "ber"
    )
    return _add_armor(cms, armor, line_ending)


def token_json(credentials: Credentials) -> str:
    """Return the JSON inside a token file, on one line."""
    return msgspec.json.encode(
        {
            "consumer_key": credentials.consumer_key,
            "consumer_secret": credentials.consumer_secret,
            "access_token": credentials.access_token,
            "access_secret": credentials.access_secret,
            "access_token_expiry": timestamp(credentials.expires_at),
        }
    ).decode()


def _add_armor(cms: bytes, armor: str, line_ending: str) -> bytes:
    if armor == "binary":
        return cms
    body = textwrap.wrap(encodebytes(cms).decode().replace("\n", ""), 64 if armor == "pem" else 76)
    if armor == "pem":
        lines = ["-----BEGIN PKCS7-----", *body, "-----END PKCS7-----"]
    else:
        lines = [*(_BROKEN_HEADERS if armor == "broken-smime" else _HEADERS), "", *body]
    return "".join(line + line_ending for line in lines).encode()


def _enveloped_data(
    plain: bytes,
    upload: Upload,
    identifiers: Identifiers,
    *,
    cipher: str,
    key_transport: str,
    is_ber: bool,
) -> bytes:
    cipher_oid, algorithm, key_length = _CIPHERS[cipher]
    key = identifiers.octets("content key", key_length)
    block = 8 if algorithm is TripleDES else 16
    vector = identifiers.octets("initialization vector", block)
    padder = PKCS7(block * 8).padder()
    encryptor = Cipher(algorithm(key), CBC(vector)).encryptor()
    ciphertext = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()

    transport_oid, encrypted_key = _encrypt_key(key, upload.public_key, identifiers, key_transport)
    transport_algorithm = definite(
        _SEQUENCE, definite(_OID, transport_oid), b"\x30\x00" if key_transport == "oaep" else _NULL
    )
    recipient_id = definite(
        _SEQUENCE, upload.certificate.issuer.public_bytes(), _integer(upload.certificate.serial_number)
    )
    recipient = definite(
        _SEQUENCE, _VERSION_0, recipient_id, transport_algorithm, definite(_OCTETS, encrypted_key)
    )
    cipher_algorithm = definite(_SEQUENCE, definite(_OID, cipher_oid), definite(_OCTETS, vector))

    outer = indefinite if is_ber else definite
    # In BER the ciphertext is a constructed string of one part; in DER it is primitive.
    content = indefinite(_CONTEXT_0, definite(_OCTETS, ciphertext)) if is_ber else definite(0x80, ciphertext)
    encrypted = outer(_SEQUENCE, definite(_OID, _DATA), cipher_algorithm, content)
    enveloped = outer(_SEQUENCE, _VERSION_0, definite(_SET, recipient), encrypted)
    return outer(_SEQUENCE, definite(_OID, _ENVELOPED_DATA), outer(_CONTEXT_0, enveloped))


def _encrypt_key(
    key: bytes, public_key: rsa.RSAPublicKey, identifiers: Identifiers, key_transport: str
) -> tuple[bytes, bytes]:
    """Return the object identifier of the key transport, and *key* encrypted with it."""
    if key_transport == "oaep":
        sha1 = hashes.SHA1()  # noqa: S303 - the default of RFC 8017
        oaep = padding.OAEP(mgf=padding.MGF1(sha1), algorithm=sha1, label=None)
        return _RSAES_OAEP, public_key.encrypt(key, oaep)
    # Padded by hand: a library would use random padding, and the file must be reproducible.
    length = public_key.key_size // 8
    filling = identifiers.octets("padding", length - 3 - len(key)).replace(b"\x00", b"\x01")
    numbers = public_key.public_numbers()
    block = int.from_bytes(b"\x00\x02" + filling + b"\x00" + key, "big")
    return _RSA_ENCRYPTION, pow(block, numbers.e, numbers.n).to_bytes(length, "big")


def _integer(number: int) -> bytes:
    return definite(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))
