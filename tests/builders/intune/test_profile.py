"""One profile of Intune: how it is read, what is refused, and how it is written."""

from __future__ import annotations

import json
import pickle
from typing import Any

import attrs
import pytest
from tests.cases import each

from pyade.builders.commands import build_account_configuration
from pyade.builders.dep_profile import to_apple
from pyade.builders.intune import (
    IntuneProfile,
    OwnSettings,
    PasswordRotation,
    policy_to_intune,
    profile_from_intune,
    profile_to_intune,
)
from pyade.builders.intune.fields import BOOLEANS
from pyade.core.macos.setup_screens import SkipKeys
from pyade.core.problems import Problem
from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount
from pyade.core.profile.affinity import AffinityKind, UserAffinity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.secret import Secret
from pyade.errors import IntuneError, ProfileError

URL = "https://mdm.contoso.com/enroll"
OWN = OwnSettings(url=URL, web_url="https://mdm.contoso.com/signin")
TYPE = "#microsoft.graph.depMacOSEnrollmentProfile"
MINIMAL = {
    "@odata.type": TYPE,
    "displayName": "Mac default",
    "isMandatory": True,
    "profileRemovalDisabled": True,
    "supervisedModeEnabled": True,
}
USER = {"requiresUserAuthentication": True}
ROTATION = "depProfileAdminAccountPasswordRotationSetting"


def as_written(imported: IntuneProfile) -> IntuneProfile:
    """Return it with its effective values as given ones, because Intune's JSON has only effective values."""
    profile = attrs.evolve(
        imported.profile,
        await_final_configuration=imported.profile.await_final_configuration,
        skip_primary_account=imported.profile.skip_primary_account,
    )
    return attrs.evolve(imported, profile=profile)


def read(**members: Any) -> IntuneProfile:
    """Return a small profile as it was read, and check that writing and reading it again changes nothing."""
    imported = profile_from_intune({**MINIMAL, **members}, OWN)
    if not imported.is_policy_backed:
        first = profile_to_intune(imported)
        again = profile_from_intune(json.loads(first.to_json()), OWN)
        assert again == as_written(imported)
        assert profile_to_intune(again).to_json() == first.to_json()
    return imported


def refused(**members: Any) -> list[str]:
    return refused_with(OWN, members)


def refused_with(own: OwnSettings, members: dict[str, Any]) -> list[str]:
    with pytest.raises(IntuneError) as caught:
        profile_from_intune({**MINIMAL, **members}, own)
    return [problem.setting for problem in caught.value.problems]


def settings(problems: tuple[Problem, ...]) -> list[str]:
    return [problem.setting for problem in problems]


def test_the_smallest_profile_of_today_is_read() -> None:
    """The result that its maker would expect: no accounts, since none are set."""
    imported = read(
        **USER,
        enableAuthenticationViaCompanyPortal=False,
        configurationWebUrl=True,
        waitForDeviceConfiguredConfirmation=True,
        enabledSkipKeys=["AppleID", "Siri", "Appearance", "OSShowcase"],
        chooseYourLockScreenDisabled=True,
        siriDisabled=True,
        appleIdDisabled=True,
        skipPrimarySetupAccountCreation=True,
        adminAccountUserName="",
    )
    assert imported.problems == ()
    assert to_apple(imported.profile) == {
        "profile_name": "Mac default",
        "url": URL,
        "configuration_web_url": "https://mdm.contoso.com/signin",
        "org_magic": "mdm.contoso.com",
        "is_mandatory": True,
        "is_supervised": True,
        "is_mdm_removable": False,
        "await_device_configured": True,
        "auto_advance_setup": False,
        "skip_setup_items": ["Appearance", "AppleID", "OSShowcase", "Siri"],
    }
    assert build_account_configuration(imported.profile, command_uuid="1") is None


