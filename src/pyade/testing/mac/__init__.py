"""Simulated Macs: ``FakeMac`` enrolls over HTTP with a device identity of a ``DeviceAuthority``."""

from typing import TYPE_CHECKING

from pyade.loading import lazy_names

if TYPE_CHECKING:
    from pyade.testing.mac.authority import DeviceAuthority, DeviceIdentity
    from pyade.testing.mac.cms import CmsForm
    from pyade.testing.mac.enrollment import FakeEnrollment, read_enrollment
    from pyade.testing.mac.fake_mac import FakeMac
    from pyade.testing.mac.final_configuration import FakeSetup
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "pyade.testing.mac.authority": "DeviceAuthority DeviceIdentity",
            "pyade.testing.mac.cms": "CmsForm",
            "pyade.testing.mac.enrollment": "FakeEnrollment read_enrollment",
            "pyade.testing.mac.fake_mac": "FakeMac",
            "pyade.testing.mac.final_configuration": "FakeSetup",
        },
    )

__all__ = [
    "CmsForm",
    "DeviceAuthority",
    "DeviceIdentity",
    "FakeEnrollment",
    "FakeMac",
    "FakeSetup",
    "read_enrollment",
]
