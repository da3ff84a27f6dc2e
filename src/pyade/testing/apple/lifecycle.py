"""What happens to a device outside the portal: setup, unlock, disown, replacement by Apple.

Source: Apple, device assignment, "Sync the list of devices", the page Device and "Get replacement details".
Not published, chosen here: a device whose server lacks the assigned profile gets no profile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

import attrs

from pyade.core.arguments import check_arguments
from pyade.testing.apple.model import AppleSettings, Identifiers, timestamp
from pyade.testing.apple.portal import FakePortal
from pyade.testing.errors import PortalError


@attrs.frozen(kw_only=True)
class Replacement:
    """The replacement of one device by another.

    Attributes:
        original_serial_number: The device that was replaced.
        day: The UTC day of the replacement as ``YYYY-MM-DD``.
    """

    original_serial_number: str
    day: str


@check_arguments
class DeviceLifecycle(FakePortal):
    """A portal whose devices can be set up, unlocked, disowned and replaced."""

    def __init__(
        self, clock: Callable[[], datetime], identifiers: Identifiers, settings: AppleSettings
    ) -> None:
        super().__init__(clock, identifiers, settings)
        self._replacements: dict[str, Replacement] = {}

    def activate(self, serial_number: str) -> dict[str, Any] | None:
        """Set a device up and return its profile: Apple's JSON with ``profile_uuid``; None if it gets none.

        A device that gets a profile becomes ``pushed``, which its server's sync reports as ``modified``; call
        it again for a device that was erased. A device gets none, and does not change, if it has no server,
        if its status is ``empty`` or ``removed``, or if its server lacks the profile.

        Args:
            serial_number: Which device.

        Raises:
            PortalError: There is no such device.
        """
        with self._lock:
            (device,) = self._find_devices([serial_number])
            server, record = device.server, device.record
            if server is None or record.get("profile_status") not in ("assigned", "pushed"):
                return None
            profile_uuid = record["profile_uuid"]
            if profile_uuid not in server.profiles:
                return None
            pushed_at = timestamp(server.operation_time(self.clock()))
            pushed = {**record, "profile_status": "pushed", "profile_push_time": pushed_at}
            self.operate(device, "modified", pushed)
            return {**server.profiles[profile_uuid], "profile_uuid": profile_uuid}

    def disown(self, serial_number: str) -> None:
        """Disown a device for ever, which its server's sync reports as ``deleted``.

        Args:
            serial_number: Which device.

        Raises:
            PortalError: There is no such device.
        """
        with self._lock:
            (device,) = self._find_devices([serial_number])
            if device.server is not None:
                self._remove_from_server(device, announce=True)
            del self.devices[serial_number]
            self._disowned.add(serial_number)

    def unlock(self, serial_number: str, bypass_code: str) -> bool:
        """Enter a bypass code on a locked device, and return True if that unlocks it.

        Args:
            serial_number: Which device.
            bypass_code: The code as a user types it, with or without dashes.

        Raises:
            PortalError: There is no such device, or it is not locked.
        """
        with self._lock:
            (device,) = self._find_devices([serial_number])
            if device.activation_lock is None:
                raise PortalError(f"{serial_number!r} is not locked")
            is_right = escrow_key_of(bypass_code) == (device.activation_lock.escrow_key or "")
            if is_right:
                device.activation_lock = None
            return is_right

    def replace_device(
        self, serial_number: str, replacement: str | None = None, *, announce: bool = True
    ) -> str:
        """Replace a device with another of the same model, as Apple does, and return the new serial number.

        The old device is removed for good, which its server's sync reports as ``deleted`` with
        ``released_by_replacement``. The new one belongs to the organization and is assigned to the same
        server, without a profile and with ``is_replacement_device``.

        Args:
            serial_number: Which device.
            replacement: The new serial number; omitted, a generated one.
            announce: False if sync does not report the old device.

        Raises:
            PortalError: There is no such device, or the new serial number exists already.
        """
        with self._lock:
            (old,) = self._find_devices([serial_number])
            server, record, organization = old.server, old.record, old.organization
            if replacement in self.devices:
                raise PortalError(f"there is a device {replacement!r} already")
            if server is not None:
                self._remove_from_server(old, announce=announce, released_by_replacement=True)
            del self.devices[serial_number]
            hardware = {key: record[key] for key in _HARDWARE_KEYS if key in record}
            (new,) = self.add_devices(
                serials=[replacement or self._identifiers.serial_number()],
                server=server,
                organization=organization,
                **hardware,
                is_replacement_device=True,
            )
            self._replacements[new] = Replacement(
                original_serial_number=serial_number, day=timestamp(self.clock())[:10]
            )
            return new


def escrow_key_of(bypass_code: str) -> str | None:
    """Return the hash of a bypass code as typed; None if the text is not a bypass code."""
    bits = "".join(f"{_SYMBOLS.index(symbol):05b}" for symbol in bypass_code if symbol in _SYMBOLS)
    # The last symbol encodes only three bits.
    if len(bits) != 26 * 5 or bits[125:127] != "00":
        return None
    raw = int(bits[:125] + bits[127:], 2).to_bytes(16, "big")
    return hashlib.pbkdf2_hmac("sha256", raw, bytes(4), 50_000).hex()


_SYMBOLS = "0123456789ACDEFGHJKLMNPQRTUVWXYZ"
_HARDWARE_KEYS = ("model", "description", "color", "device_family", "os")
