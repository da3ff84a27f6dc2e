"""The API accounts of the fake, and its authorization server, which issues access tokens."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import parse_qsl

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pyade.business import ApiAccount
from pyade.testing.apple.model import Identifiers
from pyade.testing.business.settings import BusinessSettings
from pyade.testing.business.views import ApiRefusedError, decode, document
from pyade.testing.http.wire import WireRequest, WireResponse

TOKEN_PATHS = ("/auth/oauth2/token", "/auth/oauth2/v2/token")

_AUDIENCE = "https://account.apple.com/auth/oauth2/v2/token"
_LONGEST_LIFETIME = timedelta(days=180)
_ACCESS_SECONDS = 3600
_CLOCK_SKEW_SECONDS = 60  # not published
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Accounts:
    """The API accounts with their keys and access tokens."""

    def __init__(self, settings: BusinessSettings, identifiers: Identifiers, *, is_school: bool) -> None:
        self._settings = settings
        self._identifiers = identifiers
        self._prefix = "SCHOOLAPI." if is_school else "BUSINESSAPI."
        self._scope = "school.api" if is_school else "business.api"
        self._keys: dict[str, dict[str, ec.EllipticCurvePublicKey]] = {}
        self._used: set[str] = set()
        self._access: dict[str, tuple[str, datetime]] = {}

    def add(self) -> ApiAccount:
        """Return a new account with its first key."""
        return self.add_key(self._prefix + self._identifiers.uuid("client"))

    def add_key(self, client_id: str) -> ApiAccount:
        """Return the account with an additional key."""
        secret = int.from_bytes(self._identifiers.octets("api key", 32), "big") % (_P256_ORDER - 1) + 1
        private_key = ec.derive_private_key(secret, ec.SECP256R1())
        account = ApiAccount(client_id, self._identifiers.uuid("key"), private_key)
        self._keys.setdefault(client_id, {})[account.key_id] = private_key.public_key()
        return account

    def revoke(self, account: ApiAccount) -> None:
        """Reject the key of *account* and all access tokens of the account from now on."""
        self._keys.get(account.client_id, {}).pop(account.key_id, None)
        self.end_access(account.client_id)

    def end_access(self, client_id: str | None = None) -> None:
        """Revoke the issued access tokens of one account, or of all."""
        self._access = {
            access: (owner, until)
            for access, (owner, until) in self._access.items()
            if client_id is not None and owner != client_id
        }

    def owner(self, request: WireRequest, now: datetime) -> str | None:
        """Return the client id of the access token of *request*; None if it is invalid or expired."""
        kind, _, access = request.headers.get("authorization", "").partition(" ")
        owner, until = self._access.get(access, (None, now))
        return owner if kind.lower() == "bearer" and now < until else None

    def give_access(self, request: WireRequest, now: datetime) -> WireResponse:
        """Answer a request for an access token."""
        fields = form(request)
        error = self._error_code(request, fields, now)
        if error is not None:
            return document({"error": error}, status=400)
        access = self._identifiers.hexadecimal("access", 64)
        self._access[access] = (fields["client_id"], now + timedelta(seconds=_ACCESS_SECONDS))
        answer = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": _ACCESS_SECONDS,
            "scope": self._scope,
        }
        return document(answer)

    def _error_code(self, request: WireRequest, fields: Mapping[str, str], now: datetime) -> str | None:
        if request.method != "POST" or request.media_type != "application/x-www-form-urlencoded":
            return "invalid_request"
        if fields.get("grant_type") != "client_credentials":
            return "unsupported_grant_type"
        if fields.get("client_assertion_type") != _ASSERTION_TYPE:
            return "invalid_request"
        if fields.get("scope") != self._scope:
            return "invalid_scope"
        client_id, assertion = fields.get("client_id", ""), fields.get("client_assertion", "")
        # Apple's host, and the address of the fake.
        audiences = (_AUDIENCE, f"{request.scheme}://{request.host}{TOKEN_PATHS[1]}")
        return None if self._is_valid_assertion(client_id, assertion, audiences, now) else "invalid_client"

    def _is_valid_assertion(
        self, client_id: str, assertion: str, audiences: tuple[str, ...], now: datetime
    ) -> bool:
        try:
            header, claims, signature = assertion.split(".")
            head, payload = decode(_decode_part(header), _Header), decode(_decode_part(claims), _Claims)
            raw = _decode_part(signature)
        except (ValueError, ApiRefusedError):
            return False
        key = self._keys.get(client_id, {}).get(head.kid)
        if key is None or head.alg != "ES256" or len(raw) != 64:
            return False
        r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        try:
            key.verify(encode_dss_signature(r, s), f"{header}.{claims}".encode(), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        at = now.timestamp()
        is_valid = (
            payload.aud in (*audiences, *([audience] for audience in audiences))
            and payload.sub == client_id
            and payload.iss in (None, client_id)
            and payload.iat <= at + _CLOCK_SKEW_SECONDS
            and at < payload.exp <= payload.iat + _LONGEST_LIFETIME.total_seconds()
            and not (self._settings.single_use_assertions and payload.jti in self._used)
        )
        self._used.add(payload.jti)
        return is_valid


def key_file(account: ApiAccount) -> bytes:
    """Return the key file of Apple's portal: PKCS #8, mislabelled ``EC PRIVATE KEY``."""
    body = account.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return body.replace(b" PRIVATE KEY-----", b" EC PRIVATE KEY-----")


def form(request: WireRequest) -> dict[str, str]:
    """Return the fields of a form, from the body or from the query."""
    text = request.body.decode(errors="replace")
    return dict([*request.query, *parse_qsl(text, keep_blank_values=True)])


def _decode_part(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)


@attrs.frozen
class _Header:
    alg: str
    kid: str


@attrs.frozen
class _Claims:
    sub: str
    aud: str | list[str]
    iat: float
    exp: float
    jti: str
    iss: str | None = None
