"""Convert Intune's ``importedAppleDeviceIdentity`` to a device, and back.

The object has the profile that Intune wants for a device, which may differ from the profile at Apple.

Source: Microsoft Graph (beta), ``importedAppleDeviceIdentity``; the relation to Apple's keys is inferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Self

import attrs

from pyade.builders.intune.json_reader import TYPE, JsonReader, format_optional_time
from pyade.builders.intune.model import IntuneExport, clean_mapping
from pyade.builders.intune.object_types import DEVICE, check_kind
from pyade.core.arguments import check_arguments
from pyade.core.fleet.device import Device, DeviceFamily, ProfileStatus
from pyade.core.fleet.enrollment import Enrollment
from pyade.core.fleet.records import DeviceRecord
from pyade.core.problems import Problem, warning
from pyade.core.values import OpenStrEnum
from pyade.text import short_repr


class IntunePlatform(OpenStrEnum):
    """Intune's name of the operating system."""

    UNKNOWN = "unknown"
    IOS = "ios"
    ANDROID = "android"
    WINDOWS = "windows"
    WINDOWS_MOBILE = "windowsMobile"
    MACOS = "macOS"
    VISIONOS = "visionOS"
    TVOS = "tvOS"


class DiscoverySource(OpenStrEnum):
    """How Intune learned of a device."""

    UNKNOWN = "unknown"
    ADMIN_IMPORT = "adminImport"
    DEVICE_ENROLLMENT_PROGRAM = "deviceEnrollmentProgram"


class EnrollmentState(OpenStrEnum):
    """Enrollment state of a device.

    Attributes:
        UNKNOWN: Unknown.
        ENROLLED: Enrolled with the assigned profile.
        PENDING_RESET: Enrolled with another profile; the assigned one takes effect when the Mac is erased.
        FAILED: Not enrolled, and an attempt failed.
        NOT_CONTACTED: Known from Apple, not enrolled.
        BLOCKED: Enrolled without a user, and enrollment with a user is blocked.
    """

    UNKNOWN = "unknown"
    ENROLLED = "enrolled"
    PENDING_RESET = "pendingReset"
    FAILED = "failed"
    NOT_CONTACTED = "notContacted"
    BLOCKED = "blocked"


@attrs.frozen(kw_only=True)
class IntuneDevice:
    """A device as Intune lists it.

    Attributes:
        serial_number: Apple's serial number.
        id: Intune's id; "" if it has none.
        description: Apple's description.
        platform: The operating system.
        discovery_source: How Intune learned of it.
        supervised: True if it is supervised.
        is_deleted: True if Apple no longer lists it.
        requested_profile_id: Intune's id of the profile for the next enrollment; "" for none.
        requested_at: When that profile was assigned, UTC.
        enrollment_state: Its enrollment state.
        created_at: When it was first seen, UTC.
        last_contacted_at: When it last checked in, UTC.
        extra: Members that pyade does not know, as they were read.
        problems: Values that Intune's JSON cannot contain; not compared.
    """

    def __repr__(self) -> str:
        return short_repr(self)

    serial_number: str
    id: str = ""
    description: str = ""
    platform: IntunePlatform = IntunePlatform.UNKNOWN
    discovery_source: DiscoverySource = DiscoverySource.UNKNOWN
    supervised: bool = False
    is_deleted: bool = False
    requested_profile_id: str = ""
    requested_at: datetime | None = None
    enrollment_state: EnrollmentState = EnrollmentState.UNKNOWN
    created_at: datetime | None = None
    last_contacted_at: datetime | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, converter=clean_mapping, hash=False, repr=False)
    problems: tuple[Problem, ...] = attrs.field(default=(), eq=False)

    @classmethod
    def of(
        cls,
        record: DeviceRecord,
        enrollment: Enrollment | None = None,
        *,
        requested_profile_id: str = "",
        supervised: bool = False,
        last_contacted_at: datetime | None = None,
        id: str = "",  # noqa: A002 - as the attribute
    ) -> Self:
        """Return the device of a store record; ``problems`` has the values that Intune's JSON cannot contain.

        Args:
            record: The record.
            enrollment: Its enrollment; a Mac that received its enrollment profile counts as enrolled. None if
                it never requested one.
            requested_profile_id: Intune's id of the profile for the next enrollment.
            supervised: True if that profile supervises it.
            last_contacted_at: When it last checked in, UTC.
            id: Intune's id, or your own.
        """
        device = record.device
        return cls(
            serial_number=record.serial_number,
            id=id,
            description=device.description or "",
            platform=_platform(device),
            discovery_source=DiscoverySource.DEVICE_ENROLLMENT_PROGRAM,
            supervised=supervised,
            is_deleted=record.is_released,
            requested_profile_id=requested_profile_id,
            requested_at=device.profile_assign_time,
            enrollment_state=_enrollment_state(device, enrollment),
            created_at=record.first_seen_at,
            last_contacted_at=last_contacted_at,
            problems=_unmapped(device),
        )


