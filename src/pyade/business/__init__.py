"""The Apple School Manager and Apple Business API: devices, services, and the assignment of devices to them.

``calls`` has a function for every endpoint; ``BusinessClient`` and ``AsyncBusinessClient`` have a method for
each.
"""

from typing import TYPE_CHECKING

from pyade.loading import lazy_names

if TYPE_CHECKING:
    from pyade.business import calls as calls
    from pyade.business.account import (
        AUDIENCE,
        BUSINESS_URL,
        SCHOOL_URL,
        TOKEN_URL,
        AccountProvider,
        ApiAccount,
    )
    from pyade.business.async_client import AsyncBusinessClient
    from pyade.business.client import BusinessClient
    from pyade.business.paging import Page
    from pyade.business.resources import (
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
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "pyade.business.account": "AUDIENCE BUSINESS_URL SCHOOL_URL TOKEN_URL AccountProvider ApiAccount",
            "pyade.business.async_client": "AsyncBusinessClient",
            "pyade.business.client": "BusinessClient",
            "pyade.business.paging": "Page",
            "pyade.business.resources": (
                "ActivationLockStatus Activity AppleCareCoverage AssignmentStatus ManagementService "
                "MigrationStatus OrgDevice ProductFamily Resource ServiceStatus ServiceType"
            ),
        },
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
