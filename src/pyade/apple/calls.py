"""Every endpoint of Apple's device assignment service as data.

A function here only describes a request and how to decode its response; ``Client.call`` and
``AsyncClient.call`` send it.

Source: Apple, device assignment, the endpoint pages; paths are absolute from the base URL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pyade.apple import responses
from pyade.apple.http.calls import Call
from pyade.apple.http.json_bodies import read_nothing
from pyade.core.fleet.device import DeviceDetails
from pyade.core.fleet.outcomes import DeviceResults
from pyade.errors import InvalidRequestError

CHUNK = 1000
"""Most serial numbers in one request: Apple's recommendation for assign, used for all."""


def account() -> Call[responses.Account]:
    """Return the call that reads the MDM server, its organization and the page limits."""
    return Call(
        operation="read the account",
        method="GET",
        path="/account",
        decode=responses.Account.decode,
        repeatable=True,
    )


def fetch_devices(cursor: str | None = None, limit: int | None = None) -> Call[responses.DevicePage]:
    """Return the call for one page of the full list.

    Args:
        cursor: Of the page before; None for the first one.
        limit: Devices per page; None for what the client knows to be best.
    """
    return _page("fetch devices", "/server/devices", cursor, limit)


def sync_devices(cursor: str, limit: int | None = None) -> Call[responses.DevicePage]:
    """Return the call for one page of the changes since *cursor*.

    Args:
        cursor: Of the last page of a fetch, or of the sync before.
        limit: Devices per page; None for what the client knows to be best.
    """
    return _page("sync devices", "/devices/sync", cursor, limit)


def _page(operation: str, path: str, cursor: str | None, limit: int | None) -> Call[responses.DevicePage]:
    if limit is not None and limit < 1:
        raise InvalidRequestError(operation, 0, "", f"limit {limit}: 1 or more is allowed", "leave limit out")
    # Left out instead of null: no known client sends null, so its effect at Apple is unknown.
    body = {key: value for key, value in (("cursor", cursor), ("limit", limit)) if value is not None}
    return Call(
        operation=operation,
        method="POST",
        path=path,
        decode=responses.DevicePage.decode,
        json=body,
        repeatable=True,
        paged=True,
    )


def device_details(serials: Sequence[str]) -> Call[DeviceDetails]:
    """Return the call that reads what Apple knows about *serials* now.

    The response has an entry for each of them; ``response_status`` says whether it carries data.
    """
    return Call(
        operation="read device details",
        method="POST",
        path="/devices",
        decode=partial(responses.decode_details, serials=tuple(serials)),
        json={"devices": list(serials)},
        max_records=len(serials),
        repeatable=True,
    )


def disown_devices(serials: Sequence[str]) -> Call[DeviceResults]:
    """Return the call that disowns devices permanently: they leave the whole organization."""
    return Call(
        operation="disown devices",
        method="POST",
        path="/devices/disown",
        decode=partial(responses.decode_results, serials=tuple(serials)),
        json={"devices": list(serials)},
        max_records=len(serials),
        repeatable=False,
    )


def define_profile(body: Mapping[str, Any]) -> Call[responses.DefineProfileResponse]:
    """Return the call that stores a new profile at Apple; existing profiles never change.

    Args:
        body: Apple's profile JSON, as ``builders.dep_profile.definition`` returns it. For a large fleet leave
            ``devices`` out and assign them afterwards in chunks.
    """
    return Call(
        operation="define a profile",
        method="POST",
        path="/profile",
        decode=partial(responses.DefineProfileResponse.decode, serials=tuple(body.get("devices") or ())),
        json=body,
        repeatable=False,
    )


def profile(profile_uuid: str) -> Call[dict[str, Any]]:
    """Return the call that reads a profile's JSON as Apple stores it."""
    return Call(
        operation="read a profile",
        method="GET",
        path="/profile",
        decode=responses.decode_profile,
        params={"profile_uuid": profile_uuid},
        repeatable=True,
    )


