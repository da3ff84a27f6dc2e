"""Intune's enrollment policies: read as profiles, preferred to their mirrors, and written complete."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.builders.intune.test_profile import as_written
from tests.cases import each

from pyade.builders.intune import (
    IntunePolicy,
    IntuneProfile,
    IntuneTenant,
    OwnSettings,
    PasswordRotation,
    policy_from_intune,
    policy_to_intune,
    profile_from_intune,
    profile_to_intune,
    read_intune,
    write_intune,
)
from pyade.builders.intune.exports import Writable
from pyade.builders.intune.policy_settings import BY_ID, TOP
from pyade.core.macos.setup_screens import SkipKeys
from pyade.core.problems import Problem, Severity
from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount
from pyade.core.profile.affinity import AffinityKind, UserAffinity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import IntuneError

FOLDER = Path(__file__).parent
URL, PAGE = "https://mdm.contoso.com/enroll", "https://mdm.contoso.com/signin"
OWN = OwnSettings(url=URL, web_url=PAGE)
TOKEN = "c0a8b1de-14f2-4f0e-8f7a-6e5d4c3b2a19"
POLICY = "44444444-5555-4666-8777-888888888888"
ID = f"ECV2_{TOKEN}_{POLICY}"
ACCOUNTS = "ade_accountsettings_"
ROTATION = "ade_accountsettings_adminaccountpasswordrotation"
Change = Callable[[dict[str, Any]], None]


def export() -> list[Any]:
    """Return pages of a token with its default, a mirror, the policy as Graph answers it, and devices."""
    document: list[Any] = json.loads((FOLDER / "policy.json").read_text("utf-8"))
    return document


def policy(**members: Any) -> dict[str, Any]:
    body: dict[str, Any] = export()[2]
    return {**body, **members}


def mirror(**members: Any) -> dict[str, Any]:
    body: dict[str, Any] = export()[1]["value"][0]
    return {**body, **members}


def instances(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return every instance in a policy by its definition, however deep, to be looked at or changed."""
    found: dict[str, dict[str, Any]] = {}
    parts = [setting["settingInstance"] for setting in body["settings"]]
    while parts:
        part = parts.pop()
        found[part["settingDefinitionId"]] = part
        parts += part.get("choiceSettingValue", {}).get("children", [])
    return found


def choose(definition: str, option: int | str) -> Change:
    def change(body: dict[str, Any]) -> None:
        value = f"{definition}_{option}" if isinstance(option, int) else option
        instances(body)[definition]["choiceSettingValue"]["value"] = value

    return change


def drop(definition: str) -> Change:
    """Return what takes a setting away, wherever it stands."""

    def change(body: dict[str, Any]) -> None:
        body["settings"] = [
            one for one in body["settings"] if one["settingInstance"]["settingDefinitionId"] != definition
        ]
        for one in instances(body).values():
            if holder := one.get("choiceSettingValue"):
                holder["children"] = [
                    child for child in holder["children"] if child["settingDefinitionId"] != definition
                ]

    return change


def set_rotation(days: Any) -> Change:
    def change(body: dict[str, Any]) -> None:
        instances(body)[ROTATION]["simpleSettingValue"]["value"] = days

    return change


def choice(definition: str, value: str, **more: Any) -> dict[str, Any]:
    return {"settingDefinitionId": definition, "choiceSettingValue": {"value": value, "children": []}, **more}


def read(*changes: Change, **members: Any) -> IntuneProfile:
    """Return the profile of the policy, changed, and check that a way there and back changes nothing more."""
    body = policy(**members)
    for change in changes:
        change(body)
    found = policy_from_intune(body, OWN)
    if found.profile.user_affinity.kind is not AffinityKind.LEGACY:
        first = policy_to_intune(found)
        again = policy_from_intune(json.loads(first.to_json()), OWN)
        assert again == as_written(found)
        assert policy_to_intune(again).to_json() == first.to_json()
    return found


def refused(*changes: Change, **members: Any) -> list[str]:
    body = policy(**members)
    for change in changes:
        change(body)
    with pytest.raises(IntuneError) as caught:
        policy_from_intune(body, OWN)
    return [problem.setting for problem in caught.value.problems]


def settings_of(problems: tuple[Problem, ...]) -> set[str]:
    return {problem.setting for problem in problems}


