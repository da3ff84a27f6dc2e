"""The document that stores keep: everything survives, and what cannot be read says so."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.builders.dep_profile import from_apple, to_apple
from pyade.builders.documents import (
    VERSION,
    decode_group,
    group_row,
    profile_from_document,
    profile_to_document,
)
from pyade.core.fleet.groups import DeviceGroup
from pyade.core.macos.setup_screens import SkipKeys
from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount
from pyade.core.profile.affinity import AffinityKind, UserAffinity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import ProfileError, StoreVersionError

FULL = EnrollmentProfile(
    name="Standard Mac",
    url="https://mdm.contoso.com/enroll",
    description="Für alle",
    user_affinity=UserAffinity.modern("https://mdm.contoso.com/signin"),
    await_final_configuration=True,
    locked=True,
    primary_account=PrimaryAccount(
        account_name="{{partialupn}}", full_name="{{username}}", restrict_editing=False
    ),
    administrator=AdministratorAccount(
        short_name="localadmin", full_name="Admin", hidden=True, password_hash=b"\x00\xff"
    ),
    department="IT",
    support_phone_number="1",
    support_email_address="a@b.ch",
    skip={SkipKeys.SIRI, "NewIn28"},
    anchor_certificates=[b"0\x00", b"0\xff"],
    standard_user=True,
    managed_user="localadmin",
    requires_network_tether=True,
    language="de",
    region="CH",
    org_magic="contoso",
    supervised=True,
    mandatory=False,
    extra={"is_multi_user": True, "new": {"a": [1, None]}},
    apple_keys=frozenset({"profile_name", "url"}),
    apple_spelling={"skip_setup_items": ["Siri", "NewIn28"]},
)
UNATTENDED = EnrollmentProfile(
    name="Kiosk",
    url="https://mdm.contoso.com/enroll",
    await_final_configuration=False,
    administrator=AdministratorAccount("localadmin"),
    skip_primary_account=True,
    auto_advance=True,
    supervised=False,
)
"""What the other one cannot have, since an account, its user and locking exclude it."""


def through_json(profile: EnrollmentProfile) -> EnrollmentProfile:
    return profile_from_document(json.loads(json.dumps(profile_to_document(profile))))


def test_every_field_survives() -> None:
    """No field has its default in both examples, so none can be forgotten."""
    plain = EnrollmentProfile(name="x", url="https://x.example")
    fields = attrs.fields(EnrollmentProfile)
    for field in fields:
        default = getattr(plain, field.name)
        assert [getattr(one, field.name) for one in (FULL, UNATTENDED)] != [default] * 2, field.name
    assert set(profile_to_document(FULL)) == {"version", *(field.alias for field in fields)}
    assert through_json(FULL) == FULL
    assert through_json(UNATTENDED) == UNATTENDED
    assert all(isinstance(key, SkipKeys) is (key != "NewIn28") for key in through_json(FULL).skip)


def test_what_was_given_survives_beside_what_holds() -> None:
    """So that a store gives the False back when the account is taken away."""
    kept = through_json(UNATTENDED)
    assert kept.await_final_configuration
    bare = attrs.evolve(kept, administrator=None, skip_primary_account=False)
    assert not bare.await_final_configuration
    implied = attrs.evolve(UNATTENDED, skip_primary_account=False)
    assert not attrs.evolve(through_json(implied), auto_advance=False).skip_primary_account


def test_equal_profiles_give_equal_documents() -> None:
    """The order in which screens were named is not in it."""
    one = attrs.evolve(FULL, skip=["B", "A", "C"])
    other = attrs.evolve(FULL, skip=["C", "B", "A"])
    assert json.dumps(profile_to_document(one)) == json.dumps(profile_to_document(other))


def test_the_document_of_a_group_never_changes() -> None:
    """A store finds a group by the digest of its document: with another one it would find no device of it."""
    group = DeviceGroup(model='Mac "has_implausible_date":', has_implausible_date=True)
    digest, *_, document = group_row(group)
    assert json.loads(document) == {
        "model": 'Mac "has_implausible_date":',
        "device_family": None,
        "is_mac": True,
        "profile_status": None,
        "profile_uuid": None,
        "attempted": None,
        "given": "",
        "is_open": False,
        "is_reassigned": False,
        "risk": None,
        "is_released": False,
        "is_hidden": False,
        "is_replacement": False,
        "has_wild_date": True,
        "migration_deadline": None,
    }
    assert digest == "dd470efb15f0d5c13142facac88583787c0f1524ddffc261d6465a3b2a02a828"
    assert decode_group("hq", document) == group


def test_a_profile_read_from_apple_is_still_written_back_identically() -> None:
    """Also after it was stored."""
    answer = {
        "profile_name": "x",
        "url": "https://x.example/",
        "skip_setup_items": ["Siri", "Location"],
        "department": "",
        "future": [1, {"b": None}],
        "profile_uuid": "A",
    }
    assert to_apple(through_json(from_apple(answer))) == answer


def test_settings_that_an_older_document_lacks_have_their_defaults() -> None:
    """Awaiting final configuration is off for existing profiles; unknown keys are ignored."""
    document = {"version": 1, "name": "x", "url": "https://x.example", "later": True}
    assert profile_from_document(document) == EnrollmentProfile(
        name="x", url="https://x.example", await_final_configuration=False
    )
    new = ("standard_user", "skip_primary_account", "managed_user", "requires_network_tether")
    older = {key: value for key, value in profile_to_document(FULL).items() if key not in new}
    assert profile_from_document(older) == attrs.evolve(
        FULL, standard_user=False, managed_user="", requires_network_tether=False
    )


def test_a_newer_document_is_refused() -> None:
    """Its settings may mean something else."""
    with pytest.raises(StoreVersionError, match="update"):
        profile_from_document({**profile_to_document(FULL), "version": VERSION + 1})


@each("version", [None, 0, "1", True, -1])
def test_what_is_no_document_is_refused(version: Any) -> None:
    """Anything else that was stored under that key."""
    with pytest.raises(ProfileError, match="version"):
        profile_from_document({"version": version, "name": "x", "url": "https://x.example"})


@each(
    ("name", "value"),
    [
        ("user_affinity", {"kind": "new"}),
        ("user_affinity", {}),
        ("primary_account", {"shell": "zsh"}),
        ("primary_account", 7),
        ("administrator", {"short_name": "a", "password_hash": "%%%"}),
        ("administrator", {"password_hash": ""}),
        ("skip", 7),
        ("anchor_certificates", ["%"]),
        ("extra", 7),
        ("apple_spelling", "x"),
        ("apple_keys", 7),
        ("name", 7),
    ],
)
def test_a_damaged_setting_is_named(name: str, value: Any) -> None:
    """A damaged store fails with a typed error, not from deep inside."""
    with pytest.raises(ProfileError, match=name):
        profile_from_document({**profile_to_document(FULL), name: value})


def test_a_document_without_a_name_is_refused() -> None:
    """The two settings without a default."""
    with pytest.raises(ProfileError, match="a name and a url"):
        profile_from_document({"version": 1})


def affinities(kind: AffinityKind) -> UserAffinity:
    modern = UserAffinity.modern("https://mdm.contoso.com/signin")
    return {AffinityKind.MODERN: modern, AffinityKind.LEGACY: UserAffinity.legacy()}.get(
        kind, UserAffinity.none()
    )


texts = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), max_size=20)


@given(
    base=st.fixed_dictionaries(
        {"name": texts.filter(bool), "url": st.just("https://mdm.contoso.com/enroll")},
        optional={
            "description": texts,
            "user_affinity": st.sampled_from(AffinityKind).map(affinities),
            "await_final_configuration": st.booleans(),
            "locked": st.booleans(),
            "department": texts,
            "support_phone_number": texts,
            "skip": st.frozensets(st.sampled_from(SkipKeys) | texts.filter(bool), max_size=5),
            "anchor_certificates": st.lists(st.binary(max_size=10).map(lambda data: b"0" + data), max_size=3),
            "auto_advance": st.booleans(),
            "managed_user": st.sampled_from(["", "localadmin"]),
            "requires_network_tether": st.booleans(),
            "org_magic": texts.filter(bool),
            "mandatory": st.booleans(),
            "extra": st.dictionaries(
                texts.map(lambda key: f"x-{key}"), st.none() | st.lists(st.integers()), max_size=3
            ),
            "apple_keys": st.none() | st.frozensets(texts, max_size=3),
        },
    ),
    password_hash=st.none() | st.binary(max_size=20),
    standard=st.booleans(),
    skips=st.booleans(),
)
def test_profiles_survive_json(
    base: dict[str, Any], password_hash: bytes | None, standard: bool, skips: bool
) -> None:
    """Any profile that can be made."""
    if password_hash is not None:
        base |= {
            "administrator": AdministratorAccount(short_name="localadmin", password_hash=password_hash),
            "standard_user": standard,
            "skip_primary_account": skips,
        }
    profile = EnrollmentProfile(**base)
    assert through_json(profile) == profile
