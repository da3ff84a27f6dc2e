"""What each protocol version lets a client see.

Source: Apple, device assignment, the pages Device, Profile, AccountDetail and "Assign a profile".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyade.testing.apple.model import Record

_DEVICE_KEYS_SINCE: Mapping[str, int] = {
    "device_family": 2,
    "os": 2,
    "mdm_migration_deadline": 8,
    "bluetooth_mac_address": 10,
    "wifi_mac_address": 10,
    "ethernet_mac_address": 10,
    "eid": 10,
    "imei": 10,
    "meid": 10,
    "is_replacement_device": 10,
    "released_by_replacement": 10,
}
_PROFILE_KEYS_SINCE: Mapping[str, int] = {
    "auto_advance_setup": 2,
    "await_device_configured": 2,
    "is_multi_user": 2,
    "support_email_address": 2,
}
_ACCOUNT_KEYS_SINCE: Mapping[str, int] = {
    "org_id": 3,
    "org_id_hash": 3,
    "org_type": 3,
    "org_version": 3,
    "urls": 3,
}
_HIGHEST = 10


def visible_device(record: Record, version: int) -> Record:
    """Return the part of a device *record* that protocol *version* shows."""
    if version >= _HIGHEST:
        return record
    shown = _visible(record, _DEVICE_KEYS_SINCE, version)
    if version < 7 and shown.get("os") == "iPadOS":
        shown["os"] = "iOS"
    return shown


def visible_profile(profile: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Return the part of a profile that protocol *version* shows."""
    return _visible(profile, _PROFILE_KEYS_SINCE, version)


def visible_account(account: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Return the part of the account detail that protocol *version* shows."""
    return _visible(account, _ACCOUNT_KEYS_SINCE, version)


def _visible(source: Mapping[str, Any], since: Mapping[str, int], version: int) -> dict[str, Any]:
    return {key: value for key, value in source.items() if since.get(key, 0) <= version}