def test_a_policy_is_read_as_a_profile() -> None:
    """With what else it holds, its id and its token."""
    found = read()
    assert (found.id, found.token_id, found.policy_id) == (ID, TOKEN, POLICY)
    assert found.is_policy_backed
    assert found.profile == EnrollmentProfile(
        name="Policy for Macs",
        url=URL,
        description="Macs of people",
        standard_user=True,
        user_affinity=UserAffinity.modern(PAGE),
        locked=True,
        primary_account=PrimaryAccount("{{partialupn}}", "{{username}}"),
        administrator=AdministratorAccount("localadmin", "Service Desk", hidden=True),
        department="Service Desk",
        support_phone_number="+1 555 0100",
        skip={
            *(SkipKeys.RESTORE, SkipKeys.APPLE_ID, SkipKeys.TOS, SkipKeys.PAYMENT, SkipKeys.SIRI),
            *(SkipKeys.DIAGNOSTICS, SkipKeys.ICLOUD_DIAGNOSTICS, SkipKeys.ICLOUD_STORAGE),
            *(SkipKeys.SCREEN_TIME, SkipKeys.PRIVACY, SkipKeys.UNLOCK_WITH_WATCH, SkipKeys.OS_SHOWCASE),
            *(SkipKeys.ENABLE_LOCKDOWN_MODE, SkipKeys.UPDATE_COMPLETED, SkipKeys.LIQUID_GLASS),
        },
    )
    assert (found.standard_user, found.skip_primary_account) == (True, False)
    assert found.password_rotation == PasswordRotation(period_days=14)
    assert found.policy is not None
    assert found.policy.scope_tags == {"0"}
    assert [kept.definition for kept in found.policy.unknown] == ["ade_setupassistant_liquidglass"]
    assert settings_of(found.problems) == {
        "$.settings.ade_setupassistant_liquidglass",
        f"$.settings.{ACCOUNTS}adminaccountpasswordrotation",
    }


def test_a_profile_its_policy_and_the_mirror_of_it_are_equal() -> None:
    """The classic one is another object, with an id of its own."""
    of_policy = read()
    of_mirror = profile_from_intune(mirror(), OWN)
    classic = profile_from_intune(mirror(id=f"{TOKEN}_1"), OWN)
    assert of_policy.profile == of_mirror.profile == classic.profile
    for name in ("skip_primary_account", "standard_user", "password_rotation"):
        assert getattr(of_policy, name) == getattr(of_mirror, name) == getattr(classic, name)
    written = policy_to_intune(attrs.evolve(classic, profile=without_liquid_glass(classic.profile)))
    again = policy_from_intune(written.body, OWN)
    assert again.profile == without_liquid_glass(of_policy.profile)
    assert again.standard_user
    assert again.password_rotation == PasswordRotation(period_days=14)


def without_liquid_glass(profile: EnrollmentProfile) -> EnrollmentProfile:
    return attrs.evolve(profile, skip=profile.skip - {SkipKeys.LIQUID_GLASS})


def test_a_policy_is_preferred_to_its_mirror() -> None:
    """Beside it and as the expanded default of its token; the devices name both ids."""
    tenant = read_intune(json.dumps(export()), OWN)
    (found,) = tenant.profiles
    assert found.policy is not None
    assert tenant.others == ()
    assert tenant.default_profile(tenant.tokens[0]) is found
    assert [one.serial_number for one in tenant.devices_of(found)] == ["C02POLICY001", "C02POLICY002"]
    assert settings_of(tenant.problems) == {
        "$[2].settings.ade_setupassistant_liquidglass",
        f"$[2].settings.{ACCOUNTS}adminaccountpasswordrotation",
    }
    items: list[Writable] = [*tenant.tokens, *tenant.profiles, *tenant.devices]
    first = write_intune(items).to_json()
    again = read_intune(first, OWN)
    assert again.profiles == tenant.profiles
    assert again.default_profile(again.tokens[0]) == found
    assert write_intune([*again.tokens, *again.profiles, *again.devices]).to_json() == first


