"""The members of a profile in Intune's JSON: their settings in pyade, local accounts and screens.

The rules of this file:

1. A profile without account settings has ``skipPrimarySetupAccountCreation`` true and no administrator. Taken
   literally it would leave a Mac without an account, so it means that no account settings are sent.
2. ``enabledSkipKeys`` is the complete list of hidden screens. The Booleans are an older, partial form, newer
   screens have none, and older exports have only Booleans. Read the union; write both from one set.

Source: Microsoft Graph (beta), ``enrollmentProfile``, ``depEnrollmentBaseProfile`` and
``depMacOSEnrollmentProfile``; Microsoft Intune, account settings; specification, "Create an Apple enrollment
profile". The meaning of true without an administrator is observed. The key of each Boolean is observed, and
inferred from the name for ``passCodeDisabled`` and ``zoomDisabled``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs

from pyade.builders.intune.json_reader import ADMIN_PASSWORD, TYPE, JsonReader
from pyade.core.macos.setup_screens import NOT_ON_MACOS, SkipKeys
from pyade.core.problems import Problem, Severity, warning
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
"""The Booleans of a profile for Macs, in the order of writing."""

OLD_BOOLEANS: Final[dict[str, str]] = {
    "macOSFileVaultDisabled": SkipKeys.FILE_VAULT.value,
    "macOSRegistrationDisabled": SkipKeys.REGISTRATION.value,
}
"""The Booleans of the older type ``depEnrollmentProfile``: read, never written."""

_BY_FOLDED: Final = {key.lower(): key for key in (*map(str, SkipKeys), *NOT_ON_MACOS)}


def read_screens(
    reader: JsonReader, problems: list[Problem]
) -> tuple[frozenset[SkipKeys | str], frozenset[str]]:
    """Return the keys of screens to hide on a Mac, and those of screens that no Mac has."""
    listed = reader.texts(KEYS)
    keys: set[str] = set()
    for key in listed or ():
        spelled = spelling(key)
        if spelled != key:
            problems.append(
                warning(reader.path_of(KEYS), key, f"Apple's spelling: {spelled}", "pyade used that spelling")
            )
        keys.add(spelled)
    union = set(keys)
    for name, key in {**BOOLEANS, **OLD_BOOLEANS}.items():
        is_hidden = reader.flag(name)
        if is_hidden:
            union.add(key)  # rule 2
        if listed is not None and is_hidden is not None and is_hidden is not (key in keys):
            state = "the screen is listed" if key in keys else "the screen is not listed"
            fix = f"pyade hides {label(key)}; correct both if the screen should be shown"
            problems.append(
                warning(reader.path_of(name), str(is_hidden), f"the same as in {KEYS}: {state}", fix)
            )
    elsewhere = frozenset(union & NOT_ON_MACOS)
    problems += [
        warning(reader.path_of(KEYS), key, "only screens of a Mac", "kept for Intune, not sent to Apple")
        for key in sorted(elsewhere)
    ]
    return frozenset(union - elsewhere), elsewhere


def write_screens(keys: Iterable[SkipKeys | str]) -> dict[str, Any]:
    """Return the complete list, sorted, and every Boolean."""
    spelled = {spelling(str(key)) for key in keys}
    return {KEYS: sorted(spelled), **{name: key in spelled for name, key in BOOLEANS.items()}}


def spelling(key: str) -> str:
    """Return Apple's spelling of a known key in any letter case."""
    return _BY_FOLDED.get(key.lower(), key)


def label(key: str) -> str:
    """Return the display name of a screen."""
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
"""The members for local accounts."""


@attrs.frozen(kw_only=True)
class Accounts:
    """The account settings that were read from Intune's JSON.

    Attributes:
        primary: The user's account; None leaves it to the user.
        administrator: An additional administrator.
        skip_primary: True if Setup Assistant creates no account.
        standard_user: True if the user's account is not an administrator.
        password: Secret. The administrator's password, if it was in the file.
    """

    primary: PrimaryAccount | None
    administrator: AdministratorAccount | None
    skip_primary: bool
    standard_user: bool
    password: Secret | None = attrs.field(repr=False)


def read_accounts(reader: JsonReader, problems: list[Problem], *, has_user: bool) -> Accounts:
    """Return the account settings of a profile.

    Args:
        reader: The members of the profile.
        problems: The list to which warnings are added, for members that have no effect or another meaning.
        has_user: True with user affinity.
    """
    given = _AccountMembers(reader)
    administrator = None
    if given.admin_name:
        administrator = AdministratorAccount(given.admin_name, given.admin_full_name, given.admin_hidden)
    problems.extend(_ineffective(reader, given))
    if given.password:
        fix = "store administrator_password as a secret; the profile needs its hash"
        problems.append(
            Problem(
                reader.path_of(ADMIN_PASSWORD),
                "",
                "no password in a file, because it is a secret",
                fix,
                Severity.WARNING,
            )
        )
    return Accounts(
        primary=_primary_account(given, has_user=has_user),
        administrator=administrator,
        skip_primary=given.skip and administrator is not None,  # rule 1
        standard_user=given.regular and not given.skip and administrator is not None,
        password=given.password or None,
    )


