"""The life of a server token: create or adopt it, renew it, delete it, and know what a person does next.

Source: specification, "Create enrollment program token" and "Renew enrollment program token".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, Generic, TypeVar, Unpack

from pyade.apple.client import AsyncClient, Client
from pyade.apple.http.connection import utc_now
from pyade.apple.http.network import Network
from pyade.core.arguments import check_arguments
from pyade.core.fleet.sync_policy import SyncPolicy
from pyade.core.token import Portal, Token
from pyade.crypto.keypair import TokenKeypair
from pyade.flow import AsyncRunner, Runner
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
    async_account_handlers,
)
from pyade.storage.protocol import Damaged, Store
from pyade.sync.report import SyncReport
from pyade.sync.runners import async_client_of, client_of, through
from pyade.sync.syncer import AsyncSyncer, Syncer

ClientT = TypeVar("ClientT", bound=Client | AsyncClient)


_SAYS_MORE: Final = ("name", "consent", "portal", "scope_tags", "number")
"""The arguments that are checked inside, with what to do."""


@check_arguments
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


@check_arguments(but=_SAYS_MORE)
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
        portal: Portal | None = None,
        scope_tags: Iterable[str] | None = None,
    ) -> TokenSetup:
        """Begin a new token, or go on with one that is under way, whose steps and key pair stay.

        ``next_step`` says what the person does then.

        Args:
            name: The caller's own name for it, 1 to 64 characters that are at most 64 bytes in UTF-8: its
                certificate has it.
            consent: Only ``True`` says that a person agreed to send user and device information to Apple.
            portal: Business or School; None keeps what was said before, at first Business.
            scope_tags: Who may see and manage it; None keeps those that were given, at first none.

        Raises:
            TokenError: Nobody agreed, or a value is of another kind.
            SigningError: *name* cannot be that of a certificate.
            DuplicateTokenError: A token of that name is in use.
            StoreError: The store failed.

        Source: specification, "Create enrollment program token", step 1.
        """
        return self._runner.run(create_flow(name, consent=consent, portal=portal, scope_tags=scope_tags))

    def add(self, token: Token, keypair: TokenKeypair, *, force: bool = False) -> AcceptedToken:
        """Adopt a token that was made elsewhere, with its key pair: verify it, store both, and sync at once.

        For a token of ``Token.from_p7m``, whether it is stored already or not; a stored one of its name is
        renewed with it. A stored token that Apple does not accept any more gets its key pair all the same, so
        that it can be renewed.

        Args:
            token: Its scope tags, if it has any, replace those of the stored one.
            keypair: The one that read the file: nobody can check that, and the next file is read with it.
            force: Store it although something speaks against it, as in ``accept``, or although another key
                pair is kept for this very token.

        Raises:
            TokenError: Something speaks against it; nothing was stored.
            AppleError: Apple refused the token, or wants its new terms signed first.
            TransportError: Apple was not reached.
            StoreError: The store failed; add it again.
        """
        return self._runner.run(add_flow(token, keypair, force=force))

    def under_way(self, *, damaged: Damaged | None = None) -> tuple[TokenSetup, ...]:
        """Return the tokens that were begun and are not finished, by name, whichever process began them.

        New ones until their first sync is done, and stored ones whose new key pair waits for its first file.

        Args:
            damaged: Called for each that cannot be read, which is then left out.

        Raises:
            DamagedRecordError: One cannot be read, and *damaged* is None.
            StoreError: The store failed.
        """
        return self._runner.run(under_way_flow(damaged))

    def step_done(self, name: str, number: int, *, apple_id: str | None = None) -> PortalStep:
        """Note that the person has done step *number* of a new token, and those before; return the next one.

        Args:
            name: The token.
            number: 2, 3 or 4; ``certificate`` and ``upload`` do the first and the last.
            apple_id: For step 4: the Apple ID that downloaded the token; ``upload`` then needs none.

        Raises:
            TokenError: There is no such step, or the Apple ID is missing.
            PolicyError: The certificate was not handed out yet, or the token is stored already.
            UnknownTokenError: Nothing of that name was begun.
            StoreError: The store failed.

        Source: specification, "Create enrollment program token", steps 2, 3 and 4.
        """
        return self._runner.run(step_done_flow(name, number, apple_id))

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

        A new token has its last step until the first sync is done.

        Raises:
            UnknownTokenError: No token of that name is stored, and none was begun.
            StoreError: The store failed.
        """
        return self._runner.run(setup_flow(name)).next_step

    def stage(self, name: str, p7m: bytes, *, apple_id: str | None = None) -> StagedToken:
        """Read the file of a new or renewed token and ask Apple about it; nothing is stored.

        Args:
            name: The token.
            p7m: The file that was downloaded in the portal.
            apple_id: The Apple ID with which it was downloaded; None takes the one that step 4 of a new token
                saved.

        Raises:
            TokenError: The file cannot be read with the key pair of this token, or the Apple ID is missing.
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
        """Do ``stage`` and ``accept`` in one; see there."""
        staged = self.stage(name, p7m, apple_id=apple_id)
        return self.accept(staged, scope_tags=scope_tags, force=force)

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
        with client_of(self._client_for, step.token) as client:
            return Syncer(client, self._store, policy=self._policy, clock=self._clock).sync()


@check_arguments(but=_SAYS_MORE)
class AsyncTokenService(_Tokens[AsyncClient]):
    """Does what ``TokenService`` does with ``AsyncClient``; the store works in worker threads."""

    async def create(
        self,
        name: str,
        *,
        consent: bool,
        portal: Portal | None = None,
        scope_tags: Iterable[str] | None = None,
    ) -> TokenSetup:
        """Begin a new token, or go on with it; see ``TokenService.create``."""
        flow = create_flow(name, consent=consent, portal=portal, scope_tags=scope_tags)
        return await self._runner.run(flow)

    async def add(self, token: Token, keypair: TokenKeypair, *, force: bool = False) -> AcceptedToken:
        """Adopt a token that was made elsewhere, with its key pair; see ``TokenService.add``."""
        return await self._runner.run(add_flow(token, keypair, force=force))

    async def under_way(self, *, damaged: Damaged | None = None) -> tuple[TokenSetup, ...]:
        """Return the tokens that were begun and are not finished; see ``TokenService.under_way``."""
        return await self._runner.run(under_way_flow(damaged))

    async def step_done(self, name: str, number: int, *, apple_id: str | None = None) -> PortalStep:
        """Note that the person has done a step; see ``TokenService.step_done``."""
        return await self._runner.run(step_done_flow(name, number, apple_id))

    async def certificate(self, name: str) -> bytes:
        """Return the certificate to upload in the portal; see ``TokenService.certificate``."""
        return await self._runner.run(certificate_flow(name))

    async def keypair(self, name: str) -> TokenKeypair:
        """Return the key pair with which the stored token was read; see ``TokenService.keypair``."""
        return await self._runner.run(keypair_flow(name))

    async def next_step(self, name: str) -> PortalStep:
        """Return what the person does next; see ``TokenService.next_step``."""
        return (await self._runner.run(setup_flow(name))).next_step

    async def stage(self, name: str, p7m: bytes, *, apple_id: str | None = None) -> StagedToken:
        """Read the file of a token and ask Apple about it; see ``TokenService.stage``."""
        return await self._runner.run(stage_flow(name, p7m, apple_id))

    async def accept(
        self, staged: StagedToken, *, scope_tags: Iterable[str] | None = None, force: bool = False
    ) -> AcceptedToken:
        """Store a staged token and sync at once; see ``TokenService.accept``."""
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
        """Do ``stage`` and ``accept`` in one; see there."""
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
        handlers = {**async_account_handlers(self._client_for), RunSync: self._sync}
        return AsyncRunner(handlers, store=self._store, clock=self._clock)

    async def _sync(self, step: RunSync) -> SyncReport:
        async with async_client_of(self._client_for, step.token) as client:
            return await AsyncSyncer(client, self._store, policy=self._policy, clock=self._clock).sync()
