"""A device as Apple's device assignment service describes it, and lists of devices with Apple's bytes.

The rules of this file:

1. A record is read strictly if every key is known, every value has its type and times are in UTC. The result
   is the same as that of ``Device.from_apple``, which reads every other record with tolerance.
2. A record that was read strictly is kept with its own bytes, which a store compares and writes.
3. No value from Apple is lost: what pyade does not know, or could not read, is kept in ``extra``.

Source: Apple, device assignment, ``Device``, protocol versions 2 to 10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Self

import msgspec

from pyade.core.exports import Exportable
from pyade.core.values import (
    MAX_RECORD,
    MAX_SERIAL,
    OpenStrEnum,
    check_id,
    check_storable,
    format_time,
    in_utc,
)
from pyade.text import short_repr


class ProfileStatus(OpenStrEnum):
    """Whether a device has an enrollment profile, as Apple reports it."""

    EMPTY = "empty"
    ASSIGNED = "assigned"
    PUSHED = "pushed"
    REMOVED = "removed"


class OpType(OpenStrEnum):
    """What happened to a device since the cursor. Only a hint: assignments are decided from state."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"


class DeviceFamily(OpenStrEnum):
    """Apple's product family."""

    MAC = "Mac"
    IPAD = "iPad"
    IPHONE = "iPhone"
    IPOD = "iPod"
    APPLE_TV = "AppleTV"
    VISION = "Vision"


class DeviceResult(OpenStrEnum):
    """What Apple did for one device of a request; the lower-case values are pyade's own.

    Attributes:
        SUCCESS: Done.
        NOT_ACCESSIBLE: Not (any more) assigned to this MDM server.
        FAILED: Not done; below protocol version 9 also "throttled".
        THROTTLED: Too many changes to this device; wait before the next attempt.
        MISSING: The response did not mention the device.
        REQUEST_FAILED: The request failed, so its effect is unknown; read the device's details.
        NOT_SENT: An earlier request failed and this one was not sent.
        NOT_CONFIRMED: Apple answered one thing, and its details, read afterwards, show another.
    """

    SUCCESS = "SUCCESS"
    NOT_ACCESSIBLE = "NOT_ACCESSIBLE"
    FAILED = "FAILED"
    THROTTLED = "THROTTLED"
    MISSING = "missing"
    REQUEST_FAILED = "request_failed"
    NOT_SENT = "not_sent"
    NOT_CONFIRMED = "not_confirmed"