@check_arguments(but=("body",))
def device_from_intune(body: Mapping[str, Any], *, path: str = "$") -> IntuneDevice:
    """Return the device of one object from Intune.

    Args:
        body: An ``importedAppleDeviceIdentity``, of any platform.
        path: Path of the object, for problems.

    Raises:
        IntuneError: The object has another type, has no serial number, or a member has the wrong type.

    Source: Microsoft Graph, ``importedAppleDeviceIdentity``.
    """
    reader = JsonReader(body, path)
    reader.check()
    check_kind(body, DEVICE, path)
    serial_number = reader.text("serialNumber")
    if not serial_number.strip():
        reader.add_error("serialNumber", "a serial number")
    device = IntuneDevice(
        serial_number=serial_number,
        id=reader.text("id"),
        description=reader.text("description"),
        platform=IntunePlatform(reader.text("platform") or IntunePlatform.UNKNOWN),
        discovery_source=DiscoverySource(reader.text("discoverySource") or DiscoverySource.UNKNOWN),
        supervised=bool(reader.flag("isSupervised")),
        is_deleted=bool(reader.flag("isDeleted")),
        requested_profile_id=reader.text("requestedEnrollmentProfileId"),
        requested_at=reader.time("requestedEnrollmentProfileAssignmentDateTime"),
        enrollment_state=EnrollmentState(reader.text("enrollmentState") or EnrollmentState.UNKNOWN),
        created_at=reader.time("createdDateTime"),
        last_contacted_at=reader.time("lastContactedDateTime"),
        extra=reader.rest(),
    )
    reader.check()
    return device


@check_arguments
def device_to_intune(device: IntuneDevice) -> IntuneExport:
    """Return *device* as an ``importedAppleDeviceIdentity``; its problems are those of the device.

    Source: Microsoft Graph, ``importedAppleDeviceIdentity``.
    """
    body = {
        TYPE: f"#microsoft.graph.{DEVICE}",
        "id": device.id,
        "serialNumber": device.serial_number,
        "requestedEnrollmentProfileId": device.requested_profile_id or None,
        "requestedEnrollmentProfileAssignmentDateTime": format_optional_time(device.requested_at),
        "isSupervised": device.supervised,
        "discoverySource": str(device.discovery_source),
        "isDeleted": device.is_deleted,
        "createdDateTime": format_optional_time(device.created_at),
        "lastContactedDateTime": format_optional_time(device.last_contacted_at),
        "description": device.description,
        "enrollmentState": str(device.enrollment_state),
        "platform": str(device.platform),
    }
    return IntuneExport(body=dict(sorted(device.extra.items())) | body, problems=device.problems)


def _platform(device: Device) -> IntunePlatform:
    if device.device_family is not None:
        return _PLATFORMS.get(device.device_family, IntunePlatform.UNKNOWN)
    return IntunePlatform.MACOS if device.os == "OSX" else IntunePlatform.UNKNOWN


def _enrollment_state(device: Device, enrollment: Enrollment | None) -> EnrollmentState:
    if enrollment is None:
        return EnrollmentState.NOT_CONTACTED
    has_profile = device.profile_status in (ProfileStatus.ASSIGNED, ProfileStatus.PUSHED)
    if has_profile and enrollment.profile_uuid not in (None, device.profile_uuid):
        return EnrollmentState.PENDING_RESET
    return EnrollmentState.ENROLLED


def _unmapped(device: Device) -> tuple[Problem, ...]:
    names = [
        name
        for name in Device.__struct_fields__
        if name not in _PLACED and getattr(device, name) not in (None, {})
    ]
    if not names:
        return ()
    allowed, fix = "not part of Intune's JSON", "it stays in the store"
    return (warning(device.serial_number, ", ".join(names), allowed, fix),)


_PLACED: Final = ("serial_number", "description", "device_family", "os", "profile_assign_time")
_PLATFORMS: Final[Mapping[str, IntunePlatform]] = {
    DeviceFamily.MAC: IntunePlatform.MACOS,
    DeviceFamily.IPAD: IntunePlatform.IOS,
    DeviceFamily.IPHONE: IntunePlatform.IOS,
    DeviceFamily.IPOD: IntunePlatform.IOS,
    DeviceFamily.APPLE_TV: IntunePlatform.TVOS,
    DeviceFamily.VISION: IntunePlatform.VISIONOS,
}
