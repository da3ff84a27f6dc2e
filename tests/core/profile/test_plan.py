"""What a profile does on one version of macOS.

The environment variable PYADE_REWRITE_GOLDEN=1 rewrites the golden tables; read the difference then.
"""

import os
import plistlib
import re
from pathlib import Path
from typing import Any

import pytest
from tests.cases import each

from pyade.core.macos.setup_screens import SkipKeys
from pyade.core.macos.versions import MacOSVersion
from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount
from pyade.core.profile.affinity import UserAffinity
from pyade.core.profile.plan import Effect, PlanRow
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import VersionError

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = ["10.9", "10.10", "10.14", "10.15", "13.0", "14.1", "26"]
AFFINITIES = {
    "none": UserAffinity.none(),
    "modern": UserAffinity.modern("https://mdm.contoso.com/signin"),
    "legacy": UserAffinity.legacy(),
}
HASH = plistlib.dumps(
    {"SALTED-SHA512-PBKDF2": {"entropy": b"e" * 128, "salt": b"s" * 32, "iterations": 39999}}
)
OPEN = PrimaryAccount("a", "A", restrict_editing=False)
NAMES = PrimaryAccount("{{partialupn}}", "{{username}}")


def make(affinity: str = "modern", **settings: Any) -> EnrollmentProfile:
    return EnrollmentProfile(
        **{
            "name": "Standard Mac",
            "url": "https://mdm.contoso.com/enroll",
            "user_affinity": AFFINITIES[affinity],
            **settings,
        }
    )


def golden_profile(affinity: str) -> EnrollmentProfile:
    """Return a profile in which every setting has a value, as far as its rules let it."""
    return make(
        affinity,
        description="For everybody at headquarters",
        locked=True,
        primary_account=None if affinity == "none" else NAMES,
        administrator=AdministratorAccount("localadmin", hidden=True, password_hash=HASH),
        standard_user=affinity == "modern",
        managed_user="localadmin",
        requires_network_tether=affinity == "legacy",
        department="IT",
        support_phone_number="+1 555 0100",
        support_email_address="it@contoso.com",
        skip={
            SkipKeys.SIRI, SkipKeys.PAYMENT, SkipKeys.RESTORE, SkipKeys.ACCESSIBILITY, SkipKeys.WALLPAPER,
            SkipKeys.TERMS_OF_ADDRESS, SkipKeys.UNLOCK_WITH_WATCH, SkipKeys.DISPLAY_TONE, "HolographicSetup",
            "Android",
        },
        anchor_certificates=[b"0\x00", b"0\x01"],
        language="en",
        region="US",
        auto_advance=affinity == "none",
        extra={"allow_pairing": True},
    )  # fmt: skip


@each("affinity", AFFINITIES)
@each("version", VERSIONS)
def test_the_table_is_the_golden_one(affinity: str, version: str) -> None:
    path = GOLDEN / f"plan-{version}-{affinity}.txt"
    table = f"{golden_profile(affinity).plan(version)}\n"
    if os.environ.get("PYADE_REWRITE_GOLDEN"):
        path.write_text(table, encoding="utf-8")
    assert table == path.read_text(encoding="utf-8")


def test_there_is_no_golden_table_too_many() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {
        f"plan-{version}-{affinity}.txt" for version in VERSIONS for affinity in AFFINITIES
    }


@each("affinity", AFFINITIES)
@each("version", VERSIONS)
def test_the_table_is_110_columns_wide_and_says_why_everywhere(affinity: str, version: str) -> None:
    plan = golden_profile(affinity).plan(version)
    assert max(map(len, str(plan).splitlines())) <= 110
    assert all(row.why for row in plan.rows)


@each("version", VERSIONS)
def test_every_setting_and_every_screen_has_its_row(version: str) -> None:
    plan = make().plan(version)
    settings = {
        "name", "description", "url", "user_affinity", "await_final_configuration", "locked", "supervised",
        "primary_account", "administrator", "department", "support_phone_number", "support_email_address",
        "anchor_certificates", "language", "region", "auto_advance", "org_magic", "mandatory",
        "standard_user", "skip_primary_account", "managed_user", "requires_network_tether",
    }  # fmt: skip
    assert settings <= {row.setting for row in plan.settings}
    assert {f"skip.{key}" for key in SkipKeys} <= {row.setting for row in plan.screens}
    assert len({row.setting for row in plan.rows}) == len(plan.rows)


def test_a_plan_takes_a_version_and_its_text() -> None:
    assert make().plan("14.1") == make().plan(MacOSVersion(14, 1))
    with pytest.raises(VersionError):
        make().plan("Sonoma")
    with pytest.raises(KeyError, match="colour"):
        make().plan("14.1").row("colour")


def effect(setting: str, version: str, affinity: str = "modern", **settings: Any) -> Effect:
    return make(affinity, **settings).plan(version).row(setting).effect


