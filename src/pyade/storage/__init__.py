"""Where pyade keeps tokens, devices, sync state and profiles.

``MemoryStore`` forgets, ``SQLiteStore`` keeps everything in one file. Another backend is any class that
follows ``Store`` and passes ``pyade.testing.contract.StoreContract``.
"""

from pyade.storage.memory import MemoryStore
from pyade.storage.protocol import DefinedProfile, Store
from pyade.storage.sqlite import SQLiteStore

__all__ = ["DefinedProfile", "MemoryStore", "SQLiteStore", "Store"]
