"""The enrollment profile: defaults, rules, problems and what is derived from it."""

import pickle
import plistlib
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.core.macos.setup_screens import SkipKeys
from pyade.core.problems import Problem, Severity
from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount
from pyade.core.profile.affinity import AffinityKind, UserAffinity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import ProfileError

URL = "https://mdm.contoso.com/enroll"
MODERN = UserAffinity.modern("https://mdm.contoso.com/signin")
LEGACY = UserAffinity.legacy()
HASH = plistlib.dumps(
    {"SALTED-SHA512-PBKDF2": {"entropy": b"e" * 128, "salt": b"s" * 32, "iterations": 39999}}
)

ADMIN = AdministratorAccount("localadmin", password_hash=HASH)
NAMES = PrimaryAccount("{{partialupn}}", "{{username}}")


def make(**settings: Any) -> EnrollmentProfile:
    return EnrollmentProfile(**{"name": "Standard Mac", "url": URL, **settings})


def problems(**settings: Any) -> tuple[Problem, ...]:
    with pytest.raises(ProfileError) as caught:
        make(**settings)
    return caught.value.problems


def errors(**settings: Any) -> list[str]:
    return [problem.setting for problem in problems(**settings)]


def warnings(**settings: Any) -> list[str]:
    return [problem.setting for problem in make(**settings).problems]


# --- defaults


def test_a_new_profile_has_the_defaults_of_the_specification() -> None:
    profile = make()
    assert profile.user_affinity.kind is AffinityKind.NONE
    assert profile.await_final_configuration
    assert profile.supervised
    assert profile.mandatory
    assert not profile.locked
    assert not profile.auto_advance
    assert profile.skip == frozenset()
    assert profile.primary_account is None
    assert profile.administrator is None
    assert profile.apple_keys is None
    assert profile.problems == ()


def test_account_settings_restrict_editing_and_prefill_nothing_by_default() -> None:
    assert PrimaryAccount() == PrimaryAccount(account_name="", full_name="", restrict_editing=True)


def test_org_magic_is_derived_from_the_host_alone() -> None:
    assert make(url="https://MDM.Contoso.com:8443/a?b=c").org_magic == make().org_magic == "mdm.contoso.com"
    assert make(org_magic="mine").org_magic == "mine"


def test_a_profile_can_be_compared_hashed_and_pickled() -> None:
    profile = make(skip=["Siri"], extra={"allow_pairing": True})
    assert pickle.loads(pickle.dumps(profile)) == profile
    assert hash(make(skip=["Siri"])) == hash(make(skip={SkipKeys.SIRI}))
    assert profile != make()


def test_a_profile_cannot_be_changed_from_outside() -> None:
    given_extra = {"allow_pairing": True}
    profile = make(extra=given_extra)
    given_extra["allow_pairing"] = False
    assert profile.extra == {"allow_pairing": True}
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        profile.locked = True  # type: ignore[misc]


# --- screens


def test_keys_become_members_where_they_are_known_and_stay_text_where_not() -> None:
    profile = make(skip=("Siri", SkipKeys.PAYMENT, "HolographicSetup"))
    assert profile.skip == {SkipKeys.SIRI, SkipKeys.PAYMENT, "HolographicSetup"}
    assert SkipKeys.SIRI in {key for key in profile.skip if isinstance(key, SkipKeys)}
    assert make(skip="Siri").skip == {SkipKeys.SIRI}


@each("key", ["HolographicSetup", "Android", "siri"])
def test_a_doubtful_key_is_kept_and_found(key: str) -> None:
    profile = make(skip={key, SkipKeys.SIRI})
    assert key in profile.skip
    assert [(found.setting, found.value, found.severity) for found in profile.problems] == [
        ("skip", key, Severity.WARNING)
    ]


def test_a_key_in_the_wrong_case_is_found_with_the_right_one() -> None:
    (found,) = make(skip={"applepay", "APPLEID"}).problems[:1]
    assert "AppleID" in found.fix


