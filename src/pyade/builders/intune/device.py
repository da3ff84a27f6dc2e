"""A device as Intune's ``importedAppleDeviceIdentity``.

Which profile a device is to have, and which one Apple has for it, are two facts: Intune keeps the first here.

Source: Microsoft Graph (beta), ``importedAppleDeviceIdentity``; the relation to Apple's keys is inferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Self

import attrs

from pyade.builders.intune.json_reader import TYPE, Members, warning, written_time
from pyade.builders.intune.model import IntuneExport, plain_mapping
from pyade.builders.intune.object_types import DEVICE, check_kind
from pyade.core.arguments import check_arguments
from pyade.core.fleet.device import Device, DeviceFamily, ProfileStatus
from pyade.core.fleet.enrollment import Enrollment
from pyade.core.fleet.records import DeviceRecord
from pyade.core.problems import Problem
from pyade.core.values import OpenStrEnum


class IntunePlatform(OpenStrEnum):
    """Intune's word for the operating system."""

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
    """Where a device stands.

    Attributes:
        UNKNOWN: Not known.
        ENROLLED: Enrolled with the profile that it was assigned.
        PENDING_RESET: Enrolled with another profile: the assigned one takes effect when the Mac is erased.
        FAILED: Not enrolled, and an attempt failed.
        NOT_CONTACTED: Known from Apple, not enrolled.
        BLOCKED: Enrolled without a user, and the way to a user's enrollment is blocked.
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
        serial_number: Apple's.
        id: Intune's; "" if it has none.
        description: Apple's.
        platform: The operating system.
        discovery_source: How it became known.
        supervised: True if it is supervised.
        is_deleted: True if Apple no longer lists it.
        requested_profile_id: Intune's id of the profile to use next; "" for none.
        requested_at: When that was assigned, UTC.
        enrollment_state: Where it stands.
        created_at: When it was first seen, UTC.
        last_contacted_at: When it last checked in, UTC.
        extra: Members that pyade does not know, as they came.
        problems: What has no place in Intune's JSON; not compared.
    """

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
    extra: Mapping[str, Any] = attrs.field(factory=dict, converter=plain_mapping, hash=False, repr=False)
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
        """Return what Intune would list for a device of the store; ``problems`` says what has no place.

        Args:
            record: The device.
            enrollment: What is kept of its enrollment; a Mac that was given its enrollment profile counts as
                enrolled. None if it never asked for one.
            requested_profile_id: Intune's id of the profile that it is to have.
            supervised: Whether that profile supervises it.
            last_contacted_at: When it last checked in, UTC.
            id: Intune's, or one of your own.
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
            enrollment_state=_state(device, enrollment),
            created_at=record.first_seen_at,
            last_contacted_at=last_contacted_at,
            problems=_left_out(device),
        )


@check_arguments(but=("body",))
def device_from_intune(body: Mapping[str, Any], *, path: str = "$") -> IntuneDevice:
    """Return the device of one object of Intune's.

    Args:
        body: An ``importedAppleDeviceIdentity``, of any platform.
        path: Where the object is, for problems.

    Raises:
        IntuneError: It is something else, has no serial number, or a member has the wrong kind.

    Source: Microsoft Graph, ``importedAppleDeviceIdentity``.
    """
    members = Members(body, path)
    members.check()
    check_kind(body, DEVICE, path)
    serial_number = members.text("serialNumber")
    if not serial_number.strip():
        members.wrong("serialNumber", "a serial number")
    device = IntuneDevice(
        serial_number=serial_number,
        id=members.text("id"),
        description=members.text("description"),
        platform=IntunePlatform(members.text("platform") or IntunePlatform.UNKNOWN),
        discovery_source=DiscoverySource(members.text("discoverySource") or DiscoverySource.UNKNOWN),
        supervised=bool(members.flag("isSupervised")),
        is_deleted=bool(members.flag("isDeleted")),
        requested_profile_id=members.text("requestedEnrollmentProfileId"),
        requested_at=members.time("requestedEnrollmentProfileAssignmentDateTime"),
        enrollment_state=EnrollmentState(members.text("enrollmentState") or EnrollmentState.UNKNOWN),
        created_at=members.time("createdDateTime"),
        last_contacted_at=members.time("lastContactedDateTime"),
        extra=members.rest(),
    )
    members.check()
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
        "requestedEnrollmentProfileAssignmentDateTime": written_time(device.requested_at),
        "isSupervised": device.supervised,
        "discoverySource": str(device.discovery_source),
        "isDeleted": device.is_deleted,
        "createdDateTime": written_time(device.created_at),
        "lastContactedDateTime": written_time(device.last_contacted_at),
        "description": device.description,
        "enrollmentState": str(device.enrollment_state),
        "platform": str(device.platform),
    }
    return IntuneExport(body=dict(sorted(device.extra.items())) | body, problems=device.problems)


def _platform(device: Device) -> IntunePlatform:
    if device.device_family is not None:
        return _PLATFORMS.get(device.device_family, IntunePlatform.UNKNOWN)
    return IntunePlatform.MACOS if device.os == "OSX" else IntunePlatform.UNKNOWN


def _state(device: Device, enrollment: Enrollment | None) -> EnrollmentState:
    if enrollment is None:
        return EnrollmentState.NOT_CONTACTED
    has_profile = device.profile_status in (ProfileStatus.ASSIGNED, ProfileStatus.PUSHED)
    if has_profile and enrollment.profile_uuid not in (None, device.profile_uuid):
        return EnrollmentState.PENDING_RESET
    return EnrollmentState.ENROLLED


def _left_out(device: Device) -> tuple[Problem, ...]:
    names = [
        name
        for name in Device.__struct_fields__
        if name not in _PLACED and getattr(device, name) not in (None, {})
    ]
    if not names:
        return ()
    allowed, fix = "no place in Intune's JSON", "it stays in the store"
    return (warning(device.serial_number, allowed, fix, ", ".join(names)),)


_PLACED: Final = ("serial_number", "description", "device_family", "os", "profile_assign_time")
_PLATFORMS: Final[Mapping[str, IntunePlatform]] = {
    DeviceFamily.MAC: IntunePlatform.MACOS,
    DeviceFamily.IPAD: IntunePlatform.IOS,
    DeviceFamily.IPHONE: IntunePlatform.IOS,
    DeviceFamily.IPOD: IntunePlatform.IOS,
    DeviceFamily.APPLE_TV: IntunePlatform.TVOS,
    DeviceFamily.VISION: IntunePlatform.VISIONOS,
}
