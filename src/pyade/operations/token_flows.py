"""The life of a server token as flows of steps: made, adopted, verified, renewed and deleted.

The rules of this file:

1. Nothing is stored of a token that Apple was not asked about: its server and its organization come from
   ``/account``, and a renewal for another one is refused.
2. A private key is stored before its certificate leaves, and an older one is kept until a token came that was
   encrypted for the newer one.
3. What belongs to a token survives its renewal, and is deleted only on request.
4. Work may end between any two calls of the store, and another process may work at the same time: what
   is stored decides, not what was read before, and doing it again puts right what was left.
5. What is under way is found by what is stored, so that any process can list it and go on.
6. Everything that was given is checked before anything is made or stored.

Source: specification, "Create enrollment program token" and "Renew enrollment program token".

What a store keeps of tokens beside them: their key pairs, and new ones that are not stored yet.

All of it are secrets of the store, encrypted if it has keys, so that any process can list it and go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import attrs
import msgspec

from pyade.core.fleet.records import SyncState
from pyade.core.fleet.suspension import error_kind, suspended_reason
from pyade.core.problems import Problem, Severity
from pyade.core.secret import Secret
from pyade.core.token import Portal, Token, TokenStatus
from pyade.core.token_fields import tags_or_none
from pyade.crypto.certificates import check_common_name, common_name_of
from pyade.crypto.keypair import TokenKeypair
from pyade.errors import (
    AppleError,
    DamagedRecordError,
    DuplicateTokenError,
    PolicyError,
    PyadeError,
    SigningError,
    TokenError,
    TokenExpiredError,
    TokenOwnerError,
    TokenRejectedError,
    TokenSupersededError,
    TransportError,
    UnknownTokenError,
)
from pyade.flow import Compute, Flow, Now, ask
from pyade.operations.portal_steps import PortalStep, TokenSetup, setup_of
from pyade.operations.token_steps import AcceptedToken, ReadAccount, RunSync, StagedToken, TokenRemoval
from pyade.storage.protocol import Damaged, Store
from pyade.sync.damage import belonging_to
from pyade.sync.report import pluralize
from pyade.sync.runners import in_store
from pyade.sync.suspension import suspend_refused

_ENDED: Final = frozenset(
    kind.__name__ for kind in (TokenExpiredError, TokenOwnerError, TokenRejectedError, TokenSupersededError)
)
"""The errors after which only another file of the portal helps."""

KEYPAIR: Final = "key pair of {}"
NEXT_KEYPAIR: Final = "next key pair of {}"
SETUP: Final = "setup of {}"
KINDS: Final = (KEYPAIR, NEXT_KEYPAIR, SETUP)
"""The names of the secrets, each with the name of a token in it."""


def under_way(store: Store, now: datetime, damaged: Damaged | None) -> Iterator[TokenSetup]:
    """Yield what was begun and is not finished, by name; *damaged* as in ``Store.tokens``."""
    begun = {
        name.removeprefix(start)
        for start in (SETUP.format(""), NEXT_KEYPAIR.format(""))
        for name in store.secret_names(start)
    }
    states = store.sync_states(damaged=damaged)
    for name in sorted(begun | {name for name, state in states.items() if state.succeeded_at is None}):
        try:
            found = find_setup(store, name, now)
        except DamagedRecordError as error:
            if damaged is None:
                raise
            damaged(error)
        else:
            if found is not None and found.is_under_way:
                yield found


def find_setup(store: Store, name: str, now: datetime) -> TokenSetup | None:
    """Return what a person does next about a token; None if it is neither stored nor under way."""
    token: Token | None = None
    with suppress(UnknownTokenError):
        token = store.token(name)
    if token is None:
        return kept_setup(store, name)
    kept, waiting = secret_in(store, KEYPAIR, name), secret_in(store, NEXT_KEYPAIR, name)
    state = SyncState(succeeded_at=now)
    with suppress(DamagedRecordError, UnknownTokenError):  # such a token is renewed like any other
        state = store.sync_state(name)
    return setup_of(
        token,
        has_keypair=kept is not None,
        has_new_keypair=waiting is not None and waiting != kept,
        is_new=state.succeeded_at is None and not _needs_another_file(token, state, now),
        last_error=suspended_reason(token, state) or state.last_error,
    )


def _needs_another_file(token: Token, state: SyncState, now: datetime) -> bool:
    """Return True if only another file of the portal makes *token* work."""
    kind = error_kind(suspended_reason(token, state))
    return kind in _ENDED or token.health(now).status is TokenStatus.EXPIRED


def kept_setup(store: Store, name: str) -> TokenSetup | None:
    """Return what is kept of a new token that is not stored yet; None if nothing is.

    Raises:
        DamagedRecordError: It cannot be read.
    """
    text = secret_in(store, SETUP, name)
    if text is None:
        return None
    with suppress(msgspec.MsgspecError, TokenError):
        setup = msgspec.json.decode(text.reveal(), type=TokenSetup)
        # The decoder runs no converters, and what is kept is about a token that is not stored.
        if setup.name == name and not setup.is_renewal and not setup.is_stored:
            return attrs.evolve(setup)
    # Outside the block above: what the decoder says may quote what is stored.
    raise DamagedRecordError(
        f"what was begun of token {name!r} is stored, but cannot be read: restore a backup, or begin again"
        " with delete() and create()",
        token_name=name,
    )


def is_kept(store: Store, kind: str, name: str) -> bool:
    """Return True if something is kept, also if it cannot be read."""
    return kind.format(name) in store.secret_names(kind.format(name))


def secret_in(store: Store, kind: str, name: str) -> Secret | None:
    """Return what is kept; an error names the token."""
    with belonging_to(name):
        return store.secret(kind.format(name))


def read_keypair(name: str, pem: Secret) -> TokenKeypair:
    """Return the key pair of a PEM that ``written`` made.

    Raises:
        SigningError: It cannot be read.
    """
    try:
        return TokenKeypair.from_pem(pem.reveal().encode())
    except SigningError as error:
        reason = f"a key pair of token {name!r} is kept, and cannot be used: {error}"
    raise SigningError(f"{reason}; restore a backup, or hand it in with TokenService.add()")


def written(keypair: TokenKeypair) -> Secret:
    """Return *keypair* as it is kept."""
    return Secret(keypair.to_pem().decode())


def create_flow(
    name: str, *, consent: bool, portal: Portal | None, scope_tags: Iterable[str] | None
) -> Flow[TokenSetup]:
    """Begin a new token, or go on with it; see ``TokenService.create``."""
    now = yield from ask(Now())
    check_common_name(name)
    if consent is not True:
        raise TokenError(
            "a token cannot be made without consent to send user and device information to Apple",
            "ask for it, and pass consent=True",
        )
    given: dict[str, Any] = {"portal": portal, "scope_tags": tags_or_none(scope_tags)}
    given = {field: value for field, value in given.items() if value is not None}
    fresh = TokenSetup(name=name, consented_at=now, **given)
    found = yield from in_store(lambda store: find_setup(store, name, now))
    if found is not None and found.is_stored:
        if found.is_renewal:
            raise DuplicateTokenError(f"a token {name!r} is stored already: renew it or choose another name")
        return found
    setup = fresh if found is None else attrs.evolve(found, **given)
    if (yield from _secret(KEYPAIR, name)) is None:
        # The portal has no certificate of a key pair that is made now.
        setup = attrs.evolve(setup, steps_done=0)
    yield from _keypair(KEYPAIR, name, name)
    if setup != found:
        yield from _keep_setup(setup)
    return setup


def certificate_flow(name: str) -> Flow[bytes]:
    """Return the certificate to upload; see ``TokenService.certificate``."""
    setup = yield from setup_flow(name)
    waiting = yield from _secret(NEXT_KEYPAIR, name)
    if waiting is None and not setup.is_stored and (yield from _secret(KEYPAIR, name)) is None:
        raise _lost_keypair(name)
    keypair = (yield from keypair_flow(name)) if waiting is None else read_keypair(name, waiting)
    if not setup.is_stored and not setup.steps_done:
        yield from _keep_setup(attrs.evolve(setup, steps_done=1))
    return keypair.certificate_pem


def step_done_flow(name: str, number: int, apple_id: str | None) -> Flow[PortalStep]:
    """Note that a step in the portal is done; see ``TokenService.step_done``."""
    setup = yield from setup_flow(name)
    if setup.is_stored:
        raise PolicyError(f"the token {name!r} is stored already: next_step() says what is left")
    following = setup.after(number, apple_id)
    if following != setup:
        yield from _keep_setup(following)
    return following.next_step


def keypair_flow(name: str) -> Flow[TokenKeypair]:
    """Return the key pair in use; see ``TokenService.keypair``."""
    pem = yield from _secret(KEYPAIR, name)
    if pem is None:
        raise UnknownTokenError(
            f"the key pair of {name!r} is not kept here: hand it in with add(), or make one with"
            " replace_keypair()"
        )
    return read_keypair(name, pem)


def stage_flow(name: str, p7m: bytes, apple_id: str | None) -> Flow[StagedToken]:
    """Read the file of a token and ask Apple about it; see ``TokenService.stage``."""
    setup = yield from setup_flow(name)
    saved = "" if setup.is_stored else setup.apple_id
    if apple_id is None and not saved:
        raise TokenError("apple_id is missing", "give the Apple ID with which the file was downloaded")
    keypair, token = yield from _read(setup, p7m, saved if apple_id is None else apple_id)
    return (yield from _staged(token, keypair))


def _staged(token: Token, keypair: TokenKeypair) -> Flow[StagedToken]:
    """Ask Apple about *token*, and look for what speaks against it."""
    before = yield from _stored(token.name)
    account = yield from ask(ReadAccount(token))
    token = account.identify(token)
    problems = list(token.problems)
    if before is not None:
        problems += before.renewal_problems(token)
    damaged: list[DamagedRecordError] = []
    others = yield from in_store(lambda store: store.tokens(damaged=damaged.append))
    for error in damaged:
        allowed = f"whether it is the server of {error.token_name!r} is not known, which cannot be read"
        fix = f"see what doctor() says about {error.token_name!r}"
        problems.append(Problem("server_uuid", token.server_uuid or "", allowed, fix, Severity.WARNING))
    for other in others:
        if other.name != token.name and other.server_uuid and other.server_uuid == token.server_uuid:
            allowed = (
                f"an MDM server of its own; this one is the server of {other.name!r}, which it would end"
            )
            problems.append(Problem("server_uuid", token.server_uuid or "", allowed, f"renew {other.name!r}"))
    return StagedToken(token=token, account=account, renews=before, problems=tuple(problems), keypair=keypair)


def add_flow(token: Token, keypair: TokenKeypair, *, force: bool) -> Flow[AcceptedToken]:
    """Adopt a token with its key pair; see ``TokenService.add``."""
    before = yield from _stored(token.name)
    pem, kept = written(keypair), None
    with suppress(DamagedRecordError):  # another one takes its place
        kept = yield from _secret(KEYPAIR, token.name)
    is_same = before is not None and before.fingerprint == token.fingerprint
    if is_same and kept not in (None, pem) and not force:
        raise TokenError(
            f"keypair: another one is kept for this same token {token.name!r}",
            "leave it, or add the token with force=True if this is intended",
        )
    try:
        staged = yield from _staged(token, keypair)
    except (AppleError, TransportError) as error:
        if before is None or not is_same:
            raise
        # It is stored already, and may have expired: its key pair reads the file that renews it.
        yield from _keep(KEYPAIR, token.name, pem)
        now, said, refusal = (yield from ask(Now())), f"{type(error).__name__}: {error}", error
        yield from in_store(lambda store: suspend_refused(store, before.name, refusal, now=now))
        return AcceptedToken(token=before, sync=None, error=said)
    return (yield from accept_flow(staged, token.scope_tags or None, force=force))


def _read(setup: TokenSetup, p7m: bytes, apple_id: str) -> Flow[tuple[TokenKeypair, Token]]:
    """Return the token of a file, and the key pair that it was encrypted for: the newer one, or the older."""
    failure: TokenError | None = None
    for secret in (NEXT_KEYPAIR, KEYPAIR):
        pem = yield from _secret(secret, setup.name)
        if pem is None:
            continue
        keypair = read_keypair(setup.name, pem)
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
    if not setup.is_stored:
        raise _lost_keypair(setup.name)
    raise TokenError(
        f"the key pair of {setup.name!r} is not kept here, so that its file cannot be read",
        "hand it in with add(), or make a new one with replace_keypair() and upload its certificate in the"
        " portal",
    )


def _lost_keypair(name: str) -> UnknownTokenError:
    return UnknownTokenError(
        f"the key pair of the new token {name!r} is not kept any more: create() makes another one, and the"
        " steps begin again"
    )


def accept_flow(staged: StagedToken, scope_tags: Iterable[str] | None, *, force: bool) -> Flow[AcceptedToken]:
    """Store a staged token and sync at once; see ``TokenService.accept``."""
    scope_tags = tags_or_none(scope_tags)
    token, problems = staged.token, staged.problems
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if errors and not force:
        raise TokenError("; ".join(map(str, errors)), "or accept it with force=True if this is intended")
    before = yield from _stored(token.name)
    is_again = before is not None and before.fingerprint == token.fingerprint
    if before is not None and (staged.renews is not None or is_again):
        # Not ``staged.renews``: it may have been renewed meanwhile, with a newer file.
        stored = before.renew(token, scope_tags, force=force)
        yield from in_store(lambda store: store.replace_token(stored))
    elif staged.renews is not None:
        raise UnknownTokenError(f"the token {token.name!r} was deleted meanwhile: begin again with create()")
    else:
        stored = token if scope_tags is None else attrs.evolve(token, scope_tags=scope_tags)
        yield from in_store(lambda store: store.add_token(stored))
    pem = written(staged.keypair)
    yield from _keep(KEYPAIR, token.name, pem)
    # A file for the older key pair leaves the newer one waiting.
    if (yield from _secret(NEXT_KEYPAIR, token.name)) == pem:
        yield from _keep(NEXT_KEYPAIR, token.name, None)
    yield from _keep(SETUP, token.name, None)
    try:
        report = yield from ask(RunSync(stored))
    except PyadeError as error:
        said = f"{type(error).__name__}: {error}"
        return AcceptedToken(token=stored, sync=None, error=said, problems=problems)
    return AcceptedToken(token=stored, sync=report, problems=problems)


def replace_keypair_flow(name: str) -> Flow[bytes]:
    """Make a new key pair for a stored token; see ``TokenService.replace_keypair``."""
    yield from in_store(lambda store: store.token(name))
    # Any name may be that of a token that came from elsewhere.
    return (yield from _keypair(NEXT_KEYPAIR, name, common_name_of(name))).certificate_pem


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
        portal=token.portal_to_use,
    )
    if not cascade and (removal.devices or removal.profiles):
        raise PolicyError(
            f"{name!r} has {pluralize(removal.devices, 'device')} and "
            f"{pluralize(removal.profiles, 'profile')}: "
            "pass cascade=True to delete them with it"
        )
    yield from in_store(lambda store: store.remove_token(name, now=now))
    yield from _forget(name)
    return removal


def _take_back(name: str) -> Flow[TokenRemoval]:
    """Forget a token that was begun and never stored, or what an interrupted deletion left."""
    kept = yield from in_store(lambda store: [kind for kind in KINDS if is_kept(store, kind, name)])
    if not kept:
        raise UnknownTokenError(f"no token {name!r} is stored or under way")
    portal = None
    with suppress(DamagedRecordError):  # to delete it is the way to begin again
        setup = yield from in_store(lambda store: kept_setup(store, name))
        portal = None if setup is None else setup.portal
    yield from _forget(name)
    return TokenRemoval(name=name, apple_id="", devices=0, profiles=0, portal=portal)


def _forget(name: str) -> Flow[None]:
    for kind in KINDS:
        yield from _keep(kind, name, None)


def setup_flow(name: str) -> Flow[TokenSetup]:
    """Return what a person does next about a token that is stored or under way."""
    now = yield from ask(Now())
    found = yield from in_store(lambda store: find_setup(store, name, now))
    if found is None:
        raise UnknownTokenError(f"no token {name!r} is stored or under way: begin with create()")
    return found


def under_way_flow(damaged: Damaged | None) -> Flow[tuple[TokenSetup, ...]]:
    """Return what was begun and is not finished; see ``TokenService.under_way``."""
    now = yield from ask(Now())
    return (yield from in_store(lambda store: tuple(under_way(store, now, damaged))))


def _keypair(kind: str, name: str, common_name: str) -> Flow[TokenKeypair]:
    """Return the key pair that is kept, else a new one: its certificate may be in the portal already."""
    now = yield from ask(Now())
    pem = yield from _secret(kind, name)
    if pem is None:
        made = yield from ask(Compute(lambda: TokenKeypair.generate(common_name, now=now)))
        # That took its time: another process may have been faster.
        pem = yield from _secret(kind, name)
        if pem is None:
            yield from _keep(kind, name, written(made))
            return made
    return read_keypair(name, pem)


def _stored(name: str) -> Flow[Token | None]:
    try:
        return (yield from in_store(lambda store: store.token(name)))
    except UnknownTokenError:
        return None


def _secret(kind: str, name: str) -> Flow[Secret | None]:
    return (yield from in_store(lambda store: secret_in(store, kind, name)))


def _keep(kind: str, name: str, secret: Secret | None) -> Flow[None]:
    yield from in_store(lambda store: store.save_secret(kind.format(name), secret))


def _keep_setup(setup: TokenSetup) -> Flow[None]:
    yield from _keep(SETUP, setup.name, Secret(msgspec.json.encode(setup).decode()))
