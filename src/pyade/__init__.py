"""pyade: Apple Automated Device Enrollment of Macs, as a library.

The names that most programs need are here. The subpackages have the rest: ``pyade.errors`` (every error),
``pyade.core`` (tokens, profiles, devices and their rules), ``pyade.storage`` (SQLite, PostgreSQL, your own),
``pyade.sync`` (runs of one token, device actions), ``pyade.assignment`` (which device gets which profile),
``pyade.operations`` (token lifecycle, scheduler, workers, health), ``pyade.enrollment`` (responses to Macs),
``pyade.builders`` (Apple's documents, Intune's JSON), ``pyade.crypto`` (keys and signatures),
``pyade.apple`` (device assignment), ``pyade.business`` (Apple Business API) and ``pyade.testing`` (fakes).

A name is loaded when it is first used: a program that reads a profile loads no HTTP client and no database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyade.loading import lazy_names

if TYPE_CHECKING:
    from pyade import apple as apple
    from pyade import assignment as assignment
    from pyade import builders as builders
    from pyade import business as business
    from pyade import core as core
    from pyade import crypto as crypto
    from pyade import enrollment as enrollment
    from pyade import errors as errors
    from pyade import operations as operations
    from pyade import storage as storage
    from pyade import sync as sync
    from pyade import testing as testing
    from pyade.apple.client import AsyncClient, Client
    from pyade.apple.http.sessions import SessionCache
    from pyade.assignment.assigner import Assigner, AsyncAssigner
    from pyade.assignment.report import AssignReport
    from pyade.assignment.rules import AssignmentPolicy, Rule
    from pyade.builders.mobileconfig import build_enrollment_profile
    from pyade.builders.payloads import AcmeIssuer, MdmService, ScepIssuer, TargetMac
    from pyade.core.fleet.device import Device
    from pyade.core.fleet.sync_policy import SyncPolicy
    from pyade.core.macos.identity import IdentityPolicy
    from pyade.core.macos.setup_screens import SkipKeys
    from pyade.core.macos.versions import MacOSVersion
    from pyade.core.problems import Problem
    from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount, User
    from pyade.core.profile.affinity import UserAffinity
    from pyade.core.profile.profile import EnrollmentProfile
    from pyade.core.token import Portal, Token, TokenHealth
    from pyade.crypto.keypair import TokenKeypair
    from pyade.crypto.signing import Signer
    from pyade.enrollment.final_configuration import AsyncFinalConfiguration, FinalConfiguration
    from pyade.enrollment.service import AsyncEnrollmentService, EnrollmentService
    from pyade.errors import (
        AppleError,
        PolicyError,
        ProfileError,
        PyadeError,
        SigningError,
        StoreError,
        TermsError,
        TokenError,
        TransportError,
        VersionError,
    )
    from pyade.operations.health import doctor, doctor_async
    from pyade.operations.scheduler import AsyncScheduler, Scheduler
    from pyade.operations.token_service import AsyncTokenService, TokenService
    from pyade.sync.report import SyncReport
    from pyade.sync.syncer import AsyncSyncer, Syncer

    __version__: str
else:
    _load, __dir__ = lazy_names(
        __name__,
        {
            "pyade.apple.client": "AsyncClient Client",
            "pyade.apple.http.sessions": "SessionCache",
            "pyade.assignment.assigner": "Assigner AsyncAssigner",
            "pyade.assignment.report": "AssignReport",
            "pyade.assignment.rules": "AssignmentPolicy Rule",
            "pyade.builders.mobileconfig": "build_enrollment_profile",
            "pyade.builders.payloads": "AcmeIssuer MdmService ScepIssuer TargetMac",
            "pyade.core.fleet.device": "Device",
            "pyade.core.fleet.sync_policy": "SyncPolicy",
            "pyade.core.macos.identity": "IdentityPolicy",
            "pyade.core.macos.setup_screens": "SkipKeys",
            "pyade.core.macos.versions": "MacOSVersion",
            "pyade.core.problems": "Problem",
            "pyade.core.profile.accounts": "AdministratorAccount PrimaryAccount User",
            "pyade.core.profile.affinity": "UserAffinity",
            "pyade.core.profile.profile": "EnrollmentProfile",
            "pyade.core.token": "Portal Token TokenHealth",
            "pyade.crypto.keypair": "TokenKeypair",
            "pyade.crypto.signing": "Signer",
            "pyade.enrollment.final_configuration": "AsyncFinalConfiguration FinalConfiguration",
            "pyade.enrollment.service": "AsyncEnrollmentService EnrollmentService",
            "pyade.errors": (
                "AppleError PolicyError ProfileError PyadeError SigningError StoreError TermsError "
                "TokenError TransportError VersionError"
            ),
            "pyade.operations.health": "doctor doctor_async",
            "pyade.operations.scheduler": "AsyncScheduler Scheduler",
            "pyade.operations.token_service": "AsyncTokenService TokenService",
            "pyade.sync.report": "SyncReport",
            "pyade.sync.syncer": "AsyncSyncer Syncer",
        },
    )

    def __getattr__(name: str) -> Any:
        """Load a name, a subpackage or the version when it is first used."""
        if name == "__version__":
            from importlib.metadata import version  # noqa: PLC0415 - most programs never ask

            return version("pyade-apple")
        return _load(name)


__all__ = [
    "AcmeIssuer",
    "AdministratorAccount",
    "AppleError",
    "AssignReport",
    "Assigner",
    "AssignmentPolicy",
    "AsyncAssigner",
    "AsyncClient",
    "AsyncEnrollmentService",
    "AsyncFinalConfiguration",
    "AsyncScheduler",
    "AsyncSyncer",
    "AsyncTokenService",
    "Client",
    "Device",
    "EnrollmentProfile",
    "EnrollmentService",
    "FinalConfiguration",
    "IdentityPolicy",
    "MacOSVersion",
    "MdmService",
    "PolicyError",
    "Portal",
    "PrimaryAccount",
    "Problem",
    "ProfileError",
    "PyadeError",
    "Rule",
    "ScepIssuer",
    "Scheduler",
    "SessionCache",
    "Signer",
    "SigningError",
    "SkipKeys",
    "StoreError",
    "SyncPolicy",
    "SyncReport",
    "Syncer",
    "TargetMac",
    "TermsError",
    "Token",
    "TokenError",
    "TokenHealth",
    "TokenKeypair",
    "TokenService",
    "TransportError",
    "User",
    "UserAffinity",
    "VersionError",
    "build_enrollment_profile",
    "doctor",
    "doctor_async",
]
