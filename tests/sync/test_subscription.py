"""A subscriber gets every committed event, in order, at least once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from pyade.core.fleet.events import Event, EventKind
from pyade.sync.subscription import Subscription


class Outbox:
    """Events and positions, as in a store."""

    def __init__(self, count: int = 0) -> None:
        self.kept: list[Event] = []
        self.positions: dict[str, str] = {}
        self.saves = 0
        self.add(count)

    def add(self, count: int) -> None:
        for _ in range(count):
            number = len(self.kept)
            self.kept.append(
                Event(
                    id=f"1.{number}",
                    kind=EventKind.ADDED,
                    token_name="hq",
                    serial_number=f"S{number}",
                    at=datetime(2026, 3, 1, tzinfo=UTC),
                )
            )

    def events(
        self, after: str | None = None, *, limit: int = 1000, damaged: object = None
    ) -> Sequence[Event]:
        start = 0 if after is None else int(after.split(".")[1]) + 1
        return self.kept[start : start + limit]

    def position(self, subscriber: str) -> str | None:
        return self.positions.get(subscriber)

    def save_position(self, subscriber: str, after: str) -> None:
        self.positions[subscriber] = after
        self.saves += 1


class Crash(BaseException):
    """The process dies."""


def test_each_event_is_delivered_once_in_order_over_several_deliveries() -> None:
    outbox, seen = Outbox(250), list[Event]()
    subscription = Subscription(outbox, "audit", seen.append)
    assert subscription.deliver() == 250
    outbox.add(7)
    assert subscription.deliver() == 7
    assert subscription.deliver() == 0
    assert seen == outbox.kept


def test_subscribers_do_not_share_their_position() -> None:
    outbox, one, other = Outbox(3), list[Event](), list[Event]()
    Subscription(outbox, "one", one.append).deliver()
    Subscription(outbox, "other", other.append).deliver()
    assert one == other == outbox.kept


def test_event_whose_handler_failed_is_delivered_again_first() -> None:
    outbox, seen = Outbox(150), list[str]()

    def handle(event: Event) -> None:
        if event.serial_number == "S120" and len(seen) == 120:
            seen.append("failed")
            raise LookupError("no")
        seen.append(event.id)

    with pytest.raises(LookupError):
        Subscription(outbox, "audit", handle).deliver()
    assert Subscription(outbox, "audit", handle).deliver() == 30
    seen.remove("failed")
    assert seen == [event.id for event in outbox.kept]


def test_failure_of_the_first_event_keeps_the_position() -> None:
    outbox = Outbox(1)

    def fail(event: Event) -> None:
        raise LookupError(event.id)

    with pytest.raises(LookupError):
        Subscription(outbox, "audit", fail).deliver()
    assert outbox.positions == {"audit": ""}


def test_crash_before_the_position_is_saved_loses_no_event() -> None:
    class CrashingOutbox(Outbox):
        def save_position(self, subscriber: str, after: str) -> None:
            if self.saves == 2:
                self.saves += 1
                raise Crash
            super().save_position(subscriber, after)

    outbox, seen = CrashingOutbox(250), list[Event]()
    with pytest.raises(Crash):
        Subscription(outbox, "audit", seen.append).deliver()
    Subscription(outbox, "audit", seen.append).deliver()
    assert list(dict.fromkeys(event.id for event in seen)) == [event.id for event in outbox.kept]
    assert len(seen) <= 250 + 100


def test_subscription_shows_its_name() -> None:
    assert repr(Subscription(Outbox(), "audit", print)) == "Subscription('audit')"
