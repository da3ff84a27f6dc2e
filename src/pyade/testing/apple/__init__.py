"""``FakeApple``: Apple's portal and device assignment service, in memory and over loopback HTTP."""

from typing import TYPE_CHECKING

from pyade.loading import lazy_names

if TYPE_CHECKING:
    from pyade.testing.apple.fake import FakeApple
    from pyade.testing.apple.faults import Faults
    from pyade.testing.apple.model import (
        AppleSettings,
        Credentials,
        Operation,
        Organization,
        OwnedDevice,
        Server,
    )
    from pyade.testing.apple.token_file import TokenFileForm
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "pyade.testing.apple.fake": "FakeApple",
            "pyade.testing.apple.faults": "Faults",
            "pyade.testing.apple.model": (
                "AppleSettings Credentials Operation Organization OwnedDevice Server"
            ),
            "pyade.testing.apple.token_file": "TokenFileForm",
        },
    )

__all__ = [
    "AppleSettings",
    "Credentials",
    "FakeApple",
    "Faults",
    "Operation",
    "Organization",
    "OwnedDevice",
    "Server",
    "TokenFileForm",
]
