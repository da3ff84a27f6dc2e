"""Suspend tokens that wait for an administrator, and remind of renewals; events commit with the state.

The rules of this file:

1. An error that only an administrator can resolve suspends a token. Other errors that follow neither end nor
   repeat the suspension; another error of this kind makes a new event. A sync that Apple answered ends it.
2. The fingerprint of the token's secrets is stored with it: other secrets in the store mean that an
   administrator has acted. If the secrets could not be read none is stored: secrets that can be read again
   mean the same.
3. An administrator is reminded to renew a token at each of ``REMINDER_DAYS`` once per expiry, and only at the
   nearest one if several have passed.

Each function returns the state to store and the events to commit with it: the same state if nothing is new.

Source: specification, "Renew enrollment program token"; Apple, device assignment, the errors of ``/session``.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import attrs

from pyade.core.fleet.events import EventGroup, EventKind
from pyade.core.fleet.records import SyncState
from pyade.core.token import Token
from pyade.errors import (
    DamagedRecordError,
    TermsError,
    TokenExpiredError,
    TokenOwnerError,
    TokenRejectedError,
    TokenSupersededError,
)

SUSPENDING_ERRORS = (
    TermsError,
    TokenExpiredError,
    TokenSupersededError,
    TokenRejectedError,
    TokenOwnerError,
    DamagedRecordError,
)
"""Errors that only an administrator can resolve."""

StateAndEvents: TypeAlias = tuple[SyncState, tuple[EventGroup, ...]]
"""The state to store, and the events to commit with it."""

_LONGEST_REASON = 1_000


def suspend(state: SyncState, token: Token | None, error: Exception) -> StateAndEvents:
    """Return *state* after *error*, which ended work for *token*; *token* is None if it cannot be read."""
    if not isinstance(error, SUSPENDING_ERRORS):
        return state, ()
    reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
    suspended = attrs.evolve(  # rule 2
        state, suspended=reason, suspended_with="" if token is None else token.fingerprint
    )
    if error_kind(state.suspended) == error_kind(reason):  # rule 1
        return suspended, ()
    return suspended, (EventGroup(EventKind.TOKEN_SUSPENDED, details={"reason": reason}),)


def resume(state: SyncState) -> StateAndEvents:
    """Return *state* after a sync that Apple answered."""
    if not state.suspended:
        return state, ()
    return attrs.evolve(state, suspended="", suspended_with=""), (EventGroup(EventKind.TOKEN_RESUMED),)


def remind(state: SyncState, token: Token, now: datetime) -> StateAndEvents:
    """Return the reminder to renew *token*, if one is due that was not sent yet."""
    days, expires_at = token.reminder(now), token.access_token_expiry
    if days is None or expires_at is None:
        return state, ()
    if state.reminded_of == expires_at and state.reminded_days <= days:  # rule 3
        return state, ()
    details = {
        "days": days,
        "expires_at": expires_at.isoformat(),
        "apple_id": token.apple_id,
        "next_step": token.health(now).next_step,
    }
    reminded = attrs.evolve(state, reminded_of=expires_at, reminded_days=days)
    return reminded, (EventGroup(EventKind.TOKEN_EXPIRING, details=details),)


def suspended_reason(token: Token, state: SyncState) -> str:
    """Return why a token waits for an administrator; "" if it does not, or was renewed since."""
    return "" if was_renewed(token, state) else state.suspended


def is_damaged(state: SyncState) -> bool:
    """Return True if a token is suspended because one of its stored records could not be read."""
    return error_kind(state.suspended) == DamagedRecordError.__name__


def was_renewed(token: Token, state: SyncState) -> bool:
    """Return True if a token was suspended, and the store has another one now."""
    return bool(state.suspended) and state.suspended_with != token.fingerprint


def error_kind(reason: str) -> str:
    """Return the name of the error with which *reason*, the reason of a suspension, begins."""
    return reason.partition(":")[0]
