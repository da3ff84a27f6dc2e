"""Tokens and devices in Intune's JSON, from the store and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from tests.cases import each

from pyade.builders.intune import (
    DiscoverySource,
    EnrollmentState,
    IntuneDevice,
    IntunePlatform,
    IntuneProfile,
    IntuneToken,
    TokenType,
    device_from_intune,
    device_to_intune,
    token_from_intune,
    token_to_intune,
)
from pyade.builders.intune.json_reader import parse_time
from pyade.core.fleet.device import Device, DeviceFamily, ProfileStatus
from pyade.core.fleet.enrollment import Enrollment
from pyade.core.fleet.records import DeviceRecord, SyncState
from pyade.core.fleet.suspension import suspend
from pyade.core.macos.identity import IdentityKind
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.token import Portal, Token, TokenStatus
from pyade.errors import IntuneError, TermsError, TokenExpiredError

NOW = datetime(2026, 7, 1, 10, tzinfo=UTC)
TOKEN = Token(
    name="hq",
    consumer_key="CK_1",
    consumer_secret="CS_1",
    access_token="AT_1",
    access_secret="AS_1",
    access_token_expiry=NOW + timedelta(days=100),
    apple_id="it@contoso.com",
    consented_at=NOW,
    scope_tags=("Zürich", "Bern"),
)
ENROLLMENT = Enrollment(
    serial_number="C02",
    token_name="hq",
    udid="U",
    product="Mac14,2",
    build="24A1",
    profile_name="x",
    profile_uuid="P",
    identity=IdentityKind.ACME,
    issued_at=NOW,
)


@each(
    ("text", "expected"),
    [
        ("2026-07-01T10:00:51.9351789Z", datetime(2026, 7, 1, 10, 0, 51, 935178, tzinfo=UTC)),
        ("9999-12-31T23:59:59.9999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2026-07-01T12:00:00+02:00", NOW),
        ("2026-07-01T10:00:00", NOW),
        ("/Date(1782900000000)/", NOW),
        ("/Date(1782900000000+0200)/", NOW),
        ("/Date(-1)/", datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+02:00", None),
        ("/Date(-62135596800000)/", None),
        ("", None),
        (None, None),
    ],
)
def test_every_form_of_a_time_is_read(text: str | None, expected: datetime | None) -> None:
    body = {"tokenName": "hq", "tokenExpirationDateTime": text}
    assert token_from_intune(body).expires_at == expected
    if text and expected:
        assert parse_time(text).tzinfo is UTC


@each(
    "value",
    [
        *("yesterday", "/Date(99999999999999999)/", "9999-12-31T23:59:59-23:00", "2026-02-30T00:00:00Z"),
        *(7, True, ["2026-07-01T10:00:00Z"]),
    ],
)
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(IntuneError) as caught:
        token_from_intune({"tokenName": "hq", "tokenExpirationDateTime": value}, path="$.value[1]")
    assert [one.setting for one in caught.value.problems] == ["$.value[1].tokenExpirationDateTime"]


@each(
    ("code", "synced", "words"),
    [
        (0, True, "succeeded"),
        (None, True, "succeeded"),
        (None, False, "never synced"),
        (3, True, "terms not accepted"),
        (3, False, "terms not accepted"),
        (1, True, "unknown (1)"),
        (-1, True, "unknown (-1)"),
        (2147483647, True, "unknown (2147483647)"),
    ],
)
def test_an_error_code_is_put_into_words_where_it_is_known(
    code: int | None, synced: bool, words: str
) -> None:
    body = {
        "tokenName": "hq",
        "lastSyncErrorCode": code,
        "lastSuccessfulSyncDateTime": "2026-07-01T10:00:00Z" if synced else None,
        "dataSharingConsentGranted": True,
    }
    token = token_from_intune(body)
    assert token.sync_result == words
    expected = ["$.lastSyncErrorCode"] if code else []
    assert [problem.setting for problem in token.problems] == expected


def test_the_expiry_decides_whether_a_token_is_good_and_not_a_code() -> None:
    token = token_from_intune({"tokenName": "hq", "tokenExpirationDateTime": "2026-07-01T10:00:00Z"})
    assert token.status(NOW) is TokenStatus.EXPIRED
    assert token.status(NOW - timedelta(days=30)) is TokenStatus.EXPIRING
    assert token.status(NOW - timedelta(days=31)) is TokenStatus.VALID
    assert token_from_intune({"tokenName": "hq"}).status(NOW) is TokenStatus.UNKNOWN


@pytest.mark.parametrize("portal", Portal)
def test_a_token_of_the_store_is_written_without_its_secrets(portal: Portal) -> None:
    state = SyncState(run_at=NOW, succeeded_at=NOW + timedelta(minutes=1))
    known = attrs.evolve(TOKEN, portal=portal, server_uuid="S", org_name="Contoso")
    token = IntuneToken.of(known, state, device_count=7, id="t", uploaded_at=NOW, default_profile_id="t_1")
    export = token_to_intune(token)
    assert export.body == {
        "@odata.type": "#microsoft.graph.depOnboardingSetting",
        "id": "t",
        "appleIdentifier": "it@contoso.com",
        "tokenName": "hq",
        "tokenType": "dep" if portal is Portal.BUSINESS else "appleSchoolManager",
        "tokenExpirationDateTime": "2026-10-09T10:00:00Z",
        "lastModifiedDateTime": "2026-07-01T10:00:00Z",
        "lastSyncTriggeredDateTime": "2026-07-01T10:00:00Z",
        "lastSuccessfulSyncDateTime": "2026-07-01T10:01:00Z",
        "lastSyncErrorCode": 0,
        "syncedDeviceCount": 7,
        "dataSharingConsentGranted": True,
        "roleScopeTagIds": ["Bern", "Zürich"],
        "defaultMacOsEnrollmentProfile": {"id": "t_1"},
    }
    assert [one.setting for one in export.problems] == ["consented_at", "server_uuid", "org_name"]
    for secret in ("CK_1", "CS_1", "AT_1", "AS_1"):
        assert secret not in export.to_json().decode() + str(export.problems)
    again = token_from_intune(json.loads(export.to_json()))
    assert again == token
    assert again.portal is portal
    assert token_to_intune(again).to_json() == export.to_json()


def test_a_sync_that_failed_has_a_code() -> None:
    """Intune's own only for terms; other failures have none, and are never written as a success."""
    done = SyncState(succeeded_at=NOW)
    failed = attrs.evolve(done, last_error="ServerError: sync: 500")
    terms, _ = suspend(failed, TOKEN, TermsError("sync", 403, "T_C_NOT_SIGNED"))
    expired, _ = suspend(failed, TOKEN, TokenExpiredError("sync", 0))
    renewed = attrs.evolve(terms, suspended_with="other", last_error="")
    codes = {
        name: IntuneToken.of(TOKEN, state, device_count=0).sync_error_code
        for name, state in {
            "never": SyncState(),
            "done": done,
            "failed": failed,
            "terms": terms,
            "expired": expired,
            "renewed": renewed,
        }.items()
    }
    assert codes == {"never": None, "done": 0, "failed": -1, "terms": 3, "expired": -1, "renewed": 0}
    (*_, found) = IntuneToken.of(TOKEN, failed, device_count=0).problems
    assert (found.setting, found.value) == ("last_error", "ServerError: sync: 500")


