"""Devices deleted, restored and purged in any order: the stores show what a small model shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import attrs
from hypothesis import given
from hypothesis import strategies as st

from pyade.core.fleet.device import Device, DeviceResult, OpType
from pyade.core.fleet.records import Source, owner_of
from pyade.storage import MemoryStore, SQLiteStore, Store
from pyade.testing.store_examples import example_token

START = datetime(2025, 1, 1, tzinfo=UTC)
TOKENS = ("hq", "lab")
SERIALS = ("A", "B")


@attrs.frozen
class SyncEvent:
    """An event of some days ago, so that late and repeated events are common."""

    token: str
    serial: str
    op_type: OpType
    days_ago: int


@attrs.frozen
class FullList:
    """A complete full list that began some days ago."""

    token: str
    serials: frozenset[str]
    days_ago: int


@attrs.frozen
class Deletion:
    token: str
    serial: str


@attrs.frozen
class Details:
    """Details of a device are read; Apple may not know the device."""

    token: str
    serial: str
    known: bool


@attrs.frozen
class Purge:
    token: str
    in_days: int


Action: TypeAlias = SyncEvent | FullList | Deletion | Details | Purge
# Most actions are about one device, so that its events interact.
tokens, serials = st.sampled_from(("hq", *TOKENS)), st.sampled_from(("A", "A", *SERIALS))
days = st.integers(0, 3)
operations = st.sampled_from([OpType.ADDED, OpType.MODIFIED, OpType.DELETED])
actions: st.SearchStrategy[Action] = st.one_of(
    st.builds(SyncEvent, tokens, serials, operations, days),
    st.builds(SyncEvent, tokens, serials, operations, days),
    st.builds(FullList, tokens, st.frozensets(serials), days),
    st.builds(Deletion, tokens, serials),
    st.builds(Details, tokens, serials, st.booleans()),
    st.builds(Purge, tokens, st.sampled_from([0, 28, 30])),
)


@attrs.define
class ModelDevice:
    """The model's state of one device of one token; times are numbers of days."""

    here: bool = True
    hidden: int | None = None
    event: int | None = None
    assigned: int | None = None
    released: int = 0


