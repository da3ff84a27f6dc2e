"""The API account: who asks the Apple School Manager and Apple Business API, and where.

Source: Apple, "Implementing OAuth for the Apple School Manager and Apple Business API"; that the client id
tells the two apart is observed.
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
"""What is asked for access tokens."""

AUDIENCE = "https://account.apple.com/auth/oauth2/v2/token"
"""What a client assertion names as its reader, with ``v2``, whatever address it is sent to."""

_BUSINESS_PREFIX = "BUSINESSAPI."


def _check_text(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not value or not value.isprintable() or value != value.strip():
        where = "copy it from the API section of the portal's settings"
        raise SigningError(f"{attribute.name} {value!r}: a text without blanks around it is needed: {where}")


def _check_key(_instance: object, _attribute: attrs.Attribute[Any], value: object) -> None:
    require_p256(value)


@attrs.frozen
class ApiAccount:
    """An API account of Apple School Manager or Apple Business.

    Attributes:
        client_id: Such as ``BUSINESSAPI.`` and a UUID.
        key_id: The id of the key, a UUID.
        private_key: Secret; on the curve P-256.
    """

    client_id: str = attrs.field(validator=_check_text)
    key_id: str = attrs.field(validator=_check_text)
    private_key: ec.EllipticCurvePrivateKey = attrs.field(repr=False, eq=False, validator=_check_key)

    @classmethod
    def from_pem(cls, data: bytes, *, client_id: str, key_id: str) -> Self:
        """Return the account of the key file that the portal offers once.

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
        """What the access token is asked for."""
        return "school.api" if self.is_school else "business.api"

    @property
    def base_url(self) -> str:
        """The service of this kind of organization."""
        return SCHOOL_URL if self.is_school else BUSINESS_URL


AccountProvider: TypeAlias = Callable[[], ApiAccount]
"""Returns the account to use now; asked for each access token, so that a new key reaches a running client."""
