"""Whole exports of Intune: every form in which they come, and everything that is in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.cases import each

from pyade.builders.intune import (
    EnrollmentState,
    IntuneDevice,
    IntunePlatform,
    IntuneTenant,
    IntuneToken,
    OwnSettings,
    PasswordRotation,
    TokenType,
    limits,
    read_intune,
    write_intune,
)
from pyade.builders.intune.exports import Writable
from pyade.core.fleet.sync_policy import SyncPolicy
from pyade.core.macos.setup_screens import SkipKeys
from pyade.core.problems import Severity
from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount
from pyade.core.profile.affinity import AffinityKind
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.secret import Secret
from pyade.core.token import Portal
from pyade.errors import IntuneError

FOLDER = Path(__file__).parent
OWN = OwnSettings(url="https://mdm.contoso.com/enroll", web_url="https://mdm.contoso.com/signin")
HQ = "c0a8b1de-14f2-4f0e-8f7a-6e5d4c3b2a19"
PROFILE = {"@odata.type": "microsoft.graph.depMacOSEnrollmentProfile", "displayName": "Mac"}


def load(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def parts(tenant: IntuneTenant) -> list[Writable]:
    return [*tenant.tokens, *tenant.profiles, *tenant.devices, *tenant.others]


def settings(tenant: IntuneTenant, severity: Severity = Severity.WARNING) -> set[str]:
    return {problem.setting for problem in tenant.problems if problem.severity is severity}


@each("name", ["old_profile.json", "new_profile.json", "tenant.json"])
def test_an_export_comes_back_as_it_was_written(name: str) -> None:
    """Equal objects, and the second file equals the first byte for byte."""
    imported = read_intune(load(name), OWN)
    first = write_intune(parts(imported), force=True).to_json()
    again = read_intune(first, OWN)
    assert parts(again) == parts(imported)
    assert write_intune(parts(again), force=True).to_json() == first


def test_a_profile_of_an_old_portal_is_read() -> None:
    """It has no list of keys and no account settings, and never waited."""
    text = load("old_profile.json").decode()
    (imported,) = read_intune(text.encode("utf-16"), OWN).profiles
    profile = imported.profile
    assert imported.token_id == "7d4f2c10-5b1e-4a57-9c3e-0f4a6d1b2c33"
    assert imported.is_default
    assert (profile.name, profile.description, profile.department) == ("Büro-Macs", "", "IT-Service")
    assert profile.user_affinity.kind is AffinityKind.LEGACY
    assert profile.locked
    assert not profile.await_final_configuration
    assert profile.primary_account is None
    assert profile.administrator is None
    assert profile.skip == {
        *(SkipKeys.RESTORE, SkipKeys.APPLE_ID, SkipKeys.PAYMENT, SkipKeys.SIRI, SkipKeys.DIAGNOSTICS),
        *(SkipKeys.PRIVACY, SkipKeys.SCREEN_TIME, SkipKeys.REGISTRATION, SkipKeys.ICLOUD_DIAGNOSTICS),
        *(SkipKeys.ICLOUD_STORAGE, SkipKeys.APPEARANCE),
    }
    assert imported.extra == {"createdDateTime": "2019-10-16T15:43:07.193000Z"}
    assert {problem.setting for problem in imported.problems} == {
        "$.configurationEndpointUrl",
        "$.createdDateTime",
    }


def test_a_profile_of_the_newest_portal_is_read() -> None:
    """With accounts, a password that changes, and screens that have no Boolean."""
    (imported,) = read_intune(load("new_profile.json"), OWN).profiles
    profile = imported.profile
    assert profile.user_affinity.web_url == OWN.web_url
    assert profile.primary_account == PrimaryAccount("{{partialupn}}", "{{username}}")
    assert profile.administrator == AdministratorAccount("admin-{{serialNumber}}", "Admin", hidden=True)
    assert imported.standard_user
    assert imported.password_rotation == PasswordRotation(period_days=90, hours_after_viewing=8)
    assert len(profile.skip) == 21
    assert SkipKeys.OS_SHOWCASE in profile.skip
    assert {problem.setting for problem in imported.problems} == {
        "$.configurationEndpointUrl",
        "$.deviceNameTemplate",
        "$.requireCompanyPortalOnSetupAssistantEnrolledDevices",
        "$.depProfileAdminAccountPasswordRotationSetting",
    }


def test_a_tenant_is_read_whole() -> None:
    """Tokens with an expanded default, profiles of four kinds, a mirror, a broken one, devices."""
    tenant = read_intune(load("tenant.json"), OWN)
    assert [token.name for token in tenant.tokens] == ["Headquarters", "School"]
    assert [one.profile.name for one in tenant.profiles] == ["Policy for Macs", "Shared Mac"]
    assert [one.is_policy_backed for one in tenant.profiles] == [True, False]
    assert [one.serial_number for one in tenant.devices] == ["C02EXAMPLE01", "DX3EXAMPLE02"]
    assert [other.get("displayName", other.get("name")) for other in tenant.others] == [
        *("Phones", "Lobby screens", "Broken by hand", "Policy for Macs"),
    ]
    shared = tenant.default_profile(tenant.tokens[0])
    assert shared is not None
    assert shared.profile.skip == {SkipKeys.LOCATION, SkipKeys.SIRI, SkipKeys.FILE_VAULT, "FutureScreen"}
    assert shared.skip_primary_account
    assert shared.profile.requires_network_tether
    assert tenant.default_profile(tenant.tokens[1]) is None
    assert settings(tenant, Severity.ERROR) == {"$.value[5].primaryAccountUserName"}
    assert settings(tenant) >= {
        "$.value[0].defaultMacOsEnrollmentProfile.configurationEndpointUrl",
        "$.value[1].lastSyncErrorCode",
        "$.value[1].shareTokenWithSchoolDataSyncService",
        *("$.value[2]", "$.value[3]", "$.value[8]"),
        "$.value[4].depProfileAdminAccountPasswordRotationSetting",
        "$.value[5].adminAccountPassword",
        "devices.warrantyEndDateTime",
    }
    assert "Tr0ub4dor" not in repr(tenant) + write_intune(parts(tenant), force=True).to_json().decode()


def test_tokens_and_devices_of_a_tenant_are_read() -> None:
    """Seven digits of a second, never, null, the old form of dates, and unknown values."""
    tenant = read_intune(load("tenant.json"), OWN)
    school, _ = tenant.tokens[1], tenant.tokens[0]
    assert tenant.tokens[0] == IntuneToken(
        name="Headquarters",
        id=HQ,
        apple_id="it@contoso.com",
        token_type=TokenType.DEP,
        expires_at=datetime(2027, 3, 1, 9, 12, 44, tzinfo=UTC),
        uploaded_at=datetime(2026, 3, 1, 9, 15, 2, 123456, tzinfo=UTC),
        sync_requested_at=datetime(2026, 3, 1, 9, 15, 9, 665088, tzinfo=UTC),
        synced_at=datetime(2026, 7, 14, 3, 11, 51, 935178, tzinfo=UTC),
        sync_error_code=0,
        device_count=4,
        shares_data=True,
        scope_tags=frozenset({"0", "17"}),
        default_profile_id=f"{HQ}_11111111-2222-4333-8444-555555555555",
        extra={"shareTokenWithSchoolDataSyncService": False, "defaultIosEnrollmentProfile": None},
    )
    assert (school.portal, school.synced_at, school.sync_result) == (
        Portal.SCHOOL,
        None,
        "terms not accepted",
    )
    mac, phone = tenant.devices
    assert mac == IntuneDevice(
        serial_number="C02EXAMPLE01",
        id="9a9a9a9a-0000-4000-8000-000000000001",
        description="MBP 14 SPACE BLACK",
        platform=IntunePlatform.MACOS,
        discovery_source=mac.discovery_source,
        supervised=True,
        requested_profile_id=f"{HQ}_11111111-2222-4333-8444-555555555555",
        requested_at=datetime(2026, 4, 2, 10, 0, 0, 100000, tzinfo=UTC),
        enrollment_state=EnrollmentState.PENDING_RESET,
        created_at=datetime(2026, 3, 1, 9, 15, 2, 123000, tzinfo=UTC),
    )
    assert (phone.platform, phone.is_deleted) == (IntunePlatform.IOS, True)
    assert phone.enrollment_state == "waitingForGodot"
    assert phone.extra == {"warrantyEndDateTime": "2029-03-01T00:00:00Z"}


def test_a_mirror_is_written_only_by_force() -> None:
    """And the path says which object it is."""
    tenant = read_intune(load("tenant.json"), OWN)
    with pytest.raises(IntuneError) as caught:
        write_intune(parts(tenant))
    assert [problem.setting for problem in caught.value.problems] == ["$.value[2].id"]


@each(
    "wrap",
    [
        lambda one: one,
        lambda one: [one],
        lambda one: {"value": [one]},
        lambda one: {"value": one},
        lambda one: {"value": [one], "Count": 1},
        lambda one: [{"@odata.context": "x", "value": [one]}],
    ],
)
def test_an_object_may_come_bare_in_a_list_or_in_pages(wrap: Callable[[Any], Any]) -> None:
    """As JSON or as what it was decoded to."""
    document = wrap(PROFILE)
    for source in (document, json.dumps(document), json.dumps(document).encode()):
        tenant = read_intune(source, OWN)
        assert [one.profile.name for one in tenant.profiles] == ["Mac"]
        assert tenant.problems == ()


@each("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_every_encoding_of_json_is_read(encoding: str) -> None:
    """With a byte order mark or without."""
    data = json.dumps({**PROFILE, "displayName": "Büro"}, ensure_ascii=False).encode(encoding)
    assert read_intune(data, OWN).profiles[0].profile.name == "Büro"


def test_a_byte_order_mark_may_be_left_in_text() -> None:
    """As some programs do that decode files themselves."""
    assert len(read_intune("\ufeff" + json.dumps(PROFILE), OWN).profiles) == 1


@each(
    "source",
    [
        *(b"", b"{", b"\xff", b"\xff\xfe\x00", b'{"a": NaN}', b'["\\ud800"]', "[" * 100_000, b"\x00\x00\x00"),
        *("7", "null", '"text"', "[[7]]", '[{"displayName": "x"}, "y"]', "[" * 40 + "]" * 40 + "7"),
        *(None, 7, [7], {"value": [7]}, [PROFILE, "@{displayName=Mac}"]),
    ],
)
def test_what_is_no_export_is_refused(source: Any) -> None:
    """With one kind of error, which does not repeat the file."""
    with pytest.raises(IntuneError) as caught:
        read_intune(source, OWN)
    assert len(str(caught.value)) < 300


def test_lists_may_not_be_nested_without_end() -> None:
    """An empty list is no object either, but no error."""
    assert parts(read_intune("[]", OWN)) == []
    assert parts(read_intune("[[]]", OWN)) == []
    with pytest.raises(IntuneError, match="lists of lists"):
        read_intune("[" * 40 + "]" * 40, OWN)


def test_a_file_that_is_too_large_is_not_read() -> None:
    """Whatever is in it; the limit can be moved."""
    data = json.dumps(PROFILE).encode()
    assert len(read_intune(data, OWN, max_bytes=len(data)).profiles) == 1
    with pytest.raises(IntuneError, match="max_bytes"):
        read_intune(data, OWN, max_bytes=len(data) - 1)


def test_a_page_that_others_follow_is_not_taken_for_the_whole() -> None:
    """Nor is what stands beside the objects passed over."""
    page = {"value": [PROFILE], "@odata.nextLink": "https://graph.microsoft.com/x?$skiptoken=1", "more": 1}
    assert settings(read_intune(page, OWN)) == {"$.@odata.nextLink", "$.more"}


def test_objects_inside_a_token_are_read_once() -> None:
    """Expanded lists and defaults, also where a default stands in the list, too."""
    mac = {**PROFILE, "id": "t_1", "fileVaultDisabled": True}
    untyped = {name: value for name, value in mac.items() if name != "@odata.type"}
    phone = {"@odata.type": "#microsoft.graph.depIOSEnrollmentProfile", "id": "t_2", "displayName": "x"}
    token = {
        "tokenName": "hq",
        "id": "t",
        "dataSharingConsentGranted": True,
        "defaultMacOsEnrollmentProfile": untyped,
        "defaultIosEnrollmentProfile": phone,
        "enrollmentProfiles": [mac, phone],
        "importedAppleDeviceIdentities": [{"serialNumber": "C02", "isDeleted": False}],
    }
    tenant = read_intune(token, OWN)
    assert [one.id for one in tenant.profiles] == ["t_1"]
    assert [one["id"] for one in tenant.others] == ["t_2"]
    assert [one.serial_number for one in tenant.devices] == ["C02"]
    assert settings(tenant) == {"$.enrollmentProfiles[1]", "$.defaultIosEnrollmentProfile"}
    assert tenant.tokens[0].default_profile_id == "t_1"
    assert tenant.tokens[0].extra == {"defaultIosEnrollmentProfile": {"id": "t_2"}}
    first = write_intune(parts(tenant)).to_json()
    again = read_intune(first, OWN)
    assert parts(again) == parts(tenant)
    assert again.default_profile(again.tokens[0]) == tenant.profiles[0]


def test_a_default_that_names_no_platform_but_by_its_place_is_known() -> None:
    """It may have no member that shows its platform."""
    token = {"tokenName": "hq", "defaultMacOsEnrollmentProfile": {"id": "t_1", "displayName": "Mac"}}
    assert [one.profile.name for one in read_intune(token, OWN).profiles] == ["Mac"]


@pytest.mark.parametrize("inside", [{"enrollmentProfiles": 7}, {"defaultMacOsEnrollmentProfile": [1]}])
def test_a_token_that_cannot_be_read_stops_nothing(inside: dict[str, Any]) -> None:
    """It is kept as it came."""
    token = {"tokenName": "hq", **inside}
    tenant = read_intune([token, PROFILE], OWN)
    assert len(tenant.profiles) == 1
    assert tenant.others == (token,)
    (name,) = inside
    assert settings(tenant, Severity.ERROR) == {f"$[0].{name}"}


def test_what_is_inside_a_token_that_cannot_be_read_is_read_all_the_same() -> None:
    """Once, and its password is in nothing that is written."""
    profile = {**PROFILE, "id": "t_1", "adminAccountUserName": "a", "adminAccountPassword": "t0p-secret"}
    token = {"tokenName": 5, "enrollmentProfiles": [profile], "defaultMacOsEnrollmentProfile": profile}
    tenant = read_intune(token, OWN)
    assert [one.administrator_password for one in tenant.profiles] == [Secret("t0p-secret")]
    assert tenant.others == ({"tokenName": 5, "defaultMacOsEnrollmentProfile": {"id": "t_1"}},)
    assert settings(tenant, Severity.ERROR) == {"$.tokenName"}


def test_no_password_stays_in_what_is_kept_as_it_came() -> None:
    """However deep it is, and however deep the rest."""
    deep: Any = {}
    for _ in range(900):
        deep = [deep]
    document = [{"x": [{"adminAccountPassword": "t0p-secret"}, {"adminAccountPassword": ""}], "deep": deep}]
    tenant = read_intune(document, OWN)
    assert tenant.others == (
        {"x": [{"adminAccountPassword": None}, {"adminAccountPassword": ""}], "deep": deep},
    )
    assert "$[0].x[0].adminAccountPassword" in settings(tenant)
    assert "t0p-secret" in str(document), "the caller's own is as it was"


def test_names_that_are_no_texts_stop_nothing() -> None:
    """JSON has none, a mapping of Python's may."""
    tenant = read_intune([{"tokenName": "hq", 5: 1}, PROFILE], OWN)
    assert len(tenant.profiles) == 1
    assert settings(tenant, Severity.ERROR) == {"$[0]"}


