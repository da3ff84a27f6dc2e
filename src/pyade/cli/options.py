"""What the commands share: their options, the store, and the clients.

The rules of this file:

1. An option wins over the variable of the environment.
2. Keys and passwords are never arguments, which other users of the machine can read.
3. Only a command that begins something creates a store; others refuse a path without a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

import attrs
import click

from pyade.cli.files import WrongUsageError, read_lines
from pyade.cli.output import Json, show, show_json
from pyade.errors import DamagedRecordError
from pyade.loading import lazy_modules
from pyade.text import printable

if TYPE_CHECKING:
    from pyade.apple import client
    from pyade.apple.client import Client
    from pyade.apple.http import sessions
    from pyade.core.token import Token
    from pyade.operations import token_service as service
    from pyade.operations.token_service import TokenService
    from pyade.storage import sqlite
    from pyade.storage.protocol import Store
    from pyade.storage.sql import SQLStore
else:  # what a command on files does not need
    lazy_modules(
        globals(),
        client="pyade.apple.client",
        sessions="pyade.apple.http.sessions",
        sqlite="pyade.storage.sqlite",
        service="pyade.operations.token_service",
    )

BEGIN: Final = "begin with pyade token new NAME --consent"
"""The advice for a store without a token."""

NO_TOKEN: Final = f"no token is stored: {BEGIN}"

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


@attrs.define
class Settings:
    """The options of one run that commands share.

    Attributes:
        json: Print JSON instead of text.
        verbose: Show the log.
        store: Path or DSN; None for the environment's.
        schema: The schema in PostgreSQL.
        keys_file: The file with the keys of the store; None for those of the environment.
        base_url: The address of the device assignment service; None for the environment's, else Apple's.
    """

    json: bool = False
    verbose: bool = False
    store: str | None = None
    schema: str | None = None
    keys_file: str | None = None
    base_url: str | None = None

    def keys(self) -> list[str] | None:
        """Return the keys that encrypt the secrets of the store; None to store plain text (rule 2)."""
        if self.keys_file is not None:
            return read_lines(self.keys_file)
        found = os.environ.get("PYADE_STORE_KEYS")
        return None if found is None else found.replace(",", " ").split()

    def open_store(self, *, create: bool = False) -> SQLStore:
        """Open the store; it is closed when the command ends.

        Args:
            create: Create a file that does not exist (rule 3).

        Raises:
            WrongUsageError: No store is named, its name cannot be used, or there is no such file.
            StoreError: It cannot be opened.
        """
        name = self._store_name()
        if "://" in name:
            store: SQLStore = self._open_postgres(name)
        else:
            path, shown = Path(name), printable(name)
            if name == ":memory:" or path.is_dir():
                raise WrongUsageError(f"{shown} is no file: give --store a path such as ade.db")
            if not create and not path.exists():
                raise WrongUsageError(
                    f"there is no store {shown}: check the path, or {BEGIN} --store {shown}"
                )
            store = sqlite.SQLiteStore(path, keys=self.keys())
        return click.get_current_context().with_resource(store)

    def client_for(self, token: Token) -> Client:
        """Return a client for *token*, which may not be stored yet."""
        return client.Client(token, base_url=self._base_url())

    def client_of(self, store: SQLStore, name: str) -> Client:
        """Return a client for the stored token *name*, whose session the store keeps."""
        return client.Client(
            lambda: store.token(name), base_url=self._base_url(), sessions=sessions.SessionCache(store)
        )

    def token_service(self, store: SQLStore) -> TokenService:
        """Return the service that makes and renews tokens."""
        return service.TokenService(store, self.client_for)

    def _base_url(self) -> str:
        return self.base_url or os.environ.get("PYADE_BASE_URL") or client.BASE_URL

    def _store_name(self) -> str:
        name = self.store or os.environ.get("PYADE_STORE")
        if not name:
            raise WrongUsageError("no store is named: give --store PATH, or set PYADE_STORE")
        if self.store and "://" in self.store:
            parts = urlsplit(self.store)
            if parts.password or "password" in parse_qs(parts.query):
                raise WrongUsageError(
                    "--store has a password, which other users of this machine can read:"
                    " set PYADE_STORE instead, or keep the password in ~/.pgpass"
                )
        return name

    def _open_postgres(self, dsn: str) -> SQLStore:
        if urlsplit(dsn).scheme not in ("postgresql", "postgres"):
            raise WrongUsageError("a store is a path, or a DSN that begins with postgresql://")
        try:
            from pyade.storage.postgres import PostgresStore  # noqa: PLC0415 - psycopg is optional
        except ImportError as missing:
            raise WrongUsageError(str(missing)) from None
        schema = self.schema or os.environ.get("PYADE_STORE_SCHEMA") or "pyade"
        return PostgresStore(dsn, keys=self.keys(), schema=schema)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep an option that was given to the program or to the command."""
    if value:
        setattr(context.ensure_object(Settings), str(parameter.name), value)