def test_every_setting_finds_its_member_and_the_rest_is_reported() -> None:
    """The way out, for a profile without a default."""
    profile = EnrollmentProfile(
        name="Standard Mac",
        url=URL,
        description="For everybody",
        user_affinity=UserAffinity.modern("https://mdm.contoso.com/signin"),
        locked=True,
        primary_account=PrimaryAccount("{{partialupn}}", "{{username}}"),
        administrator=AdministratorAccount("localadmin", "Admin", True, b"hash"),
        standard_user=True,
        managed_user="localadmin",
        requires_network_tether=True,
        department="IT",
        support_phone_number="1",
        support_email_address="a@b.ch",
        skip={SkipKeys.SIRI, "NewIn28"},
        anchor_certificates=[b"0"],
        language="de",
        region="CH",
        org_magic="contoso",
        mandatory=False,
        extra={"is_multi_user": False},
    )
    export = profile_to_intune(profile)
    assert settings(export.problems) == [
        *("anchor_certificates", "support_email_address", "language", "region", "org_magic"),
        *("managed_user", "administrator.password_hash", "extra.is_multi_user"),
    ]
    values = {name: value for name, value in export.body.items() if value not in (False, None, "", [])}
    assert values == {
        "@odata.type": TYPE,
        "displayName": "Standard Mac",
        "description": "For everybody",
        "supportDepartment": "IT",
        "supportPhoneNumber": "1",
        "supervisedModeEnabled": True,
        "profileRemovalDisabled": True,
        "requestRequiresNetworkTether": True,
        "requiresUserAuthentication": True,
        "configurationWebUrl": True,
        "waitForDeviceConfiguredConfirmation": True,
        "enabledSkipKeys": ["NewIn28", "Siri"],
        "siriDisabled": True,
        "primaryAccountFullName": "{{username}}",
        "primaryAccountUserName": "{{partialupn}}",
        "enableRestrictEditing": True,
        "setPrimarySetupAccountAsRegularUser": True,
        "adminAccountUserName": "localadmin",
        "adminAccountFullName": "Admin",
        "hideAdminAccount": True,
    }
    own = OwnSettings(
        url=URL,
        web_url="https://mdm.contoso.com/signin",
        anchor_certificates=(b"0",),
        support_email_address="a@b.ch",
        language="de",
        region="CH",
        org_magic="contoso",
    )
    admin = AdministratorAccount("localadmin", "Admin", True)
    assert profile_from_intune(export.body, own).profile == attrs.evolve(
        profile, administrator=admin, managed_user="", extra={}
    )


