"""What is known of the wait of one Mac: its phase, what became of each command, and what is to be done now.

``core.await_configuration`` decides with these.

Source: Apple, ``TokenUpdate``, ``AccountConfiguration`` and ``DeviceConfigured``.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated

import attrs
import msgspec

from pyade.core.enums import OpenStrEnum
from pyade.core.problems import Problem

Time = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time with its zone, when it is read back from JSON, too."""


class SetupCommand(enum.StrEnum):
    """The commands of this flow, by Apple's names."""

    ACCOUNT_CONFIGURATION = "AccountConfiguration"
    DEVICE_CONFIGURED = "DeviceConfigured"


class CommandStatus(OpenStrEnum):
    """How a Mac answers a command."""

    ACKNOWLEDGED = "Acknowledged"
    ERROR = "Error"
    COMMAND_FORMAT_ERROR = "CommandFormatError"
    NOT_NOW = "NotNow"


class AwaitPhase(enum.StrEnum):
    """Where a Mac stands.

    Attributes:
        NOT_AWAITING: It has not said that it awaits, or it went on without us.
        AWAITING: It waits at the end of Setup Assistant.
        RELEASED: It was told to go on, and did.
    """

    NOT_AWAITING = "not awaiting"
    AWAITING = "awaiting"
    RELEASED = "released"


@attrs.frozen(kw_only=True)
class CommandRecord:
    """What became of one command in this enrollment.

    Attributes:
        first_sent_at: When it was first sent, UTC; None if it was not.
        sent_at: When it was last sent, UTC.
        attempts: How often it was sent.
        command_uuids: Under which UUIDs, the newest last; the oldest of very many are dropped.
        status: The Mac's last answer; "" if there is none to the last attempt.
        answered_at: When that came, UTC.
        delayed_since: Since when it could not be made, although it was its turn, UTC; None if it could.
        delayed_at: When that was found last, UTC.
    """

    first_sent_at: Time | None = None
    sent_at: Time | None = None
    attempts: int = 0
    command_uuids: tuple[str, ...] = ()
    status: str = ""
    answered_at: Time | None = None
    delayed_since: Time | None = None
    delayed_at: Time | None = None

    @property
    def has_failed(self) -> bool:
        """True if the Mac refused it; an answer that Apple does not document counts as a refusal."""
        return self.status not in ("", CommandStatus.ACKNOWLEDGED, CommandStatus.NOT_NOW)


@attrs.frozen(kw_only=True)
class SetupAction:
    """What to do now.

    Attributes:
        send: The command to send; None if there is none. Report it with ``sent``.
        reason: Why, in words.
        ask_again_at: When to ask again at the latest if nothing happens before, UTC; None if only an event
            changes anything.
    """

    send: SetupCommand | None
    reason: str
    ask_again_at: datetime | None = None


@attrs.frozen(kw_only=True)
class AwaitProgress:
    """What a Mac waits for.

    Attributes:
        phase: Where it stands.
        awaiting_since: Since when it waits or waited, UTC.
        outstanding: Names of what is still to come, in order.
        findings: What is worth a look, each with the next step.
    """

    phase: AwaitPhase
    awaiting_since: datetime | None
    outstanding: tuple[str, ...]
    findings: tuple[Problem, ...]
