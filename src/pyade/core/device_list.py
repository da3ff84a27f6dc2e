"""Devices as Apple sent them: each is kept with its own bytes, so that a store compares and keeps those.

What is read strictly here (every key known, every value of its kind, times in UTC) means the same as what
``Device.from_apple`` reads with tolerance; every other record is read by that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC
from typing import Any, Final, Self

import msgspec

from pyade.core.device import Device
from pyade.core.json_values import MAX_RECORD


class DeviceList(tuple[Device, ...]):
    """The devices of an answer, in its order: a tuple that knows the bytes of its records.

    Attributes:
        raws: Each record as it came; None where it was not read strictly.
    """

    raws: Sequence[msgspec.Raw | None]

    def __new__(cls, devices: Iterable[Device], raws: Sequence[msgspec.Raw | None] = ()) -> Self:
        """Return a list of *devices*, with the bytes of each; () if they have none."""
        made = super().__new__(cls, devices)
        made.raws = raws or [None] * len(made)
        return made

    def texts(self) -> list[str | None]:
        """Return the JSON object of each record as it came; None where it was not read strictly."""
        return [None if raw is None else bytes(raw).decode() for raw in self.raws]


def read_page(content: bytes, raws: Sequence[msgspec.Raw]) -> DeviceList | None:
    """Return the devices of a page; None unless every one of them can be read strictly.

    Args:
        content: The page, as JSON.
        raws: The records in it, each as it came.
    """
    try:
        devices = _read_page(content).devices or ()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not all(map(_is_strict, devices)) or any(memoryview(raw).nbytes > MAX_RECORD for raw in raws):
        return None
    return DeviceList(devices, raws)


def read_strictly(record: msgspec.Raw | str) -> Device | None:
    """Return the device of one record; None where it takes tolerance to read it."""
    try:
        device = _read_device(record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return device if _is_strict(device) else None


def read_device(text: str) -> Device:
    """Return the device of Apple's JSON object *text*.

    Raises:
        msgspec.MsgspecError: It is none; see ``Device.from_apple``.
    """
    return read_strictly(text) or Device.from_apple(msgspec.json.decode(text))


def _is_strict(device: Device) -> bool:
    """Return True if a record of which all keys are known, with values of their kind, needs no tolerance."""
    return not (device.serial_number.isspace() or device.extra) and (
        ((one := device.device_assigned_date) is None or one.tzinfo is UTC)
        and ((one := device.profile_assign_time) is None or one.tzinfo is UTC)
        and ((one := device.profile_push_time) is None or one.tzinfo is UTC)
        and ((one := device.op_date) is None or one.tzinfo is UTC)
        and ((one := device.mdm_migration_deadline) is None or one.tzinfo is UTC)
    )


class _Page(msgspec.Struct):
    devices: list[Device] | None = None


_read_page: Final[Callable[[bytes], _Page]] = msgspec.json.Decoder(_Page).decode
_read_device: Final[Callable[[Any], Device]] = msgspec.json.Decoder(Device).decode
