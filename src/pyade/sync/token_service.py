"""The life of a server token: create it, renew it, delete it, and know what a person does next.

Source: specification, "Create enrollment program token" and "Renew enrollment program token".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Generic, TypeVar, Unpack

from pyade.apple.client import AsyncClient, Client
from pyade.apple.http.connection import utc_now
from pyade.apple.http.network import Network
from pyade.core.policy import SyncPolicy
from pyade.core.portal_steps import PortalStep, TokenSetup
from pyade.core.token import Portal, Token
from pyade.crypto.keypair import TokenKeypair
from pyade.flow import AsyncRunner, Runner
from pyade.storage.protocol import Store
from pyade.sync.report import SyncReport
from pyade.sync.runners import account_handlers, async_account_handlers, through
from pyade.sync.syncer import AsyncSyncer, Syncer
from pyade.sync.token_flows import (
    accept_flow,
    certificate_flow,
    create_flow,
    delete_flow,
    keypair_flow,
    replace_keypair_flow,
    setup_flow,
    stage_flow,
)
from pyade.sync.token_steps import AcceptedToken, RunSync, StagedToken, TokenRemoval

ClientT = TypeVar("ClientT", bound=Client | AsyncClient)


class _Tokens(Generic[ClientT]):
    def __init__(
        self,
        store: Store,
        client_for: Callable[[Token], ClientT],
        *,
        policy: SyncPolicy = SyncPolicy(),  # noqa: B008 - frozen
        clock: Callable[[], datetime] = utc_now,
        **network: Unpack[Network],
    ) -> None:
        """Take what the synchronous and the asynchronous class have in common.

        Args:
            store: Where the tokens are.
            client_for: Returns a client for the token that it is given, which may not be stored yet; for the
                asynchronous class an ``AsyncClient``.
            policy: The limits of the first sync.
            clock: Returns the time, UTC.
            network: ``proxy``, ``verify``, ``limits`` and ``http2`` as for ``Client``, handed to
                ``client_for``.
        """
        self._store = store
        self._client_for: Callable[[Token], ClientT] = through(client_for, network)
        self._policy = policy
        self._clock = clock


class TokenService(_Tokens[Client]):
    """Makes, renews and deletes server tokens.

    Key pairs and what is under way are kept in the store, encrypted if it has keys, so that another process
    can go on.
    """

    def create(
        self,
        name: str,
        *,
        consent: bool,
        portal: Portal = Portal.BUSINESS,
        scope_tags: Iterable[str] = (),
    ) -> TokenSetup:
        """Begin a new token: make its key pair. ``next_step`` says what the person does then.

        Args:
            name: The caller's own name for it.
            consent: True if somebody agreed to send user and device information to Apple.
            portal: Business or School.
            scope_tags: Who may see and manage it.

        Raises:
            TokenError: Nobody agreed.
            DuplicateTokenError: A token of that name is stored already.
            StoreError: The store failed.

        Source: specification, "Create enrollment program token", step 1.
        """
        flow = create_flow(name, consent=consent, portal=portal, scope_tags=frozenset(scope_tags))
        return self._runner.run(flow)

    def certificate(self, name: str) -> bytes:
        """Return the certificate to upload in the portal, as PEM; the same one each time.

        Raises:
            UnknownTokenError: Nothing of that name was begun.
            StoreError: The store failed.
        """
        return self._runner.run(certificate_flow(name))

    def keypair(self, name: str) -> TokenKeypair:
        """Return the key pair with which the stored token was read; ``managed_apple_account_jwt`` wants it.

        Raises:
            UnknownTokenError: It is not kept here.
            StoreError: The store failed.
        """
        return self._runner.run(keypair_flow(name))

    def next_step(self, name: str) -> PortalStep:
        """Return what the person does next, for a token that is being made or for a stored one's renewal.

        Raises:
            UnknownTokenError: No token of that name is stored, and none was begun.
            StoreError: The store failed.
        """
        return self._runner.run(setup_flow(name)).next_step

    def stage(self, name: str, p7m: bytes, *, apple_id: str) -> StagedToken:
        """Read the file of a new or renewed token and ask Apple about it; nothing is stored.

        Args:
            name: The token.
            p7m: The file that was downloaded in the portal.
            apple_id: The Apple ID with which it was downloaded.

        Raises:
            TokenError: The file cannot be read with the key pair of this token.
            AppleError: Apple refused the token, or wants its new terms signed first.
            TransportError: Apple was not reached.
            UnknownTokenError: No token of that name is stored, and none was begun.

        Source: specification, "Create enrollment program token", steps 4 and 5; "Renew enrollment program
        token".
        """
        return self._runner.run(stage_flow(name, p7m, apple_id))

    def accept(
        self, staged: StagedToken, *, scope_tags: Iterable[str] | None = None, force: bool = False
    ) -> AcceptedToken:
        """Store a staged token and sync at once; cursor, devices and profiles of the one before stay.

        Args:
            staged: From ``stage``.
            scope_tags: None keeps those that there are.
            force: Store it although one of its problems is an error.

        Raises:
            TokenError: One of its problems is an error; nothing was stored.
            DuplicateTokenError: Somebody stored another token of that name meanwhile.
            UnknownTokenError: Somebody deleted the token that it renews meanwhile.
            StoreError: The store failed; accept it again.
        """
        tags = None if scope_tags is None else frozenset(scope_tags)
        return self._runner.run(accept_flow(staged, tags, force=force))

    def upload(self, name: str, p7m: bytes, *, apple_id: str) -> AcceptedToken:
        """Do ``stage`` and ``accept`` in one; see there."""
        return self.accept(self.stage(name, p7m, apple_id=apple_id))

    def replace_keypair(self, name: str) -> bytes:
        """Make a new key pair for a stored token, and return the certificate to upload in the portal.

        The old one is kept, and still reads files, until a token came that was encrypted for the new one.
        Until then the same certificate is returned again.

        Raises:
            UnknownTokenError: No token of that name is stored.
            StoreError: The store failed.
        """
        return self._runner.run(replace_keypair_flow(name))

    def delete(self, name: str, *, cascade: bool = False) -> TokenRemoval:
        """Delete a token here; its MDM server and the assignments stay in the portal.

        Also takes back a token that was begun and never uploaded.

        Args:
            name: The token.
            cascade: Delete its devices and profiles with it.

        Raises:
            PolicyError: It has devices or profiles, and *cascade* is False; nothing was deleted.
            UnknownTokenError: No token of that name is stored, and none was begun.
            StoreError: The store failed.
        """
        return self._runner.run(delete_flow(name, cascade=cascade))

    @property
    def _runner(self) -> Runner:
        handlers = {**account_handlers(self._client_for), RunSync: self._sync}
        return Runner(handlers, store=self._store, clock=self._clock)

    def _sync(self, step: RunSync) -> SyncReport:
        with self._client_for(step.token) as client:
            return Syncer(client, self._store, policy=self._policy, clock=self._clock).sync()


class AsyncTokenService(_Tokens[AsyncClient]):
    """Does what ``TokenService`` does with ``AsyncClient``; the store works in worker threads."""

    async def create(
        self,
        name: str,
        *,
        consent: bool,
        portal: Portal = Portal.BUSINESS,
        scope_tags: Iterable[str] = (),
    ) -> TokenSetup:
        """Begin a new token; see ``TokenService.create``."""
        flow = create_flow(name, consent=consent, portal=portal, scope_tags=frozenset(scope_tags))
        return await self._runner.run(flow)

    async def certificate(self, name: str) -> bytes:
        """Return the certificate to upload in the portal; see ``TokenService.certificate``."""
        return await self._runner.run(certificate_flow(name))

    async def keypair(self, name: str) -> TokenKeypair:
        """Return the key pair with which the stored token was read; see ``TokenService.keypair``."""
        return await self._runner.run(keypair_flow(name))

    async def next_step(self, name: str) -> PortalStep:
        """Return what the person does next; see ``TokenService.next_step``."""
        return (await self._runner.run(setup_flow(name))).next_step

    async def stage(self, name: str, p7m: bytes, *, apple_id: str) -> StagedToken:
        """Read the file of a token and ask Apple about it; see ``TokenService.stage``."""
        return await self._runner.run(stage_flow(name, p7m, apple_id))

    async def accept(
        self, staged: StagedToken, *, scope_tags: Iterable[str] | None = None, force: bool = False
    ) -> AcceptedToken:
        """Store a staged token and sync at once; see ``TokenService.accept``."""
        tags = None if scope_tags is None else frozenset(scope_tags)
        return await self._runner.run(accept_flow(staged, tags, force=force))

    async def upload(self, name: str, p7m: bytes, *, apple_id: str) -> AcceptedToken:
        """Do ``stage`` and ``accept`` in one; see there."""
        return await self.accept(await self.stage(name, p7m, apple_id=apple_id))

    async def replace_keypair(self, name: str) -> bytes:
        """Make a new key pair for a stored token; see ``TokenService.replace_keypair``."""
        return await self._runner.run(replace_keypair_flow(name))

    async def delete(self, name: str, *, cascade: bool = False) -> TokenRemoval:
        """Delete a token here; see ``TokenService.delete``."""
        return await self._runner.run(delete_flow(name, cascade=cascade))

    @property
    def _runner(self) -> AsyncRunner:
        handlers = {**async_account_handlers(self._client_for), RunSync: self._sync}
        return AsyncRunner(handlers, store=self._store, clock=self._clock)

    async def _sync(self, step: RunSync) -> SyncReport:
        async with self._client_for(step.token) as client:
            return await AsyncSyncer(client, self._store, policy=self._policy, clock=self._clock).sync()
