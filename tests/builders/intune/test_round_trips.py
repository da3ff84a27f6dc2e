"""Any profile or object of Intune: reading it and writing it a second time changes nothing."""

from __future__ import annotations

import json
import string
from typing import Any

import attrs
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from pyade.builders.intune import (
    IntuneProfile,
    OwnSettings,
    device_from_intune,
    device_to_intune,
    profile_from_intune,
    profile_to_intune,
    token_from_intune,
    token_to_intune,
)
from pyade.builders.intune.fields import BOOLEANS, NO_EQUAL, SETTING_MEMBERS, spelling
from pyade.builders.intune.json_reader import TYPE
from pyade.builders.intune.object_types import DEVICE, TOKEN
from pyade.core.macos.setup_screens import NOT_ON_MACOS, SkipKeys
from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount
from pyade.core.profile.affinity import AffinityKind, UserAffinity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import IntuneError, ProfileError

URL = "https://mdm.contoso.com/enroll"
PAGE = "https://mdm.contoso.com/signin"
OWN = OwnSettings(url=URL, web_url=PAGE)

texts = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=12)
optional_texts = texts | st.just("")
account_names = st.sampled_from(
    ["", "ada", "{{partialupn}}", "mac-{{serialNumber}}", "{{managedDeviceName}}"]
)
full_names = st.sampled_from(["", "Ada", "{{username}}", "{{serialNumber}} {{onPremisesSamAccountName}}"])
screens = st.sampled_from([*SkipKeys, "NewIn28", "siri", "Zoom", "android"])
names = texts.filter(lambda name: "@odata." not in name)  # annotations are dropped, see the reader's rules
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
unknown_members = st.dictionaries(
    st.text(string.ascii_letters, min_size=1, max_size=8).map(lambda name: f"new{name}") | names,
    json_values,
    max_size=3,
)


@st.composite
def profiles(draw: st.DrawFn) -> EnrollmentProfile:
    """Return a profile of any settings that go together."""
    affinity = draw(st.sampled_from([UserAffinity.none(), UserAffinity.legacy(), UserAffinity.modern(PAGE)]))
    primary = draw(st.none() | st.builds(PrimaryAccount, account_names, full_names, st.booleans()))
    administrator = draw(
        st.none()
        | st.builds(
            AdministratorAccount,
            st.sampled_from(["admin", "admin-{{serialNumber}}", "{{partialupn}}x"]),
            full_names,
            st.booleans(),
            st.sampled_from([b"", b"hash"]),
        )
    )
    try:
        return EnrollmentProfile(
            name=draw(texts),
            url=URL,
            description=draw(optional_texts),
            user_affinity=affinity,
            await_final_configuration=draw(st.booleans()),
            locked=draw(st.booleans()),
            primary_account=primary,
            administrator=administrator,
            standard_user=administrator is not None and draw(st.booleans()),
            skip_primary_account=administrator is not None and primary is None and draw(st.booleans()),
            managed_user=draw(st.sampled_from(["", "admin", "mac-{{serialNumber}}"])),
            requires_network_tether=draw(st.booleans()),
            department=draw(optional_texts),
            support_phone_number=draw(optional_texts),
            support_email_address=draw(optional_texts),
            skip=draw(st.frozensets(screens, max_size=6)),
            anchor_certificates=draw(st.sampled_from([(), (b"0",)])),
            language=draw(st.sampled_from(["", "de"])),
            region=draw(st.sampled_from(["", "CH"])),
            auto_advance=(administrator is None or primary is None) and draw(st.booleans()),
            org_magic=draw(st.sampled_from(["contoso", "mdm.contoso.com"])),
            mandatory=draw(st.booleans()),
            extra=draw(st.sampled_from([{}, {"is_multi_user": True}])),
        )
    except ProfileError:
        assume(False)
        raise


def own_of(profile: EnrollmentProfile) -> OwnSettings:
    names = [field.name for field in attrs.fields(OwnSettings) if field.name not in ("url", "web_url")]
    return OwnSettings(url=URL, web_url=PAGE, **{name: getattr(profile, name) for name in names})


def as_written(profile: EnrollmentProfile) -> EnrollmentProfile:
    """Return the profile as it is written: effective values, without settings that have no effect."""
    return attrs.evolve(
        profile,
        await_final_configuration=profile.await_final_configuration,
        skip_primary_account=profile.skip_primary_account,
        standard_user=profile.standard_user and not profile.skip_primary_account,
    )


