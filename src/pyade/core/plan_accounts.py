"""The rows of a plan about local accounts.

Source: specification, "Create an Apple enrollment profile", Account Settings; Apple,
``AccountConfiguration``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from pyade.core.accounts import ACCOUNTS_FROM, PREFILL_FROM, AdministratorAccount, PrimaryAccount
from pyade.core.affinity import AffinityKind
from pyade.core.plan import Effect, PlanRow, yes
from pyade.core.variables import names_device
from pyade.core.versions import MacOSVersion

if TYPE_CHECKING:
    from pyade.core.profile import EnrollmentProfile


def primary_account(profile: EnrollmentProfile, version: MacOSVersion) -> Iterator[PlanRow]:
    """Yield the rows of the primary account."""
    account = profile.primary_account
    if account is None:
        why = "the user types name and password of the account in Setup Assistant; it is an administrator"
        yield PlanRow("primary_account", "", Effect.NOT_SET, why)
        return
    if version < ACCOUNTS_FROM:
        why = "account settings need 10.11: the user types an account, which is an administrator"
        yield PlanRow("primary_account", "set", Effect.NO_EFFECT, why)
    else:
        why = "the account is an administrator: a Mac needs at least one"
        yield PlanRow("primary_account", "set", Effect.APPLIES, why)
    for name in ("account_name", "full_name"):
        value = getattr(account, name)
        if not value:
            effect, why = Effect.NOT_SET, "the user types it"
        elif version < PREFILL_FROM:
            effect, why = Effect.NO_EFFECT, "prefilling needs 10.15: the user types it"
        else:
            effect, why = Effect.APPLIES, "prefilled"
            why += "; the server puts in the user's own for the variable" if "{{" in value else ""
            why += _DEVICE_NAME + "the user types it" if names_device(value) else ""
        yield PlanRow(f"primary_account.{name}", value, effect, why)
    effect, why = _restrict_editing(account, profile.user_affinity.on(version), version)
    yield PlanRow("primary_account.restrict_editing", yes(account.restrict_editing), effect, why)


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


def administrator(admin: AdministratorAccount | None, version: MacOSVersion) -> Iterator[PlanRow]:
    """Yield the rows of the administrator account."""
    if admin is None:
        yield PlanRow("administrator", "", Effect.NOT_SET, "no account beside the user's")
        return
    works = version >= ACCOUNTS_FROM
    made = "made while the Mac waits, beside the user's account"
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


_DEVICE_NAME: Final = (
    "; {{managedDeviceName}} has a value only if FinalConfiguration is given device_name or variables, else "
)
_HIDDEN: Final = "the login window and the settings do not show it"
