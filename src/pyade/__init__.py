"""pyade: Apple Automated Device Enrollment of Macs, as a library.

The names that most programs need are here. The rest is one room away: ``pyade.errors`` (every error),
``pyade.core`` (everything that is handed around), ``pyade.storage`` (where tokens and devices are kept),
``pyade.sync`` (progress and reports), ``pyade.enrollment`` (what a Mac is answered), ``pyade.builders``
(Apple's documents), ``pyade.crypto`` (keys and signatures), ``pyade.apple`` (each call of device assignment),
``pyade.business`` (each call of the Apple Business API) and ``pyade.testing`` (fakes).
"""

from pyade.apple.client import AsyncClient, Client
from pyade.apple.http.sessions import SessionCache
from pyade.builders.mobileconfig import build_enrollment_profile
from pyade.builders.payloads import AcmeIssuer, MdmService, ScepIssuer, TargetMac
from pyade.core.device import Device
from pyade.core.identity import IdentityPolicy
from pyade.core.policy import SyncPolicy
from pyade.core.problems import Problem
from pyade.core.profile import AdministratorAccount, EnrollmentProfile, PrimaryAccount, UserAffinity
from pyade.core.skip_keys import SkipKeys
from pyade.core.token import Portal, Token, TokenHealth
from pyade.core.versions import MacOSVersion
from pyade.crypto.keypair import TokenKeypair
from pyade.crypto.signing import Signer
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
from pyade.sync.assign_report import AssignReport
from pyade.sync.assigner import Assigner, AsyncAssigner
from pyade.sync.doctor import doctor
from pyade.sync.report import SyncReport
from pyade.sync.scheduler import AsyncScheduler, Scheduler
from pyade.sync.syncer import AsyncSyncer, Syncer
from pyade.sync.token_service import TokenService

__all__ = [
    "AcmeIssuer",
    "AdministratorAccount",
    "AppleError",
    "AssignReport",
    "Assigner",
    "AsyncAssigner",
    "AsyncClient",
    "AsyncEnrollmentService",
    "AsyncScheduler",
    "AsyncSyncer",
    "Client",
    "Device",
    "EnrollmentProfile",
    "EnrollmentService",
    "IdentityPolicy",
    "MacOSVersion",
    "MdmService",
    "PolicyError",
    "Portal",
    "PrimaryAccount",
    "Problem",
    "ProfileError",
    "PyadeError",
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
    "UserAffinity",
    "VersionError",
    "build_enrollment_profile",
    "doctor",
]


def __getattr__(name: str) -> str:
    """Return the version when somebody asks for it."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - most programs never ask

        return version("pyade-apple")
    raise AttributeError(f"module 'pyade' has no attribute {name!r}")