class TestScreens:
    """``enabledSkipKeys`` and the Booleans."""

    @pytest.mark.parametrize("listed", [{}, {"enabledSkipKeys": None}])
    def test_an_old_export_has_only_booleans(self, listed: dict[str, Any]) -> None:
        imported = read(**listed, siriDisabled=True, restoreBlocked=True, locationDisabled=False)
        assert imported.profile.skip == {SkipKeys.SIRI, SkipKeys.RESTORE}
        assert imported.problems == ()

    def test_each_boolean_stands_for_its_own_key(self) -> None:
        keys = {name: read(**{name: True}).profile.skip for name in BOOLEANS if name != "zoomDisabled"}
        assert all(len(skip) == 1 for skip in keys.values())
        assert {key for skip in keys.values() for key in skip} == set(BOOLEANS.values()) - {"Zoom"}

    def test_known_keys_set_their_booleans_on_the_way_out(self) -> None:
        body = profile_to_intune(read(enabledSkipKeys=["TOS", "Appearance", "OSShowcase"])).body
        hidden = {name for name in BOOLEANS if body[name]}
        assert hidden == {"termsAndConditionsDisabled", "chooseYourLockScreenDisabled"}
        assert body["enabledSkipKeys"] == ["Appearance", "OSShowcase", "TOS"]

    def test_the_union_counts_where_both_disagree(self) -> None:
        imported = read(enabledSkipKeys=["Siri"], siriDisabled=False, restoreBlocked=True)
        assert imported.profile.skip == {SkipKeys.SIRI, SkipKeys.RESTORE}
        assert settings(imported.problems) == ["$.restoreBlocked", "$.siriDisabled"]
        assert "Siri" in str(imported.problems[1])

    def test_a_missing_boolean_is_no_disagreement(self) -> None:
        assert read(enabledSkipKeys=["Siri", "AppStore"], siriDisabled=None).problems == ()

    def test_choose_your_lock_screen_is_the_appearance(self) -> None:
        assert read(chooseYourLockScreenDisabled=True).profile.skip == {SkipKeys.APPEARANCE}

    def test_letter_case_is_corrected(self) -> None:
        imported = read(enabledSkipKeys=["siri", "icloudstorage"])
        assert imported.profile.skip == {SkipKeys.SIRI, SkipKeys.ICLOUD_STORAGE}
        assert settings(imported.problems) == ["$.enabledSkipKeys"] * 2

    def test_an_unknown_key_passes_through(self) -> None:
        imported = read(enabledSkipKeys=["NewIn28"])
        assert imported.profile.skip == {"NewIn28"}
        assert settings(imported.profile.problems) == ["skip"]

    def test_a_screen_that_no_mac_has_is_kept_for_intune_only(self) -> None:
        imported = read(zoomDisabled=True, enabledSkipKeys=["Zoom", "android"])
        assert imported.profile.skip == frozenset()
        assert imported.other_screens == {"Zoom", "Android"}
        body = profile_to_intune(imported).body
        assert (body["enabledSkipKeys"], body["zoomDisabled"]) == (["Android", "Zoom"], True)
        assert settings(read(zoomDisabled=False, enabledSkipKeys=["Zoom"]).problems) == [
            *("$.zoomDisabled", "$.enabledSkipKeys"),
        ]

    def test_the_older_type_has_booleans_of_its_own(self) -> None:
        body = {
            **MINIMAL,
            "@odata.type": "microsoft.graph.depEnrollmentProfile",
            "macOSFileVaultDisabled": True,
            "macOSRegistrationDisabled": True,
            "awaitDeviceConfiguredConfirmation": True,
            "iTunesPairingMode": "disallow",
        }
        imported = profile_from_intune(body, OWN)
        assert imported.profile.skip == {SkipKeys.FILE_VAULT, SkipKeys.REGISTRATION}
        assert imported.profile.await_final_configuration
        assert settings(imported.problems) == ["$.iTunesPairingMode"]
        export = profile_to_intune(imported)
        assert export.body["@odata.type"] == TYPE
        assert "macOSFileVaultDisabled" not in export.body
        assert profile_from_intune(export.body, OWN) == imported


class TestAddresses:
    """Intune has addresses of its own."""

    def test_intunes_address_is_never_taken_for_the_url(self) -> None:
        address = "https://appleconfigurator2.manage.microsoft.com/MDMServiceConfig?AADTenantId=1"
        imported = read(configurationEndpointUrl=address)
        assert imported.profile.url == URL
        assert settings(imported.problems) == ["$.configurationEndpointUrl"]
        assert "AADTenantId" not in str(imported)
        assert profile_to_intune(imported).body["configurationEndpointUrl"] == ""

    def test_a_sign_in_page_must_be_given(self) -> None:
        own = OwnSettings(url=URL)
        assert refused_with(own, {**USER, "configurationWebUrl": True}) == ["$.configurationWebUrl"]

    def test_a_sign_in_page_that_is_not_used_does_no_harm(self) -> None:
        assert read(**USER).profile.user_affinity == UserAffinity.legacy()
        assert read().profile.user_affinity == UserAffinity.none()

    def test_own_settings_that_break_a_rule_are_named(self) -> None:
        own = OwnSettings(url="http://mdm.contoso.com/", web_url="https://idp.contoso.com/", region="usa")
        assert refused_with(own, {**USER, "configurationWebUrl": True}) == [
            "own.url",
            "own.web_url",
            "own.region",
        ]


