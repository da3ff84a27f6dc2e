"""Devices as Apple sent them: a record keeps its own bytes, and becomes a ``Device`` when one is asked for.

A page of a fleet is mostly compared and stored, for which the bytes and a few words of them are enough. What
is read strictly here (every key known, every value of its kind, times in UTC) means the same as what
``Device.from_apple`` reads with tolerance; every other record is read by that.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC
from typing import Any, Final, Self, cast, overload

import attrs
import msgspec

from pyade.core.device import Device
from pyade.core.json_values import MAX_RECORD, MAX_SERIAL


class DeviceList(Sequence[Device]):
    """The devices of an answer, in its order; equal to a tuple of equal devices.

    Attributes:
        words: What is in each record, by the names of ``Device`` without ``extra``.
    """

    def __init__(self, devices: Iterable[Device] = ()) -> None:
        """Make a list of devices that have no bytes of their own."""
        self.words: list[Any] = []
        self._raws: list[msgspec.Raw | None] = []
        self._texts: list[str | None] = []
        self._made: list[Device | None] = []
        for device in devices:
            self.add(device)

    @classmethod
    def of_page(cls, content: bytes, raws: Sequence[msgspec.Raw]) -> Self | None:
        """Return the records *raws* of a page; None unless every one of them can be read strictly.

        Args:
            content: The page, as JSON.
            raws: The records in it, each as it came.
        """
        try:
            words = _read_page(content).devices
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        if not all(map(_is_strict, words)) or max(map(len, map(memoryview, raws)), default=0) > MAX_RECORD:
            return None
        found = cls()
        found.words, found._raws = words, list(raws)
        found._texts, found._made = [None] * len(words), [None] * len(words)
        return found

    def add(self, device: Device) -> None:
        """Append a device that was read with tolerance, or made by hand."""
        known = {name: value for name in _NAMES if (value := getattr(device, name)) is not None}
        self._append(_Words(**known), None, device)

    def add_record(self, raw: msgspec.Raw) -> bool:
        """Append a record if it can be read strictly, and return whether it could."""
        words = _read_strictly(raw)
        if words is None or memoryview(raw).nbytes > MAX_RECORD:
            return False
        self._append(words, raw, None)
        return True

    def text(self, index: int) -> str | None:
        """Return the JSON object of a record as it came; None where it was not read strictly."""
        text, raw = self._texts[index], self._raws[index]
        if text is None and raw is not None:
            text = self._texts[index] = bytes(raw).decode()
        return text

    def _append(self, words: Any, raw: msgspec.Raw | None, made: Device | None) -> None:
        self.words.append(words)
        self._raws.append(raw)
        self._texts.append(None)
        self._made.append(made)

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
        if None in self._made:
            pairs = zip(self._made, self._raws, strict=True)
            self._made = [_read_device(raw) if made is None else made for made, raw in pairs]
        return iter(cast("list[Device]", self._made))

    def __len__(self) -> int:
        return len(self._made)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, (DeviceList, tuple)) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


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
    return words if _is_strict(words) else None


def _is_strict(words: Any) -> bool:
    """Return True if a record of which all keys are known, with values of their kind, needs no tolerance."""
    return not words.serial_number.isspace() and (
        ((one := words.device_assigned_date) is None or one.tzinfo is UTC)
        and ((one := words.profile_assign_time) is None or one.tzinfo is UTC)
        and ((one := words.profile_push_time) is None or one.tzinfo is UTC)
        and ((one := words.op_date) is None or one.tzinfo is UTC)
        and ((one := words.mdm_migration_deadline) is None or one.tzinfo is UTC)
    )


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
_Page: Any = msgspec.defstruct("_Page", [("devices", list[_Words] | None, None)])
_read_page: Final[Callable[[bytes], Any]] = msgspec.json.Decoder(_Page).decode
_read_words: Final[Callable[[Any], Any]] = msgspec.json.Decoder(_Words).decode
_read_device: Final[Callable[[Any], Device]] = msgspec.json.Decoder(Device).decode
