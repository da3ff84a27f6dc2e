"""Device actions: disown, activation lock, beta tokens and the account-driven enrollment profile.

Also Apple's check of the JWT for Managed Apple Accounts. Apple does not publish the order of the checks, the
response to a server that may not disown, the response to a malformed ``escrow_key``, or the maximum age of a
JWT.

Source: Apple, device assignment, "Disown devices", "Activation lock devices", "Get beta enrollment tokens"
and the pages of the account-driven enrollment profile; Apple, "Get Token"; RFC 7515.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from pyade.testing.apple.answers import RefusedError
from pyade.testing.apple.lifecycle import DeviceLifecycle
from pyade.testing.apple.model import ActivationLock, OwnedDevice, Server, timestamp
from pyade.testing.apple.profiles import device_list
from pyade.testing.errors import PortalError
from pyade.testing.http.faults import DeviceFaults
from pyade.testing.http.wire import UNREADABLE

_JWT_MAX_AGE_SECONDS = 300


def verify_jwt(jwt: str, servers: Iterable[Server], *, now: datetime) -> tuple[Server, str]:
    """Return the server that made *jwt*, and its ``jti``, which may be used only once.

    Args:
        jwt: In compact form.
        servers: The MDM servers of the portal.
        now: UTC.

    Raises:
        PortalError: Apple would refuse it.
    """
    try:
        header, claims, signature = map(_decode_part, jwt.split("."))
        head, payload = _decode_object(header), _decode_object(claims)
    except (ValueError, *UNREADABLE) as error:
        raise PortalError("the JWT is not three parts of Base64url with JSON in two of them") from error
    if head.get("alg") != "RS256":
        raise PortalError(f"the JWT has alg {head.get('alg')!r}: RS256 is needed")
    server = next((server for server in servers if server.server_uuid == payload.get("iss")), None)
    if server is None:
        raise PortalError(f"iss {payload.get('iss')!r} is no server_uuid of this portal")
    if server.token_key is None:
        raise PortalError(f"no certificate was uploaded for {server.name!r}: use issue_token")
    try:
        signed = jwt.rpartition(".")[0].encode()
        server.token_key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature as error:
        raise PortalError(f"the newest certificate of {server.name!r} did not sign the JWT") from error
    if payload.get("service_type") != "com.apple.maid":
        raise PortalError(f"service_type {payload.get('service_type')!r}: com.apple.maid is needed")
    issued_at, jti = payload.get("iat"), payload.get("jti")
    if type(issued_at) is not int or abs(now.timestamp() - issued_at) > _JWT_MAX_AGE_SECONDS:
        raise PortalError(
            f"iat {issued_at!r} is not within {_JWT_MAX_AGE_SECONDS} seconds of {int(now.timestamp())}"
        )
    if not isinstance(jti, str) or not jti:
        raise PortalError("the JWT has no jti")
    return server, jti


def _decode_part(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(part[:0]) from error


def _decode_object(content: bytes) -> dict[str, Any]:
    return msgspec.json.decode(content, type=dict[str, Any])


_WITH_LOCK = ("Mac", "iPad", "iPhone", "iPod", "Vision")
_PROGRAMMES = (("OSX", "macOS 26 AppleSeed Beta"), ("iOS", "iOS 26 AppleSeed Beta"))


class DeviceActions:
    """Answers the endpoints of device actions."""

    def __init__(self, portal: DeviceLifecycle, device_faults: DeviceFaults) -> None:
        self._portal = portal
        self._faults = device_faults

    def disown(self, server: Server, body: dict[str, Any]) -> dict[str, Any]:
        """Disown devices for ever, and return the result of each.

        Raises:
            RefusedError: No devices, or the server may not disown.
        """
        refusal = self._portal.settings.disown_refusal
        serials = device_list(body)
        if not server.may_disown and refusal == "ACCESS_DENIED":
            raise RefusedError(403, "ACCESS_DENIED")
        results: dict[str, str] = {}
        for serial in dict.fromkeys(serials):
            is_ours = serial in server.devices
            scripted = self._faults.take(serial) if is_ours else None
            if scripted is not None:
                scripted.put(results, serial)
            elif not is_ours:
                results[serial] = "NOT_ACCESSIBLE"
            elif not server.may_disown:
                results[serial] = "FAILED"
            else:
                self._portal.disown(serial)
                results[serial] = "SUCCESS"
        return {"devices": results}

    def lock(self, server: Server, body: dict[str, Any]) -> dict[str, Any]:
        """Lock one device and return the result.

        Raises:
            RefusedError: No device, or a malformed value.
        """
        # A published MDM client sends missing values as empty strings.
        serial, escrow_key, message = (
            _optional_text(body, key) for key in ("device", "escrow_key", "lost_message")
        )
        if not serial:
            raise RefusedError(400, "DEVICE_ID_REQUIRED")
        if escrow_key and not re.fullmatch(r"[0-9A-Fa-f]{64}", escrow_key):
            raise RefusedError(400, "MALFORMED_REQUEST_BODY")
        device = server.devices.get(serial)
        scripted = self._faults.take(serial) if device else None
        results: dict[str, str] = {}
        if scripted is not None:
            scripted.put(results, "response_status")
        else:
            results["response_status"] = self._set_lock(server, device, escrow_key, message or "")
        return {"serial_number": serial, **results}

    def _set_lock(
        self, server: Server, device: OwnedDevice | None, escrow_key: str | None, message: str
    ) -> str:
        if not server.organization.allows_activation_lock:
            return "ORG_NOT_SUPPORTED"
        if device is None:
            return "NOT_ACCESSIBLE"
        if device.record.get("device_family") not in _WITH_LOCK:
            return "DEVICE_NOT_SUPPORTED"
        if device.activation_lock is not None:
            return "DEVICE_ALREADY_LOCKED"
        device.activation_lock = ActivationLock(
            escrow_key=escrow_key.lower() if escrow_key else None, person=server.admin_id, message=message
        )
        return "SUCCESS"

    def beta_tokens(self, server: Server) -> dict[str, Any]:
        """Return the beta tokens of the organization, the same ones at each call.

        Raises:
            RefusedError: An administrator turned beta access off in the portal.
        """
        organization = server.organization
        if not organization.allows_beta_access:
            raise RefusedError(403, "APPLE_SEED_FOR_IT_TURNED_OFF")
        tokens = [
            {"os": os, "title": title, "token": f"{os}-{organization.org_id_hash[:32]}"}
            for os, title in _PROGRAMMES
        ]
        return {self._portal.settings.beta_tokens_key: tokens}

    def set_discovery(self, server: Server, body: dict[str, Any], now: datetime) -> None:
        """Store the service discovery URL.

        Raises:
            RefusedError: It is missing or not ``https``, or the organization may not have one.
        """
        _require_eligible(server)
        url = _optional_text(body, "mdm_service_discovery_url")
        if url is None:
            raise RefusedError(400, "MDM_SERVICE_DISCOVERY_URL_REQUIRED")
        try:
            parts = urlsplit(url)
            is_good = parts.scheme == "https" and bool(parts.hostname)
        except ValueError:
            is_good = False
        if not is_good:
            raise RefusedError(400, "MDM_SERVICE_DISCOVERY_URL_NOT_VALID")
        server.discovery = {"mdm_service_discovery_url": url, "last_updated_timestamp": timestamp(now)}

    def read_discovery(self, server: Server) -> dict[str, Any]:
        """Return the service discovery URL, and when it was set.

        Raises:
            RefusedError: None is set, or the organization may not have one.
        """
        _require_eligible(server)
        if not server.discovery:
            raise RefusedError(404, "NOT_FOUND")
        return dict(server.discovery)

    def remove_discovery(self, server: Server) -> None:
        """Remove the service discovery URL; does nothing if none is set.

        Raises:
            RefusedError: The organization may not have one.
        """
        _require_eligible(server)
        server.discovery = {}


def _require_eligible(server: Server) -> None:
    if not server.organization.allows_account_driven_enrollment:
        raise RefusedError(400, "ORG_NOT_SUPPORTED")


def _optional_text(body: dict[str, Any], key: str) -> str | None:
    value = body.get(key)
    if value is not None and not isinstance(value, str):
        raise RefusedError(400, "MALFORMED_REQUEST_BODY")
    return value
