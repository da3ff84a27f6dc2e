"""Keep a store in step with Apple, and give Macs their profiles: flows with two drivers."""

from pyade.sync.assign_report import AssignReport
from pyade.sync.assigner import Assigner, AsyncAssigner, devices_at_risk
from pyade.sync.plan import AssignmentPlan
from pyade.sync.report import Ending, SyncReport
from pyade.sync.steps import Progress, ProgressPhase
from pyade.sync.syncer import AsyncSyncer, Syncer

__all__ = [
    "AssignReport",
    "Assigner",
    "AssignmentPlan",
    "AsyncAssigner",
    "AsyncSyncer",
    "Ending",
    "Progress",
    "ProgressPhase",
    "SyncReport",
    "Syncer",
    "devices_at_risk",
]
