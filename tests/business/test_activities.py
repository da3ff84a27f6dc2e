"""All six activities: an outcome for every device, whatever Apple calls completed."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.business.conftest import NOW, START

from pyade import errors
from pyade.business import MigrationStatus
from pyade.core.fleet.outcomes import ActivityOutcome, OperationStatus
from pyade.testing import FakeApple, FakeBusiness, Fault, FrozenClock, Server

if TYPE_CHECKING:
    from tests.apple.conftest import Driver

SUCCESS, ISSUE, UNCHANGED = OperationStatus.SUCCESS, OperationStatus.ISSUE, OperationStatus.UNCHANGED


def statuses(outcome: ActivityOutcome) -> list[str]:
    return [str(device.status) for device in outcome.devices.values()]


class TestKinds:
    def test_assign(self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness) -> None:
        serials = apple.add_devices(3)
        outcome = client.assign_devices(server.server_uuid, serials)
        assert outcome.is_complete
        assert outcome.succeeded == serials
        assert tuple(outcome.devices) == serials
        assert outcome.activity_ids == (business.activities[0].id,)
        assert set(server.devices) == set(serials)
        assert outcome.summary() == "3 SUCCESS"

    def test_unassign(self, client: Driver, apple: FakeApple, server: Server) -> None:
        serials = apple.add_devices(2, server=server)
        assert client.unassign_devices(server.server_uuid, serials).is_complete
        assert not server.devices
        assert client.unassign_devices(server.server_uuid, serials).serials(UNCHANGED) == serials

    @pytest.mark.twins
    def test_migrate_change_the_deadline_and_cancel(
        self, client: Driver, apple: FakeApple, server: Server
    ) -> None:
        (serial,) = apple.add_devices(1, server=apple.add_server("old"))
        deadline = NOW + timedelta(days=90)
        assert client.migrate_devices(server.server_uuid, [serial], deadline).is_complete
        device = client.device(serial)
        assert device.mdm_migration_status == MigrationStatus.REQUESTED
        assert device.mdm_migration_deadline_date_time == deadline
        assert apple.device(serial)["mdm_migration_deadline"] == "2026-11-30T12:00:00Z"
        earlier = datetime(2026, 9, 5, 8, tzinfo=UTC)
        assert client.update_migration_deadline([serial], earlier).is_complete
        assert client.device(serial).mdm_migration_deadline_date_time == earlier
        assert client.cancel_migration([serial]).is_complete
        assert client.device(serial).mdm_migration_status is None
        assert client.cancel_migration([serial]).serials(UNCHANGED) == (serial,)
        outcome = client.update_migration_deadline([serial], earlier)
        assert outcome.devices[serial].status == ISSUE
        assert outcome.devices[serial].sub_status == "INVALID_INPUT"

    @pytest.mark.twins
    def test_release(self, client: Driver, apple: FakeApple, server: Server) -> None:
        taken, free = apple.add_devices(1, server=server)[0], apple.add_devices(1)[0]
        outcome = client.release_devices([taken, free], confirm=True)
        assert outcome.is_complete
        assert client.device(taken).released_from_org_date_time is not None
        assert client.iter_devices() == []
        assert server.operations[-1].op_type == "deleted"

    @pytest.mark.parametrize("confirm", [False, None, 1, "yes"])
    def test_nothing_is_released_unless_it_is_confirmed(
        self, client: Driver, apple: FakeApple, business: FakeBusiness, confirm: Any
    ) -> None:
        (serial,) = apple.add_devices(1)
        with pytest.raises(errors.InvalidRequestError, match="pass confirm=True"):
            client.release_devices([serial], confirm=confirm)
        assert not business.requests

    def test_the_body_is_what_apple_documents(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        (serial,) = apple.add_devices(1)
        deadline = datetime(2026, 9, 30, 10, tzinfo=UTC)
        client.migrate_devices(server.server_uuid, [serial], deadline)
        (body,) = (record.body for record in business.requests if record.endpoint == START)
        assert body == {
            "data": {
                "type": "orgDeviceActivities",
                "attributes": {
                    "activityType": "ASSIGN_DEVICES_WITH_MDM_MIGRATION_DEADLINE",
                    "activityTypeMetadata": {"mdmMigrationDeadlineDateTime": "2026-09-30T10:00:00Z"},
                },
                "relationships": {
                    "devices": {"data": [{"type": "orgDevices", "id": serial}]},
                    "mdmServer": {"data": {"type": "mdmServers", "id": server.server_uuid}},
                },
            }
        }


class TestBeforeSending:
    @pytest.mark.parametrize(
        ("deadline", "says"),
        [
            (NOW + timedelta(days=90, seconds=1), "at most 90 days ahead"),
            (NOW.replace(tzinfo=None), "time zone is needed"),
        ],
    )
    def test_a_deadline_that_apple_refuses_is_not_sent(
        self, client: Driver, business: FakeBusiness, server: Server, deadline: datetime, says: str
    ) -> None:
        with pytest.raises(errors.InvalidRequestError, match=says):
            client.migrate_devices(server.server_uuid, ["C1"], deadline)
        assert not business.requests

    def test_one_text_is_no_list_and_no_devices_are_no_request(
        self, client: Driver, business: FakeBusiness, server: Server
    ) -> None:
        with pytest.raises(errors.InvalidRequestError, match="a list of serial numbers"):
            client.assign_devices(server.server_uuid, "C1")
        with pytest.raises(errors.InvalidRequestError, match="service_id ''"):
            client.assign_devices("", ["C1"])
        outcome = client.assign_devices(server.server_uuid, [])
        assert outcome.is_complete
        assert outcome.summary() == "no devices"
        assert not business.requests

    def test_a_serial_that_is_named_twice_is_sent_once(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        (serial,) = apple.add_devices(1)
        assert client.assign_devices(server.server_uuid, [serial, serial]).is_complete
        assert len(business.activities[0].rows) == 1


class TestPartialFailure:
    def test_each_device_has_its_own_outcome(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        good, bad, odd = apple.add_devices(3)
        (there,) = apple.add_devices(1, server=server)
        business.device_issue([bad])
        business.device_issue([odd], "NEW_WORD")
        outcome = client.assign_devices(server.server_uuid, [good, bad, odd, there])
        assert statuses(outcome) == ["SUCCESS", "ISSUE", "ISSUE", "unchanged"]
        assert {serial: device.sub_status for serial, device in outcome.failed.items()} == {
            bad: "INVALID_INPUT",
            odd: "NEW_WORD",
        }
        assert outcome.succeeded == (good, there)
        assert not outcome.is_complete
        assert "1 ISSUE (NEW_WORD)" in outcome.summary()
        assert client.assign_devices(server.server_uuid, [bad, odd]).is_complete

    def test_completed_is_not_success_where_a_serial_is_silently_ignored(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        (serial,) = apple.add_devices(1)
        business.settings.unknown_serials = "silent"
        outcome = client.assign_devices(server.server_uuid, [serial, "NOSUCH"])
        assert business.activities[0].rows[0].serial == serial
        assert statuses(outcome) == ["SUCCESS", "missing"]

    def test_or_in_the_log(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        business.settings.unknown_serials = "logged"
        outcome = client.assign_devices(server.server_uuid, ["NOSUCH"])
        assert outcome.devices["NOSUCH"].sub_status == "INVALID_INPUT"

    def test_or_refused_with_its_place_and_nothing_done(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        (serial,) = apple.add_devices(1)
        with pytest.raises(errors.ConflictError) as caught:
            client.assign_devices(server.server_uuid, [serial, "NOSUCH"])
        assert caught.value.errors[0].pointer == "/data/relationships/devices/data/1/id"
        assert not server.devices
        with pytest.raises(errors.ConflictError, match="no such service"):
            client.assign_devices("ABCD", [serial])

    def test_the_log_wins_over_the_sub_status(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness, clock: FrozenClock
    ) -> None:
        (serial,) = apple.add_devices(1)
        business.device_issue([serial])

        def lie(seconds: float) -> None:
            clock.sleep(seconds)
            business.activities[0].sub_status = "COMPLETED_WITH_SUCCESS"

        make = client.client
        if client.backend == "sync":
            make._sleep = lie
        else:

            async def lie_async(seconds: float) -> None:
                lie(seconds)

            make._sleep = lie_async
        assert client.assign_devices(server.server_uuid, [serial]).devices[serial].status == ISSUE


class TestWithoutLog:
    def test_the_devices_decide(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        good, bad = apple.add_devices(2)
        business.device_issue([bad])
        business.settings.writes_log = False
        outcome = client.assign_devices(server.server_uuid, [good, bad])
        assert statuses(outcome) == ["SUCCESS", "unknown"]

    def test_many_devices_are_looked_up_in_the_list_of_the_service(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        serials = apple.add_devices(30)
        business.device_issue(serials[:1])
        business.settings.writes_log = False
        outcome = client.assign_devices(server.server_uuid, serials)
        assert statuses(outcome) == ["unknown", *["SUCCESS"] * 29]
        assert business.counts[f"GET /v1/mdmServers/{server.server_uuid}/relationships/devices"]

    def test_a_change_that_shows_late_is_waited_for(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        (serial,) = apple.add_devices(1)
        business.settings.writes_log = False
        business.settings.assigned_server_lag_seconds = 40
        assert client.assign_devices(server.server_uuid, [serial]).is_complete

    def test_a_log_that_comes_late_is_waited_for(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        serials = apple.add_devices(2)
        business.device_issue(serials[:1])
        business.settings.log_lag_seconds = 10
        assert statuses(client.assign_devices(server.server_uuid, serials)) == ["ISSUE", "SUCCESS"]

    def test_an_address_that_expired_is_asked_for_again(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        (serial,) = apple.add_devices(1)
        business.device_issue([serial])
        business.settings.activity_seconds = 0
        business.script("*", None, None, Fault.answered(403, body=b"<Error>AccessDenied</Error>"))
        assert client.assign_devices(server.server_uuid, [serial]).devices[serial].status == ISSUE

    def test_looking_that_fails_leaves_it_unknown_or_an_issue(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        (serial,) = apple.add_devices(1)
        look = f"GET /v1/orgDevices/{serial}/relationships/assignedServer"
        business.script(look, Fault.refused("FORBIDDEN_ERROR", 403), forever=True)
        business.device_issue([serial])
        assert statuses(client.assign_devices(server.server_uuid, [serial])) == ["ISSUE"]
        business.settings.writes_log = False
        outcome = client.assign_devices(server.server_uuid, [serial])
        assert statuses(outcome) == ["unknown"]
        assert outcome.activity_ids == (business.activities[1].id,)

    def test_an_activity_that_cannot_be_read_again_has_no_log(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        (serial,) = apple.add_devices(1)
        business.settings.activity_seconds = 0
        business.settings.log_lag_seconds = 20
        business.script("*", None, None, Fault.refused("NOT_FOUND", 404))
        assert client.assign_devices(server.server_uuid, [serial]).is_complete

    @pytest.mark.parametrize("body", [b"<html>sign in</html>", b"", b"\0" * 50, b"serial_number\nC1\n"])
    def test_a_file_that_is_no_log_is_not_believed(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness, body: bytes
    ) -> None:
        (serial,) = apple.add_devices(1)
        business.settings.activity_seconds = 0
        business.script("*", None, None, Fault.answered(200, body=body))
        assert client.assign_devices(server.server_uuid, [serial]).is_complete
        assert business.counts[f"GET /v1/orgDevices/{serial}/relationships/assignedServer"] == 1

    @pytest.mark.parametrize("status", ["FAILED", "STOPPED", "VANISHED"])
    def test_an_end_that_is_no_completion_is_an_end(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness, status: str
    ) -> None:
        (serial,) = apple.add_devices(1)
        body = {"data": {"id": "a", "attributes": {"status": status, "subStatus": "NEW"}}}
        business.script(START, Fault.answered(201, json=body))
        outcome = client.assign_devices(server.server_uuid, [serial])
        assert statuses(outcome) == ["unknown"]
        assert outcome.activity_ids == ("a",)

    @pytest.mark.twins
    def test_the_log_of_an_activity_can_be_read_by_itself(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        (serial,) = apple.add_devices(1)
        outcome = client.assign_devices(server.server_uuid, [serial])
        activity = client.activity(outcome.activity_ids[0])
        assert activity.completed_date_time == NOW + timedelta(seconds=12)
        assert client.activity_log(activity) == outcome.devices
        assert "logs" not in repr(activity)
        business.settings.writes_log = False
        assert client.activity_log(client.activity(activity.id)) == {}


class TestDownload:
    def test_no_access_token_goes_to_the_host_of_the_log(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        client.assign_devices(server.server_uuid, apple.add_devices(1))
        (log,) = (record for record in business.requests if record.path.startswith("/logs/"))
        assert log.headers["host"] == "activity-logs.example"
        assert "authorization" not in log.headers
        assert log.status == 200
        assert log.query["response-content-disposition"].startswith("attachment;filename=")

    @pytest.mark.parametrize(
        "address", ["http://activity-logs.example/x", "file:///etc/passwd", "https://", "https://a\0b", "x"]
    )
    def test_an_address_that_is_not_https_is_not_asked(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness, address: str
    ) -> None:
        (serial,) = apple.add_devices(1, server=server)
        attributes = {"status": "COMPLETED", "subStatus": "COMPLETED_WITH_SUCCESS", "downloadUrl": address}
        body = {"data": {"id": "a", "attributes": attributes}}
        business.script(START, Fault.answered(201, json=body))
        business.script("GET /v1/orgDeviceActivities/a", Fault.answered(json=body), forever=True)
        assert client.assign_devices(server.server_uuid, [serial]).is_complete
        assert {record.headers["host"] for record in business.requests} == {
            "account.apple.com",
            "api-business.apple.com",
        }


class TestDeadline:
    def test_what_had_not_ended_can_be_resumed(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        serials = apple.add_devices(2)
        business.settings.activity_seconds = 300
        with pytest.raises(errors.ActivityError, match="the deadline passed") as caught:
            client.assign_devices(server.server_uuid, serials, deadline_s=60)
        error = pickle.loads(pickle.dumps(caught.value))
        assert statuses(error.outcome) == ["pending"] * 2
        assert str(error) == str(caught.value)
        assert "2 pending" in str(error)
        with pytest.raises(errors.ActivityError):
            client.resume_activity(error.outcome, deadline_s=10)
        assert client.resume_activity(error.outcome).is_complete
        assert business.counts[START] == 1

    def test_polls_become_rarer(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness, clock: FrozenClock
    ) -> None:
        business.settings.activity_seconds = 400
        assert client.assign_devices(server.server_uuid, apple.add_devices(1)).is_complete
        assert clock.sleeps[0] == 5.0
        assert max(clock.sleeps) == 30.0
        assert len(clock.sleeps) < 30

    def test_a_poll_that_fails_loses_nothing(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness
    ) -> None:
        (serial,) = apple.add_devices(1)
        business.script("*", None, None, *[Fault.server_error(500)] * 4)
        with pytest.raises(errors.ActivityError) as caught:
            client.assign_devices(server.server_uuid, [serial])
        assert isinstance(caught.value.__cause__, errors.ServerError)
        assert caught.value.outcome.activity_ids == (business.activities[0].id,)
        assert client.resume_activity(caught.value.outcome).is_complete

    def test_an_activity_that_apple_forgot_cannot_be_resumed(
        self, client: Driver, apple: FakeApple, server: Server, business: FakeBusiness, clock: FrozenClock
    ) -> None:
        business.settings.activity_seconds = 300
        with pytest.raises(errors.ActivityError) as caught:
            client.assign_devices(server.server_uuid, apple.add_devices(1), deadline_s=10)
        clock.advance(days=31)
        with pytest.raises(errors.ActivityError, match="NOT_FOUND") as again:
            client.resume_activity(caught.value.outcome)
        assert again.value.outcome == caught.value.outcome


class TestParts:
    @pytest.fixture
    def serials(self, apple: FakeApple) -> tuple[str, ...]:
        return apple.add_devices(2100)

    @pytest.fixture
    def backend(self) -> str:
        return "sync"

    def test_a_thousand_at_a_time(
        self, client: Driver, serials: tuple[str, ...], server: Server, business: FakeBusiness
    ) -> None:
        assert client.assign_devices(server.server_uuid, serials).is_complete
        assert [len(activity.rows) for activity in business.activities] == [1000, 1000, 100]

    def test_a_later_part_that_is_refused_keeps_what_is_known(
        self, client: Driver, serials: tuple[str, ...], server: Server, business: FakeBusiness
    ) -> None:
        business.script(START, None, Fault.refused("FORBIDDEN_ERROR", 403))
        with pytest.raises(errors.ActivityError) as caught:
            client.assign_devices(server.server_uuid, serials)
        assert isinstance(caught.value.__cause__, errors.AccessDeniedError)
        outcome = caught.value.outcome
        assert outcome.succeeded == serials[:1000]
        assert outcome.serials(OperationStatus.NOT_SENT) == serials[1000:]
        resumed = client.resume_activity(outcome)
        assert resumed == outcome
        rest = resumed.serials(OperationStatus.NOT_SENT)
        assert client.assign_devices(server.server_uuid, rest).is_complete