def test_the_result_of_an_import_is_read_as_a_device() -> None:
    """Its member ``status`` is known, and not reported."""
    result = {
        "@odata.type": "#microsoft.graph.importedAppleDeviceIdentityResult",
        "serialNumber": "C02",
        "status": True,
    }
    tenant = read_intune({"value": [result, {**result, "new": 1}]}, OWN)
    assert [one.serial_number for one in tenant.devices] == ["C02", "C02"]
    assert settings(tenant) == {"devices.new"}


def test_a_type_that_is_no_text_stops_nothing() -> None:
    """The object is one of no known type."""
    tenant = read_intune([{"@odata.type": 7, "x": 1}, PROFILE], OWN)
    assert settings(tenant) == {"$[0]"}
    assert len(tenant.profiles) == 1


def test_profiles_that_pyade_made_are_written_beside_imported_objects() -> None:
    """What has no place is reported with its place in the page."""
    own = EnrollmentProfile(name="x", url=OWN.url, support_email_address="a@b.ch")
    export = write_intune([{"x": 1}, own])
    assert [problem.setting for problem in export.problems] == ["$.value[1].support_email_address"]
    assert export.body["value"][0] == {"x": 1}


@each("value", [{1, 2}, float("nan"), "\ud800"])
def test_what_json_cannot_hold_is_not_written(value: Any) -> None:
    """Objects that are written as they are may hold anything."""
    with pytest.raises(IntuneError, match="only JSON values"):
        write_intune([{"x": value}]).to_json()


