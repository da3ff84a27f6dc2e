"""The signed statement with which a device signs in to a Managed Apple Account: a JWS with RS256.

A device asks its MDM server for one with the check-in ``GetToken`` and the service type ``com.apple.maid``;
``TokenData`` of the answer holds its bytes. The enrollment profile must list ``com.apple.mdm.token`` among
the server's capabilities.

Source: Apple, "Get Token"; RFC 7515 and 7518, 3.3; ``typ`` is observed.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from pyade.core.kinds import checks_kinds
from pyade.core.secret import Secret
from pyade.crypto.jws import compact
from pyade.crypto.keypair import TokenKeypair
from pyade.errors import TokenError

MANAGED_APPLE_ACCOUNT: Final = "com.apple.maid"
"""The ``TokenServiceType`` that is answered; Apple wants HTTP 400 for any that the server does not know."""


@checks_kinds
def managed_apple_account_jwt(
    keypair: TokenKeypair, server_uuid: str | None, *, now: datetime | None = None, jti: str | None = None
) -> Secret:
    """Return a new JWT for ``com.apple.maid``, in compact form. Make one per request, it is used once.

    ``reveal()`` is what goes into ``TokenData``.

    Args:
        keypair: The one whose certificate the portal has now, for which the server token is encrypted.
        server_uuid: ``Token.server_uuid``, as ``/account`` names it.
        now: Time with a zone, from which Apple limits the validity; None reads the clock.
        jti: Used once; None for a random UUID, as it should be outside of tests.

    Raises:
        TokenError: ``server_uuid`` is None or empty.

    Source: Apple, "Get Token".
    """
    if not server_uuid:
        raise TokenError(
            "the server_uuid of the token is not known",
            "read it with client.account() and store account.identify(token)",
        )
    claims = {
        "iss": server_uuid,
        "iat": int((now or datetime.now(UTC)).timestamp()),
        "jti": jti or str(uuid.uuid4()),
        "service_type": MANAGED_APPLE_ACCOUNT,
    }
    return compact(
        {"alg": "RS256", "typ": "JWT"},
        claims,
        lambda signed: keypair.private_key.sign(signed, padding.PKCS1v15(), hashes.SHA256()),
    )
