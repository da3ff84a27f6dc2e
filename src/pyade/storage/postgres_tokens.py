"""The row of a token in PostgreSQL, which whoever writes for that token locks first."""

from __future__ import annotations

from typing import LiteralString

import attrs

from pyade.core.inventory import SyncState
from pyade.errors import UnknownTokenError
from pyade.storage import documents
from pyade.storage.postgres_connections import Session


@attrs.frozen
class TokenRow:
    """A token's row while it is locked, until the end of the transaction.

    Attributes:
        session: The connection that holds the lock.
        id: Primary key.
        revision: Of the sync state.
        document: Of the sync state; None before the first run.
    """

    session: Session
    id: int
    revision: int
    document: bytes | None

    def state(self) -> SyncState:
        """Return the sync state."""
        return decode_state(self.document)

    def save_state(self, state: SyncState) -> None:
        """Store the sync state."""
        self.session.execute(_SAVE_STATE, (state.revision, documents.encode_state(state).encode(), self.id))


def lock(session: Session, name: str) -> TokenRow:
    """Wait until nobody else writes for the token, and return its row as it is then.

    Raises:
        UnknownTokenError: No token of that name is stored.
    """
    row = session.execute(_LOCK, (name.encode(),)).fetchone()
    if row is None:
        raise unknown(name)
    return TokenRow(session, *row)


def id_of(session: Session, name: str) -> int:
    """Return the primary key of a token.

    Raises:
        UnknownTokenError: No token of that name is stored.
    """
    row = session.execute("SELECT id FROM {schema}.token WHERE name = %s", (name.encode(),)).fetchone()
    if row is None:
        raise unknown(name)
    return int(row[0])


def decode_state(document: bytes | None) -> SyncState:
    """Return the sync state of what a token's row holds."""
    return SyncState() if document is None else documents.decode_state(document.decode())


def unknown(name: str) -> UnknownTokenError:
    """Return the error for a token that is not stored."""
    return UnknownTokenError(f"no token {name!r} is stored: add it first")


_LOCK: LiteralString = "SELECT id, revision, state FROM {schema}.token WHERE name = %s FOR UPDATE"
_SAVE_STATE: LiteralString = "UPDATE {schema}.token SET revision = %s, state = %s WHERE id = %s"
