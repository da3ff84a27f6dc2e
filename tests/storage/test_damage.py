"""An unreadable row is reported without its content, and all other rows can be read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from pyade.apple.responses import DevicePage
from pyade.builders import documents
from pyade.core.fleet.device import Device
from pyade.core.fleet.enrollment import OneTimeKind, digest_of
from pyade.core.fleet.events import EventKind
from pyade.core.fleet.records import Source, SyncState
from pyade.core.secret import Secret
from pyade.errors import DamagedRecordError
from pyade.storage import SQLiteStore
from pyade.sync import Subscription
from pyade.testing import FrozenClock
from pyade.testing.contract.enrollments import SERIAL, example_enrollment, one_time
from pyade.testing.store_examples import NOW, commit, example_token, fleet_of, serials_of

HUSH = {
    "cut": b'{"hush',
    "no UTF-8": b'{"hush": "\xff"}',
    "no JSON": b"hush",
    "another form": b'[{"hush": 1}]',
}

BROKEN_RULES = {
    "name": " ",
    "apple_id": "hush",
    "org_name": " ",
    "portal": "hush",
    "consented_at": "2026-01-01T00:00:00",
}
"""Values that a token refuses, such as in a row that another program wrote."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ade.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with SQLiteStore(path, clock=FrozenClock(NOW)) as store:
        store.add_token(example_token())
        commit(store, *fleet_of(3))
        yield store


def damage(path: Path, place: str, value: bytes, where: str = "TRUE") -> None:
    table, column = place.split(".")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE {table} SET {column} = CAST(? AS TEXT) WHERE {where}", (value,))


def check_error_shows_no_content(error: DamagedRecordError) -> None:
    assert "hush" not in str(error)
    assert error.__cause__ is error.__context__ is None


@pytest.mark.parametrize(("field", "value"), BROKEN_RULES.items())
def test_invalid_token_does_not_affect_the_others(
    path: Path, store: SQLiteStore, field: str, value: str
) -> None:
    store.add_token(example_token("other"))
    document = json.loads(documents.encode_token(example_token())[0]) | {field: value}
    damage(path, "token.document", json.dumps(document).encode(), "name = 'hq'")
    with pytest.raises(DamagedRecordError, match="the token of token 'hq'") as caught:
        store.token("hq")
    check_error_shows_no_content(caught.value)
    damaged: list[DamagedRecordError] = []
    assert store.tokens(damaged=damaged.append) == (example_token("other"),)
    assert [error.token_name for error in damaged] == ["hq"]
    with pytest.raises(DamagedRecordError):
        store.add_or_renew_token(example_token())
    store.replace_token(example_token())
    assert store.add_or_renew_token(example_token()) == example_token()


@pytest.mark.parametrize("value", HUSH.values(), ids=HUSH.keys())
@pytest.mark.parametrize(
    ("place", "read"),
    [
        ("token.document", lambda store: store.token("hq")),
        ("token.document", lambda store: store.tokens()),
        ("token.secrets", lambda store: store.token("hq")),
        ("token.state", lambda store: store.sync_state("hq")),
        ("token.state", lambda store: store.sync_states()),
        ("device.document", lambda store: store.device("hq", "C02000000")),
        ("device.document", lambda store: list(store.devices("hq"))),
        ("device.document", lambda store: list(store.records_of(["C02000000"]))),
        (
            "device.document",
            lambda store: store.finish_full_sync(
                "hq", state=SyncState(full_sync=9, listing_since=NOW, revision=1), now=NOW
            ),
        ),
        ("device_group.document", lambda store: store.device_groups("hq")),
        ("device_group.document", lambda store: store.count_devices("hq")),
        ("event.document", lambda store: store.events()),
        ("event.at", lambda store: store.events()),
    ],
)
def test_error_of_a_damaged_row_names_its_token(
    path: Path, store: SQLiteStore, place: str, read: Callable[[SQLiteStore], object], value: bytes
) -> None:
    damage(path, place, value)
    with pytest.raises(DamagedRecordError, match="'hq'") as caught:
        read(store)
    assert caught.value.token_name == "hq"
    check_error_shows_no_content(caught.value)


def test_damaged_lease_stops_only_its_token(path: Path, store: SQLiteStore) -> None:
    store.add_token(example_token("other"))
    lease = store.acquire_lease("hq", "worker")
    damage(path, "lease.expires_at", b"hush")
    for work in (
        lambda: store.acquire_lease("hq", "another"),
        lambda: store.renew_lease(lease),
        lambda: store.save_sync_state("hq", store.sync_state("hq"), lease=lease),
    ):
        with pytest.raises(DamagedRecordError, match="the lease of token 'hq'") as caught:
            work()
        check_error_shows_no_content(caught.value)
    store.acquire_lease("other", "worker")
    store.release_lease(lease)
    store.acquire_lease("hq", "another")


def test_damaged_revision_is_no_conflict(path: Path, store: SQLiteStore) -> None:
    damage(path, "token.revision", b"hush")
    with pytest.raises(DamagedRecordError, match="the sync state of token 'hq'") as caught:
        store.save_sync_state("hq", SyncState())
    check_error_shows_no_content(caught.value)


