"""How pyade talks to Apple's services: sessions, retries, bounds and deadlines, once for all of them.

A service (``apple.service``, ``business.service``) says what is its own: how a session is opened and carried,
what a refusal means. Everything else is here, as flows; two connections perform their steps.
"""
