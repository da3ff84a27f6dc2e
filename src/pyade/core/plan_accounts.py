"""The rows of a plan about local accounts.

Source: specification, "Create an Apple enrollment profile", Account Settings; Apple,
``AccountConfiguration``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from pyade.core.accounts import ACCOUNTS_FROM, MANAGED_USER_FROM, PREFILL_FROM, PrimaryAccount
from pyade.core.affinity import AffinityKind
from pyade.core.plan import Effect, PlanRow, yes
from pyade.core.plan_advance import advances
from pyade.core.profile_account_rules import switched_on
from pyade.core.variables import names_device
from pyade.core.versions import MacOSVersion

if TYPE_CHECKING:
    from pyade.core.profile import EnrollmentProfile


def primary_account(profile: EnrollmentProfile, version: MacOSVersion) -> Iterator[PlanRow]:
    """Yield the rows of the primary account."""
    account, passes = profile.primary_account, advances(profile, version)
    if account is None:
        yield PlanRow("primary_account", "", Effect.NOT_SET, _left_open(profile, version))
        return
    effect = Effect.NO_EFFECT if version < ACCOUNTS_FROM else Effect.APPLIES
    if passes:
        why = "Setup Assistant stops at the account; with an administrator in its place it goes on"
    elif version < ACCOUNTS_FROM:
        why = "account settings need 10.11: the user types an account, which is an administrator"
    elif profile.standard_user:
        why = "the account is a standard one, beside the administrator"
    else:
        why = "the account is an administrator: a Mac needs at least one"
    yield PlanRow("primary_account", "set", effect, why)
    for name in ("account_name", "full_name"):
        value = getattr(account, name)
        if not value:
            effect, why = Effect.NOT_SET, "not prefilled" if passes else "the user types it"
        elif version < PREFILL_FROM:
            effect, why = Effect.NO_EFFECT, "prefilling needs 10.15: the user types it"
        else:
            effect, why = Effect.APPLIES, "prefilled"
            why += "; the server puts in the user's own for the variable" if "{{" in value else ""
            why += _DEVICE_NAME + "the user types it" if names_device(value) else ""
        yield PlanRow(f"primary_account.{name}", value, effect, why)
    effect, why = _restrict_editing(account, profile.user_affinity.on(version), version)
    if passes:
        why = "it is for the account screen, at which Setup Assistant stops"
    yield PlanRow("primary_account.restrict_editing", yes(account.restrict_editing), effect, why)


def _left_open(profile: EnrollmentProfile, version: MacOSVersion) -> str:
    """Return who makes the user's account where the profile says nothing about it."""
    if profile.skip_primary_account and version >= ACCOUNTS_FROM:
        return "no account is made in Setup Assistant: the administrator is the only one"
    if advances(profile, version):
        return "no account is made by itself: without an administrator Setup Assistant stops there"
    kind = "a standard one" if profile.standard_user and version >= ACCOUNTS_FROM else "an administrator"
    return f"the user types name and password of the account in Setup Assistant; it is {kind}"


def _restrict_editing(
    account: PrimaryAccount, kind: AffinityKind, version: MacOSVersion
) -> tuple[Effect, str]:
    """Return what the user meets on the account screen; below 10.15 everybody signs in the legacy way."""
    prefilled = sum(map(bool, (account.account_name, account.full_name)))
    if version < PREFILL_FROM:
        return (
            Effect.NO_EFFECT,
            "before 10.15 the account screen shows, and the user types names and password",
        )
    if not prefilled:
        effect = Effect.NO_EFFECT if account.restrict_editing else Effect.APPLIES
        return effect, "nothing is prefilled: the account screen shows, and the user types both names"
    if not account.restrict_editing:
        password = "from the sign-in" if kind is AffinityKind.LEGACY else "of the user's choice"
        return (
            Effect.APPLIES,
            f"the account screen shows prefilled, with a password {password}; all can be edited",
        )
    if prefilled == 1:
        return (
            Effect.APPLIES,
            "the account screen shows; the prefilled name cannot be edited, the user types the other",
        )
    if kind is AffinityKind.LEGACY:
        return (
            Effect.APPLIES,
            "the account screen never shows: the account is made with the password of the sign-in",
        )
    why = "the account screen shows, the names cannot be edited and the user chooses a password; it does not "
    return Effect.APPLIES, f"{why}show if the server learned the password on the sign-in page"


