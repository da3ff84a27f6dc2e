"""Determine the type of an object in Intune's JSON from its ``@odata.type``, else from its members.

Source: Microsoft Graph (beta). That expanded objects and old exports have no type is observed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pyade.builders.intune.json_reader import type_of
from pyade.core.problems import Problem
from pyade.errors import IntuneError

PROFILE: Final = "depMacOSEnrollmentProfile"
TOKEN: Final = "depOnboardingSetting"  # noqa: S105 - the name of a type
POLICY: Final = "deviceManagementConfigurationPolicy"
DEVICE: Final = "importedAppleDeviceIdentity"
DEVICES: Final = "importedAppleDeviceIdentities"
"""The member of a token that lists its devices."""

_ALIASES: Final = {
    "depEnrollmentProfile": PROFILE,  # its predecessor, for Macs and iPhones
    "importedAppleDeviceIdentityResult": DEVICE,
}
# The order matters: the predecessor has members of both platforms.
_TYPICAL_MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    PROFILE: frozenset({
        "fileVaultDisabled", "iCloudStorageDisabled", "registrationDisabled",
        "skipPrimarySetupAccountCreation", "chooseYourLockScreenDisabled", "iCloudDiagnosticsDisabled",
        "macOSFileVaultDisabled", "macOSRegistrationDisabled",
    }),
    "depIOSEnrollmentProfile": frozenset({"enableSharedIPad", "iTunesPairingMode"}),
    DEVICE: frozenset({"requestedEnrollmentProfileId", "discoverySource"}),
    POLICY: frozenset({"technologies", "templateReference", "creationSource"}),
    TOKEN: frozenset({"tokenName", "tokenExpirationDateTime", "lastSuccessfulSyncDateTime"}),
}  # fmt: skip


def kind_of(body: Mapping[str, Any]) -> str:
    """Return the type of an object; "" if it is unknown."""
    name = type_of(body)
    if name:
        return _ALIASES.get(name, name)
    return next((kind for kind, marks in _TYPICAL_MEMBERS.items() if not marks.isdisjoint(body)), "")


def check_kind(body: Mapping[str, Any], kind: str, path: str) -> None:
    """Check that *body* is not known to have another type than *kind*.

    Raises:
        IntuneError: It has another type.
    """
    found = kind_of(body)
    if found not in ("", kind):
        raise IntuneError(
            (
                Problem(
                    path,
                    "",
                    f"an object of type {kind}, not {found[:80]!r}",
                    "use the function for that type, or read_intune",
                ),
            )
        )