class Device(
    Exportable,
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    gc=False,
):
    """One device record of Apple's service.

    Only the serial number is always there, and not empty: Apple leaves keys without a value out. What pyade
    does not know, or could not read, is kept in ``extra`` and survives a round trip. Unlike other classes of
    pyade this is a msgspec struct, of which a million are read in a second: ``changed`` does what
    ``attrs.evolve`` does.

    Attributes:
        serial_number: The key for everything; kept and compared exactly as given.
        model: Marketing name, such as ``MacBook Pro``.
        description: Such as ``MBP 13.3 SPACE GRAY/2.0GHZ/8GB/256GB-USA``.
        color: Upper case, such as ``SPACE GRAY``.
        asset_tag: The organization's own tag, usually absent.
        device_family: Protocol version 2 and later.
        os: ``OSX`` for Macs; protocol version 2 and later.
        profile_status: Absent in some ``deleted`` records.
        profile_uuid: Still present when the status is ``removed``.
        profile_assign_time: When the profile was assigned, UTC.
        profile_push_time: When the device fetched the profile, UTC; not a proof that it enrolled.
        device_assigned_date: When the device was assigned to this MDM server, UTC.
        device_assigned_by: Documented as an e-mail address; ``-1`` occurs.
        op_type: Only in sync records.
        op_date: When the operation happened, UTC, whole seconds; only in sync records.
        response_status: Only in device details.
        mdm_migration_deadline: Protocol version 8 and later.
        bluetooth_mac_address: Protocol version 10 and later.
        wifi_mac_address: Protocol version 10 and later.
        ethernet_mac_address: Protocol version 10 and later.
        eid: Protocol version 10 and later.
        imei: Protocol version 10 and later.
        meid: Protocol version 10 and later.
        is_replacement_device: Protocol version 10 and later.
        released_by_replacement: Protocol version 10 and later, only with ``deleted``.
        extra: Keys that pyade does not know, or whose value it could not read, unchanged.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    serial_number: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SERIAL)]
    model: str | None = None
    description: str | None = None
    color: str | None = None
    asset_tag: str | None = None
    device_family: DeviceFamily | None = None
    os: str | None = None
    profile_status: ProfileStatus | None = None
    profile_uuid: str | None = None
    profile_assign_time: datetime | None = None
    profile_push_time: datetime | None = None
    device_assigned_date: datetime | None = None
    device_assigned_by: str | None = None
    op_type: OpType | None = None
    op_date: datetime | None = None
    response_status: DeviceResult | None = None
    mdm_migration_deadline: datetime | None = None
    bluetooth_mac_address: str | None = None
    wifi_mac_address: str | None = None
    ethernet_mac_address: str | None = None
    eid: str | None = None
    imei: tuple[str, ...] | None = None
    meid: tuple[str, ...] | None = None
    is_replacement_device: bool | None = None
    released_by_replacement: bool | None = None
    # Never read from a key "extra": an empty value is refused here, and any other one by ``_is_strict``.
    extra: Annotated[Mapping[str, Any], msgspec.Meta(min_length=1)] = msgspec.field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(msgspec.structs.astuple(self)[:-1])

    def changed(self, **changes: Any) -> Self:
        """Return the same device with other values for some attributes."""
        return msgspec.structs.replace(self, **changes)

    @property
    def is_mac(self) -> bool:
        """True if family or operating system say so; True also if Apple sent neither."""
        if self.device_family is not None:
            return self.device_family == DeviceFamily.MAC
        return self.os in (None, "OSX")

    @property
    def shown_profile(self) -> str | None:
        """The ``profile_uuid`` that Apple shows as assigned; "" for none, None if Apple does not say.

        The id stays in a record whose profile was removed, and is meaningless there.
        """
        if self.profile_status in (ProfileStatus.ASSIGNED, ProfileStatus.PUSHED):
            return self.profile_uuid or None
        return "" if self.profile_status in (ProfileStatus.EMPTY, ProfileStatus.REMOVED) else None

    @property
    def is_reassigned(self) -> bool:
        """True if it was assigned to this server after its profile was, and may be unable to fetch it."""
        assigned, given = self.device_assigned_date, self.profile_assign_time
        return assigned is not None and given is not None and assigned > given

    def shows(self, profile_uuid: str) -> bool:
        """Return True if Apple shows that profile as assigned, or none for ""."""
        shown = self.shown_profile
        return shown is not None and shown.casefold() == profile_uuid.casefold()

    @property
    def details_result(self) -> DeviceResult:
        """Apple's status of the request for the details; no status means success."""
        return DeviceResult.SUCCESS if self.response_status is None else self.response_status

    @classmethod
    def from_apple(cls, record: Mapping[str, Any]) -> Device:
        """Return the device of Apple's JSON object *record*.

        A value that cannot be read (a text that is no date, a number for a name) does not stop a sync: it is
        kept in ``extra`` under its key.

        Raises:
            msgspec.ValidationError: It is no object, or has no serial number, one that is not a string, is
                empty or has more than 200 characters; or a store could not keep it, since it is nested deeper
                than 32 levels or holds NaN or an infinite number.
        """
        if not isinstance(record, (dict, Mapping)):
            raise msgspec.ValidationError(f"Expected `object`, got `{type(record).__name__}`")
        serial = record.get("serial_number")
        if not isinstance(serial, str):
            kind = type(serial).__name__
            raise msgspec.ValidationError(f"Expected `str`, got `{kind}` - at `$.serial_number`")
        check_id(serial, "serial_number")
        extra = {key: value for key, value in record.items() if key not in _NAMES}
        check_storable(extra)
        known = {key: value for key, value in record.items() if key in _NAMES} if extra else record
        try:
            device = msgspec.convert(known, cls)
        except msgspec.ValidationError:
            device = _without_unreadable_values(known, extra)  # rule 3
        changes: dict[str, Any] = {}
        for name in _TIMES:
            value = getattr(device, name)
            if value is not None and value.tzinfo is not UTC:
                try:
                    changes[name] = in_utc(value)
                except OverflowError:  # year 1 east of Greenwich has no UTC time
                    changes[name] = None
                    extra[name] = record[name]
        if extra:
            changes["extra"] = extra
        return device.changed(**changes) if changes else device

    def to_apple(self) -> dict[str, Any]:
        """Return Apple's JSON object: keys without a value left out, times as ``YYYY-MM-DDThh:mm:ssZ``."""
        record: dict[str, Any] = {}
        for name in _FIELDS:
            value = getattr(self, name)
            if isinstance(value, datetime):
                record[name] = format_time(value)
            elif isinstance(value, tuple):
                record[name] = list(value)
            elif isinstance(value, OpenStrEnum):
                record[name] = str(value)
            elif value is not None:
                record[name] = value
        return {**record, **self.extra}


OF_RESPONSE: Final = ("op_type", "op_date", "response_status")
"""The fields that concern only the response that contained the device."""


