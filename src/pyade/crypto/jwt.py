"""The signed statement with which a device signs in to a Managed Apple Account: a JWS with RS256.

A device asks its MDM server for one with the check-in ``GetToken`` and the service type ``com.apple.maid``;
``TokenData`` of the answer holds its bytes. The enrollment profile must list ``com.apple.mdm.token`` among
the server's capabilities.

Source: Apple, "Get Token"; RFC 7515 and 7518, 3.3; ``typ`` is observed.

The compact form of a signed statement.

Source: RFC 7515, 3.1 and 7.1.

The signed statement with which an API account asks for an access token: a JWS with ES256.

Source: RFC 7515, 7518 (3.4) and 7523; Apple, "Implementing OAuth for the Apple School Manager and Apple
Business API". The labels of Apple's key files are observed.
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


def compact(header: Mapping[str, Any], claims: Mapping[str, Any], sign: Callable[[bytes], bytes]) -> Secret:
    """Return header, claims and signature as one text, which is a credential.

    Args:
        header: Names the algorithm.
        claims: Plain JSON values.
        sign: Returns the signature of the bytes that it is given.
    """
    signed = f"{_part(header)}.{_part(claims)}"
    return Secret(f"{signed}.{_base64url(sign(signed.encode()))}")


def _part(value: Mapping[str, Any]) -> str:
    return _base64url(msgspec.json.encode(value))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


MANAGED_APPLE_ACCOUNT: Final = "com.apple.maid"
"""The ``TokenServiceType`` that is answered; Apple wants HTTP 400 for any that the server does not know."""


@check_arguments
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


MAX_KEY_BYTES: Final = 64 * 1024

_KEY_BLOCK: Final = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----([^-]*)(-----END \1-----)?", re.DOTALL
)
_HALF: Final = 32


def read_assertion_key(data: bytes) -> ec.EllipticCurvePrivateKey:
    """Return the private key of the file that Apple's portal offers when an API account is made.

    The label of the block is not believed: Apple's files say ``EC PRIVATE KEY`` over a PKCS #8 body.

    Args:
        data: PEM, not encrypted, at most 64 KiB; the first private key in it counts.

    Raises:
        SigningError: There is no key, it cannot be read, or it is not an EC key on the curve P-256.
    """
    data = masked(data)
    if not isinstance(data, bytes):
        raise SigningError(f"the key file is {type(data).__name__}, bytes are needed: read it in binary mode")
    if len(data) > MAX_KEY_BYTES:
        raise SigningError(f"the key file has {len(data)} bytes, at most {MAX_KEY_BYTES} are allowed")
    label, body, end = (masked(part) for part in _block_of(data))
    if label is None or body is None:
        raise SigningError("the file holds no private key: choose the .pem file that Apple's portal offered")
    if end is None:
        raise SigningError("the key file is cut short or damaged: the private key has no END line")
    if b"ENCRYPTED" in label or b"ENCRYPTED" in body:
        raise SigningError("the private key is encrypted: decrypt it first, as Apple's portal offers it")
    key = _key_of(body)
    if key is None:
        raise SigningError("the private key cannot be read: the file is damaged")
    return require_p256(key)


def _block_of(data: bytes) -> tuple[bytes | None, ...]:
    """Return label, body and END line of the first private key in *data*; None for what is not there."""
    block = _KEY_BLOCK.search(data)
    return (None, None, None) if block is None else block.groups()


def _key_of(body: bytes) -> object:
    # What the parsers say may quote the key: their errors end here, and hang on no other.
    try:
        return load_der_private_key(base64.b64decode(b"".join(body.split()), validate=True), None)
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm):
        return None


def require_p256(key: object) -> ec.EllipticCurvePrivateKey:
    """Return *key* if it can sign with ES256.

    Raises:
        SigningError: It is no EC key, or on another curve than P-256.
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
    """Return the client assertion, a JWS in compact form: a secret, whose ``reveal()`` is what is sent.

    Args:
        key: On the curve P-256.
        client_id: Of the API account; both issuer and subject.
        key_id: Of *key*, from the portal.
        audience: The address that Apple prints for the authorization server, not the one that is asked.
        issued_at: Whole seconds since 1970-01-01 UTC.
        lifetime_s: Seconds until it expires; Apple allows less than 180 days.
        jti: Used once.

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
    """Return the ES256 signature of *message*: r and s, 32 bytes each, and not the DER that X.509 uses.

    Source: RFC 7518, 3.4.
    """
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")
