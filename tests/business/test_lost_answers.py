"""A POST is never repeated blindly: after 5xx and lost responses the devices are read first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.business.conftest import NOW, START

from pyade import errors
from pyade.core.fleet.outcomes import OperationStatus
from pyade.testing import FakeApple, FakeBusiness, Fault, FrozenClock, Server

if TYPE_CHECKING:
    from tests.apple.conftest import Driver

LOST = [
    pytest.param(lambda effect: Fault.server_error(503, retry_after=1, effect=effect), id="503"),
    pytest.param(lambda effect: Fault.html(502, effect=effect), id="502"),
    pytest.param(lambda effect: Fault.dropped(effect=effect), id="dropped"),
    pytest.param(lambda effect: Fault(response=Fault.empty(201).response, effect=effect), id="empty 201"),
]
MakeFault = Callable[[bool], Fault]


@pytest.mark.parametrize("lost", LOST)
def test_what_had_its_effect_is_not_sent_again(
    client: Driver, apple: FakeApple, server: Server, business: FakeBusiness, lost: MakeFault
) -> None:
    serials = apple.add_devices(2)
    business.settings.assigned_server_lag_seconds = 15
    business.script(START, lost(True))
    outcome = client.assign_devices(server.server_uuid, serials)
    assert outcome.is_complete
    assert business.counts[START] == 1


@pytest.mark.parametrize("lost", LOST)
def test_what_had_none_is_sent_once_more_after_a_minute_of_looking(
    client: Driver,
    apple: FakeApple,
    server: Server,
    business: FakeBusiness,
    clock: FrozenClock,
    lost: MakeFault,
) -> None:
    serials = apple.add_devices(2)
    business.script(START, lost(False))
    assert client.assign_devices(server.server_uuid, serials).is_complete
    sent = [record.at for record in business.requests if record.endpoint == START]
    assert len(sent) == 2
    assert (sent[1] - sent[0]).total_seconds() >= 60


def test_only_what_shows_no_change_is_sent_again(
    client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
) -> None:
    done, open_ = apple.add_devices(2)
    business.device_issue([open_])
    business.script(START, Fault.dropped(effect=True))
    assert client.assign_devices(server.server_uuid, [done, open_]).is_complete
    assert [[row.serial for row in activity.rows] for activity in business.activities] == [
        [done, open_],
        [open_],
    ]


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("effect", [True, False])
def test_a_release_is_never_sent_twice(
    client: Driver, apple: FakeApple, business: FakeBusiness, lost: MakeFault, effect: bool
) -> None:
    (serial,) = apple.add_devices(1)
    business.script(START, lost(effect))
    if effect:
        assert client.release_devices([serial], confirm=True).is_complete
    else:
        with pytest.raises(errors.ActivityError) as caught:
            client.release_devices([serial], confirm=True)
        assert caught.value.outcome.serials(OperationStatus.LOST) == (serial,)
        assert serial in apple.devices
    assert business.counts[START] == 1


@pytest.mark.parametrize("effect", [True, False])
@pytest.mark.parametrize("kind", ["unassign", "migrate", "update", "cancel"])
def test_the_other_kinds_are_looked_at_too(
    client: Driver, apple: FakeApple, server: Server, business: FakeBusiness, kind: str, effect: bool
) -> None:
    other = apple.add_server("other")
    (serial,) = apple.add_devices(1, server=server)
    client.migrate_devices(other.server_uuid, [serial], NOW)
    business.clear_requests()
    business.script(START, Fault.dropped(effect=effect))
    calls: dict[str, Callable[[], Any]] = {
        "unassign": lambda: client.unassign_devices(other.server_uuid, [serial]),
        "migrate": lambda: client.migrate_devices(server.server_uuid, [serial], NOW),
        "update": lambda: client.update_migration_deadline([serial], NOW.replace(day=20)),
        "cancel": lambda: client.cancel_migration([serial]),
    }
    assert calls[kind]().is_complete
    assert business.counts[START] == (1 if effect else 2)


def test_a_second_loss_is_an_error_that_can_be_resumed(
    client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
) -> None:
    (serial,) = apple.add_devices(1)
    business.settings.assigned_server_lag_seconds = 90
    business.script(START, Fault.dropped(effect=False), Fault.server_error(500, effect=True))
    with pytest.raises(errors.ActivityError) as caught:
        client.assign_devices(server.server_uuid, [serial])
    assert isinstance(caught.value.__cause__, errors.ServerError)
    assert caught.value.outcome.serials(OperationStatus.LOST) == (serial,)
    with pytest.raises(errors.ActivityError, match="do not show the change"):
        client.resume_activity(caught.value.outcome, deadline_s=10)
    assert client.resume_activity(caught.value.outcome, deadline_s=200).is_complete
    assert business.counts[START] == 2


def test_looking_that_fails_hides_nothing(
    client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
) -> None:
    (serial,) = apple.add_devices(1)
    look = f"GET /v1/orgDevices/{serial}/relationships/assignedServer"
    business.script(START, Fault.dropped(effect=True))
    business.script(look, Fault.server_error(500), forever=True)
    with pytest.raises(errors.ActivityError) as caught:
        client.assign_devices(server.server_uuid, [serial])
    assert isinstance(caught.value.__cause__, errors.TransportError)
    business.script(look)
    assert client.resume_activity(caught.value.outcome).is_complete
    assert business.counts[START] == 1


def test_what_never_reached_apple_is_sent_again_at_once(
    client: Driver, apple: FakeApple, server: Server, business: FakeBusiness, clock: FrozenClock
) -> None:
    (serial,) = apple.add_devices(1)
    business.script(START, Fault.unreachable(), Fault.rate_limited(4))
    assert client.assign_devices(server.server_uuid, [serial]).is_complete
    assert clock.sleeps[:2] == [0.5, 4.0]
    assert business.counts[START] == 2


def test_429_waits_as_long_as_apple_asks_in_any_form(
    client: Driver, apple: FakeApple, business: FakeBusiness, clock: FrozenClock
) -> None:
    business.script(
        "GET /v1/orgDevices",
        Fault.rate_limited(30),
        Fault.rate_limited(NOW.replace(minute=1)),
        Fault.rate_limited(),
    )
    assert client.iter_devices() == []
    assert clock.sleeps == [30.0, 30.0, 2.0]


def test_a_wait_beyond_the_deadline_is_not_begun(client: Driver, business: FakeBusiness) -> None:
    business.script("GET /v1/orgDevices", Fault.rate_limited(3600), forever=True)
    with pytest.raises(errors.RateLimitError) as caught:
        client.iter_devices()
    assert caught.value.retry_after_s == 3600
    assert business.counts["GET /v1/orgDevices"] == 1
