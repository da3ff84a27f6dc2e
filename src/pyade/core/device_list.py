"""Devices as Apple sent them: a record keeps its own bytes, and becomes a ``Device`` when one is asked for.

A page of a fleet is mostly compared and stored, for which the bytes and a few words of them are enough. What
is read strictly here (every key known, every value of its kind, times in UTC) means the same as what
``Device.from_apple`` reads with tolerance; every other record is read by that.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC
from typing import Any, Final, overload

import attrs
import msgspec

from pyade.core.device import Device
from pyade.core.json_values import MAX_RECORD, MAX_SERIAL


class DeviceList(Sequence[Device]):
    """The devices of an answer, in its order; equal to a tuple of equal devices.

    Attributes:
        words: What is in each record, by the names of ``Device`` without ``extra``.
    """

    def __init__(self, devices: Iterable[Device] = (), raws: Sequence[msgspec.Raw | None] = ()) -> None:
        """Make a list of *devices*, with the bytes of each; () if they have none."""
        self.words: list[Any] = []
        self._raws: list[msgspec.Raw | None] = []
        self._texts: list[str | None] = []
        self._made: list[Device | None] = []
        for device in devices:
            self.add(device)
        if raws:
            self._raws = list(raws)

    def add(self, device: Device) -> None:
        """Append a device that was read with tolerance, or made by hand."""
        known = {name: value for name in _NAMES if (value := getattr(device, name)) is not None}
        self.words.append(_Words(**known))
        self._raws.append(None)
        self._texts.append(None)
        self._made.append(device)

    def add_record(self, raw: msgspec.Raw) -> bool:
        """Append a record if it can be read strictly, and return whether it could."""
        words = _read_strictly(raw)
        if words is None or memoryview(raw).nbytes > MAX_RECORD:
            return False
        self.words.append(words)
        self._raws.append(raw)
        self._texts.append(None)
        self._made.append(None)
        return True

    def text(self, index: int) -> str | None:
        """Return the JSON object of a record as it came; None where it was not read strictly."""
        text, raw = self._texts[index], self._raws[index]
        if text is None and raw is not None:
            text = self._texts[index] = bytes(raw).decode()
        return text

    def texts(self) -> list[str | None]:
        """Return the JSON object of each record as it came; None where it was not read strictly."""
        return [self.text(index) for index in range(len(self))]

    @overload
    def __getitem__(self, index: int) -> Device: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Device, ...]: ...
    def __getitem__(self, index: int | slice) -> Device | tuple[Device, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        made = self._made[index]
        if made is None:
            made = self._made[index] = _read_device(self._raws[index])
        return made

    def __iter__(self) -> Iterator[Device]:
        return map(self.__getitem__, range(len(self._made)))

    def __len__(self) -> int:
        return len(self._made)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, (DeviceList, tuple)) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def read_strictly(record: msgspec.Raw | str) -> Device | None:
    """Return the device of one record; None where it takes tolerance to read it."""
    return None if _read_strictly(record) is None else _read_device(record)


def read_device(text: str) -> Device:
    """Return the device of Apple's JSON object *text*.

    Raises:
        msgspec.MsgspecError: It is none; see ``Device.from_apple``.
    """
    if _read_strictly(text) is not None:
        return _read_device(text)
    return Device.from_apple(msgspec.json.decode(text))


def _read_strictly(text: msgspec.Raw | str) -> Any:
    """Return what is in a record; None where it takes tolerance to read it."""
    try:
        words = _read_words(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if words.serial_number.isspace():
        return None
    for time in (
        words.profile_assign_time,
        words.device_assigned_date,
        words.op_date,
        words.profile_push_time,
        words.mdm_migration_deadline,
    ):
        if time is not None and time.tzinfo is not UTC:
            return None
    return words


_KINDS = typing.get_type_hints(Device)
_NAMES = tuple(field.name for field in attrs.fields(Device) if field.name != "extra")
_KINDS["serial_number"] = typing.Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SERIAL)]
_Words: Any = msgspec.defstruct(
    "_Words",
    [
        ("serial_number", _KINDS["serial_number"]),
        *((name, _KINDS[name], None) for name in _NAMES if name != "serial_number"),
    ],
    forbid_unknown_fields=True,
    gc=False,
)
_read_words: Final[Callable[[Any], Any]] = msgspec.json.Decoder(_Words).decode
_read_device: Final[Callable[[Any], Device]] = msgspec.json.Decoder(Device).decode