def why(setting: str, version: str, affinity: str = "modern", **settings: Any) -> str:
    return make(affinity, **settings).plan(version).row(setting).why


def test_modern_authentication_falls_back_below_10_15() -> None:
    assert effect("user_affinity", "10.14") is Effect.FALLS_BACK
    assert effect("user_affinity.web_url", "10.14") is Effect.NOT_USED
    assert effect("url", "10.14") is Effect.APPLIES
    assert why("user_affinity.mfa", "10.14") == UserAffinity.legacy().consequences.mfa
    assert effect("user_affinity", "10.15") is Effect.APPLIES
    assert effect("user_affinity.web_url", "10.15") is Effect.APPLIES
    assert effect("url", "10.15") is Effect.NOT_USED


@each("affinity", AFFINITIES)
def test_await_final_configuration_needs_10_11_with_every_affinity(affinity: str) -> None:
    assert effect("await_final_configuration", "10.10.5", affinity) is Effect.NO_EFFECT
    assert effect("await_final_configuration", "10.11", affinity) is Effect.APPLIES
    off: dict[str, Any] = {"await_final_configuration": False}
    assert "may still be missing" in why("await_final_configuration", "10.11", affinity, **off)


def test_account_settings_need_10_11_and_their_prefill_10_15() -> None:
    account: dict[str, Any] = {"primary_account": NAMES}
    assert effect("primary_account", "10.10", **account) is Effect.NO_EFFECT
    assert effect("primary_account", "10.11", **account) is Effect.APPLIES
    for name in ("account_name", "full_name", "restrict_editing"):
        assert effect(f"primary_account.{name}", "10.14", **account) is Effect.NO_EFFECT
        assert effect(f"primary_account.{name}", "10.15", **account) is Effect.APPLIES
    assert (
        effect("primary_account.full_name", "14.1", primary_account=PrimaryAccount("ada")) is Effect.NOT_SET
    )
    assert "variable" not in why(
        "primary_account.account_name", "14.1", primary_account=PrimaryAccount("ada")
    )


@each("version", VERSIONS)
@each("account", [None, NAMES])
def test_the_primary_account_is_an_administrator(version: str, account: PrimaryAccount | None) -> None:
    assert "administrator" in why("primary_account", version, primary_account=account)


@each(
    ("affinity", "version", "account", "outcome"),
    [
        ("legacy", "10.14", NAMES, "the user types names and password"),
        ("modern", "10.14", NAMES, "the user types names and password"),
        ("legacy", "10.15", NAMES, "never shows"),
        ("legacy", "10.15", OPEN, "password from the sign-in; all can be edited"),
        ("modern", "10.15", NAMES, "the user chooses a password"),
        ("modern", "10.15", OPEN, "of the user's choice; all can be edited"),
        ("legacy", "26", PrimaryAccount(), "nothing is prefilled"),
        ("legacy", "26", PrimaryAccount(restrict_editing=False), "nothing is prefilled"),
        ("legacy", "26", PrimaryAccount("a"), "the user types the other"),
    ],
)  # fmt: skip
def test_the_effect_of_restricting_the_editing(
    affinity: str, version: str, account: PrimaryAccount, outcome: str
) -> None:
    assert outcome in why("primary_account.restrict_editing", version, affinity, primary_account=account)


def test_restricting_nothing_has_no_effect() -> None:
    assert (
        effect("primary_account.restrict_editing", "26", primary_account=PrimaryAccount()) is Effect.NO_EFFECT
    )


def test_restricting_nothing_on_purpose_applies() -> None:
    account = PrimaryAccount(restrict_editing=False)
    assert effect("primary_account.restrict_editing", "26", primary_account=account) is Effect.APPLIES


def test_an_administrator_needs_10_11_and_its_password_is_not_shown() -> None:
    admin: dict[str, Any] = {
        "administrator": AdministratorAccount("localadmin", "Local Administrator", password_hash=HASH)
    }
    assert effect("administrator", "10.10", **admin) is Effect.NO_EFFECT
    parts = ("", ".full_name", ".hidden", ".password_hash")
    assert {why(f"administrator{part}", "10.10", **admin) for part in parts} == {
        "account settings need 10.11"
    }
    assert {effect(f"administrator{part}", "10.11", **admin) for part in parts} == {Effect.APPLIES}
    assert make(**admin).plan("14.1").row("administrator.password_hash").value == "a secret"
    lone: dict[str, Any] = {"administrator": AdministratorAccount("localadmin")}
    assert effect("administrator.password_hash", "14.1", **lone) is Effect.NOT_SET


def test_it_says_where_department_and_phone_appear() -> None:
    assert "About Configuration" in why("department", "14.1", department="IT")
    assert "Need Help" in why("support_phone_number", "14.1", support_phone_number="1")
    assert effect("department", "14.1") is Effect.NOT_SET


