"""Whatever is deleted, restored and purged in whatever order, the stores show what a small model shows."""

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
class Told:
    """An event of so many days ago, so that late ones and repetitions are the rule."""

    token: str
    serial: str
    op_type: OpType
    days_ago: int


@attrs.frozen
class Listed:
    """A full list that began so many days ago, to its end."""

    token: str
    serials: frozenset[str]
    days_ago: int


@attrs.frozen
class Deleted:
    token: str
    serial: str


@attrs.frozen
class Restored:
    """Somebody asks for a device's details; Apple may not know it."""

    token: str
    serial: str
    known: bool


@attrs.frozen
class Purged:
    token: str
    in_days: int


Action: TypeAlias = Told | Listed | Deleted | Restored | Purged
# Most of the story is about one device, so that its events meet.
tokens, serials = st.sampled_from(("hq", *TOKENS)), st.sampled_from(("A", "A", *SERIALS))
days = st.integers(0, 3)
operations = st.sampled_from([OpType.ADDED, OpType.MODIFIED, OpType.DELETED])
actions: st.SearchStrategy[Action] = st.one_of(
    st.builds(Told, tokens, serials, operations, days),
    st.builds(Told, tokens, serials, operations, days),
    st.builds(Listed, tokens, st.frozensets(serials), days),
    st.builds(Deleted, tokens, serials),
    st.builds(Restored, tokens, serials, st.booleans()),
    st.builds(Purged, tokens, st.sampled_from([0, 28, 30])),
)


@attrs.define
class Life:
    """What the model knows of one device of one token; times are numbers of days."""

    here: bool = True
    hidden: int | None = None
    event: int | None = None
    assigned: int | None = None
    released: int = 0


class Model:
    """The rules in the plainest way."""

    def __init__(self) -> None:
        self.lives: dict[tuple[str, str], Life] = {}
        self.lists: dict[str, tuple[int, set[str]]] = {}

    def tell(self, action: Action, today: int) -> None:
        match action:
            case Told(token, serial, op_type, days_ago):
                since, listed = self.lists.get(token, (0, set()))
                is_new = (token, serial) not in self.lives
                told = self.lives.setdefault((token, serial), Life())
                if is_new or (serial not in listed and told.here) or today - days_ago >= since:
                    self.hear(told, op_type, today - days_ago, today)
            case Listed(token, shown, days_ago):
                self.show(token, shown, today - days_ago, today)
            case Deleted(token, serial):
                known_life = self.lives.get((token, serial))
                if known_life is not None and not known_life.here:
                    del self.lives[token, serial]
                elif known_life is not None and known_life.hidden is None:
                    known_life.hidden = today
            case Restored(token, serial, known):
                if known:
                    life = self.lives.setdefault((token, serial), Life())
                    life.here, life.hidden, life.assigned = True, None, None
                    self.lists.setdefault(token, (0, set()))[1].add(serial)
            case Purged(token, in_days):
                self.purge(token, today + in_days)

    def hear(self, life: Life, op_type: OpType, at: int, today: int) -> None:
        if life.event is not None and at < life.event:
            return
        if op_type == OpType.DELETED:
            life.released = today if life.here else life.released
            life.here = False
        else:
            is_new = life.event is None or at > life.event or not life.here
            if op_type == OpType.ADDED and is_new:
                life.hidden = None
            life.here, life.assigned = True, at
        life.event = at

    def show(self, token: str, shown: frozenset[str], since: int, today: int) -> None:
        self.lists[token] = (since, set(shown))
        for serial in shown:
            life = self.lives.setdefault((token, serial), Life())
            if life.event is None or life.event <= since:
                life.here, life.assigned = True, None
            if life.here and life.hidden is not None and since > life.hidden:
                life.hidden = None
        for (name, serial), life in self.lives.items():
            is_older = life.event is None or life.event <= since
            if name == token and serial not in shown and life.here and is_older:
                life.here, life.released = False, today

    def purge(self, token: str, today: int) -> None:
        for key, life in list(self.lives.items()):
            if key[0] == token and not life.here and today - life.released >= 30:
                del self.lives[key]

    def shown(self, token: str, *, here: bool) -> list[str]:
        return sorted(
            serial
            for (name, serial), life in self.lives.items()
            if name == token and life.hidden is None and life.here == here
        )

    def newest_claim(self, serial: str) -> int | None:
        lives = [self.lives.get((token, serial)) for token in TOKENS]
        claims = [life.assigned for life in lives if life and life.here and life.assigned is not None]
        return max(claims, default=None)


def tell(store: Store, action: Action, today: int) -> None:
    now = START + timedelta(days=today)
    state = store.sync_state(action.token)
    match action:
        case Told(token, serial, op_type, days_ago):
            at = now - timedelta(days=days_ago)
            device = Device(serial_number=serial, op_type=op_type, op_date=at, device_assigned_date=at)
            store.commit_page(token, [device], source=Source.SYNC, state=state, now=now)
        case Listed(token, shown, days_ago):
            since = now - timedelta(days=days_ago)
            state = attrs.evolve(state, full_sync=state.full_sync + 1, listing_since=since)
            page = [Device(serial_number=serial) for serial in shown]
            state, _ = store.commit_page(token, page, source=Source.FETCH, state=state, now=now)
            unlisted = store.count_unlisted(token, state)
            _, counts = store.finish_full_sync(token, state=state, now=now)
            assert counts.released == unlisted
        case Deleted(token, serial):
            store.delete_device(token, serial, now=now)
        case Restored(token, serial, known):
            result = DeviceResult.SUCCESS if known else DeviceResult.NOT_ACCESSIBLE
            device = Device(serial_number=serial, response_status=result)
            store.commit_page(token, [device], source=Source.DETAILS, state=state, now=now)
        case Purged(token, in_days):
            store.purge_released(token, now=now + timedelta(days=in_days))


@given(story=st.lists(actions, min_size=5, max_size=40))
def test_any_order_of_deletions_shows_what_the_model_shows(story: list[Action]) -> None:
    model = Model()
    with MemoryStore() as memory, SQLiteStore(":memory:") as sqlite:
        for store in (memory, sqlite):
            for name in TOKENS:
                store.add_token(example_token(name))
        for today, action in enumerate(story, start=10):
            model.tell(action, today)
            for store in (memory, sqlite):
                tell(store, action, today)
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
    assert known.keys() == model.lives.keys()
    for key, record in known.items():
        hidden = model.lives[key].hidden
        assert record.deleted_at == (None if hidden is None else START + timedelta(days=hidden))
    for serial in SERIALS:
        owner = owner_of(store.records_of([serial]))
        claim = model.newest_claim(serial)
        assigned = None if owner is None else owner.device.device_assigned_date
        assert assigned == (None if claim is None else START + timedelta(days=claim))
