"""The review of a profile: every setting in words, as on the page "Review + create" before it is created.

The order and the labels are those of the specification's pages; settings that it lacks are last. Nothing
depends on a version of macOS: ``EnrollmentProfile.plan`` has the effect of a setting on one.

Source: specification, "Create an Apple enrollment profile" and "Setup Assistant screen reference".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import attrs

from pyade.core.exports import Exportable
from pyade.core.macos.setup_screens import SkipKeys
from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount
from pyade.core.profile.affinity import AffinityKind
from pyade.core.profile.plan import count_certificates, row_of
from pyade.core.profile.settings import ProfileSettings, switched_on
from pyade.text import Printed, Table

UNSET: Final = "Not configured"


@attrs.frozen(kw_only=True)
class ReviewRow(Exportable):
    """One setting.

    Attributes:
        page: The page of the specification with the setting; "Other settings" if the specification lacks it.
        label: The name of the setting on that page.
        value: Its value in words; never a secret.
        setting: The setting as it is written, such as ``locked``; for a screen, ``skip.`` and its key.
    """

    page: str
    label: str
    value: str
    setting: str


@attrs.frozen(kw_only=True, repr=False)
class ProfileReview(Exportable, Printed):
    """Every setting of a profile, page by page; it prints as a list.

    Attributes:
        profile_name: The profile.
        rows: The settings, in the order of the pages.
    """

    profile_name: str
    rows: tuple[ReviewRow, ...]

    def row(self, setting: str) -> ReviewRow:
        """Return the row of a setting such as ``locked``, or of a screen such as ``SkipKeys.SIRI``.

        Args:
            setting: As the rows name it; or the key of a screen, whose row is ``skip.Siri``.

        Raises:
            KeyError: The review has no such row.
        """
        return row_of(self.rows, setting)

    def _words(self) -> list[str]:
        width = max(len(row.label) for row in self.rows)
        lines: list[str] = []
        for page, rows in itertools.groupby(self.rows, key=lambda row: row.page):
            lines += [page, *(f"  {row.label:<{width}}  {row.value}" for row in rows)]
        return lines

    def _tables(self) -> Iterator[Table]:
        for page, rows in itertools.groupby(self.rows, key=lambda row: row.page):
            yield Table(page, (), [(row.label, row.value) for row in rows])


def make_review(profile: ProfileSettings) -> ProfileReview:
    """Return every setting of *profile* in words."""
    pages = {
        "Basics": _basics(profile),
        "Management Settings": _management(profile),
        "Account Settings": _accounts(profile),
        "Setup Assistant": _setup_assistant(profile),
        "Other settings": _others(profile),
    }
    rows = (
        ReviewRow(page=page, label=label, value=value, setting=setting)
        for page, found in pages.items()
        for label, value, setting in found
    )
    return ProfileReview(profile_name=profile.name, rows=tuple(rows))


_Rows = Iterator[tuple[str, str, str]]
"""Label, value and setting."""


def _basics(profile: ProfileSettings) -> _Rows:
    yield "Name", profile.name, "name"
    yield "Description", profile.description or UNSET, "description"


def _management(profile: ProfileSettings) -> _Rows:
    affinity = profile.user_affinity
    has_user = affinity.kind is not AffinityKind.NONE
    words = "Enroll with User Affinity" if has_user else "Enroll without User Affinity"
    yield "User Affinity", words, "user_affinity"
    yield "Authentication method", _METHODS[affinity.kind], "user_affinity.kind"
    yield "Sign-in page", affinity.web_url or UNSET, "user_affinity.web_url"
    await_final = _yes(profile.await_final_configuration)
    if "await_final_configuration" in switched_on(profile):
        await_final += ", switched on by account settings"
    yield "Await final configuration", await_final, "await_final_configuration"
    yield "Locked enrollment", _yes(profile.locked), "locked"


def _accounts(profile: ProfileSettings) -> _Rows:
    primary, administrator = profile.primary_account, profile.administrator
    # Without an account none of its settings is configured, whatever their defaults are.
    account = primary or PrimaryAccount(restrict_editing=False)
    is_prefilled = bool(account.account_name or account.full_name)
    yield "Create a local primary account", _set(primary is not None), "primary_account"
    yield "Prefill account info", _set(is_prefilled), "primary_account.prefill"
    yield "Primary account name", account.account_name or UNSET, "primary_account.account_name"
    yield "Primary account full name", account.full_name or UNSET, "primary_account.full_name"
    yield "Restrict editing", _set(account.restrict_editing), "primary_account.restrict_editing"
    admin = administrator or AdministratorAccount("")
    yield "Create a local administrator account", _set(administrator is not None), "administrator"
    yield "Administrator account name", admin.short_name or UNSET, "administrator.short_name"
    yield "Administrator account full name", admin.full_name or UNSET, "administrator.full_name"
    yield "Hide administrator account", _set(admin.hidden), "administrator.hidden"
    password = "Set, not shown" if admin.password_hash else UNSET
    yield "Administrator account password", password, "administrator.password_hash"
    yield "Account type of the user", _account_type(profile), "standard_user"
    skips = _set(profile.skip_primary_account)
    if "skip_primary_account" in switched_on(profile):
        skips += ", switched on by auto advance"
    yield "Skip the account of the user", skips, "skip_primary_account"
    yield "Managed local user", profile.managed_user or UNSET, "managed_user"
    tether = _set(profile.requires_network_tether)
    yield "Accounts on a wired network only", tether, "requires_network_tether"


def _setup_assistant(profile: ProfileSettings) -> _Rows:
    yield "Department Name", profile.department or UNSET, "department"
    yield "Department Phone", profile.support_phone_number or UNSET, "support_phone_number"
    for key in SkipKeys:
        yield key.label, "Hide" if key in profile.skip else "Show", f"skip.{key}"
    for other in sorted(str(key) for key in profile.skip if not isinstance(key, SkipKeys)):
        yield other, "Hide", f"skip.{other}"


def _others(profile: ProfileSettings) -> _Rows:
    yield "Enrollment URL", profile.url, "url"
    yield "Support e-mail address", profile.support_email_address or UNSET, "support_email_address"
    yield "Language", profile.language or UNSET, "language"
    yield "Region", profile.region or UNSET, "region"
    yield "Auto advance", _yes(profile.auto_advance), "auto_advance"
    yield "Supervised", _yes(profile.supervised), "supervised"
    yield "Mandatory enrollment", _yes(profile.mandatory), "mandatory"
    certificates = count_certificates(profile.anchor_certificates) or UNSET
    yield "Anchor certificates", certificates, "anchor_certificates"
    yield "Organization identifier", profile.org_magic, "org_magic"
    for key in sorted(profile.extra):
        yield key, "Set, not shown", f"extra.{key}"


def _account_type(profile: ProfileSettings) -> str:
    if profile.skip_primary_account:
        return "No account"
    return "Standard" if profile.standard_user else "Administrator"


def _yes(value: bool) -> str:
    return "Yes" if value else "No"


def _set(value: bool) -> str:
    return "Yes" if value else UNSET


_METHODS: Final = {
    AffinityKind.NONE: UNSET,
    AffinityKind.MODERN: "Setup Assistant with modern authentication",
    AffinityKind.LEGACY: "Setup Assistant (legacy)",
}