def test_locked_says_who_cannot_remove_what() -> None:
    assert "not even an administrator" in why("locked", "10.14", locked=True)
    assert "wipe" in why("locked", "14.1", locked=True)
    assert "can remove the management profile" in why("locked", "14.1", locked=False)
    assert "never be removed by users" in why("locked", "10.15", locked=False)


def test_supervised_and_mandatory_depend_on_the_version() -> None:
    assert effect("supervised", "10.15", supervised=False) is Effect.APPLIES
    assert effect("supervised", "11.0", supervised=False) is Effect.NO_EFFECT
    assert "asks again" in why("mandatory", "14.0", mandatory=False)
    assert why("mandatory", "13.7", mandatory=False) == "the user can skip the enrollment"


def test_auto_advance_needs_11_and_says_where_it_stops() -> None:
    assert effect("auto_advance", "10.15", auto_advance=True) is Effect.NO_EFFECT
    assert effect("language", "10.15", language="en") is Effect.NO_EFFECT
    assert effect("language", "11", language="en") is Effect.APPLIES
    assert "sign-in" in why("auto_advance", "11", auto_advance=True)
    assert "language" in why("auto_advance", "11", auto_advance=True)
    complete = why("auto_advance", "11", "none", auto_advance=True, language="en", region="US")
    assert complete.endswith("it stops without a wired network, at the account of the user")


ADMIN = AdministratorAccount("localadmin", password_hash=HASH)
COMPLETE: dict[str, Any] = {"auto_advance": True, "language": "en", "region": "US", "administrator": ADMIN}
ADVANCING: list[tuple[str, dict[str, Any]]] = [
    ("none", COMPLETE),
    ("none", {**COMPLETE, "mandatory": False, "skip": set(SkipKeys), "standard_user": True}),
    ("none", {"auto_advance": True}),
    ("modern", COMPLETE),
    ("legacy", COMPLETE),
    ("modern", {"auto_advance": True, "primary_account": NAMES}),
    ("legacy", {"auto_advance": True, "primary_account": PrimaryAccount("ada", restrict_editing=False)}),
]


@each(("affinity", "settings"), ADVANCING)
@each("version", ["11.0", "14.1", "15.4", "26.1", "27.0"])
def test_no_row_of_an_unattended_setup_says_that_a_user_must_act(
    affinity: str, settings: dict[str, Any], version: str
) -> None:
    """Where it stops a row says so; what a user does after the setup is another matter."""
    acts = re.compile("the user (types|chooses|must|can|signs|goes|is asked|needs|reads|makes)|users must")
    plan = make(affinity, **settings).plan(version)
    acting = {row.setting: row.why for row in plan.rows if acts.search(row.why)}
    assert acting == {}
    assert Effect.SHOWN not in {row.effect for row in plan.screens if row.setting != "(always)"}
    assert any(acts.search(row.why) for row in make(affinity, **settings).plan("10.15").rows)


def test_a_setup_without_people_says_where_it_stops() -> None:
    plan = make("modern", auto_advance=True).plan("14.1")
    stopping = {row.setting for row in plan.rows if "stops" in row.why}
    assert stopping == {
        *("user_affinity", "user_affinity.web_url", "user_affinity.sign_in", "primary_account"),
        *("skip_primary_account", "language", "region", "auto_advance", "(always)"),
    }
    complete = make("none", **COMPLETE).plan("14.1")
    assert {row.setting for row in complete.rows if "stops" in row.why} == {"auto_advance"}
    assert complete.row("auto_advance").why.endswith("it stops without a wired network")
    assert complete.row("(always)").effect is Effect.PASSED


# --- settings of accounts


def test_the_switch_by_accounts_is_in_the_plan() -> None:
    settings: dict[str, Any] = {"administrator": ADMIN, "await_final_configuration": False}
    assert effect("await_final_configuration", "14.1", **settings) is Effect.APPLIES
    assert "although False was given" in why("await_final_configuration", "14.1", **settings)
    assert "although" not in why("await_final_configuration", "14.1", administrator=ADMIN)
    assert "always on" in why("await_final_configuration", "14.1", managed_user="ada")
    assert "follows from auto_advance" in why("skip_primary_account", "14.1", "none", **COMPLETE)
    asked: dict[str, Any] = {"administrator": ADMIN, "skip_primary_account": True}
    assert "follows" not in why("skip_primary_account", "14.1", **asked)