def test_an_empty_key_is_refused() -> None:
    assert errors(skip={""}) == ["skip"]


# --- the specification's rules


def test_primary_account_settings_need_user_affinity() -> None:
    assert errors(primary_account=PrimaryAccount()) == ["primary_account"]


@each("affinity", [MODERN, LEGACY])
@each("wanted", [True, False])
def test_primary_account_settings_switch_await_on(affinity: UserAffinity, wanted: bool) -> None:
    profile = make(
        user_affinity=affinity, primary_account=PrimaryAccount("a", "A"), await_final_configuration=wanted
    )
    assert profile.await_final_configuration


@each("affinity", [UserAffinity.none(), MODERN, LEGACY])
def test_await_can_be_off_with_every_kind_of_affinity(affinity: UserAffinity) -> None:
    assert not make(user_affinity=affinity, await_final_configuration=False).await_final_configuration


ACCOUNT_SETTINGS: dict[str, dict[str, Any]] = {
    "primary account": {"user_affinity": LEGACY, "primary_account": PrimaryAccount("a", "A")},
    "administrator": {"administrator": ADMIN},
    "managed user": {"managed_user": "ada"},
}


@each("settings", ACCOUNT_SETTINGS.values())
def test_the_switch_by_accounts_is_found_and_the_given_value_is_restored(settings: dict[str, Any]) -> None:
    profile = make(**settings, await_final_configuration=False)
    assert profile.await_final_configuration
    found = {one.setting: one for one in profile.problems}["await_final_configuration"]
    assert (found.value, found.severity) == ("False", Severity.WARNING)
    assert "switched on" in str(found)
    named = attrs.evolve(profile, name="Other")
    assert (named.await_final_configuration, named.await_final_configuration_given) == (True, False)
    without = attrs.evolve(profile, primary_account=None, administrator=None, managed_user="")
    assert not without.await_final_configuration
    asked = make(**settings)
    assert "await_final_configuration" not in [one.setting for one in asked.problems]
    assert attrs.evolve(
        asked, primary_account=None, administrator=None, managed_user=""
    ).await_final_configuration


def test_an_administrator_needs_no_user() -> None:
    assert make(administrator=ADMIN).problems == ()


# --- a standard user, no primary account, the managed user


@each("setting", ["standard_user", "skip_primary_account"])
@each("primary", [None, PrimaryAccount("ada")])
def test_a_mac_without_an_administrator_is_refused(setting: str, primary: PrimaryAccount | None) -> None:
    settings: dict[str, Any] = {"user_affinity": LEGACY, "primary_account": primary, setting: True}
    assert errors(**settings) == [setting]
    if setting == "standard_user" or primary is None:
        assert make(**settings, administrator=ADMIN).problems == ()


def test_an_account_that_is_not_created_is_neither_set_up_nor_standard() -> None:
    account: dict[str, Any] = {"user_affinity": LEGACY, "primary_account": PrimaryAccount("ada")}
    assert errors(**account, administrator=ADMIN, skip_primary_account=True) == ["skip_primary_account"]
    alone: dict[str, Any] = {"administrator": ADMIN, "skip_primary_account": True}
    assert warnings(**alone, standard_user=True) == ["standard_user"]
    hidden = attrs.evolve(ADMIN, hidden=True)
    assert warnings(**{**alone, "administrator": hidden}) == ["administrator.hidden"]
    assert warnings(administrator=hidden) == []


def test_auto_advance_with_an_administrator_skips_the_account_pane() -> None:
    free: dict[str, Any] = {"auto_advance": True, "language": "en", "region": "US"}
    profile = make(**free, administrator=ADMIN)
    assert profile.skip_primary_account
    assert profile.problems == ()
    assert not attrs.evolve(profile, auto_advance=False).skip_primary_account
    assert not attrs.evolve(profile, administrator=None).skip_primary_account
    asked = attrs.evolve(profile, skip_primary_account=True)
    assert attrs.evolve(asked, auto_advance=False).skip_primary_account


