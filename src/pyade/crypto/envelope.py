"""CMS EnvelopedData: read it, and open it with an RSA key.

Every form that OpenSSL and Apple write: DER and BER with indefinite lengths, strings in one or several
parts, AES-CBC and DES-EDE3-CBC, RSA PKCS #1 v1.5 and OAEP, any number of recipients up to 100.

Source: RFC 5652, 6; RFC 3370, 4.2.1 and 5.1; RFC 3560; RFC 3565.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import attrs
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

from pyade.crypto import ber
from pyade.crypto.keypair import TokenKeypair
from pyade.errors import TokenError

MAX_RECIPIENTS: Final = 100
_MAX_ELEMENTS: Final = 20_000  # an administrator uploads it: up to 1 MiB, in parts of any size

_CIPHERS: Final[dict[str, tuple[type[AES | TripleDES], int, int]]] = {  # class, bytes of a key, of a block
    "aes128_cbc": (AES, 16, 16),
    "aes192_cbc": (AES, 24, 16),
    "aes256_cbc": (AES, 32, 16),
    "tripledes_3key": (TripleDES, 24, 8),
}
_CIPHERS_IN_WORDS: Final = "AES-128, AES-192 and AES-256 in CBC mode and DES-EDE3-CBC are supported"
_HASHES: Final[dict[str, type[hashes.HashAlgorithm]]] = {
    "sha1": hashes.SHA1,
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_DOWNLOAD: Final = "download the server token (.p7m) from Apple's portal again"
# What asn1crypto raises for bytes that are BER and not the structure it expects.
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
    """Somebody who can open the envelope with an RSA key.

    Attributes:
        serial_number: Serial number of the certificate; None if it is named by ``key_identifier``.
        key_identifier: Subject key identifier of the certificate; None if it is named by its number.
        padding: How the content key was encrypted; None where it is not supported.
        encrypted_key: The content key, encrypted for the recipient.
    """

    serial_number: int | None
    key_identifier: bytes | None
    padding: padding.AsymmetricPadding | None
    encrypted_key: bytes

    def is_named(self, certificate: x509.Certificate) -> bool:
        """Return True if the envelope names *certificate*; its key may still be another one."""
        if self.key_identifier is not None:
            # RFC 5280, 4.2.1.2 (1), the usual way to make one. Another way only costs the order of the tries.
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
        """Yield what *keypair* makes of the content, once per recipient whose key it may be.

        Hazard: a wrong key is not always noticed. Decryption with PKCS #1 v1.5 answers a wrong key with
        random bytes, and CBC has no check of its own. Only what is in the content proves that it was opened.
        """
        for recipient in sorted(self.recipients, key=lambda one: not one.is_named(keypair.certificate)):
            if recipient.padding is None:
                continue
            try:
                key = keypair.private_key.decrypt(recipient.encrypted_key, recipient.padding)
                plaintext = self._decrypted(key)
            except (ValueError, UnsupportedAlgorithm):
                continue
            yield plaintext

    def _decrypted(self, key: bytes) -> bytes:
        algorithm, size, block = _CIPHERS[self.cipher]
        if len(key) != size:
            raise ValueError("a key of another length")
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
        return _read(cms.ContentInfo.load(message))
    except _PARSE_ERRORS as exc:
        raise TokenError(
            "the token file is damaged: it holds no CMS message that can be read", _DOWNLOAD
        ) from exc


def _read(info: Any) -> Envelope:
    kind = info["content_type"].native
    if kind != "enveloped_data":
        raise TokenError(
            f"the file holds a CMS message of type {kind[:64]!r}, a server token is 'enveloped_data'",
            _DOWNLOAD,
        )
    data = info["content"]
    # asn1crypto joins a string in several parts only where its length is indefinite, so it is joined here.
    content = ber.parse(data["encrypted_content_info"].dump(), max_elements=_MAX_ELEMENTS).children
    cipher, vector = _cipher(algos.EncryptionAlgorithm.load(content[1].encoded))
    if len(content) < 3:
        raise TokenError("the token file is damaged: it has no content", _DOWNLOAD)
    ciphertext = content[2].octets()
    if not ciphertext or len(ciphertext) % len(vector):
        raise TokenError("the token file is damaged: its content is not made of whole blocks", _DOWNLOAD)
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
        raise TokenError(f"the token file is encrypted with {name[:64]!r}: {_CIPHERS_IN_WORDS}", _DOWNLOAD)
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
