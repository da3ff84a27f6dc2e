"""What a Mac brings along: a device identity under a stand-in for Apple's authority, and how it signs."""

from pyade.testing.mac.authority import DeviceAuthority, DeviceIdentity
from pyade.testing.mac.cms import CmsForm

__all__ = ["CmsForm", "DeviceAuthority", "DeviceIdentity"]
