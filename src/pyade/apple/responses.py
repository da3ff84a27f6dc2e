"""The responses of Apple's device assignment service, decoded tolerantly.

Each class has a ``decode`` that takes the body of a success. It accepts every form that was seen in the
field, and raises ``msgspec.ValidationError`` or ``msgspec.DecodeError`` if the response lacks a required
member. ``Account`` keeps unknown members in ``extra``, a device in its own ``extra``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Self

import attrs
import msgspec

from pyade.apple.http.json_bodies import (
    check_length,
    check_size,
    decode_clean,
    decode_json,
    log_left_out,
    read_map,
    read_record,
    read_records,
    read_value,
    replace_nul,
)
from pyade.core.fleet.device import Device, DeviceDetails, DeviceList, DeviceResult, read_page, read_strictly
from pyade.core.fleet.outcomes import DeviceResults
from pyade.core.secret import Secret
from pyade.core.token import Token
from pyade.core.values import MAX_RECORD, OpenStrEnum, check_storable, parse_date, parse_time
from pyade.text import logger, short_repr

_log = logger(__name__)


class OrganizationType(OpenStrEnum):
    """What kind of organization the portal belongs to."""

    SCHOOL = "edu"
    BUSINESS = "org"
    TV_PROVIDER = "tvprovider"


class ActivationLockResult(OpenStrEnum):
    """Outcome of a request to lock one device."""

    SUCCESS = "SUCCESS"
    NOT_ACCESSIBLE = "NOT_ACCESSIBLE"
    FAILED = "FAILED"
    ORGANIZATION_NOT_SUPPORTED = "ORG_NOT_SUPPORTED"
    DEVICE_NOT_SUPPORTED = "DEVICE_NOT_SUPPORTED"
    DEVICE_ALREADY_LOCKED = "DEVICE_ALREADY_LOCKED"


@attrs.frozen(kw_only=True)
class ServiceUrl:
    """One endpoint as ``/account`` advertises it.

    Attributes:
        uri: The path, such as ``/server/devices``.
        http_methods: The methods that it accepts.
        default_limit: Records per page if the request names no limit.
        maximum_limit: Most records per page.
    """

    uri: str
    http_methods: tuple[str, ...] = ()
    default_limit: int | None = None
    maximum_limit: int | None = None


@attrs.frozen(kw_only=True)
class Account:
    """The MDM server and the organization that a token belongs to.

    Attributes:
        server_name: The name of this server in the portal.
        server_uuid: Identity of the MDM server.
        admin_id: The portal user who generated the tokens that are now in use.
        facilitator_id: Deprecated by Apple in favour of ``admin_id``.
        org_name: Name of the organization.
        org_email: Its e-mail address.
        org_phone: Its telephone number.
        org_address: Its address; may hold line breaks.
        org_id: Its identity; protocol version 3 and later.
        org_id_hash: Hash of ``org_id``, as other services of Apple show it; protocol version 3 and later.
        org_type: School or business; protocol version 3 and later.
        org_version: ``v1`` or ``v2``; protocol version 3 and later.
        urls: The endpoints with their page limits; protocol version 3 and later.
        extra: Keys that pyade does not know, or whose value it could not read, as Apple sent them.

    Source: Apple, device assignment, ``AccountDetail``.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    server_name: str | None = None
    server_uuid: str | None = None
    admin_id: str | None = None
    facilitator_id: str | None = None
    org_name: str | None = None
    org_email: str | None = None
    org_phone: str | None = None
    org_address: str | None = None
    org_id: str | None = None
    org_id_hash: str | None = None
    org_type: OrganizationType | None = None
    org_version: str | None = None
    urls: tuple[ServiceUrl, ...] = ()
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    def url(self, path: str) -> ServiceUrl | None:
        """Return the entry of the endpoint *path*; None if there is none."""
        return next((url for url in self.urls if url.uri == path), None)

    def identify(self, token: Token) -> Token:
        """Return *token* with the server, the organization and the administrator of this account.

        Store it: errors then name the organization whose terms must be signed, a renewal with a token of
        another server is refused, and ``problems`` reports an Apple ID or a portal that differs from Apple's.
        """
        facts: dict[str, Any] = {
            "server_uuid": self.server_uuid,
            "org_id": self.org_id,
            "org_name": self.org_name,
            "org_type": self.org_type,
            "admin_id": self.admin_id or self.facilitator_id,
        }
        named: dict[str, Any] = {name: str(value) for name, value in facts.items() if (value or "").strip()}
        return attrs.evolve(token, **named)

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Return the account from the body of a response."""
        values: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        members = read_map(decode_json(content, msgspec.Raw))
        for key, value in _readable(members):
            if key == "urls" and isinstance(value, list):
                values["urls"] = tuple(_service_urls(value))
            elif key in _ACCOUNT_TEXTS and (text := _string_or_none(value)) is not None:
                values[key] = OrganizationType(text) if key == "org_type" else text
            elif value is not None:
                extra[key] = value
        return cls(**values, extra=extra)


@attrs.frozen(kw_only=True)
class DevicePage:
    """One page of a fetch or of a sync.

    Attributes:
        devices: In the order of Apple's response, which is chronological; a serial number may occur twice.
        cursor: Opaque position for the next call; store it together with the devices, never before them.
        more_to_follow: True if there are more pages now.
        fetched_until: Time up to which the page reports changes, UTC; for information only.
        unreadable: Number of records that could not be read, or have no serial number, and were left out.
        replaced: Number of NUL characters that were replaced by U+FFFD.

    Source: Apple, device assignment, ``FetchDeviceResponse``.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    devices: tuple[Device, ...]
    cursor: str
    more_to_follow: bool
    fetched_until: datetime | None = None
    unreadable: int = 0
    replaced: int = 0

    @classmethod
    def decode(cls, content: bytes, limit: int | None = None) -> Self:
        """Return the page from the body of a response, which needs a cursor and ``more_to_follow``.

        Args:
            content: The body.
            limit: Number of records that were requested; a longer list is refused before any record is read.
                None for no limit.
        """
        content, replaced = replace_nul(content)
        wire = decode_clean(content, _WirePage)
        if not wire.cursor:
            raise msgspec.ValidationError("the cursor is empty")
        records = wire.devices or []
        check_length(records, limit)
        devices = read_page(content, records)
        if devices is None:
            devices = _devices(records)
        return cls(
            devices=devices,
            cursor=wire.cursor,
            more_to_follow=wire.more_to_follow,
            fetched_until=_time(read_value(wire.fetched_until, str)),
            unreadable=len(records) - len(devices),
            replaced=replaced,
        )


