"""Apple's profile JSON: what is sent, what is read, and that reading and writing change nothing."""

from __future__ import annotations

import base64
import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.builders.dep_profile import definition, digest, from_apple, to_apple
from pyade.core.macos.setup_screens import SkipKeys
from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount
from pyade.core.profile.affinity import AffinityKind, UserAffinity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import ProfileError

URL = "https://mdm.contoso.com/enroll"
MINIMAL = {"profile_name": "Standard Mac", "url": URL}
DER = b"0\x82\xfb\xff\xfe certificate"


def test_a_new_profile_is_sent_with_what_apple_requires() -> None:
    """Flags are always there, empty texts and lists never."""
    assert to_apple(EnrollmentProfile(name="Standard Mac", url=URL)) == {
        "profile_name": "Standard Mac",
        "url": URL,
        "org_magic": "mdm.contoso.com",
        "is_mdm_removable": True,
        "is_supervised": True,
        "is_mandatory": True,
        "await_device_configured": True,
        "auto_advance_setup": False,
    }


def test_every_setting_has_its_key() -> None:
    """The screens are sorted, so that equal profiles give equal JSON."""
    profile = EnrollmentProfile(
        name="Standard Mac",
        url=URL,
        description="not for Apple",
        user_affinity=UserAffinity.modern("https://mdm.contoso.com/signin"),
        locked=True,
        primary_account=PrimaryAccount(account_name="{{partialupn}}"),
        administrator=AdministratorAccount(short_name="localadmin", password_hash=b"hash"),
        department="IT",
        support_phone_number="+1 555 0100",
        support_email_address="help@contoso.com",
        skip={SkipKeys.SIRI, "NewIn28", SkipKeys.LOCATION},
        anchor_certificates=[DER],
        language="de",
        region="CH",
        org_magic="contoso",
        extra={"allow_pairing": False},
    )
    assert to_apple(profile) == {
        "profile_name": "Standard Mac",
        "url": URL,
        "configuration_web_url": "https://mdm.contoso.com/signin",
        "org_magic": "contoso",
        "is_mdm_removable": False,
        "is_supervised": True,
        "is_mandatory": True,
        "await_device_configured": True,
        "auto_advance_setup": False,
        "department": "IT",
        "support_phone_number": "+1 555 0100",
        "support_email_address": "help@contoso.com",
        "skip_setup_items": ["Location", "NewIn28", "Siri"],
        "anchor_certs": [base64.b64encode(DER).decode()],
        "language": "de",
        "region": "CH",
        "allow_pairing": False,
    }
    assert type(json.loads(json.dumps(to_apple(profile)))["skip_setup_items"][0]) is str


def test_what_is_absent_has_apples_default() -> None:
    """A profile that is loaded without the field awaits nothing; a new one does."""
    profile = from_apple(MINIMAL)
    assert not profile.await_final_configuration
    assert not profile.supervised
    assert not profile.mandatory
    assert not profile.locked
    assert profile.org_magic == "mdm.contoso.com"
    assert profile.user_affinity.kind is AffinityKind.NONE
    assert to_apple(profile) == MINIMAL


def test_apples_answer_is_read() -> None:
    """Every key finds its setting, and a sign-in page means modern authentication."""
    profile = from_apple(
        {
            **MINIMAL,
            "profile_uuid": "88FC4E378FEA4021A94E19E6D7C8A1C3",
            "configuration_web_url": "https://mdm.contoso.com/signin",
            "is_mdm_removable": False,
            "is_supervised": True,
            "skip_setup_items": ["Siri", "Android"],
            "anchor_certs": [base64.b64encode(DER).decode()],
            "is_multi_user": False,
        }
    )
    assert profile.user_affinity == UserAffinity.modern("https://mdm.contoso.com/signin")
    assert profile.locked
    assert profile.skip == {SkipKeys.SIRI, "Android"}
    assert profile.anchor_certificates == (DER,)
    assert profile.extra == {"profile_uuid": "88FC4E378FEA4021A94E19E6D7C8A1C3", "is_multi_user": False}


def test_what_apple_cannot_hold_comes_from_the_remembered_profile() -> None:
    """Description, kind of sign-in and accounts survive a way through Apple."""
    remembered = EnrollmentProfile(
        name="Standard Mac",
        url=URL,
        description="For everybody",
        user_affinity=UserAffinity.legacy(),
        primary_account=PrimaryAccount(full_name="{{username}}"),
        administrator=AdministratorAccount(short_name="localadmin"),
    )
    answer = {**to_apple(remembered), "profile_uuid": "A"}
    read = from_apple(answer, remembered=remembered)
    assert attrs.evolve(read, apple_keys=None, extra={}) == remembered
    assert digest(read) == digest(remembered)


