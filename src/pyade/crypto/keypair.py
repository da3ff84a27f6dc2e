"""The key pair for which Apple's portal encrypts the server token.

Source: Apple, device assignment, "Authenticating for Automated Device Enrollment"; specification, "Create
enrollment program token", step 1.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

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
from pyade.text import Printed


def _require_rsa(key: object) -> rsa.RSAPrivateKey:
    if isinstance(key, rsa.RSAPrivateKey):
        return key
    kind = "an EC key" if isinstance(key, ec.EllipticCurvePrivateKey) else "a key of this kind"
    raise SigningError(f"{kind} cannot decrypt a server token: an RSA key is needed")


def _check_key(_instance: object, _attribute: attrs.Attribute[Any], value: object) -> None:
    _require_rsa(value)


@check_arguments(but=("data", "common_name"))
@attrs.frozen
class TokenKeypair(Printed):
    """An RSA key and the certificate to upload in Apple Business Manager or Apple School Manager.

    ``print`` shows the certificate. Two key pairs are equal if their certificates are.

    Keep the key pair as long as the token: the next token is encrypted for the same certificate unless an
    administrator uploads another one, and Managed Apple Account tokens are signed with the key.

    Attributes:
        private_key: Secret.
        certificate: Self-signed, or issued by a certificate authority; Apple accepts both (observed).
    """

    private_key: rsa.RSAPrivateKey = attrs.field(repr=False, eq=False, validator=_check_key)
    certificate: x509.Certificate = attrs.field(validator=check_pair)

    def _words(self) -> str:
        found = self.certificate
        return (
            f"key pair of {found.subject.rfc4514_string()}: RSA {self.private_key.key_size}, certificate"
            f" {found.serial_number:X} valid until {found.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        )

    @classmethod
    def generate(cls, common_name: str, *, days: int = 3650, now: datetime | None = None) -> Self:
        """Return a new key pair: RSA 2048, self-signed, with a random serial number.

        The default validity is ten years, because a renewed token is encrypted for the certificate that the
        portal already has; an expired certificate would have to be replaced there first. The certificate
        grants no access, and Apple does not limit the token to its validity (observed).

        Args:
            common_name: The whole subject, such as ``Contoso MDM``: 1 to 64 characters that are at most 64
                bytes in UTF-8.
            days: Validity of the certificate in days, 1 to 36500.
            now: Start of the validity, UTC; None reads the clock.

        Raises:
            SigningError: A value is out of range, or of another type; no key was generated.
        """
        check_certificate(common_name, days=days, now=now)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return cls(key, self_signed(common_name, key, days=days, now=now, key_encipherment=True))

    @classmethod
    def from_pem(cls, data: bytes, passphrase: Passphrase = None) -> Self:
        """Return the key pair from a PEM file with the key and its certificate, in any order.

        Args:
            data: At most 256 KiB; certificates that belong to other keys, such as a chain, are ignored.
            passphrase: For an encrypted key; None for one that is not.

        Raises:
            SigningError: The passphrase is wrong, a part is missing or unreadable, the key is not RSA, or no
                certificate belongs to it.
        """
        data, passphrase = masked(data), masked(passphrase)
        key, certificates = read_pem(data, passphrase)
        rsa_key = _require_rsa(key)
        return cls(rsa_key, split_chain(rsa_key, certificates)[0])

    @property
    def certificate_pem(self) -> bytes:
        """The certificate without the key, as PEM: the file to upload in the portal."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def to_pem(self, passphrase: Passphrase = None) -> bytes:
        """Return the private key (PKCS #8) and the certificate as one PEM file.

        Args:
            passphrase: Encrypts the private key; None writes it unencrypted.

        Raises:
            SigningError: The passphrase is empty or longer than 1023 bytes.
        """
        passphrase = masked(passphrase)
        secret = as_bytes(passphrase)
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if secret is not None:
            if len(secret) > 1023:
                raise SigningError(f"the passphrase has {len(secret)} bytes, at most 1023 are allowed")
            encryption = serialization.BestAvailableEncryption(secret)
        key = self.private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
        return key + self.certificate_pem
