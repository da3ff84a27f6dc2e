"""What an enrollment request comes to: the answer for the Mac, and the record for the organization."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from pyade.core.fleet.events import EventBatch, EventGroup, EventKind
from pyade.core.problems import Problem
from pyade.text import Printed

PROFILE_TYPE: Final = "application/x-apple-aspen-config"
"""The type of an enrollment profile; a web view that gets it closes."""


class EnrollmentOutcome(enum.StrEnum):
    """What a Mac is told.

    Attributes:
        ENROLL: Here is its profile.
        UPDATE: It must update macOS first.
        PLATFORM_SSO: It must set up Platform SSO first.
        SIGN_IN: The user must sign in first.
        REFUSE: It may not enroll.
        LIMITED: It asked too often.
        MALFORMED: Nobody can read what it sent.
        RENEW: Here is a new copy of its profile, for a new certificate.
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
    """The audit record of one request; ``print`` shows it in a line that no stranger can forge.

    Attributes:
        at: When, UTC.
        outcome: What the Mac was told.
        reason: Why, for the organization. The Mac does not learn it.
        serial_number: Of the Mac; "" if nothing that was sent could be trusted.
        token_name: The token that it belongs to; "" if it belongs to none.
        product: Model identifier, as the Mac says.
        build: Build of macOS, as the Mac says.
        version: Version of macOS, as text; "" if it is not known.
        profile_name: Name of the profile; "" if it came to none.
        user: Who signed in; "" if nobody did.
        identity: The identity in the profile, with its reason; "" if it came to none.
        registration: Whether the user has still to register the Mac; "" if it did not enroll.
        problems: What somebody should look at.

    Source: specification, "Distribute devices".
    """

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
        # Each in quotes, so that what a Mac said shows where it ends.
        who = f"{self.serial_number[:40]!r} {self.product[:40]!r} {self.build[:40]!r}"
        who = who if self.serial_number else "somebody"
        return f"{who}: {self.outcome}: {self.reason}"

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
    """The answer to a request, for any web framework.

    Attributes:
        status: HTTP status.
        headers: Header fields, each once; the address of a sign-in holds its secret state.
        body: Content; holds secrets where it is a profile.
        decision: The record.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict, hash=False, repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    decision: EnrollmentDecision


_NOT_DETAILS: Final = frozenset({"at", "serial_number", "token_name", "problems"})
