"""``FakeApple``: Apple's portal and device assignment service, in memory and over loopback HTTP."""

from pyade.testing.apple.fake import FakeApple
from pyade.testing.apple.faults import Faults
from pyade.testing.apple.model import Credentials, Organization, Server
from pyade.testing.apple.settings import AppleSettings
from pyade.testing.apple.token_file import TokenFileForm

__all__ = [
    "AppleSettings",
    "Credentials",
    "FakeApple",
    "Faults",
    "Organization",
    "Server",
    "TokenFileForm",
]
