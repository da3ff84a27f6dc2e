"""What changes between two profiles, and which Macs it reaches."""

from typing import Any

import attrs
from tests.cases import each

from pyade.core.macos.setup_screens import SkipKeys
from pyade.core.problems import Severity
from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount
from pyade.core.profile.affinity import UserAffinity
from pyade.core.profile.diff import Reach, SettingChange
from pyade.core.profile.profile import EnrollmentProfile

BEFORE = EnrollmentProfile(
    name="Standard Mac",
    url="https://mdm.contoso.com/enroll",
    user_affinity=UserAffinity.legacy(),
    skip={SkipKeys.SIRI},
    await_final_configuration=False,
)
OTHER_VALUES: dict[str, Any] = {
    "name": "New Mac",
    "url": "https://mdm.contoso.com/new",
    "description": "new",
    "user_affinity": UserAffinity.none(),
    "await_final_configuration": True,
    "locked": True,
    "primary_account": PrimaryAccount("ada"),
    "administrator": AdministratorAccount("localadmin"),
    "standard_user": True,
    "skip_primary_account": True,
    "managed_user": "ada",
    "requires_network_tether": True,
    "department": "IT",
    "support_phone_number": "1",
    "support_email_address": "it@contoso.com",
    "skip": frozenset({SkipKeys.PAYMENT}),
    "anchor_certificates": (b"0\x00",),
    "language": "en",
    "region": "US",
    "auto_advance": True,
    "org_magic": "other",
    "supervised": False,
    "mandatory": False,
    "extra": {"allow_pairing": False},
}


def changes(**settings: Any) -> tuple[SettingChange, ...]:
    if settings.keys() & {"standard_user", "skip_primary_account"}:
        settings["administrator"] = OTHER_VALUES["administrator"]
    return BEFORE.diff(attrs.evolve(BEFORE, **settings)).changes


def test_a_profile_does_not_differ_from_itself_or_from_what_apple_sent_back() -> None:
    same = BEFORE.diff(attrs.evolve(BEFORE, apple_keys=frozenset({"url"})))
    assert not same
    assert str(same) == "no changes"
    assert not same.warnings


@each(("setting", "value"), OTHER_VALUES.items())
def test_every_setting_that_differs_is_a_change(setting: str, value: Any) -> None:
    assert setting in {change.setting.partition(".")[0] for change in changes(**{setting: value})}


def test_no_setting_is_forgotten() -> None:
    known = {field.alias for field in attrs.fields(EnrollmentProfile)} - {"apple_keys", "apple_spelling"}
    assert known == OTHER_VALUES.keys()


def test_enrolled_macs_never_receive_locked_screens_accounts_and_await() -> None:
    after = attrs.evolve(
        BEFORE, locked=True, skip={SkipKeys.PAYMENT}, primary_account=PrimaryAccount("ada"), description="new"
    )
    diff = BEFORE.diff(after)
    assert [change.setting for change in diff.never_received] == [
        "await_final_configuration", "locked", "primary_account", "primary_account.account_name",
        "primary_account.restrict_editing", "skip.Payment", "skip.Siri",
    ]  # fmt: skip
    assert {change.reach for change in diff.never_received} == {Reach.WIPE}
    assert all(change.why for change in diff.changes)


def test_what_a_mac_reads_when_it_enrolls_reaches_it_when_it_enrolls_again() -> None:
    (change,) = changes(url="https://mdm.contoso.com/new")
    assert change.reach is Reach.REENROLLMENT
    (affinity,) = changes(user_affinity=UserAffinity.none())
    assert (affinity.setting, affinity.before, affinity.after) == ("user_affinity.kind", "legacy", "none")
    assert affinity.reach is Reach.REENROLLMENT


