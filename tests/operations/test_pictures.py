"""The past of a fleet and of its token, from the stored events: the numbers, the text and the picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cases import each
from tests.pictures import HOSTILE, check_text, place, read_svg, texts

from pyade import Assigner, EnrollmentProfile, Syncer
from pyade.core.fleet.events import EventKind
from pyade.errors import PolicyError, PyadeError, UnknownTokenError
from pyade.operations import FleetDay, FleetHistory, Timeline, TimelineEntry, fleet_history, timeline
from pyade.testing import demo

PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.example/enroll")
STATUSES = ("pushed", "assigned", "empty", "removed", "other", "listed")


class Story:
    """A world in which something happens each day; the truth of each evening is kept."""

    def __init__(self, devices: int = 12) -> None:
        self.world = demo(devices, start=datetime(2026, 3, 1, 12, tzinfo=UTC))
        self.serials = list(self.world.serials)
        self.evenings: list[Counter[str]] = []

    def act(self, action: str) -> None:
        """Do one of ``ACTIONS``."""
        fake, store, first = self.world.fake, self.world.store, self.serials[:2]
        actions: dict[str, Callable[[], object]] = {
            "more": lambda: self.serials.extend(fake.add_devices(3, server=self.world.server)),
            "move": lambda: fake.unassign(first),
            "back": lambda: fake.assign(self.world.server, first),
            "activate": lambda: list(map(fake.activate, self.serials[:5])),
            "delete": lambda: store.delete_device("hq", self.serials[-1], now=self.world.clock()),
            "remove": lambda: store.remove_token("hq", now=self.world.clock()),
            "fail": lambda: fake.faults.device_result(self.serials[-2:], "FAILED"),
            "terms": fake.faults.change_terms,
            "agreed": fake.faults.accept_terms,
        }
        actions.get(action, lambda: None)()
        if action == "remove":
            store.add_token(self.world.token)

    def day(self, action: str) -> None:
        """Let one day pass: what happens, the nightly job, and the evening."""
        with suppress(PyadeError):  # the portal does nothing twice
            self.act(action)
        with suppress(PyadeError):  # the terms may not be accepted
            Syncer(self.world.client, self.world.store).sync()
            if action != "idle":
                Assigner(self.world.client, self.world.store).run(default=PROFILE)
        self.evenings.append(self._count())
        self.world.clock.advance(days=1)

    def _count(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for group, number in self.world.store.device_groups("hq").items():
            hidden = "hidden" if group.is_hidden else ""
            counts[hidden or ("released" if group.is_released else str(group.profile_status))] += number
        return counts

    def history(self, **settings: Any) -> FleetHistory:
        """Return the history as of the last evening."""
        now = self.world.clock() - timedelta(hours=23)
        return fleet_history(self.world.store, "hq", now=now, **settings)


ACTIONS = ("more", "move", "back", "activate", "delete", "fail", "terms", "agreed", "remove", "idle", "")


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(ACTIONS), min_size=2, max_size=8))
def test_each_day_has_the_devices_that_the_store_had_on_that_evening(actions: list[str]) -> None:
    story = Story(6)
    with story.world:
        for action in actions:
            story.day(action)
        history = story.history(days=len(actions) + 2)
        assert [day.total for day in history.days[:2]] == [0, 0]
        for day, truth in zip(history.days[2:], story.evenings, strict=True):
            assert day.is_known
            assert day.total == truth.total()
            for state in ("released", "hidden"):
                assert day.counts.get(state, 0) == truth[state]
            for state in STATUSES[:-1]:
                assert day.counts.get(state, 0) <= truth[state], (day, truth)
        assert dict(history.days[-1].counts) == dict(+story.evenings[-1])


def test_days_before_the_oldest_stored_event_are_not_known() -> None:
    story = Story()
    with story.world as world:
        for action in ("", "more", "move", "activate", ""):
            story.day(action)
        world.store.prune_events(world.clock() - timedelta(days=3, hours=1))
        history = story.history(days=7)
        known = [day.is_known for day in history.days]
        assert known == [False] * 4 + [True] * 3
        for day, truth in zip(history.days[4:], story.evenings[2:], strict=True):
            assert (day.total, day.counts.get("released", 0)) == (truth.total(), truth["released"])
        assert "4 days not known: the oldest stored event is of" in str(history)
        marks = [one.text for one in texts(read_svg(history.svg()))]
        assert marks.count("?") == 4
        world.store.prune_events(world.clock())
        known = [day.is_known for day in story.history(days=7).days]
        assert known == [False] * 6 + [True]
        assert story.history(days=1).days[0].counts == +story.evenings[-1]


def test_a_bar_is_as_high_as_its_count() -> None:
    story = Story()
    with story.world:
        for action in ("", "more", "move", "activate"):
            story.day(action)
        history = story.history(days=4)
        root = read_svg(history.svg())
        bars = [one for one in root if one.tag.endswith("rect") and float(str(one.get("x"))) > 40]
        counts = [
            day.counts[state] for day in history.days for state in history.states if state in day.counts
        ]
        heights = [float(str(one.get("height"))) + 0.8 for one in bars]
        most = max(day.total for day in history.days)
        assert heights == pytest.approx([170 * count / most for count in counts], abs=0.1)
        lines = str(history).splitlines()
        for day in history.days:
            (line,) = (one for one in lines if one.startswith(day.day))
            assert line.split()[1:] == [str(day.total), *(str(day.counts.get(s, 0)) for s in history.states)]
        check_text(str(history))


def test_an_empty_fleet_has_a_history_and_a_timeline() -> None:
    with demo(0) as world:
        history = fleet_history(world.store, "hq", days=3)
        assert all(not day.total for day in history.days)
        read_svg(history.svg())
        line = timeline(world.store, "hq", days=3)
        assert "no event is stored" in str(line)
        assert [one.what for one in line.entries][:4] == [
            *("now", "next request", "next automatic run", "next full list"),
        ]
        read_svg(line.svg())


def test_the_timeline_has_what_happened_and_the_next_times() -> None:
    story = Story()
    with story.world as world:
        for action in ("", "more", "fail", "terms", "terms", "agreed", ""):
            story.day(action)
        start = world.clock() - timedelta(days=7)
        line = timeline(world.store, "hq", days=10)
        per_day = [dict(day.counts) for day in line.days]
        assert per_day[2:4] == [{"added": 12, "assigned": 12}, {"added": 3, "assigned": 3}]
        assert line.suspensions == ((start + timedelta(days=3), start + timedelta(days=5)),)
        suspended = line.entry("suspended")
        assert suspended is not None
        assert "T_C_NOT_SIGNED" in suspended.text
        state = world.store.sync_state("hq")

        def at(what: str) -> Any:
            found = line.entry(what)
            assert found is not None
            return found.at

        assert at("last run") == state.run_at
        assert at("last full list") == state.listed_at
        assert at("next automatic run") == world.clock()
        assert at("resumed") == start + timedelta(days=5)
        assert at("next full list") == start + timedelta(days=7)
        assert at("token expires") == world.token.access_token_expiry
        check_text(str(line))
        lines = str(line).splitlines()
        whens = [one[:18] for one in lines[1:-2]]
        assert sorted(whens) == whens
        for entry in line.entries:
            assert any(f"{entry.at:%Y-%m-%d %H:%M}" in one for one in lines)
        root = read_svg(line.svg())
        letters = [one.text for one in texts(root) if one.get("font-size") == "9.5"]
        assert {"W", "L", "N", "E"} < set(letters)
        assert [one.get("stroke-dasharray") for one in root].count("3 2") == 1


def test_a_failed_run_and_a_suspension_that_lasts_are_shown() -> None:
    story = Story()
    with story.world as world:
        for action in ("", "terms", ""):
            story.day(action)
        line = timeline(world.store, "hq", days=5)
        failed = line.entry("last run failed")
        assert failed is not None
        assert "2 failures in a row: " in failed.text
        ((start, end),) = line.suspensions
        assert (start, end) == (world.clock() - timedelta(days=2), None)
        letters = [one.text for one in texts(read_svg(line.svg()))]
        assert letters.count("!") == letters.count("S") == 1
        world.store.prune_events(world.clock())
        assert timeline(world.store, "hq", days=5).suspensions == ((None, None),)
        short = timeline(world.store, "hq", days=1)
        assert len(short.days) == 1


def test_a_renewed_token_is_not_suspended_any_more() -> None:
    story = Story()
    with story.world as world:
        for action in ("", "terms"):
            story.day(action)
        world.store.replace_token(attrs.evolve(world.token, access_token="AT_of_the_renewed_token"))
        ((_, end),) = timeline(world.store, "hq").suspensions
        assert end == world.clock()


def test_marks_are_in_the_order_of_their_times() -> None:
    story = Story()
    with story.world:
        for action in ("", "more", "terms", "agreed", "", ""):
            story.day(action)
        line = timeline(story.world.store, "hq")
        root = read_svg(line.svg())
        (now,) = (place(one)[0] for one in texts(root) if one.text == "now")
        for one in texts(root):
            if one.get("font-size") == "9.5" and one.text in ("L", "W", "S", "N"):
                assert (place(one)[0] > now) == (one.text == "N")


def test_events_of_a_token_are_bounded() -> None:
    with demo(0) as world:
        for number in range(60):
            details = {"reason": f"{number}: {HOSTILE}"[:900].replace("\ud800", "").replace("\0", "")}
            kind = EventKind.TOKEN_ACCOUNT_CHANGED
            world.store.add_event("hq", kind, now=world.clock(), details=details)
        line = timeline(world.store, "hq")
        assert (line.left_out, len([one for one in line.entries if one.what == "account changed"])) == (
            20,
            40,
        )
        assert "20 older events of the token left out" in str(line)
        check_text(str(line))
        read_svg(line.svg())


@each("name", [HOSTILE, "株" * 500, "x" * 500])
def test_hostile_names_and_reasons_stay_text(name: str) -> None:
    with demo(1) as world:
        line = timeline(world.store, "hq", days=2)
        entry = TimelineEntry(at=world.clock(), what="suspended", text=name)
        hostile: list[Timeline | FleetHistory] = [
            attrs.evolve(line, token_name=name, entries=(entry, *line.entries)),
            attrs.evolve(
                fleet_history(world.store, "hq", days=2),
                token_name=name,
                days=(FleetDay(day="2026-03-01", counts={"assigned": 10**9}),),
            ),
        ]
        for one in hostile:
            read_svg(one.svg())
            check_text(str(one))
            assert len(repr(one)) < 300
            assert one._repr_html_() == one.svg()


def test_other_tokens_do_not_count() -> None:
    with demo(2) as world:
        Syncer(world.client, world.store).sync()
        world.store.add_token(attrs.evolve(world.token, name="lab"))
        assert fleet_history(world.store, "lab", days=2).days[-1].total == 0
        assert timeline(world.store, "lab", days=2).days[-1].counts == {}


@pytest.mark.parametrize("show", [timeline, fleet_history])
def test_what_cannot_be_shown_is_refused(show: Any) -> None:
    with demo(0) as world:
        with pytest.raises(PolicyError, match="1 to 366"):
            show(world.store, "hq", days=0)
        with pytest.raises(PolicyError, match="1 to 366"):
            show(world.store, "hq", days=367)
        with pytest.raises(UnknownTokenError):
            show(world.store, "nobody")