def test_auto_advance_with_both_accounts_is_refused_and_a_sign_in_is_found() -> None:
    free: dict[str, Any] = {"auto_advance": True, "language": "en", "region": "US", "user_affinity": MODERN}
    account = PrimaryAccount("{{partialupn}}", "{{username}}")
    assert errors(**free, primary_account=account, administrator=ADMIN) == ["auto_advance"]
    assert warnings(**free, administrator=ADMIN) == ["auto_advance"]
    (no_administrator,) = make(**free, primary_account=account).problems[1:]
    assert "in the place of primary_account" in no_administrator.fix


@each(
    ("name", "settings", "broken", "found"),
    [
        ("localadmin", {"administrator": ADMIN}, [], []),
        ("LocalAdmin", {"administrator": ADMIN}, [], []),
        ("{{partialupn}}", {"user_affinity": LEGACY, "primary_account": NAMES}, [], []),
        ("ada", {"user_affinity": LEGACY, "primary_account": NAMES}, [], ["managed_user"]),
        ("ada", {}, [], ["managed_user"]),
        ("mac-{{serialNumber}}", {}, [], ["managed_user"]),
        ("{{partialupn}}", {}, ["managed_user"], []),
        ("{{username}}", {"user_affinity": LEGACY}, ["managed_user"], []),
        ("a b", {}, ["managed_user"], []),
    ],
)
def test_the_managed_user_is_one_of_the_accounts(
    name: str, settings: dict[str, Any], broken: list[str], found: list[str]
) -> None:
    if broken:
        assert errors(managed_user=name, **settings) == broken
    else:
        assert warnings(managed_user=name, **settings) == found


def test_the_wired_network_is_for_accounts() -> None:
    assert warnings(requires_network_tether=True) == ["requires_network_tether"]
    assert warnings(requires_network_tether=True, administrator=ADMIN) == []


def test_locked_needs_supervised() -> None:
    assert make(locked=True).locked
    assert not make(supervised=False).supervised
    assert errors(locked=True, supervised=False) == ["locked"]


def test_modern_keeps_url_and_adds_a_page_on_the_same_host() -> None:
    profile = make(user_affinity=MODERN)
    assert (profile.url, profile.user_affinity.web_url) == (URL, "https://mdm.contoso.com/signin")
    assert make(user_affinity=UserAffinity.modern("https://MDM.contoso.com:444/signin")).problems == ()
    other = problems(user_affinity=UserAffinity.modern("https://login.contoso.com/"))
    assert [problem.setting for problem in other] == ["user_affinity.web_url"]
    assert "mdm.contoso.com" in other[0].allowed


def test_the_page_belongs_to_modern_and_to_no_other_kind() -> None:
    assert errors(user_affinity=UserAffinity.modern("")) == ["user_affinity.web_url"]
    lone = UserAffinity(kind=AffinityKind.LEGACY, web_url="https://mdm.contoso.com/signin")
    assert errors(user_affinity=lone) == ["user_affinity.web_url"]


@each(
    ("account_name", "full_name", "broken"),
    [
        ("{{partialupn}}", "{{username}}", []),
        ("{{partialupn}}.mac", "{{username}} (Mac)", []),
        ("ada", "Ada Lovelace", []),
        ("{{username}}", "", ["primary_account.account_name"]),
        ("", "{{partialupn}}", ["primary_account.full_name"]),
        ("{{PartialUPN}}", "{{serialnumber}}", []),
        ("{{serialNumber}}.{{managedDeviceName}}", "{{onPremisesSamAccountName}}", []),
        ("{{OnPremisesSamAccountName}}", "{{username}} {{serialNumber}}", []),
        (
            "{{serial}}",
            "{{managedDeviceName}}",
            ["primary_account.account_name", "primary_account.full_name"],
        ),
        ("{{partialupn", "username}}", ["primary_account.account_name", "primary_account.full_name"]),
        ("a b", "", ["primary_account.account_name"]),
        ("a:b", "A:B", ["primary_account.account_name", "primary_account.full_name"]),
        ("root", "", ["primary_account.account_name"]),
        ("ada", " ", ["primary_account.full_name"]),
    ],
)
def test_each_account_name_allows_its_own_variables_only(
    account_name: str, full_name: str, broken: list[str]
) -> None:
    account = PrimaryAccount(account_name, full_name)
    if broken:
        assert errors(user_affinity=LEGACY, primary_account=account) == broken
    else:
        assert make(user_affinity=LEGACY, primary_account=account).problems == ()


