"""The Apple School Manager and Apple Business API: devices, services, and which device goes to which.

``calls`` has a function for every endpoint; ``BusinessClient`` and ``AsyncBusinessClient`` have a method for
each.
"""

from pyade.apple.business import calls
from pyade.apple.business.account import (
    AUDIENCE,
    BUSINESS_URL,
    SCHOOL_URL,
    TOKEN_URL,
    AccountProvider,
    ApiAccount,
)
from pyade.apple.business.async_client import AsyncBusinessClient
from pyade.apple.business.client import BusinessClient
from pyade.apple.business.paging import Page
from pyade.apple.business.resources import (
    ActivationLockStatus,
    Activity,
    AppleCareCoverage,
    AssignmentStatus,
    ManagementService,
    MigrationStatus,
    OrgDevice,
    ProductFamily,
    Resource,
    ServiceStatus,
    ServiceType,
)

__all__ = [
    "AUDIENCE",
    "BUSINESS_URL",
    "SCHOOL_URL",
    "TOKEN_URL",
    "AccountProvider",
    "ActivationLockStatus",
    "Activity",
    "ApiAccount",
    "AppleCareCoverage",
    "AssignmentStatus",
    "AsyncBusinessClient",
    "BusinessClient",
    "ManagementService",
    "MigrationStatus",
    "OrgDevice",
    "Page",
    "ProductFamily",
    "Resource",
    "ServiceStatus",
    "ServiceType",
    "calls",
]
