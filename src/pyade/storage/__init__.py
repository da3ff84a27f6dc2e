"""Stores for tokens, devices, sync state and profiles.

``MemoryStore`` keeps everything until it is closed, ``SQLiteStore`` in one file, ``PostgresStore`` (extra
``postgres``) in a database that many nodes share. All three are ``SQLStore``, which has the logic, over a
``Database``. Another backend implements ``Database`` and passes ``pyade.testing.contract.StoreContract``.
"""

from typing import TYPE_CHECKING

from pyade.loading import lazy_names

if TYPE_CHECKING:
    from pyade.core.fleet.enrollment import OneTime, OneTimeKind
    from pyade.core.fleet.events import Event, EventBatch, EventGroup, EventKind
    from pyade.core.fleet.groups import DeviceGroup
    from pyade.core.fleet.lease import Lease, LeaseHolder
    from pyade.core.fleet.outcomes import Attempt
    from pyade.core.fleet.records import ChangeCounts, DeviceRecord, Source, SyncState
    from pyade.core.profile.profile import DefinedProfile
    from pyade.crypto.secret_box import SecretBox
    from pyade.storage.database import Database, Dialect, Session, Table, Value, check_texts, translated
    from pyade.storage.dbapi import DbApiDatabase
    from pyade.storage.postgres import PostgresStore
    from pyade.storage.protocol import EnrollmentStore, Store
    from pyade.storage.sql import SQLStore
    from pyade.storage.sqlite import MemoryStore, SQLiteStore
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "pyade.core.fleet.enrollment": "OneTime OneTimeKind",
            "pyade.core.fleet.events": "Event EventBatch EventGroup EventKind",
            "pyade.core.fleet.groups": "DeviceGroup",
            "pyade.core.fleet.lease": "Lease LeaseHolder",
            "pyade.core.fleet.outcomes": "Attempt",
            "pyade.core.fleet.records": "ChangeCounts DeviceRecord Source SyncState",
            "pyade.core.profile.profile": "DefinedProfile",
            "pyade.crypto.secret_box": "SecretBox",
            "pyade.storage.database": "Database Dialect Session Table Value check_texts translated",
            "pyade.storage.dbapi": "DbApiDatabase",
            "pyade.storage.postgres": "PostgresStore",
            "pyade.storage.protocol": "EnrollmentStore Store",
            "pyade.storage.sql": "SQLStore",
            "pyade.storage.sqlite": "MemoryStore SQLiteStore",
        },
    )

__all__ = [
    "Attempt",
    "ChangeCounts",
    "Database",
    "DbApiDatabase",
    "DefinedProfile",
    "DeviceGroup",
    "DeviceRecord",
    "Dialect",
    "EnrollmentStore",
    "Event",
    "EventBatch",
    "EventGroup",
    "EventKind",
    "Lease",
    "LeaseHolder",
    "MemoryStore",
    "OneTime",
    "OneTimeKind",
    "PostgresStore",
    "SQLStore",
    "SQLiteStore",
    "SecretBox",
    "Session",
    "Source",
    "Store",
    "SyncState",
    "Table",
    "Value",
    "check_texts",
    "translated",
]
