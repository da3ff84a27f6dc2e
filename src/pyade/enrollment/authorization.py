"""The header ``Authorization``: a name and a password, or a token of Platform SSO; both secret.

Source: RFC 7617, RFC 6750.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from pyade.core.secret import Secret

BEARER: Final = "bearer "
BASIC: Final = "basic "


def scheme_of(authorization: Secret | None) -> tuple[str, Secret]:
    """Return ``BASIC`` or ``BEARER`` with what follows it; empty ones for anything else."""
    text = "" if authorization is None else authorization.reveal().strip()
    for scheme in (BEARER, BASIC):
        if text[: len(scheme)].lower() == scheme:
            return scheme, Secret(text[len(scheme) :].strip())
    return "", Secret("")


def name_and_password(value: Secret) -> tuple[str, Secret]:
    """Return name and password; empty ones where *value* is none of RFC 7617."""
    try:
        name, colon, password = base64.b64decode(value.reveal(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", Secret("")
    return (name, Secret(password)) if colon else ("", Secret(""))
