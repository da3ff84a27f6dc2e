"""When a token needs a person: noted in its sync state, and told once, in the same commit.

The rules of this file:

1. An error after which only a person can help suspends a token. Other errors that follow neither end nor
   repeat that; another error of this kind is told anew. A sync that Apple answered ends it.
2. Which secrets the token had then is noted, too: other secrets in the store mean that a person has acted.
   Where they could not be read nothing is noted: that they can be read again means the same.
3. A person is reminded to renew a token at each of ``REMINDER_DAYS`` once per expiry, and only at the nearest
   one where several have passed.

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
"""Errors after which only a person can help."""

Noted: TypeAlias = tuple[SyncState, tuple[EventGroup, ...]]
"""The state to store, and the events that belong to the change."""

_LONGEST_REASON = 1_000


def suspend(state: SyncState, token: Token | None, error: Exception) -> Noted:
    """Return what *error*, which ended work for *token*, makes of *state*; None if it cannot be read."""
    if not isinstance(error, SUSPENDING_ERRORS):
        return state, ()
    reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
    suspended = attrs.evolve(
        state, suspended=reason, suspended_with="" if token is None else token.fingerprint
    )
    if error_kind(state.suspended) == error_kind(reason):
        return suspended, ()
    return suspended, (EventGroup(EventKind.TOKEN_SUSPENDED, details={"reason": reason}),)


def resume(state: SyncState) -> Noted:
    """Return what a sync that Apple answered makes of *state*."""
    if not state.suspended:
        return state, ()
    return attrs.evolve(state, suspended="", suspended_with=""), (EventGroup(EventKind.TOKEN_RESUMED),)


def remind(state: SyncState, token: Token, now: datetime) -> Noted:
    """Return the reminder to renew *token*, if one has come that was not told yet."""
    days, expires_at = token.reminder(now), token.access_token_expiry
    if days is None or expires_at is None:
        return state, ()
    if state.reminded_of == expires_at and state.reminded_days <= days:
        return state, ()
    details = {
        "days": days,
        "expires_at": expires_at.isoformat(),
        "apple_id": token.apple_id,
        "next_step": token.health(now).next_step,
    }
    told = attrs.evolve(state, reminded_of=expires_at, reminded_days=days)
    return told, (EventGroup(EventKind.TOKEN_EXPIRING, details=details),)


def suspended_reason(token: Token, state: SyncState) -> str:
    """Return why a token needs a person; "" if it does not, or was renewed since."""
    return "" if was_renewed(token, state) else state.suspended


def is_damaged(state: SyncState) -> bool:
    """Return True if a token is suspended because something of it could not be read."""
    return error_kind(state.suspended) == DamagedRecordError.__name__


def was_renewed(token: Token, state: SyncState) -> bool:
    """Return True if a token needed a person, and is another one in the store by now."""
    return bool(state.suspended) and state.suspended_with != token.fingerprint


def error_kind(reason: str) -> str:
    """Return the name of the error that *reason*, why a token is suspended, begins with."""
    return reason.partition(":")[0]
