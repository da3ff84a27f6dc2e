"""The result of one enrollment request: the response for the Mac, the audit record for the organization."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from pyade.core.fleet.events import EventBatch, EventGroup, EventKind
from pyade.core.problems import Problem
from pyade.text import Printed, short_repr

PROFILE_TYPE: Final = "application/x-apple-aspen-config"
"""The media type of an enrollment profile; the Mac closes a web view that receives it."""


class EnrollmentOutcome(enum.StrEnum):
    """What a request resulted in.

    Attributes:
        ENROLL: The Mac got its profile.
        UPDATE: The Mac must update macOS first.
        PLATFORM_SSO: The Mac must set up Platform SSO first.
        SIGN_IN: The user must sign in first.
        REFUSE: The Mac may not enroll.
        LIMITED: The Mac asked too often.
        MALFORMED: The request could not be read.
        RENEW: The Mac got a new copy of its profile, for a new certificate.
    """

    ENROLL = "enroll"
    UPDATE = "update"
    PLATFORM_SSO = "platform_sso"
    SIGN_IN = "sign_in"
    REFUSE = "refuse"
    LIMITED = "limited"
    MALFORMED = "malformed"
    RENEW = "renew"


@attrs.frozen(kw_only=True)
class EnrollmentDecision(Printed):
    """The audit record of one request; ``print`` shows it as one line, with untrusted input escaped.

    Attributes:
        at: When, UTC.
        outcome: What the request resulted in.
        reason: Why, for the organization. The Mac does not see it.
        serial_number: Of the Mac; "" if nothing in the request could be trusted.
        token_name: The token that owns the Mac; "" if none does.
        product: Model identifier, as the Mac says.
        build: Build of macOS, as the Mac says.
        version: Version of macOS, as text; "" if it is not known.
        profile_name: Name of the profile; "" if none was selected.
        user: User principal name of the user who signed in; "" if no user did.
        identity: The identity in the profile, with its reason; "" if none was issued.
        registration: Whether the user has still to register the Mac; "" if it did not enroll.
        problems: What an administrator should check.

    Source: specification, "Distribute devices".
    """

    def __repr__(self) -> str:
        return short_repr(self)

    at: datetime
    outcome: EnrollmentOutcome
    reason: str
    serial_number: str = ""
    token_name: str = ""
    product: str = ""
    build: str = ""
    version: str = ""
    profile_name: str = ""
    user: str = ""
    identity: str = ""
    registration: str = ""
    problems: tuple[Problem, ...] = ()

    def _words(self) -> str:
        # Each value in quotes, so that the end of untrusted input is visible.
        mac = f"{self.serial_number[:40]!r} {self.product[:40]!r} {self.build[:40]!r}"
        mac = mac if self.serial_number else "unknown Mac"
        return f"{mac}: {self.outcome}: {self.reason}"

    def events(self) -> EventBatch:
        """Return the record as an event of the store."""
        names = (name for name in attrs.fields_dict(type(self)) if name not in _NOT_DETAILS)
        details: dict[str, Any] = {name: str(value) for name in names if (value := getattr(self, name))}
        if self.problems:
            details["problems"] = [str(problem) for problem in self.problems]
        group = EventGroup(EventKind.ENROLLMENT_DECIDED, (self.serial_number or None,), details)
        return EventBatch(self.token_name, self.at, (group,))


@attrs.frozen(kw_only=True)
class EnrollmentResponse:
    """The HTTP response to a request, for any web framework.

    Attributes:
        status: HTTP status.
        headers: Header fields, each once; the ``Location`` of a sign-in holds its secret state.
        body: Content; a profile holds secrets.
        decision: The audit record.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict, hash=False, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    decision: EnrollmentDecision


_NOT_DETAILS: Final = frozenset({"at", "serial_number", "token_name", "problems"})
