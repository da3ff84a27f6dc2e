"""The rules that tie the account settings of a profile to each other, and to a set-up without people.

The rules of this file:

1. Account settings switch ``await_final_configuration`` on, since accounts are only made while the Mac waits;
   ``auto_advance`` with an administrator switches ``skip_primary_account`` on, since nobody is there to make
   an account. What was given stays beside what holds, and holds again when the reason is gone.
2. What would leave a Mac without an administrator is an error, as is an account that nobody could make.
3. What macOS ignores is a warning.

Source: Apple, ``AccountConfiguration`` and ``Profile``; specification, "Create an Apple enrollment profile",
Account Settings. That an unattended set-up needs an administrator and no account pane is observed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from pyade.core.accounts import check_account_name
from pyade.core.affinity import AffinityKind
from pyade.core.problems import Problem, warning
from pyade.core.variables import ACCOUNT_NAME_VARIABLES, check_variables, without_variables

if TYPE_CHECKING:
    from pyade.core.profile import EnrollmentProfile

GIVEN: Final = {
    "await_final_configuration": "await_final_configuration_given",
    "skip_primary_account": "skip_primary_account_given",
}
"""The settings that others switch on, and where a profile keeps what was given for them."""

_SHOWN: Final = 80


def given(profile: EnrollmentProfile, setting: str) -> object:
    """Return a setting of *profile* as it was given, whether or not others switched it on."""
    return getattr(profile, GIVEN.get(setting, setting))


def switched_on(profile: EnrollmentProfile) -> tuple[str, ...]:
    """Return the settings of *profile* that were given as False and hold all the same."""
    return tuple(name for name in GIVEN if getattr(profile, name) and not given(profile, name))


def check_account_settings(profile: EnrollmentProfile) -> Iterator[Problem]:
    """Yield what is wrong with the account settings of *profile* as a whole."""
    if "await_final_configuration" in switched_on(profile):
        yield warning(
            "await_final_configuration",
            "False",
            "True with account settings: accounts are only made while the Mac waits, so it is switched on",
            "set it to True, or leave the account settings out",
        )
    if profile.administrator is None:
        yield from _without_administrator(profile)
    elif profile.skip_primary_account:
        yield from _only_administrator(profile)
    yield from _managed_user(profile)
    if profile.requires_network_tether and not profile.has_account_settings:
        allowed = "True only with account settings: it concerns the command that makes accounts"
        yield warning("requires_network_tether", "True", allowed, "leave it out")


def check_auto_advance(profile: EnrollmentProfile) -> Iterator[Problem]:
    """Yield where a set-up without people would stop."""
    if not profile.auto_advance:
        return
    if profile.user_affinity.kind is not AffinityKind.NONE:
        yield warning(
            "auto_advance", "True", "the setup stops until the user has signed in", "use no user affinity"
        )
    missing = " and ".join(name for name in ("language", "region") if not getattr(profile, name))
    if missing:
        yield warning(
            "auto_advance", "True", f"the setup stops where {missing} must be chosen", f"set {missing}"
        )
    if profile.administrator is None:
        instead = "" if profile.primary_account is None else " in the place of primary_account"
        yield warning(
            "auto_advance", "True", "no account is made by itself", f"add an administrator{instead}"
        )
    elif profile.primary_account is not None:
        yield Problem(
            "auto_advance",
            "True",
            "with an administrator, only without a primary_account: nobody is there to make one",
            "leave primary_account out, or set auto_advance=False",
        )


def _without_administrator(profile: EnrollmentProfile) -> Iterator[Problem]:
    for setting in ("standard_user", "skip_primary_account"):
        if getattr(profile, setting):
            allowed = "True only with an administrator: a Mac needs at least one"
            yield Problem(setting, "True", allowed, "add an administrator, or set it to False")


def _only_administrator(profile: EnrollmentProfile) -> Iterator[Problem]:
    """Yield what does not go together with an administrator whom nobody makes an account beside."""
    if profile.skip_primary_account_given and profile.primary_account is not None:
        allowed = "True only without a primary_account: nobody makes an account in Setup Assistant"
        yield Problem("skip_primary_account", "True", allowed, "choose one of them")
    if profile.standard_user:
        allowed = "no effect where nobody makes an account in Setup Assistant"
        yield warning("standard_user", "True", allowed, "leave it out")
    if profile.administrator is not None and profile.administrator.hidden:
        allowed = "False where nobody else has an account: only users of a directory could log in"
        yield warning("administrator.hidden", "True", allowed, "set it to False")


def _managed_user(profile: EnrollmentProfile) -> Iterator[Problem]:
    name = profile.managed_user
    if not name:
        return
    has_user = profile.user_affinity.kind is not AffinityKind.NONE
    yield from check_variables("managed_user", name, ACCOUNT_NAME_VARIABLES, has_user=has_user)
    yield from check_account_name("managed_user", name, without_variables(name))
    primary, administrator = profile.primary_account, profile.administrator
    made = (
        primary.account_name if primary is not None else "",
        administrator.short_name if administrator is not None else "",
    )
    if name.lower() not in {one.lower() for one in made}:
        allowed = "the account_name of the primary_account, or the short_name of the administrator"
        yield warning("managed_user", name[:_SHOWN], allowed, "make sure that this account will exist")
