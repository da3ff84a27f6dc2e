"""Any profile or policy: both forms are equivalent, and a second round trip changes nothing."""

from __future__ import annotations

import json
from typing import Any

import attrs
from hypothesis import assume, event, given
from hypothesis import strategies as st
from tests.builders.intune.test_policy import OWN, choice, instances, policy
from tests.builders.intune.test_round_trips import (
    as_written,
    differing,
    intune_profiles,
    json_values,
    names,
    own_of,
    profiles,
    texts,
    unknown_members,
)

from pyade.builders.intune import (
    IntunePolicy,
    IntuneProfile,
    policy_from_intune,
    policy_to_intune,
    profile_from_intune,
    profile_to_intune,
    read_intune,
    write_intune,
)
from pyade.builders.intune.fields import POLICY_MEMBERS
from pyade.builders.intune.policy_settings import CATALOG, SCREENS, ValueType
from pyade.core.profile.accounts import PrimaryAccount
from pyade.core.profile.affinity import AffinityKind
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import IntuneError

DEFINITIONS = [setting.id for setting in CATALOG]
VALUES = {setting.id: len(setting.options) for setting in CATALOG if setting.value_type is ValueType.CHOICE}
screens_of_policies = st.frozensets(st.sampled_from(sorted(SCREENS.values())), max_size=8)
new_settings = st.dictionaries(
    st.sampled_from(
        ["ade_new", "ade_macos_other", "ade_setupassistant_welcome", "ade_setupassistant_unheard"]
    ),
    st.integers(0, 3),
    max_size=3,
).map(lambda chosen: [choice(name, f"{name}_{value}") for name, value in chosen.items()])
extras = unknown_members.map(
    lambda members: {
        name: value for name, value in members.items() if name not in POLICY_MEMBERS and value is not None
    }
)


def as_a_policy_holds_it(profile: EnrollmentProfile) -> EnrollmentProfile:
    """Return the profile as it comes back from a policy.

    Both ways to leave the account beside an administrator to the user are one there, and the lock of names
    needs names.
    """
    account, has_user = profile.primary_account, profile.user_affinity.kind is not AffinityKind.NONE
    profile = attrs.evolve(as_written(profile), auto_advance=False)
    if (
        account is None
        and profile.administrator is not None
        and has_user
        and not profile.skip_primary_account
    ):
        account = PrimaryAccount("", "", restrict_editing=False)
    if account is not None and not (account.account_name or account.full_name):
        account = attrs.evolve(account, restrict_editing=False)
    return attrs.evolve(profile, primary_account=account)


def holdable(profile: EnrollmentProfile, skip: frozenset[str]) -> EnrollmentProfile:
    """Return the profile without what no policy holds, and without what no form of Intune's does."""
    assume(profile.user_affinity.kind is not AffinityKind.LEGACY)
    admin = profile.administrator
    return attrs.evolve(
        profile,
        mandatory=profile.locked,
        auto_advance=False,
        requires_network_tether=False,
        managed_user="",
        skip=skip,
        administrator=None if admin is None else attrs.evolve(admin, password_hash=b""),
        extra={},
    )


@given(profiles(), screens_of_policies)
def test_a_profile_comes_back_from_both_forms_alike(profile: EnrollmentProfile, skip: frozenset[str]) -> None:
    profile = as_a_policy_holds_it(holdable(profile, skip))
    given_ = IntuneProfile(profile=profile, id="t_1")
    own = own_of(profile)
    written = policy_to_intune(given_)
    of_policy = policy_from_intune(json.loads(written.to_json()), own)
    of_classic = profile_from_intune(json.loads(profile_to_intune(given_).to_json()), own)
    copy = profile_to_intune(attrs.evolve(of_policy, policy=None, id="ECV2_t_p"), force=True)
    of_mirror = profile_from_intune(json.loads(copy.to_json()), own)
    assert of_policy.profile == of_classic.profile == of_mirror.profile == profile
    second = policy_to_intune(of_policy)
    assert second.to_json() == written.to_json()
    assert policy_from_intune(second.body, own) == of_policy


