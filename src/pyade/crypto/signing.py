"""Sign documents as CMS messages that include the content and the certificates needed to verify it.

Source: RFC 5652, 5. That Macs accept a profile signed as DER with embedded content is observed.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any, Self

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder

from pyade.core.arguments import check_arguments
from pyade.core.secret import masked
from pyade.crypto.certificates import (
    Passphrase,
    as_bytes,
    check_certificate,
    check_pair,
    read_pem,
    self_signed,
    split_chain,
)
from pyade.errors import SigningError


def _require_signing_key(key: object) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return key
    raise SigningError("a key of this kind cannot sign profiles: an RSA or EC key is needed")


def _check_key(_instance: object, _attribute: attrs.Attribute[Any], value: object) -> None:
    _require_signing_key(value)


@check_arguments(but=("common_name",))
@attrs.frozen(kw_only=True)
class Signer:
    """A certificate that signs documents, with its private key.

    Attributes:
        private_key: Secret; RSA or EC.
        certificate: The certificate of the key.
        intermediates: Certificates between it and a root that Macs trust; each message includes them.
    """

    private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = attrs.field(
        repr=False, eq=False, validator=_check_key
    )
    certificate: x509.Certificate = attrs.field(validator=check_pair)
    intermediates: tuple[x509.Certificate, ...] = ()

    @classmethod
    def from_pem(cls, data: bytes, passphrase: Passphrase = None) -> Self:
        """Return the signer from PEM text with key, certificate and intermediates, in any order.

        Args:
            data: One or several concatenated files, at most 256 KiB. Certificates that do not belong to the
                key are intermediates.
            passphrase: For an encrypted key; None for one that is not.

        Raises:
            SigningError: The passphrase is wrong, a part is missing or unreadable, or no certificate belongs
                to the key.
        """
        data, passphrase = masked(data), masked(passphrase)
        key, certificates = read_pem(data, passphrase)
        return cls._from_parts(key, certificates)

    @classmethod
    def from_pkcs12(cls, data: bytes, passphrase: Passphrase = None) -> Self:
        """Return the signer from a PKCS #12 file (``.p12``, ``.pfx``).

        Raises:
            SigningError: The passphrase is wrong, or key or certificate are missing or unreadable.
        """
        data, passphrase = masked(data), masked(passphrase)
        secret = as_bytes(passphrase)
        found = None
        # A parser's error may quote the private key, so it is never chained to ours.
        with suppress(ValueError, TypeError, UnsupportedAlgorithm):
            found = pkcs12.load_key_and_certificates(data, secret)
        if found is None:
            raise SigningError("the passphrase is wrong, or the PKCS #12 file cannot be read")
        key, certificate, others = found
        if key is None:
            raise SigningError("the PKCS #12 file holds no private key")
        return cls._from_parts(key, (*([certificate] if certificate else []), *others))

    @classmethod
    def self_signed(
        cls,
        common_name: str,
        *,
        days: int = 365,
        now: datetime | None = None,
        private_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
    ) -> Self:
        """Return a signer with a self-signed certificate, for tests and first steps; no Mac trusts it.

        Args:
            common_name: The whole subject, 1 to 64 characters that are at most 64 bytes in UTF-8.
            days: Validity in days, 1 to 36500.
            now: Start of the validity, UTC; None reads the clock.
            private_key: None generates an RSA key of 2048 bits.

        Raises:
            SigningError: A value is out of range.
        """
        check_certificate(common_name, days=days, now=now)
        key = private_key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
        certificate = self_signed(common_name, key, days=days, now=now, key_encipherment=False)
        return cls(private_key=key, certificate=certificate)

    @classmethod
    def _from_parts(cls, key: object, certificates: tuple[x509.Certificate, ...]) -> Self:
        signing_key = _require_signing_key(key)
        certificate, others = split_chain(signing_key, certificates)
        return cls(private_key=signing_key, certificate=certificate, intermediates=others)

    def sign(self, data: bytes) -> bytes:
        """Return *data* as a signed CMS message: DER, with the unchanged content embedded, SHA-256.

        Its signing time is that of the local clock.
        """
        builder = PKCS7SignatureBuilder().set_data(data)
        builder = builder.add_signer(self.certificate, self.private_key, hashes.SHA256())
        for certificate in self.intermediates:
            builder = builder.add_certificate(certificate)
        # Without Binary, line feeds in the content would become CR LF.
        return builder.sign(Encoding.DER, [PKCS7Options.Binary])
