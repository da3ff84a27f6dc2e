"""Create the two kinds of JWT that Apple requires, in compact form.

``managed_apple_account_jwt`` (RS256) lets a device sign in to a Managed Apple Account. The device requests it
from its MDM server with the check-in ``GetToken`` and the service type ``com.apple.maid``; the response has
its bytes in ``TokenData``. The enrollment profile must list ``com.apple.mdm.token`` in the server's
capabilities.

``client_assertion`` (ES256) authenticates an API account that requests an access token.

Source: Apple, "Get Token"; Apple, "Implementing OAuth for the Apple School Manager and Apple Business API";
RFC 7515, 3.1 and 7.1; RFC 7518, 3.3 and 3.4; RFC 7523. ``typ``, and the labels of Apple's key files, are
observed.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_private_key

from pyade.core.arguments import check_arguments
from pyade.core.secret import Secret, masked
from pyade.crypto.keypair import TokenKeypair
from pyade.errors import SigningError, TokenError

MANAGED_APPLE_ACCOUNT: Final = "com.apple.maid"
"""The supported ``TokenServiceType``; Apple requires HTTP 400 for one that the server does not know."""

MAX_KEY_BYTES: Final = 64 * 1024


def compact(header: Mapping[str, Any], claims: Mapping[str, Any], sign: Callable[[bytes], bytes]) -> Secret:
    """Return header, claims and signature as a JWS in compact form, which is a credential.

    Args:
        header: The JOSE header, which names the algorithm.
        claims: JSON values.
        sign: Returns the signature of its argument.
    """
    signed = f"{_encode_part(header)}.{_encode_part(claims)}"
    return Secret(f"{signed}.{_base64url(sign(signed.encode()))}")


def _encode_part(value: Mapping[str, Any]) -> str:
    return _base64url(msgspec.json.encode(value))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@check_arguments
def managed_apple_account_jwt(
    keypair: TokenKeypair, server_uuid: str | None, *, now: datetime | None = None, jti: str | None = None
) -> Secret:
    """Return a new JWT for ``com.apple.maid``, in compact form. Create one per request; it is valid once.

    Put the text that ``reveal()`` returns into ``TokenData``.

    Args:
        keypair: The key pair whose certificate is now in the portal, for which the server token is encrypted.
        server_uuid: ``Token.server_uuid``, as ``/account`` reports it.
        now: Issue time, with a time zone; Apple limits the validity from it. None reads the clock.
        jti: Unique id of the JWT; None for a random UUID. Pass it only in tests.

    Raises:
        TokenError: ``server_uuid`` is None or empty.

    Source: Apple, "Get Token".
    """
    if not server_uuid:
        raise TokenError(
            "the server_uuid of the token is unknown",
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


_KEY_BLOCK: Final = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----([^-]*)(-----END \1-----)?", re.DOTALL
)
_HALF: Final = 32


def read_assertion_key(data: bytes) -> ec.EllipticCurvePrivateKey:
    """Return the private key of the file that Apple's portal offers when an API account is created.

    The label of the PEM block is ignored: Apple's files have ``EC PRIVATE KEY`` with a PKCS #8 body.

    Args:
        data: PEM, not encrypted, at most 64 KiB; the first private key in it is used.

    Raises:
        SigningError: There is no key, it cannot be read, or it is not an EC key on the curve P-256.
    """
    data = masked(data)
    if not isinstance(data, bytes):
        raise SigningError(f"the key file is {type(data).__name__}, bytes are needed: read it in binary mode")
    if len(data) > MAX_KEY_BYTES:
        raise SigningError(f"the key file has {len(data)} bytes, at most {MAX_KEY_BYTES} are allowed")
    label, body, end = (masked(part) for part in _first_key_block(data))
    if label is None or body is None:
        raise SigningError("the file holds no private key: choose the .pem file that Apple's portal offered")
    if end is None:
        raise SigningError("the key file is cut short or damaged: the private key has no END line")
    if b"ENCRYPTED" in label or b"ENCRYPTED" in body:
        raise SigningError("the private key is encrypted: decrypt it first, as Apple's portal offers it")
    key = _load_key(body)
    if key is None:
        raise SigningError("the private key cannot be read: the file is damaged")
    return require_p256(key)


def _first_key_block(data: bytes) -> tuple[bytes | None, ...]:
    """Return label, body and END line of the first private key in *data*; None for a missing part."""
    block = _KEY_BLOCK.search(data)
    return (None, None, None) if block is None else block.groups()


def _load_key(body: bytes) -> object:
    # A parser's error may quote the key, so it is never chained to ours.
    try:
        return load_der_private_key(base64.b64decode(b"".join(body.split()), validate=True), None)
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm):
        return None


def require_p256(key: object) -> ec.EllipticCurvePrivateKey:
    """Return *key* if it can sign with ES256.

    Raises:
        SigningError: *key* is not an EC key, or its curve is not P-256.
    """
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if isinstance(key.curve, ec.SECP256R1):
            return key
        kind = f"an EC key on the curve {key.curve.name}"
    else:
        kind = "an RSA key" if isinstance(key, rsa.RSAPrivateKey) else "a key of this kind"
    raise SigningError(f"{kind} cannot sign for an API account: an EC key on the curve P-256 is needed")


@check_arguments
def client_assertion(
    key: ec.EllipticCurvePrivateKey,
    *,
    client_id: str,
    key_id: str,
    audience: str,
    issued_at: int,
    lifetime_s: int,
    jti: str,
) -> Secret:
    """Return a client assertion, a JWS in compact form; send the text that ``reveal()`` returns.

    Args:
        key: EC key on the curve P-256.
        client_id: Client id of the API account; both issuer and subject.
        key_id: Id of *key*, from the portal.
        audience: The address that Apple documents as the audience, not the one that the request is sent to.
        issued_at: Whole seconds since 1970-01-01 UTC.
        lifetime_s: Seconds until it expires; Apple allows less than 180 days.
        jti: Unique id of the assertion.

    Source: Apple, "Implementing OAuth ...", "Create a client assertion".
    """
    header = {"alg": "ES256", "kid": key_id, "typ": "JWT"}
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "iat": issued_at,
        "exp": issued_at + lifetime_s,
        "jti": jti,
    }
    return compact(header, claims, lambda signed: es256(key, signed))


def es256(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Return the ES256 signature of *message*: r and s, 32 bytes each, not the DER form that X.509 uses.

    Source: RFC 7518, 3.4.
    """
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")
