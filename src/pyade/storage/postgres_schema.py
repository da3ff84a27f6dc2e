"""Tables of the PostgreSQL store and how an older schema becomes a newer one.

``MIGRATIONS[n]`` makes version ``n + 1`` of version ``n``; the number of the last one applied stands in the
table ``pyade_version``. A published migration is never changed: a new one is added. All that are missing run
in one transaction together with the new number, behind an advisory lock, so that nodes which start at the
same time migrate once.

PostgreSQL refuses NUL characters in its texts, and its collations differ between machines. So texts from
outside are ``bytea`` in UTF-8: they keep every character and sort by code point, as in the other stores;
``convert_from(serial_number, 'UTF8')`` shows one. What is kept of a device is one JSON document
(``storage.documents``); the columns beside it are copies to search by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

from pyade.errors import StoreVersionError
from pyade.storage.postgres_connections import Session

_ADVISORY_LOCK = 0x50414445
"""``PADE``: the lock that whoever migrates holds until the end of its transaction."""

MIGRATIONS: tuple[tuple[LiteralString, ...], ...] = (
    (
        """
        CREATE TABLE {schema}.token (
            id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
            name bytea NOT NULL UNIQUE,
            document bytea NOT NULL,
            secrets bytea NOT NULL,
            default_profile bytea,
            revision bigint NOT NULL DEFAULT 0,
            state bytea
        )
        """,
        """
        CREATE TABLE {schema}.device (
            token_id bigint NOT NULL REFERENCES {schema}.token (id) ON DELETE CASCADE,
            serial_number bytea NOT NULL,
            profile_status bytea,
            released_at timestamptz,
            deleted_at timestamptz,
            full_sync bigint NOT NULL,
            document bytea NOT NULL,
            PRIMARY KEY (token_id, serial_number)
        )
        """,
        "CREATE INDEX device_serial_number ON {schema}.device (serial_number)",
        """
        CREATE TABLE {schema}.profile (
            token_id bigint NOT NULL REFERENCES {schema}.token (id) ON DELETE CASCADE,
            profile_uuid bytea NOT NULL,
            digest bytea NOT NULL,
            defined_at timestamptz NOT NULL,
            individual boolean NOT NULL,
            document bytea NOT NULL,
            PRIMARY KEY (token_id, profile_uuid)
        )
        """,
        """
        CREATE TABLE {schema}.lease (
            fence bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
            token_id bigint NOT NULL UNIQUE REFERENCES {schema}.token (id) ON DELETE CASCADE,
            owner bytea NOT NULL,
            expires_at timestamptz NOT NULL
        )
        """,
        # The name of the token stands here itself: events outlive their token.
        """
        CREATE TABLE {schema}.event (
            xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
            seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
            at timestamptz NOT NULL,
            token_name bytea NOT NULL,
            document bytea NOT NULL,
            PRIMARY KEY (xid, seq)
        )
        """,
        "CREATE TABLE {schema}.subscriber (name bytea PRIMARY KEY, position text NOT NULL)",
        """
        CREATE TABLE {schema}.secret (
            id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
            kind text NOT NULL,
            name bytea NOT NULL,
            value bytea NOT NULL,
            UNIQUE (kind, name)
        )
        """,
    ),
    (
        # Both outlive the token and the device: they say what a Mac was given.
        """
        CREATE TABLE {schema}.enrollment (
            serial_number bytea PRIMARY KEY,
            revision bigint NOT NULL,
            registration text NOT NULL,
            document bytea NOT NULL
        )
        """,
        """
        CREATE TABLE {schema}.one_time (
            kind text NOT NULL,
            digest bytea NOT NULL,
            serial_number bytea NOT NULL,
            expires_at timestamptz NOT NULL,
            value bytea NOT NULL,
            PRIMARY KEY (kind, digest)
        )
        """,
        "CREATE INDEX one_time_serial_number ON {schema}.one_time (serial_number)",
        "CREATE INDEX one_time_expires_at ON {schema}.one_time (expires_at)",
    ),
)


def migrate(session: Session, migrations: Sequence[Sequence[LiteralString]] = MIGRATIONS) -> None:
    """Bring the schema of *session* to the newest version, and create it if there is none.

    Args:
        session: Inside a transaction, which the caller commits.
        migrations: All versions, oldest first; statements without parameters.

    Raises:
        StoreVersionError: The schema was written by a newer pyade.
    """
    if _version(session) == len(migrations):
        return
    session.execute("SELECT pg_advisory_xact_lock(%s)", (_ADVISORY_LOCK,))
    found = _version(session)  # again behind the lock: another node may have been faster
    if found > len(migrations):
        raise StoreVersionError(
            f"schema {session.schema!r}: the store has version {found}, "
            f"this pyade knows versions up to {len(migrations)}: upgrade pyade"
        )
    if found == 0:
        _create(session)
    for statements in migrations[found:]:
        for statement in statements:
            session.execute(statement)
    session.execute("UPDATE {schema}.pyade_version SET version = %s", (len(migrations),))


def _create(session: Session) -> None:
    # Asks first: PostgreSQL wants the right to create a schema even where "IF NOT EXISTS" has nothing to do.
    known = session.execute("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", (session.schema,))
    if known.fetchone() is None:
        session.execute("CREATE SCHEMA {schema}")
    session.execute("CREATE TABLE {schema}.pyade_version (version integer NOT NULL)")
    session.execute("INSERT INTO {schema}.pyade_version VALUES (0)")


def _version(session: Session) -> int:
    known = session.execute(
        "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = %s AND tablename = 'pyade_version'",
        (session.schema,),
    )
    if known.fetchone() is None:
        return 0
    row = session.execute("SELECT version FROM {schema}.pyade_version").fetchone()
    return int(row[0]) if row else 0
