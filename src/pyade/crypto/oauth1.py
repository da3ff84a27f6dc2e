"""OAuth 1.0a as Apple's ``/session`` requires it: HMAC-SHA1, two secrets, parameters in the header.

Source: RFC 5849, 3.4 to 3.6; Apple, "Authenticating for Automated Device Enrollment".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlsplit

from pyade.core.arguments import check_arguments
from pyade.core.secret import Secret, masked
from pyade.core.token import Token

_DEFAULT_PORTS = {"http": 80, "https": 443}


def percent_encode(text: str) -> str:
    """Return *text* with all characters except ``A-Z a-z 0-9 - . _ ~`` percent-encoded as UTF-8.

    Source: RFC 5849, 3.6.
    """
    return quote(text, safe="~")


def base_string(method: str, url: str, parameters: Mapping[str, str]) -> str:
    """Return the text to sign.

    Args:
        method: HTTP method, in any letter case.
        url: Absolute; the query is signed too, the fragment is not.
        parameters: The ``oauth_*`` parameters, decoded and without ``realm``; ``oauth_signature`` is ignored.

    Source: RFC 5849, 3.4.1.
    """
    parts = urlsplit(url)
    scheme, host = parts.scheme.lower(), parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    if parts.port is not None and parts.port != _DEFAULT_PORTS.get(scheme):
        host = f"{host}:{parts.port}"
    pairs = [*parameters.items(), *parse_qsl(parts.query, keep_blank_values=True)]
    encoded = sorted(
        (percent_encode(key), percent_encode(value)) for key, value in pairs if key != "oauth_signature"
    )
    normalised = "&".join(f"{key}={value}" for key, value in encoded)
    address = f"{scheme}://{host}{parts.path or '/'}"
    return "&".join(map(percent_encode, (method.upper(), address, normalised)))


def signature(
    method: str,
    url: str,
    parameters: Mapping[str, str],
    consumer_secret: str | Secret,
    token_secret: str | Secret,
) -> str:
    """Return the HMAC-SHA1 signature in base64, not percent-encoded.

    Args:
        method: HTTP method, in any letter case.
        url: The absolute URL of the request.
        parameters: As for ``base_string``.
        consumer_secret: Secret.
        token_secret: Secret; Apple calls it ``access_secret``.

    Source: RFC 5849, 3.4.2.
    """
    consumer_secret, token_secret = Secret(consumer_secret), Secret(token_secret)
    text = base_string(method, url, parameters).encode()
    digest = hmac.new(_signing_key(consumer_secret, token_secret), text, hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def _signing_key(consumer_secret: Secret, token_secret: Secret) -> bytes:
    return masked("&".join(percent_encode(one.reveal()) for one in (consumer_secret, token_secret)).encode())


@check_arguments
def authorization_header(
    token: Token, method: str, url: str, *, timestamp: int, nonce: str, realm: str | None = "ADM"
) -> Secret:
    """Return the value of the ``Authorization`` header; send the text that ``reveal()`` returns.

    Args:
        token: The server token.
        method: HTTP method.
        url: Absolute.
        timestamp: Whole seconds since 1970-01-01 UTC.
        nonce: A unique text; Apple refuses a nonce that was used before.
        realm: Apple's example has ``ADM``; it is not signed, and Apple does not require it (observed). None
            omits it.

    Source: RFC 5849, 3.5.1.
    """
    parameters = {
        "oauth_consumer_key": token.consumer_key,
        "oauth_token": masked(token.access_token.reveal()),
        "oauth_signature_method": "HMAC-SHA1",
        "oauth_timestamp": str(timestamp),
        "oauth_nonce": nonce,
        "oauth_version": "1.0",
    }
    parameters["oauth_signature"] = masked(
        signature(method, url, parameters, token.consumer_secret, token.access_secret)
    )
    start = "OAuth " if realm is None else f'OAuth realm="{realm}", '
    return Secret(start + ", ".join(f'{key}="{percent_encode(value)}"' for key, value in parameters.items()))
