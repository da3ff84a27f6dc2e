"""The names of members in Intune's JSON for a profile, and which setting of pyade each one is.

Source: Microsoft Graph (beta), ``enrollmentProfile``, ``depEnrollmentBaseProfile`` and
``depMacOSEnrollmentProfile``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pyade.builders.intune.accounts import MEMBERS as ACCOUNTS
from pyade.builders.intune.accounts import REGULAR, SKIP
from pyade.builders.intune.reading import TYPE
from pyade.builders.intune.screens import BOOLEANS, KEYS, OLD_BOOLEANS

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
    {*TEXTS, *FLAGS, *READ_ONLY, *ACCOUNTS, *BOOLEANS, *OLD_BOOLEANS, KEYS, USER, WEB, AWAIT, TYPE}
)
