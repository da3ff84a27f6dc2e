"""The HTTP core that all of Apple's services share: sessions, retries, size limits and deadlines.

A service (``apple.service``, ``business.service``) defines how a session is opened and sent, and what an
error response means. Everything else is here, as flows; ``SyncConnection`` and ``AsyncConnection`` run them.
"""
