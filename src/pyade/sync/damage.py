"""Damaged records: find their token, and continue the work for all other tokens.

A damaged record stops the token that it belongs to, and no other: functions that read the records of several
tokens leave out what cannot be read, and report it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final, Protocol, runtime_checkable

import attrs

from pyade.core.fleet.records import DeviceRecord, SyncState
from pyade.core.fleet.suspension import is_damaged
from pyade.core.token import Token
from pyade.errors import DamagedRecordError, UnknownTokenError
from pyade.storage.protocol import Store
from pyade.text import logger

_REPLACE: Final = "restore a backup, or store the token anew with store.replace_token()"
_ADD_AGAIN: Final = "restore a backup, or remove the token from the store and add it again"

_ADVICE: Final = ": restore a backup, or store it anew"

_log = logger(__name__)


@attrs.frozen(kw_only=True)
class Fleet:
    """All tokens of a store at one time, by name.

    Attributes:
        tokens: The tokens that can be read.
        states: The sync states that can be read.
        damaged: For each other token the error: the token, its sync state, or both cannot be read.
    """

    tokens: Mapping[str, Token] = attrs.field(hash=False)
    states: Mapping[str, SyncState] = attrs.field(hash=False)
    damaged: Mapping[str, DamagedRecordError] = attrs.field(hash=False)

    def readable(self) -> Iterator[tuple[Token, SyncState]]:
        """Yield the tokens of which token and sync state can be read, with the state, by name."""
        for name, token in self.tokens.items():
            if name in self.states:
                yield token, self.states[name]

    def remedy(self, name: str) -> str:
        """Return what to do about the damaged token called *name*."""
        return _ADD_AGAIN if name in self.tokens else _REPLACE


def damage_of(error: DamagedRecordError) -> str:
    """Return what cannot be read, without the general advice, for texts with better advice."""
    return error.reason.removesuffix(_ADVICE)


def read_fleet(store: Store) -> Fleet:
    """Return all tokens of *store*.

    Raises:
        StoreError: The store failed.
    """
    damaged: dict[str, DamagedRecordError] = {}

    def note(error: DamagedRecordError) -> None:
        damaged.setdefault(error.token_name, error)

    tokens = {token.name: token for token in store.tokens(damaged=note)}
    states = store.sync_states(damaged=note)
    return Fleet(tokens=tokens, states=states, damaged=damaged)


class DamageLog:
    """Remembers what was logged about damaged tokens, to log it once; safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logged: dict[str, str] = {}
        self._suspended: set[str] = set()

    def update(self, damaged: Mapping[str, DamagedRecordError]) -> None:
        """Log what is new in *damaged*, once per change, and the tokens that can be read again."""
        with self._lock:
            for name in self._logged.keys() - damaged.keys():
                _log.info("%s: can be read again", name)
            found = {name: str(error) for name, error in damaged.items()}
            changed = {name: text for name, text in found.items() if self._logged.get(name) != text}
            for name, text in changed.items():
                _log.warning("%s: no work is done until an administrator acts: %s", name, text)
            self._logged = found
            self._suspended &= found.keys() - changed.keys()

    def is_to_suspend(self, name: str, state: SyncState) -> bool:
        """Return True until a token that cannot be read was suspended, by any process.

        It is suspended only once: if it works again although this process cannot read it, another process has
        the key.
        """
        with self._lock:
            if is_damaged(state):
                self._suspended.add(name)
            return name not in self._suspended


def check_readable(store: Store, token_name: str) -> None:
    """Check that devices, their groups and profiles of a token can be read.

    Raises:
        DamagedRecordError: One cannot be read.
    """
    store.default_profile(token_name)
    store.profiles(token_name)
    store.device_groups(token_name)
    for _ in store.devices(token_name, released=None):
        pass


def readable_records(
    store: Store, serials: Sequence[str], damaged: Callable[[DamagedRecordError], None] | None = None
) -> list[DeviceRecord]:
    """Return what all tokens know about *serials*, as ``Store.records_of`` does.

    Args:
        store: Where the devices are.
        serials: Their serial numbers.
        damaged: Called for each record that cannot be read, which is left out.
    """
    try:
        return list(store.records_of(serials))
    except DamagedRecordError:
        if len(serials) > 1:  # find the damaged ones: only for these each token is read
            single = sorted(set(serials))
            return [record for serial in single for record in readable_records(store, [serial], damaged)]
        fleet = read_fleet(store)
    found: list[DeviceRecord] = []
    for serial in serials:
        for name in sorted({*fleet.tokens, *fleet.damaged}):
            try:
                with suppress(UnknownTokenError):  # it was removed meanwhile
                    record = store.device(name, serial)
                    found += [] if record is None else [record]
            except DamagedRecordError as error:
                if damaged is not None:
                    damaged(error)
    return found


@contextmanager
def naming_token(token_name: str) -> Iterator[None]:
    """Name the token in errors of the block about damaged records for which the store names none."""
    try:
        yield
    except DamagedRecordError as error:
        if error.token_name:
            raise
        reason = f"token {token_name!r}: {error}"
    else:
        return
    raise DamagedRecordError(reason, token_name=token_name)


@runtime_checkable
class _ListsUnreadableSecrets(Protocol):
    def unreadable_secrets(self) -> tuple[str, ...]:
        """Return the names of the secrets that none of the keys decrypts."""
        ...


def unreadable_secrets(store: Store) -> tuple[str, ...]:
    """Return the names of the secrets that no key of *store* decrypts; none if the store cannot list them."""
    return store.unreadable_secrets() if isinstance(store, _ListsUnreadableSecrets) else ()