def differing(one: EnrollmentProfile, other: EnrollmentProfile) -> set[str]:
    """Return the settings of which something else was given."""
    return {
        field.alias or ""
        for field in attrs.fields(EnrollmentProfile)
        if getattr(one, field.name) != getattr(other, field.name)
    }


def written(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@given(profiles())
def test_a_profile_comes_back_and_what_does_not_was_reported(profile: EnrollmentProfile) -> None:
    export = profile_to_intune(profile)
    imported = profile_from_intune(json.loads(export.to_json()), own_of(profile))
    back, changes = imported.profile, {problem.setting.split(".")[0] for problem in export.problems}
    spelled = {spelling(str(key)) for key in profile.skip}
    assert {*map(str, back.skip), *imported.other_screens} == spelled
    assert imported.other_screens == spelled & NOT_ON_MACOS
    assert differing(back, profile) - {"skip"} <= changes & {
        *("administrator", "extra", "managed_user"),
        *("await_final_configuration", "skip_primary_account", "standard_user"),
    }
    assert differing(back, as_written(profile)) <= {
        "skip",
        "administrator",
        "extra",
        "managed_user",
    }
    assert back.administrator == (
        None if profile.administrator is None else attrs.evolve(profile.administrator, password_hash=b"")
    )
    second = profile_to_intune(imported)
    assert second.to_json() == export.to_json()
    expected = attrs.evolve(imported, profile=as_written(imported.profile))
    assert profile_from_intune(second.body, own_of(profile)) == expected


@given(profiles(), st.booleans(), unknown_members)
def test_an_imported_profile_comes_back_equal(
    profile: EnrollmentProfile, skip: bool, extra: dict[str, Any]
) -> None:
    assume(not extra.keys() & (SETTING_MEMBERS | NO_EQUAL.keys()))
    given_ = IntuneProfile(
        profile=attrs.evolve(
            as_written(attrs.evolve(profile, managed_user="")),
            administrator=None
            if not profile.administrator
            else attrs.evolve(profile.administrator, password_hash=b""),
            skip=profile.skip - {"Zoom", "android", "siri"},
            extra={},
        ),
        id="t_1",
        is_default=skip,
        other_screens=frozenset({"Zoom"} if skip else ()),
        extra=extra,
    )
    export = profile_to_intune(given_)
    again = profile_from_intune(json.loads(export.to_json()), own_of(profile))
    assert again == given_
    assert profile_to_intune(again).to_json() == export.to_json()


intune_profiles = st.fixed_dictionaries(
    {"displayName": texts},
    optional={
        **dict.fromkeys(BOOLEANS, st.none() | st.booleans()),
        "id": st.sampled_from(["", "t_1", None]),
        "description": optional_texts | st.none(),
        "requiresUserAuthentication": st.booleans() | st.none(),
        "configurationWebUrl": st.booleans(),
        "configurationEndpointUrl": st.sampled_from(["", "https://old.example/"]),
        "supervisedModeEnabled": st.just(True),
        "isMandatory": st.booleans(),
        "profileRemovalDisabled": st.none() | st.just(False),
        "waitForDeviceConfiguredConfirmation": st.none() | st.booleans(),
        "autoAdvanceSetupEnabled": st.booleans(),
        "requestRequiresNetworkTether": st.none() | st.booleans(),
        "enabledSkipKeys": st.none() | st.lists(screens.map(str), max_size=5),
        "skipPrimarySetupAccountCreation": st.none() | st.booleans(),
        "setPrimarySetupAccountAsRegularUser": st.none() | st.booleans(),
        "dontAutoPopulatePrimaryAccountInfo": st.none() | st.booleans(),
        "primaryAccountUserName": account_names | st.none(),
        "primaryAccountFullName": full_names | st.none(),
        "enableRestrictEditing": st.none() | st.booleans(),
        "adminAccountUserName": st.sampled_from(["", None, "admin", "admin-{{serialNumber}}"]),
        "adminAccountFullName": st.sampled_from(["", None, "Admin"]),
        "adminAccountPassword": st.none() | texts,
        "hideAdminAccount": st.none() | st.booleans(),
        "deviceNameTemplate": st.none() | optional_texts,
        "usePlatformSSODuringSetupAssistant": st.none() | st.booleans(),
        "enableAuthenticationViaCompanyPortal": st.none() | st.booleans(),
        "depProfileAdminAccountPasswordRotationSetting": st.sampled_from(
            [None, 0, 30, {"autoRotationPeriodInDays": 7, "later": 1}]
        ),
    },
)


@given(intune_profiles, unknown_members)
def test_any_profile_of_intunes_is_stable_after_the_first_way(
    body: dict[str, Any], extra: dict[str, Any]
) -> None:
    whole = {**extra, **body}
    try:
        imported = profile_from_intune(whole, OWN)
    except IntuneError as error:
        event("refused")
        misnamed = [one for one in error.problems if not one.setting.startswith(("$", "own."))]
    else:
        event("read")
        misnamed = []
        _check_stable(whole, imported)
    assert misnamed == []


def _check_stable(whole: dict[str, Any], imported: IntuneProfile) -> None:
    """A second way changes nothing, and what is lost on the first one is reported."""
    export = profile_to_intune(imported)
    again = profile_from_intune(json.loads(export.to_json()), OWN)
    assert again == attrs.evolve(imported, profile=as_written(imported.profile))
    assert profile_to_intune(again).to_json() == export.to_json()
    kept = {name for name, value in whole.items() if written(export.body.get(name)) == written(value)}
    lost = {name for name in whole.keys() - kept if whole[name] not in (None, False, "", [])}
    reported = {problem.setting.removeprefix("$.").split(".")[0] for problem in imported.problems}
    assert lost <= reported | {"enabledSkipKeys", "displayName"}


@given(
    st.fixed_dictionaries(
        {"tokenName": texts},
        optional={
            "tokenType": texts | st.sampled_from(["dep", "DEP", "none"]),
            "tokenExpirationDateTime": st.datetimes().map(lambda time: f"{time.isoformat()}Z"),
            "lastSuccessfulSyncDateTime": st.integers(-(10**13), 10**14).map(lambda ms: f"/Date({ms})/"),
            "lastSyncErrorCode": st.none() | st.integers(-5, 5),
            "syncedDeviceCount": st.none() | st.integers(0, 10),
            "roleScopeTagIds": st.none() | st.lists(texts, max_size=3),
            "defaultMacOsEnrollmentProfile": st.sampled_from([None, {}, {"id": "t_1", "displayName": "x"}]),
        },
    ),
    unknown_members,
)
def test_any_token_is_stable_after_the_first_way(body: dict[str, Any], extra: dict[str, Any]) -> None:
    token = token_from_intune({**extra, **body, TYPE: TOKEN})  # an unknown member may look like a profile's
    export = token_to_intune(token)
    again = token_from_intune(json.loads(export.to_json()))
    assert again == token
    assert token_to_intune(again).to_json() == export.to_json()
    assert {name: export.body[name] for name in extra.keys() - body.keys()} == {
        name: value for name, value in extra.items() if name not in body
    }


@given(
    st.fixed_dictionaries(
        {"serialNumber": texts},
        optional={
            "description": optional_texts | st.none(),
            "platform": texts | st.sampled_from(["macOS", "MACOS", None]),
            "enrollmentState": texts | st.sampled_from(["enrolled", ""]),
            "isDeleted": st.booleans() | st.none(),
            "requestedEnrollmentProfileId": optional_texts | st.none(),
            "lastContactedDateTime": st.datetimes().map(lambda time: f"{time.isoformat()}Z"),
        },
    ),
    unknown_members,
)
def test_any_device_is_stable_after_the_first_way(body: dict[str, Any], extra: dict[str, Any]) -> None:
    device = device_from_intune({**extra, **body, TYPE: DEVICE})  # an unknown member may look like a token's
    export = device_to_intune(device)
    again = device_from_intune(json.loads(export.to_json()))
    assert again == device
    assert device_to_intune(again).to_json() == export.to_json()


@pytest.mark.slow
def test_the_strategy_reaches_every_kind_of_sign_in() -> None:
    """And both accounts, so that the properties above say something."""
    seen: set[tuple[AffinityKind, bool, bool]] = set()

    @settings(max_examples=300, database=None, derandomize=True)
    @given(profiles())
    def look(profile: EnrollmentProfile) -> None:
        seen.add(
            (
                profile.user_affinity.kind,
                profile.primary_account is not None,
                profile.administrator is not None,
            )
        )

    look()
    assert len(seen) == 10