def test_damaged_device_can_be_deleted_and_stored_again(path: Path, store: SQLiteStore) -> None:
    damage(path, "device.document", b"hush", "serial_number = 'C02000001'")
    store.delete_device("hq", "C02000001", now=NOW)
    assert serials_of(store) == ["C02000000", "C02000002"]
    assert [event.kind for event in store.events()][-1] is EventKind.DELETED
    commit(store, *fleet_of(3))
    assert len(serials_of(store)) == 3


def test_subscriber_continues_after_unreadable_events(
    path: Path, store: SQLiteStore, caplog: pytest.LogCaptureFixture
) -> None:
    commit(store, Device(serial_number="LOST"))
    commit(store, Device(serial_number="LAST"))
    damage(path, "event.document", b"hush", "document LIKE '%LOST%'")
    heard: list[str | None] = []
    subscription = Subscription(store, "audit", lambda event: heard.append(event.serial_number))
    for _ in range(3):
        subscription.deliver()
    assert heard == ["C02000000", "C02000001", "C02000002", "LAST"]
    assert caplog.text.count("audit: left out: event 0-2 of token 'hq'") == 1
    assert "hush" not in caplog.text


def test_other_enrollments_are_readable_beside_a_damaged_one(path: Path, store: SQLiteStore) -> None:
    for serial in ("A", "B", "C"):
        store.save_enrollment(example_enrollment(serial))
    damage(path, "enrollment.document", b"hush", "serial_number = 'B'")
    left_out: list[DamagedRecordError] = []
    found = [enrollment.serial_number for enrollment in store.enrollments(damaged=left_out.append)]
    assert found == ["A", "C"]
    (error,) = left_out
    assert "the enrollment of 'B'" in str(error)
    check_error_shows_no_content(error)
    with pytest.raises(DamagedRecordError, match="'B'"):
        store.enrollment("B")
    with pytest.raises(DamagedRecordError, match="'B'"):
        list(store.enrollments())


@pytest.mark.parametrize("value", HUSH.values(), ids=HUSH.keys())
def test_damaged_one_time_secret_is_consumed_and_named(path: Path, store: SQLiteStore, value: bytes) -> None:
    store.save_enrollment(example_enrollment(), credential=one_time("secret"), is_new=True)
    damage(path, "one_time.value", value)
    with pytest.raises(DamagedRecordError, match=SERIAL) as caught:
        store.one_times(SERIAL)
    check_error_shows_no_content(caught.value)
    with pytest.raises(DamagedRecordError, match=SERIAL):
        store.take_one_time(OneTimeKind.SCEP_CHALLENGE, digest_of("secret"), now=NOW)
    assert store.take_one_time(OneTimeKind.SCEP_CHALLENGE, digest_of("secret"), now=NOW) is None


def test_damaged_secret_is_named_and_damaged_session_is_none(path: Path, store: SQLiteStore) -> None:
    store.save_secret("key pair", "secret")
    store.save_session("key", "session")
    damage(path, "secret.value", b"hush \xff")
    assert store.load_session("key") is None
    with pytest.raises(DamagedRecordError, match="secret 'key pair'") as caught:
        store.secret("key pair")
    check_error_shows_no_content(caught.value)
    store.save_secret("key pair", "renewed")
    assert store.secret("key pair") == Secret("renewed")


def test_damaged_token_can_be_left_out(path: Path, store: SQLiteStore) -> None:
    for name in ("a", "z"):
        store.add_token(example_token(name))
    damage(path, "token.document", b"hush", "name = 'hq'")
    damage(path, "token.state", b"hush", "name = 'a'")
    damaged: list[DamagedRecordError] = []
    assert [token.name for token in store.tokens(damaged=damaged.append)] == ["a", "z"]
    assert list(store.sync_states(damaged=damaged.append)) == ["hq", "z"]
    assert [error.token_name for error in damaged] == ["hq", "a"]
    store.replace_token(attrs.evolve(example_token(), org_name="Renewed"))
    assert store.token("hq").org_name == "Renewed"
    assert len(serials_of(store)) == 3


@pytest.mark.parametrize("value", HUSH.values(), ids=HUSH.keys())
@pytest.mark.parametrize("column", ["model", "profile_status", "profile_uuid", "is_released", "document"])
def test_damaged_group_is_replaced_when_it_is_stored_again(
    path: Path, store: SQLiteStore, column: str, value: bytes
) -> None:
    before = store.device_groups("hq")
    damage(path, f"device_group.{column}", value)
    commit(store, *fleet_of(4))
    assert store.device_groups("hq") == dict.fromkeys(before, 4)
    assert len(list(store.devices("hq", groups=tuple(before)))) == 4
    with store._database.reading() as session:
        rows = session.rows(
            "SELECT digest, model, profile_status, profile_uuid, is_released, document FROM device_group"
        )
    assert rows == [documents.group_row(group) for group in before]


def test_damaged_date_of_an_operation_names_its_token(path: Path, store: SQLiteStore) -> None:
    content = b'{"cursor": "c", "more_to_follow": false, "devices": [{"serial_number": "C02000000"}]}'
    listed = DevicePage.decode(content).devices
    commit(store, *listed, source=Source.FETCH, full_sync=1, listing_since=NOW)
    damage(path, "device.op_date", b"hush")
    with pytest.raises(DamagedRecordError, match="the record of a device of token 'hq'") as caught:
        store.commit_page(
            "hq",
            listed,
            source=Source.FETCH,
            state=attrs.evolve(store.sync_state("hq"), full_sync=2),
            now=NOW,
        )
    check_error_shows_no_content(caught.value)
