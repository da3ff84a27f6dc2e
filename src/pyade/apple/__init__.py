"""Clients for Apple's device assignment service, its endpoints as data, and their responses.

``calls`` has a function for every endpoint; ``Client`` and ``AsyncClient`` have a method for each.
``pyade.business`` does the same for the Apple School Manager and Apple Business API.
"""

from typing import TYPE_CHECKING

from pyade.loading import lazy_names

if TYPE_CHECKING:
    from pyade.apple import calls as calls
    from pyade.apple.client import BASE_URL, PROTOCOL_VERSION, AsyncClient, Client
    from pyade.apple.http.calls import Call
    from pyade.apple.http.network import Network
    from pyade.apple.http.sessions import SessionCache, SessionStorage
    from pyade.apple.responses import (
        Account,
        AccountDrivenEnrollmentProfile,
        ActivationLockResponse,
        ActivationLockResult,
        BetaEnrollmentToken,
        BetaEnrollmentTokens,
        DefineProfileResponse,
        DevicePage,
        OrganizationType,
        ReplacementDetails,
        ServiceUrl,
    )
    from pyade.apple.service import TokenProvider
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "pyade.apple.client": "BASE_URL PROTOCOL_VERSION AsyncClient Client",
            "pyade.apple.http.calls": "Call",
            "pyade.apple.http.network": "Network",
            "pyade.apple.http.sessions": "SessionCache SessionStorage",
            "pyade.apple.responses": (
                "Account AccountDrivenEnrollmentProfile ActivationLockResponse ActivationLockResult "
                "BetaEnrollmentToken BetaEnrollmentTokens DefineProfileResponse DevicePage "
                "OrganizationType ReplacementDetails ServiceUrl"
            ),
            "pyade.apple.service": "TokenProvider",
        },
    )

__all__ = [
    "BASE_URL",
    "PROTOCOL_VERSION",
    "Account",
    "AccountDrivenEnrollmentProfile",
    "ActivationLockResponse",
    "ActivationLockResult",
    "AsyncClient",
    "BetaEnrollmentToken",
    "BetaEnrollmentTokens",
    "Call",
    "Client",
    "DefineProfileResponse",
    "DevicePage",
    "Network",
    "OrganizationType",
    "ReplacementDetails",
    "ServiceUrl",
    "SessionCache",
    "SessionStorage",
    "TokenProvider",
    "calls",
]
