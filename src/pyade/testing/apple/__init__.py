"""``FakeApple``: Apple's portal and device assignment service, in memory and over loopback HTTP."""

from pyade.testing.apple.fake import FakeApple
from pyade.testing.apple.faults import Fault, Faults
from pyade.testing.apple.http_server import LoopbackServer
from pyade.testing.apple.log import RequestRecord
from pyade.testing.apple.model import Credentials, Organization, PortalError, Server
from pyade.testing.apple.settings import AppleSettings
from pyade.testing.apple.token_file import TokenFileForm
from pyade.testing.apple.transport import FakeTransport

__all__ = [
    "AppleSettings",
    "Credentials",
    "FakeApple",
    "FakeTransport",
    "Fault",
    "Faults",
    "LoopbackServer",
    "Organization",
    "PortalError",
    "RequestRecord",
    "Server",
    "TokenFileForm",
]
