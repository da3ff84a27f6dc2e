"""What the details endpoint said of devices, by serial number, with the bytes of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pyade.core.device import Device
from pyade.core.device_list import DeviceList


class DeviceDetails(dict[str, Device]):
    """Devices by serial number: a dictionary that knows the bytes of its records.

    Attributes:
        raws: Each record as it came, by serial number, without those that were not read strictly.
    """

    def __init__(self, devices: Mapping[str, Device], raws: Mapping[str, msgspec.Raw]) -> None:
        """Take *devices*, with the bytes of those that were read strictly."""
        super().__init__(devices)
        self.raws: Mapping[str, msgspec.Raw] = raws

    def of(self, serials: Sequence[str]) -> DeviceList:
        """Return the devices of those *serials* that are in it, in their order."""
        found = [serial for serial in serials if serial in self]
        return DeviceList(map(self.__getitem__, found), list(map(self.raws.get, found)))


def said_of_profile(device: Device) -> tuple[Any, ...]:
    """Return all of *device* that shows whether it was given a profile, and which."""
    return device.response_status, device.profile_status, device.profile_uuid, device.profile_assign_time