@attrs.frozen(kw_only=True)
class DefineProfileResponse:
    """The response to defining a profile.

    Attributes:
        profile_uuid: Apple's id of the new profile; send it back unchanged.
        results: Outcome for each device that was named in the profile.
    """

    profile_uuid: str
    results: DeviceResults

    @classmethod
    def decode(cls, content: bytes, serials: Sequence[str] = ()) -> Self:
        """Return the response from the body for a request that named *serials*."""
        uuid = _profile_uuid(_object(content))
        return cls(profile_uuid=uuid, results=decode_results(content, serials))


@attrs.frozen(kw_only=True)
class ActivationLockResponse:
    """The response to a request to lock one device.

    Attributes:
        serial_number: The device.
        result: What Apple did.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    serial_number: str
    result: ActivationLockResult

    @classmethod
    def decode(cls, content: bytes, serial_number: str) -> Self:
        """Return the response from the body for a request about *serial_number*."""
        wire = decode_json(content, _WireLock)
        return cls(
            serial_number=read_value(wire.serial_number, str) or serial_number,
            result=ActivationLockResult(wire.response_status),
        )


@attrs.frozen(kw_only=True)
class ReplacementDetails:
    """The device that a replacement device replaces.

    Attributes:
        serial_number: The new device.
        original_device_serial_number: The device that it replaces.
        replacement_date: UTC day; None if it is absent or cannot be read.
    """

    serial_number: str
    original_device_serial_number: str
    replacement_date: date | None = None

    @classmethod
    def decode(cls, content: bytes, serial_number: str) -> Self:
        """Return the details from the body for a request about *serial_number*."""
        wire = decode_json(content, _WireReplacement)
        day, text = None, read_value(wire.replacement_date, str)
        if text is not None:
            try:
                day = parse_date(text)
            except msgspec.ValidationError:
                _log.warning("the replacement date of %r cannot be read", serial_number)
        return cls(
            serial_number=read_value(wire.serial_number, str) or serial_number,
            original_device_serial_number=wire.original_device_serial_number,
            replacement_date=day,
        )


@attrs.frozen(kw_only=True)
class BetaEnrollmentToken:
    """A token that enrolls devices in a beta programme.

    Attributes:
        os: Such as ``OSX`` or ``iOS``.
        title: Name of the programme.
        token: The token itself, a secret.
    """

    os: str
    title: str
    token: Secret = attrs.field(repr=False, converter=Secret)


@attrs.frozen(kw_only=True)
class BetaEnrollmentTokens:
    """The beta tokens of an organization.

    Attributes:
        tokens: Without duplicates.
        is_allowed: False if the organization turned beta access off in the portal.
        unreadable: Number of entries that could not be read, or hold no token, and were left out.
    """

    tokens: tuple[BetaEnrollmentToken, ...] = ()
    is_allowed: bool = True
    unreadable: int = 0

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Return the tokens from the body: of the documented key, else of one that was seen in the field."""
        wire = decode_json(content, _WireSeeds, needs=("betaEnrollmentTokens", "seedBuildTokens"))
        entries = wire.betaEnrollmentTokens or wire.seedBuildTokens or []
        found = read_records(entries, _beta_token, "beta token")
        return cls(tokens=tuple(dict.fromkeys(found)), unreadable=len(entries) - len(found))


