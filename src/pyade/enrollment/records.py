"""What follows an enrollment: a new certificate, and the registration of the user's Mac."""

from __future__ import annotations

import attrs

from pyade.core.enrollment import Registration
from pyade.core.events import EventBatch, EventGroup, EventKind
from pyade.core.machine_info import MachineInfo
from pyade.core.versions import MacOSVersion
from pyade.enrollment.decision import EnrollmentResponse
from pyade.enrollment.gates import find_place, require_enrolled
from pyade.enrollment.issue import Issue
from pyade.enrollment.settings import Settings
from pyade.enrollment.steps import in_store, retried
from pyade.errors import PolicyError
from pyade.flow import Flow, Now, ask


def renewal_flow(settings: Settings, serial_number: str, version: str | None) -> Flow[EnrollmentResponse]:
    """Return a new copy of an enrolled Mac's profile; see ``EnrollmentService.renew``."""
    newer = None if version is None else str(MacOSVersion.of(version))
    now = yield from ask(Now())
    place = yield from in_store(lambda store: find_place(store, serial_number))
    if place.refusal:
        raise PolicyError(f"{serial_number[:80]!r} cannot renew its profile: {place.refusal}")
    enrollment = require_enrolled(place.enrollment, serial_number)
    installed = enrollment.installed or enrollment.newest
    machine = MachineInfo(
        udid=installed.udid,
        serial_number=serial_number,
        product=installed.product,
        build=installed.build,
        os_version=newer or installed.version or None,
    )
    kind = installed.identity
    issue = Issue(settings, place, machine, installed.user, now=now, keep=kind)
    if issue.choice is None:
        raise PolicyError(f"{serial_number[:80]!r} enrolled with {kind} and keeps it: {issue.refusal}")
    return (yield from issue.steps())


def registered_flow(serial_number: str) -> Flow[None]:
    """Note that a Mac is registered; see ``EnrollmentService.registration_completed``."""
    return retried(lambda: _registered(serial_number))


def _registered(serial_number: str) -> Flow[None]:
    now = yield from ask(Now())
    stored = yield from in_store(lambda store: store.enrollment(serial_number))
    enrollment = require_enrolled(stored, serial_number)
    if enrollment.registration is not Registration.PENDING:
        return
    done = attrs.evolve(enrollment, registration=Registration.COMPLETE, registered_at=now)
    # Anybody can ask for another profile in the name of this Mac: who signed in for it registered nothing.
    user = (enrollment.installed or enrollment.newest).user
    details = {"user": user.upn} if user else {}
    group = EventGroup(EventKind.REGISTRATION_COMPLETED, (serial_number,), details)
    batch = EventBatch(enrollment.token_name, now, (group,))
    yield from in_store(lambda store: store.save_enrollment(done, events=batch))
