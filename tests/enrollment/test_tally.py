"""Refusals are counted: invalid requests write a few rows and log lines a minute."""

from __future__ import annotations

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.enrollment.conftest import HOST, LEGACY, Organization

from pyade.core.fleet.events import Event
from pyade.enrollment import EnrollmentApp, EnrollmentDecision, EnrollmentOutcome, EnrollmentService
from pyade.enrollment.tally import RECORDS, WINDOW, RefusalTally
from pyade.errors import StoreError
from pyade.testing import DeviceAuthority
from pyade.testing.store_examples import NOW


def counted(organization: Organization) -> list[Event]:
    return [event for event in organization.store.events() if event.kind == "requests_refused"]


def counts(event: Event) -> dict[str, int]:
    return {one["reason"]: one["count"] for one in event.details["refused"]}


def calls(organization: Organization, *asked: tuple[str, dict[str, Any]], **options: Any) -> list[int]:
    """Let one worker respond, and return the status of each response."""
    statuses: list[int] = []

    async def later(service: Any) -> None:
        for name, arguments in asked:
            answer = await getattr(service, name)(**arguments)
            statuses.append(getattr(answer, "status", 0))

    def now(service: Any) -> Any:
        if organization.kind != "sync":
            return later(service)
        for name, arguments in asked:
            statuses.append(getattr(getattr(service, name)(**arguments), "status", 0))
        return None

    organization.run(now, **options)
    return statuses


