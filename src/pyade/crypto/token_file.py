"""Read and decrypt the server token file (``.p7m``), a CMS EnvelopedData message.

The rules of this file:

1. Never parse the file as mail: search for a CMS message in base64, which begins with ``MI``. Apple folds one
   S/MIME header without the required white space, so a strict mail parser takes the remaining headers for the
   body; and files also pass through editors, mail and web forms.
2. Accept every form that OpenSSL and Apple write: DER and BER with indefinite lengths, strings in one or
   several parts, AES-CBC and DES-EDE3-CBC, RSA PKCS #1 v1.5 and OAEP, up to 100 recipients.

Source: Apple, "Examining server tokens"; RFC 8551, 3.2; RFC 7468, 9; RFC 5652, 6; RFC 3370, 4.2.1 and 5.1;
RFC 3560; RFC 3565.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any, Final

import attrs
import msgspec
from asn1crypto import algos, cms
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from pyade.core.arguments import check_arguments
from pyade.core.secret import Secret, masked
from pyade.crypto import ber
from pyade.crypto.keypair import TokenKeypair
from pyade.errors import TokenError

MAX_TOKEN_FILE_BYTES: Final = 1024 * 1024
"""A real token file has about 2 KiB."""

_DOWNLOAD: Final = "download the server token (.p7m) from Apple's portal again"
_SEQUENCE: Final = 0x30
_BASE64: Final = re.compile(rb"(?:\A|[\r\n])[ \t]*(MI[A-Za-z0-9+/\s]+)")
_BLANK_LINE: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_WRONG_FILES: Final = (
    (b"%pdf", "it is a PDF file"),
    (b"{", "it is JSON that is not encrypted"),
    (b"[", "it is JSON that is not encrypted"),
    (b"-----begin certificate", "it is a certificate"),
    (b"-----begin public key", "it is a public key"),
    (b"pk\x03\x04", "it is a ZIP archive"),
    (b"\x89png", "it is a picture"),
    (b"bplist", "it is a property list"),
)


def cms_message(data: bytes) -> bytes:
    """Return the CMS message (DER or BER) of a token file, not yet validated.

    Args:
        data: S/MIME with headers in any shape and any line ends, PEM, base64, or the bare message; at most
            1 MiB.

    Raises:
        TokenError: The file is empty, too large, of another kind, or contains no message.
    """
    data = masked(data)
    if not isinstance(data, bytes | bytearray):
        raise TokenError(
            f"the token file is {type(data).__name__}, bytes are needed", "read it in binary mode"
        )
    if len(data) > MAX_TOKEN_FILE_BYTES:
        raise TokenError(
            f"the token file has {len(data)} bytes, at most {MAX_TOKEN_FILE_BYTES} are allowed", _DOWNLOAD
        )
    text = masked(data.removeprefix(b"\xef\xbb\xbf").lstrip())
    if not text:
        raise TokenError("the token file is empty", _DOWNLOAD)
    if text[0] == _SEQUENCE:
        return text
    _refuse_other_files(text)
    blank = _BLANK_LINE.search(text)
    if blank and text[blank.end() : blank.end() + 1] == bytes([_SEQUENCE]):
        return text[blank.end() :]  # Content-Transfer-Encoding: binary
    found = max(_BASE64.findall(text), key=len, default=b"")  # rule 1
    encoded = b"".join(found.split())
    if len(encoded) < 8:  # the "MIME" of a header is not a message
        if b"pkcs7" in text.lower() or b"-----BEGIN CMS" in text:
            raise TokenError("the token file is cut short: it has headers but no content", _DOWNLOAD)
        raise TokenError("the file is not a server token: no encrypted message was found in it", _DOWNLOAD)
    # A cut file may end anywhere: decode what is left; its length fields show that the rest is missing.
    padded = encoded[: len(encoded) - 1] if len(encoded) % 4 == 1 else encoded
    return base64.b64decode(padded + b"=" * (-len(padded) % 4))


def _refuse_other_files(text: bytes) -> None:
    head = masked(text[:64].lower())
    if b'"consumer_key"' in text:
        raise TokenError("the file is not a server token: it is JSON that is not encrypted", _DOWNLOAD)
    if head.startswith(b"<"):
        kind = "it is a property list" if b"<plist" in text[:512].lower() else "it is an HTML or XML page"
        raise TokenError(f"the file is not a server token: {kind}", _DOWNLOAD)
    if head.startswith(b"-----begin") and b"private key" in head:
        raise TokenError("the file is not a server token: it is a private key", _DOWNLOAD)
    for start, kind in _WRONG_FILES:
        if head.startswith(start):
            raise TokenError(f"the file is not a server token: {kind}", _DOWNLOAD)


MAX_RECIPIENTS: Final = 100
_MAX_ELEMENTS: Final = 20_000  # for 1 MiB in parts of any size; only an administrator uploads the file

_CIPHERS: Final[dict[str, tuple[type[AES | TripleDES], int, int]]] = {  # class, key size, block size (bytes)
    "aes128_cbc": (AES, 16, 16),
    "aes192_cbc": (AES, 24, 16),
    "aes256_cbc": (AES, 32, 16),
    "tripledes_3key": (TripleDES, 24, 8),
}
_SUPPORTED_CIPHERS: Final = "AES-128, AES-192 and AES-256 in CBC mode and DES-EDE3-CBC are supported"
_HASHES: Final[dict[str, type[hashes.HashAlgorithm]]] = {
    "sha1": hashes.SHA1,
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
# Exceptions of asn1crypto for valid BER that is not the expected structure.
_PARSE_ERRORS: Final = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
)


@attrs.frozen(kw_only=True)
class Recipient:
    """A recipient of the envelope with an RSA key.

    Attributes:
        serial_number: Serial number of the certificate; None if ``key_identifier`` identifies it.
        key_identifier: Subject key identifier of the certificate; None if ``serial_number`` identifies it.
        padding: Padding with which the content key was encrypted; None if it is not supported.
        encrypted_key: The content key, encrypted for the recipient.
    """

    serial_number: int | None
    key_identifier: bytes | None
    padding: padding.AsymmetricPadding | None
    encrypted_key: bytes

    def is_named(self, certificate: x509.Certificate) -> bool:
        """Return True if the recipient names *certificate*; the key may still be a different one."""
        if self.key_identifier is not None:
            # RFC 5280, 4.2.1.2 (1), the usual method. Another method only changes the order of the tries.
            return (
                self.key_identifier
                == x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
            )
        return self.serial_number == certificate.serial_number


@attrs.frozen(kw_only=True)
class Envelope:
    """The parts of an EnvelopedData.

    Attributes:
        recipients: Those with an RSA key.
        cipher: ``aes128_cbc``, ``aes192_cbc``, ``aes256_cbc`` or ``tripledes_3key``.
        initialization_vector: One block.
        ciphertext: Whole blocks.
    """

    recipients: tuple[Recipient, ...]
    cipher: str
    initialization_vector: bytes
    ciphertext: bytes

    def plaintexts(self, keypair: TokenKeypair) -> Iterator[bytes]:
        """Yield the content decrypted with *keypair*, once per recipient whose key it may be.

        Hazard: a wrong key is not always detected. PKCS #1 v1.5 decryption with a wrong key returns random
        bytes, and CBC does not authenticate. Only the content itself proves that decryption succeeded.
        """
        for recipient in sorted(self.recipients, key=lambda one: not one.is_named(keypair.certificate)):
            if recipient.padding is None:
                continue
            try:
                key = keypair.private_key.decrypt(recipient.encrypted_key, recipient.padding)
                plaintext = self._decrypt_content(key)
            except (ValueError, UnsupportedAlgorithm):
                continue
            yield plaintext

    def _decrypt_content(self, key: bytes) -> bytes:
        algorithm, size, block = _CIPHERS[self.cipher]
        if len(key) != size:
            raise ValueError("a key of the wrong length")
        decryptor = Cipher(algorithm(key), CBC(self.initialization_vector)).decryptor()
        padded = decryptor.update(self.ciphertext) + decryptor.finalize()
        unpadder = PKCS7(block * 8).unpadder()
        return unpadder.update(padded) + unpadder.finalize()


def read_envelope(message: bytes) -> Envelope:
    """Return the parts of a CMS message with EnvelopedData; bytes that follow it are ignored.

    Raises:
        TokenError: The message is cut short, damaged, of another kind, or uses an unsupported cipher.
    """
    try:
        ber.parse(message, max_elements=_MAX_ELEMENTS)
    except ber.TruncatedError:
        raise TokenError("the token file is cut short", _DOWNLOAD) from None
    except ber.MalformedError as exc:
        raise TokenError(f"the token file is damaged: {exc}", _DOWNLOAD) from exc
    try:
        return _read_enveloped(cms.ContentInfo.load(message))
    except _PARSE_ERRORS as exc:
        raise TokenError("the token file is damaged: its CMS message cannot be read", _DOWNLOAD) from exc


def _read_enveloped(info: Any) -> Envelope:
    kind = info["content_type"].native
    if kind != "enveloped_data":
        raise TokenError(
            f"the file holds a CMS message of type {kind[:64]!r}; a server token is 'enveloped_data'",
            _DOWNLOAD,
        )
    data = info["content"]
    # Rule 2: asn1crypto joins the parts of a string only if its length is indefinite, so join them here.
    content = ber.parse(data["encrypted_content_info"].dump(), max_elements=_MAX_ELEMENTS).children
    cipher, vector = _cipher(algos.EncryptionAlgorithm.load(content[1].encoded))
    if len(content) < 3:
        raise TokenError("the token file is damaged: it has no content", _DOWNLOAD)
    ciphertext = content[2].octets()
    if not ciphertext or len(ciphertext) % len(vector):
        raise TokenError(
            "the token file is damaged: the size of its content is not a multiple of the block size",
            _DOWNLOAD,
        )
    infos = data["recipient_infos"]
    if len(infos) > MAX_RECIPIENTS:
        raise TokenError(
            f"the token file names {len(infos)} recipients, at most {MAX_RECIPIENTS} are allowed", _DOWNLOAD
        )
    recipients = tuple(_recipient(one.chosen) for one in infos if one.name == "ktri")
    if not any(one.padding for one in recipients):
        raise TokenError(
            "the token file was not encrypted for an RSA certificate in a supported way"
            " (PKCS #1 v1.5 or OAEP with SHA-1 or SHA-2)",
            "upload the certificate of a TokenKeypair in the portal and download the token again",
        )
    return Envelope(recipients=recipients, cipher=cipher, initialization_vector=vector, ciphertext=ciphertext)


def _cipher(algorithm: Any) -> tuple[str, bytes]:
    name = algorithm["algorithm"].native
    if name not in _CIPHERS:
        raise TokenError(f"the token file is encrypted with {name[:64]!r}: {_SUPPORTED_CIPHERS}", _DOWNLOAD)
    vector = ber.parse(algorithm["parameters"].dump()).octets()
    if len(vector) != _CIPHERS[name][2]:
        raise TokenError("the token file is damaged: its initialization vector is not one block", _DOWNLOAD)
    return name, vector


def _recipient(info: Any) -> Recipient:
    identifier = info["rid"]
    by_issuer = identifier.name == "issuer_and_serial_number"
    return Recipient(
        serial_number=identifier.chosen["serial_number"].native if by_issuer else None,
        key_identifier=None if by_issuer else ber.parse(identifier.chosen.dump()).octets(),
        padding=_padding(info["key_encryption_algorithm"]),
        encrypted_key=ber.parse(info["encrypted_key"].dump()).octets(),
    )


def _padding(algorithm: Any) -> padding.AsymmetricPadding | None:
    name = algorithm["algorithm"].native
    if name == "rsaes_pkcs1v15":
        return padding.PKCS1v15()
    if name != "rsaes_oaep":
        return None
    parameters = algorithm["parameters"]
    mask, source = parameters["mask_gen_algorithm"], parameters["p_source_algorithm"]
    digest = _HASHES.get(parameters["hash_algorithm"]["algorithm"].native)
    mask_digest = _HASHES.get(mask["parameters"]["algorithm"].native)
    if digest is None or mask_digest is None or mask["algorithm"].native != "mgf1":
        return None
    label = source["parameters"].native or None
    return padding.OAEP(padding.MGF1(mask_digest()), digest(), label)


_SECRETS: Final = ("consumer_key", "consumer_secret", "access_token", "access_secret")
_MAX_SERIAL_BITS: Final = 160  # RFC 5280, 4.1.2.2


@attrs.frozen(kw_only=True)
class TokenSecrets:
    """The contents of a token file; ``repr`` omits the secrets.

    Attributes:
        consumer_key: Identifies the MDM server to Apple.
        consumer_secret: Secret.
        access_token: Secret.
        access_secret: Secret.
        access_token_expiry: As Apple wrote it, such as ``2027-01-14T21:27:41Z``; None if it is missing.
    """

    consumer_key: str
    consumer_secret: Secret = attrs.field(repr=False, converter=Secret)
    access_token: Secret = attrs.field(repr=False, converter=Secret)
    access_secret: Secret = attrs.field(repr=False, converter=Secret)
    access_token_expiry: str | None = None


@check_arguments(but=("data",))
def read_token_file(data: bytes, keypair: TokenKeypair) -> TokenSecrets:
    """Return the secrets of a token file.

    Args:
        data: The file: S/MIME as Apple sends it, PEM, base64, DER or BER; at most 1 MiB.
        keypair: The key pair whose certificate was uploaded in the portal.

    Raises:
        TokenError: The file is not a server token, is damaged or cut short, was encrypted for another
            certificate, or lacks a field. The error never contains decrypted content.
    """
    data = masked(data)  # a file of another kind may hold secrets in plain text
    envelope = read_envelope(cms_message(data))
    # Tracebacks show locals, so a frame that raises must hold neither plaintext nor secrets.
    for found in map(_secrets_in, envelope.plaintexts(keypair)):
        if isinstance(found, TokenSecrets):
            return found
        if found is not None:
            raise found
    raise _decryption_error(envelope, keypair)


def _secrets_in(plaintext: bytes) -> TokenSecrets | TokenError | None:
    """Return the secrets in *plaintext*, or the error of its contents; None if the key was wrong."""
    document = _find_document(plaintext)
    return None if document is None else _read_secrets(document)


def _find_document(plaintext: bytes) -> dict[str, Any] | None:
    """Return the JSON object in *plaintext*; None if there is none.

    It may be surrounded by MIME headers and the lines BEGIN MESSAGE and END MESSAGE; lines are wrapped
    anywhere, also inside strings (both observed).
    """
    joined = plaintext.replace(b"\r", b"").replace(b"\n", b"")
    start, end = joined.find(b"{"), joined.rfind(b"}")
    if start < 0 or end < start:
        return None
    try:
        document = msgspec.json.decode(joined[start : end + 1])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _read_secrets(document: dict[str, Any]) -> TokenSecrets | TokenError:
    missing = [name for name in _SECRETS if document.get(name) in (None, "")]
    if missing:
        return TokenError(f"the token file was decrypted, but lacks {', '.join(missing)}", _DOWNLOAD)
    expiry = document.get("access_token_expiry")
    wrong = [name for name in _SECRETS if not isinstance(document[name], str)]
    if not isinstance(expiry, str | None):
        wrong.append("access_token_expiry")
    if wrong:
        return TokenError(
            f"the token file was decrypted, but has values other than text in {', '.join(wrong)}",
            _DOWNLOAD,
        )
    return TokenSecrets(**{name: document[name] for name in _SECRETS}, access_token_expiry=expiry)


def _decryption_error(envelope: Envelope, keypair: TokenKeypair) -> TokenError:
    """Return the same error for a wrong key, wrong padding and unreadable content: they look the same."""
    own = keypair.certificate.serial_number
    named = next((one.serial_number for one in envelope.recipients if one.serial_number is not None), None)
    reason = "the token file was encrypted for another certificate"
    if any(recipient.is_named(keypair.certificate) for recipient in envelope.recipients):
        reason += " with the same serial number, or it is damaged"
    elif named is not None and named.bit_length() <= _MAX_SERIAL_BITS:
        reason += f": serial number {named:X}; this key pair has {own:X}"
    return TokenError(
        reason,
        "use the key pair whose certificate is in the portal, or upload this key pair's certificate"
        " there and download the token again",
    )
