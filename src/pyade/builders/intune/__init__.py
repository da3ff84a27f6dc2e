"""Read and write the JSON of Intune, as Microsoft Graph (beta) and related tools export it.

``read_intune`` reads whole exports and ``write_intune`` writes them; the other functions are for single
objects: ``depMacOSEnrollmentProfile`` or, since 2026, ``deviceManagementConfigurationPolicy``,
``depOnboardingSetting`` and ``importedAppleDeviceIdentity``. Members without an equivalent in pyade are kept
and reported; ``limits`` has the limits of Intune.
"""

from typing import TYPE_CHECKING

from pyade.loading import lazy_names

if TYPE_CHECKING:
    from pyade.builders.intune import limits as limits
    from pyade.builders.intune.device import (
        DiscoverySource,
        EnrollmentState,
        IntuneDevice,
        IntunePlatform,
        device_from_intune,
        device_to_intune,
    )
    from pyade.builders.intune.exports import IntuneTenant, read_intune, write_intune
    from pyade.builders.intune.model import (
        IntuneExport,
        IntunePolicy,
        IntuneProfile,
        OwnSettings,
        PasswordRotation,
    )
    from pyade.builders.intune.policy import policy_from_intune, policy_to_intune
    from pyade.builders.intune.policy_settings import UnknownSetting
    from pyade.builders.intune.profile import profile_from_intune, profile_to_intune
    from pyade.builders.intune.token import IntuneToken, TokenType, token_from_intune, token_to_intune
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "pyade.builders.intune.device": (
                "DiscoverySource EnrollmentState IntuneDevice IntunePlatform device_from_intune "
                "device_to_intune"
            ),
            "pyade.builders.intune.exports": "IntuneTenant read_intune write_intune",
            "pyade.builders.intune.model": (
                "IntuneExport IntunePolicy IntuneProfile OwnSettings PasswordRotation"
            ),
            "pyade.builders.intune.policy": "policy_from_intune policy_to_intune",
            "pyade.builders.intune.policy_settings": "UnknownSetting",
            "pyade.builders.intune.profile": "profile_from_intune profile_to_intune",
            "pyade.builders.intune.token": "IntuneToken TokenType token_from_intune token_to_intune",
        },
    )

__all__ = [
    "DiscoverySource",
    "EnrollmentState",
    "IntuneDevice",
    "IntuneExport",
    "IntunePlatform",
    "IntunePolicy",
    "IntuneProfile",
    "IntuneTenant",
    "IntuneToken",
    "OwnSettings",
    "PasswordRotation",
    "TokenType",
    "UnknownSetting",
    "device_from_intune",
    "device_to_intune",
    "limits",
    "policy_from_intune",
    "policy_to_intune",
    "profile_from_intune",
    "profile_to_intune",
    "read_intune",
    "token_from_intune",
    "token_to_intune",
    "write_intune",
]