def test_unknown_kinds_of_token_and_members_survive() -> None:
    body = {"tokenName": "hq", "tokenType": "unknownFutureValue", "new": [1], "newNull": None}
    token = token_from_intune(body)
    assert (token.token_type, token.portal) == ("unknownFutureValue", None)
    assert {one.setting for one in token.problems} == {"$.new", "$.dataSharingConsentGranted"}
    export = token_to_intune(token).body
    assert {name: export[name] for name in body} == body
    assert token_from_intune({"tokenName": "hq"}).token_type is TokenType.NONE


@each("value", ["3", True, 3.0, [3]])
def test_a_number_of_the_wrong_kind_is_refused(value: Any) -> None:
    with pytest.raises(IntuneError) as caught:
        token_from_intune({"tokenName": "hq", "lastSyncErrorCode": value, "syncedDeviceCount": value})
    assert [one.setting for one in caught.value.problems] == ["$.lastSyncErrorCode", "$.syncedDeviceCount"]


def test_lists_inside_a_token_are_not_lost_unseen() -> None:
    token = token_from_intune(
        {"tokenName": "hq", "dataSharingConsentGranted": True, "enrollmentProfiles": [{}]}
    )
    assert [one.setting for one in token.problems] == ["$.enrollmentProfiles"]


@each(
    ("device", "platform"),
    [
        ({"device_family": DeviceFamily.MAC}, "macOS"),
        ({"os": "OSX"}, "macOS"),
        ({"device_family": DeviceFamily.IPAD}, "ios"),
        ({"device_family": DeviceFamily.IPHONE}, "ios"),
        ({"device_family": DeviceFamily.APPLE_TV}, "tvOS"),
        ({"device_family": DeviceFamily.VISION}, "visionOS"),
        ({"device_family": DeviceFamily("Watch")}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_a_device_of_the_store_has_intunes_platform(device: dict[str, Any], platform: str) -> None:
    record = DeviceRecord(
        token_name="hq", device=Device(serial_number="C02", **device), first_seen_at=NOW, updated_at=NOW
    )
    assert device_to_intune(IntuneDevice.of(record)).body["platform"] == platform


def test_a_device_of_the_store_is_written_and_the_rest_is_named() -> None:
    device = Device(
        serial_number="C02",
        model="MacBook Pro",
        description="MBP 14",
        device_family=DeviceFamily.MAC,
        os="OSX",
        profile_status=ProfileStatus.PUSHED,
        profile_uuid="P",
        profile_assign_time=NOW,
        extra={"new": 1},
    )
    record = DeviceRecord(token_name="hq", device=device, first_seen_at=NOW, updated_at=NOW, released_at=NOW)
    listed = IntuneDevice.of(
        record, ENROLLMENT, requested_profile_id="t_1", supervised=True, last_contacted_at=NOW, id="d"
    )
    export = device_to_intune(listed)
    assert export.body == {
        "@odata.type": "#microsoft.graph.importedAppleDeviceIdentity",
        "id": "d",
        "serialNumber": "C02",
        "requestedEnrollmentProfileId": "t_1",
        "requestedEnrollmentProfileAssignmentDateTime": "2026-07-01T10:00:00Z",
        "isSupervised": True,
        "discoverySource": "deviceEnrollmentProgram",
        "isDeleted": True,
        "createdDateTime": "2026-07-01T10:00:00Z",
        "lastContactedDateTime": "2026-07-01T10:00:00Z",
        "description": "MBP 14",
        "enrollmentState": "enrolled",
        "platform": "macOS",
    }
    assert [(one.setting, one.value) for one in export.problems] == [
        ("C02", "model, profile_status, profile_uuid, extra")
    ]
    again = device_from_intune(json.loads(export.to_json()))
    assert again == listed
    assert device_to_intune(again).to_json() == export.to_json()


@each(
    ("enrollment", "status", "uuid", "state"),
    [
        (None, "pushed", "P", EnrollmentState.NOT_CONTACTED),
        (ENROLLMENT, "pushed", "P", EnrollmentState.ENROLLED),
        (ENROLLMENT, "assigned", "Q", EnrollmentState.PENDING_RESET),
        (ENROLLMENT, "removed", "Q", EnrollmentState.ENROLLED),
        (ENROLLMENT, "empty", None, EnrollmentState.ENROLLED),
        (attrs.evolve(ENROLLMENT, profile_uuid=None), "assigned", "P", EnrollmentState.ENROLLED),
    ],
)
def test_the_enrollment_state_of_a_device_follows_from_both_profiles(
    enrollment: Enrollment | None, status: str, uuid: str | None, state: EnrollmentState
) -> None:
    device = Device(serial_number="C02", profile_status=ProfileStatus(status), profile_uuid=uuid)
    record = DeviceRecord(token_name="hq", device=device, first_seen_at=NOW, updated_at=NOW)
    assert IntuneDevice.of(record, enrollment).enrollment_state is state


def test_unknown_values_of_a_device_survive() -> None:
    body = {
        "@odata.type": "#microsoft.graph.importedAppleDeviceIdentityResult",
        "serialNumber": "C02",
        "platform": "bridgeOS",
        "discoverySource": "unknownFutureValue",
        "enrollmentState": "onHold",
        "status": True,
        "new": {"a": None},
    }
    device = device_from_intune(body)
    assert not device.platform.is_known
    export = device_to_intune(device).body
    del body["@odata.type"]
    assert {name: export[name] for name in body} == body
    assert device_from_intune(export) == device


def test_a_device_may_say_nothing_but_its_serial_number() -> None:
    device = device_from_intune({"serialNumber": "C02"})
    assert device == IntuneDevice(serial_number="C02")
    assert (device.platform, device.discovery_source) == (IntunePlatform.UNKNOWN, DiscoverySource.UNKNOWN)


@each("serial", [None, "", " ", 7])
def test_a_device_without_a_serial_number_is_refused(serial: Any) -> None:
    with pytest.raises(IntuneError, match="serialNumber"):
        device_from_intune({"serialNumber": serial})


@pytest.mark.parametrize("read", [token_from_intune, device_from_intune])
def test_another_object_is_refused(read: Any) -> None:
    bodies: list[Any] = [{"@odata.type": "#microsoft.graph.vppToken"}, {"enableSharedIPad": True}, [], None]
    for body in bodies:
        with pytest.raises(IntuneError):
            read(body)


@pytest.mark.parametrize(
    "make",
    [
        lambda **extra: IntuneDevice(serial_number="C02", **extra),
        lambda **extra: IntuneToken(name="hq", **extra),
        lambda **extra: IntuneProfile(profile=EnrollmentProfile(name="x", url="https://x.example"), **extra),
    ],
    ids=["device", "token", "profile"],
)
def test_members_that_are_kept_are_not_in_the_repr(make: Callable[..., object]) -> None:
    """Nobody knows what is in them; and what holds them can be an element of a set."""
    kept = make(extra={"contoso": {"note": ["only Intune knows"]}})
    assert "only Intune knows" not in repr(kept)
    assert len({kept, make(extra={"contoso": {"note": ["only Intune knows"]}})}) == 1
    assert kept != make()