@attrs.frozen(kw_only=True)
class AccountDrivenEnrollmentProfile:
    """The service discovery address that Apple returns to devices in account-driven enrollment.

    Attributes:
        mdm_service_discovery_url: An ``https`` address.
        last_updated_timestamp: When it was set, UTC; None if it is absent or cannot be read.
    """

    mdm_service_discovery_url: str
    last_updated_timestamp: datetime | None = None

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Return the address from the body of a response."""
        wire = decode_json(content, _WireDiscovery)
        return cls(
            mdm_service_discovery_url=wire.mdm_service_discovery_url,
            last_updated_timestamp=_time(read_value(wire.last_updated_timestamp, str)),
        )


def decode_profile(content: bytes) -> dict[str, Any]:
    """Return the profile from the body exactly as Apple stores it, with ``profile_uuid``."""
    record = _object(content)
    _profile_uuid(record)
    return record


def decode_details(content: bytes, serials: Sequence[str]) -> DeviceDetails:
    """Return the devices from the body, one for each of *serials*.

    A device that the response left out, or whose record cannot be read, has the ``response_status``
    ``DeviceResult.MISSING``. Unless it is ``SUCCESS``, ignore the other attributes.
    """
    wire = decode_json(content, _WireDetails, needs=("devices",))
    members = _members(wire.devices, len(serials))
    raws: dict[str, msgspec.Raw] = {}
    found: dict[str, Device] = {}
    if b'"serial_number"' not in bytes(wire.devices):
        members = {serial: _with_serial(raw, serial) for serial, raw in members.items()}
    for serial, raw in members.items():
        device = None if memoryview(raw).nbytes > MAX_RECORD else read_strictly(raw)
        if device is not None and device.serial_number == serial:
            found[serial], raws[serial] = device, raw
    rest = {serial: raw for serial, raw in members.items() if serial not in raws}
    for serial, entry in _readable(rest):
        record = entry if isinstance(entry, dict) else {"response_status": entry}
        try:
            found[serial] = Device.from_apple({**record, "serial_number": serial})
        except msgspec.ValidationError:
            log_left_out(1, "device record")
    for serial in serials:
        if serial not in found:
            found[serial] = Device(serial_number=serial, response_status=DeviceResult.MISSING)
    in_order = dict.fromkeys((*serials, *(serial for serial in members if serial in found)))
    return DeviceDetails({serial: found[serial] for serial in in_order}, raws)


def decode_results(content: bytes, serials: Sequence[str], profile_uuid: str | None = None) -> DeviceResults:
    """Return what Apple did for each of *serials*, in their order.

    Args:
        content: A body whose ``devices`` is an object, or a list of objects with one key each.
        serials: The devices that were named in the request; one that the response leaves out, or whose result
            cannot be read, is ``DeviceResult.MISSING``.
        profile_uuid: The profile that was sent; used if the response does not repeat it.
    """
    wire = decode_json(content, _WireResults, needs=("devices",))
    found = _strict_results(wire.devices, len(serials))
    if found is None:
        members = _members(wire.devices, len(serials))
        found = {serial: _result(value) for serial, value in _readable(members)}
    results = {serial: found.pop(serial, DeviceResult.MISSING) for serial in serials}
    return DeviceResults(
        results=results | found,
        profile_uuid=read_value(wire.profile_uuid, str) or profile_uuid,
        retry_after_s=_seconds(_decode_or_none(wire.retry_after_seconds)),
    )


class _WirePage(msgspec.Struct):
    cursor: str
    more_to_follow: bool
    devices: list[msgspec.Raw] | None = None
    fetched_until: msgspec.Raw = msgspec.Raw()


def _profile_uuid(record: dict[str, Any]) -> str:
    uuid = msgspec.convert(record, _WireProfile).profile_uuid
    if not uuid:
        raise msgspec.ValidationError("the profile_uuid is empty")
    return uuid


class _WireProfile(msgspec.Struct):
    profile_uuid: str


class _WireLock(msgspec.Struct):
    response_status: str
    serial_number: msgspec.Raw = msgspec.Raw()


class _WireReplacement(msgspec.Struct):
    original_device_serial_number: str
    serial_number: msgspec.Raw = msgspec.Raw()
    replacement_date: msgspec.Raw = msgspec.Raw()


class _WireSeed(msgspec.Struct):
    token: str
    os: str = ""
    title: str = ""


class _WireSeeds(msgspec.Struct):
    betaEnrollmentTokens: list[msgspec.Raw] | None = None  # noqa: N815 - Apple's name
    seedBuildTokens: list[msgspec.Raw] | None = None  # noqa: N815 - Apple's name


class _WireDiscovery(msgspec.Struct):
    mdm_service_discovery_url: str
    last_updated_timestamp: msgspec.Raw = msgspec.Raw()


class _WireDetails(msgspec.Struct):
    devices: msgspec.Raw = msgspec.Raw()


class _WireResults(msgspec.Struct):
    devices: msgspec.Raw = msgspec.Raw()
    profile_uuid: msgspec.Raw = msgspec.Raw()
    retry_after_seconds: msgspec.Raw = msgspec.Raw()


_results = msgspec.json.Decoder(dict[str, DeviceResult]).decode

# A year: adding the seconds to a time must not overflow it.
_MAX_SECONDS = 365 * 86_400.0
# Responses with devices that were not requested were seen; a flood of them is refused.
_MAX_UNREQUESTED = 1000
_ACCOUNT_TEXTS = frozenset(field.name for field in attrs.fields(Account)) - {"urls", "extra"}


def _object(content: bytes) -> dict[str, Any]:
    return decode_json(content, dict[str, Any])


def _devices(records: Sequence[msgspec.Raw]) -> DeviceList:
    """Return the devices of *records*: read strictly if possible, else tolerantly."""

    def read(raw: msgspec.Raw) -> tuple[Device, msgspec.Raw | None]:
        if memoryview(raw).nbytes <= MAX_RECORD and (device := read_strictly(raw)) is not None:
            return device, raw
        return Device.from_apple(read_record(raw)), None

    found = read_records(records, read, "device record")
    return DeviceList((device for device, _ in found), [raw for _, raw in found])


def _beta_token(raw: msgspec.Raw) -> BetaEnrollmentToken:
    check_size(raw)
    entry = msgspec.json.decode(raw, type=_WireSeed)
    if not entry.token.strip():
        raise msgspec.ValidationError("the token is empty")
    return BetaEnrollmentToken(os=entry.os, title=entry.title, token=entry.token)


def _decode_or_none(raw: msgspec.Raw) -> Any:
    return read_value(raw, object)


def _readable(members: Mapping[str, msgspec.Raw]) -> Iterator[tuple[str, Any]]:
    """Yield the members that can be read; log the number of the others."""
    unreadable = 0
    for key, raw in members.items():
        value = _decode_or_none(raw)
        try:
            check_storable(value)
        except msgspec.ValidationError:
            value = None
        if value is not None:
            yield key, value
        else:
            unreadable += bytes(raw) != b"null"
    log_left_out(unreadable, "value")


def _members(devices: msgspec.Raw, asked: int) -> dict[str, msgspec.Raw]:
    """Return the undecoded entry of each serial number.

    Args:
        devices: An object, or a list of objects with one key each; anything else cannot be read.
        asked: How many serial numbers were named; far more are refused.
    """
    kind = bytes(memoryview(devices)[:1])
    if kind in (b"", b"n"):
        return {}
    if kind not in (b"{", b"["):
        raise msgspec.ValidationError("Expected an object or a list - at `$.devices`")
    maps = [devices]
    if kind == b"[":
        maps = msgspec.json.decode(devices, type=list[msgspec.Raw])
        check_length(maps, asked + _MAX_UNREQUESTED)
    members: dict[str, msgspec.Raw] = {}
    for one in maps:
        if bytes(memoryview(one)[:1]) == b"{":
            members.update(read_map(one))
            check_length(members, asked + _MAX_UNREQUESTED)
    return members


def _with_serial(raw: msgspec.Raw, serial: str) -> msgspec.Raw:
    """Return *raw*, which lacks its serial number, with the member ``serial_number`` in front."""
    record = bytes(raw)
    if record[:1] != b"{" or record[1:].lstrip()[:1] == b"}":
        return raw
    own = b'{"serial_number":%b,%b' % (msgspec.json.encode(serial), record[1:])
    return msgspec.Raw(own) if len(own) <= MAX_RECORD else raw


def _strict_results(devices: msgspec.Raw, asked: int) -> dict[str, DeviceResult] | None:
    """Return the result of each serial number; None if *devices* must be read tolerantly."""
    try:
        found = _results(devices)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    check_length(found, asked + _MAX_UNREQUESTED)
    return found if all(result.is_known for result in set(found.values())) else None


def _result(value: Any) -> DeviceResult:
    return DeviceResult(value if isinstance(value, str) else msgspec.json.encode(value).decode()[:100])


def _service_urls(values: Sequence[Any]) -> Iterator[ServiceUrl]:
    for value in values:
        if not isinstance(value, dict) or not isinstance(uri := value.get("uri"), str):
            continue
        methods, limit = value.get("http_method"), value.get("limit")
        texts = methods if isinstance(methods, list) else [methods]
        limits = limit if isinstance(limit, dict) else {}
        yield ServiceUrl(
            uri=uri,
            http_methods=tuple(text for text in texts if isinstance(text, str)),
            default_limit=_count(limits.get("default")),
            maximum_limit=_count(limits.get("maximum")),
        )


def _count(value: Any) -> int | None:
    seconds = _seconds(value)
    return int(seconds) if seconds is not None and seconds >= 1 else None


def _seconds(value: Any) -> float | None:
    if isinstance(value, str) and value.strip().isdecimal():
        return min(float(value), _MAX_SECONDS)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(min(value, _MAX_SECONDS))
    return None


def _string_or_none(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None


def _time(text: str | None) -> datetime | None:
    try:
        return parse_time(text) if text is not None else None
    except (msgspec.ValidationError, OverflowError):  # year 1 east of Greenwich has no UTC time
        return None
