"""Device actions against the fake: disown, lock, refresh, replacements, deadlines, beta tokens, discovery."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet

from pyade import errors
from pyade.apple import AsyncClient, Client
from pyade.apple.responses import ActivationLockResult, BetaEnrollmentTokens
from pyade.core.fleet.device import DeviceResult
from pyade.core.fleet.events import EventKind
from pyade.core.secret import Secret
from pyade.crypto import BypassCode
from pyade.operations import migration_deadlines
from pyade.storage import SQLiteStore
from pyade.sync import (
    AsyncDeviceActions,
    Deletion,
    DeviceActions,
    bypass_code,
    bypass_code_name,
    forget_bypass_code,
)
from pyade.testing import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worlds import World

DISOWN = "POST /devices/disown"
LOCK = "POST /device/activationlock"
URL = "https://mdm.contoso.example/discovery"


def act(world: World, name: str, *args: Any, **options: Any) -> Any:
    """Call a method of ``DeviceActions`` or its asynchronous twin."""

    def work(client: Client) -> Any:
        return getattr(DeviceActions(client, world.store, clock=world.clock), name)(*args, **options)

    async def async_work(client: AsyncClient) -> Any:
        actions = AsyncDeviceActions(client, world.store, clock=world.clock)
        return await getattr(actions, name)(*args, **options)

    return world.do(work, async_work)


def ask(world: World, name: str, *args: Any, **options: Any) -> Any:
    """Call a method of ``Client`` or ``AsyncClient``."""

    async def async_work(client: AsyncClient) -> Any:
        return await getattr(client, name)(*args, **options)

    return world.do(lambda client: getattr(client, name)(*args, **options), async_work)


def requests_in_order(world: World) -> list[str]:
    return [record.endpoint for record in world.apple.requests if record.path != "/session"]


class TestDelete:
    def test_each_device_is_deleted_and_an_unknown_one_is_reported(self, world: World) -> None:
        listed, released, stays = world.apple.add_devices(3, server="hq")
        world.sync()
        world.apple.release([released])
        world.later(minutes=15).sync()
        before = len(world.apple.requests)
        report = act(world, "delete", [listed, "C02UNKNOWN01", released, listed])
        assert report.results == {
            listed: Deletion.HIDDEN,
            "C02UNKNOWN01": Deletion.UNKNOWN,
            released: Deletion.PURGED,
        }
        assert report.unknown == ("C02UNKNOWN01",)
        assert not report.is_complete
        assert str(report).splitlines() == [
            "hq: 2 devices deleted here",
            "  1 hidden until the next full sync, as Apple still lists them",
            "  1 purged",
            "  1 unknown: 'C02UNKNOWN01'",
        ]
        assert len(world.apple.requests) == before
        assert [record.serial_number for record in world.store.devices("hq", released=None)] == [stays]
        gone = [event.serial_number for event in world.store.events() if event.kind == EventKind.DELETED]
        assert sorted(filter(None, gone)) == sorted([listed, released])

    def test_second_delete_changes_nothing_and_a_refresh_restores_the_device(self, world: World) -> None:
        (serial,) = world.apple.add_devices(1, server="hq")
        world.sync()
        assert act(world, "delete", [serial]).is_complete
        events = len(world.store.events())
        assert act(world, "delete", [serial]).results == {serial: Deletion.HIDDEN}
        assert len(world.store.events()) == events
        act(world, "refresh", [serial])
        assert [record.serial_number for record in world.store.devices("hq")] == [serial]

    def test_delete_of_more_than_one_slice_and_of_no_devices(self, world: World) -> None:
        serials = world.apple.add_devices(230, server="hq")
        world.sync()
        report = act(world, "delete", iter(serials))
        assert tuple(report.results) == serials
        assert report.is_complete
        assert act(world, "delete", []).results == {}

    @pytest.mark.parametrize("serials", ["C02", [5], [None]])
    def test_invalid_list_of_serial_numbers_deletes_nothing(self, world: World, serials: Any) -> None:
        world.apple.add_devices(2, server="hq")
        world.sync()
        with pytest.raises(errors.InvalidRequestError, match="serials"):
            act(world, "delete", serials)
        assert len(list(world.store.devices("hq"))) == 2

    def test_delete_for_an_unknown_token_is_an_error(self, world: World) -> None:
        world.store.remove_token("hq", now=world.clock())
        for serials in ([], ["C02"]):
            with pytest.raises(errors.UnknownTokenError):
                act(world, "delete", serials)

    def test_unreadable_record_is_removed(self, world: World, tmp_path: Path) -> None:
        (serial,) = world.apple.add_devices(1, server="hq")
        world.sync()
        if not isinstance(world.store, SQLiteStore):
            return
        with contextlib.closing(sqlite3.connect(tmp_path / "ade.db")) as connection, connection:
            assert connection.execute("UPDATE device SET document = '{'").rowcount == 1
        assert act(world, "delete", [serial]).results == {serial: Deletion.PURGED}
        assert act(world, "delete", [serial]).results == {serial: Deletion.UNKNOWN}


class TestDisown:
    def test_disowned_devices_are_released_by_the_next_sync(self, world: World) -> None:
        gone, stays = world.apple.add_devices(2, server="hq")
        world.sync()
        results = ask(world, "disown_devices", [gone, "UNKNOWN"], confirm=True)
        assert dict(results.results) == {gone: "SUCCESS", "UNKNOWN": "NOT_ACCESSIBLE"}
        world.later(minutes=20).sync()
        assert world.record(gone).is_released
        assert not world.record(stays).is_released

    @pytest.mark.parametrize("fault", [Fault.dropped(effect=True), Fault.server_error(502, effect=True)])
    def test_lost_response_is_replaced_by_reading_back_the_disowned_device(
        self, world: World, fault: Fault
    ) -> None:
        serials = world.apple.add_devices(2, server="hq")
        world.apple.script(DISOWN, fault)
        results = ask(world, "disown_devices", serials, confirm=True)
        assert dict(results.results) == dict.fromkeys(serials, DeviceResult.NOT_ACCESSIBLE)
        assert requests_in_order(world) == [DISOWN, "POST /devices"]

    @pytest.mark.parametrize("fault", [Fault.dropped(effect=False), Fault.server_error(503), Fault.html()])
    def test_lost_response_to_a_disown_without_effect_is_not_retried(
        self, world: World, fault: Fault
    ) -> None:
        serials = world.apple.add_devices(2, server="hq")
        world.apple.script(DISOWN, fault)
        with pytest.raises(errors.BatchError, match=serials[0]) as caught:
            ask(world, "disown_devices", serials, confirm=True)
        assert caught.value.outcome.serials(DeviceResult.REQUEST_FAILED) == serials
        assert world.requests(DISOWN) == 1
        assert set(serials) <= world.apple.devices.keys()

    def test_status_429_is_not_treated_as_a_lost_response(self, world: World) -> None:
        """Apple answers 429 instead of acting."""
        (serial,) = world.apple.add_devices(1, server="hq")
        world.apple.script(DISOWN, Fault.rate_limited(1))
        assert ask(world, "disown_devices", [serial], confirm=True).is_complete

    def test_server_without_the_right_to_disown_gets_a_typed_error(self, world: World) -> None:
        (serial,) = world.apple.add_devices(1, server="hq")
        world.apple.server("hq").may_disown = False
        assert ask(world, "disown_devices", [serial], confirm=True).results[serial] == "FAILED"
        world.apple.settings.disown_refusal = "ACCESS_DENIED"
        with pytest.raises(errors.AccessDeniedError):
            ask(world, "disown_devices", [serial], confirm=True)

    def test_unknown_result_is_kept(self, world: World) -> None:
        (serial,) = world.apple.add_devices(1, server="hq")
        world.apple.faults.device_result([serial], "PENDING_REVIEW")
        assert ask(world, "disown_devices", [serial], confirm=True).results[serial] == "PENDING_REVIEW"

    def test_nothing_is_sent_without_a_confirmation(self, world: World) -> None:
        (serial,) = world.apple.add_devices(1, server="hq")
        with pytest.raises(errors.InvalidRequestError, match="confirm=True"):
            ask(world, "disown_devices", [serial], confirm=False)
        with pytest.raises(TypeError, match="confirm"):
            ask(world, "disown_devices", [serial])
        assert not world.apple.requests


class TestLock:
    def test_stored_code_unlocks_the_device(self, world: World) -> None:
        (serial,) = world.apple.add_devices(1, server="hq")
        answer = act(world, "lock", serial, lost_message="Call 555")
        assert (answer.serial_number, answer.result) == (serial, ActivationLockResult.SUCCESS)
        lock = world.apple.devices[serial].activation_lock
        assert lock is not None
        assert lock.message == "Call 555"
        code = bypass_code(world.store, serial)
        assert code is not None
        assert world.store.secret(f"bypass code of {serial}") == Secret(code.text)
        assert world.apple.unlock(serial, code.text)

    def test_code_is_stored_before_the_request_is_sent(self, world: World) -> None:
        (serial,) = world.apple.add_devices(1, server="hq")
        world.apple.script(LOCK, Fault.unreachable(), forever=True)
        with pytest.raises(errors.TransportError):
            act(world, "lock", serial)
        assert bypass_code(world.store, serial) is not None

    @pytest.mark.parametrize("fault", [Fault.dropped(effect=True), Fault.server_error(500, effect=True)])
    def test_lost_response_keeps_the_code(self, world: World, fault: Fault) -> None:
        (serial,) = world.apple.add_devices(1, server="hq")
        world.apple.script(LOCK, fault)
        with pytest.raises((errors.TransportError, errors.ServerError)):
            act(world, "lock", serial)
        assert world.requests(LOCK) == 1
        assert act(world, "lock", serial).result == ActivationLockResult.DEVICE_ALREADY_LOCKED
        code = bypass_code(world.store, serial)
        assert code is not None
        assert world.apple.unlock(serial, code.text)

    def test_lock_after_a_removed_code_creates_another_code(self, world: World) -> None:
        (serial,) = world.apple.add_devices(1, server="hq")
        act(world, "lock", serial)
        first = bypass_code(world.store, serial)
        assert first is not None
        assert world.apple.unlock(serial, first.text)
        forget_bypass_code(world.store, serial)
        assert bypass_code(world.store, serial) is None
        act(world, "lock", serial)
        assert bypass_code(world.store, serial) not in (None, first)
        assert not world.apple.unlock(serial, first.text)

    def test_each_device_has_its_own_code(self, world: World) -> None:
        serials = world.apple.add_devices(2, server="hq")
        for serial in serials:
            act(world, "lock", serial)
        assert bypass_code(world.store, serials[0]) != bypass_code(world.store, serials[1])

    def test_results_of_apple_are_returned(self, world: World) -> None:
        (television,) = world.apple.add_devices(1, server="hq", family="AppleTV")
        assert act(world, "lock", television).result == ActivationLockResult.DEVICE_NOT_SUPPORTED
        assert act(world, "lock", "UNKNOWN").result == ActivationLockResult.NOT_ACCESSIBLE
        (serial,) = world.apple.add_devices(1, server="hq")
        world.apple.faults.device_result([serial], "LOCK_PENDING")
        assert act(world, "lock", serial).result == "LOCK_PENDING"
        world.apple.server("hq").organization.allows_activation_lock = False
        assert act(world, "lock", serial).result == ActivationLockResult.ORGANIZATION_NOT_SUPPORTED

    def test_lock_without_a_code_belongs_to_the_administrator(self, world: World) -> None:
        (serial,) = world.apple.add_devices(1, server="hq")
        assert ask(world, "activation_lock", serial).result == ActivationLockResult.SUCCESS
        lock = world.apple.devices[serial].activation_lock
        assert lock is not None
        assert (lock.escrow_key, lock.person) == (None, world.apple.server("hq").admin_id)

    def test_stored_value_that_is_no_code_is_not_overwritten(self, world: World) -> None:
        (serial,) = world.apple.add_devices(1, server="hq")
        world.store.save_secret(bypass_code_name(serial), "something else")
        with pytest.raises(errors.BypassCodeError) as caught:
            act(world, "lock", serial)
        assert "something" not in str(caught.value)
        assert world.store.secret(bypass_code_name(serial)) == Secret("something else")
        assert not world.requests(LOCK)

    def test_lease_of_another_worker_delays_only_a_first_lock(self, world: World) -> None:
        first, second = world.apple.add_devices(2, server="hq")
        act(world, "lock", first)
        lease = world.store.acquire_lease("hq", "another")
        assert act(world, "lock", first).result == ActivationLockResult.DEVICE_ALREADY_LOCKED
        with pytest.raises(errors.LeaseHeldError):
            act(world, "lock", second)
        assert bypass_code(world.store, second) is None
        world.store.release_lease(lease)
        assert act(world, "lock", second).result == ActivationLockResult.SUCCESS

    def test_code_is_in_no_error_and_no_log_line(
        self, world: World, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        (serial,) = world.apple.add_devices(1, server="hq")
        world.apple.script(LOCK, Fault.server_error(500))
        with pytest.raises(errors.ServerError) as caught:
            act(world, "lock", serial)
        act(world, "lock", serial)
        code = bypass_code(world.store, serial)
        assert code is not None
        seen = (
            f"{caplog.text}{caught.value!r}{world.store.events()}{world.apple.requests}{world.store!r}{code}"
        )
        for secret in (code.text, code.text.replace("-", ""), code.raw.hex(), code.escrow_key):
            assert secret not in seen


def test_a_code_is_encrypted_at_rest(new_world: Callable[[], World], tmp_path: Path) -> None:
    world = new_world()
    (serial,) = world.apple.add_devices(1, server="hq")
    path = tmp_path / "encrypted.db"
    with SQLiteStore(path, keys=[Fernet.generate_key()]) as store, world.client() as client:
        store.add_token(world.token)
        DeviceActions(client, store).lock(serial)
        code = bypass_code(store, serial)
    assert code is not None
    written = b"".join(file.read_bytes() for file in tmp_path.glob("encrypted.db*"))
    assert code.text.encode() not in written
    assert code.raw not in written


def test_two_workers_that_lock_one_device_store_the_code_of_the_lock(world: World) -> None:
    (serial,) = world.apple.add_devices(1, server="hq")
    outcomes: list[object] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        with world.client() as client:
            barrier.wait()
            try:
                outcomes.append(DeviceActions(client, world.store).lock(serial).result)
            except errors.LeaseHeldError as error:
                outcomes.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 4
    assert outcomes.count(ActivationLockResult.SUCCESS) == 1
    code = bypass_code(world.store, serial)
    assert isinstance(code, BypassCode)
    assert world.apple.unlock(serial, code.text)


class TestRefresh:
    def test_current_details_are_stored(self, world: World) -> None:
        changed, same = world.apple.add_devices(2, server="hq")
        world.sync()
        world.apple.edit_device(changed, announce=False, asset_tag="A-1", something_new=[1])
        report = act(world, "refresh", [changed, same, "UNKNOWN"])
        assert dict(report.results.results) == {
            changed: "SUCCESS",
            same: "SUCCESS",
            "UNKNOWN": "NOT_ACCESSIBLE",
        }
        assert (report.changes.modified, report.changes.unchanged, report.is_complete) == (1, 1, False)
        assert str(report) == "hq: 2 SUCCESS, 1 NOT_ACCESSIBLE; 1 modified"
        device = world.record(changed).device
        assert (device.asset_tag, dict(device.extra)) == ("A-1", {"something_new": [1]})
        assert world.store.device("hq", "UNKNOWN") is None

    def test_refresh_stores_a_device_that_was_never_synced(self, world: World) -> None:
        (serial,) = world.apple.add_devices(1, server="hq")
        report = act(world, "refresh", iter([serial, serial]))
        assert (report.changes.added, report.is_complete) == (1, True)
        assert str(report) == "hq: 1 SUCCESS; 1 added"
        assert world.listed() == world.at_apple()

    def test_refresh_restores_a_hidden_device(self, world: World) -> None:
        (serial,) = world.apple.add_devices(1, server="hq")
        world.sync()
        world.store.delete_device("hq", serial, now=world.clock())
        assert act(world, "refresh", [serial]).changes.returned == 1
        assert not world.record(serial).is_hidden

    def test_device_unknown_to_apple_keeps_its_record(self, world: World) -> None:
        (serial,) = world.apple.add_devices(1, server="hq")
        world.sync()
        world.apple.unassign([serial], announce=False)
        report = act(world, "refresh", [serial])
        assert str(report) == "hq: 1 NOT_ACCESSIBLE; nothing changed"
        assert not world.record(serial).is_released

    def test_many_devices_are_sent_in_chunks_and_stored_chunks_survive_an_error(self, world: World) -> None:
        serials = world.apple.add_devices(2001, server="hq")
        world.apple.script("POST /devices", None, None, Fault.refused("T_C_NOT_SIGNED"))
        with pytest.raises(errors.TermsError):
            act(world, "refresh", serials)
        assert set(world.listed()) == set(serials[:2000])
        assert world.requests("POST /devices") == 3
        world.store.release_lease(world.store.acquire_lease("hq", "next"))

    def test_refresh_does_not_disturb_another_worker(self, world: World) -> None:
        world.store.acquire_lease("hq", "another")
        with pytest.raises(errors.LeaseHeldError):
            act(world, "refresh", ["A"])
        assert not world.apple.requests

    def test_string_instead_of_a_list_is_refused(self, world: World) -> None:
        with pytest.raises(errors.InvalidRequestError, match=r"pass \['A'\]"):
            act(world, "refresh", "A")

    def test_refresh_of_no_devices_sends_nothing(self, world: World) -> None:
        assert str(act(world, "refresh", [])) == "hq: no devices; nothing changed"
        assert not world.apple.requests


class TestReplacements:
    def test_replaced_device_is_returned(self, world: World) -> None:
        old, _ = world.apple.add_devices(2, server="hq")
        world.sync()
        new = world.apple.replace_device(old)
        world.later(minutes=20).sync()
        (found,) = act(world, "replacements")
        assert (found.serial_number, found.original_device_serial_number) == (new, old)
        assert found.replacement_date == date(2025, 1, 1)
        assert world.record(old).device.released_by_replacement
        assert world.requests("GET /device/replacementDetails") == 1

    def test_device_unknown_to_apple_is_left_out(self, world: World) -> None:
        world.apple.add_devices(1, server="hq", is_replacement_device=True)
        world.sync()
        assert act(world, "replacements") == ()
        with pytest.raises(errors.NotFoundError):
            ask(world, "replacement_details", "UNKNOWN")

    def test_other_refusals_are_raised(self, world: World) -> None:
        world.apple.add_devices(1, server="hq", is_replacement_device=True)
        world.sync()
        world.apple.script("GET /device/replacementDetails", Fault.refused("ACCESS_DENIED"))
        with pytest.raises(errors.AccessDeniedError):
            act(world, "replacements")


def test_migration_deadlines_are_sorted_by_urgency(world: World) -> None:
    late, soon, none, gone = world.apple.add_devices(4, server="hq")
    for serial, text in (
        (late, "2026-09-01T00:00:00Z"),
        (soon, "2026-03-01T00:00:00Z"),
        (gone, "2026-02-01"),
    ):
        world.apple.edit_device(serial, mdm_migration_deadline=text)
    world.sync()
    world.apple.unassign([gone])
    world.later(minutes=20).sync()

    def serials(records: Iterable[Any]) -> list[str]:
        return [record.serial_number for record in records]

    assert serials(migration_deadlines(world.store, "hq")) == [soon, late]
    deadline = world.record(soon).device.mdm_migration_deadline
    assert deadline is not None
    assert serials(migration_deadlines(world.store, "hq", until=deadline)) == [soon]
    assert not migration_deadlines(world.store, "hq", until=deadline - timedelta(seconds=1))
    assert world.record(none).device.mdm_migration_deadline is None


class TestBetaTokens:
    @pytest.mark.parametrize("key", ["betaEnrollmentTokens", "seedBuildTokens"])
    def test_tokens_are_read_under_either_key(self, world: World, key: Any) -> None:
        world.apple.settings.beta_tokens_key = key
        found: BetaEnrollmentTokens = ask(world, "beta_enrollment_tokens")
        assert [token.os for token in found.tokens] == ["OSX", "iOS"]
        assert found.is_allowed
        assert all(token.token and token.token.reveal() not in repr(found) for token in found.tokens)

    def test_organization_without_beta_access_has_no_tokens(self, world: World) -> None:
        world.apple.server("hq").organization.allows_beta_access = False
        assert ask(world, "beta_enrollment_tokens") == BetaEnrollmentTokens(is_allowed=False)

    def test_unknown_fields_are_ignored(self, world: World) -> None:
        entry = {"os": "futureOS", "title": "t", "token": "1", "extra": {}}
        answer = {"betaEnrollmentTokens": [], "seedBuildTokens": [entry, entry], "more": 1}
        world.apple.script("GET /os-beta-enrollment/tokens", Fault.answered(json=answer))
        (token,) = ask(world, "beta_enrollment_tokens").tokens
        assert token.os == "futureOS"


class TestAccountDrivenEnrollment:
    def test_profile_is_set_read_and_removed(self, world: World) -> None:
        ask(world, "set_account_driven_enrollment_profile", URL)
        found = ask(world, "get_account_driven_enrollment_profile")
        assert (found.mdm_service_discovery_url, found.last_updated_timestamp) == (URL, world.clock())
        ask(world, "remove_account_driven_enrollment_profile")
        with pytest.raises(errors.NotFoundError):
            ask(world, "get_account_driven_enrollment_profile")

    @pytest.mark.parametrize("url", ["http://mdm.contoso.example", ""])
    def test_invalid_url_is_refused(self, world: World, url: str) -> None:
        with pytest.raises(errors.InvalidRequestError) as caught:
            ask(world, "set_account_driven_enrollment_profile", url)
        assert caught.value.code == "MDM_SERVICE_DISCOVERY_URL_NOT_VALID"

    @pytest.mark.parametrize(
        ("name", "args"),
        [
            ("set_account_driven_enrollment_profile", (URL,)),
            ("get_account_driven_enrollment_profile", ()),
            ("remove_account_driven_enrollment_profile", ()),
        ],
    )
    def test_organization_without_the_right_is_refused(
        self, world: World, name: str, args: tuple[str]
    ) -> None:
        world.apple.server("hq").organization.allows_account_driven_enrollment = False
        with pytest.raises(errors.AccessDeniedError) as caught:
            ask(world, name, *args)
        assert caught.value.code == "ORG_NOT_SUPPORTED"

    def test_unknown_fields_are_ignored(self, world: World) -> None:
        answer = {"mdm_service_discovery_url": URL, "last_updated_timestamp": "never", "more": [1]}
        world.apple.script("GET /account-driven-enrollment/profile", Fault.answered(json=answer))
        found = ask(world, "get_account_driven_enrollment_profile")
        assert (found.mdm_service_discovery_url, found.last_updated_timestamp) == (URL, None)