def test_renaming_breaks_group_rules_on_the_old_name() -> None:
    diff = BEFORE.diff(attrs.evolve(BEFORE, name="New Mac"))
    (warning,) = diff.warnings
    assert warning.severity is Severity.WARNING
    assert warning.value == "Standard Mac"
    assert '(device.enrollmentProfileName -eq "New Mac")' in warning.fix
    assert diff.changes[0].reach is Reach.SERVER
    assert diff.never_received == ()


def test_what_others_switch_on_is_a_change_and_so_is_what_was_given() -> None:
    """The account brings the wait and takes it away; in between only the server knows what was given."""
    with_account = attrs.evolve(BEFORE, managed_user="ada")
    (waits, managed) = BEFORE.diff(with_account).changes
    assert (waits.setting, waits.before, waits.after) == ("await_final_configuration", "no", "yes")
    assert (managed.setting, managed.reach) == ("managed_user", Reach.WIPE)
    (given,) = with_account.diff(attrs.evolve(with_account, await_final_configuration=True)).changes
    assert (given.setting, given.before, given.after) == ("await_final_configuration", "no", "yes")
    assert given.reach is Reach.SERVER
    assert with_account.diff(BEFORE).changes[0].after == "no"


def test_each_screen_is_a_change_of_its_own_and_unknown_ones_come_last() -> None:
    found = changes(skip={SkipKeys.PAYMENT, "Holographic"})
    assert [(change.setting, change.before, change.after) for change in found] == [
        ("skip.Payment", "show", "hide"),
        ("skip.Siri", "hide", "show"),
        ("skip.Holographic", "show", "hide"),
    ]


def test_a_new_password_is_a_change_that_shows_nothing() -> None:
    one = attrs.evolve(
        BEFORE,
        await_final_configuration=True,
        administrator=AdministratorAccount("localadmin", password_hash=b"S3C"),
    )
    two = attrs.evolve(one, administrator=AdministratorAccount("localadmin", password_hash=b"R3T"))
    (change,) = one.diff(two).changes
    assert (change.setting, change.before, change.after) == (
        "administrator.password_hash",
        "a secret",
        "a secret (changed)",
    )
    assert "S3C" not in repr(BEFORE.diff(one))


def test_removing_an_account_shows_what_it_held() -> None:
    one = attrs.evolve(BEFORE, primary_account=PrimaryAccount("ada"))
    diff = one.diff(attrs.evolve(one, primary_account=None))
    assert [(change.setting, change.before, change.after) for change in diff.changes] == [
        ("await_final_configuration", "yes", "no"),
        ("primary_account", "set", "not set"),
        ("primary_account.account_name", "ada", "not set"),
        ("primary_account.restrict_editing", "yes", "not set"),
    ]


def test_other_certificates_and_other_values_of_extra_keys_are_changes() -> None:
    one = attrs.evolve(
        BEFORE, anchor_certificates=[b"0\x00"], extra={"allow_pairing": True, "is_multi_user": False}
    )
    two = attrs.evolve(BEFORE, anchor_certificates=[b"0\x01"], extra={"allow_pairing": False})
    assert [(change.setting, change.before, change.after) for change in one.diff(two).changes] == [
        ("anchor_certificates", "1 certificate", "1 certificate (changed)"),
        ("extra.allow_pairing", "yes", "no"),
        ("extra.is_multi_user", "no", "not set"),
    ]


def test_it_prints_the_changes_and_which_macs_they_do_not_reach() -> None:
    after = attrs.evolve(BEFORE, name="New Mac", url="https://mdm.contoso.com/new", locked=True)
    *lines, warning = str(BEFORE.diff(after)).splitlines()
    assert lines == [
        "name    Standard Mac -> New Mac",
        "url     https://mdm.contoso.com/enroll -> https://mdm.contoso.com/new",
        "locked  no -> yes",
        "on the server only: name",
        "enrolled Macs never receive, unless they enroll again: url",
        "enrolled Macs never receive, unless they are wiped and set up again: locked",
    ]
    assert warning.startswith("warning: name 'Standard Mac': group rules on the old name")