@each(
    ("short_name", "full_name", "broken"),
    [
        ("admin-{{serialNumber}}", "Admin of {{serialNumber}}", []),
        ("{{partialupn}}", "", ["administrator.short_name"]),
        ("{{managedDeviceName}}", "{{username}}", ["administrator.full_name"]),
        ("{{onPremisesSamAccountName}}", "{{OnPremisesSamAccountName}}", None),
        ("{{nobody}}", "{{partialupn}}", None),
    ],
)
def test_the_variables_of_an_administrator_need_no_user_that_is_not_there(
    short_name: str, full_name: str, broken: list[str] | None
) -> None:
    """None stands for both names."""
    admin = AdministratorAccount(short_name, full_name, password_hash=HASH)
    expected = ["administrator.short_name", "administrator.full_name"] if broken is None else broken
    if expected:
        assert errors(administrator=admin) == expected
    else:
        assert make(administrator=admin).problems == ()


def test_an_administrator_may_be_named_after_a_user_who_is_there() -> None:
    admin = AdministratorAccount("{{partialupn}}-admin", "{{username}}", password_hash=HASH)
    assert make(user_affinity=LEGACY, administrator=admin).problems == ()


@each("text", ["%partialupn%", "{partialupn}", "{{ partialupn }}", "${partialupn}", "{{partialUPN"])
def test_a_mistyped_variable_is_refused_with_the_right_spelling(text: str) -> None:
    """In the name of either account, and in a full name although that may hold such signs."""
    affinity, full = LEGACY, text.replace("partialupn", "username").replace("partialUPN", "username")
    for changes in (
        {"primary_account": PrimaryAccount(text)},
        {"administrator": AdministratorAccount(text, password_hash=HASH)},
    ):
        with pytest.raises(ProfileError, match=r"write \{\{partialupn\}\}"):
            make(user_affinity=affinity, **changes)
    with pytest.raises(ProfileError, match=r"write \{\{username\}\}"):
        make(user_affinity=affinity, primary_account=PrimaryAccount("", full))


def test_both_accounts_need_names_of_their_own() -> None:
    broken = errors(
        user_affinity=LEGACY,
        primary_account=PrimaryAccount("Admin"),
        administrator=AdministratorAccount("admin", password_hash=HASH),
    )
    assert broken == ["primary_account.account_name"]


@each("name", ["", "local admin", "a/b", "root", "Root", "DAEMON", "nobody", "Guest", "shared", "a" * 245])
def test_an_administrator_needs_a_name_that_macos_takes(name: str) -> None:
    assert errors(administrator=AdministratorAccount(name, password_hash=HASH)) == [
        "administrator.short_name"
    ]


def test_an_odd_account_name_is_found() -> None:
    assert warnings(administrator=AdministratorAccount("Änne", password_hash=HASH)) == [
        "administrator.short_name"
    ]


