"""Keep a store in step with Apple, give Macs their profiles, lock devices: flows with two runners."""

from typing import TYPE_CHECKING

from pyade.loading import when_asked

if TYPE_CHECKING:
    from pyade.sync.actions import AsyncDeviceActions, DeviceActions
    from pyade.sync.activation_lock import bypass_code, bypass_code_name, forget_bypass_code
    from pyade.sync.assign_report import AssignReport
    from pyade.sync.assigner import Assigner, AsyncAssigner
    from pyade.sync.board import Stage, TokenStanding
    from pyade.sync.checkup import Diagnosis
    from pyade.sync.choices import Choice
    from pyade.sync.deletion import Deletion, DeletionReport
    from pyade.sync.diagnosis import async_doctor, doctor
    from pyade.sync.migration import migration_deadlines
    from pyade.sync.parking import send_reminders
    from pyade.sync.plan import AssignmentPlan, PlannedDevice, PlannedGroup
    from pyade.sync.refresh import RefreshReport
    from pyade.sync.report import Ending, SyncReport
    from pyade.sync.risk import devices_at_risk, risks
    from pyade.sync.scheduler import AsyncScheduler, Scheduler
    from pyade.sync.steps import Progress, ProgressPhase
    from pyade.sync.subscription import Subscription
    from pyade.sync.syncer import AsyncSyncer, Syncer
    from pyade.sync.token_overview import TokenOverview, overview, overview_html
    from pyade.sync.token_service import AsyncTokenService, TokenService
    from pyade.sync.token_steps import AcceptedToken, StagedToken, TokenRemoval
    from pyade.sync.workers import assign_token, due_tokens, register, sync_token
else:
    __getattr__, __dir__ = when_asked(
        __name__,
        {
            "pyade.sync.actions": "AsyncDeviceActions DeviceActions",
            "pyade.sync.activation_lock": "bypass_code bypass_code_name forget_bypass_code",
            "pyade.sync.assign_report": "AssignReport",
            "pyade.sync.assigner": "Assigner AsyncAssigner",
            "pyade.sync.board": "Stage TokenStanding",
            "pyade.sync.checkup": "Diagnosis",
            "pyade.sync.choices": "Choice",
            "pyade.sync.deletion": "Deletion DeletionReport",
            "pyade.sync.diagnosis": "async_doctor doctor",
            "pyade.sync.migration": "migration_deadlines",
            "pyade.sync.parking": "send_reminders",
            "pyade.sync.plan": "AssignmentPlan PlannedDevice PlannedGroup",
            "pyade.sync.refresh": "RefreshReport",
            "pyade.sync.report": "Ending SyncReport",
            "pyade.sync.risk": "devices_at_risk risks",
            "pyade.sync.scheduler": "AsyncScheduler Scheduler",
            "pyade.sync.steps": "Progress ProgressPhase",
            "pyade.sync.subscription": "Subscription",
            "pyade.sync.syncer": "AsyncSyncer Syncer",
            "pyade.sync.token_overview": "TokenOverview overview overview_html",
            "pyade.sync.token_service": "AsyncTokenService TokenService",
            "pyade.sync.token_steps": "AcceptedToken StagedToken TokenRemoval",
            "pyade.sync.workers": "assign_token due_tokens register sync_token",
        },
    )

__all__ = [
    "AcceptedToken",
    "AssignReport",
    "Assigner",
    "AssignmentPlan",
    "AsyncAssigner",
    "AsyncDeviceActions",
    "AsyncScheduler",
    "AsyncSyncer",
    "AsyncTokenService",
    "Choice",
    "Deletion",
    "DeletionReport",
    "DeviceActions",
    "Diagnosis",
    "Ending",
    "PlannedDevice",
    "PlannedGroup",
    "Progress",
    "ProgressPhase",
    "RefreshReport",
    "Scheduler",
    "Stage",
    "StagedToken",
    "Subscription",
    "SyncReport",
    "Syncer",
    "TokenOverview",
    "TokenRemoval",
    "TokenService",
    "TokenStanding",
    "assign_token",
    "async_doctor",
    "bypass_code",
    "bypass_code_name",
    "devices_at_risk",
    "doctor",
    "due_tokens",
    "forget_bypass_code",
    "migration_deadlines",
    "overview",
    "overview_html",
    "register",
    "risks",
    "send_reminders",
    "sync_token",
]
