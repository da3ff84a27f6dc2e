"""The names of members in Intune's JSON for a profile, and which setting of pyade each one is.

Source: Microsoft Graph (beta), ``enrollmentProfile``, ``depEnrollmentBaseProfile`` and
``depMacOSEnrollmentProfile``.

The local accounts in Intune's JSON.

A profile without any account settings has ``skipPrimarySetupAccountCreation`` true and no administrator:
taken literally it would leave a Mac without an account, so it means that nothing is to be sent.

Source: Microsoft Graph, ``depMacOSEnrollmentProfile``; Microsoft Intune, account settings; specification,
"Create an Apple enrollment profile". What true without an administrator means is observed.

The Setup Assistant screens in Intune's JSON.

``enabledSkipKeys`` is the complete list; the Booleans are an older and partial view of it, and newer screens
have none. Older exports have only Booleans. Importing takes the union, exporting writes both from one set.

Source: Microsoft Graph, ``depEnrollmentBaseProfile`` and ``depMacOSEnrollmentProfile``. Which Boolean belongs
to which key is observed, and inferred from the name for ``passCodeDisabled`` and ``zoomDisabled``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from pyade.builders.intune.json_reader import ADMIN_PASSWORD, TYPE, Members, warning
from pyade.core.macos.setup_screens import NOT_ON_MACOS, SkipKeys
from pyade.core.problems import Problem, Severity
from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount
from pyade.core.profile.affinity import AffinityKind
from pyade.core.profile.profile import EnrollmentProfile
from pyade.core.secret import Secret

KEYS: Final = "enabledSkipKeys"

BOOLEANS: Final[dict[str, str]] = {
    "locationDisabled": SkipKeys.LOCATION.value,
    "restoreBlocked": SkipKeys.RESTORE.value,
    "appleIdDisabled": SkipKeys.APPLE_ID.value,
    "termsAndConditionsDisabled": SkipKeys.TOS.value,
    "touchIdDisabled": SkipKeys.BIOMETRIC.value,
    "applePayDisabled": SkipKeys.PAYMENT.value,
    "siriDisabled": SkipKeys.SIRI.value,
    "diagnosticsDisabled": SkipKeys.DIAGNOSTICS.value,
    "displayToneSetupDisabled": SkipKeys.DISPLAY_TONE.value,
    "privacyPaneDisabled": SkipKeys.PRIVACY.value,
    "screenTimeScreenDisabled": SkipKeys.SCREEN_TIME.value,
    "registrationDisabled": SkipKeys.REGISTRATION.value,
    "fileVaultDisabled": SkipKeys.FILE_VAULT.value,
    "iCloudDiagnosticsDisabled": SkipKeys.ICLOUD_DIAGNOSTICS.value,
    "iCloudStorageDisabled": SkipKeys.ICLOUD_STORAGE.value,
    # Apple calls the pane "Choose Your Look"; it is neither the lock screen nor the wallpaper.
    "chooseYourLockScreenDisabled": SkipKeys.APPEARANCE.value,
    "accessibilityScreenDisabled": SkipKeys.ACCESSIBILITY.value,
    "autoUnlockWithWatchDisabled": SkipKeys.UNLOCK_WITH_WATCH.value,
    "passCodeDisabled": SkipKeys.PASSCODE.value,
    "zoomDisabled": "Zoom",
}
"""The Booleans of a profile for Macs, in the order in which they are written."""

OLD_BOOLEANS: Final[dict[str, str]] = {
    "macOSFileVaultDisabled": SkipKeys.FILE_VAULT.value,
    "macOSRegistrationDisabled": SkipKeys.REGISTRATION.value,
}
"""Those of the older type ``depEnrollmentProfile``: read, never written."""

_BY_FOLDED: Final = {key.lower(): key for key in (*map(str, SkipKeys), *NOT_ON_MACOS)}


def read_screens(
    members: Members, problems: list[Problem]
) -> tuple[frozenset[SkipKeys | str], frozenset[str]]:
    """Return the keys to hide on a Mac, and those of screens that no Mac has."""
    listed = members.texts(KEYS)
    keys: set[str] = set()
    for key in listed or ():
        spelled = spelling(key)
        if spelled != key:
            problems.append(warning(members.at(KEYS), f"Apple's spelling: {spelled}", "it was taken", key))
        keys.add(spelled)
    union = set(keys)
    for name, key in {**BOOLEANS, **OLD_BOOLEANS}.items():
        is_hidden = members.flag(name)
        if is_hidden:
            union.add(key)
        if listed is not None and is_hidden is not None and is_hidden is not (key in keys):
            said = "the screen is listed" if key in keys else "the screen is not listed"
            fix = f"{label(key)} is hidden; show it in both if it should not be"
            problems.append(warning(members.at(name), f"the same as in {KEYS}: {said}", fix, str(is_hidden)))
    elsewhere = frozenset(union & NOT_ON_MACOS)
    problems += [
        warning(members.at(KEYS), "screens of a Mac", "kept for Intune, not sent to Apple", key)
        for key in sorted(elsewhere)
    ]
    return frozenset(union - elsewhere), elsewhere


def write_screens(keys: Iterable[SkipKeys | str]) -> dict[str, Any]:
    """Return the complete list, sorted, and every Boolean."""
    spelled = {spelling(str(key)) for key in keys}
    return {KEYS: sorted(spelled), **{name: key in spelled for name, key in BOOLEANS.items()}}


def spelling(key: str) -> str:
    """Return Apple's spelling of a known key, in whatever letter case it was given."""
    return _BY_FOLDED.get(key.lower(), key)