@each("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_order_of_an_export_does_not_count(order: tuple[int, ...]) -> None:
    """The policy may come first or last."""
    pages = export()
    (found,) = read_intune([pages[index] for index in order], OWN).profiles
    assert found == read()


def test_a_policy_that_differs_from_its_mirror_is_found() -> None:
    """The policy is used. Intune derives the mirror from it, so an administrator should compare them."""
    accounts = {"skipPrimarySetupAccountCreation": True, "enableRestrictEditing": False}
    other = mirror(supportDepartment="Other", **accounts)
    tenant = read_intune([policy(), other], OWN)
    (found,) = tenant.profiles
    assert found.profile.department == "Service Desk"
    (problem,) = [one for one in tenant.problems if one.setting == f"profile {ID}"]
    assert problem.value == "primary_account, standard_user, skip_primary_account, department"


def test_a_policy_that_names_no_token_learns_it_from_its_mirror() -> None:
    """Only from the mirror of the same policy, and of the same token if it names one."""
    nameless = policy(creationSource=None)
    alone = read_intune(nameless, OWN)
    assert (alone.profiles[0].id, alone.profiles[0].token_id) == (f"ECV2__{POLICY}", "")
    assert "$.creationSource" in settings_of(alone.problems)
    (found,) = read_intune([nameless, mirror()], OWN).profiles
    assert found.token_id == TOKEN
    assert (found.id, found.profile) == (ID, read().profile)
    assert len(read_intune([nameless, mirror(id=f"ECV2_{TOKEN}_other")], OWN).profiles) == 2
    assert len(read_intune([policy(), mirror(id=f"ECV2_other_{POLICY}")], OWN).profiles) == 2


@each(
    "given, reason",
    [
        (policy(settings=None), "$expand=settings"),
        ({name: value for name, value in policy().items() if name != "settings"}, "$expand=settings"),
        (policy(settings=[]), "$expand=settings"),
        (policy(templateReference={"templateId": "27d20e9c-50c1-48f8-a44c-f37de4510051_1"}), "not for iOS"),
        (policy(templateReference=None, platforms="tvOS"), "not for tvOS"),
        (policy(templateReference=None, platforms=None), "not for no platform"),
        (policy(templateReference=None, technologies="mdm,appleRemoteManagement"), "not for another purpose"),
        (policy(templateReference={"templateId": "x_1"}, technologies=None), "not for another purpose"),
    ],
)
def test_a_policy_that_is_no_enrollment_profile_for_macs_is_kept(given: dict[str, Any], reason: str) -> None:
    """As it came, with a problem that says why; the mirror stands for one that is only named."""
    tenant = read_intune([given, mirror()], OWN)
    assert [one.policy for one in tenant.profiles] == [None]
    assert tenant.others == (given,)
    (problem,) = [one for one in tenant.problems if one.setting == "$[0]"]
    assert problem.severity is Severity.WARNING
    assert reason in problem.allowed
    with pytest.raises(IntuneError, match="\\$: "):
        policy_from_intune(given, OWN)


@each("technologies", ["enrollment", "enrollment,mdm", "mdm, enrollment"])
def test_a_policy_without_a_template_is_told_by_what_it_is_for(technologies: str) -> None:
    """And one without a type by its members."""
    given = policy(templateReference=None, technologies=technologies, platforms="macos")
    assert read_intune(given, OWN).profiles[0].profile == read().profile
    typed = {**given, "@odata.type": "#microsoft.graph.deviceManagementConfigurationPolicy"}
    assert read_intune(typed, OWN).profiles == read_intune(given, OWN).profiles
    with pytest.raises(IntuneError, match="depMacOSEnrollmentProfile"):
        profile_from_intune(typed, OWN)
    with pytest.raises(IntuneError, match="deviceManagementConfigurationPolicy"):
        policy_from_intune(mirror(), OWN)


def test_a_policy_that_cannot_be_read_leaves_its_mirror() -> None:
    """With an error that says what is not known."""
    body = policy()
    choose("ade_macos_useraffinity", "ade_macos_useraffinity_7")(body)
    tenant = read_intune([body, mirror()], OWN)
    assert [one.id for one in tenant.profiles] == [ID]
    assert tenant.profiles[0].policy is None
    assert tenant.others == (body,)
    (problem,) = [one for one in tenant.problems if one.severity is Severity.ERROR]
    assert problem.setting == "$[0].settings.ade_macos_useraffinity"
    assert problem.value == "ade_macos_useraffinity_7"
    assert "ade_macos_useraffinity_0, ade_macos_useraffinity_1" in problem.allowed


@each(
    "change, setting",
    [
        (choose("ade_setupassistant_siri", "ade_setupassistant_siri_2"), ".ade_setupassistant_siri"),
        (choose(f"{ACCOUNTS}createlocalprimary", "x"), f".{ACCOUNTS}createlocalprimary"),
        (lambda body: body["settings"].append(body["settings"][7]), ".ade_setupassistant_appleid"),
        (lambda body: body["settings"].append(body["settings"][-1]), ".ade_setupassistant_liquidglass"),
        (lambda body: body["settings"].append("@{id=3; settingInstance=}"), ""),
        (lambda body: body["settings"].append({"settingInstance": {}}), ""),
        (lambda body: body["settings"].append({"settingInstance": {"settingDefinitionId": 7}}), ""),
        (lambda body: body.update({"settings@odata.nextLink": "https://graph.microsoft.com/x"}), ""),
        (
            lambda body: instances(body)["ade_setupassistant_department"].update(simpleSettingValue="x"),
            ".ade_setupassistant_department",
        ),
        (
            set_rotation("14"),
            f".{ACCOUNTS}adminaccountpasswordrotation",
        ),
        (
            lambda body: instances(body)["ade_macos_awaitconfiguration"].update(choiceSettingValue=None),
            ".ade_macos_awaitconfiguration",
        ),
    ],
)
def test_what_a_tree_does_not_say_is_named(change: Change, setting: str) -> None:
    """An unknown value, a setting twice, what PowerShell cut off, a page that is missing."""
    assert refused(change) == [f"$.settings{setting}"]


def test_a_rule_that_is_broken_is_named_where_it_was_said() -> None:
    """In the words of the policy: the names of a classic profile stand nowhere in it."""

    def long(body: dict[str, Any]) -> None:
        found = instances(body)
        found["ade_setupassistant_department"]["simpleSettingValue"]["value"] = "x" * 126
        found[f"{ACCOUNTS}adminaccountname"]["simpleSettingValue"]["value"] = "{{nobody}}"
        found[f"{ACCOUNTS}adminaccountpasswordrotation"]["simpleSettingValue"]["value"] = 181

    assert refused(long) == [
        f"$.settings.{ACCOUNTS}adminaccountpasswordrotation.autoRotationPeriodInDays",
    ]
    assert set(refused(long, drop(f"{ACCOUNTS}adminaccountpasswordrotation"), name="")) == {
        "$.name",
        "$.settings.ade_setupassistant_department",
        f"$.settings.{ACCOUNTS}adminaccountname",
    }
    with pytest.raises(IntuneError) as caught:
        policy_from_intune(policy(), OwnSettings(url=URL))
    assert [problem.setting for problem in caught.value.problems] == [
        "$.settings.ade_macos_authenticationmethod"
    ]


@each(
    "wrap",
    [
        lambda items: items[0] if len(items) == 1 else items,
        lambda items: {"value": items, "Count": len(items)},
        lambda items: [items, None],
        lambda items: items or None,
        lambda items: items or "",
    ],
)
def test_lists_of_a_tree_are_read_in_each_form_of_powershells(wrap: Callable[[Any], Any]) -> None:
    """Its children and the settings themselves."""
    body = policy()
    for one in instances(body).values():
        if holder := one.get("choiceSettingValue"):
            holder["children"] = wrap(holder["children"])
    body["settings"] = wrap(body["settings"])
    body["roleScopeTagIds"] = wrap(["0"])
    assert attrs.evolve(policy_from_intune(body, OWN), policy=None) == attrs.evolve(read(), policy=None)


@each("definition", ["ade_macos_useraffinity", ROTATION])
def test_a_value_that_powershell_cut_off_is_to_be_exported_again(definition: str) -> None:
    body = policy()
    instance = instances(body)[definition]
    (holder,) = {"choiceSettingValue", "simpleSettingValue"} & instance.keys()
    instance[holder] = "@{value=14; children=System.Object[]}"
    with pytest.raises(IntuneError, match="PowerShell truncated it"):
        policy_from_intune(body, OWN)


@each("option", [0, 1])
def test_a_sign_in_that_is_only_guessed_is_read_as_legacy(option: int) -> None:
    """With a problem; it cannot be written."""
    found = read(
        choose("ade_macos_authenticationmethod", option),
    )
    assert found.profile.user_affinity.kind is AffinityKind.LEGACY
    assert "$.settings.ade_macos_authenticationmethod" in settings_of(found.problems)
    with pytest.raises(IntuneError, match=r"has no Setup Assistant \(legacy\)"):
        policy_to_intune(found, force=True)


def test_a_sign_in_that_is_not_there_is_modern() -> None:
    """The only kind that Graph takes."""
    found = read(drop("ade_macos_authenticationmethod"))
    assert found.profile.user_affinity.kind is AffinityKind.MODERN
    assert "$.settings.ade_macos_useraffinity" in settings_of(found.problems)


def without_accounts(body: dict[str, Any]) -> None:
    choose(f"{ACCOUNTS}createlocaladmin", 0)(body)
    choose(f"{ACCOUNTS}createlocalprimary", 0)(body)
    for name in ("adminaccountname", "adminaccountfullname", "hideusersgroups", "prefillaccountinfo"):
        drop(f"{ACCOUNTS}{name}")(body)
    drop(f"{ACCOUNTS}adminaccountpasswordrotation")(body)


def test_the_tree_of_accounts_says_who_gets_one() -> None:
    """No account at all, an administrator alone, a user that is an administrator."""
    without_user = read(without_accounts)
    assert (without_user.profile.primary_account, without_user.profile.administrator) == (None, None)
    assert without_user.password_rotation is None
    alone = read(choose(f"{ACCOUNTS}createlocalprimary", 0), drop(f"{ACCOUNTS}prefillaccountinfo"))
    assert (alone.skip_primary_account, alone.profile.primary_account) == (True, None)
    assert alone.profile.administrator == AdministratorAccount("localadmin", "Service Desk", hidden=True)
    both = read(choose(f"{ACCOUNTS}createlocalprimary", 2))
    assert (both.skip_primary_account, both.standard_user) == (False, False)
    assert both.profile.primary_account == PrimaryAccount("{{partialupn}}", "{{username}}")
    free = read(choose(f"{ACCOUNTS}prefillaccountinfo", 0))
    assert free.profile.primary_account == PrimaryAccount("", "", restrict_editing=False)
    never = read(set_rotation(0))
    assert never.password_rotation == PasswordRotation(period_days=0)


def test_a_child_below_another_option_says_nothing() -> None:
    """The names of an administrator that is not made, and names that are not prefilled."""
    found = read(choose(f"{ACCOUNTS}createlocaladmin", 0), choose(f"{ACCOUNTS}prefillaccountinfo", 0))
    assert found.profile.administrator is None
    assert settings_of(found.problems) >= {
        f"$.settings.{ACCOUNTS}adminaccountname",
        f"$.settings.{ACCOUNTS}adminaccountpasswordrotation",
        f"$.settings.{ACCOUNTS}primaryaccountname",
        f"$.settings.{ACCOUNTS}restrictediting",
    }


def test_accounts_switch_waiting_on() -> None:
    """As Intune does it; and a known setting at a wrong place is left out."""
    found = read(choose("ade_macos_awaitconfiguration", 0))
    assert found.profile.await_final_configuration
    assert not found.profile.await_final_configuration_given
    assert "await_final_configuration" in settings_of(policy_to_intune(found).problems)
    assert "$.settings.ade_macos_awaitconfiguration" in settings_of(found.problems)
    without = read(without_accounts, choose("ade_macos_awaitconfiguration", 0))
    assert not without.profile.await_final_configuration
    moved = read(lambda body: body["settings"].append(instances(body)[f"{ACCOUNTS}hideusersgroups"]))
    assert f"$.settings.{ACCOUNTS}hideusersgroups" in settings_of(moved.problems)


def test_settings_that_are_missing_are_found_and_written_all_the_same() -> None:
    """An older policy has fewer screens."""
    found = read(drop("ade_setupassistant_appstore"), drop("ade_lockedenrollment"))
    assert not found.profile.locked
    (problem,) = [one for one in found.problems if one.setting == "$.settings"]
    assert problem.value == "ade_lockedenrollment, ade_setupassistant_appstore"
    written = instances(policy_to_intune(found).body)
    assert written["ade_setupassistant_appstore"]["choiceSettingValue"]["value"].endswith("_1")


NEW = [
    ("", choice("ade_macos_future", "ade_macos_future_3", settingInstanceTemplateReference={"x": 1})),
    ("ade_macos_useraffinity_1", choice("ade_macos_mfa", "ade_macos_mfa_1")),
    (f"{ACCOUNTS}createlocaladmin_1", {"settingDefinitionId": "ade_new", "simpleSettingValue": {"value": 7}}),
    ("ade_setupassistant_siri_0", choice("ade_under_a_screen", "x")),
]


def add(parent: str, instance: dict[str, Any]) -> Change:
    def change(body: dict[str, Any]) -> None:
        if not parent:
            body["settings"].append({"settingInstance": instance})
        for one in instances(body).values():
            holder = one.get("choiceSettingValue", {})
            if holder.get("value") == parent:
                holder["children"].append(instance)

    return change


@each("parent, instance", NEW)
def test_a_setting_that_is_not_known_survives(parent: str, instance: dict[str, Any]) -> None:
    """Where it stood, at the top or below a choice."""
    found = read(add(parent, copy.deepcopy(instance)))
    assert found.policy is not None
    (kept,) = [one for one in found.policy.unknown if not one.screen]
    assert (kept.parent, kept.body) == (parent, instance)
    definition = instance["settingDefinitionId"]
    assert f"$.settings.{definition}" in settings_of(found.problems)
    body = policy_to_intune(found).body
    assert instances(body)[definition] == instance
    if parent:
        above = instances(body)[parent.rpartition("_")[0]]["choiceSettingValue"]["children"]
        assert instance in above


def test_a_setting_that_has_lost_its_place_is_named_before_anything_is_written() -> None:
    """The profile was changed after it was read."""
    found = read(add(*copy.deepcopy(NEW[1])))
    changed = attrs.evolve(
        found,
        profile=attrs.evolve(found.profile, user_affinity=UserAffinity.none(), primary_account=None),
    )
    with pytest.raises(IntuneError) as caught:
        policy_to_intune(changed)
    (problem,) = caught.value.problems
    assert (problem.setting, problem.value) == ("policy.unknown", "ade_macos_mfa")
    forced = policy_to_intune(changed, force=True)
    assert "ade_macos_mfa" not in instances(forced.body)
    assert "policy.unknown" in settings_of(forced.problems)
    assert "policy.unknown" in settings_of(profile_to_intune(found, force=True).problems)


@each("key", [SkipKeys.LIQUID_GLASS, SkipKeys.WALLPAPER, SkipKeys.WELCOME, SkipKeys.REGISTRATION])
def test_a_screen_that_is_newer_than_the_catalog_is_told_by_its_name(key: SkipKeys) -> None:
    """And follows the profile: it is shown when the profile shows it."""
    definition = f"ade_setupassistant_{key.value.lower()}"
    found = read(drop("ade_setupassistant_liquidglass"), add("", choice(definition, f"{definition}_0")))
    assert key in found.profile.skip
    shown = attrs.evolve(found, profile=attrs.evolve(found.profile, skip=frozenset()))
    written = instances(policy_to_intune(shown).body)[definition]
    assert written["choiceSettingValue"]["value"] == f"{definition}_1"
    renamed = read(add("", choice("ade_setupassistant_siriold", "ade_setupassistant_siriold_0")))
    assert renamed.profile == read().profile


def test_what_is_written_is_complete() -> None:
    """Setting for setting what a live policy holds, with the template of each."""
    given = read()
    live, written = instances(policy()), policy_to_intune(given, writable_only=True).body
    made = instances(written)
    assert made.keys() == live.keys()
    assert [one["settingInstance"]["settingDefinitionId"] for one in written["settings"]] == [
        one["settingInstance"]["settingDefinitionId"] for one in policy()["settings"]
    ]
    assert len(TOP) == 28
    for definition, instance in made.items():
        if definition in BY_ID:
            assert shape(instance) == shape(live[definition]), definition
    assert {name: value for name, value in written.items() if name != "settings"} == {
        "@odata.type": "#microsoft.graph.deviceManagementConfigurationPolicy",
        "name": "Policy for Macs",
        "description": "Macs of people",
        "platforms": "macOS",
        "technologies": "enrollment",
        "roleScopeTagIds": ["0"],
        "creationSource": f"DepTokenId_{TOKEN}",
        "templateReference": {"templateId": "2e29557d-70fc-405a-8082-d1e5b6be2b8c_1"},
    }


def shape(instance: dict[str, Any]) -> tuple[Any, ...]:
    """Return what an instance says, without what only Graph's answers have."""
    kind = "choice" if "choiceSettingValue" in instance else "simple"
    holder = instance[f"{kind}SettingValue"]
    template = instance.get("settingInstanceTemplateReference") or {}
    value_template = holder.get("settingValueTemplateReference") or {}
    return (
        instance["@odata.type"],
        template.get("settingInstanceTemplateId"),
        value_template.get("settingValueTemplateId"),
        holder["value"],
        kind == "choice" or holder["@odata.type"],
        {child["settingDefinitionId"] for child in holder.get("children", ())},
    )


def test_a_profile_of_pyade_becomes_a_policy() -> None:
    """A classic profile takes its own token; write_intune makes policies of all profiles that it is given."""
    profile = EnrollmentProfile(name="New", url=URL, locked=True, skip={SkipKeys.SIRI})
    body = policy_to_intune(profile, token_id="t").body
    assert body["creationSource"] == "DepTokenId_t"
    assert "id" not in body
    again = policy_from_intune(body, OWN)
    assert (again.profile, again.token_id, again.policy_id) == (profile, "t", "")
    classic = IntuneProfile(profile=profile, id="t_1", is_default=True)
    export_ = write_intune([profile, classic, {"x": 1}], as_policies=True, token_id="t")
    assert [one.get("creationSource") for one in export_.body["value"]] == ["DepTokenId_t"] * 2 + [None]
    assert settings_of(export_.problems) == {"$.value[1].is_default"}
    assert write_intune([classic], as_policies=True).body["value"][0]["creationSource"] == "DepTokenId_t"
    own = IntuneProfile(profile=profile, policy=IntunePolicy(token_id="u", scope_tags=frozenset({"7", "0"})))
    (made,) = write_intune([own]).body["value"]
    assert (made["creationSource"], made["roleScopeTagIds"]) == ("DepTokenId_u", ["0", "7"])
    assert profile_to_intune(profile).body["displayName"] == "New"


def test_a_mirror_becomes_the_policy_that_it_is_of() -> None:
    """With its id, unless it is for another token: then it is another policy."""
    keys = [key for key in mirror()["enabledSkipKeys"] if key != "LiquidGlass"]
    of_mirror = profile_from_intune(mirror(enabledSkipKeys=keys), OWN)
    assert policy_to_intune(of_mirror).body["id"] == POLICY
    assert "id" not in policy_to_intune(of_mirror, token_id="other").body
    with pytest.raises(IntuneError, match="not an enrollment policy"):
        write_intune([of_mirror])
    with pytest.raises(IntuneError, match="not an enrollment policy"):
        profile_to_intune(read())


def test_a_policy_without_a_token_is_no_body_for_graph() -> None:
    """It is written to a file, with a problem."""
    profile = EnrollmentProfile(name="New", url=URL, locked=True)
    for given in (profile, IntuneProfile(profile=profile)):
        with pytest.raises(IntuneError) as caught:
            policy_to_intune(given)
        assert [problem.setting for problem in caught.value.problems] == ["token_id"]
    nameless = policy_from_intune(policy(creationSource="elsewhere"), OWN)
    assert "$.creationSource" in settings_of(nameless.problems)
    assert "creationSource" in settings_of(policy_to_intune(nameless).problems)
    with pytest.raises(IntuneError, match="token_id"):
        policy_to_intune(nameless, writable_only=True)
    assert policy_to_intune(nameless, token_id="t", writable_only=True).problems == ()


LOST: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"auto_advance": True}, {}, "auto_advance"),
    ({"supervised": False, "locked": False, "mandatory": False}, {}, "supervised"),
    ({"skip": {SkipKeys.REGISTRATION}}, {}, "skip"),
    ({"skip": {SkipKeys.DISPLAY_TONE}}, {}, "skip"),
    ({"skip": {"NewIn28"}}, {}, "skip"),
    ({}, {"other_screens": frozenset({"Zoom"})}, "skip"),
    ({}, {"extra": {"deviceNameTemplate": "MAC"}}, "extra.deviceNameTemplate"),
    ({}, {"extra": {"usePlatformSSODuringSetupAssistant": True}}, "extra.usePlatformSSODuringSetupAssistant"),
    ({"requires_network_tether": True}, {}, "requires_network_tether"),
    ({}, {"extra": {"enrollmentTimeAzureAdGroupIds": ["g"]}}, "extra.enrollmentTimeAzureAdGroupIds"),
    ({}, {"extra": {"newMember": 1}}, "extra.newMember"),
    (
        {},
        {"extra": {"requireCompanyPortalOnSetupAssistantEnrolledDevices": True}},
        "extra.requireCompanyPortalOnSetupAssistantEnrolledDevices",
    ),
    (
        {},
        {
            "extra": {
                "depProfileAdminAccountPasswordRotationSetting": {
                    "autoRotationPeriodInDays": 7,
                    "depProfileDelayAutoRotationSetting": {
                        "onRetrievalAutoRotatePasswordEnabled": True,
                        "onRetrievalDelayAutoRotatePasswordInHours": 8,
                    },
                }
            }
        },
        "extra.depProfileAdminAccountPasswordRotationSetting",
    ),
]


