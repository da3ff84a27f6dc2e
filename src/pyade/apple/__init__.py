"""Apple's web services: the clients, the endpoints as data, and what they answer."""

from __future__ import annotations

from pyade.apple.auth import SessionCache, TokenProvider
from pyade.apple.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "SessionCache", "TokenProvider"]