def test_more_than_intune_allows_is_found() -> None:
    """Profiles per token, devices per token."""
    profiles = [{**PROFILE, "id": f"t_{number}"} for number in range(limits.MAX_PROFILES_PER_TOKEN + 1)]
    token = {"tokenName": "hq", "id": "t", "syncedDeviceCount": limits.MAX_DEVICES_PER_TOKEN + 1}
    tenant = read_intune([*profiles, token], OWN)
    beyond = [problem for problem in tenant.problems if "for Intune" in problem.allowed]
    assert [(problem.setting, problem.value) for problem in beyond] == [
        ("token t", "200001"),
        ("token t", "1001"),
    ]
    assert not [one for one in read_intune(profiles[1:], OWN).problems if "for Intune" in one.allowed]


def test_pyade_keeps_the_limits_of_intune() -> None:
    """The two lists cannot drift apart."""
    policy = SyncPolicy()
    assert policy.full_interval == limits.FULL_SYNC_INTERVAL
    assert policy.automatic_interval == limits.AUTOMATIC_SYNC_INTERVAL
    assert policy.request_cooldown == limits.SYNC_COOLDOWN
    assert policy.time_limit == limits.SYNC_TIME_LIMIT


def marked(uuid: str, *, is_default: bool, token: str = "t") -> dict[str, Any]:
    return {**PROFILE, "id": f"{token}_{uuid}", "displayName": uuid, "isDefault": is_default}


