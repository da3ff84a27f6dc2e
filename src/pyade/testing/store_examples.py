"""Example records for the store contract, and objects that make a write fail."""
# ruff: noqa: S101, S106 - a test suite; its secrets are made up

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, overload

import attrs

from pyade.core.fleet.device import Device, DeviceFamily, DeviceResult, OpType, ProfileStatus
from pyade.core.fleet.lease import Lease
from pyade.core.fleet.outcomes import Attempt
from pyade.core.fleet.records import ChangeCounts, DeviceRecord, Source, SyncState
from pyade.core.profile.accounts import PrimaryAccount
from pyade.core.profile.affinity import UserAffinity
from pyade.core.profile.profile import DefinedProfile, EnrollmentProfile
from pyade.core.token import Portal, Token
from pyade.errors import StoreConflictError
from pyade.storage.protocol import Store

NOW = datetime(2025, 6, 1, 12, 30, 15, 123456, tzinfo=UTC)
"""The initial time of every test of the suite."""


def example_token(name: str = "hq") -> Token:
    """Return a token with a value in every field, non-ASCII ones included."""
    return Token(
        name=name,
        consumer_key=f"CK_{name}",
        consumer_secret="consumer-secret-Ü",
        access_token="access-token",
        access_secret="access-secret",
        access_token_expiry=NOW + timedelta(days=365),
        apple_id="it@contoso.com",
        consented_at=NOW,
        portal=Portal.SCHOOL,
        scope_tags=frozenset({"EMEA", "日本"}),
        server_uuid="677CAB70FE1A4F4D8B5D0B9F6B4A3B11",
        org_id="1234567",
        org_name="Contoso Zürich",
        org_type="edu",
        admin_id="it@contoso.com",
    )


def example_device(serial_number: str = "C02FULL00001", **changes: Any) -> Device:
    """Return a device with a value in every field that a store keeps, some of them unknown to pyade."""
    device = Device(
        serial_number=serial_number,
        model="MacBook Pro",
        description='MBP 14" “Größe”',
        color="SPACE BLACK",
        asset_tag="財産-1",
        device_family=DeviceFamily("Toaster"),
        profile_status=ProfileStatus("levitating"),
        profile_uuid="C1F123098EB5074580041E69883004C3",
        profile_assign_time=NOW - timedelta(days=3),
        profile_push_time=NOW - timedelta(days=2),
        device_assigned_date=NOW - timedelta(days=9),
        device_assigned_by="-1",
        mdm_migration_deadline=NOW + timedelta(days=90),
        bluetooth_mac_address="00:00:5E:00:53:01",
        wifi_mac_address="00:00:5E:00:53:02",
        ethernet_mac_address="00:00:5E:00:53:03",
        eid="89049032000000000000000000000001",
        imei=("350000000000001", "350000000000002"),
        meid=("A0000000000001",),
        is_replacement_device=True,
        released_by_replacement=False,
        extra={"new_key": {"nested": [1, 2.5, None, True, "é"]}, "os": 17},  # keys that pyade does not read
    )
    return device.changed(**changes)


def example_profile(name: str = "Standard Mac “Zürich”") -> EnrollmentProfile:
    """Return a profile with settings that Apple's own JSON cannot hold."""
    return EnrollmentProfile(
        name=name,
        url="https://mdm.contoso.com/enroll",
        description="für alle",
        user_affinity=UserAffinity.modern("https://mdm.contoso.com/signin"),
        primary_account=PrimaryAccount(account_name="{{partialupn}}", full_name="{{username}}"),
        skip={"Siri", "SomethingNew"},
        extra={"is_multi_user": False},
    )


def event(serial_number: str, op_type: OpType, seconds: float, **values: Any) -> Device:
    """Return a device as sync reports it, for an operation *seconds* after ``NOW``."""
    return Device(
        serial_number=serial_number,
        op_type=op_type,
        op_date=(NOW + timedelta(seconds=seconds)).replace(microsecond=0),
        **values,
    )


class InjectedError(Exception):
    """The failure that the suite raises inside a write."""


class BreakingDevices(Sequence[Device]):
    """A page of devices that raises ``InjectedError`` after the last one."""

    def __init__(self, *devices: Device) -> None:
        self._devices = devices

    def __len__(self) -> int:
        return len(self._devices) + 1

    @overload
    def __getitem__(self, index: int) -> Device: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Device]: ...
    def __getitem__(self, index: int | slice) -> Device | Sequence[Device]:
        if isinstance(index, int) and index < len(self._devices):
            return self._devices[index]
        raise InjectedError


class BreakingState(SyncState):
    """A sync state that raises ``InjectedError`` when the store reads its cursor to write it."""

    def __getattribute__(self, name: str) -> Any:
        if name == "cursor":
            raise InjectedError
        return super().__getattribute__(name)