class Model:
    """The same rules in their simplest form."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], ModelDevice] = {}
        self.lists: dict[str, tuple[int, set[str]]] = {}

    def apply(self, action: Action, today: int) -> None:
        match action:
            case SyncEvent(token, serial, op_type, days_ago):
                since, listed = self.lists.get(token, (0, set()))
                is_new = (token, serial) not in self.entries
                entry = self.entries.setdefault((token, serial), ModelDevice())
                if is_new or (serial not in listed and entry.here) or today - days_ago >= since:
                    self.apply_event(entry, op_type, today - days_ago, today)
            case FullList(token, shown, days_ago):
                self.apply_list(token, shown, today - days_ago, today)
            case Deletion(token, serial):
                known_entry = self.entries.get((token, serial))
                if known_entry is not None and not known_entry.here:
                    del self.entries[token, serial]
                elif known_entry is not None and known_entry.hidden is None:
                    known_entry.hidden = today
            case Details(token, serial, known):
                if known:
                    entry = self.entries.setdefault((token, serial), ModelDevice())
                    entry.here, entry.hidden, entry.assigned = True, None, None
                    self.lists.setdefault(token, (0, set()))[1].add(serial)
            case Purge(token, in_days):
                self.purge(token, today + in_days)

    def apply_event(self, entry: ModelDevice, op_type: OpType, at: int, today: int) -> None:
        if entry.event is not None and at < entry.event:
            return
        if op_type == OpType.DELETED:
            entry.released = today if entry.here else entry.released
            entry.here = False
        else:
            is_new = entry.event is None or at > entry.event or not entry.here
            if op_type == OpType.ADDED and is_new:
                entry.hidden = None
            entry.here, entry.assigned = True, at
        entry.event = at

    def apply_list(self, token: str, shown: frozenset[str], since: int, today: int) -> None:
        self.lists[token] = (since, set(shown))
        for serial in shown:
            entry = self.entries.setdefault((token, serial), ModelDevice())
            if entry.event is None or entry.event <= since:
                entry.here, entry.assigned = True, None
            if entry.here and entry.hidden is not None and since > entry.hidden:
                entry.hidden = None
        for (name, serial), entry in self.entries.items():
            is_older = entry.event is None or entry.event <= since
            if name == token and serial not in shown and entry.here and is_older:
                entry.here, entry.released = False, today

    def purge(self, token: str, today: int) -> None:
        for key, entry in list(self.entries.items()):
            if key[0] == token and not entry.here and today - entry.released >= 30:
                del self.entries[key]

    def shown(self, token: str, *, here: bool) -> list[str]:
        return sorted(
            serial
            for (name, serial), entry in self.entries.items()
            if name == token and entry.hidden is None and entry.here == here
        )

    def newest_claim(self, serial: str) -> int | None:
        entries = [self.entries.get((token, serial)) for token in TOKENS]
        claims = [entry.assigned for entry in entries if entry and entry.here and entry.assigned is not None]
        return max(claims, default=None)


def apply(store: Store, action: Action, today: int) -> None:
    now = START + timedelta(days=today)
    state = store.sync_state(action.token)
    match action:
        case SyncEvent(token, serial, op_type, days_ago):
            at = now - timedelta(days=days_ago)
            device = Device(serial_number=serial, op_type=op_type, op_date=at, device_assigned_date=at)
            store.commit_page(token, [device], source=Source.SYNC, state=state, now=now)
        case FullList(token, shown, days_ago):
            since = now - timedelta(days=days_ago)
            state = attrs.evolve(state, full_sync=state.full_sync + 1, listing_since=since)
            page = [Device(serial_number=serial) for serial in shown]
            state, _ = store.commit_page(token, page, source=Source.FETCH, state=state, now=now)
            unlisted = store.count_unlisted(token, state)
            _, counts = store.finish_full_sync(token, state=state, now=now)
            assert counts.released == unlisted
        case Deletion(token, serial):
            store.delete_device(token, serial, now=now)
        case Details(token, serial, known):
            result = DeviceResult.SUCCESS if known else DeviceResult.NOT_ACCESSIBLE
            device = Device(serial_number=serial, response_status=result)
            store.commit_page(token, [device], source=Source.DETAILS, state=state, now=now)
        case Purge(token, in_days):
            store.purge_released(token, now=now + timedelta(days=in_days))


@given(history=st.lists(actions, min_size=5, max_size=40))
def test_any_order_of_deletions_matches_the_model(history: list[Action]) -> None:
    model = Model()
    with MemoryStore() as memory, SQLiteStore(":memory:") as sqlite:
        for store in (memory, sqlite):
            for name in TOKENS:
                store.add_token(example_token(name))
        for today, action in enumerate(history, start=10):
            model.apply(action, today)
            for store in (memory, sqlite):
                apply(store, action, today)
            check(memory, model)
        check(sqlite, model)
        assert list(memory.records_of(SERIALS)) == list(sqlite.records_of(SERIALS))
        for name in TOKENS:
            assert list(memory.devices(name, released=None)) == list(sqlite.devices(name, released=None))
            assert memory.count_devices(name) == sqlite.count_devices(name)


def check(store: Store, model: Model) -> None:
    for name in TOKENS:
        for here in (True, False):
            shown = sorted(record.serial_number for record in store.devices(name, released=not here))
            assert shown == model.shown(name, here=here)
        assert sum(store.count_devices(name).values()) == len(list(store.devices(name, released=None)))
    known = {(record.token_name, record.serial_number): record for record in store.records_of(SERIALS)}
    assert known.keys() == model.entries.keys()
    for key, record in known.items():
        hidden = model.entries[key].hidden
        assert record.deleted_at == (None if hidden is None else START + timedelta(days=hidden))
    for serial in SERIALS:
        owner = owner_of(store.records_of([serial]))
        claim = model.newest_claim(serial)
        assigned = None if owner is None else owner.device.device_assigned_date
        assert assigned == (None if claim is None else START + timedelta(days=claim))