def label(key: str) -> str:
    """Return the name of a screen as people know it."""
    try:
        return SkipKeys(key).label
    except ValueError:
        return key


SKIP: Final = "skipPrimarySetupAccountCreation"
REGULAR: Final = "setPrimarySetupAccountAsRegularUser"
MANUAL: Final = "dontAutoPopulatePrimaryAccountInfo"
FULL_NAME: Final = "primaryAccountFullName"
ACCOUNT_NAME: Final = "primaryAccountUserName"
LOCK: Final = "enableRestrictEditing"
ADMIN_NAME: Final = "adminAccountUserName"
ADMIN_FULL_NAME: Final = "adminAccountFullName"
ADMIN_HIDDEN: Final = "hideAdminAccount"

MEMBERS: Final = frozenset({
    SKIP, REGULAR, MANUAL, FULL_NAME, ACCOUNT_NAME, LOCK,
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


def read_accounts(members: Members, problems: list[Problem], *, has_user: bool) -> Accounts:
    """Return the accounts that Intune's members mean.

    Args:
        members: Of the profile.
        problems: What has no effect, or is taken for something else, is added.
        has_user: True with user affinity.
    """
    given = _Given(members)
    administrator = None
    if given.admin_name:
        administrator = AdministratorAccount(given.admin_name, given.admin_full_name, given.admin_hidden)
    problems.extend(_without_effect(members, given))
    if given.password:
        fix = "keep administrator_password as a secret; the profile needs its hash"
        problems.append(
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
        ACCOUNT_NAME: name,
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
        self.name, self.full_name = members.text(ACCOUNT_NAME), members.text(FULL_NAME)
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
        for member, name in ((ACCOUNT_NAME, given.name), (FULL_NAME, given.full_name)):
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


POLICY_PREFIX: Final = "ECV2_"
ENDPOINT: Final = "configurationEndpointUrl"
WEB: Final = "configurationWebUrl"
USER: Final = "requiresUserAuthentication"
PORTAL: Final = "enableAuthenticationViaCompanyPortal"
SSO: Final = "usePlatformSSODuringSetupAssistant"
AWAIT: Final = "waitForDeviceConfiguredConfirmation"
OLD_AWAIT: Final = "awaitDeviceConfiguredConfirmation"
ROTATION: Final = "depProfileAdminAccountPasswordRotationSetting"
PERIOD: Final = "autoRotationPeriodInDays"
DELAY: Final = "depProfileDelayAutoRotationSetting"
ON_VIEW: Final = "onRetrievalAutoRotatePasswordEnabled"
ON_VIEW_HOURS: Final = "onRetrievalDelayAutoRotatePasswordInHours"

NAME: Final = "displayName"
DEPARTMENT: Final = "supportDepartment"
PHONE: Final = "supportPhoneNumber"
SUPERVISED: Final = "supervisedModeEnabled"
MANDATORY: Final = "isMandatory"
LOCKED: Final = "profileRemovalDisabled"
APP: Final = "requireCompanyPortalOnSetupAssistantEnrolledDevices"
GROUPS: Final = "enrollmentTimeAzureAdGroupIds"

TEXTS: Final = {
    NAME: "name",
    "description": "description",
    DEPARTMENT: "department",
    PHONE: "support_phone_number",
}
FLAGS: Final = {
    SUPERVISED: "supervised",
    MANDATORY: "mandatory",
    LOCKED: "locked",
    "autoAdvanceSetupEnabled": "auto_advance",
    "requestRequiresNetworkTether": "requires_network_tether",
}
POLICY_MEMBERS: Final = frozenset({
    "id", "name", "description", "platforms", "technologies", "roleScopeTagIds", "creationSource",
    "templateReference", "settings", TYPE,
})  # fmt: skip
"""The members of an enrollment policy that are read and written."""

READ_ONLY: Final = ("id", "isDefault", ENDPOINT)
"""Members that Graph does not take."""

NO_EQUAL: Final[Mapping[str, tuple[Any, str]]] = {
    PORTAL: (False, "users sign in in Company Portal after the enrollment: choose user_affinity yourself"),
    APP: (False, "have your server install Company Portal"),
    "deviceNameTemplate": ("", "have your server name the Mac after the enrollment"),
    GROUPS: ([], "put the Mac into these groups yourself"),
    SSO: (False, "read as Setup Assistant (legacy): see build_platform_sso_required"),
    ROTATION: (None, "have your server change the password: see password_rotation"),
}
"""Members that pyade has no setting for: what they hold when they say nothing, and what to do instead."""

MEMBER_OF: Final = {
    **{setting: member for member, setting in (*TEXTS.items(), *FLAGS.items())},
    "await_final_configuration": AWAIT,
    "skip": KEYS,
    "primary_account": "primaryAccountUserName",
    "primary_account.account_name": "primaryAccountUserName",
    "primary_account.full_name": "primaryAccountFullName",
    "administrator.short_name": "adminAccountUserName",
    "administrator.full_name": "adminAccountFullName",
    "standard_user": REGULAR,
    "skip_primary_account": SKIP,
}
SETTING_MEMBERS: Final = frozenset(
    {*TEXTS, *FLAGS, *READ_ONLY, *MEMBERS, *BOOLEANS, *OLD_BOOLEANS, KEYS, USER, WEB, AWAIT, TYPE}
)
