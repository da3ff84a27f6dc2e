"""The local accounts in Intune's JSON.

A profile without any account settings has ``skipPrimarySetupAccountCreation`` true and no administrator:
taken literally it would leave a Mac without an account, so it means that nothing is to be sent.

Source: Microsoft Graph, ``depMacOSEnrollmentProfile``; Microsoft Intune, account settings; specification,
"Create an Apple enrollment profile". What true without an administrator means is observed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import attrs

from pyade.builders.intune.reading import ADMIN_PASSWORD, Members, warning
from pyade.core.accounts import AdministratorAccount, PrimaryAccount
from pyade.core.affinity import AffinityKind
from pyade.core.problems import Problem, Severity
from pyade.core.profile import EnrollmentProfile
from pyade.core.secret import Secret

SKIP: Final = "skipPrimarySetupAccountCreation"
REGULAR: Final = "setPrimarySetupAccountAsRegularUser"
MANUAL: Final = "dontAutoPopulatePrimaryAccountInfo"
FULL_NAME: Final = "primaryAccountFullName"
NAME: Final = "primaryAccountUserName"
LOCK: Final = "enableRestrictEditing"
ADMIN_NAME: Final = "adminAccountUserName"
ADMIN_FULL_NAME: Final = "adminAccountFullName"
ADMIN_HIDDEN: Final = "hideAdminAccount"

MEMBERS: Final = frozenset({
    SKIP, REGULAR, MANUAL, FULL_NAME, NAME, LOCK,
    ADMIN_NAME, ADMIN_FULL_NAME, ADMIN_PASSWORD, ADMIN_HIDDEN,
})  # fmt: skip
"""What is read and written here."""


@attrs.frozen(kw_only=True)
class Accounts:
    """What the account settings of Intune come to.

    Attributes:
        primary: The user's account; None leaves it to the user.
        administrator: One more administrator.
        skip_primary: True if it is said that nobody makes an account in Setup Assistant.
        standard_user: True if the user's account is no administrator.
        password: Secret. The administrator's password, if it was in the file.
    """

    primary: PrimaryAccount | None
    administrator: AdministratorAccount | None
    skip_primary: bool
    standard_user: bool
    password: Secret | None = attrs.field(repr=False)


def read_accounts(members: Members, findings: list[Problem], *, has_user: bool) -> Accounts:
    """Return the accounts that Intune's members mean.

    Args:
        members: Of the profile.
        findings: What has no effect, or is taken for something else, is added.
        has_user: True with user affinity.
    """
    given = _Given(members)
    administrator = None
    if given.admin_name:
        administrator = AdministratorAccount(given.admin_name, given.admin_full_name, given.admin_hidden)
    findings.extend(_without_effect(members, given))
    if given.password:
        fix = "keep administrator_password as a secret; the profile needs its hash"
        findings.append(
            Problem(
                members.at(ADMIN_PASSWORD),
                "",
                "no password in a file: it is a secret",
                fix,
                Severity.WARNING,
            )
        )
    return Accounts(
        primary=_primary(given, has_user=has_user),
        administrator=administrator,
        skip_primary=given.skip and administrator is not None,
        standard_user=given.regular and not given.skip and administrator is not None,
        password=given.password or None,
    )


def write_accounts(profile: EnrollmentProfile) -> dict[str, Any]:
    """Return the account members, which say what holds; a password is never among them."""
    primary, administrator = profile.primary_account, profile.administrator
    has_user = profile.user_affinity.kind is not AffinityKind.NONE
    is_untouched = primary is None and administrator is None
    name, full_name = (primary.account_name, primary.full_name) if primary else ("", "")
    skip = profile.skip_primary_account or is_untouched
    return {
        SKIP: skip,
        REGULAR: profile.standard_user and not skip,
        # A user's account without settings of its own is neither prefilled nor said not to be.
        MANUAL: skip or not (name or full_name or (has_user and primary is None)),
        FULL_NAME: full_name,
        NAME: name,
        LOCK: primary is not None and primary.restrict_editing,
        ADMIN_NAME: administrator.short_name if administrator else "",
        ADMIN_FULL_NAME: administrator.full_name if administrator else "",
        ADMIN_PASSWORD: None,
        ADMIN_HIDDEN: administrator is not None and administrator.hidden,
    }


class _Given:
    """The account members as they came."""

    def __init__(self, members: Members) -> None:
        self.skip = bool(members.flag(SKIP))
        self.regular = bool(members.flag(REGULAR))
        self.manual = bool(members.flag(MANUAL))
        self.name, self.full_name = members.text(NAME), members.text(FULL_NAME)
        self.lock = bool(members.flag(LOCK))
        self.admin_name, self.admin_full_name = members.text(ADMIN_NAME), members.text(ADMIN_FULL_NAME)
        self.admin_hidden = bool(members.flag(ADMIN_HIDDEN))
        self.password = Secret(members.text(ADMIN_PASSWORD))

    @property
    def is_prefilled(self) -> bool:
        """True if Setup Assistant is to show a name that it did not ask for."""
        return not self.skip and not self.manual and bool(self.name or self.full_name)


def _primary(given: _Given, *, has_user: bool) -> PrimaryAccount | None:
    if given.is_prefilled:
        return PrimaryAccount(given.name, given.full_name, given.lock)
    if given.manual and not given.skip and has_user:
        return PrimaryAccount("", "", given.lock)
    return None


def _without_effect(members: Members, given: _Given) -> Iterator[Problem]:
    """Yield what is set and means nothing, or something else than it says."""
    if not given.is_prefilled:
        why = f"no name with {SKIP}" if given.skip else f"no name with {MANUAL}"
        for member, name in ((NAME, given.name), (FULL_NAME, given.full_name)):
            if name:
                yield warning(members.at(member), f"{why}: it has no effect", "it was left out", name)
        if given.lock:
            allowed = "true only with names that are prefilled: it has no effect"
            yield warning(members.at(LOCK), allowed, "prefill the names, or set it to false", "True")
    if given.regular and not given.admin_name:
        allowed = f"true only with {ADMIN_NAME}: a Mac needs an administrator"
        yield warning(
            members.at(REGULAR), allowed, "the account is an administrator, as Intune makes it", "True"
        )
    elif given.regular and given.skip:
        yield warning(members.at(REGULAR), f"false with {SKIP}: it has no effect", "set it to false", "True")
    if not given.admin_name:
        for member, is_set in (
            (ADMIN_FULL_NAME, given.admin_full_name),
            (ADMIN_HIDDEN, given.admin_hidden),
        ):
            if is_set:
                fix = "name the administrator, or leave it out"
                yield warning(members.at(member), f"only with {ADMIN_NAME}: it has no effect", fix)