@given(profiles())
def test_any_profile_is_written_completely_or_the_loss_is_reported(profile: EnrollmentProfile) -> None:
    """By refusing it and by force, in the same words."""
    try:
        written = policy_to_intune(profile, token_id="t")
    except IntuneError as error:
        event("refused")
        lost = [problem.setting for problem in error.problems]
        assert lost
        if "user_affinity" in lost:
            return
        written = policy_to_intune(profile, token_id="t", force=True)
        assert [one.setting for one in written.problems][: len(lost)] == lost
    else:
        event("written")
        lost = []
    again = policy_from_intune(json.loads(written.to_json()), own_of(profile)).profile
    expected = as_a_policy_holds_it(profile)
    named = {problem.setting.split(".")[0] for problem in written.problems}
    assert differing(again, expected) - {"skip"} <= {*lost, *named}
    assert differing(again, profile) - {"skip", "primary_account"} <= {*lost, *named}
    assert {str(key) for key in again.skip} == {str(key) for key in profile.skip} & set(SCREENS.values()) | (
        {"Siri"} if "siri" in profile.skip else set()
    )


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """Return a policy of Intune's with any values, settings left out or not known, and any members."""
    body = policy(**draw(extras))
    body["name"] = draw(texts)
    body["creationSource"] = draw(st.sampled_from(["DepTokenId_t", None, "", "elsewhere"]))
    if draw(st.booleans()):
        del body["id"]
    found = instances(body)
    for definition in draw(st.lists(st.sampled_from(DEFINITIONS), max_size=8)):
        if definition in VALUES:
            option = draw(st.integers(0, VALUES[definition] - 1))
            found[definition]["choiceSettingValue"]["value"] = f"{definition}_{option}"
    for definition in draw(st.lists(st.sampled_from(sorted(found)), max_size=2)):
        above = draw(st.sampled_from([None, *(one for one in sorted(found) if one in VALUES)]))
        if above is not None:
            found[above]["choiceSettingValue"]["children"] += draw(new_settings)
        body["settings"] = [
            one for one in body["settings"] if one["settingInstance"]["settingDefinitionId"] != definition
        ]
    body["settings"] += [{"settingInstance": one} for one in draw(new_settings)]
    if draw(st.booleans()):
        body["settings"].append({"settingInstance": {"settingDefinitionId": "ade_odd", **draw(odd_values)}})
    return body


odd_values = st.dictionaries(names, json_values, max_size=2)


@given(policies())
def test_any_policy_of_intunes_is_stable_after_the_first_way(body: dict[str, Any]) -> None:
    try:
        found = policy_from_intune(body, OWN)
    except IntuneError as error:
        event("refused")
        misnamed = [one for one in error.problems if not one.setting.startswith("$.")]
    else:
        event("read")
        misnamed = []
        check_stable(found)
    assert misnamed == []


def check_stable(found: IntuneProfile) -> None:
    if found.profile.user_affinity.kind is AffinityKind.LEGACY:
        event("legacy")
        return
    export, lost = policy_to_intune(found, force=True), set[str]()
    try:
        policy_to_intune(found)
    except IntuneError as error:
        lost = {problem.setting for problem in error.problems}
    # It stood below a choice that contradicts another one, such as an administrator without a name.
    assert lost <= {"policy.unknown"}
    if lost:
        event("contradicts itself")
        found = policy_from_intune(json.loads(export.to_json()), OWN)
    again = policy_from_intune(json.loads(export.to_json()), OWN)
    found = attrs.evolve(found, profile=as_written(found.profile))
    assert again == found
    assert policy_to_intune(again).to_json() == export.to_json()
    tenant = read_intune(write_intune([found]).to_json(), OWN)
    assert tenant.profiles == (found,)


@given(intune_profiles, unknown_members)
def test_any_classic_profile_becomes_an_equivalent_policy(
    body: dict[str, Any], extra: dict[str, Any]
) -> None:
    """But for what was named as lost."""
    try:
        classic = profile_from_intune({**extra, **body}, OWN)
        written = policy_to_intune(classic, token_id="t", force=True)
    except IntuneError:
        event("refused")
        return
    event("written")
    again = policy_from_intune(json.loads(written.to_json()), OWN)
    lost = {problem.setting.split(".")[0] for problem in written.problems}
    assert differing(again.profile, as_a_policy_holds_it(classic.profile)) <= lost
    as_policy = attrs.evolve(classic, policy=IntunePolicy(token_id="t"), id="")
    assert policy_to_intune(as_policy, force=True).to_json() == written.to_json()
