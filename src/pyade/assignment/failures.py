"""Classify the errors of an assignment, and decide which of them the sync state keeps.

The rules of this file:

1. An error that every other request of the token would meet too ends the run. Any other error concerns one
   profile or one request, and the run continues.
2. The newest error of each profile is kept in the sync state until an assignment of the profile works, or no
   device waits for the profile any more; and as long as a device waits that made its request fail.
3. An event reports each error once, until its text changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeAlias

import attrs

from pyade.apple.http.calls import OPEN_SESSION
from pyade.core.fleet.assignment import Risk
from pyade.core.fleet.events import EventGroup, EventKind
from pyade.core.fleet.outcomes import AssignmentFailure
from pyade.core.fleet.records import SyncState
from pyade.core.fleet.suspension import SUSPENDING_ERRORS
from pyade.core.problems import Problem
from pyade.errors import (
    AccessDeniedError,
    AppleError,
    ClockError,
    OAuthRequestError,
    RateLimitError,
    ResponseError,
    ServerError,
    SessionError,
    TransportError,
    UserAgentError,
)
from pyade.text import abbreviate, pluralize

RequestError: TypeAlias = AppleError | TransportError

ANY: Final = "*"
"""Stands for a ``profile_uuid`` if the error concerns the whole token."""

ANY_NAME: Final = "(any)"
REMOVAL_NAME: Final = "(removal)"

_TOKEN_ERRORS: Final = (
    *SUSPENDING_ERRORS,
    ClockError,
    OAuthRequestError,
    RateLimitError,
    SessionError,
    UserAgentError,
)
_TEMPORARY_ERRORS: Final = (ServerError, ResponseError, TransportError)
_MAX_TEXT: Final = 1_000
_NEXT_STEP: Final = {
    Risk.NOTHING_CHOSEN: "assign a profile, or set a default",
    Risk.NOT_ACCESSIBLE: "check in the portal to which MDM server they are assigned, then assign or sync",
    Risk.NOT_CONFIRMED: "pyade tries again three times a day; if that fails too, check them in the portal",
    Risk.NOT_DONE: "pyade tries again at their retry time; do not try before",
    Risk.NOT_REACHED: "check that a Scheduler runs, and which error ended the last assignment",
    Risk.REQUEST_FAILED: "see the error of their profile; pyade tries again",
}


@attrs.frozen(kw_only=True)
class Failure:
    """One profile that could not be assigned to some devices.

    Attributes:
        profile_uuid: Apple's id; until it is defined at Apple, a text that starts with ``UNDEFINED``.
        profile: Its name, or ``REMOVAL_NAME`` or ``ANY_NAME``.
        error: The newest error.
        devices: The number of devices that did not get it.
    """

    profile_uuid: str
    profile: str
    error: RequestError
    devices: int


def concerns_token(error: RequestError) -> bool:
    """Return True if every other request of the token would fail now, too."""
    if isinstance(error, TransportError):
        return not error.effect_unknown
    if isinstance(error, AccessDeniedError):
        # Without an error code it may be the page of a gateway that blocks this one request.
        return bool(error.code) or error.operation == OPEN_SESSION
    return isinstance(error, _TOKEN_ERRORS) or error.operation == OPEN_SESSION  # rule 1


def has_stopped(state: SyncState) -> bool:
    """Return True if the newest assignment of a token did not finish."""
    return bool(state.suspended) or ANY in state.assignment_errors or state.assigning_since is not None


def is_temporary(error: RequestError) -> bool:
    """Return True if the same request may work later without a change by an administrator."""
    return isinstance(error, _TEMPORARY_ERRORS)


def most_serious_first(failures: Iterable[Failure]) -> list[Failure]:
    """Return *failures* sorted: those that an administrator must fix first, then by number of devices."""
    return sorted(failures, key=lambda one: (is_temporary(one.error), -one.devices))


def failure_problem(profile: str, devices: int, error: object) -> Problem:
    """Return the problem that a profile was not assigned to, or not removed from, some devices."""
    many = pluralize(devices, "device")
    if profile == REMOVAL_NAME:
        fix = "pyade tries again, unless they get a default profile meanwhile"
        return Problem("removal of profiles", "", f"not removed from {many}: {error}", fix)
    where = "any profile" if profile == ANY_NAME else f"profile {profile}"
    return Problem(where, "", f"not assigned to {many}: {error}", "see the error; pyade tries again later")


def assignment_errors(state: SyncState) -> Iterator[str]:
    """Yield the errors of assignments that *state* keeps, as text."""
    for failure in state.assignment_errors.values():
        yield f"{failure.profile}, {pluralize(failure.devices, 'device')}: {failure.error}"


def risk_problem(setting: str, risk: Risk, count: int, serials: Sequence[str] = ()) -> Problem:
    """Return the problem that devices would fail to enroll; its value shows *serials*, if given."""
    text = f"{pluralize(count, 'device')} without a profile would fail to enroll: {risk}"
    return Problem(setting, abbreviate(serials), text, _NEXT_STEP[risk])


def merge_failures(
    stored: Mapping[str, AssignmentFailure],
    failures: Collection[Failure],
    *,
    still_wanted: Collection[str] | None,
    succeeded: Collection[str],
    now: datetime,
) -> dict[str, AssignmentFailure]:
    """Return the errors to keep in the sync state.

    Args:
        stored: The errors in the sync state.
        failures: The errors of this run.
        still_wanted: The profiles that waiting or unreachable devices should have; None if unknown.
        succeeded: The profiles with which every request of this run was answered.
        now: UTC.
    """
    kept = {
        uuid: failure
        for uuid, failure in stored.items()
        if uuid not in (*succeeded, ANY) and (still_wanted is None or uuid in still_wanted)  # rule 2
    }
    for one in failures:
        kept[one.profile_uuid] = AssignmentFailure(
            profile=one.profile, error=str(one.error)[:_MAX_TEXT], at=now, devices=one.devices
        )
    return kept


def new_error_events(
    before: Mapping[str, AssignmentFailure], after: Mapping[str, AssignmentFailure]
) -> Iterator[EventGroup]:
    """Yield an event for each error of *after* that *before* does not have with the same text."""
    for uuid, failure in after.items():
        if uuid not in before or before[uuid].error != failure.error:  # rule 3
            details = {
                "profile_uuid": uuid,
                "profile": failure.profile,
                "error": failure.error,
                "devices": failure.devices,
            }
            yield EventGroup(EventKind.ASSIGNMENT_ERROR, details=details)