CALLS: dict[str, Callable[[Store, str], object]] = {
    "token": lambda store, name: store.token(name),
    "replace_token": lambda store, name: store.replace_token(example_token(name)),
    "remove_token": lambda store, name: store.remove_token(name, now=NOW),
    "sync_state": lambda store, name: store.sync_state(name),
    "save_sync_state": lambda store, name: store.save_sync_state(name, SyncState()),
    "commit_page": lambda store, name: store.commit_page(
        name, [example_device()], source=Source.FETCH, state=SyncState(), now=NOW
    ),
    "finish_full_sync": lambda store, name: store.finish_full_sync(
        name, state=SyncState(listing_since=NOW), now=NOW
    ),
    "device": lambda store, name: store.device(name, "C02"),
    "devices": lambda store, name: list(store.devices(name)),
    "devices of serials": lambda store, name: list(store.devices(name, serials=["C02"])),
    "devices of groups": lambda store, name: list(store.devices(name, groups=[])),
    "device_groups": lambda store, name: store.device_groups(name),
    "shared_serials": lambda store, name: store.shared_serials(name),
    "count_devices": lambda store, name: store.count_devices(name),
    "save_profile": lambda store, name: store.save_profile(name, defined_profile("A")),
    "profiles": lambda store, name: store.profiles(name),
    "defined_profile": lambda store, name: store.defined_profile(name, "A"),
    "set_default_profile": lambda store, name: store.set_default_profile(name, example_profile()),
    "default_profile": lambda store, name: store.default_profile(name),
    "record_attempts": lambda store, name: store.record_attempts(name, {}, now=NOW),
    "acquire_lease": lambda store, name: store.acquire_lease(name, "worker"),
    "renew_lease": lambda store, name: store.renew_lease(
        Lease(token_name=name, owner="worker", fence=1, expires_at=NOW)
    ),
    "held_lease": lambda store, name: store.held_lease(name),
    "delete_device": lambda store, name: store.delete_device(name, "C02", now=NOW),
    "purge_released": lambda store, name: store.purge_released(name, now=NOW),
    "count_unlisted": lambda store, name: store.count_unlisted(name, SyncState()),
}

LEASED_WRITES: dict[str, Callable[[Store, Lease], object]] = {
    "save_sync_state": lambda store, lease: store.save_sync_state(
        "hq", attrs.evolve(store.sync_state("hq"), cursor="leased"), lease=lease
    ),
    "commit_page": lambda store, lease: store.commit_page(
        "hq", [example_device()], source=Source.FETCH, state=store.sync_state("hq"), now=NOW, lease=lease
    ),
    "finish_full_sync": lambda store, lease: store.finish_full_sync(
        "hq", state=attrs.evolve(store.sync_state("hq"), full_sync=2), now=NOW, lease=lease
    ),
    "save_profile": lambda store, lease: store.save_profile("hq", defined_profile("A"), lease=lease),
    "record_attempts": lambda store, lease: store.record_attempts(
        "hq", {"C02000000": attempt_with(DeviceResult.SUCCESS)}, now=NOW, lease=lease
    ),
}


def defined_profile(profile_uuid: str, *, days: float = 0, individual: bool = False) -> DefinedProfile:
    """Return a profile that was defined *days* after ``NOW``."""
    return DefinedProfile(
        profile_uuid=profile_uuid,
        profile=example_profile(f"Profile {profile_uuid}"),
        digest=f"digest-{profile_uuid}",
        defined_at=NOW + timedelta(days=days),
        individual=individual,
    )


def attempt_with(result: DeviceResult, *, seconds: float = 0, hours_to_wait: float | None = None) -> Attempt:
    """Return an attempt that was made *seconds* after ``NOW``."""
    at = NOW + timedelta(seconds=seconds)
    wait = None if hours_to_wait is None else at + timedelta(hours=hours_to_wait)
    return Attempt(profile_uuid="P1", result=result, attempted_at=at, not_before=wait)


def commit(
    store: Store,
    *devices: Device,
    source: Source = Source.SYNC,
    seconds: float = 0,
    name: str = "hq",
    **changes: Any,
) -> ChangeCounts:
    """Commit a page on top of the stored state, *seconds* after ``NOW``."""
    state = attrs.evolve(store.sync_state(name), **changes)
    _, counts = store.commit_page(
        name, devices, source=source, state=state, now=NOW + timedelta(seconds=seconds)
    )
    return counts


def commit_until_it_succeeds(store: Store, devices: Sequence[Device]) -> None:
    """Commit a page on top of the stored state; repeat this after a conflict with another writer."""
    while True:
        state = store.sync_state("hq")
        try:
            store.commit_page("hq", devices, source=Source.SYNC, state=state, now=NOW)
        except StoreConflictError:
            continue
        return


def record_of(store: Store, serial_number: str, name: str = "hq") -> DeviceRecord:
    """Return the record of a device; fail if there is none."""
    record = store.device(name, serial_number)
    assert record is not None, f"{serial_number} is lost"
    return record


def serials_of(store: Store, name: str = "hq", **filters: Any) -> list[str]:
    """Return the serial numbers that ``devices`` yields, in its order."""
    return [record.serial_number for record in store.devices(name, **filters)]


def fleet_of(count: int) -> list[Device]:
    """Return *count* small devices, sorted by serial number."""
    return [Device(serial_number=f"C02{number:06}", model="Mac") for number in range(count)]