class TestAffinity:
    """Which members make a kind of sign-in."""

    @each(
        ("members", "kind"),
        [
            ({}, AffinityKind.NONE),
            ({"requiresUserAuthentication": None, "configurationWebUrl": None}, AffinityKind.NONE),
            ({**USER, "configurationWebUrl": True}, AffinityKind.MODERN),
            ({**USER, "configurationWebUrl": False}, AffinityKind.LEGACY),
        ],
    )
    def test_the_kind_follows(self, members: dict[str, Any], kind: AffinityKind) -> None:
        imported = read(**members)
        assert imported.profile.user_affinity.kind is kind
        assert imported.problems == ()

    @pytest.mark.parametrize(
        "name", ["enableAuthenticationViaCompanyPortal", "usePlatformSSODuringSetupAssistant"]
    )
    def test_sign_in_elsewhere_has_no_equal(self, name: str) -> None:
        imported = read(**USER, **{name: True})
        assert imported.profile.user_affinity.kind is AffinityKind.LEGACY
        assert settings(imported.problems) == [f"$.{name}"]
        assert imported.extra == {name: True}

    def test_a_page_without_a_user_is_refused(self) -> None:
        assert refused(configurationWebUrl=True) == ["$.configurationWebUrl"]

    def test_platform_sso_and_a_page_are_refused_both_ways(self) -> None:
        sso = {"usePlatformSSODuringSetupAssistant": True}
        assert refused(**USER, configurationWebUrl=True, **sso) == ["$.usePlatformSSODuringSetupAssistant"]
        imported = read(**USER, **sso)
        modern = attrs.evolve(imported.profile, user_affinity=UserAffinity.modern(OWN.web_url))
        with pytest.raises(IntuneError, match="refuses both"):
            profile_to_intune(attrs.evolve(imported, profile=modern))


