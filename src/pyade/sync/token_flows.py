"""The life of a server token as flows of steps: made, verified, renewed and deleted.

The rules of this file:

1. Nothing is stored of a token that Apple was not asked about: its server and its organization come from
   ``/account``, and a renewal for another one is refused.
2. A private key is stored before its certificate leaves, and an older one is kept until a token came that was
   encrypted for the newer one.
3. What belongs to a token survives its renewal, and is deleted only by who says so.

Source: specification, "Create enrollment program token" and "Renew enrollment program token".
"""

from __future__ import annotations

from typing import Final

import attrs
import msgspec

from pyade.apple.responses import Account
from pyade.core.flow import Flow, Now, Step, ask
from pyade.core.portal_steps import TokenSetup
from pyade.core.problems import Problem, Severity
from pyade.core.token import Portal, Token
from pyade.crypto.keypair import TokenKeypair
from pyade.errors import DuplicateTokenError, PolicyError, PyadeError, TokenError, UnknownTokenError
from pyade.sync.report import SyncReport, counted
from pyade.sync.steps import InStore

_KEYPAIR: Final = "key pair of {}"
_NEXT_KEYPAIR: Final = "next key pair of {}"
_SETUP: Final = "setup of {}"


@attrs.frozen(kw_only=True)
class StagedToken:
    """A token that Apple accepts and that was not stored yet.

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


@attrs.frozen(kw_only=True)
class AcceptedToken:
    """A token that was stored, and the sync that followed at once.

    Attributes:
        token: As it is stored.
        sync: The report; None if the sync failed.
        error: Why it failed, in words; "" if it did not. The token is stored all the same.
    """

    token: Token
    sync: SyncReport | None
    error: str = ""


@attrs.frozen(kw_only=True)
class TokenRemoval:
    """What went with a token; ``print`` shows it.

    Attributes:
        name: The token.
        apple_id: Whose it was: who can delete the server in the portal.
        devices: How many devices the store forgot.
        profiles: How many profiles.
        portal: Where the MDM server still is.
    """

    name: str
    apple_id: str
    devices: int
    profiles: int
    portal: Portal

    def __str__(self) -> str:
        went = f"{counted(self.devices, 'device')} and {counted(self.profiles, 'profile')}"
        return (
            f"{self.name}: deleted, with {went}. Its MDM server and its assignments stay in {self.portal}: "
            f"sign in as {self.apple_id} to delete them"
        )


@attrs.frozen
class AskAccount(Step[Account]):
    """Answer with what Apple says about the server of *token*, asked with this token itself."""

    token: Token


@attrs.frozen
class RunSync(Step[SyncReport]):
    """Answer with the report of a sync of *token*, which is stored."""

    token: Token


def create_flow(name: str, *, consent: bool, portal: Portal, scope_tags: frozenset[str]) -> Flow[TokenSetup]:
    """Begin a new token; see ``TokenService.create``."""
    now = yield from ask(Now())
    if not consent:
        raise TokenError(
            "a token cannot be made without consent to send user and device information to Apple",
            "ask for it, and pass consent=True",
        )
    if (yield from _stored(name)) is not None:
        raise DuplicateTokenError(f"a token {name!r} is stored already: renew it or choose another name")
    setup = TokenSetup(name=name, portal=portal, consented_at=now, scope_tags=scope_tags)
    pem = yield from _secret(_KEYPAIR, name)
    if pem is None:
        keypair = TokenKeypair.generate(name[:64], now=now)
        yield from _keep(_KEYPAIR, name, keypair.to_pem().decode())
    yield from _keep_setup(setup)
    return setup


def certificate_flow(name: str) -> Flow[bytes]:
    """Return the certificate to upload; see ``TokenService.certificate``."""
    now = yield from ask(Now())
    setup = yield from setup_flow(name)
    pem = (yield from _secret(_NEXT_KEYPAIR, name)) or (yield from _secret(_KEYPAIR, name))
    if pem is None:
        raise UnknownTokenError(f"the key pair of {name!r} is not kept here: make one with replace_keypair()")
    if setup.certificate_taken_at is None and setup.certificate_is_new:
        yield from _keep_setup(attrs.evolve(setup, certificate_taken_at=now))
    return TokenKeypair.from_pem(pem.encode()).certificate_pem


def stage_flow(name: str, p7m: bytes, apple_id: str) -> Flow[StagedToken]:
    """Read the file of a token and ask Apple about it; see ``TokenService.stage``."""
    setup = yield from setup_flow(name)
    before = yield from _stored(name)
    keypair, token = yield from _read(setup, p7m, apple_id)
    account = yield from ask(AskAccount(token))
    token = attrs.evolve(
        token, server_uuid=account.server_uuid, org_id=account.org_id, org_name=account.org_name
    )
    problems = list(token.findings)
    if before is not None:
        problems += before.renewal_problems(token)
    others = yield from ask(InStore(lambda store: store.tokens()))
    for other in others:
        if other.name != name and other.server_uuid and other.server_uuid == token.server_uuid:
            allowed = (
                f"an MDM server of its own; this one is the server of {other.name!r}, which it would end"
            )
            problems.append(Problem("server_uuid", token.server_uuid or "", allowed, f"renew {other.name!r}"))
    return StagedToken(token=token, account=account, renews=before, problems=tuple(problems), keypair=keypair)


def _read(setup: TokenSetup, p7m: bytes, apple_id: str) -> Flow[tuple[TokenKeypair, Token]]:
    """Return the token of a file, and the key pair that it was encrypted for: the newer one, or the older."""
    failure: TokenError | None = None
    for secret in (_NEXT_KEYPAIR, _KEYPAIR):
        pem = yield from _secret(secret, setup.name)
        if pem is None:
            continue
        keypair = TokenKeypair.from_pem(pem.encode())
        try:
            token = Token.from_p7m(
                p7m,
                keypair,
                name=setup.name,
                apple_id=apple_id,
                consented_at=setup.consented_at,
                portal=setup.portal,
                scope_tags=setup.scope_tags,
            )
        except TokenError as error:
            failure = failure or error
        else:
            return keypair, token
    if failure is not None:
        raise failure
    raise TokenError(
        f"the key pair of {setup.name!r} is not kept here, so that its file cannot be read",
        "make a new one with replace_keypair() and upload its certificate in the portal",
    )


def accept_flow(
    staged: StagedToken, scope_tags: frozenset[str] | None, *, force: bool
) -> Flow[AcceptedToken]:
    """Store a staged token and sync at once; see ``TokenService.accept``."""
    token, before = staged.token, staged.renews
    errors = [problem for problem in staged.problems if problem.severity is Severity.ERROR]
    if errors and not force:
        raise TokenError("; ".join(map(str, errors)), "or accept it with force=True if this is intended")
    if before is None:
        stored = token if scope_tags is None else attrs.evolve(token, scope_tags=scope_tags)
        yield from ask(InStore(lambda store: store.add_token(stored)))
    else:
        stored = before.renew(token, scope_tags, force=force)
        yield from ask(InStore(lambda store: store.replace_token(stored)))
    yield from _keep(_KEYPAIR, token.name, staged.keypair.to_pem().decode())
    yield from _forget_if_used(token.name, staged.keypair)
    yield from _keep(_SETUP, token.name, None)
    try:
        report = yield from ask(RunSync(stored))
    except PyadeError as error:
        return AcceptedToken(token=stored, sync=None, error=f"{type(error).__name__}: {error}")
    return AcceptedToken(token=stored, sync=report)


def _forget_if_used(name: str, used: TokenKeypair) -> Flow[None]:
    """Forget the newer key pair once it is the one in use; a file for the older one leaves it waiting."""
    pem = yield from _secret(_NEXT_KEYPAIR, name)
    if pem is not None and TokenKeypair.from_pem(pem.encode()) == used:
        yield from _keep(_NEXT_KEYPAIR, name, None)


def replace_keypair_flow(name: str) -> Flow[bytes]:
    """Make a new key pair for a stored token; see ``TokenService.replace_keypair``."""
    now = yield from ask(Now())
    token = yield from ask(InStore(lambda store: store.token(name)))
    keypair = TokenKeypair.generate(name[:64], now=now)
    yield from _keep(_NEXT_KEYPAIR, name, keypair.to_pem().decode())
    yield from _keep_setup(
        attrs.evolve(_renewal_of(token), certificate_is_new=True, certificate_taken_at=now)
    )
    return keypair.certificate_pem


def delete_flow(name: str, *, cascade: bool) -> Flow[TokenRemoval]:
    """Delete a token here; see ``TokenService.delete``."""
    now = yield from ask(Now())
    token = yield from ask(InStore(lambda store: store.token(name)))
    counts = yield from ask(InStore(lambda store: store.count_devices(name)))
    profiles = yield from ask(InStore(lambda store: len(store.profiles(name))))
    default = yield from ask(InStore(lambda store: store.default_profile(name)))
    removal = TokenRemoval(
        name=name,
        apple_id=token.apple_id,
        devices=sum(counts.values()),
        profiles=profiles + (default is not None and not profiles),
        portal=token.portal,
    )
    if not cascade and (removal.devices or removal.profiles):
        raise PolicyError(
            f"{name!r} has {counted(removal.devices, 'device')} and {counted(removal.profiles, 'profile')}: "
            "pass cascade=True to delete them with it"
        )
    yield from ask(InStore(lambda store: store.remove_token(name, now=now)))
    for secret in (_KEYPAIR, _NEXT_KEYPAIR, _SETUP):
        yield from _keep(secret, name, None)
    return removal


def setup_flow(name: str) -> Flow[TokenSetup]:
    """Return what is under way for a token, else the renewal of the stored one."""
    text = yield from _secret(_SETUP, name)
    if text is not None:
        return msgspec.json.decode(text, type=TokenSetup)
    token = yield from _stored(name)
    if token is None:
        raise UnknownTokenError(f"no token {name!r} is stored or under way: begin with create()")
    return _renewal_of(token)


def _renewal_of(token: Token) -> TokenSetup:
    return TokenSetup(
        name=token.name,
        portal=token.portal,
        consented_at=token.consented_at,
        apple_id=token.apple_id,
        scope_tags=token.scope_tags,
        is_renewal=True,
        certificate_is_new=False,
    )


def _stored(name: str) -> Flow[Token | None]:
    try:
        return (yield from ask(InStore(lambda store: store.token(name))))
    except UnknownTokenError:
        return None


def _secret(kind: str, name: str) -> Flow[str | None]:
    return (yield from ask(InStore(lambda store: store.secret(kind.format(name)))))


def _keep(kind: str, name: str, secret: str | None) -> Flow[None]:
    yield from ask(InStore(lambda store: store.save_secret(kind.format(name), secret)))


def _keep_setup(setup: TokenSetup) -> Flow[None]:
    yield from _keep(_SETUP, setup.name, msgspec.json.encode(setup).decode())
