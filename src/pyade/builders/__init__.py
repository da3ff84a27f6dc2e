"""Convert domain objects to documents, and back.

``dep_profile`` converts to and from Apple's JSON: ``definition``, ``to_apple``, ``from_apple``.
``mobileconfig`` builds the enrollment profile that a Mac installs, from ``payloads``; ``linter`` checks it.
``commands`` builds the commands that end Setup Assistant: local accounts, and the release of a waiting Mac.
``error_bodies`` builds responses that make a Mac update or set up Platform SSO first.
``documents`` converts to and from the documents and rows in a store.
``intune`` reads and writes Intune's own JSON: ``read_intune``, ``write_intune`` and one function per object.
"""

from typing import TYPE_CHECKING

from pyade.loading import lazy_names

if TYPE_CHECKING:
    from pyade.builders import dep_profile as dep_profile
    from pyade.builders import intune as intune
    from pyade.builders.commands import (
        build_account_configuration,
        build_device_configured,
        check_account_configuration,
    )
    from pyade.builders.documents import profile_from_document, profile_to_document
    from pyade.builders.error_bodies import (
        ErrorBody,
        build_platform_sso_required,
        build_update_required,
        check_error_body,
    )
    from pyade.builders.intune import (
        IntuneDevice,
        IntuneExport,
        IntuneProfile,
        IntuneTenant,
        IntuneToken,
        OwnSettings,
        policy_from_intune,
        policy_to_intune,
        profile_from_intune,
        profile_to_intune,
        read_intune,
        write_intune,
    )
    from pyade.builders.linter import check_enrollment_profile, check_update
    from pyade.builders.mobileconfig import build_enrollment_profile
    from pyade.builders.payloads import AcmeIssuer, MdmService, ScepIssuer, TargetMac
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "pyade.builders.commands": (
                "build_account_configuration build_device_configured check_account_configuration"
            ),
            "pyade.builders.documents": "profile_from_document profile_to_document",
            "pyade.builders.error_bodies": (
                "ErrorBody build_platform_sso_required build_update_required check_error_body"
            ),
            "pyade.builders.intune": (
                "IntuneDevice IntuneExport IntuneProfile IntuneTenant IntuneToken OwnSettings "
                "policy_from_intune policy_to_intune profile_from_intune profile_to_intune read_intune "
                "write_intune"
            ),
            "pyade.builders.linter": "check_enrollment_profile check_update",
            "pyade.builders.mobileconfig": "build_enrollment_profile",
            "pyade.builders.payloads": "AcmeIssuer MdmService ScepIssuer TargetMac",
        },
    )

__all__ = [
    "AcmeIssuer",
    "ErrorBody",
    "IntuneDevice",
    "IntuneExport",
    "IntuneProfile",
    "IntuneTenant",
    "IntuneToken",
    "MdmService",
    "OwnSettings",
    "ScepIssuer",
    "TargetMac",
    "build_account_configuration",
    "build_device_configured",
    "build_enrollment_profile",
    "build_platform_sso_required",
    "build_update_required",
    "check_account_configuration",
    "check_enrollment_profile",
    "check_error_body",
    "check_update",
    "dep_profile",
    "intune",
    "policy_from_intune",
    "policy_to_intune",
    "profile_from_document",
    "profile_from_intune",
    "profile_to_document",
    "profile_to_intune",
    "read_intune",
    "write_intune",
]
