"""Where pyade keeps tokens, devices, sync state and profiles.

``MemoryStore`` forgets, ``SQLiteStore`` keeps everything in one file, ``PostgresStore`` (extra ``postgres``)
in a database that many nodes share. All three are ``SQLStore``, which holds the rules, over a ``Database``;
another backend is another ``Database``, and passes ``pyade.testing.contract.StoreContract``.
"""

from typing import TYPE_CHECKING

from pyade.core.attempt import Attempt
from pyade.core.device_groups import DeviceGroup
from pyade.core.enrollment import OneTime, OneTimeKind
from pyade.core.events import Event, EventBatch, EventGroup, EventKind
from pyade.core.inventory import ChangeCounts, DeviceRecord, Source, SyncState
from pyade.core.lease import Held, Lease
from pyade.core.profile import DefinedProfile
from pyade.crypto.secret_box import SecretBox
from pyade.storage.database import Database, Session, Table, Value, Words, check_texts, translated
from pyade.storage.protocol import EnrollmentStore, Store
from pyade.storage.sql import SQLStore
from pyade.storage.sqlite import MemoryStore, SQLiteStore

if TYPE_CHECKING:
    from pyade.storage.postgres import PostgresStore as PostgresStore

__all__ = [
    "Attempt",
    "ChangeCounts",
    "Database",
    "DefinedProfile",
    "DeviceGroup",
    "DeviceRecord",
    "EnrollmentStore",
    "Event",
    "EventBatch",
    "EventGroup",
    "EventKind",
    "Held",
    "Lease",
    "MemoryStore",
    "OneTime",
    "OneTimeKind",
    "SQLStore",
    "SQLiteStore",
    "SecretBox",
    "Session",
    "Source",
    "Store",
    "SyncState",
    "Table",
    "Value",
    "Words",
    "check_texts",
    "translated",
]


def __getattr__(name: str) -> object:
    # Only who asks for PostgresStore needs its dependencies.
    if name == "PostgresStore":
        from pyade.storage.postgres import PostgresStore  # noqa: PLC0415

        return PostgresStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
