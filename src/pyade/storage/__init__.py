"""Where pyade keeps tokens, devices, sync state and profiles.

``MemoryStore`` forgets, ``SQLiteStore`` keeps everything in one file, ``PostgresStore`` (extra ``postgres``)
in a database that many nodes share. Another backend is any class that follows ``Store`` and passes
``pyade.testing.contract.StoreContract``.
"""

from typing import TYPE_CHECKING

from pyade.storage.enrollments import EnrollmentStore
from pyade.storage.memory import MemoryStore
from pyade.storage.protocol import DefinedProfile, Store
from pyade.storage.secrets import SecretBox
from pyade.storage.sqlite import SQLiteStore

if TYPE_CHECKING:
    from pyade.storage.postgres import PostgresStore as PostgresStore

__all__ = ["DefinedProfile", "EnrollmentStore", "MemoryStore", "SQLiteStore", "SecretBox", "Store"]


def __getattr__(name: str) -> object:
    # Only who asks for PostgresStore needs its dependencies.
    if name == "PostgresStore":
        from pyade.storage.postgres import PostgresStore  # noqa: PLC0415

        return PostgresStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
