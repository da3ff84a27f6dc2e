"""Each exchange has one line in the log of pyade, with request and response and without a secret."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import pytest

from pyade.business import BusinessClient
from pyade.core.fleet.outcomes import ActivityType
from pyade.testing import FakeApple, FakeBusiness, FrozenClock

if TYPE_CHECKING:
    from tests.apple.conftest import Driver, ScriptedApple


def test_a_line_of_the_log_names_the_request_and_its_response(
    client: Driver, apple: ScriptedApple, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pyade")
    apple.script = [httpx.Response(200, json={"profile_uuid": "P"})]
    client.profile("P")
    lines = [record.getMessage() for record in caplog.records if record.name == "pyade.apple.http.connection"]
    assert lines == [
        "open a session: GET https://mdmenrollment.apple.com/session: 200, 45 bytes",
        "read a profile: GET https://mdmenrollment.apple.com/profile: 200, 20 bytes",
    ]
    assert "top-secret" not in caplog.text


def test_a_presigned_address_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    clock = FrozenClock()
    apple = FakeApple(clock=clock)
    server = apple.add_server("hq")
    (serial,) = apple.add_devices(1)
    business = FakeBusiness(apple)
    caplog.set_level(logging.DEBUG, "pyade")
    with BusinessClient(
        business.add_account(), transport=business.transport(), clock=clock, sleep=clock.sleep
    ) as client:
        outcome = client.assign_devices(server.server_uuid, [serial])
    assert outcome.is_complete
    assert outcome.request.activity_type is ActivityType.ASSIGN_DEVICES
    downloads = [line for line in caplog.messages if line.startswith("download the log")]
    assert downloads
    (activity,) = business.activities
    for line in downloads:
        assert line.split(": ")[1].count("/") == 2, "scheme and host, and no path"
        assert "?" not in line
    assert str(activity) not in "".join(downloads)


def test_an_error_response_is_logged_and_a_lost_response_is_not(
    make_client: Callable[..., Driver], apple: ScriptedApple, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pyade.apple.http")
    apple.script = [httpx.Response(503), httpx.ReadError("reset"), httpx.Response(200, json={})]
    make_client().account()
    logged = [line.rpartition("/account")[2] for line in caplog.messages if "/account" in line]
    assert logged == [": 503, 0 bytes", ": 200, 2 bytes"]