@each(
    "data",
    [
        b"",
        b"secret-bytes",
        b"<?xml version='1.0'?><plist><dict>",
        b"<plist><date>x</date></plist>",
        b"<plist><key>x</key></plist>",
        b"bplist00\xff\xff",
        plistlib.dumps(["x"]),
        plistlib.dumps({"SALTED-SHA512-PBKDF2": {"entropy": b""}}),
    ],
)
def test_a_password_hash_that_no_mac_takes_is_found_and_not_shown(data: bytes) -> None:
    profile = make(administrator=AdministratorAccount("localadmin", password_hash=data))
    (found,) = profile.problems
    assert found.setting == "administrator.password_hash"
    assert found.value == ""


def test_the_password_hash_is_in_no_text() -> None:
    secret = b"S3CR3T" * 8
    admin = AdministratorAccount("local admin", password_hash=secret)
    with pytest.raises(ProfileError) as caught:
        make(administrator=admin)
    good = make(administrator=attrs.evolve(admin, short_name="localadmin"))
    other = make(administrator=AdministratorAccount("localadmin", password_hash=b"other"))
    texts = [repr(admin), str(caught.value), repr(caught.value), repr(good), str(good.plan("14.1"))]
    texts += [str(good.diff(other)), repr(good.diff(other)), str(good.problems)]
    assert "S3CR3T" not in "".join(texts)


def test_restricting_names_that_are_not_prefilled_is_worth_a_note() -> None:
    (found,) = make(user_affinity=LEGACY, primary_account=PrimaryAccount()).problems
    assert (found.setting, found.severity) == ("primary_account.restrict_editing", Severity.NOTE)
    assert warnings(user_affinity=LEGACY, primary_account=PrimaryAccount(restrict_editing=False)) == []


def test_auto_advance_that_stops_is_found() -> None:
    assert len(warnings(auto_advance=True)) == 2
    assert len(warnings(auto_advance=True, user_affinity=MODERN)) == 3
    admin = AdministratorAccount("localadmin", password_hash=HASH)
    assert warnings(auto_advance=True, language="en", region="US", administrator=admin) == []


# --- Apple's limits


@each(
    ("setting", "limit"),
    [
        ("name", 125),
        ("department", 125),
        ("support_phone_number", 50),
        ("support_email_address", 250),
        ("org_magic", 256),
    ],
)
def test_texts_have_apples_lengths(setting: str, limit: int) -> None:
    filler = "1@" + "5" * (limit - 2)
    assert make(**{setting: filler}).problems == ()
    (problem,) = problems(**{setting: filler + "5"})
    assert problem.setting == setting
    assert str(limit) in problem.allowed
    assert str(limit + 1) in problem.allowed
    wide = "1@" + "é" * (limit - 2)
    (found,) = make(**{setting: wide}).problems
    assert (found.setting, found.severity) == (setting, Severity.WARNING)
    assert "bytes" in found.allowed
    assert errors(**{setting: wide + "é"}) == [setting]
    assert errors(**{setting: "  "}) == [setting]
    assert errors(**{setting: "a5@\nb"})[:1] == [setting]


@pytest.mark.parametrize("setting", ["name", "org_magic"])
def test_what_apple_requires_cannot_be_empty(setting: str) -> None:
    assert errors(**{setting: ""}) == [setting]


@each("setting", ["department", "support_phone_number", "support_email_address", "language", "region"])
def test_what_apple_does_not_require_can_be_empty(setting: str) -> None:
    assert make(**{setting: ""}).problems == ()


def test_unusable_contacts_are_found_but_allowed_as_apple_allows_them() -> None:
    assert warnings(support_phone_number="(Optional)") == ["support_phone_number"]
    assert warnings(support_email_address="(Optional) support@example.com") == ["support_email_address"]


@each("language", ["en", "fr", "haw"])
def test_languages_are_iso_639(language: str) -> None:
    assert make(language=language, region="GB").language == language


@each("language", ["EN", "e", "en-GB", "engl", "é1"])
def test_other_languages_are_refused(language: str) -> None:
    assert errors(language=language) == ["language"]


@each("region", ["us", "USA", "U", "1A"])
def test_other_regions_are_refused(region: str) -> None:
    assert errors(region=region) == ["region"]