def without_operation(device: Device) -> Device:
    """Return *device* without the fields that concern only the response that contained it."""
    if device.op_type is None and device.op_date is None and device.response_status is None:
        return device
    return device.changed(**dict.fromkeys(OF_RESPONSE))


def after_deletion(known: Device, deleted: Device) -> Device:
    """Return *known* after a deletion, which ends all about the profile; all about the hardware stays."""
    news: dict[str, Any] = dict.fromkeys(_ENDED_BY_DELETION)
    news.update((name, value) for name in _DESCRIPTIVE if (value := getattr(deleted, name)) is not None)
    extra = {**known.extra, **deleted.extra}
    after = known.changed(**news)
    # An unreadable value is dropped if the field has a readable one.
    return after.changed(
        extra={name: value for name, value in extra.items() if getattr(after, name, None) is None}
    )


def _without_unreadable_values(known: Mapping[str, Any], extra: dict[str, Any]) -> Device:
    """Return the device of *known*, all of whose keys are fields; move to *extra* what cannot be read."""
    good: dict[str, Any] = {}
    for key, value in known.items():
        if key == "serial_number" or _readable(key, value):
            good[key] = value
        else:
            extra[key] = value
    check_storable(extra)
    return msgspec.convert(good, Device)


def _readable(key: str, value: Any) -> bool:
    try:
        msgspec.convert({"serial_number": "-", key: value}, Device)
    except msgspec.ValidationError:
        return False
    return True


_FIELDS = tuple(name for name in Device.__struct_fields__ if name != "extra")
_NAMES = frozenset(_FIELDS)
_TIMES = tuple(name for name in _FIELDS if name.endswith(("_time", "_date", "_deadline")))
_ENDED_BY_DELETION = (
    "profile_status",
    "profile_uuid",
    "profile_assign_time",
    "profile_push_time",
    *OF_RESPONSE,
)
_DESCRIPTIVE = tuple(name for name in _FIELDS if name not in {*_ENDED_BY_DELETION, "serial_number"})


class DeviceList(tuple[Device, ...]):
    """The devices of a response, in its order: a tuple that keeps the bytes of its records.

    Attributes:
        raws: Each record as Apple sent it; None if it was not read strictly.
    """

    raws: Sequence[msgspec.Raw | None]

    def __new__(cls, devices: Iterable[Device], raws: Sequence[msgspec.Raw | None] = ()) -> Self:
        """Return a list of *devices*, with the bytes of each; () if they have none."""
        made = super().__new__(cls, devices)
        made.raws = raws or [None] * len(made)
        return made

    def texts(self) -> list[str | None]:
        """Return the JSON object of each record as Apple sent it; None if it was not read strictly."""
        return [None if raw is None else bytes(raw).decode() for raw in self.raws]  # rule 2


def read_page(content: bytes, raws: Sequence[msgspec.Raw]) -> DeviceList | None:
    """Return the devices of a page; None unless every one of them can be read strictly.

    Args:
        content: The page, as JSON.
        raws: The records in it, each as Apple sent it.
    """
    try:
        devices = _read_page(content).devices or ()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not all(map(_is_strict, devices)) or any(memoryview(raw).nbytes > MAX_RECORD for raw in raws):
        return None
    return DeviceList(devices, raws)


def read_strictly(record: msgspec.Raw | str) -> Device | None:
    """Return the device of one record; None if it cannot be read strictly."""
    try:
        device = _read_device(record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return device if _is_strict(device) else None


def read_device(text: str) -> Device:
    """Return the device of Apple's JSON object *text*.

    Raises:
        msgspec.MsgspecError: It is no such object; see ``Device.from_apple``.
    """
    return read_strictly(text) or Device.from_apple(msgspec.json.decode(text))  # rule 1


def _is_strict(device: Device) -> bool:
    """Return True if a record whose keys are known, with values of the right type, needs no tolerance."""
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


class DeviceDetails(dict[str, Device]):
    """Devices of the details endpoint by serial number: a dictionary that keeps the bytes of its records.

    Attributes:
        raws: Each record as Apple sent it, by serial number, without those that were not read strictly.
    """

    def __init__(self, devices: Mapping[str, Device], raws: Mapping[str, msgspec.Raw]) -> None:
        """Take *devices*, with the bytes of those that were read strictly."""
        super().__init__(devices)
        self.raws: Mapping[str, msgspec.Raw] = raws

    def of(self, serials: Sequence[str]) -> DeviceList:
        """Return the devices of those *serials* that are in it, in their order."""
        found = [serial for serial in serials if serial in self]
        return DeviceList(map(self.__getitem__, found), list(map(self.raws.get, found)))


def profile_fields(device: Device) -> tuple[Any, ...]:
    """Return the fields of *device* that show whether a profile is assigned to it, and which."""
    return device.response_status, device.profile_status, device.profile_uuid, device.profile_assign_time
