"""Fakes to test with, shipped and supported; none of them needs pytest.

``FakeApple`` is Apple's side of device assignment, ``FakeBusiness`` the Apple School Manager and Apple
Business API over the same fleet, ``FrozenClock`` a clock that moves only when told to, ``FakeMac`` a Mac that
enrolls, ``DeviceAuthority`` a stand-in for the authority under which devices sign.
The contract that every store passes is in ``pyade.testing.contract``, which imports pytest and is not
imported here.
"""

from pyade.testing.apple import (
    AppleSettings,
    Credentials,
    FakeApple,
    Faults,
    Organization,
    Server,
    TokenFileForm,
)
from pyade.testing.business import BusinessSettings, FakeBusiness
from pyade.testing.clock import FrozenClock
from pyade.testing.errors import MacError, PortalError
from pyade.testing.http.faults import Fault
from pyade.testing.http.server import LoopbackServer
from pyade.testing.http.service import RequestRecord
from pyade.testing.http.transport import FakeTransport
from pyade.testing.mac import (
    CmsForm,
    DeviceAuthority,
    DeviceIdentity,
    FakeEnrollment,
    FakeMac,
    FakeSetup,
)

__all__ = [
    "AppleSettings",
    "BusinessSettings",
    "CmsForm",
    "Credentials",
    "DeviceAuthority",
    "DeviceIdentity",
    "FakeApple",
    "FakeBusiness",
    "FakeEnrollment",
    "FakeMac",
    "FakeSetup",
    "FakeTransport",
    "Fault",
    "Faults",
    "FrozenClock",
    "LoopbackServer",
    "MacError",
    "Organization",
    "PortalError",
    "RequestRecord",
    "Server",
    "TokenFileForm",
]
