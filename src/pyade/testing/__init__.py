"""Fakes to test with, shipped and supported; none of them needs pytest.

- ``demo()``: a small world in one line, made of those that follow.
- ``FakeApple``: Apple's portal and device assignment service.
- ``FakeBusiness``: the Apple School Manager and Apple Business API over the same fleet.
- ``FakeMac``: a Mac that enrolls.
- ``DeviceAuthority``: a stand-in for the certificate authority of Apple's devices.
- ``FrozenClock``: a clock that moves only when a test moves it.

pytest finds the fixtures ``pyade_world``, ``fake_apple`` and ``frozen_clock`` by itself. The test suite that
every store must pass is in ``pyade.testing.contract``, which imports pytest and is not imported here.
"""

from typing import TYPE_CHECKING

from pyade.loading import lazy_names

if TYPE_CHECKING:
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
    from pyade.testing.http.server import FakeTransport, LoopbackServer
    from pyade.testing.http.service import RequestRecord
    from pyade.testing.http.wire import ServedResponse, WireRequest, WireResponse
    from pyade.testing.mac import CmsForm, DeviceAuthority, DeviceIdentity, FakeEnrollment, FakeMac, FakeSetup
    from pyade.testing.world import World, demo
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "pyade.testing.apple": (
                "AppleSettings Credentials FakeApple Faults Organization Server TokenFileForm"
            ),
            "pyade.testing.business": "BusinessSettings FakeBusiness",
            "pyade.testing.clock": "FrozenClock",
            "pyade.testing.errors": "MacError PortalError",
            "pyade.testing.http.faults": "Fault",
            "pyade.testing.http.server": "FakeTransport LoopbackServer",
            "pyade.testing.http.service": "RequestRecord",
            "pyade.testing.http.wire": "ServedResponse WireRequest WireResponse",
            "pyade.testing.mac": "CmsForm DeviceAuthority DeviceIdentity FakeEnrollment FakeMac FakeSetup",
            "pyade.testing.world": "World demo",
        },
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
    "ServedResponse",
    "Server",
    "TokenFileForm",
    "WireRequest",
    "WireResponse",
    "World",
    "demo",
]