class TestAccounts:
    """What each combination of account members means."""

    def test_skipping_without_an_administrator_means_no_settings(self) -> None:
        imported = read(**USER, skipPrimarySetupAccountCreation=True, dontAutoPopulatePrimaryAccountInfo=True)
        assert imported.profile.primary_account is None
        assert imported.profile.administrator is None
        assert not imported.skip_primary_account
        assert not imported.profile.await_final_configuration
        assert imported.problems == ()
        assert build_account_configuration(imported.profile, command_uuid="1") is None

    def test_skipping_with_an_administrator_leaves_only_that_one(self) -> None:
        imported = read(
            waitForDeviceConfiguredConfirmation=True,
            skipPrimarySetupAccountCreation=True,
            adminAccountUserName="admin",
            adminAccountFullName="Admin",
            hideAdminAccount=True,
        )
        assert imported.profile.administrator == AdministratorAccount("admin", "Admin", hidden=True)
        assert imported.skip_primary_account
        assert imported.profile.primary_account is None

    def test_names_are_prefilled(self) -> None:
        imported = read(
            **USER,
            waitForDeviceConfiguredConfirmation=True,
            primaryAccountUserName="{{partialupn}}",
            primaryAccountFullName="{{username}}",
            enableRestrictEditing=True,
        )
        assert imported.profile.primary_account == PrimaryAccount("{{partialupn}}", "{{username}}")
        assert imported.problems == ()

    def test_no_prefilling_is_said_to_the_mac(self) -> None:
        imported = read(
            **USER,
            waitForDeviceConfiguredConfirmation=True,
            dontAutoPopulatePrimaryAccountInfo=True,
        )
        assert imported.profile.primary_account == PrimaryAccount(restrict_editing=False)

    def test_without_a_user_there_is_no_account_not_to_prefill(self) -> None:
        imported = read(dontAutoPopulatePrimaryAccountInfo=True)
        assert imported.profile.primary_account is None
        assert not imported.profile.await_final_configuration

    def test_names_that_are_not_prefilled_are_left_out(self) -> None:
        imported = read(
            **USER,
            waitForDeviceConfiguredConfirmation=True,
            dontAutoPopulatePrimaryAccountInfo=True,
            primaryAccountUserName="ada",
            primaryAccountFullName="Ada",
            enableRestrictEditing=True,
        )
        account = imported.profile.primary_account
        assert account is not None
        assert account.account_name == account.full_name == ""
        assert settings(imported.problems) == [
            "$.primaryAccountUserName",
            "$.primaryAccountFullName",
            "$.enableRestrictEditing",
        ]

    @pytest.mark.parametrize("regular", [True, False])
    def test_a_standard_user_needs_an_administrator(self, regular: bool) -> None:
        members = {
            "setPrimarySetupAccountAsRegularUser": regular,
            "waitForDeviceConfiguredConfirmation": True,
        }
        alone = read(**USER, **members, primaryAccountUserName="ada")
        assert not alone.standard_user
        expected = ["$.setPrimarySetupAccountAsRegularUser"] if regular else []
        assert settings(alone.problems) == expected
        both = read(**USER, **members, primaryAccountUserName="ada", adminAccountUserName="admin")
        assert both.standard_user is both.profile.standard_user is regular
        assert both.problems == ()

    def test_what_has_no_effect_is_named(self) -> None:
        imported = read(
            skipPrimarySetupAccountCreation=True,
            primaryAccountUserName="{{partialupn}}",
            setPrimarySetupAccountAsRegularUser=True,
            adminAccountFullName="Admin",
            hideAdminAccount=True,
        )
        assert settings(imported.problems) == [
            "$.primaryAccountUserName",
            "$.setPrimarySetupAccountAsRegularUser",
            "$.adminAccountFullName",
            "$.hideAdminAccount",
        ]
        skipped = read(
            waitForDeviceConfiguredConfirmation=True,
            skipPrimarySetupAccountCreation=True,
            setPrimarySetupAccountAsRegularUser=True,
            adminAccountUserName="admin",
        )
        assert settings(skipped.problems) == ["$.setPrimarySetupAccountAsRegularUser"]

    @pytest.mark.parametrize("member", ["primaryAccountUserName", "adminAccountUserName"])
    def test_accounts_make_the_mac_wait_and_false_is_remembered(self, member: str) -> None:
        imported = read(**USER, waitForDeviceConfiguredConfirmation=False, **{member: "ada"})
        assert imported.profile.await_final_configuration
        assert settings(imported.problems) == ["$.waitForDeviceConfiguredConfirmation"]
        without = attrs.evolve(imported.profile, primary_account=None, administrator=None)
        assert not without.await_final_configuration
        export = profile_to_intune(imported)
        assert export.body["waitForDeviceConfiguredConfirmation"] is True
        assert settings(export.problems) == ["await_final_configuration"]

    @pytest.mark.parametrize("member", ["primaryAccountUserName", "adminAccountUserName"])
    def test_where_nothing_is_said_about_waiting_there_is_nothing_to_remember(self, member: str) -> None:
        imported = read(**USER, **{member: "ada"})
        assert settings(imported.problems) == ["$.waitForDeviceConfiguredConfirmation"]
        assert profile_to_intune(imported).problems == ()
        assert imported == as_written(imported)

    def test_auto_advance_skips_the_account_beside_an_administrator(self) -> None:
        members = {"autoAdvanceSetupEnabled": True, "waitForDeviceConfiguredConfirmation": True}
        imported = read(**members, adminAccountUserName="admin")
        assert imported.skip_primary_account
        assert settings(imported.problems) == ["$.skipPrimarySetupAccountCreation"]
        export = profile_to_intune(imported)
        assert export.body["skipPrimarySetupAccountCreation"] is True
        assert settings(export.problems) == ["skip_primary_account"]
        assert not attrs.evolve(imported.profile, auto_advance=False).skip_primary_account
        both = {"adminAccountUserName": "admin", "primaryAccountUserName": "ada"}
        assert refused(**USER, **members, **both) == ["$.autoAdvanceSetupEnabled"]

    def test_auto_advance_and_names_that_are_not_prefilled_are_no_contradiction(self) -> None:
        """That nothing is prefilled asks for no account."""
        members = {"autoAdvanceSetupEnabled": True, "dontAutoPopulatePrimaryAccountInfo": True}
        imported = read(**USER, **members, adminAccountUserName="admin")
        assert imported.profile.primary_account is None
        assert imported.skip_primary_account
        assert "$.skipPrimarySetupAccountCreation" in settings(imported.problems)
        body = profile_to_intune(imported).body
        assert profile_to_intune(profile_from_intune(body, OWN)).body == body

    def test_what_has_no_effect_beside_the_administrator_is_not_written(self) -> None:
        profile = EnrollmentProfile(
            name="x",
            url=URL,
            administrator=AdministratorAccount("admin"),
            skip_primary_account=True,
            standard_user=True,
        )
        export = profile_to_intune(profile)
        assert export.body["setPrimarySetupAccountAsRegularUser"] is False
        assert settings(export.problems) == ["standard_user"]
        assert settings(policy_to_intune(profile, token_id="t").problems)[-1] == "standard_user"

    @pytest.mark.parametrize("member", ["primaryAccountUserName", "adminAccountUserName"])
    def test_a_users_variable_without_a_user_is_refused(self, member: str) -> None:
        assert f"$.{member}" in refused(**{member: "{{partialupn}}"})
        assert f"$.{member}" in refused(**USER, **{member: "{{nobody}}"})

    def test_the_further_variables_are_taken(self) -> None:
        imported = read(
            **USER,
            waitForDeviceConfiguredConfirmation=True,
            primaryAccountUserName="{{OnPremisesSamAccountName}}",
            primaryAccountFullName="{{username}} {{serialNumber}}",
            adminAccountUserName="{{managedDeviceName}}",
            adminAccountFullName="{{serialnumber}}",
        )
        assert imported.problems == ()

    def test_a_password_becomes_a_secret(self) -> None:
        body = {**MINIMAL, "adminAccountUserName": "admin", "adminAccountPassword": "Tr0ub4dor&3"}
        imported = profile_from_intune(body, OWN)
        assert imported.administrator_password == Secret("Tr0ub4dor&3")
        assert settings(imported.problems) == [
            "$.adminAccountPassword",
            "$.waitForDeviceConfiguredConfirmation",
        ]
        export = profile_to_intune(imported)
        assert export.body["adminAccountPassword"] is None
        texts = [repr(imported), str(imported.problems), repr(imported.problems), export.to_json().decode()]
        assert "Tr0ub4dor" not in "".join(texts)
        assert profile_from_intune(export.body, OWN) == imported

    def test_a_password_of_the_wrong_kind_is_not_shown(self) -> None:
        with pytest.raises(IntuneError) as caught:
            profile_from_intune({**MINIMAL, "adminAccountPassword": ["Tr0ub4dor&3"]}, OWN)
        assert "Tr0ub4dor" not in str(caught.value) + repr(caught.value)

    def test_a_profile_without_settings_looks_like_intunes_own(self) -> None:
        body = profile_to_intune(EnrollmentProfile(name="x", url=URL)).body
        assert body["skipPrimarySetupAccountCreation"] is True
        assert body["dontAutoPopulatePrimaryAccountInfo"] is True
        assert body["primaryAccountUserName"] == body["adminAccountUserName"] == ""


