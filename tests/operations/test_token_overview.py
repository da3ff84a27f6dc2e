"""The state of every token, as objects, text and HTML."""

from __future__ import annotations

from datetime import timedelta
from html.parser import HTMLParser

import attrs
from tests.worlds import World

from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.token import TokenStatus
from pyade.operations import TokenOverview, overview, overview_html


def overview_of_token(world: World) -> TokenOverview:
    (one,) = overview(world.store, now=world.clock())
    return one


def test_overview_of_a_token_before_its_first_sync(world: World) -> None:
    one = overview_of_token(world)
    assert (one.name, one.last_sync_at, one.total, one.released, one.at_risk) == ("hq", None, 0, 0, 0)
    assert (one.next_request_at, one.next_automatic_at) == (world.clock(), world.clock())
    assert "Last sync" in str(one)
    assert "never" in str(one)


def test_overview_of_a_token_that_is_up_to_date(world: World, profile: EnrollmentProfile) -> None:
    serials = world.apple.add_devices(1_500, server="hq")
    world.sync()
    world.run(profile)
    world.apple.unassign(serials[:2])
    world.later(hours=1).sync()
    one = overview_of_token(world)
    assert (dict(one.devices), one.total, one.released, one.at_risk) == ({"assigned": 1_498}, 1_498, 2, 0)
    assert one.last_sync_at == world.clock()
    assert one.next_request_at == world.clock() + timedelta(minutes=15)
    assert one.next_automatic_at == world.clock() + timedelta(hours=24)
    assert (one.default_profile, one.health.status) == ("Standard Mac", TokenStatus.VALID)
    text = str(one)
    assert "1,498 devices (1,498 assigned), 2 released" in text
    assert "At risk" not in text
    assert "Last error" not in text


def test_overview_shows_problems(world: World) -> None:
    world.apple.add_devices(3, server="hq")
    world.sync()
    token = world.store.token("hq")
    world.store.replace_token(attrs.evolve(token, access_token_expiry=world.clock() + timedelta(days=5)))
    state = attrs.evolve(world.state, last_error="ServerError: 500")
    world.store.save_sync_state("hq", state)
    one = overview_of_token(world)
    assert one.at_risk == 3
    assert "ServerError: 500" in str(one)
    assert f"as {token.apple_id}" in str(one)
    assert "5 days left" in str(one)
    suspended = attrs.evolve(world.state, suspended="TermsError: sign", suspended_with=token.fingerprint)
    world.store.save_sync_state("hq", suspended)
    assert "Suspended" in str(overview_of_token(world))


def test_migrations_are_counted_and_the_next_deadline_is_shown(world: World) -> None:
    world.apple.add_devices(2, server="hq")
    for days in (3, 40, -2):
        deadline = world.clock() + timedelta(days=days)
        world.apple.add_devices(1, server="hq", mdm_migration_deadline=deadline.isoformat())
    world.sync()
    one = overview_of_token(world)
    assert (one.migrations, one.next_deadline) == (3, world.clock() + timedelta(days=3))
    assert "3 devices with a deadline, next 2025-01-04" in str(one)
    world.later(days=50)
    assert overview_of_token(world).next_deadline is None
    assert "3 devices with a deadline, all have passed" in str(overview_of_token(world))


def test_statuses_are_shown_as_words(world: World) -> None:
    world.apple.add_devices(2, server="hq")
    world.sync()
    assert "2 devices (2 without a profile)" in str(overview_of_token(world))
    assert "1 of an unknown status" in str(attrs.evolve(overview_of_token(world), devices={"": 1}))
    assert "1 weird" in str(attrs.evolve(overview_of_token(world), devices={"weird": 1}))


def test_overview_without_a_time_uses_the_clock_of_the_store(world: World) -> None:
    (one,) = overview(world.store)
    assert one.seen_at == world.store_clock()


class CellReader(HTMLParser):
    """Collects the cells of a page, and the resources it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "h2", "p"):
            self.cells.append(data)


def test_page_shows_the_same_and_loads_nothing(world: World) -> None:
    one = attrs.evolve(overview_of_token(world), name="<b>hq</b>", organization="R&D <script>")
    page = overview_html([one, one])
    reader = CellReader()
    reader.feed(page)
    assert reader.open == []
    assert reader.loads == []
    assert reader.cells.count("<b>hq</b>") == 2
    assert "R&D <script>" in reader.cells
    assert {text for _, text in one.rows()} <= set(reader.cells)
    assert f"As of {world.clock():%Y-%m-%d %H:%M:%S} UTC" in reader.cells
    assert "No token" in overview_html([])


def test_token_that_must_be_renewed_is_marked(world: World) -> None:
    marked = '<tr class="highlight"><th scope="row">Token</th>'
    assert marked not in overview_html([overview_of_token(world)])
    world.later(days=350)
    assert marked in overview_html([overview_of_token(world)])
