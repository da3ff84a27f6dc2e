"""Apple's side of the JWT for Managed Apple Accounts: whether it is accepted.

Source: Apple, "Get Token"; RFC 7515. How old one may be is not published.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from pyade.testing.apple.model import Server
from pyade.testing.errors import PortalError
from pyade.testing.http.wire import UNREADABLE

_SECONDS = 300


def verify_jwt(jwt: str, servers: Iterable[Server], *, now: datetime) -> tuple[Server, str]:
    """Return the server that made *jwt*, and what may be used only once.

    Args:
        jwt: In compact form.
        servers: The MDM servers of the portal.
        now: UTC.

    Raises:
        PortalError: It would not be accepted.
    """
    try:
        header, claims, signature = map(_decoded, jwt.split("."))
        head, said = _object(header), _object(claims)
    except (ValueError, *UNREADABLE) as error:
        raise PortalError("the JWT is not three parts of Base64url with JSON in two of them") from error
    if head.get("alg") != "RS256":
        raise PortalError(f"the JWT has alg {head.get('alg')!r}: RS256 is needed")
    server = next((server for server in servers if server.server_uuid == said.get("iss")), None)
    if server is None:
        raise PortalError(f"iss {said.get('iss')!r} is no server_uuid of this portal")
    if server.token_key is None:
        raise PortalError(f"no certificate was uploaded for {server.name!r}: use issue_token")
    try:
        signed = jwt.rpartition(".")[0].encode()
        server.token_key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature as error:
        raise PortalError(f"the newest certificate of {server.name!r} did not sign the JWT") from error
    if said.get("service_type") != "com.apple.maid":
        raise PortalError(f"service_type {said.get('service_type')!r}: com.apple.maid is needed")
    issued_at, jti = said.get("iat"), said.get("jti")
    if type(issued_at) is not int or abs(now.timestamp() - issued_at) > _SECONDS:
        raise PortalError(f"iat {issued_at!r} is not within {_SECONDS} seconds of {int(now.timestamp())}")
    if not isinstance(jti, str) or not jti:
        raise PortalError("the JWT has no jti")
    return server, jti


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(part[:0]) from error


def _object(content: bytes) -> dict[str, Any]:
    return msgspec.json.decode(content, type=dict[str, Any])