def assign_profile(profile_uuid: str, serials: Sequence[str]) -> Call[DeviceResults]:
    """Return the call that assigns a profile to at most ``CHUNK`` devices."""
    return Call(
        operation="assign a profile",
        method="POST",
        path="/profile/devices",
        decode=partial(responses.decode_results, serials=tuple(serials), profile_uuid=profile_uuid),
        json={"profile_uuid": profile_uuid, "devices": list(serials)},
        max_records=len(serials),
        repeatable=False,
        fallback_method="PUT",
    )


def remove_profile(serials: Sequence[str]) -> Call[DeviceResults]:
    """Return the call that removes the assigned profile from at most ``CHUNK`` devices."""
    return Call(
        operation="remove a profile",
        method="DELETE",
        path="/profile/devices",
        decode=partial(responses.decode_results, serials=tuple(serials)),
        json={"devices": list(serials)},
        max_records=len(serials),
        repeatable=False,
    )


def activation_lock(
    serial_number: str, escrow_key: str | None = None, lost_message: str | None = None
) -> Call[responses.ActivationLockResponse]:
    """Return the call that locks one device.

    Args:
        serial_number: The device.
        escrow_key: ``BypassCode.escrow_key``, 64 hex digits; without it the lock is bound to the portal user
            who created the MDM server.
        lost_message: Text on the locked screen.

    Raises:
        InvalidRequestError: ``escrow_key`` is not 64 hex digits; the error does not show it.
    """
    operation = "lock a device"
    # Passing the code itself would lock the device with a hash whose code is unknown.
    if escrow_key and not re.fullmatch(r"[0-9A-Fa-f]{64}", escrow_key):
        detail = "escrow_key: the hash of a bypass code is allowed, 64 hex digits"
        raise InvalidRequestError(operation, 0, "", detail, "pass BypassCode.escrow_key, not its text")
    body = {"device": serial_number, "escrow_key": escrow_key, "lost_message": lost_message}
    return Call(
        operation=operation,
        method="POST",
        path="/device/activationlock",
        decode=partial(responses.ActivationLockResponse.decode, serial_number=serial_number),
        json={key: value for key, value in body.items() if value},
        repeatable=False,
    )


def replacement_details(serial_number: str) -> Call[responses.ReplacementDetails]:
    """Return the call that reads which device *serial_number* replaces; protocol version 10."""
    return Call(
        operation="read replacement details",
        method="GET",
        path="/device/replacementDetails",
        decode=partial(responses.ReplacementDetails.decode, serial_number=serial_number),
        params={"device": serial_number},
        repeatable=True,
    )


def beta_enrollment_tokens() -> Call[responses.BetaEnrollmentTokens]:
    """Return the call that reads the tokens of Apple's beta programmes."""
    return Call(
        operation="read beta enrollment tokens",
        method="GET",
        path="/os-beta-enrollment/tokens",
        decode=responses.BetaEnrollmentTokens.decode,
        repeatable=True,
        by_code={"APPLE_SEED_FOR_IT_TURNED_OFF": responses.BetaEnrollmentTokens(is_allowed=False)},
    )


def set_account_driven_enrollment_profile(mdm_service_discovery_url: str) -> Call[None]:
    """Return the call that sets the address for account-driven enrollment, which must be ``https``."""
    return Call(
        operation="set the account-driven enrollment profile",
        method="POST",
        path="/account-driven-enrollment/profile",
        decode=read_nothing,
        json={"mdm_service_discovery_url": mdm_service_discovery_url},
        repeatable=False,
    )


def get_account_driven_enrollment_profile() -> Call[responses.AccountDrivenEnrollmentProfile]:
    """Return the call that reads the address for account-driven enrollment."""
    return Call(
        operation="read the account-driven enrollment profile",
        method="GET",
        path="/account-driven-enrollment/profile",
        decode=responses.AccountDrivenEnrollmentProfile.decode,
        repeatable=True,
    )


def remove_account_driven_enrollment_profile() -> Call[None]:
    """Return the call that removes the address for account-driven enrollment."""
    return Call(
        operation="remove the account-driven enrollment profile",
        method="DELETE",
        path="/account-driven-enrollment/profile",
        decode=read_nothing,
        repeatable=False,
    )
