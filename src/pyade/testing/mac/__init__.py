"""What a Mac brings along: a device identity under a stand-in for Apple's authority, and how it signs.

``FakeMac`` puts it together: a Mac that walks the way to its enrollment profile over HTTP.
"""

from pyade.testing.mac.authority import DeviceAuthority, DeviceIdentity
from pyade.testing.mac.cms import CmsForm
from pyade.testing.mac.enrollment import FakeEnrollment, read_enrollment
from pyade.testing.mac.fake_mac import FakeMac
from pyade.testing.mac.setup import FakeSetup

__all__ = [
    "CmsForm",
    "DeviceAuthority",
    "DeviceIdentity",
    "FakeEnrollment",
    "FakeMac",
    "FakeSetup",
    "read_enrollment",
]