def write_accounts(profile: EnrollmentProfile) -> dict[str, Any]:
    """Return the account members with the effective values; never with a password."""
    primary, administrator = profile.primary_account, profile.administrator
    has_user = profile.user_affinity.kind is not AffinityKind.NONE
    is_untouched = primary is None and administrator is None
    name, full_name = (primary.account_name, primary.full_name) if primary else ("", "")
    skip = profile.skip_primary_account or is_untouched
    return {
        SKIP: skip,
        REGULAR: profile.standard_user and not skip,
        # False with user affinity and without account settings, although nothing is prefilled.
        MANUAL: skip or not (name or full_name or (has_user and primary is None)),
        FULL_NAME: full_name,
        ACCOUNT_NAME: name,
        LOCK: primary is not None and primary.restrict_editing,
        ADMIN_NAME: administrator.short_name if administrator else "",
        ADMIN_FULL_NAME: administrator.full_name if administrator else "",
        ADMIN_PASSWORD: None,
        ADMIN_HIDDEN: administrator is not None and administrator.hidden,
    }


class _AccountMembers:
    """The account members as they were read."""

    def __init__(self, reader: JsonReader) -> None:
        self.skip = bool(reader.flag(SKIP))
        self.regular = bool(reader.flag(REGULAR))
        self.manual = bool(reader.flag(MANUAL))
        self.name, self.full_name = reader.text(ACCOUNT_NAME), reader.text(FULL_NAME)
        self.lock = bool(reader.flag(LOCK))
        self.admin_name, self.admin_full_name = reader.text(ADMIN_NAME), reader.text(ADMIN_FULL_NAME)
        self.admin_hidden = bool(reader.flag(ADMIN_HIDDEN))
        self.password = Secret(reader.text(ADMIN_PASSWORD))

    @property
    def is_prefilled(self) -> bool:
        """True if Setup Assistant prefills a name."""
        return not self.skip and not self.manual and bool(self.name or self.full_name)


def _primary_account(given: _AccountMembers, *, has_user: bool) -> PrimaryAccount | None:
    if given.is_prefilled:
        return PrimaryAccount(given.name, given.full_name, given.lock)
    if given.manual and not given.skip and has_user:
        return PrimaryAccount("", "", given.lock)
    return None


def _ineffective(reader: JsonReader, given: _AccountMembers) -> Iterator[Problem]:
    """Yield warnings for members that have no effect, or another effect than their name."""
    if not given.is_prefilled:
        why = f"no name with {SKIP}" if given.skip else f"no name with {MANUAL}"
        for member, name in ((ACCOUNT_NAME, given.name), (FULL_NAME, given.full_name)):
            if name:
                yield warning(reader.path_of(member), name, f"{why}: it has no effect", "it was ignored")
        if given.lock:
            allowed = "true only with prefilled names: it has no effect"
            yield warning(reader.path_of(LOCK), "True", allowed, "prefill the names, or set it to false")
    if given.regular and not given.admin_name:
        allowed = f"true only with {ADMIN_NAME}: a Mac needs an administrator"
        yield warning(
            reader.path_of(REGULAR), "True", allowed, "the account is an administrator, as Intune makes it"
        )
    elif given.regular and given.skip:
        yield warning(
            reader.path_of(REGULAR), "True", f"false with {SKIP}: it has no effect", "set it to false"
        )
    if not given.admin_name:
        for member, is_set in (
            (ADMIN_FULL_NAME, given.admin_full_name),
            (ADMIN_HIDDEN, given.admin_hidden),
        ):
            if is_set:
                fix = "name the administrator, or remove it"
                yield warning(reader.path_of(member), "", f"only with {ADMIN_NAME}: it has no effect", fix)


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
"""The members of an enrollment policy that have a setting."""

READ_ONLY: Final = ("id", "isDefault", ENDPOINT)
"""Members that Graph does not accept."""

NO_EQUAL: Final[Mapping[str, tuple[Any, str]]] = {
    PORTAL: (False, "users sign in in Company Portal after the enrollment: choose user_affinity yourself"),
    APP: (False, "have your server install Company Portal"),
    "deviceNameTemplate": ("", "have your server name the Mac after the enrollment"),
    GROUPS: ([], "add the Mac to these groups yourself"),
    SSO: (False, "read as Setup Assistant (legacy): see build_platform_sso_required"),
    ROTATION: (None, "have your server change the password: see password_rotation"),
}
"""Members without a setting in pyade: their neutral value, and what to do instead."""

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
