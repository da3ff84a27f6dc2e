"""Manage many tokens: their lifecycle, schedulers, workers, health checks and overview."""

from typing import TYPE_CHECKING

from pyade.loading import lazy_names

if TYPE_CHECKING:
    from pyade.operations.device_tables import DeviceTable, device_table
    from pyade.operations.due_queue import Stage, TokenState
    from pyade.operations.fleet_states import FleetDay, FleetHistory, fleet_history
    from pyade.operations.health import HealthReport, doctor, doctor_async
    from pyade.operations.portal_steps import PortalStep, TokenSetup
    from pyade.operations.scheduler import AsyncRunsAssignments, AsyncScheduler, RunsAssignments, Scheduler
    from pyade.operations.sync_timeline import Timeline, TimelineDay, TimelineEntry, timeline
    from pyade.operations.token_overview import TokenOverview, migration_deadlines, overview, overview_html
    from pyade.operations.token_service import AsyncTokenService, TokenService
    from pyade.operations.token_steps import AcceptedToken, StagedToken, TokenRemoval
    from pyade.operations.workers import assign_token, due_tokens, register_tasks, sync_token
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "pyade.operations.device_tables": "DeviceTable device_table",
            "pyade.operations.due_queue": "Stage TokenState",
            "pyade.operations.fleet_states": "FleetDay FleetHistory fleet_history",
            "pyade.operations.health": "HealthReport doctor doctor_async",
            "pyade.operations.portal_steps": "PortalStep TokenSetup",
            "pyade.operations.scheduler": "AsyncRunsAssignments AsyncScheduler RunsAssignments Scheduler",
            "pyade.operations.sync_timeline": "Timeline TimelineDay TimelineEntry timeline",
            "pyade.operations.token_overview": "TokenOverview migration_deadlines overview overview_html",
            "pyade.operations.token_service": "AsyncTokenService TokenService",
            "pyade.operations.token_steps": "AcceptedToken StagedToken TokenRemoval",
            "pyade.operations.workers": "assign_token due_tokens register_tasks sync_token",
        },
    )

__all__ = [
    "AcceptedToken",
    "AsyncRunsAssignments",
    "AsyncScheduler",
    "AsyncTokenService",
    "DeviceTable",
    "FleetDay",
    "FleetHistory",
    "HealthReport",
    "PortalStep",
    "RunsAssignments",
    "Scheduler",
    "Stage",
    "StagedToken",
    "Timeline",
    "TimelineDay",
    "TimelineEntry",
    "TokenOverview",
    "TokenRemoval",
    "TokenService",
    "TokenSetup",
    "TokenState",
    "assign_token",
    "device_table",
    "doctor",
    "doctor_async",
    "due_tokens",
    "fleet_history",
    "migration_deadlines",
    "overview",
    "overview_html",
    "register_tasks",
    "sync_token",
    "timeline",
]
