"""The compact form of a signed statement.

Source: RFC 7515, 3.1 and 7.1.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from pyade.core.secret import Secret


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
