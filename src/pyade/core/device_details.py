"""What the details endpoint said of devices, each of which becomes a ``Device`` when one is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pyade.core.device import Device
from pyade.core.device_list import DeviceList


class DeviceDetails(Mapping[str, Device]):
    """Devices by serial number; equal to a dictionary of equal devices.

    Attributes:
        devices: All of them, in any order.
    """

    def __init__(self, devices: DeviceList, serials: Iterable[str]) -> None:
        """Take *devices*, none of which comes twice, in the order of their *serials*; there may be more."""
        self.devices: DeviceList = devices
        places = {words.serial_number: index for index, words in enumerate(devices.words)}
        self._places = {serial: places[serial] for serial in serials if serial in places}

    def of(self, serials: Sequence[str]) -> Sequence[Device]:
        """Return the devices of those *serials* that are known, in their order."""
        words = self.devices.words
        if len(serials) == len(words) and all(
            serial == one.serial_number for serial, one in zip(serials, words, strict=True)
        ):
            return self.devices
        return [self[serial] for serial in serials if serial in self._places]

    def __getitem__(self, serial: str) -> Device:
        return self.devices[self._places[serial]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return repr(dict(self))
