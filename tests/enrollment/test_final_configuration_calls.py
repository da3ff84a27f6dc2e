"""The effect of each method of both FinalConfiguration classes is in the store when it returns."""

from __future__ import annotations

import plistlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import anyio
import attrs
import pytest
from tests.enrollment.test_final_configuration import (
    BARE,
    NOW,
    RELEASE,
    SERIAL,
    check_in,
    give_profile,
    released_events,
    result,
)

from pyade.enrollment import AsyncFinalConfiguration, AwaitPhase, FinalConfiguration, read_message
from pyade.storage import MemoryStore
from pyade.testing import FrozenClock
from pyade.testing.store_examples import example_token

AWAITING, LEFT = AwaitPhase.AWAITING, AwaitPhase.NOT_AWAITING


@attrs.frozen
class Worker:
    """Calls the class of its kind; ``seen`` is the state that another worker reads from the store."""

    kind: str
    store: MemoryStore
    clock: FrozenClock

    def __call__(self, name: str, *arguments: Any, **keywords: Any) -> Any:
        if self.kind == "sync":
            final = FinalConfiguration(self.store, clock=self.clock)
            answer = getattr(final, name)(*arguments, **keywords)
            return list(answer) if isinstance(answer, Iterator) else answer

        async def main() -> Any:
            final = AsyncFinalConfiguration(self.store, clock=self.clock)
            answer = getattr(final, name)(*arguments, **keywords)
            return [mac async for mac in answer] if name == "waiting" else await answer

        return anyio.run(main, backend=self.kind)

    @property
    def seen(self) -> tuple[AwaitPhase, list[str]]:
        progress = FinalConfiguration(self.store, clock=self.clock).progress(SERIAL)
        return progress.phase, list(progress.outstanding)


@pytest.fixture(params=["sync", "asyncio", "trio"])
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    """Return a worker of each kind, and a Mac that waits for its Wi-Fi."""
    with MemoryStore() as store:
        store.add_token(example_token())
        give_profile(store, BARE)
        clock = FrozenClock(NOW)
        final = FinalConfiguration(store, clock=clock)
        final.token_updated(SERIAL, awaiting=True)
        final.work_left(SERIAL, ["Wi-Fi"])
        yield Worker(request.param, store, clock)


def test_authenticate_resets_the_state(worker: Worker) -> None:
    assert worker.seen == (AWAITING, ["Wi-Fi", RELEASE])
    worker("authenticated", SERIAL)
    assert worker.seen[0] is LEFT
    worker("token_updated", SERIAL, awaiting=True)
    assert worker.seen[0] is AWAITING
    assert "Wi-Fi" not in worker.seen[1]


def test_token_update_without_the_key_ends_the_wait(worker: Worker) -> None:
    worker("token_updated", SERIAL, awaiting=False)
    assert worker.seen[0] is not AWAITING
    worker("token_updated", SERIAL, awaiting=True)
    assert worker.seen[0] is AWAITING


def test_last_reported_work_counts(worker: Worker) -> None:
    worker("work_left", SERIAL, ["VPN", "Company Portal"])
    assert worker.seen == (AWAITING, ["VPN", "Company Portal", RELEASE])
    assert worker("next_command", SERIAL) is None
    worker("work_left", SERIAL, [])
    assert worker.seen == (AWAITING, [RELEASE])
    assert worker("next_command", SERIAL).name == RELEASE


def test_release_needs_no_work_and_its_answer_ends_the_wait(worker: Worker) -> None:
    worker("release", SERIAL)
    command = worker("next_command", SERIAL)
    assert command.name == RELEASE
    assert worker("next_command", SERIAL) is None, "it was noted as sent"
    worker("answered", SERIAL, "of another", "Acknowledged")
    assert worker.seen[0] is AWAITING
    worker.clock.advance(minutes=2)
    worker("answered", SERIAL, command.command_uuid, "Acknowledged")
    assert worker.seen[0] is AwaitPhase.RELEASED
    assert [event.at for event in released_events(worker.store)] == [NOW + timedelta(minutes=2)]


def test_progress_and_waiting_agree(worker: Worker) -> None:
    [mac] = worker("waiting")
    assert mac.enrollment == worker.store.enrollment(SERIAL)
    assert mac.progress == worker("progress", SERIAL)
    assert (mac.progress.phase, list(mac.progress.outstanding)) == worker.seen
    assert worker("waiting", due=True) == []
    worker("release", SERIAL)
    assert [mac.enrollment.serial_number for mac in worker("waiting", due=True)] == [SERIAL]
    worker("authenticated", SERIAL)
    assert worker("waiting") == []


RECEIVED: dict[str, tuple[bytes, AwaitPhase]] = {
    "Authenticate": (check_in("Authenticate", SerialNumber=SERIAL), LEFT),
    "CheckOut": (check_in("CheckOut"), LEFT),
    "TokenUpdate": (check_in("TokenUpdate"), LEFT),
    "TokenUpdate, awaiting": (check_in("TokenUpdate", AwaitingConfiguration=True), AWAITING),
    "TokenUpdate of a user": (check_in("TokenUpdate", UserID="U1"), AWAITING),
    "another check-in": (check_in("SetBootstrapToken"), AWAITING),
    "a poll": (result("Idle"), AWAITING),
    "the result of another command": (result("Acknowledged", "of another"), AWAITING),
}


@pytest.mark.parametrize("message", RECEIVED)
def test_received_message_is_read_and_stored(worker: Worker, message: str) -> None:
    body, phase = RECEIVED[message]
    read = worker("received", SERIAL, body)
    assert read.message_type == plistlib.loads(body).get("MessageType", "")
    assert worker.seen[0] is phase


def test_received_result_of_the_release_ends_the_wait(worker: Worker) -> None:
    worker("release", SERIAL)
    command = worker("next_command", SERIAL)
    worker("received", SERIAL, result("Acknowledged", command.command_uuid))
    assert worker.seen[0] is AwaitPhase.RELEASED


def test_message_contains_only_the_macs_values() -> None:
    nothing = dict.fromkeys(("message_type", "status", "command_uuid", "udid", "serial_number"), "")
    silent = {**nothing, "awaiting": False, "is_user_channel": False, "is_too_large": False}
    checked_in = plistlib.dumps({"MessageType": "CheckOut"})
    assert attrs.asdict(read_message(checked_in)) == {**silent, "message_type": "CheckOut"}
    idle = plistlib.dumps({"Status": "Idle"})
    assert attrs.asdict(read_message(idle)) == {**silent, "status": "Idle"}
