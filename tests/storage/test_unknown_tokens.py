"""An unknown token name is refused with the names that are stored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyade.errors import UnknownTokenError
from pyade.storage import MemoryStore, SQLiteStore
from pyade.storage.protocol import Store
from pyade.testing import FakeApple

if TYPE_CHECKING:
    from tests.conftest import PostgresSchema

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CALLS: dict[str, Callable[[Store], object]] = {
    "token": lambda store: store.token("hp"),
    "devices": lambda store: list(store.devices("hp")),
    "sync_state": lambda store: store.sync_state("hp"),
    "held_lease": lambda store: store.held_lease("hp"),
    "default_profile": lambda store: store.default_profile("hp"),
    "set_default_profile": lambda store: store.set_default_profile("hp", None),
    "defined_profile": lambda store: store.defined_profile("hp", "UUID"),
    "remove_token": lambda store: store.remove_token("hp", now=NOW),
}


def check(store: Store) -> None:
    fake = FakeApple()
    fake.add_server("hq")
    for number in range(12):
        for call in CALLS.values() if number in (0, 1) else ():
            with pytest.raises(UnknownTokenError) as caught:
                call(store)
            known = "only 'hq'" if number else "nor any other"
            assert str(caught.value) == (
                f"no token 'hp' is stored, {known}: check the name, or call add_or_renew_token(token)"
            )
        store.add_token(fake.token("hq", name=f"hq{number or ''}"))
    with pytest.raises(UnknownTokenError, match=r"only 'hq', 'hq1', 'hq10', .* 'hq7', …: check the name"):
        store.token("hp")


@pytest.mark.parametrize("path", [None, "ade.db"])
def test_the_error_lists_the_stored_tokens(path: str | None, tmp_path: Path) -> None:
    with MemoryStore() if path is None else SQLiteStore(tmp_path / path) as store:
        check(store)


def test_postgresql_lists_them_too(postgres: PostgresSchema) -> None:
    from pyade.storage import PostgresStore

    options: dict[str, Any] = {"schema": postgres.schema}
    with PostgresStore(postgres.dsn, **options) as store:
        check(store)
