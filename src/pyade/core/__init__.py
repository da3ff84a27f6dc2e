"""The pure domain: frozen classes, enums and decisions, without I/O, clock, HTTP or cryptography.

What a program holds in its hands is here: token, profile and its plan, devices and what the store knows of
them, the limits of a sync. The rules behind them are in the modules of the same names.
"""

from typing import TYPE_CHECKING

from pyade.loading import when_asked

if TYPE_CHECKING:
    from pyade.core.accounts import AdministratorAccount, PrimaryAccount
    from pyade.core.activity import (
        ActivityOutcome,
        ActivityRequest,
        ActivityStatus,
        ActivitySubStatus,
        ActivityType,
        DeviceOutcome,
        OperationStatus,
    )
    from pyade.core.affinity import AffinityConsequences, AffinityKind, UserAffinity
    from pyade.core.assignment import NO_PROFILE, DeviceResults, Reason
    from pyade.core.attempt import Attempt
    from pyade.core.await_configuration import (
        AwaitConfigurationFlow,
        AwaitPhase,
        AwaitProgress,
        CommandStatus,
        SetupAction,
        SetupCommand,
    )
    from pyade.core.device import Device, DeviceFamily, DeviceResult, OpType, ProfileStatus
    from pyade.core.enrollment import Enrollment, Registration
    from pyade.core.events import Event, EventKind
    from pyade.core.existing_macs import ExistingMac, check_existing_mac, renew_instructions
    from pyade.core.identity import (
        IdentityChoice,
        IdentityKind,
        IdentityPolicy,
        IdentityRefusal,
        KeyType,
        choose_identity,
        decide_identity,
    )
    from pyade.core.inventory import ChangeCounts, DeviceRecord, SyncPhase, SyncState
    from pyade.core.machine_info import DeviceSignature, MachineInfo
    from pyade.core.model_claim import check_model_claim
    from pyade.core.models import ChipClass, classify_product
    from pyade.core.plan import Effect, PlanRow, ProfilePlan
    from pyade.core.policy import Decision, SyncAction, SyncPolicy, Trigger
    from pyade.core.problems import ErrorObject, Problem, Severity
    from pyade.core.profile import EnrollmentProfile
    from pyade.core.profile_diff import ProfileDiff, Reach, SettingChange
    from pyade.core.profile_review import ProfileReview, ReviewRow
    from pyade.core.rules import AssignmentPolicy, Rule
    from pyade.core.schedule import Pace, Work
    from pyade.core.secret import Secret
    from pyade.core.setup_accounts import LocalAccounts, local_accounts
    from pyade.core.skip_keys import SkipKeys
    from pyade.core.software_update import (
        BetaProgram,
        Latest,
        SoftwareUpdatePolicy,
        UpdateDecision,
        UpdateVerdict,
        decide_update,
    )
    from pyade.core.token import Portal, Token, TokenHealth, TokenStatus
    from pyade.core.update_catalogue import Update, UpdateCatalogue
    from pyade.core.user import NameVariables, User
    from pyade.core.versions import MacOSVersion
else:
    __getattr__, __dir__ = when_asked(
        __name__,
        {
            "pyade.core.accounts": "AdministratorAccount PrimaryAccount",
            "pyade.core.activity": (
                "ActivityOutcome ActivityRequest ActivityStatus ActivitySubStatus ActivityType "
                "DeviceOutcome OperationStatus"
            ),
            "pyade.core.affinity": "AffinityConsequences AffinityKind UserAffinity",
            "pyade.core.assignment": "DeviceResults NO_PROFILE Reason",
            "pyade.core.attempt": "Attempt",
            "pyade.core.await_configuration": (
                "AwaitConfigurationFlow AwaitPhase AwaitProgress CommandStatus SetupAction SetupCommand"
            ),
            "pyade.core.device": "Device DeviceFamily DeviceResult OpType ProfileStatus",
            "pyade.core.enrollment": "Enrollment Registration",
            "pyade.core.events": "Event EventKind",
            "pyade.core.existing_macs": "ExistingMac check_existing_mac renew_instructions",
            "pyade.core.identity": (
                "IdentityChoice IdentityKind IdentityPolicy IdentityRefusal KeyType choose_identity "
                "decide_identity"
            ),
            "pyade.core.inventory": "ChangeCounts DeviceRecord SyncPhase SyncState",
            "pyade.core.machine_info": "DeviceSignature MachineInfo",
            "pyade.core.model_claim": "check_model_claim",
            "pyade.core.models": "ChipClass classify_product",
            "pyade.core.plan": "Effect PlanRow ProfilePlan",
            "pyade.core.policy": "Decision SyncAction SyncPolicy Trigger",
            "pyade.core.problems": "ErrorObject Problem Severity",
            "pyade.core.profile": "EnrollmentProfile",
            "pyade.core.profile_diff": "ProfileDiff Reach SettingChange",
            "pyade.core.profile_review": "ProfileReview ReviewRow",
            "pyade.core.rules": "AssignmentPolicy Rule",
            "pyade.core.schedule": "Pace Work",
            "pyade.core.secret": "Secret",
            "pyade.core.setup_accounts": "LocalAccounts local_accounts",
            "pyade.core.skip_keys": "SkipKeys",
            "pyade.core.software_update": (
                "BetaProgram Latest SoftwareUpdatePolicy UpdateDecision UpdateVerdict decide_update"
            ),
            "pyade.core.token": "Portal Token TokenHealth TokenStatus",
            "pyade.core.update_catalogue": "Update UpdateCatalogue",
            "pyade.core.user": "NameVariables User",
            "pyade.core.versions": "MacOSVersion",
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
    "AssignmentPolicy",
    "Attempt",
    "AwaitConfigurationFlow",
    "AwaitPhase",
    "AwaitProgress",
    "BetaProgram",
    "ChangeCounts",
    "ChipClass",
    "CommandStatus",
    "Decision",
    "Device",
    "DeviceFamily",
    "DeviceOutcome",
    "DeviceRecord",
    "DeviceResult",
    "DeviceResults",
    "DeviceSignature",
    "Effect",
    "Enrollment",
    "EnrollmentProfile",
    "ErrorObject",
    "Event",
    "EventKind",
    "ExistingMac",
    "IdentityChoice",
    "IdentityKind",
    "IdentityPolicy",
    "IdentityRefusal",
    "KeyType",
    "Latest",
    "LocalAccounts",
    "MacOSVersion",
    "MachineInfo",
    "NameVariables",
    "OpType",
    "OperationStatus",
    "Pace",
    "PlanRow",
    "Portal",
    "PrimaryAccount",
    "Problem",
    "ProfileDiff",
    "ProfilePlan",
    "ProfileReview",
    "ProfileStatus",
    "Reach",
    "Reason",
    "Registration",
    "ReviewRow",
    "Rule",
    "Secret",
    "SettingChange",
    "SetupAction",
    "SetupCommand",
    "Severity",
    "SkipKeys",
    "SoftwareUpdatePolicy",
    "SyncAction",
    "SyncPhase",
    "SyncPolicy",
    "SyncState",
    "Token",
    "TokenHealth",
    "TokenStatus",
    "Trigger",
    "Update",
    "UpdateCatalogue",
    "UpdateDecision",
    "UpdateVerdict",
    "User",
    "UserAffinity",
    "Work",
    "check_existing_mac",
    "check_model_claim",
    "choose_identity",
    "classify_product",
    "decide_identity",
    "decide_update",
    "local_accounts",
    "renew_instructions",
]
