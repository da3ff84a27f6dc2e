"""Apple's device assignment service: the clients, the endpoints as data, and what they answer.

``calls`` has a function for every endpoint; ``Client`` and ``AsyncClient`` have a method for each.
``pyade.business`` is the same for the Apple School Manager and Apple Business API.
"""

from pyade.apple import calls
from pyade.apple.auth import SessionCache, SessionStorage, TokenProvider
from pyade.apple.calls import Call
from pyade.apple.client import AsyncClient, Client
from pyade.apple.connection import BASE_URL, PROTOCOL_VERSION
from pyade.apple.flows import SendCall
from pyade.apple.responses import (
    Account,
    AccountDrivenEnrollmentProfile,
    ActivationLockAnswer,
    ActivationLockResult,
    BetaEnrollmentToken,
    BetaEnrollmentTokens,
    DefinedProfileAnswer,
    DevicePage,
    OrganizationType,
    ReplacementDetails,
    ServiceUrl,
)

__all__ = [
    "BASE_URL",
    "PROTOCOL_VERSION",
    "Account",
    "AccountDrivenEnrollmentProfile",
    "ActivationLockAnswer",
    "ActivationLockResult",
    "AsyncClient",
    "BetaEnrollmentToken",
    "BetaEnrollmentTokens",
    "Call",
    "Client",
    "DefinedProfileAnswer",
    "DevicePage",
    "OrganizationType",
    "ReplacementDetails",
    "SendCall",
    "ServiceUrl",
    "SessionCache",
    "SessionStorage",
    "TokenProvider",
    "calls",
]
