"""The life of a server token as flows of steps: made, verified, renewed and deleted.

The rules of this file:

1. Nothing is stored of a token that Apple was not asked about: its server and its organization come from
   ``/account``, and a renewal for another one is refused.
2. A private key is stored before its certificate leaves, and an older one is kept until a token came that was
   encrypted for the newer one.
3. What belongs to a token survives its renewal, and is deleted only by who says so.
4. Work may end between any two calls of the store, and somebody else may work at the same time: what is
   stored decides, not what was read before, and doing it again puts right what was left.

Source: specification, "Create enrollment program token" and "Renew enrollment program token".
"""

from __future__ import annotations

from typing import Final

import attrs
import msgspec

from pyade.core.portal_steps import TokenSetup
from pyade.core.problems import Problem, Severity
from pyade.core.secret import Secret
from pyade.core.token import Portal, Token
from pyade.crypto.keypair import TokenKeypair
from pyade.errors import (
    DamagedRecordError,
    DuplicateTokenError,
    PolicyError,
    PyadeError,
    TokenError,
    UnknownTokenError,
)
from pyade.flow import Compute, Flow, Now, ask
from pyade.storage.protocol import Store
from pyade.sync.damage import belonging_to
from pyade.sync.report import counted
from pyade.sync.steps import in_store
from pyade.sync.token_steps import AcceptedToken, ReadAccount, RunSync, StagedToken, TokenRemoval

_KEYPAIR: Final = "key pair of {}"
_NEXT_KEYPAIR: Final = "next key pair of {}"
_SETUP: Final = "setup of {}"
_KINDS: Final = (_KEYPAIR, _NEXT_KEYPAIR, _SETUP)


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
    yield from _keypair(_KEYPAIR, name)
    yield from _keep_setup(setup)
    return setup


def certificate_flow(name: str) -> Flow[bytes]:
    """Return the certificate to upload; see ``TokenService.certificate``."""
    now = yield from ask(Now())
    setup = yield from setup_flow(name)
    waiting = yield from _secret(_NEXT_KEYPAIR, name)
    keypair = (yield from keypair_flow(name)) if waiting is None else _read_keypair(waiting)
    if setup.certificate_taken_at is None and not setup.is_renewal:
        yield from _keep_setup(attrs.evolve(setup, certificate_taken_at=now))
    return keypair.certificate_pem


def keypair_flow(name: str) -> Flow[TokenKeypair]:
    """Return the key pair in use; see ``TokenService.keypair``."""
    pem = yield from _secret(_KEYPAIR, name)
    if pem is None:
        raise UnknownTokenError(f"the key pair of {name!r} is not kept here: make one with replace_keypair()")
    return _read_keypair(pem)


def stage_flow(name: str, p7m: bytes, apple_id: str) -> Flow[StagedToken]:
    """Read the file of a token and ask Apple about it; see ``TokenService.stage``."""
    setup = yield from setup_flow(name)
    before = yield from _stored(name)
    keypair, token = yield from _read(setup, p7m, apple_id)
    account = yield from ask(ReadAccount(token))
    token = attrs.evolve(
        token, server_uuid=account.server_uuid, org_id=account.org_id, org_name=account.org_name
    )
    problems = list(token.findings)
    if before is not None:
        problems += before.renewal_problems(token)
    damaged: list[DamagedRecordError] = []
    others = yield from in_store(lambda store: store.tokens(damaged=damaged.append))
    for error in damaged:
        allowed = f"whether it is the server of {error.token_name!r} is not known, which cannot be read"
        fix = f"see what doctor() says about {error.token_name!r}"
        problems.append(Problem("server_uuid", token.server_uuid or "", allowed, fix, Severity.WARNING))
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
        keypair = _read_keypair(pem)
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
    token = staged.token
    errors = [problem for problem in staged.problems if problem.severity is Severity.ERROR]
    if errors and not force:
        raise TokenError("; ".join(map(str, errors)), "or accept it with force=True if this is intended")
    before = yield from _stored(token.name)
    is_again = before is not None and before.fingerprint == token.fingerprint
    if before is not None and (staged.renews is not None or is_again):
        # Not ``staged.renews``: somebody may have renewed it meanwhile, with a newer file.
        stored = before.renew(token, scope_tags, force=force)
        yield from in_store(lambda store: store.replace_token(stored))
    elif staged.renews is not None:
        raise UnknownTokenError(f"the token {token.name!r} was deleted meanwhile: begin again with create()")
    else:
        stored = token if scope_tags is None else attrs.evolve(token, scope_tags=scope_tags)
        yield from in_store(lambda store: store.add_token(stored))
    pem = _written(staged.keypair)
    yield from _keep(_KEYPAIR, token.name, pem)
    # A file for the older key pair leaves the newer one waiting.
    if (yield from _secret(_NEXT_KEYPAIR, token.name)) == pem:
        yield from _keep(_NEXT_KEYPAIR, token.name, None)
    yield from _keep(_SETUP, token.name, None)
    try:
        report = yield from ask(RunSync(stored))
    except PyadeError as error:
        return AcceptedToken(token=stored, sync=None, error=f"{type(error).__name__}: {error}")
    return AcceptedToken(token=stored, sync=report)