@each(
    "url",
    [
        "", "mdm.contoso.com/enroll", "https://", "ftp://mdm.contoso.com/", "http://mdm.contoso.com/enroll",
        "https://mdm.contoso.com/é", "https://mdm.contoso.com/100%", "https://mdm.contoso.com/%zz",
        "https://mdm.contoso.com/a b", "https://mdm.contoso.com:99999/",
        "https://[::1/",
        "https://mdm.contoso.com/{id}", "https://user:s3cret@mdm.contoso.com/",
        "https://mdm.contoso.com/".ljust(2001, "a"),
    ],
)  # fmt: skip
def test_urls_that_no_mac_or_apple_takes_are_refused(url: str) -> None:
    found = problems(url=url)
    assert [problem.setting for problem in found] == ["url"]
    assert "s3cret" not in str(found)


def test_a_url_of_2000_characters_is_allowed() -> None:
    url = "https://mdm.contoso.com/"
    assert make(url=url + "a" * (2000 - len(url))).problems == ()


@each("url", ["http://127.0.0.1:8080/enroll", "http://localhost/enroll", "http://[::1]:1/enroll"])
def test_http_on_this_machine_is_for_tests(url: str) -> None:
    (found,) = make(url=url).problems
    assert (found.severity, found.setting, found.value) == ("warning", "url", url)


def test_a_query_is_not_shown_in_errors() -> None:
    assert "s3cret" not in str(problems(url="http://mdm.contoso.com/enroll?key=s3cret"))


def test_certificates_are_der() -> None:
    assert make(anchor_certificates=[b"0\x03\x02\x01\x05"]).anchor_certificates == (b"0\x03\x02\x01\x05",)
    assert errors(anchor_certificates=[b"0\x00", b"-----BEGIN CERTIFICATE-----", b""]) == [
        "anchor_certificates[1]",
        "anchor_certificates[2]",
    ]


def test_extra_cannot_bypass_a_setting() -> None:
    assert errors(extra={"is_mdm_removable": True, "allow_pairing": False}) == ["extra"]


def test_a_misspelled_key_of_apple_is_a_warning_with_the_right_one() -> None:
    extra = {"is_mdm_removeable": False, "locked": True, "allow_pairing": False, "is_multi_user": False}
    first, second = make(extra=extra).problems
    assert (first.severity, first.setting) == ("warning", "extra.is_mdm_removeable")
    assert "did you mean 'is_mdm_removable'" in first.fix
    assert (second.severity, second.setting) == ("warning", "extra.locked")
    assert "did you mean the setting 'locked', which Apple names otherwise?" in second.fix


# --- all problems together, with typed errors


def test_all_broken_rules_are_reported_together() -> None:
    found = problems(
        name="", url="http://x/", locked=True, supervised=False, language="EN", region="us",
        support_phone_number="5" * 51, primary_account=PrimaryAccount("{{username}}"), skip={" "},
    )  # fmt: skip
    assert [problem.setting for problem in found] == [
        "name", "support_phone_number", "url", "locked", "language", "region", "primary_account",
        "primary_account.account_name", "skip",
    ]  # fmt: skip
    assert all(problem.allowed and problem.fix and problem.severity is Severity.ERROR for problem in found)


def test_a_profile_error_names_setting_value_and_fix_and_can_be_pickled() -> None:
    with pytest.raises(ProfileError) as caught:
        make(region="usa")
    assert str(caught.value) == 'region \'usa\': two capitals, ISO 3166-1: "US", "GB" (use that code)'
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems


def test_long_values_are_shortened_in_errors() -> None:
    (problem,) = problems(department="x" * 9000)
    assert len(problem.value) == 80


