"""Create, adopt, renew and delete server tokens, with the steps that an administrator takes in the portal.

Source: specification, "Create enrollment program token" and "Renew enrollment program token".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, Generic, TypeVar, Unpack

from pyade.apple.client import AsyncClient, Client
from pyade.apple.http.network import Network
from pyade.core.arguments import check_arguments
from pyade.core.fleet.sync_policy import SyncPolicy
from pyade.core.token import Portal, Token
from pyade.crypto.keypair import TokenKeypair
from pyade.flow import AsyncRunner, Runner, clock_of
from pyade.operations.portal_steps import PortalStep, TokenSetup
from pyade.operations.token_flows import (
    accept_flow,
    add_flow,
    certificate_flow,
    create_flow,
    delete_flow,
    keypair_flow,
    replace_keypair_flow,
    setup_flow,
    stage_flow,
    step_done_flow,
    under_way_flow,
)
from pyade.operations.token_steps import (
    AcceptedToken,
    RunSync,
    StagedToken,
    TokenRemoval,
    account_handlers,
    account_handlers_async,
)
from pyade.storage.protocol import OnDamaged, Store
from pyade.sync.report import SyncReport
from pyade.sync.runners import client_of, client_of_async, with_network
from pyade.sync.syncer import AsyncSyncer, Syncer

ClientT = TypeVar("ClientT", bound=Client | AsyncClient)

_CHECKED_LATER: Final = ("name", "consent", "portal", "scope_tags", "number")
"""Arguments that are checked in the flows, with errors that say what is allowed."""


@check_arguments
class _BaseTokenService(Generic[ClientT]):
    def __init__(
        self,
        store: Store,
        client_for: Callable[[Token], ClientT],
        *,
        policy: SyncPolicy = SyncPolicy(),  # noqa: B008 - frozen
        clock: Callable[[], datetime] | None = None,
        **network: Unpack[Network],
    ) -> None:
        """Configure the service.

        Args:
            store: The store with the tokens.
            client_for: Returns a client for a token, which may not be stored yet; for ``AsyncTokenService``
                an ``AsyncClient``.
            policy: The limits of the first sync.
            clock: Returns the time, UTC; None for the clock of *store*.
            network: ``proxy``, ``verify``, ``limits`` and ``http2`` as for ``Client``, handed to
                ``client_for``.
        """
        self._store = store
        self._client_for: Callable[[Token], ClientT] = with_network(client_for, network)
        self._policy = policy
        self._clock: Callable[[], datetime] = clock_of(clock, store)


@check_arguments(but=_CHECKED_LATER)
class TokenService(_BaseTokenService[Client]):
    """Makes, renews and deletes server tokens.

    Key pairs and unfinished tokens are kept in the store, encrypted if it has keys, so another process can
    continue.
    """

    def create(
        self,
        name: str,
        *,
        consent: bool,
        portal: Portal | None = None,
        scope_tags: Iterable[str] | None = None,
    ) -> TokenSetup:
        """Begin a new token, or continue an unfinished one, which keeps its steps and its key pair.

        ``next_step`` returns the next step of the administrator.

        Args:
            name: The caller's own name for it, 1 to 64 characters that are at most 64 bytes in UTF-8; it
                becomes the common name of the certificate.
            consent: Must be ``True``: an administrator agreed to send user and device information to Apple.
            portal: Business or School; None keeps the earlier value, at first Business.
            scope_tags: The tags that decide who may see and manage it; None keeps the earlier ones, at first
                none.

        Raises:
            TokenError: There is no consent, or a value has the wrong type.
            SigningError: *name* cannot be the common name of a certificate.
            DuplicateTokenError: A token of that name is in use.
            StoreError: The store failed.

        Source: specification, "Create enrollment program token", step 1.
        """
        return self._runner.run(create_flow(name, consent=consent, portal=portal, scope_tags=scope_tags))

    def add(self, token: Token, keypair: TokenKeypair, *, force: bool = False) -> AcceptedToken:
        """Adopt a token that was made elsewhere, with its key pair: verify it, store both, and sync.

        For a token of ``Token.from_p7m``, stored or not; it renews a stored token of the same name. If Apple
        no longer accepts a stored token, its key pair is stored nevertheless, so that the token can be
        renewed.

        Args:
            token: Its scope tags, if it has any, replace those of the stored one.
            keypair: The one that decrypted the file. pyade cannot verify that, and uses it for the next file.
            force: Store it although a problem is an error, as in ``accept``, or although another key pair is
                stored for the same token.

        Raises:
            TokenError: A problem is an error; nothing was stored.
            AppleError: Apple refused the token, or requires that new terms are signed first.
            TransportError: Apple was not reached.
            StoreError: The store failed; add it again.
        """
        return self._runner.run(add_flow(token, keypair, force=force))

    def under_way(self, *, damaged: OnDamaged | None = None) -> tuple[TokenSetup, ...]:
        """Return the unfinished tokens, sorted by name, whichever process began them.

        These are new ones until their first sync is done, and stored ones whose new key pair has not
        decrypted a file yet.

        Args:
            damaged: Called for each token that cannot be read, which is then left out.

        Raises:
            DamagedRecordError: A token cannot be read, and *damaged* is None.
            StoreError: The store failed.
        """
        return self._runner.run(under_way_flow(damaged))

    def step_done(self, name: str, number: int, *, apple_id: str | None = None) -> PortalStep:
        """Store that step *number* of a new token and those before are done; return the next step.

        Args:
            name: The token.
            number: 2, 3 or 4; ``certificate`` and ``upload`` do the first and the last.
            apple_id: For step 4: the Apple ID that downloaded the token; ``upload`` then uses it.

        Raises:
            TokenError: There is no such step, or the Apple ID is missing.
            PolicyError: ``certificate`` was not called yet, or the token is stored already.
            UnknownTokenError: There is no unfinished token of that name.
            StoreError: The store failed.

        Source: specification, "Create enrollment program token", steps 2, 3 and 4.
        """
        return self._runner.run(step_done_flow(name, number, apple_id))

    def certificate(self, name: str) -> bytes:
        """Return the certificate to upload in the portal, as PEM; the same one each time.

        Raises:
            UnknownTokenError: There is no unfinished token of that name.
            StoreError: The store failed.
        """
        return self._runner.run(certificate_flow(name))

    def keypair(self, name: str) -> TokenKeypair:
        """Return the key pair that decrypts the files of a token; ``managed_apple_account_jwt`` needs it.

        Raises:
            UnknownTokenError: It is not stored here.
            StoreError: The store failed.
        """
        return self._runner.run(keypair_flow(name))

    def next_step(self, name: str) -> PortalStep:
        """Return the next step of the administrator, for a new token or for the renewal of a stored one.

        The last step of a new token remains until its first sync is done.

        Raises:
            UnknownTokenError: No token of that name is stored, and there is no unfinished one.
            StoreError: The store failed.
        """
        return self._runner.run(setup_flow(name)).next_step

    def stage(self, name: str, p7m: bytes, *, apple_id: str | None = None) -> StagedToken:
        """Decrypt the file of a new or renewed token and ask Apple about it; stores nothing.

        Args:
            name: The token.
            p7m: The file that was downloaded in the portal.
            apple_id: The Apple ID with which it was downloaded; None for the one that step 4 of a new token
                saved.

        Raises:
            TokenError: The key pair of this token cannot decrypt the file, or the Apple ID is missing.
            AppleError: Apple refused the token, or requires that new terms are signed first.
            TransportError: Apple was not reached.
            UnknownTokenError: No token of that name is stored, and there is no unfinished one.

        Source: specification, "Create enrollment program token", steps 4 and 5; "Renew enrollment program
        token".
        """
        return self._runner.run(stage_flow(name, p7m, apple_id))

    def accept(
        self, staged: StagedToken, *, scope_tags: Iterable[str] | None = None, force: bool = False
    ) -> AcceptedToken:
        """Store a staged token and sync; a renewed token keeps its cursor, devices and profiles.

        Args:
            staged: From ``stage``.
            scope_tags: The new tags; None keeps the existing ones.
            force: Store it although one of its problems is an error.

        Raises:
            TokenError: One of its problems is an error; nothing was stored.
            DuplicateTokenError: Another token of that name was stored meanwhile.
            UnknownTokenError: The token that it renews was deleted meanwhile.
            StoreError: The store failed; accept it again.
        """
        return self._runner.run(accept_flow(staged, scope_tags, force=force))

    def upload(
        self,
        name: str,
        p7m: bytes,
        *,
        apple_id: str | None = None,
        scope_tags: Iterable[str] | None = None,
        force: bool = False,
    ) -> AcceptedToken:
        """Call ``stage`` and then ``accept``; see there."""
        staged = self.stage(name, p7m, apple_id=apple_id)
        return self.accept(staged, scope_tags=scope_tags, force=force)

    def replace_keypair(self, name: str) -> bytes:
        """Make a new key pair for a stored token, and return the certificate to upload in the portal.

        The old one is kept, and still decrypts files, until a token is accepted that was encrypted for the
        new one. Until then, repeated calls return the same certificate.

        Raises:
            UnknownTokenError: No token of that name is stored.
            StoreError: The store failed.
        """
        return self._runner.run(replace_keypair_flow(name))

    def delete(self, name: str, *, cascade: bool = False) -> TokenRemoval:
        """Delete a token here; its MDM server and the assignments stay in the portal.

        Also deletes a token that was begun and never uploaded.

        Args:
            name: The token.
            cascade: Delete its devices and profiles with it.

        Raises:
            PolicyError: It has devices or profiles, and *cascade* is False; nothing was deleted.
            UnknownTokenError: No token of that name is stored, and there is no unfinished one.
            StoreError: The store failed.
        """
        return self._runner.run(delete_flow(name, cascade=cascade))

    @property
    def _runner(self) -> Runner:
        handlers = {**account_handlers(self._client_for), RunSync: self._sync}
        return Runner(handlers, store=self._store, clock=self._clock)

    def _sync(self, step: RunSync) -> SyncReport:
        with client_of(self._client_for, step.token) as client:
            return Syncer(client, self._store, policy=self._policy, clock=self._clock).sync()


@check_arguments(but=_CHECKED_LATER)
class AsyncTokenService(_BaseTokenService[AsyncClient]):
    """Does what ``TokenService`` does with ``AsyncClient``; the store works in worker threads."""

    async def create(
        self,
        name: str,
        *,
        consent: bool,
        portal: Portal | None = None,
        scope_tags: Iterable[str] | None = None,
    ) -> TokenSetup:
        """Begin or continue a new token; see ``TokenService.create``."""
        flow = create_flow(name, consent=consent, portal=portal, scope_tags=scope_tags)
        return await self._runner.run(flow)

    async def add(self, token: Token, keypair: TokenKeypair, *, force: bool = False) -> AcceptedToken:
        """Adopt a token that was made elsewhere, with its key pair; see ``TokenService.add``."""
        return await self._runner.run(add_flow(token, keypair, force=force))

    async def under_way(self, *, damaged: OnDamaged | None = None) -> tuple[TokenSetup, ...]:
        """Return the unfinished tokens; see ``TokenService.under_way``."""
        return await self._runner.run(under_way_flow(damaged))

    async def step_done(self, name: str, number: int, *, apple_id: str | None = None) -> PortalStep:
        """Store that a step is done; see ``TokenService.step_done``."""
        return await self._runner.run(step_done_flow(name, number, apple_id))

    async def certificate(self, name: str) -> bytes:
        """Return the certificate to upload in the portal; see ``TokenService.certificate``."""
        return await self._runner.run(certificate_flow(name))

    async def keypair(self, name: str) -> TokenKeypair:
        """Return the key pair that decrypts the files of a token; see ``TokenService.keypair``."""
        return await self._runner.run(keypair_flow(name))

    async def next_step(self, name: str) -> PortalStep:
        """Return the next step of the administrator; see ``TokenService.next_step``."""
        return (await self._runner.run(setup_flow(name))).next_step

    async def stage(self, name: str, p7m: bytes, *, apple_id: str | None = None) -> StagedToken:
        """Decrypt the file of a token and ask Apple about it; see ``TokenService.stage``."""
        return await self._runner.run(stage_flow(name, p7m, apple_id))

    async def accept(
        self, staged: StagedToken, *, scope_tags: Iterable[str] | None = None, force: bool = False
    ) -> AcceptedToken:
        """Store a staged token and sync; see ``TokenService.accept``."""
        return await self._runner.run(accept_flow(staged, scope_tags, force=force))

    async def upload(
        self,
        name: str,
        p7m: bytes,
        *,
        apple_id: str | None = None,
        scope_tags: Iterable[str] | None = None,
        force: bool = False,
    ) -> AcceptedToken:
        """Call ``stage`` and then ``accept``; see there."""
        staged = await self.stage(name, p7m, apple_id=apple_id)
        return await self.accept(staged, scope_tags=scope_tags, force=force)

    async def replace_keypair(self, name: str) -> bytes:
        """Make a new key pair for a stored token; see ``TokenService.replace_keypair``."""
        return await self._runner.run(replace_keypair_flow(name))

    async def delete(self, name: str, *, cascade: bool = False) -> TokenRemoval:
        """Delete a token here; see ``TokenService.delete``."""
        return await self._runner.run(delete_flow(name, cascade=cascade))

    @property
    def _runner(self) -> AsyncRunner:
        handlers = {**account_handlers_async(self._client_for), RunSync: self._sync}
        return AsyncRunner(handlers, store=self._store, clock=self._clock)

    async def _sync(self, step: RunSync) -> SyncReport:
        async with client_of_async(self._client_for, step.token) as client:
            return await AsyncSyncer(client, self._store, policy=self._policy, clock=self._clock).sync()
