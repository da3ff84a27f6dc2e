"""Keep a store in step with Apple, give Macs their profiles, lock devices: flows with two drivers."""

from pyade.sync.actions import AsyncDeviceActions, DeviceActions
from pyade.sync.activation_lock import bypass_code, bypass_code_name, forget_bypass_code
from pyade.sync.assign_report import AssignReport
from pyade.sync.assigner import Assigner, AsyncAssigner, devices_at_risk
from pyade.sync.board import Stage, TokenStanding
from pyade.sync.choices import Choice
from pyade.sync.migration import migration_deadlines
from pyade.sync.parking import send_reminders
from pyade.sync.plan import AssignmentPlan, PlannedDevice, PlannedGroup
from pyade.sync.refresh import RefreshReport
from pyade.sync.report import Ending, SyncReport
from pyade.sync.scheduler import AsyncScheduler, Scheduler
from pyade.sync.steps import Progress, ProgressPhase
from pyade.sync.subscription import Subscription
from pyade.sync.syncer import AsyncSyncer, Syncer
from pyade.sync.workers import assign_token, due_tokens, register, sync_token

__all__ = [
    "AssignReport",
    "Assigner",
    "AssignmentPlan",
    "AsyncAssigner",
    "AsyncDeviceActions",
    "AsyncScheduler",
    "AsyncSyncer",
    "Choice",
    "DeviceActions",
    "Ending",
    "PlannedDevice",
    "PlannedGroup",
    "Progress",
    "ProgressPhase",
    "RefreshReport",
    "Scheduler",
    "Stage",
    "Subscription",
    "SyncReport",
    "Syncer",
    "TokenStanding",
    "assign_token",
    "bypass_code",
    "bypass_code_name",
    "devices_at_risk",
    "due_tokens",
    "forget_bypass_code",
    "migration_deadlines",
    "register",
    "send_reminders",
    "sync_token",
]
