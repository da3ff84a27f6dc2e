"""The steps and results of the flows in ``token_flows``."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from pyade.apple.client import AsyncClient, Client
from pyade.apple.responses import Account
from pyade.core.problems import Problem
from pyade.core.token import Portal, Token
from pyade.crypto.keypair import TokenKeypair
from pyade.flow import Handlers, Step
from pyade.sync.report import SyncReport
from pyade.sync.runners import client_of, client_of_async
from pyade.text import Printed, pluralize


@attrs.frozen(kw_only=True, repr=False)
class StagedToken(Printed):
    """A token that Apple accepts and that is not stored yet; ``print`` shows it.

    Attributes:
        token: The token, with the server and the organization that Apple returned.
        account: Apple's account response.
        renews: The token that it renews; None for a new one.
        problems: What is wrong or doubtful; an error stops ``accept`` unless it is forced.
        keypair: Secret. The key pair for which its file was encrypted.
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


@attrs.frozen(kw_only=True, repr=False)
class AcceptedToken(Printed):
    """A token that was stored, and the sync that followed; ``print`` shows it.

    Attributes:
        token: As it is stored.
        sync: The report; None if the sync failed.
        error: Why the sync failed, as text; "" if it did not. The token is stored in both cases.
        problems: Those that ``stage`` found.
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
    """The data that was deleted with a token; ``print`` shows it.

    Attributes:
        name: The token.
        apple_id: The Apple ID that can delete the server in the portal; "" if no token was stored.
        devices: The number of deleted devices.
        profiles: The number of deleted profiles.
        portal: The portal that still has the MDM server; None if that is unknown.
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
        data = f"{pluralize(self.devices, 'device')} and {pluralize(self.profiles, 'profile')}"
        return (
            f"{self.name}: deleted, with {data}. Its MDM server and its assignments stay in {self.portal}: "
            f"sign in as {self.apple_id} to delete them"
        )


def _problem_lines(problems: tuple[Problem, ...]) -> list[str]:
    return [f"  {problem.severity.value}: {problem}" for problem in problems]


@attrs.frozen
class ReadAccount(Step[Account]):
    """Return Apple's account response for *token*, requested with this token."""

    token: Token


@attrs.frozen
class RunSync(Step[SyncReport]):
    """Sync the stored *token* and return the report."""

    token: Token


def account_handlers(client_for: Callable[[Token], Client]) -> Handlers:
    """Return the handler of ``ReadAccount``, with a client for each token."""

    def read(step: ReadAccount) -> Account:
        with client_of(client_for, step.token) as client:
            return client.account()

    return {ReadAccount: read}


def account_handlers_async(client_for: Callable[[Token], AsyncClient]) -> Handlers:
    """Return the handler of ``ReadAccount``, with an asynchronous client for each token."""

    async def read(step: ReadAccount) -> Account:
        async with client_of_async(client_for, step.token) as client:
            return await client.account()

    return {ReadAccount: read}