def test_invalid_requests_write_a_few_rows_a_minute(
    organization: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    garbage = [("enroll", {"body": b"0\x80" + number.to_bytes(2, "big")}) for number in range(300)]
    header = [("open_web_view", {"header": "garbage", "host": HOST})] * 300
    with caplog.at_level(logging.INFO, logger="pyade.enrollment"):
        statuses = calls(organization, *garbage, *header, ("record_refusals", {}), ("record_refusals", {}))
    assert statuses == [400] * 600 + [0, 0]
    assert 1 < len(organization.events()) <= RECORDS
    [event] = counted(organization)
    assert sum(counts(event).values()) + len(organization.events()) == 600
    assert event.details["since"] == NOW.isoformat()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == len(organization.events()) + 1
    assert f"{600 - len(organization.events())} more requests got no profile since" in lines[-1]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_values_of_unknown_senders_are_replaced_in_reasons(organization: Organization) -> None:
    """Different object identifiers and serial numbers still give few reasons."""
    identity = DeviceAuthority.generate().issue()
    message = identity.sign(organization.machine())
    kind = bytes.fromhex("2a864886f70d010702")
    others = [message.replace(kind, kind[:-1] + bytes([number])) for number in range(3, 103)]
    unknown = [organization.signed(SERIAL=f"C02STRANGE{number:03}") for number in range(100)]
    asked = [("enroll", {"body": body}) for body in [*others, *unknown]]
    calls(organization, *asked, ("record_refusals", {}))
    assert len(organization.events()) == RECORDS
    [event] = counted(organization)
    assert sum(counts(event).values()) == 180
    assert len(counts(event)) == 2
    [named] = [one for one in event.details["refused"] if "serial" in one["reason"]]
    assert named["reason"] == "no stored token has this serial number"
    assert named["serials"] == [f"C02STRANGE{number:03}" for number in range(19, 29)]


def refusal(reason: str = "x", serial_number: str = "") -> EnrollmentDecision:
    return EnrollmentDecision(
        at=NOW, outcome=EnrollmentOutcome.REFUSE, reason=reason, serial_number=serial_number
    )


def test_minute_is_written_once_after_its_end() -> None:
    tally = RefusalTally()
    assert [tally.is_recorded(refusal(), is_known=False) for _ in range(3)] == [True, False, False]
    assert tally.take(NOW + WINDOW - timedelta(seconds=1)) is None
    taken = tally.take(NOW + WINDOW)
    assert taken is not None
    assert taken.counts == {"x": 2}
    assert tally.take(NOW + 2 * WINDOW) is None


@pytest.mark.parametrize("kind", ["sync"])
def test_next_request_of_any_kind_writes_the_counts(
    kind: str, authority: DeviceAuthority, mac: Any, signer: Any
) -> None:
    organization = Organization(kind=kind, authority=authority, mac=mac, signer=signer)
    service = organization.service()
    for way in ("enroll", "open_web_view", "close_web_view"):
        before = len(counted(organization))
        for _ in range(5):
            service.enroll(b"garbage")
        assert len(counted(organization)) == before
        organization.later(seconds=60)
        match way:
            case "enroll":
                assert service.enroll(organization.signed()).status == 200
            case "open_web_view":
                assert service.open_web_view("garbage", host=HOST).status == 400
            case "close_web_view":
                service.sign_in_failed("the user went away")
        assert [counts(event) for event in counted(organization)[before:]] == [
            {"the signed message cannot be read (TruncatedError)": 4}
        ]
        service.record_refusals()
        organization.later(seconds=60)


def test_known_mac_gets_a_record_each_time_up_to_a_limit(organization: Organization) -> None:
    organization.store.set_default_profile("hq", LEGACY)
    wrong = ("enroll", {"body": organization.signed(), "authorization": "Basic YWRhOndyb25n"})
    statuses = calls(
        organization, *[wrong] * 30, ("record_refusals", {}), authenticate=lambda name, password: None
    )
    assert statuses == [401] * 30 + [0]
    assert [event.serial_number for event in organization.events()] == ["C02TEST00001"] * RECORDS
    [event] = counted(organization)
    assert event.details["refused"] == [
        {"reason": "name or password is wrong", "count": 10, "serials": ["C02TEST00001"]}
    ]


def test_invalid_requests_suppress_no_record_of_a_known_mac(organization: Organization) -> None:
    garbage = [("enroll", {"body": b"0\x82" + bytes([number, 0])}) for number in range(100)]
    calls(
        organization, *garbage, ("enroll", {"body": organization.signed()}), check=lambda request: "not today"
    )
    assert organization.events()[-1].serial_number == "C02TEST00001"
    assert "not today" in organization.events()[-1].details["reason"]


def test_each_worker_counts_separately(organization: Organization) -> None:
    for _ in range(2):
        calls(organization, *[("enroll", {"body": b"garbage"})] * 5, ("record_refusals", {}))
    assert [sum(counts(event).values()) for event in counted(organization)] == [4, 4]
    assert len(organization.events()) == 2


def test_clock_that_was_set_back_begins_a_new_minute() -> None:
    tally = RefusalTally()
    assert [tally.is_recorded(refusal(), is_known=False) for _ in range(2)] == [True, False]
    assert tally.take(NOW - timedelta(seconds=1)) is not None


def test_counts_are_bounded() -> None:
    """With reasons of a hook, which may be any long and different texts."""
    tally = RefusalTally()
    for number in range(1_000):
        reason = f"{chr(97 + number % 26)}{chr(97 + number // 26)} " + "x" * 5_000
        decision = EnrollmentDecision(
            at=NOW, outcome=EnrollmentOutcome.REFUSE, reason=reason, serial_number=f"S{number}"
        )
        tally.is_recorded(decision, is_known=False)
    taken = tally.take(NOW, force=True)
    assert taken is not None
    assert len(taken.counts) == 101
    assert taken.counts["other reasons"] == 1_000 - RECORDS - 100
    assert max(map(len, taken.counts)) <= 200
    assert max(map(len, taken.serials.values())) == 10


def test_threads_lose_no_counts(authority: DeviceAuthority, mac: Any, signer: Any) -> None:
    organization = Organization(kind="sync", authority=authority, mac=mac, signer=signer)
    service: EnrollmentService = organization.service()
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(lambda _: service.enroll(b"garbage").status, range(400)))
    service.record_refusals()
    assert statuses == {400: 400}
    assert [
        len(organization.events()),
        *map(sum, (counts(event).values() for event in counted(organization))),
    ] == [1, 399]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_stopping_server_writes_its_counts(
    backend: str,
    authority: DeviceAuthority,
    mac: Any,
    signer: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    organization = Organization(kind=backend, authority=authority, mac=mac, signer=signer)
    messages = ["lifespan.startup", "lifespan.shutdown"]
    sent: list[str] = []

    async def main() -> None:
        service = organization.service(sign_in=None)
        app = EnrollmentApp(service)
        for _ in range(4):
            await service.enroll(b"garbage")

        async def receive() -> Any:
            return {"type": messages.pop(0)}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await app({"type": "lifespan"}, receive, send)
        for _ in range(2):
            await service.enroll(b"garbage")
        organization.store.close()
        messages.extend(["lifespan.startup", "lifespan.shutdown"])
        with pytest.raises(StoreError):
            await service.record_refusals()
        for _ in range(2):
            service._settings.tally.is_recorded(refusal(), is_known=False)
        await app({"type": "lifespan"}, receive, send)

    events: list[Event] = []
    close = organization.store.close

    def keep() -> None:
        events.extend(counted(organization))
        close()

    organization.store.close = keep  # type: ignore[method-assign]
    anyio.run(main, backend=backend)
    assert [sum(counts(event).values()) for event in events] == [3]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"] * 2
    assert "counted refusals cannot be stored" in caplog.text


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_mounted_application_writes_its_counts_with_those_it_is_mounted_in(
    backend: str, authority: DeviceAuthority, mac: Any, signer: Any
) -> None:
    organization = Organization(kind=backend, authority=authority, mac=mac, signer=signer)
    sent: list[str] = []

    async def main() -> None:
        service = organization.service(sign_in=None)
        app = EnrollmentApp(service)
        outer = Starlette(routes=[Mount("/ade", app=app)], lifespan=app.lifespan)
        kinds = ["startup", "shutdown"]

        async def receive() -> Any:
            if len(kinds) == 1:
                for _ in range(4):
                    await service.enroll(b"garbage")
            return {"type": f"lifespan.{kinds.pop(0)}"}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await outer({"type": "lifespan"}, receive, send)

    anyio.run(main, backend=backend)
    assert [sum(counts(event).values()) for event in counted(organization)] == [3]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