@each(
    "settings",
    [
        {"standard_user": True, "managed_user": "localadmin", "requires_network_tether": True},
        {"skip_primary_account": True},
        {"auto_advance": True},
        {"await_final_configuration": False},
    ],
)
def test_account_settings_and_what_was_given_for_them_are_remembered(settings: dict[str, Any]) -> None:
    """Apple receives the effective value; the given one comes from the remembered profile."""
    remembered = EnrollmentProfile(
        name="Standard Mac", url=URL, administrator=AdministratorAccount("localadmin"), **settings
    )
    answer = to_apple(remembered)
    assert answer["await_device_configured"] is True
    read = from_apple(answer, remembered=remembered)
    assert attrs.evolve(read, apple_keys=None) == remembered
    changed = from_apple({**answer, "await_device_configured": False}, remembered=remembered)
    assert not changed.await_final_configuration_given


def test_the_remembered_sign_in_page_yields_to_apples() -> None:
    """Apple's JSON decides what it can hold."""
    modern = EnrollmentProfile(
        name="Standard Mac", url=URL, user_affinity=UserAffinity.modern("https://mdm.contoso.com/a")
    )
    assert from_apple(MINIMAL, remembered=modern).user_affinity == UserAffinity.none()
    newer = {**MINIMAL, "configuration_web_url": "https://mdm.contoso.com/b"}
    assert from_apple(newer, remembered=modern).user_affinity.web_url == "https://mdm.contoso.com/b"