@each("settings, more, lost", LOST)
def test_what_a_policy_cannot_hold_is_named_before_anything_is_written(
    settings: dict[str, Any], more: dict[str, Any], lost: str
) -> None:
    """Each with what to do; force leaves it out, and says so."""
    profile = EnrollmentProfile(**{"name": "x", "url": URL, "locked": True, **settings})
    given = IntuneProfile(profile=profile, id="t_1", **more)
    with pytest.raises(IntuneError) as caught:
        policy_to_intune(given)
    assert [problem.setting for problem in caught.value.problems] == [lost]
    assert all(problem.fix for problem in caught.value.problems)
    forced = policy_to_intune(given, force=True)
    assert [one.setting for one in forced.problems if one.setting == lost]
    again = policy_from_intune(forced.body, OWN).profile
    assert again.locked == again.mandatory == profile.locked
    assert policy_to_intune(given, force=True).to_json() == forced.to_json()


def test_every_problem_of_every_profile_is_named_at_once() -> None:
    """With its place; and nothing is written."""
    legacy = EnrollmentProfile(name="a", url=URL, locked=True, user_affinity=UserAffinity.legacy())
    tone = EnrollmentProfile(name="b", url=URL, skip={SkipKeys.DISPLAY_TONE}, auto_advance=True)
    with pytest.raises(IntuneError) as caught:
        write_intune([legacy, {"x": 1}, tone], as_policies=True, token_id="t")
    assert [problem.setting for problem in caught.value.problems] == [
        "$.value[0].user_affinity",
        *("$.value[2].auto_advance", "$.value[2].skip"),
    ]