def token(id_: str = "t", **members: Any) -> dict[str, Any]:
    return {"tokenName": id_, "id": id_, "dataSharingConsentGranted": True, **members}


def about_defaults(tenant: IntuneTenant) -> list[tuple[str, str]]:
    return [(one.setting, one.value) for one in tenant.problems if ".default" in one.setting]


def test_without_a_navigation_property_the_profile_that_says_so_is_the_default() -> None:
    """A plain list of tokens has none; a profile without an id belongs to the only token."""
    pages = [{"value": [token("t"), token("u")]}, {"value": [marked("a", is_default=False)]}]
    pages.append({"value": [marked("b", is_default=True), marked("c", is_default=True, token="u")]})
    tenant = read_intune(json.dumps(pages), OWN)
    found = [tenant.default_profile(one) for one in tenant.tokens]
    assert [one and one.profile.name for one in found] == ["b", "c"]
    assert tenant.problems == ()
    again = read_intune(write_intune(parts(tenant)).to_json(), OWN)
    assert [again.default_profile(one) for one in again.tokens] == found
    alone = read_intune([token("t"), {**PROFILE, "isDefault": True}], OWN)
    assert alone.default_profile(alone.tokens[0]) == alone.profiles[0]


@each(
    "profiles, value",
    [
        ([marked("a", is_default=False)], ""),
        ([marked("a", is_default=True), marked("b", is_default=True)], "a, b"),
    ],
)
def test_a_default_that_is_not_known_is_found(profiles: list[dict[str, Any]], value: str) -> None:
    """None of the profiles says so, or several do."""
    tenant = read_intune([token(), *profiles], OWN)
    assert tenant.default_profile(tenant.tokens[0]) is None
    assert about_defaults(tenant) == [("token t.defaultMacOsEnrollmentProfile", value)]


