"""What the flows of a token's life ask for and what they return, beside the store."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from pyade.apple.client import AsyncClient, Client
from pyade.apple.responses import Account
from pyade.core.problems import Problem
from pyade.core.token import Portal, Token
from pyade.crypto.keypair import TokenKeypair
from pyade.flow import Handlers, Step
from pyade.sync.report import SyncReport, pluralize
from pyade.sync.runners import async_client_of, client_of
from pyade.text import Printed


@attrs.frozen(kw_only=True)
class StagedToken(Printed):
    """A token that Apple accepts and that was not stored yet; ``print`` shows it.

    Attributes:
        token: With the server and the organization that Apple named.
        account: What Apple said about them.
        renews: The token whose place it takes; None for a new one.
        problems: What speaks against it; an error stops ``accept`` unless it is forced.
        keypair: Secret. For which its file was encrypted.
    """

    token: Token
    account: Account
    renews: Token | None
    problems: tuple[Problem, ...]
    keypair: TokenKeypair = attrs.field(repr=False)

    def _words(self) -> list[str]:
        server = self.account.server_name or self.account.server_uuid or "an MDM server without a name"
        what = "a new token" if self.renews is None else "a renewal"
        return [
            f"{self.token.name}: {what}, which Apple accepts for {server}; not stored yet",
            f"  {self.token}",
            *_problem_lines(self.problems),
        ]


@attrs.frozen(kw_only=True)
class AcceptedToken(Printed):
    """A token that was stored, and the sync that followed at once; ``print`` shows it.

    Attributes:
        token: As it is stored.
        sync: The report; None if the sync failed.
        error: Why it failed, in words; "" if it did not. The token is stored all the same.
        problems: What spoke against the token, as ``stage`` found it.
    """

    token: Token
    sync: SyncReport | None
    error: str = ""
    problems: tuple[Problem, ...] = ()

    def _words(self) -> list[str]:
        sync = f"the sync failed: {self.error}" if self.sync is None else str(self.sync)
        return [
            f"{self.token.name}: stored",
            f"  {self.token}",
            *_problem_lines(self.problems),
            *(f"  {line}" for line in sync.split("\n")),
        ]


@attrs.frozen(kw_only=True)
class TokenRemoval(Printed):
    """What went with a token; ``print`` shows it.

    Attributes:
        name: The token.
        apple_id: Whose it was: who can delete the server in the portal; "" if no token was stored.
        devices: How many devices the store forgot.
        profiles: How many profiles.
        portal: Where the MDM server still is; None if that is not known any more.
    """

    name: str
    apple_id: str
    devices: int
    profiles: int
    portal: Portal | None

    def _words(self) -> str:
        if not self.apple_id:
            where = self.portal or "Apple's portal"
            return f"{self.name}: its key pair is deleted. An MDM server made for it stays in {where}"
        went = f"{pluralize(self.devices, 'device')} and {pluralize(self.profiles, 'profile')}"
        return (
            f"{self.name}: deleted, with {went}. Its MDM server and its assignments stay in {self.portal}: "
            f"sign in as {self.apple_id} to delete them"
        )


def _problem_lines(problems: tuple[Problem, ...]) -> list[str]:
    return [f"  {problem.severity.value}: {problem}" for problem in problems]


@attrs.frozen
class ReadAccount(Step[Account]):
    """Answer with what Apple says about the server of *token*, asked with this token itself."""

    token: Token


@attrs.frozen
class RunSync(Step[SyncReport]):
    """Answer with the report of a sync of *token*, which is stored."""

    token: Token


def account_handlers(client_for: Callable[[Token], Client]) -> Handlers:
    """Return what performs ``ReadAccount``, with a client for each token."""

    def read(step: ReadAccount) -> Account:
        with client_of(client_for, step.token) as client:
            return client.account()

    return {ReadAccount: read}


def async_account_handlers(client_for: Callable[[Token], AsyncClient]) -> Handlers:
    """Return what performs ``ReadAccount``, with an asynchronous client for each token."""

    async def read(step: ReadAccount) -> Account:
        async with async_client_of(client_for, step.token) as client:
            return await client.account()

    return {ReadAccount: read}