def test_wrong_types_are_reported_all_together() -> None:
    found = errors(
        name=None, locked="yes", await_final_configuration=None, skip_primary_account=0, managed_user=5,
        user_affinity=None, primary_account="ada", skip={5},
        anchor_certificates=["x"],
        administrator=AdministratorAccount(short_name="a", password_hash="secret"),  # type: ignore[arg-type]
        extra={5: 6}, department="\ud800",
    )  # fmt: skip
    assert sorted(found) == [
        "administrator.password_hash", "anchor_certificates", "await_final_configuration", "department",
        "extra", "locked", "managed_user", "name", "primary_account", "skip", "skip_primary_account",
        "user_affinity",
    ]  # fmt: skip


def test_collections_of_the_wrong_type_are_reported_like_everything_else() -> None:
    found = problems(name="", skip=None, anchor_certificates=5, extra="x")
    assert [problem.setting for problem in found] == ["skip", "anchor_certificates", "extra"]
    assert [problem.allowed for problem in found] == [
        "a set of SkipKeys or texts, not NoneType",
        "a sequence of certificates, not int",
        "a mapping from Apple's keys to JSON values, not str",
    ]
    assert errors(skip=[["Siri"]]) == ["skip"]


def test_one_certificate_is_taken_as_such() -> None:
    assert make(anchor_certificates=b"0\x00").anchor_certificates == (b"0\x00",)


@each("value", [b"0\x00", object(), float("nan"), {1, 2}, {"a": [b""]}, "\ud800"])
def test_extra_holds_only_what_json_can_hold(value: Any) -> None:
    """Else the profile is made and fails much later, when it is sent or stored."""
    assert errors(extra={"supervising_host_certs": value}) == ["extra.supervising_host_certs"]


@given(
    st.dictionaries(
        st.sampled_from([field.alias for field in attrs.fields(EnrollmentProfile)]), st.text(max_size=5)
    )
)
def test_any_text_gives_a_profile_or_a_profile_error(settings: dict[str, str]) -> None:
    settings = {
        name: value
        for name, value in settings.items()
        if name not in ("extra", "apple_keys", "apple_spelling")
    }
    try:
        profile = make(**settings)
    except ProfileError as error:
        assert error.problems  # noqa: PT017
    else:
        assert all(problem.severity is not Severity.ERROR for problem in profile.problems)


# --- what follows from a profile


@each(
    ("name", "rule"),
    [
        ("Standard Mac", '(device.enrollmentProfileName -eq "Standard Mac")'),
        ('Mac "HQ"', '(device.enrollmentProfileName -eq "Mac `"HQ`"")'),
        ("Mac `1`", '(device.enrollmentProfileName -eq "Mac ``1``")'),
        ("Bob's Mac", '(device.enrollmentProfileName -eq "Bob\'s Mac")'),
    ],
)
def test_the_group_rule_compares_the_name(name: str, rule: str) -> None:
    assert make(name=name).dynamic_membership_rule() == rule


def test_each_kind_of_affinity_says_what_follows_from_it() -> None:
    none, modern, legacy = (kind.consequences for kind in (UserAffinity.none(), MODERN, LEGACY))
    assert "does not work" in none.company_portal
    assert "device license" in none.license
    for with_user in (modern, legacy):
        assert "Company Portal" in with_user.registration
        assert "Company Portal" in with_user.conditional_access
        assert "Company Portal" in with_user.compliance
        assert "license for the user" in with_user.license
    assert "web page" in modern.mfa
    assert "available with user affinity" in legacy.mfa
    assert "WS-Trust 1.3" in legacy.sign_in


@each(
    ("affinity", "version", "kind"),
    [
        (MODERN, "10.14.6", AffinityKind.LEGACY),
        (MODERN, "10.15", AffinityKind.MODERN),
        (LEGACY, "26", AffinityKind.LEGACY),
        (UserAffinity.none(), "10.9", AffinityKind.NONE),
    ],
)
def test_modern_falls_back_to_legacy_below_10_15(
    affinity: UserAffinity, version: str, kind: AffinityKind
) -> None:
    assert affinity.on(version) is kind