def test_a_default_that_is_not_in_the_export_is_found() -> None:
    """The word of the token counts, whatever a profile says of itself."""
    named = token(defaultMacOsEnrollmentProfile={"id": "t_b"})
    tenant = read_intune([named, marked("a", is_default=True)], OWN)
    assert tenant.default_profile(tenant.tokens[0]) is None
    assert about_defaults(tenant) == [("token t.defaultMacOsEnrollmentProfile", "t_b")]
    assert about_defaults(read_intune([token("empty")], OWN)) == []


@each("empty", [None, "", {}, [], [None], {"value": [], "Count": 0}])
def test_a_navigation_property_that_says_nothing_is_none(empty: Any) -> None:
    """The profile's own word counts then."""
    tenant = read_intune([token(defaultMacOsEnrollmentProfile=empty), marked("a", is_default=True)], OWN)
    assert tenant.default_profile(tenant.tokens[0]) == tenant.profiles[0]
    assert tenant.problems == ()


@each("wrap", [lambda one: [one], lambda one: [[one]], lambda one: {"value": [one], "Count": 1}])
def test_a_navigation_property_may_come_as_a_list(wrap: Callable[[Any], Any]) -> None:
    """With one object, which is the default."""
    named = token(
        defaultMacOsEnrollmentProfile=wrap(marked("a", is_default=False)),
        defaultIosEnrollmentProfile=wrap({"id": "t_phones"}),
    )
    tenant = read_intune(named, OWN)
    assert tenant.default_profile(tenant.tokens[0]) == tenant.profiles[0]
    assert tenant.tokens[0].extra == {"defaultIosEnrollmentProfile": {"id": "t_phones"}}


