"""Intune's own JSON, as Microsoft Graph (beta) and the tools around it export it.

``read_intune`` reads whole exports and ``write_intune`` writes them; the other functions are for single
objects: ``depMacOSEnrollmentProfile``, ``depOnboardingSetting`` and ``importedAppleDeviceIdentity``. What has
no equal is kept and reported; ``limits`` holds what Intune allows.
"""

from pyade.builders.intune import limits
from pyade.builders.intune.device import (
    DiscoverySource,
    EnrollmentState,
    IntuneDevice,
    IntunePlatform,
    device_from_intune,
    device_to_intune,
)
from pyade.builders.intune.model import IntuneExport, IntuneProfile, OwnSettings, PasswordRotation
from pyade.builders.intune.profile import profile_from_intune, profile_to_intune
from pyade.builders.intune.tenant import IntuneTenant, read_intune, write_intune
from pyade.builders.intune.token import IntuneToken, TokenType, token_from_intune, token_to_intune

__all__ = [
    "DiscoverySource",
    "EnrollmentState",
    "IntuneDevice",
    "IntuneExport",
    "IntunePlatform",
    "IntuneProfile",
    "IntuneTenant",
    "IntuneToken",
    "OwnSettings",
    "PasswordRotation",
    "TokenType",
    "device_from_intune",
    "device_to_intune",
    "limits",
    "profile_from_intune",
    "profile_to_intune",
    "read_intune",
    "token_from_intune",
    "token_to_intune",
    "write_intune",
]