def test_a_profile_with_defaults_is_written_as_a_policy() -> None:
    """A policy has one lock: that an enrollment without it is mandatory is lost, which is reported."""
    exported = policy_to_intune(EnrollmentProfile(name="x", url=URL), token_id="t")
    assert settings_of(exported.problems) == {"mandatory"}
    again = policy_from_intune(exported.body, OWN).profile
    assert (again.locked, again.mandatory) == (False, False)


def test_company_portal_comes_with_modern_authentication() -> None:
    """So it is no loss there; nor are times."""
    modern = UserAffinity.modern(PAGE)
    profile = EnrollmentProfile(
        name="x", url=URL, locked=True, user_affinity=modern, support_email_address="a@b.ch"
    )
    app = {
        "requireCompanyPortalOnSetupAssistantEnrolledDevices": True,
        "createdDateTime": "2026-01-01T00:00:00Z",
    }
    written = policy_to_intune(IntuneProfile(profile=profile, id="t_1", extra=app))
    assert settings_of(written.problems) == {"support_email_address"}


def test_what_is_written_in_another_way_is_said() -> None:
    """Intune's own period for passwords, a lock on names that are not there, an account of the user's own."""
    profile = EnrollmentProfile(
        name="x",
        url=URL,
        locked=True,
        user_affinity=UserAffinity.modern(PAGE),
        primary_account=PrimaryAccount(),
        administrator=AdministratorAccount("admin"),
    )
    written = policy_to_intune(profile, token_id="t")
    assert settings_of(written.problems) == {
        "primary_account.restrict_editing",
        "depProfileAdminAccountPasswordRotationSetting",
    }
    again = policy_from_intune(written.body, OWN)
    assert again.profile.primary_account == PrimaryAccount("", "", restrict_editing=False)
    assert again.password_rotation == PasswordRotation(period_days=180)
    own = attrs.evolve(profile, primary_account=None)
    children = instances(policy_to_intune(own, token_id="t").body)[f"{ACCOUNTS}prefillaccountinfo"]
    assert children["choiceSettingValue"]["value"] == f"{ACCOUNTS}prefillaccountinfo_0"


