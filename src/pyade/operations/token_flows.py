"""Create, adopt, verify, renew and delete server tokens and their key pairs, as flows of steps.

The rules of this file:

1. A token is only stored after Apple was asked about it: its server and its organization come from
   ``/account``, and a renewal for another server or organization is refused.
2. A private key is stored before its certificate is returned, and the older key is kept until a token is
   accepted that was encrypted for the newer one.
3. The data of a token survives its renewal, and is only deleted on request.
4. A flow may be interrupted between any two calls of the store, and another process may work at the same
   time: stored values decide, not values read earlier, and repeating the flow completes what is missing.
5. Unfinished tokens are found by their stored secrets (key pair, next key pair, setup; encrypted if the store
   has keys), so any process can list and continue them.
6. All arguments are checked before anything is generated or stored.

Source: specification, "Create enrollment program token" and "Renew enrollment program token".
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
from pyade.storage.protocol import OnDamaged, Store
from pyade.sync.damage import naming_token
from pyade.sync.runners import in_store
from pyade.sync.suspension import suspend_refused
from pyade.text import pluralize

_NEW_FILE_ERRORS: Final = frozenset(
    kind.__name__ for kind in (TokenExpiredError, TokenOwnerError, TokenRejectedError, TokenSupersededError)
)
"""Errors that only a new file from the portal resolves."""

KEYPAIR: Final = "key pair of {}"
NEXT_KEYPAIR: Final = "next key pair of {}"
SETUP: Final = "setup of {}"
SECRET_KINDS: Final = (KEYPAIR, NEXT_KEYPAIR, SETUP)
"""Templates of the names of the secrets; the field is the name of a token."""


def under_way(store: Store, now: datetime, damaged: OnDamaged | None) -> Iterator[TokenSetup]:
    """Yield the unfinished tokens, sorted by name; *damaged* as in ``Store.tokens``."""
    begun = {
        name.removeprefix(start)
        for start in (SETUP.format(""), NEXT_KEYPAIR.format(""))
        for name in store.secret_names(start)  # rule 5
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
    """Return the steps of a token; None if it is neither stored nor unfinished."""
    token: Token | None = None
    with suppress(UnknownTokenError):
        token = store.token(name)
    if token is None:
        return read_setup(store, name)
    pem, next_pem = read_secret(store, KEYPAIR, name), read_secret(store, NEXT_KEYPAIR, name)
    state = SyncState(succeeded_at=now)
    with suppress(DamagedRecordError, UnknownTokenError):  # such a token can be renewed, too
        state = store.sync_state(name)
    return setup_of(
        token,
        has_keypair=pem is not None,
        has_new_keypair=next_pem is not None and next_pem != pem,
        is_new=state.succeeded_at is None and not _needs_new_file(token, state, now),
        last_error=suspended_reason(token, state) or state.last_error,
    )


def _needs_new_file(token: Token, state: SyncState, now: datetime) -> bool:
    """Return True if *token* needs a new file from the portal."""
    kind = error_kind(suspended_reason(token, state))
    return kind in _NEW_FILE_ERRORS or token.health(now).status is TokenStatus.EXPIRED


def read_setup(store: Store, name: str) -> TokenSetup | None:
    """Return the stored setup of a new token that is not stored yet; None if there is none.

    Raises:
        DamagedRecordError: It cannot be read.
    """
    text = read_secret(store, SETUP, name)
    if text is None:
        return None
    with suppress(msgspec.MsgspecError, TokenError):
        setup = msgspec.json.decode(text.reveal(), type=TokenSetup)
        # ``evolve`` runs the converters and validators, which the decoder does not.
        if setup.name == name and not setup.is_renewal and not setup.is_stored:
            return attrs.evolve(setup)
    # Outside the block above: the message of the decoder may contain stored values.
    raise DamagedRecordError(
        f"the stored setup of token {name!r} cannot be read: restore a backup, or begin again with delete()"
        " and create()",
        token_name=name,
    )


def has_secret(store: Store, kind: str, name: str) -> bool:
    """Return True if the secret exists, even if it cannot be read."""
    return kind.format(name) in store.secret_names(kind.format(name))


def read_secret(store: Store, kind: str, name: str) -> Secret | None:
    """Return the secret, or None; an error names the token."""
    with naming_token(name):
        return store.secret(kind.format(name))


def read_keypair(name: str, pem: Secret) -> TokenKeypair:
    """Return the key pair of a PEM that ``keypair_to_pem`` returned.

    Raises:
        SigningError: It cannot be read.
    """
    try:
        return TokenKeypair.from_pem(pem.reveal().encode())
    except SigningError as error:
        reason = f"the stored key pair of token {name!r} cannot be used: {error}"
    raise SigningError(f"{reason}; restore a backup, or pass it to TokenService.add()")


def keypair_to_pem(keypair: TokenKeypair) -> Secret:
    """Return *keypair* as the secret to store."""
    return Secret(keypair.to_pem().decode())


def create_flow(
    name: str, *, consent: bool, portal: Portal | None, scope_tags: Iterable[str] | None
) -> Flow[TokenSetup]:
    """Begin or continue a new token; see ``TokenService.create``."""
    now = yield from ask(Now())
    check_common_name(name)  # rule 6
    if consent is not True:
        raise TokenError(
            "a token cannot be made without consent to send user and device information to Apple",
            "ask an administrator for it, and pass consent=True",
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
    if (yield from _read_secret(KEYPAIR, name)) is None:
        # The portal cannot have the certificate of a key pair that is made now.
        setup = attrs.evolve(setup, steps_done=0)
    yield from _get_or_make_keypair(KEYPAIR, name, name)  # rule 2
    if setup != found:
        yield from _save_setup(setup)
    return setup


def certificate_flow(name: str) -> Flow[bytes]:
    """Return the certificate to upload; see ``TokenService.certificate``."""
    setup = yield from setup_flow(name)
    next_pem = yield from _read_secret(NEXT_KEYPAIR, name)
    if next_pem is None and not setup.is_stored and (yield from _read_secret(KEYPAIR, name)) is None:
        raise _lost_keypair_error(name)
    keypair = (yield from keypair_flow(name)) if next_pem is None else read_keypair(name, next_pem)
    if not setup.is_stored and not setup.steps_done:
        yield from _save_setup(attrs.evolve(setup, steps_done=1))
    return keypair.certificate_pem


def step_done_flow(name: str, number: int, apple_id: str | None) -> Flow[PortalStep]:
    """Store that a step in the portal is done; see ``TokenService.step_done``."""
    setup = yield from setup_flow(name)
    if setup.is_stored:
        raise PolicyError(f"the token {name!r} is stored already: next_step() returns the remaining step")
    following = setup.after(number, apple_id)
    if following != setup:
        yield from _save_setup(following)
    return following.next_step


def keypair_flow(name: str) -> Flow[TokenKeypair]:
    """Return the key pair in use; see ``TokenService.keypair``."""
    pem = yield from _read_secret(KEYPAIR, name)
    if pem is None:
        raise UnknownTokenError(
            f"the key pair of {name!r} is not stored here: pass it to add(), or make a new one with"
            " replace_keypair()"
        )
    return read_keypair(name, pem)


def stage_flow(name: str, p7m: bytes, apple_id: str | None) -> Flow[StagedToken]:
    """Decrypt the file of a token and ask Apple about it; see ``TokenService.stage``."""
    setup = yield from setup_flow(name)
    saved_id = "" if setup.is_stored else setup.apple_id
    if apple_id is None and not saved_id:
        raise TokenError("apple_id is missing", "pass the Apple ID with which the file was downloaded")
    keypair, token = yield from _decrypt_file(setup, p7m, saved_id if apple_id is None else apple_id)
    return (yield from _verify(token, keypair))


def _verify(token: Token, keypair: TokenKeypair) -> Flow[StagedToken]:
    """Ask Apple about *token*, and return it with its problems."""
    before = yield from _find_token(token.name)
    account = yield from ask(ReadAccount(token))  # rule 1
    token = account.identify(token)
    problems = list(token.problems)
    if before is not None:
        problems += before.renewal_problems(token)
    damaged: list[DamagedRecordError] = []
    others = yield from in_store(lambda store: store.tokens(damaged=damaged.append))
    for error in damaged:
        allowed = f"it may be the server of {error.token_name!r}, a token that cannot be read"
        fix = f"see the problems of {error.token_name!r} in doctor()"
        problems.append(Problem("server_uuid", token.server_uuid or "", allowed, fix, Severity.WARNING))
    for other in others:
        if other.name != token.name and other.server_uuid and other.server_uuid == token.server_uuid:
            allowed = (
                f"an MDM server of its own; this one has the token {other.name!r}, which would stop working"
            )
            problems.append(Problem("server_uuid", token.server_uuid or "", allowed, f"renew {other.name!r}"))
    return StagedToken(token=token, account=account, renews=before, problems=tuple(problems), keypair=keypair)


def add_flow(token: Token, keypair: TokenKeypair, *, force: bool) -> Flow[AcceptedToken]:
    """Adopt a token with its key pair; see ``TokenService.add``."""
    before = yield from _find_token(token.name)
    pem, stored_pem = keypair_to_pem(keypair), None
    with suppress(DamagedRecordError):  # it is overwritten
        stored_pem = yield from _read_secret(KEYPAIR, token.name)
    is_same = before is not None and before.fingerprint == token.fingerprint
    if is_same and stored_pem not in (None, pem) and not force:
        raise TokenError(
            f"keypair: another one is stored for this same token {token.name!r}",
            "keep that one, or call add() with force=True to replace it",
        )
    try:
        staged = yield from _verify(token, keypair)
    except (AppleError, TransportError) as error:
        if before is None or not is_same:
            raise
        # The stored token may have expired: its key pair decrypts the file that renews it.
        yield from _save_secret(KEYPAIR, token.name, pem)
        now, error_text, refusal = (yield from ask(Now())), f"{type(error).__name__}: {error}", error
        yield from in_store(lambda store: suspend_refused(store, before.name, refusal, now=now))
        return AcceptedToken(token=before, sync=None, error=error_text)
    return (yield from accept_flow(staged, token.scope_tags or None, force=force))


def _decrypt_file(setup: TokenSetup, p7m: bytes, apple_id: str) -> Flow[tuple[TokenKeypair, Token]]:
    """Return the key pair that decrypts a file, the newer one or the older, and the token in it."""
    failure: TokenError | None = None
    for secret in (NEXT_KEYPAIR, KEYPAIR):
        pem = yield from _read_secret(secret, setup.name)
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
        raise _lost_keypair_error(setup.name)
    raise TokenError(
        f"the key pair of {setup.name!r} is not stored here, so its file cannot be decrypted",
        "pass it to add(), or make a new one with replace_keypair() and upload its certificate in the portal",
    )


def _lost_keypair_error(name: str) -> UnknownTokenError:
    return UnknownTokenError(
        f"the key pair of the new token {name!r} is no longer stored: call create() to make another one, and"
        " repeat the steps"
    )


def accept_flow(staged: StagedToken, scope_tags: Iterable[str] | None, *, force: bool) -> Flow[AcceptedToken]:
    """Store a staged token and sync immediately; see ``TokenService.accept``."""
    scope_tags = tags_or_none(scope_tags)
    token, problems = staged.token, staged.problems
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if errors and not force:
        raise TokenError(
            "; ".join(map(str, errors)), "fix it, or call accept() with force=True if this is intended"
        )
    before = yield from _find_token(token.name)
    is_again = before is not None and before.fingerprint == token.fingerprint
    if before is not None and (staged.renews is not None or is_again):
        # Not ``staged.renews``: another process may have renewed it meanwhile; rule 4
        stored = before.renew(token, scope_tags, force=force)
        yield from in_store(lambda store: store.replace_token(stored))  # rule 3
    elif staged.renews is not None:
        raise UnknownTokenError(f"the token {token.name!r} was deleted meanwhile: begin again with create()")
    else:
        stored = token if scope_tags is None else attrs.evolve(token, scope_tags=scope_tags)
        yield from in_store(lambda store: store.add_token(stored))
    pem = keypair_to_pem(staged.keypair)
    yield from _save_secret(KEYPAIR, token.name, pem)
    # A file for the older key pair does not remove the newer one.
    if (yield from _read_secret(NEXT_KEYPAIR, token.name)) == pem:
        yield from _save_secret(NEXT_KEYPAIR, token.name, None)
    yield from _save_secret(SETUP, token.name, None)
    try:
        report = yield from ask(RunSync(stored))
    except PyadeError as error:
        error_text = f"{type(error).__name__}: {error}"
        return AcceptedToken(token=stored, sync=None, error=error_text, problems=problems)
    return AcceptedToken(token=stored, sync=report, problems=problems)


def replace_keypair_flow(name: str) -> Flow[bytes]:
    """Make a new key pair for a stored token; see ``TokenService.replace_keypair``."""
    yield from in_store(lambda store: store.token(name))
    # The name of a token that was made elsewhere need not be a valid common name.
    return (yield from _get_or_make_keypair(NEXT_KEYPAIR, name, common_name_of(name))).certificate_pem


def delete_flow(name: str, *, cascade: bool) -> Flow[TokenRemoval]:
    """Delete a token here; see ``TokenService.delete``."""
    now = yield from ask(Now())
    token = yield from _find_token(name)
    if token is None:
        return (yield from _discard_unfinished(name))
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
    yield from _remove_secrets(name)
    return removal


def _discard_unfinished(name: str) -> Flow[TokenRemoval]:
    """Remove the secrets of an unfinished token, or those that an interrupted deletion left."""
    secrets = yield from in_store(
        lambda store: [kind for kind in SECRET_KINDS if has_secret(store, kind, name)]
    )
    if not secrets:
        raise UnknownTokenError(f"no token {name!r} is stored or unfinished")
    portal = None
    with suppress(DamagedRecordError):  # deleting it allows to begin again
        setup = yield from in_store(lambda store: read_setup(store, name))
        portal = None if setup is None else setup.portal
    yield from _remove_secrets(name)
    return TokenRemoval(name=name, apple_id="", devices=0, profiles=0, portal=portal)


def _remove_secrets(name: str) -> Flow[None]:
    for kind in SECRET_KINDS:
        yield from _save_secret(kind, name, None)


def setup_flow(name: str) -> Flow[TokenSetup]:
    """Return the steps of a token that is stored or unfinished."""
    now = yield from ask(Now())
    found = yield from in_store(lambda store: find_setup(store, name, now))
    if found is None:
        raise UnknownTokenError(f"no token {name!r} is stored or unfinished: begin with create()")
    return found


def under_way_flow(damaged: OnDamaged | None) -> Flow[tuple[TokenSetup, ...]]:
    """Return the unfinished tokens; see ``TokenService.under_way``."""
    now = yield from ask(Now())
    return (yield from in_store(lambda store: tuple(under_way(store, now, damaged))))


def _get_or_make_keypair(kind: str, name: str, common_name: str) -> Flow[TokenKeypair]:
    """Return the stored key pair, whose certificate may be in the portal; make one if there is none."""
    now = yield from ask(Now())
    pem = yield from _read_secret(kind, name)
    if pem is None:
        made = yield from ask(Compute(lambda: TokenKeypair.generate(common_name, now=now)))
        # Generation takes time: another process may have stored one; rule 4
        pem = yield from _read_secret(kind, name)
        if pem is None:
            yield from _save_secret(kind, name, keypair_to_pem(made))
            return made
    return read_keypair(name, pem)


def _find_token(name: str) -> Flow[Token | None]:
    try:
        return (yield from in_store(lambda store: store.token(name)))
    except UnknownTokenError:
        return None


def _read_secret(kind: str, name: str) -> Flow[Secret | None]:
    return (yield from in_store(lambda store: read_secret(store, kind, name)))


def _save_secret(kind: str, name: str, secret: Secret | None) -> Flow[None]:
    yield from in_store(lambda store: store.save_secret(kind.format(name), secret))


def _save_setup(setup: TokenSetup) -> Flow[None]:
    yield from _save_secret(SETUP, setup.name, Secret(msgspec.json.encode(setup).decode()))