class TestPasswordRotation:
    """When Intune changes the administrator's password."""

    @each(
        ("value", "expected"),
        [
            (None, None),
            (30, PasswordRotation(period_days=30)),
            ({"autoRotationPeriodInDays": 180}, PasswordRotation(period_days=180)),
            ({"autoRotationPeriodInDays": 0}, PasswordRotation(period_days=0)),
            (0, PasswordRotation(period_days=0)),
            (
                {
                    "autoRotationPeriodInDays": 1,
                    "depProfileDelayAutoRotationSetting": {
                        "onRetrievalAutoRotatePasswordEnabled": True,
                        "onRetrievalDelayAutoRotatePasswordInHours": 24,
                    },
                },
                PasswordRotation(period_days=1, hours_after_viewing=24),
            ),
            (
                {
                    "autoRotationPeriodInDays": 1,
                    "depProfileDelayAutoRotationSetting": {
                        "onRetrievalAutoRotatePasswordEnabled": False,
                        "onRetrievalDelayAutoRotatePasswordInHours": 0,
                    },
                },
                PasswordRotation(period_days=1),
            ),
        ],
    )
    def test_it_is_read(self, value: Any, expected: PasswordRotation | None) -> None:
        imported = read(**{ROTATION: value})
        assert imported.password_rotation == expected
        assert settings(imported.problems) == ([] if value is None else [f"$.{ROTATION}"])

    @each(
        ("value", "path"),
        [
            (181, ".autoRotationPeriodInDays"),
            ({"autoRotationPeriodInDays": -1}, ".autoRotationPeriodInDays"),
            ({"autoRotationPeriodInDays": "30"}, ".autoRotationPeriodInDays"),
            ({"autoRotationPeriodInDays": True}, ".autoRotationPeriodInDays"),
            ("30", ""),
            ({"depProfileDelayAutoRotationSetting": 8}, ".depProfileDelayAutoRotationSetting"),
            (
                {"depProfileDelayAutoRotationSetting": {"onRetrievalAutoRotatePasswordEnabled": True}},
                ".depProfileDelayAutoRotationSetting.onRetrievalDelayAutoRotatePasswordInHours",
            ),
        ],
    )
    def test_what_intune_does_not_allow_is_refused(self, value: Any, path: str) -> None:
        assert refused(**{ROTATION: value}) == [f"$.{ROTATION}{path}"]
        with pytest.raises(IntuneError):
            IntuneProfile(profile=EnrollmentProfile(name="x", url=URL), extra={ROTATION: value})

    def test_what_graph_adds_to_it_later_survives(self) -> None:
        value = {"autoRotationPeriodInDays": 9, "later": [1], "@odata.id": "x"}
        assert profile_to_intune(read(**{ROTATION: value})).body[ROTATION] == {
            "autoRotationPeriodInDays": 9,
            "later": [1],
        }