@each(
    ("setting", "settings", "effects"),
    [
        ("standard_user", {}, {"10.10": Effect.NO_EFFECT, "10.11": Effect.APPLIES}),
        ("standard_user", {"skip_primary_account": True}, {"14.1": Effect.NO_EFFECT}),
        ("skip_primary_account", {}, {"10.10": Effect.NO_EFFECT, "10.11": Effect.APPLIES}),
        ("requires_network_tether", {}, {"10.10": Effect.NO_EFFECT, "10.11": Effect.APPLIES}),
        ("requires_network_tether", {"administrator": None}, {"14.1": Effect.NO_EFFECT}),
    ],
)
def test_each_setting_of_accounts_says_what_it_does(
    setting: str, settings: dict[str, Any], effects: dict[str, Effect]
) -> None:
    given = {"administrator": ADMIN, setting: True, **settings}
    for version, expected in effects.items():
        row = make(**given).plan(version).row(setting)
        assert (row.value, row.effect) == ("yes", expected)


def test_the_user_is_a_standard_one_where_the_version_can_do_it() -> None:
    for account in (None, NAMES):
        settings: dict[str, Any] = {
            "administrator": ADMIN,
            "standard_user": True,
            "primary_account": account,
        }
        assert "standard" in why("primary_account", "14.1", **settings)
        assert "administrator" in why("primary_account", "10.10", **settings)
    alone: dict[str, Any] = {"administrator": ADMIN, "skip_primary_account": True}
    assert "only account" in why("administrator", "14.1", **alone)
    assert "the only one" in why("primary_account", "14.1", **alone)


def test_the_managed_user_needs_11() -> None:
    assert effect("managed_user", "10.15", managed_user="ada") is Effect.NO_EFFECT
    assert effect("managed_user", "11.0", managed_user="ada") is Effect.APPLIES
    assert effect("managed_user", "11.0") is Effect.NOT_SET
    skips: dict[str, Any] = {"administrator": ADMIN, "skip_primary_account": True}
    assert "no account is managed" in why("managed_user", "11.0", **skips)


@each(("version", "kind"), [("13.0", "SCEP"), ("13.1", "ACME"), ("14.0", "ACME")])
def test_the_identity_is_acme_from_13_1(version: str, kind: str) -> None:
    assert make().plan(version).row("(identity)").value == kind


@pytest.mark.parametrize(("version", "way"), [("10.12.6", "wipe"), ("10.13", "profiles renew")])
def test_macs_in_use_can_enroll_from_10_13(version: str, way: str) -> None:
    assert make().plan(version).row("(Macs in use)").value == way


def screen(key: str, version: str, *, hide: bool) -> PlanRow:
    return make(skip={key} if hide else set()).plan(version).row(f"skip.{key}")


@each("key", SkipKeys)
@each("version", VERSIONS)
def test_a_screen_says_what_hide_or_show_means_there(key: SkipKeys, version: str) -> None:
    hidden, shown = screen(key, version, hide=True), screen(key, version, hide=False)
    if key in SkipKeys.available(version) and key.seen_on_macs:
        assert hidden.effect is (Effect.HIDDEN if key.always_skippable else Effect.MAY_SHOW)
        assert shown.effect is Effect.SHOWN
        assert hidden.why.startswith(key.when_hidden)
        assert shown.why.startswith(key.when_visible)
        assert key.conditions in hidden.why
    else:
        assert hidden.effect is shown.effect is Effect.NOT_THERE


@each("key", SkipKeys)
@each("version", VERSIONS)
def test_a_hidden_screen_can_be_made_up_for_and_a_shown_one_can_be_skipped(
    key: SkipKeys, version: str
) -> None:
    """As the specification says of all of them; only Apple's terms require immediate action."""
    if key not in SkipKeys.available(version) or not key.seen_on_macs:
        return
    assert "can be set up later" in screen(key, version, hide=True).why
    shown = screen(key, version, hide=False).why
    if key is SkipKeys.TOS:
        assert "cannot be skipped" in shown
    else:
        assert "it can be skipped and set up later" in shown


def test_restore_names_icloud() -> None:
    """Source: specification, "Setup Assistant screen reference"."""
    assert "iCloud Backup" in screen("Restore", "14.1", hide=False).why


def test_the_note_is_there_where_sources_disagree() -> None:
    assert "15.0 only" in screen("UnlockWithWatch", "14.1", hide=False).why
    assert "names no end" in screen("Wallpaper", "26", hide=False).why
    assert "names no end" not in screen("Wallpaper", "14.1", hide=True).why
    assert "15.4" in screen("Restore", "15.4", hide=True).why
    assert "15.4" not in screen("Restore", "14.1", hide=True).why


def test_keys_that_are_no_screen_of_a_mac_have_rows() -> None:
    assert screen("Android", "14.1", hide=True).effect is Effect.NOT_THERE
    assert screen("HolographicSetup", "14.1", hide=True).effect is Effect.SENT_AS_IS


def test_a_screen_that_was_removed_is_not_there() -> None:
    row = screen("LiquidGlass", "26", hide=True)
    assert (row.effect, row.why) == (Effect.NOT_THERE, "from 27.0 on")
