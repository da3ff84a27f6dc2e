"""The API account: the credentials for the Apple School Manager and Apple Business API, and its addresses.

Source: Apple, "Implementing OAuth for the Apple School Manager and Apple Business API"; that the client id
distinguishes the two is observed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, TypeAlias

import attrs
from cryptography.hazmat.primitives.asymmetric import ec

from pyade.crypto.jwt import read_assertion_key, require_p256
from pyade.errors import SigningError

BUSINESS_URL = "https://api-business.apple.com"
SCHOOL_URL = "https://api-school.apple.com"
TOKEN_URL = "https://account.apple.com/auth/oauth2/token"  # noqa: S105 - an address
"""Address of the authorization server, which issues access tokens."""

AUDIENCE = "https://account.apple.com/auth/oauth2/v2/token"
"""The ``aud`` claim of a client assertion, with ``v2``, whatever address the assertion is sent to."""

_BUSINESS_PREFIX = "BUSINESSAPI."


def _check_text(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not value or not value.isprintable() or value != value.strip():
        fix = "copy it from the API section of the portal's settings"
        raise SigningError(f"{attribute.name} {value!r}: a text without blanks around it is needed: {fix}")


def _check_key(_instance: object, _attribute: attrs.Attribute[Any], value: object) -> None:
    require_p256(value)


@attrs.frozen
class ApiAccount:
    """An API account of Apple School Manager or Apple Business.

    Attributes:
        client_id: Such as ``BUSINESSAPI.`` followed by a UUID.
        key_id: The id of the key, a UUID.
        private_key: Secret. An EC key on the curve P-256.
    """

    client_id: str = attrs.field(validator=_check_text)
    key_id: str = attrs.field(validator=_check_text)
    private_key: ec.EllipticCurvePrivateKey = attrs.field(repr=False, eq=False, validator=_check_key)

    @classmethod
    def from_pem(cls, data: bytes, *, client_id: str, key_id: str) -> Self:
        """Return the account of a key file, which the portal offers for download only once.

        Args:
            data: PEM, at most 64 KiB.
            client_id: From the portal.
            key_id: From the portal.

        Raises:
            SigningError: The file holds no EC key on the curve P-256, or an id is not usable.
        """
        return cls(client_id, key_id, read_assertion_key(data))

    @property
    def is_school(self) -> bool:
        """True for Apple School Manager."""
        return not self.client_id.startswith(_BUSINESS_PREFIX)

    @property
    def scope(self) -> str:
        """The OAuth scope to request: ``school.api`` or ``business.api``."""
        return "school.api" if self.is_school else "business.api"

    @property
    def base_url(self) -> str:
        """Address of the API for this kind of organization, without a trailing slash."""
        return SCHOOL_URL if self.is_school else BUSINESS_URL


AccountProvider: TypeAlias = Callable[[], ApiAccount]
"""Returns the account to use now; called before each access token, so a new key reaches a running client."""