@each(
    "key",
    [
        *("profile_name", "url", "org_magic", "department", "language", "is_supervised", "is_mdm_removable"),
        *("skip_setup_items", "anchor_certs", "configuration_web_url"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(key: str) -> None:
    """And so are all others with it."""
    with pytest.raises(ProfileError) as caught:
        from_apple({**MINIMAL, key: 7, "auto_advance_setup": "yes"})
    assert {problem.setting for problem in caught.value.problems} == {key, "auto_advance_setup"}


@pytest.mark.parametrize("value", [["Siri", 7], "Siri"])
def test_screens_must_be_a_list_of_texts(value: Any) -> None:
    """A text is not taken for a list of letters."""
    with pytest.raises(ProfileError, match="skip_setup_items"):
        from_apple({**MINIMAL, "skip_setup_items": value})


@each("value", ["-----BEGIN CERTIFICATE-----", "MII", "€", "M"])
def test_anchors_must_be_base64(value: str) -> None:
    """PEM armour is not."""
    with pytest.raises(ProfileError, match="anchor_certs"):
        from_apple({**MINIMAL, "anchor_certs": [value]})


def test_a_profile_of_another_product_that_breaks_a_rule_is_refused_with_the_rule() -> None:
    """Locked without supervision, and a sign-in page on another host."""
    with pytest.raises(ProfileError) as caught:
        from_apple(
            {**MINIMAL, "is_mdm_removable": False, "configuration_web_url": "https://idp.example.com/"}
        )
    assert {problem.setting for problem in caught.value.problems} == {"locked", "user_affinity.web_url"}


def test_a_missing_url_is_refused() -> None:
    """Nothing at all says what is needed."""
    with pytest.raises(ProfileError) as caught:
        from_apple({})
    assert {"name", "url"} <= {problem.setting for problem in caught.value.problems}


def test_other_spellings_are_written_back_until_the_setting_changes() -> None:
    """The order of screens, the alphabet for URLs, empty texts and nulls."""
    answer = {
        **MINIMAL,
        "skip_setup_items": ["Siri", "Location", "Siri"],
        "anchor_certs": [base64.urlsafe_b64encode(DER).decode()],
        "department": "",
        "region": None,
        "org_magic": "",
        "is_supervised": None,
    }
    profile = from_apple(answer)
    assert profile.anchor_certificates == (DER,)
    assert to_apple(profile) == answer
    changed = attrs.evolve(
        profile,
        skip={SkipKeys.SIRI},
        anchor_certificates=[],
        department="IT",
        region="CH",
        org_magic="contoso",
        supervised=True,
    )
    assert to_apple(changed) == {
        **MINIMAL,
        "skip_setup_items": ["Siri"],
        "department": "IT",
        "region": "CH",
        "org_magic": "contoso",
        "is_supervised": True,
    }


def test_an_emptied_text_is_left_out() -> None:
    """Empty counts as invalid at Apple."""
    profile = from_apple({**MINIMAL, "department": "IT", "auto_advance_setup": True})
    assert to_apple(attrs.evolve(profile, department="", auto_advance=False)) == {
        **MINIMAL,
        "auto_advance_setup": False,
    }


def test_a_definition_holds_what_apple_requires_and_nothing_of_its_answers() -> None:
    """Also for a profile that was read without the required keys."""
    read = from_apple(
        {
            **MINIMAL,
            "profile_uuid": "A",
            "devices": ["C02"],
            "department": "",
            "supervising_host_certs": [],
            "skip_setup_items": ["Siri", "Location"],
            "is_multi_user": False,
        }
    )
    assert definition(read) == {
        **MINIMAL,
        "org_magic": "mdm.contoso.com",
        "is_mdm_removable": True,
        "is_supervised": False,
        "is_mandatory": False,
        "await_device_configured": False,
        "auto_advance_setup": False,
        "skip_setup_items": ["Location", "Siri"],
        "is_multi_user": False,
    }


def test_the_digest_covers_what_macs_can_tell_apart() -> None:
    """Not the description, the accounts or the order of screens, but every key that is sent."""
    profile = EnrollmentProfile(
        name="Mac", url=URL, user_affinity=UserAffinity.legacy(), skip=["Siri", "Location"]
    )
    same = attrs.evolve(
        profile, description="other", primary_account=PrimaryAccount(), skip=["Location", "Siri"]
    )
    assert digest(profile) == digest(same)
    assert len(digest(profile)) == 64
    others = [
        attrs.evolve(profile, name="Mäc"),
        attrs.evolve(profile, locked=True),
        attrs.evolve(profile, skip=["Siri"]),
        attrs.evolve(profile, extra={"allow_pairing": True}),
    ]
    assert len({digest(profile), *map(digest, others)}) == 5


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
texts = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=20)
paths = st.text("abcXYZ019-_/", max_size=15)
apple_profiles = st.fixed_dictionaries(
    {
        "profile_name": texts,
        "url": paths.map(lambda path: f"https://mdm.contoso.com/{path}"),
        "is_supervised": st.just(True),
    },
    optional={
        "configuration_web_url": st.sampled_from(["", None, "https://mdm.contoso.com/signin"]),
        "org_magic": texts | st.sampled_from(["", None, "mdm.contoso.com"]),
        "is_mdm_removable": st.booleans() | st.none(),
        "is_mandatory": st.booleans() | st.none(),
        "await_device_configured": st.booleans(),
        "auto_advance_setup": st.booleans() | st.none(),
        "department": texts | st.just(""),
        "support_phone_number": texts | st.none(),
        "support_email_address": texts | st.just(""),
        "language": st.sampled_from(["", "en", "haw", None]),
        "region": st.sampled_from(["", "US", None]),
        "skip_setup_items": st.lists(st.sampled_from([*map(str, SkipKeys), "Android", "siri"]), max_size=8)
        | st.none(),
        "anchor_certs": st.lists(
            st.binary(max_size=20).flatmap(
                lambda data: st.sampled_from(
                    [base64.b64encode(b"0" + data).decode(), base64.urlsafe_b64encode(b"0" + data).decode()]
                )
            ),
            max_size=3,
        ),
        "allow_pairing": st.booleans(),
        "profile_uuid": texts,
        "devices": st.lists(texts, max_size=2),
    },
).flatmap(lambda known: st.dictionaries(texts, json_values, max_size=3).map(lambda extra: {**extra, **known}))


@given(apple_profiles)
def test_apples_json_survives_the_way_through_a_profile(answer: dict[str, Any]) -> None:
    """Unknown keys, the order of lists, empty texts and nulls included."""
    profile = from_apple(answer)
    assert json.dumps(to_apple(profile), sort_keys=True) == json.dumps(answer, sort_keys=True)


@given(apple_profiles)
def test_a_definition_read_back_is_the_same_definition(answer: dict[str, Any]) -> None:
    """What is sent says the same as what was read, and says it again when it comes back."""
    profile = from_apple(answer)
    again = from_apple({**definition(profile), "profile_uuid": "new"})
    assert definition(again) == definition(profile)
    assert digest(again) == digest(profile)
