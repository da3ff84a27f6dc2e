"""The domain: frozen classes, enums and pure decisions, without I/O, clock, HTTP or cryptography.

The public classes are the token, the profile and its plan, devices and their stored records, and the limits
of a sync. Their rules are in the modules that define them.
"""

from typing import TYPE_CHECKING

from pyade.loading import lazy_names

if TYPE_CHECKING:
    from pyade.core.exports import Exportable, TextFile, write_csv
    from pyade.core.fleet.assignment import NO_PROFILE, Reason, Risk
    from pyade.core.fleet.device import Device, DeviceFamily, DeviceResult, OpType, ProfileStatus
    from pyade.core.fleet.enrollment import Enrollment, Installed, Registration
    from pyade.core.fleet.events import Event, EventKind
    from pyade.core.fleet.existing_macs import ExistingMac, check_existing_mac, renew_instructions
    from pyade.core.fleet.outcomes import (
        ActivityOutcome,
        ActivityRequest,
        ActivityStatus,
        ActivitySubStatus,
        ActivityType,
        AssignmentFailure,
        Attempt,
        DeviceOutcome,
        DeviceResults,
        OperationStatus,
    )
    from pyade.core.fleet.records import ChangeCounts, DeviceRecord, SyncPhase, SyncState
    from pyade.core.fleet.schedule import Pace, Work
    from pyade.core.fleet.sync_policy import Decision, SyncAction, SyncPolicy, Trigger
    from pyade.core.macos.identity import (
        IdentityChoice,
        IdentityKind,
        IdentityPolicy,
        IdentityRefusal,
        KeyType,
        choose_identity,
        decide_identity,
    )
    from pyade.core.macos.models import ChipClass, classify_product
    from pyade.core.macos.setup_screens import SkipKeys
    from pyade.core.macos.updates import (
        BetaProgram,
        Latest,
        SoftwareUpdatePolicy,
        Update,
        UpdateCatalogue,
        UpdateDecision,
        UpdateOutcome,
        decide_update,
    )
    from pyade.core.macos.versions import MacOSVersion
    from pyade.core.problems import ErrorObject, Problem, Severity
    from pyade.core.profile.accounts import AdministratorAccount, NameVariables, PrimaryAccount, User
    from pyade.core.profile.affinity import AffinityConsequences, AffinityKind, UserAffinity
    from pyade.core.profile.diff import ProfileDiff, Reach, SettingChange
    from pyade.core.profile.plan import Effect, PlanRow, ProfilePlan
    from pyade.core.profile.preview import PreviewRow, ProfilePreview
    from pyade.core.profile.profile import EnrollmentProfile
    from pyade.core.profile.review import ProfileReview, ReviewRow
    from pyade.core.profile.setup_accounts import LocalAccounts, local_accounts
    from pyade.core.secret import Secret
    from pyade.core.token import Portal, Token, TokenHealth, TokenStatus
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "pyade.core.exports": "Exportable TextFile write_csv",
            "pyade.core.fleet.assignment": "NO_PROFILE Reason Risk",
            "pyade.core.fleet.device": "Device DeviceFamily DeviceResult OpType ProfileStatus",
            "pyade.core.fleet.enrollment": "Enrollment Installed Registration",
            "pyade.core.fleet.events": "Event EventKind",
            "pyade.core.fleet.existing_macs": "ExistingMac check_existing_mac renew_instructions",
            "pyade.core.fleet.outcomes": (
                "ActivityOutcome ActivityRequest ActivityStatus ActivitySubStatus ActivityType "
                "AssignmentFailure Attempt DeviceOutcome DeviceResults OperationStatus"
            ),
            "pyade.core.fleet.records": "ChangeCounts DeviceRecord SyncPhase SyncState",
            "pyade.core.fleet.schedule": "Pace Work",
            "pyade.core.fleet.sync_policy": "Decision SyncAction SyncPolicy Trigger",
            "pyade.core.macos.identity": (
                "IdentityChoice IdentityKind IdentityPolicy IdentityRefusal KeyType choose_identity "
                "decide_identity"
            ),
            "pyade.core.macos.models": "ChipClass classify_product",
            "pyade.core.macos.setup_screens": "SkipKeys",
            "pyade.core.macos.updates": (
                "BetaProgram Latest SoftwareUpdatePolicy Update UpdateCatalogue UpdateDecision "
                "UpdateOutcome decide_update"
            ),
            "pyade.core.macos.versions": "MacOSVersion",
            "pyade.core.problems": "ErrorObject Problem Severity",
            "pyade.core.profile.accounts": "AdministratorAccount NameVariables PrimaryAccount User",
            "pyade.core.profile.affinity": "AffinityConsequences AffinityKind UserAffinity",
            "pyade.core.profile.diff": "ProfileDiff Reach SettingChange",
            "pyade.core.profile.plan": "Effect PlanRow ProfilePlan",
            "pyade.core.profile.preview": "PreviewRow ProfilePreview",
            "pyade.core.profile.profile": "EnrollmentProfile",
            "pyade.core.profile.review": "ProfileReview ReviewRow",
            "pyade.core.profile.setup_accounts": "LocalAccounts local_accounts",
            "pyade.core.secret": "Secret",
            "pyade.core.token": "Portal Token TokenHealth TokenStatus",
        },
    )

__all__ = [
    "NO_PROFILE",
    "ActivityOutcome",
    "ActivityRequest",
    "ActivityStatus",
    "ActivitySubStatus",
    "ActivityType",
    "AdministratorAccount",
    "AffinityConsequences",
    "AffinityKind",
    "AssignmentFailure",
    "Attempt",
    "BetaProgram",
    "ChangeCounts",
    "ChipClass",
    "Decision",
    "Device",
    "DeviceFamily",
    "DeviceOutcome",
    "DeviceRecord",
    "DeviceResult",
    "DeviceResults",
    "Effect",
    "Enrollment",
    "EnrollmentProfile",
    "ErrorObject",
    "Event",
    "EventKind",
    "ExistingMac",
    "Exportable",
    "IdentityChoice",
    "IdentityKind",
    "IdentityPolicy",
    "IdentityRefusal",
    "Installed",
    "KeyType",
    "Latest",
    "LocalAccounts",
    "MacOSVersion",
    "NameVariables",
    "OpType",
    "OperationStatus",
    "Pace",
    "PlanRow",
    "Portal",
    "PreviewRow",
    "PrimaryAccount",
    "Problem",
    "ProfileDiff",
    "ProfilePlan",
    "ProfilePreview",
    "ProfileReview",
    "ProfileStatus",
    "Reach",
    "Reason",
    "Registration",
    "ReviewRow",
    "Risk",
    "Secret",
    "SettingChange",
    "Severity",
    "SkipKeys",
    "SoftwareUpdatePolicy",
    "SyncAction",
    "SyncPhase",
    "SyncPolicy",
    "SyncState",
    "TextFile",
    "Token",
    "TokenHealth",
    "TokenStatus",
    "Trigger",
    "Update",
    "UpdateCatalogue",
    "UpdateDecision",
    "UpdateOutcome",
    "User",
    "UserAffinity",
    "Work",
    "check_existing_mac",
    "choose_identity",
    "classify_product",
    "decide_identity",
    "decide_update",
    "local_accounts",
    "renew_instructions",
    "write_csv",
]