def administrator(profile: EnrollmentProfile, version: MacOSVersion) -> Iterator[PlanRow]:
    """Yield the rows of the administrator account."""
    admin = profile.administrator
    if admin is None:
        yield PlanRow("administrator", "", Effect.NOT_SET, "no account beside the user's")
        return
    works = version >= ACCOUNTS_FROM
    beside = "as the only account" if profile.skip_primary_account else "beside the user's account"
    made = f"made while the Mac waits, {beside}"
    made += _DEVICE_NAME + "the serial number stands for it" if names_device(admin.short_name) else ""
    rows = (
        ("", admin.short_name, made),
        (".full_name", admin.full_name, "shown at login"),
        (".hidden", yes(admin.hidden), _HIDDEN if admin.hidden else "shown at login and in the settings"),
        (".password_hash", "a secret" if admin.password_hash else "", "the password to log in with"),
    )
    unset = {".full_name": "the short name is used", ".password_hash": "nobody can log in as administrator"}
    for part, value, why in rows:
        if not value:
            row = PlanRow(f"administrator{part}", "", Effect.NOT_SET, unset[part])
        elif works:
            row = PlanRow(f"administrator{part}", value, Effect.APPLIES, why)
        else:
            row = PlanRow(f"administrator{part}", value, Effect.NO_EFFECT, "account settings need 10.11")
        yield row


def account_settings(profile: EnrollmentProfile, version: MacOSVersion) -> Iterator[PlanRow]:
    """Yield the rows of what concerns all accounts."""
    yield _row("standard_user", profile.standard_user, version, _standard(profile))
    yield _row("skip_primary_account", profile.skip_primary_account, version, _skipped(profile, version))
    yield _managed(profile, version)
    tether = profile.requires_network_tether
    if not tether:
        why = "accounts are made over any network"
    elif not profile.has_account_settings:
        why = "it concerns the command that makes accounts, and there are no account settings"
    else:
        why = "accounts are made over a wired network only: over Wi-Fi the Mac does not carry the command out"
    has_effect = profile.has_account_settings or not tether
    yield _row("requires_network_tether", tether, version, (has_effect, why))


def _standard(profile: EnrollmentProfile) -> tuple[bool, str]:
    if profile.skip_primary_account:
        return not profile.standard_user, "no account is made in Setup Assistant"
    if profile.standard_user:
        return True, "the user's account is a standard one; the administrator is the other account"
    return True, "the user's account is an administrator"


def _skipped(profile: EnrollmentProfile, version: MacOSVersion) -> tuple[bool, str]:
    if not profile.skip_primary_account:
        stops = advances(profile, version)
        return True, f"Setup Assistant {'stops at' if stops else 'has'} the screen of the user's account"
    why = (
        "Setup Assistant has no screen for the user's account; on Apple silicon, FileVault and updates of "
        "macOS then need the bootstrap token"
    )
    if "skip_primary_account" in switched_on(profile):
        why = f"it follows from auto_advance with an administrator: {why}"
    return True, why


def _managed(profile: EnrollmentProfile, version: MacOSVersion) -> PlanRow:
    name = profile.managed_user
    if name and version < MANAGED_USER_FROM:
        why = "it needs macOS 11: the account that Setup Assistant makes is managed"
        return PlanRow("managed_user", name, Effect.NO_EFFECT, why)
    if name:
        return PlanRow("managed_user", name, Effect.APPLIES, "the account with this name is managed")
    why = "the account that Setup Assistant makes is managed"
    if profile.skip_primary_account:
        why = "no account is managed, as Setup Assistant makes none; the administrator can be named here"
    return PlanRow("managed_user", "", Effect.NOT_SET, why)


def _row(setting: str, value: bool, version: MacOSVersion, meaning: tuple[bool, str]) -> PlanRow:
    """Return the row of a switch; *meaning* is whether it has an effect from 10.11 on, and why."""
    has_effect, why = meaning
    if value and version < ACCOUNTS_FROM:
        return PlanRow(setting, yes(value), Effect.NO_EFFECT, "account settings need 10.11")
    return PlanRow(setting, yes(value), Effect.APPLIES if has_effect else Effect.NO_EFFECT, why)


_DEVICE_NAME: Final = (
    "; {{managedDeviceName}} has a value only if FinalConfiguration is given device_name or variables, else "
)
_HIDDEN: Final = "the login window and the settings do not show it"