def test_what_a_policy_holds_beside_the_profile_must_go_together() -> None:
    """The token in its id, and members that have a setting."""
    found = read()
    assert found.policy is not None
    other = attrs.evolve(found.policy, token_id="other", extra={"settings": [], "isAssigned": True})
    with pytest.raises(IntuneError) as caught:
        attrs.evolve(found, policy=other)
    assert [problem.setting for problem in caught.value.problems] == [
        "policy.token_id",
        "policy.extra.settings",
    ]


def test_members_of_a_policy_that_are_not_known_are_kept() -> None:
    """In a file, not in the body of a POST; what Graph says of every policy is no problem."""
    found = read(newMember=["x"], templateReference={"templateId": "2e29557d-70fc-405a-8082-d1e5b6be2b8c_2"})
    assert found.policy is not None
    assert found.policy.extra["newMember"] == ["x"]
    assert settings_of(found.problems) >= {"$.newMember", "$.templateReference.templateId"}
    assert "$.settingCount" not in settings_of(found.problems)
    assert policy_to_intune(found).body["newMember"] == ["x"]
    assert "newMember" not in policy_to_intune(found, writable_only=True).body


def test_an_empty_tenant_has_no_devices_of_a_profile() -> None:
    """Nor has a profile without an id."""
    profile = IntuneProfile(profile=EnrollmentProfile(name="x", url=URL))
    assert IntuneTenant().devices_of(profile) == ()