class TestPolicyMirrors:
    """What newer enrollment policies look like among the profiles."""

    def test_a_mirror_is_read_only(self) -> None:
        imported = read(id="ECV2_tok_pol")
        assert imported.is_policy_backed
        assert imported.token_id == "tok"
        with pytest.raises(IntuneError, match="force"):
            profile_to_intune(imported)
        assert profile_to_intune(imported, force=True).body["id"] == "ECV2_tok_pol"

    def test_a_profile_names_its_token(self) -> None:
        assert read(id="tok_pro").token_id == "tok"
        assert not read(id="tok_pro").is_policy_backed
        assert read().token_id == ""


class TestForms:
    """What other members and kinds of values come to."""

    def test_both_spellings_of_the_type_and_none_are_taken(self) -> None:
        for kind in (TYPE, TYPE.removeprefix("#"), None):
            assert profile_from_intune({**MINIMAL, "@odata.type": kind}, OWN).profile.name == "Mac default"

    @each(
        "body",
        [
            {"@odata.type": "#microsoft.graph.depIOSEnrollmentProfile", "displayName": "x"},
            {"displayName": "x", "enableSharedIPad": True},
            {"displayName": "x", "serialNumber": "C02", "discoverySource": "unknown"},
        ],
    )
    def test_another_kind_of_object_is_refused(self, body: dict[str, Any]) -> None:
        with pytest.raises(IntuneError, match="depMacOSEnrollmentProfile"):
            profile_from_intune(body, OWN)

    @each("body", [None, [], "x", 7])
    def test_what_is_no_object_is_refused(self, body: Any) -> None:
        with pytest.raises(IntuneError, match=r"^\$: an object, not"):
            profile_from_intune(body, OWN)

    def test_unknown_members_survive_and_are_named(self) -> None:
        new = {"newMember": {"a": [1, None, 1.5]}, "newFlag": False, "newNull": None, "odd name\n": "x"}
        imported = read(**new)
        assert imported.extra == new
        assert settings(imported.problems) == ["$.newMember", "$['odd name\\n']"]
        body = profile_to_intune(imported).body
        assert {name: body[name] for name in new} == new

    def test_annotations_are_dropped_but_nested_types_are_not(self) -> None:
        nested = {"@odata.type": "microsoft.graph.x", "@odata.id": "1", "a@odata.type": "#Collection(String)"}
        imported = read(**{"new": nested, "roleScopeTagIds@odata.type": "x", "@odata.editLink": "x"})
        assert imported.extra == {"new": {"@odata.type": "microsoft.graph.x"}}

    def test_old_dates_are_not_written_back(self) -> None:
        imported = read(createdDateTime="/Date(1571240587193)/", note="/Date(1571240587193)/")
        assert imported.extra == {
            "createdDateTime": "2019-10-16T15:43:07.193000Z",
            "note": "/Date(1571240587193)/",
        }

    def test_members_without_an_equal_are_named_where_they_say_something(self) -> None:
        silent: dict[str, Any] = {
            "deviceNameTemplate": "",
            "enrollmentTimeAzureAdGroupIds": [],
            "requireCompanyPortalOnSetupAssistantEnrolledDevices": None,
        }
        assert read(**silent).problems == ()
        assert read(**silent).extra == {}
        loud = {
            "deviceNameTemplate": "{{SERIAL}}",
            "enrollmentTimeAzureAdGroupIds": ["1"],
            "requireCompanyPortalOnSetupAssistantEnrolledDevices": True,
        }
        imported = read(**loud)
        assert imported.extra == loud
        assert set(settings(imported.problems)) == {f"$.{name}" for name in loud}

    @pytest.mark.parametrize("value", [True, False, None])
    def test_the_wired_network_is_a_setting(self, value: bool | None) -> None:
        imported = read(requestRequiresNetworkTether=value, adminAccountUserName="admin")
        assert imported.profile.requires_network_tether is bool(value)
        assert imported.extra == {}
        assert profile_to_intune(imported).body["requestRequiresNetworkTether"] is bool(value)

    def test_everything_of_the_wrong_kind_is_named_at_once(self) -> None:
        wrong = {
            "displayName": 7,
            "isMandatory": "yes",
            "enabledSkipKeys": ["Siri", 7],
            "siriDisabled": 1,
            "deviceNameTemplate": True,
            "new": {"x": float("nan")},
        }
        assert refused(new=wrong["new"]) == ["$.new.x"]
        del wrong["new"]
        assert set(refused(**wrong)) == {f"$.{name}" for name in wrong}

    @each("value", [{1: 2}, {"a": {"\ud800": 1}}, "\ud800", b"x", object(), float("inf"), {1, 2}])
    def test_what_json_cannot_hold_is_refused(self, value: Any) -> None:
        assert len(refused(new=value)) == 1
        with pytest.raises(IntuneError):
            IntuneProfile(profile=EnrollmentProfile(name="x", url=URL), extra={"new": value})

    def test_values_may_not_be_nested_without_end(self) -> None:
        value: list[Any] = []
        value.append(value)
        with pytest.raises(IntuneError, match="levels"):
            read(new=value)

    def test_a_broken_rule_is_named_by_its_member(self) -> None:
        broken = refused(
            displayName="",
            supportDepartment="x" * 126,
            supportPhoneNumber="1\n2",
            supervisedModeEnabled=False,
            enabledSkipKeys=[""],
        )
        assert set(broken) == {
            *("$.displayName", "$.supportDepartment", "$.supportPhoneNumber"),
            *("$.profileRemovalDisabled", "$.enabledSkipKeys"),
        }

    def test_a_lock_that_only_one_of_two_members_knows_is_worth_a_look(self) -> None:
        imported = read(isMandatory=True, profileRemovalDisabled=False)
        assert (imported.profile.mandatory, imported.profile.locked) == (True, False)
        assert settings(imported.problems) == ["$.profileRemovalDisabled"]

    def test_graph_does_not_take_what_is_read_only(self) -> None:
        imported = read(id="tok_pro", isDefault=True)
        assert imported.is_default
        assert {"id", "isDefault", "configurationEndpointUrl"} & set(
            profile_to_intune(imported, writable_only=True).body
        ) == set()

    def test_extra_holds_no_member_that_has_a_setting(self) -> None:
        with pytest.raises(IntuneError, match=r"extra\.siriDisabled"):
            IntuneProfile(profile=EnrollmentProfile(name="x", url=URL), extra={"siriDisabled": True})

    def test_what_was_found_is_not_part_of_a_comparison(self) -> None:
        one = IntuneProfile(profile=EnrollmentProfile(name="x", url=URL))
        other = attrs.evolve(one, problems=(Problem("x", "", "", ""),), administrator_password="secret")
        assert one == other
        assert hash(one) == hash(other)

    def test_the_error_is_a_profile_error_and_can_be_pickled(self) -> None:
        with pytest.raises(ProfileError) as caught:
            profile_from_intune({}, OWN)
        again = pickle.loads(pickle.dumps(caught.value))
        assert isinstance(again, IntuneError)
        assert again.problems == caught.value.problems