def test_a_navigation_property_that_powershell_cut_off_is_passed_over() -> None:
    """With a problem; the token is read all the same, and the profile's own word counts."""
    cut = token(defaultMacOsEnrollmentProfile="@{id=t_a; displayName=a}")
    tenant = read_intune([cut, marked("a", is_default=True)], OWN)
    assert tenant.default_profile(tenant.tokens[0]) == tenant.profiles[0]
    assert settings(tenant) == {"$[0].defaultMacOsEnrollmentProfile"}
    assert "-Depth" in tenant.problems[0].fix


@each(
    "given, read",
    [
        ("Siri", {"Siri"}),
        (["Siri", None], {"Siri"}),
        ([["Siri", "Payment"]], {"Siri", "Payment"}),
        ({"value": ["Siri", "Payment"], "Count": 2}, {"Siri", "Payment"}),
        ({"value": "Siri", "Count": 1}, {"Siri"}),
        *((empty, set()) for empty in (None, "", [], [None], {"value": None, "Count": 0})),
    ],
)
def test_a_list_is_read_in_each_form_of_powershells(given: Any, read: set[str]) -> None:
    """Of a profile, of a token and of what has no setting."""
    profile = {**PROFILE, "enabledSkipKeys": given, "enrollmentTimeAzureAdGroupIds": given}
    tenant = read_intune([profile, token(roleScopeTagIds=given)], OWN)
    assert tenant.profiles[0].profile.skip == read
    assert set(tenant.profiles[0].extra.get("enrollmentTimeAzureAdGroupIds", ())) == read
    assert tenant.tokens[0].scope_tags == read
    assert settings(tenant, Severity.ERROR) == set()


@each("name", ["enabledSkipKeys", "enrollmentTimeAzureAdGroupIds"])
@each("cut", ["Siri Payment", "System.Object[]", "@{a=b}", 7, [7], {"a": "b"}])
def test_a_list_that_was_cut_off_is_no_list(name: str, cut: Any) -> None:
    """``ConvertTo-Json`` joins the elements of a list that lies too deep."""
    tenant = read_intune({**PROFILE, name: cut}, OWN)
    assert settings(tenant, Severity.ERROR) == {f"$.{name}"}


@each("wrap", [lambda one: one, lambda one: [one], lambda one: {"value": one, "Count": 1}])
def test_expanded_lists_of_one_object_are_read(wrap: Callable[[Any], Any]) -> None:
    """Profiles and devices inside a token."""
    inside = {
        "enrollmentProfiles": wrap(marked("a", is_default=True)),
        "importedAppleDeviceIdentities": wrap({"serialNumber": "C02"}),
    }
    tenant = read_intune(token(**inside), OWN)
    assert [one.id for one in tenant.profiles] == ["t_a"]
    assert [one.serial_number for one in tenant.devices] == ["C02"]
    assert tenant.problems == ()


@each("empty", [None, "", [], [None], {"value": []}, {"value": None, "Count": 0}])
def test_expanded_lists_and_pages_may_be_empty(empty: Any) -> None:
    """In each form that PowerShell gives nothing."""
    tenant = read_intune([token(enrollmentProfiles=empty), {"@odata.context": "x", "value": empty}], OWN)
    assert len(parts(tenant)) == len(tenant.tokens) == 1
    assert tenant.problems == ()


def test_an_expanded_list_of_which_only_the_first_page_is_there_is_found() -> None:
    """As a page is that others follow."""
    link = {"enrollmentProfiles@odata.nextLink": "https://graph.microsoft.com/x"}
    tenant = read_intune(token(enrollmentProfiles=[marked("a", is_default=True)], **link), OWN)
    assert settings(tenant) == {"$.enrollmentProfiles@odata.nextLink"}