def _option(*names: str, help: str, **more: Any) -> Callable[[CommandT], CommandT]:  # noqa: A002 - as in click
    return click.option(*names, help=help, expose_value=False, callback=_keep, **more)


_JSON = _option("--json", is_flag=True, help="Print JSON instead of text.")
_VERBOSE = _option("--verbose", "-v", is_flag=True, help="Show the log on stderr.")
_STORE = _option("--store", metavar="PATH|DSN", help="SQLite file or postgresql:// DSN.  [env: PYADE_STORE]")
_SCHEMA = _option("--schema", metavar="NAME", help="Schema in PostgreSQL.  [env: PYADE_STORE_SCHEMA]")
_KEYS = _option(
    "--store-keys",
    "keys_file",
    metavar="FILE",
    help="Keys that encrypt the secrets of the store, one a line.  [env: PYADE_STORE_KEYS, the keys]",
)
_BASE_URL = _option(
    "--base-url", metavar="URL", help="Device assignment service, such as a fake.  [env: PYADE_BASE_URL]"
)


def common(command: CommandT) -> CommandT:
    """Add the options that every command has."""
    return _JSON(_VERBOSE(command))


def with_store(command: CommandT) -> CommandT:
    """Add the options of commands that use the store."""
    return _STORE(_SCHEMA(_KEYS(common(command))))


def with_apple(command: CommandT) -> CommandT:
    """Add the options of commands that use the store and Apple's service."""
    return _BASE_URL(with_store(command))


def with_key(command: CommandT) -> CommandT:
    """Add ``--key`` and ``--passphrase-file``."""
    key = click.option("--key", metavar="FILE", help="PEM file with the private key and its certificate.")
    passphrase = click.option(
        "--passphrase-file",
        metavar="FILE",
        help="Passphrase of the private key; else a prompt.  [env: PYADE_KEY_PASSPHRASE]",
    )
    return key(passphrase(command))


def settings() -> Settings:
    """Return the options of this run."""
    return click.get_current_context().ensure_object(Settings)


def show_result(value: object, *, json: Json = None) -> None:
    """Print a result: as text, or with ``--json`` as JSON.

    Args:
        value: The result, which escapes itself.
        json: Its JSON, if that is not *value*.
    """
    if settings().json:
        show_json(value if json is None else json)
    else:
        show(value)


def stored_names(store: Store) -> set[str]:
    """Return the names of the stored tokens, with those that cannot be read."""
    damaged: list[DamagedRecordError] = []
    return {one.name for one in store.tokens(damaged=damaged.append)} | {one.token_name for one in damaged}


def check_name(name: str, known: Collection[str]) -> None:
    """Check that *name* is one of the *known* tokens.

    Raises:
        WrongUsageError: It is not; the error names those that are.
    """
    if name in known:
        return
    there = ", ".join(map(repr, sorted(known)))
    advice = f"there are {there}" if known else f"none is stored: {BEGIN}"
    raise WrongUsageError(f"there is no token {name!r}; {advice}")
