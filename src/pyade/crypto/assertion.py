"""The signed statement with which an API account asks for an access token: a JWS with ES256.

Source: RFC 7515, 7518 (3.4) and 7523; Apple, "Implementing OAuth for the Apple School Manager and Apple
Business API". The labels of Apple's key files are observed.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_private_key

from pyade.core.kinds import checks_kinds
from pyade.core.secret import Secret, masked
from pyade.crypto.jws import compact
from pyade.errors import SigningError

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


@checks_kinds
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
