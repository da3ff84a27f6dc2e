"""Keep a store in step with Apple, and act on single devices; synchronous and asynchronous."""

from typing import TYPE_CHECKING

from pyade.loading import lazy_names

if TYPE_CHECKING:
    from pyade.sync.actions import (
        AsyncDeviceActions,
        Deletion,
        DeletionReport,
        DeviceActions,
        bypass_code,
        bypass_code_name,
        forget_bypass_code,
    )
    from pyade.sync.details import RefreshReport
    from pyade.sync.report import SyncOutcome, SyncReport
    from pyade.sync.runners import AsyncCaller, Caller, Progress, ProgressPhase
    from pyade.sync.subscription import EventSource, Subscription
    from pyade.sync.suspension import send_reminders
    from pyade.sync.syncer import AsyncSyncer, Syncer
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "pyade.sync.actions": (
                "AsyncDeviceActions Deletion DeletionReport DeviceActions bypass_code bypass_code_name "
                "forget_bypass_code"
            ),
            "pyade.sync.details": "RefreshReport",
            "pyade.sync.report": "SyncOutcome SyncReport",
            "pyade.sync.runners": "AsyncCaller Caller Progress ProgressPhase",
            "pyade.sync.subscription": "EventSource Subscription",
            "pyade.sync.suspension": "send_reminders",
            "pyade.sync.syncer": "AsyncSyncer Syncer",
        },
    )

__all__ = [
    "AsyncCaller",
    "AsyncDeviceActions",
    "AsyncSyncer",
    "Caller",
    "Deletion",
    "DeletionReport",
    "DeviceActions",
    "EventSource",
    "Progress",
    "ProgressPhase",
    "RefreshReport",
    "Subscription",
    "SyncOutcome",
    "SyncReport",
    "Syncer",
    "bypass_code",
    "bypass_code_name",
    "forget_bypass_code",
    "send_reminders",
]
