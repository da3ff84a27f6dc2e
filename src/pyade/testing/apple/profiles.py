"""Define, read, assign and remove profiles, with Apple's throttling of devices that change too often.

Source: Apple, device assignment, "Define a profile", "Get a profile", "Assign a profile" and
"Remove a profile"; the order of the checks and the figures of the throttling are not published.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from math import ceil
from typing import Any
from urllib.parse import urlsplit

from pyade.testing.apple.answers import RefusedError
from pyade.testing.apple.model import Identifiers, OwnedDevice, Server, timestamp
from pyade.testing.apple.paging import visible_profile
from pyade.testing.apple.portal import FakePortal
from pyade.testing.http.faults import DeviceFaults

_LENGTHS = (
    ("department", 125, "DEPARTMENT_INVALID"),
    ("org_magic", 256, "MAGIC_INVALID"),
    ("support_phone_number", 50, "SUPPORT_PHONE_INVALID"),
    ("support_email_address", 250, "SUPPORT_EMAIL_INVALID"),
)
_FLAGS = (
    "is_mdm_removable",
    "is_supervised",
    "is_mandatory",
    "allow_pairing",
    "await_device_configured",
    "auto_advance_setup",
    "is_multi_user",
    "is_return_to_service",
    "do_not_use_profile_from_backup",
)
_LISTS = ("skip_setup_items", "anchor_certs", "supervising_host_certs")
# The allowed number of changes per hour is not published; the length of the throttling was observed.
_WINDOW, _COOLDOWN = timedelta(hours=1), timedelta(days=1)
_URI = re.compile(r"(?:[A-Za-z0-9\-_.!~*'();/?:@&=+$,\[\]#]|%[0-9A-Fa-f]{2})+")


class Profiles:
    """Answers the profile endpoints for the servers of *portal*."""

    def __init__(self, portal: FakePortal, identifiers: Identifiers, device_faults: DeviceFaults) -> None:
        self._portal, self._identifiers = portal, identifiers
        self._faults = device_faults

    def define(self, server: Server, body: dict[str, Any], version: int, now: datetime) -> dict[str, Any]:
        """Store a new profile and, if the request lists devices, assign it.

        Raises:
            RefusedError: A value breaks Apple's rules; the code names the first one in a fixed order.
        """
        _check_profile(body)
        serials = device_list(body, required=False)
        profile_uuid = self._identifiers.profile_uuid()
        server.profiles[profile_uuid] = {
            key: value
            for key, value in body.items()
            if value is not None and key not in ("devices", "profile_uuid")
        }
        results, _ = self._assign_all(server, profile_uuid, serials, version, now)
        return {"profile_uuid": profile_uuid, "devices": results}

    def read(self, server: Server, profile_uuid: str, version: int) -> dict[str, Any]:
        """Return a stored profile: the keys of its definition, and its id.

        Raises:
            RefusedError: No id, or not the id of a profile of this server.
        """
        if not profile_uuid:
            raise RefusedError(400, "PROFILE_UUID_REQUIRED")
        found = self._find(server, profile_uuid)
        if found is None:
            raise RefusedError(400, "NOT_FOUND")
        return {"profile_uuid": found, **visible_profile(server.profiles[found], version)}

    def assign(self, server: Server, body: dict[str, Any], version: int, now: datetime) -> dict[str, Any]:
        """Assign a profile to devices and return the result of each.

        Raises:
            RefusedError: No id, an unknown one or no devices.
        """
        wanted = body.get("profile_uuid")
        if wanted is not None and not isinstance(wanted, str):
            raise RefusedError(400, "MALFORMED_REQUEST_BODY")
        if not wanted:
            raise RefusedError(400, "PROFILE_UUID_REQUIRED")
        serials = device_list(body)
        profile_uuid = self._find(server, wanted)
        if profile_uuid is None:
            raise RefusedError(404, "PROFILE_NOT_FOUND")
        results, wait_seconds = self._assign_all(server, profile_uuid, serials, version, now)
        answer: dict[str, Any] = {"profile_uuid": profile_uuid, "devices": results}
        if wait_seconds and version >= 10:
            answer["retry_after_seconds"] = wait_seconds
        return answer

    def remove(self, server: Server, body: dict[str, Any], now: datetime) -> dict[str, Any]:
        """Remove the assigned profile from devices; their ``profile_uuid`` stays.

        A ``profile_uuid`` in the request is ignored.

        Raises:
            RefusedError: No devices.
        """
        results: dict[str, str] = {}
        for serial in dict.fromkeys(device_list(body)):
            device = server.devices.get(serial)
            scripted = self._faults.take(serial) if device else None
            if device is None:
                results[serial] = "NOT_ACCESSIBLE"
            elif scripted is not None:
                scripted.put(results, serial)
            else:
                results[serial] = "SUCCESS"
                device.changes.append(now)
                if "profile_uuid" in device.record:
                    self._portal.operate(device, "modified", {**device.record, "profile_status": "removed"})
        return {"devices": results}

    def _find(self, server: Server, profile_uuid: str) -> str | None:
        profile_uuid = profile_uuid.upper()
        return profile_uuid if profile_uuid in server.profiles else None

    def _assign_all(
        self, server: Server, profile_uuid: str, serials: Iterable[str], version: int, now: datetime
    ) -> tuple[dict[str, str], int]:
        """Return the result of each device, and the seconds until the last throttled one can be assigned."""
        results: dict[str, str] = {}
        wait = 0
        assigned = {
            "profile_status": "assigned",
            "profile_uuid": profile_uuid,
            "profile_assign_time": timestamp(now),
        }
        for serial in dict.fromkeys(serials):
            device = server.devices.get(serial)
            scripted = self._faults.take(serial) if device else None
            if device is None:
                results[serial] = "NOT_ACCESSIBLE"
            elif scripted is not None:
                scripted.put(results, serial)
            elif (until := self._throttled_until(device, now)) is not None:
                results[serial] = "THROTTLED" if version >= 9 else "FAILED"
                wait = max(wait, ceil((until - now).total_seconds()))
            else:
                results[serial] = "SUCCESS"
                record = {key: value for key, value in device.record.items() if key != "profile_push_time"}
                self._portal.operate(device, "modified", {**record, **assigned})
        return results, wait

    def _throttled_until(self, device: OwnedDevice, now: datetime) -> datetime | None:
        """Count one change of *device*; return the end of its throttling, None if the change is allowed."""
        settings = self._portal.settings
        if device.throttled_until is not None and now < device.throttled_until:
            if settings.throttle_extends:
                device.throttled_until = max(device.throttled_until, now + _COOLDOWN)
            return device.throttled_until
        if settings.throttle_changes is None:
            return None
        window_start = now - _WINDOW
        device.changes = [change for change in device.changes if change > window_start]
        if len(device.changes) >= settings.throttle_changes:
            device.throttled_until = now + _COOLDOWN
            return device.throttled_until
        device.changes.append(now)
        return None


def device_list(body: dict[str, Any], *, required: bool = True) -> list[str]:
    """Return the serial numbers of a request.

    Raises:
        RefusedError: They are missing although required, or not a list of strings.
    """
    serials = body.get("devices")
    if not serials and serials in (None, []):
        if required:
            raise RefusedError(400, "DEVICE_ID_REQUIRED")
        return []
    if not isinstance(serials, list) or not all(isinstance(serial, str) for serial in serials):
        raise RefusedError(400, "MALFORMED_REQUEST_BODY")
    return serials


def _check_profile(body: dict[str, Any]) -> None:
    _check_types(body)
    name, url = body.get("profile_name"), body.get("url")
    if name is None:
        raise RefusedError(400, "CONFIG_NAME_REQUIRED")
    if not 1 <= len(name) <= 125:
        raise RefusedError(400, "CONFIG_NAME_INVALID")
    if url is None:
        raise RefusedError(400, "CONFIG_URL_REQUIRED")
    if not _is_uri(url):
        raise RefusedError(400, "CONFIG_URL_INVALID")
    for key, maximum, code in _LENGTHS:
        value = body.get(key)
        if value is not None and not 1 <= len(value) <= maximum:
            raise RefusedError(400, code)
    language, region = body.get("language"), body.get("region")
    if (language is not None and not re.fullmatch(r"[a-z]{2,3}", language)) or (
        region is not None and not re.fullmatch(r"[A-Z]{2}", region)
    ):
        raise RefusedError(400, "LOCALE_INVALID")
    if body.get("is_mdm_removable") is False and body.get("is_supervised") is not True:
        raise RefusedError(400, "FLAGS_INVALID")


def _check_types(body: dict[str, Any]) -> None:
    texts = (
        "profile_name",
        "url",
        "configuration_web_url",
        "language",
        "region",
        *(key for key, _, _ in _LENGTHS),
    )
    wrong = (
        any(not isinstance(body[key], str) for key in texts if body.get(key) is not None)
        or any(not isinstance(body[key], bool) for key in _FLAGS if body.get(key) is not None)
        or any(not _is_text_list(body[key]) for key in _LISTS if body.get(key) is not None)
    )
    if wrong:
        raise RefusedError(400, "MALFORMED_REQUEST_BODY")


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_uri(text: str) -> bool:
    """Return True for an absolute URI with a host, of at most 2000 characters of RFC 2396 and 2732."""
    if not 1 <= len(text) <= 2000 or not _URI.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.scheme and parts.hostname)
    except ValueError:
        return False