def replace_keypair_flow(name: str) -> Flow[bytes]:
    """Make a new key pair for a stored token; see ``TokenService.replace_keypair``."""
    yield from in_store(lambda store: store.token(name))
    return (yield from _keypair(_NEXT_KEYPAIR, name)).certificate_pem


def delete_flow(name: str, *, cascade: bool) -> Flow[TokenRemoval]:
    """Delete a token here; see ``TokenService.delete``."""
    now = yield from ask(Now())
    token = yield from _stored(name)
    if token is None:
        return (yield from _take_back(name))
    counts = yield from in_store(lambda store: store.count_devices(name))
    profiles = yield from in_store(lambda store: len(store.profiles(name)))
    default = yield from in_store(lambda store: store.default_profile(name))
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
    yield from in_store(lambda store: store.remove_token(name, now=now))
    yield from _forget(name)
    return removal


def _take_back(name: str) -> Flow[TokenRemoval]:
    """Forget a token that was begun and never stored, or what an interrupted deletion left."""
    kept = yield from in_store(lambda store: [_secret_in(store, kind, name) for kind in _KINDS])
    if not any(kept):
        raise UnknownTokenError(f"no token {name!r} is stored or under way")
    text = kept[-1]
    portal = None if text is None else msgspec.json.decode(text.reveal(), type=TokenSetup).portal
    yield from _forget(name)
    return TokenRemoval(name=name, apple_id="", devices=0, profiles=0, portal=portal)


def _forget(name: str) -> Flow[None]:
    for kind in _KINDS:
        yield from _keep(kind, name, None)


def setup_flow(name: str) -> Flow[TokenSetup]:
    """Return the renewal of a stored token, else what is under way."""
    token = yield from _stored(name)
    if token is not None:
        waiting = yield from _secret(_NEXT_KEYPAIR, name)
        is_new = waiting is not None and waiting != (yield from _secret(_KEYPAIR, name))
        return TokenSetup(
            name=name,
            portal=token.portal,
            consented_at=token.consented_at,
            apple_id=token.apple_id,
            scope_tags=token.scope_tags,
            is_renewal=True,
            certificate_is_new=is_new,
        )
    text = yield from _secret(_SETUP, name)
    if text is None:
        raise UnknownTokenError(f"no token {name!r} is stored or under way: begin with create()")
    return msgspec.json.decode(text.reveal(), type=TokenSetup)


def _keypair(kind: str, name: str) -> Flow[TokenKeypair]:
    """Return the key pair that is kept, else a new one: its certificate may be in the portal already."""
    now = yield from ask(Now())
    pem = yield from _secret(kind, name)
    if pem is None:
        made = yield from ask(Compute(lambda: TokenKeypair.generate(name[:64], now=now)))
        # That took its time: somebody else may have been faster.
        pem = yield from _secret(kind, name)
        if pem is None:
            yield from _keep(kind, name, _written(made))
            return made
    return _read_keypair(pem)


def _read_keypair(pem: Secret) -> TokenKeypair:
    return TokenKeypair.from_pem(pem.reveal().encode())


def _written(keypair: TokenKeypair) -> Secret:
    return Secret(keypair.to_pem().decode())


def _stored(name: str) -> Flow[Token | None]:
    try:
        return (yield from in_store(lambda store: store.token(name)))
    except UnknownTokenError:
        return None


def _secret(kind: str, name: str) -> Flow[Secret | None]:
    return (yield from in_store(lambda store: _secret_in(store, kind, name)))


def _secret_in(store: Store, kind: str, name: str) -> Secret | None:
    with belonging_to(name):
        return store.secret(kind.format(name))


def _keep(kind: str, name: str, secret: Secret | None) -> Flow[None]:
    yield from in_store(lambda store: store.save_secret(kind.format(name), secret))


def _keep_setup(setup: TokenSetup) -> Flow[None]:
    yield from _keep(_SETUP, setup.name, Secret(msgspec.json.encode(setup).decode()))
