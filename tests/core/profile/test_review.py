"""The last page before a profile is created: every setting in words, and no secret."""

from __future__ import annotations

import attrs
import pytest

from pyade.core.macos.setup_screens import SkipKeys
from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount
from pyade.core.profile.affinity import UserAffinity
from pyade.core.profile.diff import Reach
from pyade.core.profile.profile import EnrollmentProfile

BARE = EnrollmentProfile(name="Bare", url="https://mdm.contoso.com/enroll")
FULL = EnrollmentProfile(
    name="Standard Mac",
    description="For the offices",
    url="https://mdm.contoso.com/enroll",
    user_affinity=UserAffinity.modern("https://mdm.contoso.com/signin"),
    locked=True,
    primary_account=PrimaryAccount("{{partialupn}}", "{{username}}"),
    administrator=AdministratorAccount("ladmin", "IT", hidden=True),
    department="IT",
    support_phone_number="+1 555 0100",
    skip={SkipKeys.SIRI, "NewScreen"},
    extra={"new_key": "hunter2"},
)
AS_INTUNE_SHOWS_IT = """
Basics
  Name                                  Standard Mac
  Description                           For the offices
Management Settings
  User Affinity                         Enroll with User Affinity
  Authentication method                 Setup Assistant with modern authentication
  Sign-in page                          https://mdm.contoso.com/signin
  Await final configuration             Yes
  Locked enrollment                     Yes
Account Settings
  Create a local primary account        Yes
  Prefill account info                  Yes
  Primary account name                  {{partialupn}}
  Primary account full name             {{username}}
  Restrict editing                      Yes
  Create a local administrator account  Yes
  Administrator account name            ladmin
  Administrator account full name       IT
  Hide administrator account            Yes
  Administrator account password        Not configured
  Account type of the user              Administrator
  Skip the account of the user          Not configured
  Managed local user                    Not configured
  Accounts on a wired network only      Not configured
Setup Assistant
  Department Name                       IT
  Department Phone                      +1 555 0100
  Location Services                     Show
  Restore                               Show
  Apple ID                              Show
  Terms and conditions                  Show
  Touch ID and Face ID                  Show
  Apple Pay                             Show
  Siri                                  Hide
"""
PARTS = {"user_affinity": "kind", "primary_account": "restrict_editing", "administrator": "password_hash"}


def test_it_reads_like_the_pages_of_the_specification() -> None:
    assert str(FULL.review()).startswith(AS_INTUNE_SHOWS_IT.strip("\n"))
    assert str(FULL.review()).endswith("new_key                               Set, not shown")
    assert FULL.review().row("skip.NewScreen").value == "Hide"


@pytest.mark.parametrize("profile", [BARE, FULL])
def test_every_setting_is_there_whatever_its_value_is(profile: EnrollmentProfile) -> None:
    review = profile.review()
    settings = {field.alias or "" for field in attrs.fields(EnrollmentProfile)}
    listed = settings - {"skip", "extra", "apple_keys", "apple_spelling"}
    assert all(review.row(setting).value for setting in listed)
    assert all(review.row(f"{setting}.{part}").value for setting, part in PARTS.items())
    assert all(review.row(f"skip.{key}").value in ("Show", "Hide") for key in SkipKeys)
    assert len({row.setting for row in review.rows}) == len(review.rows)
    with pytest.raises(KeyError):
        review.row("extra.other")


def test_what_is_left_to_the_user_is_not_configured() -> None:
    review = BARE.review()
    assert review.row("user_affinity").value == "Enroll without User Affinity"
    for setting in ("description", "user_affinity.kind", "primary_account", "primary_account.prefill",
                    "primary_account.restrict_editing", "administrator", "department"):  # fmt: skip
        assert review.row(setting).value == "Not configured"
    legacy = attrs.evolve(BARE, user_affinity=UserAffinity.legacy()).review()
    assert legacy.row("user_affinity.kind").value == "Setup Assistant (legacy)"


def test_what_other_settings_switch_on_says_so() -> None:
    asleep = attrs.evolve(FULL, await_final_configuration=False, standard_user=True).review()
    assert asleep.row("await_final_configuration").value == "Yes, switched on by account settings"
    assert asleep.row("standard_user").value == "Standard"
    kiosk = attrs.evolve(
        FULL, primary_account=None, auto_advance=True, managed_user="ladmin", requires_network_tether=True
    ).review()
    assert kiosk.row("skip_primary_account").value == "Yes, switched on by auto advance"
    assert kiosk.row("standard_user").value == "No account"
    assert kiosk.row("managed_user").value == "ladmin"
    assert kiosk.row("requires_network_tether").value == "Yes"
    asked = attrs.evolve(FULL, primary_account=None, skip_primary_account=True).review()
    assert asked.row("skip_primary_account").value == "Yes"


def test_no_secret_is_in_it() -> None:
    administrator = AdministratorAccount("ladmin", password_hash=_hash())
    review = attrs.evolve(FULL, administrator=administrator).review()
    assert review.row("administrator.password_hash").value == "Set, not shown"
    for shown in (str(review), repr(review)):
        assert "hunter2" not in shown
        assert "SALTED" not in shown


def test_a_line_break_from_outside_forges_no_line() -> None:
    text = str(attrs.evolve(BARE, description="x\nLocked enrollment  Yes").review())
    assert "\nLocked enrollment" not in text


class TestNew:
    """A profile that is new itself is compared with nothing."""

    def test_all_that_it_sets_is_a_change(self) -> None:
        changes = {change.setting: change for change in FULL.diff(None).changes}
        assert changes["name"].before == "not set"
        assert changes["name"].after == "Standard Mac"
        assert changes["locked"].after == "yes"
        assert changes["locked"].reach is Reach.WIPE
        assert changes["skip.Siri"].before == "show"
        assert changes["administrator.hidden"].after == "yes"
        assert all(change.before in ("not set", "show") for change in changes.values())

    def test_what_it_does_not_set_is_none(self) -> None:
        changed = {change.setting for change in BARE.diff(None).changes}
        assert not changed & {
            "description",
            "department",
            "language",
            "primary_account",
            "anchor_certificates",
        }
        assert not BARE.diff(None).warnings
        assert not BARE.diff(BARE)


def _hash() -> bytes:
    from pyade.crypto import hash_password

    return hash_password("hunter2hunter2")
