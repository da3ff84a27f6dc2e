"""A database of its own for a page that uses PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest


@pytest.fixture
def database(postgres_dsn: str) -> Iterator[str]:
    """Return the DSN of a new, empty database, which is dropped after the test."""
    import psycopg
    from psycopg import conninfo, sql

    name = f"howto_{uuid4().hex}"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield conninfo.make_conninfo(postgres_dsn, dbname=name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
