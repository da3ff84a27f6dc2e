"""What keeps an assignment from going on, and what is remembered of it.

The rules of this file:

1. An error after which no other request of the token would fare better ends the work. Any other one concerns
   a profile, or a request: the rest goes on.
2. The newest error of each profile is kept in the sync state until an assignment of the profile works, or no
   device waits for the profile any more; and as long as a device waits that spoiled its request. It is told
   once, as an event.
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
from pyade.sync.report import abbreviate, pluralize

RequestError: TypeAlias = AppleError | TransportError

ANY: Final = "*"
"""In the place of a ``profile_uuid``: the whole token could do nothing."""

ANY_NAME: Final = "(any)"
REMOVAL_NAME: Final = "(removal)"

_OF_THE_TOKEN: Final = (
    *SUSPENDING_ERRORS,
    ClockError,
    OAuthRequestError,
    RateLimitError,
    SessionError,
    UserAgentError,
)
_MAY_PASS: Final = (ServerError, ResponseError, TransportError)
_LONGEST: Final = 1_000
_NEXT_STEP: Final = {
    Risk.NOTHING_CHOSEN: "assign a profile, or set a default",
    Risk.NOT_ACCESSIBLE: "look in the portal to which MDM server they are assigned, then assign or sync",
    Risk.NOT_CONFIRMED: "they are due again, three times a day; if that lasts, look at them in the portal",
    Risk.NOT_DONE: "they are due again when their time has come; do not try before",
    Risk.NOT_REACHED: "see that a Scheduler runs, and what ended the last assignment",
    Risk.REQUEST_FAILED: "look at the error of their profile; they are tried again",
}


@attrs.frozen(kw_only=True)
class Failure:
    """One profile that could not be given to some devices.

    Attributes:
        profile_uuid: Which one; a text that stands for it until Apple has it.
        profile: Its name, or ``REMOVAL_NAME`` or ``ANY_NAME``.
        error: The newest error.
        devices: How many devices did not get it.
    """

    profile_uuid: str
    profile: str
    error: RequestError
    devices: int


def concerns_token(error: RequestError) -> bool:
    """Return True if no other request of the token would fare better now."""
    if isinstance(error, TransportError):
        return not error.effect_unknown
    if isinstance(error, AccessDeniedError):
        # Without a code it may be the page of a gateway, which does not like one request.
        return bool(error.code) or error.operation == OPEN_SESSION
    return isinstance(error, _OF_THE_TOKEN) or error.operation == OPEN_SESSION


def has_stopped(state: SyncState) -> bool:
    """Return True if the newest assignment of a token did not come to its end."""
    return bool(state.suspended) or ANY in state.assignment_errors or state.assigning_since is not None


def may_pass(error: RequestError) -> bool:
    """Return True if the same request may work later, without a change by a person."""
    return isinstance(error, _MAY_PASS)


def most_serious_first(failures: Iterable[Failure]) -> list[Failure]:
    """Return *failures* in their order of seriousness: what a person must change, then by devices."""
    return sorted(failures, key=lambda one: (may_pass(one.error), -one.devices))


def problem_of(profile: str, devices: int, error: object) -> Problem:
    """Return the problem that some devices did not get a profile, or did not lose theirs."""
    many = pluralize(devices, "device")
    if profile == REMOVAL_NAME:
        fix = "it is tried again, unless a default is given to them"
        return Problem("removal of profiles", "", f"{many} did not lose theirs: {error}", fix)
    where = "any profile" if profile == ANY_NAME else f"profile {profile}"
    return Problem(where, "", f"{many} did not get it: {error}", "it is tried again")


def assignment_errors(state: SyncState) -> Iterator[str]:
    """Yield the errors of assignments that *state* keeps, in words."""
    for failure in state.assignment_errors.values():
        yield f"{failure.profile}, {pluralize(failure.devices, 'device')}: {failure.error}"


def risk_problem(setting: str, risk: Risk, count: int, serials: Sequence[str] = ()) -> Problem:
    """Return the problem that devices would fail to enroll; *serials* are shown, where that is wanted."""
    text = f"{pluralize(count, 'device')} without a profile would fail to enroll: {risk}"
    return Problem(setting, abbreviate(serials), text, _NEXT_STEP[risk])


def remembered(
    known: Mapping[str, AssignmentFailure],
    failures: Collection[Failure],
    *,
    still_wanted: Collection[str] | None,
    succeeded: Collection[str],
    now: datetime,
) -> dict[str, AssignmentFailure]:
    """Return the errors to keep.

    Args:
        known: Those that are kept.
        failures: Those of this work.
        still_wanted: The profiles that devices wait for, or cannot be given; None if that is not known.
        succeeded: The profiles with which every request of this work was answered.
        now: UTC.
    """
    kept = {
        uuid: failure
        for uuid, failure in known.items()
        if uuid not in (*succeeded, ANY) and (still_wanted is None or uuid in still_wanted)
    }
    for one in failures:
        kept[one.profile_uuid] = AssignmentFailure(
            profile=one.profile, error=str(one.error)[:_LONGEST], at=now, devices=one.devices
        )
    return kept


def news(
    before: Mapping[str, AssignmentFailure], after: Mapping[str, AssignmentFailure]
) -> Iterator[EventGroup]:
    """Yield an event for each error of *after* that *before* does not have in the same words."""
    for uuid, failure in after.items():
        if uuid not in before or before[uuid].error != failure.error:
            details = {
                "profile_uuid": uuid,
                "profile": failure.profile,
                "error": failure.error,
                "devices": failure.devices,
            }
            yield EventGroup(EventKind.ASSIGNMENT_ERROR, details=details)
