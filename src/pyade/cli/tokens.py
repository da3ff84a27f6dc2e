"""``pyade token``: create, upload, renew, list and delete server tokens."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from pyade.cli.files import WrongUsageError, read_bytes, read_keypair, write_new
from pyade.cli.options import (
    NO_TOKEN,
    check_name,
    settings,
    show_result,
    stored_names,
    with_apple,
    with_key,
    with_store,
)
from pyade.cli.output import Json, plain, show, show_json, tell
from pyade.core.token import Portal, Token, TokenHealth, status_at
from pyade.core.values import parse_time
from pyade.crypto.keypair import TokenKeypair
from pyade.crypto.token_file import (
    MAX_TOKEN_FILE_BYTES,
    TokenSecrets,
    cms_message,
    read_envelope,
    read_token_file,
)
from pyade.errors import DamagedRecordError, TokenError
from pyade.flow import utc_now
from pyade.operations.token_service import TokenService
from pyade.operations.token_steps import AcceptedToken
from pyade.storage.protocol import Store
from pyade.text import printable


def _check_consent(_context: click.Context, _option: click.Parameter, is_given: bool) -> None:
    if not is_given:
        raise WrongUsageError(
            "a token sends user and device information to Apple: ask an administrator, and give --consent"
        )


_APPLE_ID = "The Apple ID with which the file was downloaded."
_output = click.option("--output", metavar="FILE", help="Where to write the certificate; else NAME.pem.")
_force_file = click.option("--force", is_flag=True, help="Overwrite a file that exists.")
_force = click.option("--force", is_flag=True, help="Store it although a problem is an error.")
_consent = click.option(
    "--consent",
    is_flag=True,
    callback=_check_consent,
    expose_value=False,
    help="An administrator agreed to send user and device information to Apple.",
)
_school = click.option(
    "--school", is_flag=True, help="In Apple School Manager instead of Apple Business Manager."
)
_scope_tags = click.option(
    "--scope-tag", "scope_tags", multiple=True, help="Who may see it; may be repeated."
)


@click.group(help="Make, renew, list and delete server tokens.")
def token() -> None:
    """Hold the commands of tokens."""


@token.command(help="Begin a new token. Writes the certificate for Apple's portal, and shows the next step.")
@click.argument("name")
@_consent
@_school
@_scope_tags
@_output
@_force_file
@with_store
def new(*, name: str, school: bool, scope_tags: tuple[str, ...], output: str | None, force: bool) -> None:
    """Begin a new token, or continue one."""
    store = settings().open_store(create=True)
    service = settings().token_service(store)
    path = _certificate_path(name, output)
    if path.exists() and not force and name not in _known(store, service):
        raise WrongUsageError(f"{printable(str(path))} exists: give --output another file, or --force")
    service.create(
        name, consent=True, portal=Portal.SCHOOL if school else None, scope_tags=scope_tags or None
    )
    _write_certificate(service, name, service.certificate(name), output, force=force)


@token.command(help="Write the certificate again. Or that of a new key pair, for Apple's portal.")
@click.argument("name")
@click.option("--new-keypair", is_flag=True, help="Make a new key pair for a stored token.")
@_output
@_force_file
@with_store
def certificate(name: str, new_keypair: bool, output: str | None, force: bool) -> None:
    """Write a certificate."""
    store = settings().open_store()
    service = settings().token_service(store)
    check_name(name, _known(store, service))
    pem = service.replace_keypair(name) if new_keypair else service.certificate(name)
    _write_certificate(service, name, pem, output, force=force)


@token.command(help="Show the next step of a token. In Apple's portal or here; --done stores what is done.")
@click.argument("name")
@click.option("--done", type=click.IntRange(2, 4), help="Steps 2 to this one were done in the portal.")
@click.option("--apple-id", help=_APPLE_ID)
@with_store
def steps(name: str, done: int | None, apple_id: str | None) -> None:
    """Show the steps of a token."""
    store = settings().open_store()
    service = settings().token_service(store)
    check_name(name, _known(store, service))
    if done is not None:
        service.step_done(name, done, apple_id=apple_id)
    setups = {setup.name: setup for setup in service.under_way()}
    step = service.next_step(name)
    if settings().json:
        show_json({"name": name, "is_new": name in setups, "next_step": step})
        return
    if name in setups:
        show(setups[name])
    show(step)


@token.command(help="Upload the file of a new token. Verifies it with Apple, stores it, and syncs.")
@click.argument("name")
@click.argument("file")
@click.option("--apple-id", help=_APPLE_ID)
@_scope_tags
@_force
@with_apple
def upload(name: str, file: str, apple_id: str | None, scope_tags: tuple[str, ...], force: bool) -> int:
    """Upload the first file of a token."""
    store = settings().open_store()
    service = settings().token_service(store)
    check_name(name, _known(store, service))
    if name in stored_names(store):
        raise WrongUsageError(f"the token {name!r} is stored already: use pyade token renew {name} {file}")
    data = read_bytes(file, at_most=MAX_TOKEN_FILE_BYTES)
    return _show_accepted(
        service.upload(name, data, apple_id=apple_id, scope_tags=scope_tags or None, force=force)
    )


@token.command(help="Renew a token with a new file. Cursor, devices and profiles stay.")
@click.argument("name")
@click.argument("file")
@click.option("--apple-id", required=True, help=_APPLE_ID)
@_force
@with_apple
def renew(name: str, file: str, apple_id: str, force: bool) -> int:
    """Renew a stored token."""
    store = settings().open_store()
    service = settings().token_service(store)
    check_name(name, stored_names(store))
    data = read_bytes(file, at_most=MAX_TOKEN_FILE_BYTES)
    return _show_accepted(service.upload(name, data, apple_id=apple_id, force=force))


@token.command(help="Add a token made elsewhere. From its file and its key pair; verifies it, and syncs.")
@click.argument("name")
@click.argument("file")
@with_key
@click.option("--apple-id", required=True, help=_APPLE_ID)
@_consent
@_school
@_scope_tags
@_force
@with_apple
def add(name: str, file: str, key: str | None, passphrase_file: str | None, **given: Any) -> int:
    """Add a token with its key pair."""
    if key is None:
        raise WrongUsageError("give --key, the key pair that decrypts the file")
    keypair = read_keypair(key, passphrase_file)
    made = Token.from_p7m(
        read_bytes(file, at_most=MAX_TOKEN_FILE_BYTES),
        keypair,
        name=name,
        apple_id=given["apple_id"],
        consented_at=utc_now(),
        portal=Portal.SCHOOL if given["school"] else Portal.BUSINESS,
        scope_tags=given["scope_tags"],
    )
    store = settings().open_store(create=True)
    return _show_accepted(settings().token_service(store).add(made, keypair, force=given["force"]))


@token.command(help="Show what is in a token file. Without its secrets.")
@click.argument("file")
@with_key
@click.option("--name", help="Decrypt it with the key pair of this token in the store.")
@with_store
def read(file: str, key: str | None, passphrase_file: str | None, name: str | None) -> None:
    """Show the facts of a token file."""
    if (key is None) == (name is None):
        raise WrongUsageError("give --key FILE, or --name NAME for the key pair in the store")
    if key is not None:
        keypair = read_keypair(key, passphrase_file)
    else:
        store = settings().open_store()
        service = settings().token_service(store)
        check_name(str(name), _known(store, service))
        keypair = service.keypair(str(name))
    show_token_file(read_bytes(file, at_most=MAX_TOKEN_FILE_BYTES), keypair)


@token.command("list", help="List the tokens. Stored and unfinished ones.")
@with_store
def list_command() -> None:
    """List the tokens."""
    store = settings().open_store()
    service = settings().token_service(store)
    damaged: list[DamagedRecordError] = []
    stored = store.tokens(damaged=damaged.append)
    begun = [
        one for one in service.under_way(damaged=damaged.append) if one.name not in {it.name for it in stored}
    ]
    for error in damaged:
        tell(error)
    now = utc_now()
    if settings().json:
        show_json({"tokens": [token_json(one, now) for one in stored], "unfinished": begun})
        return
    for one in stored:
        show(one)
    for setup in begun:
        show(setup)
    if not stored and not begun:
        tell(NO_TOKEN)


@token.command(help="Delete a token here. Its MDM server stays in Apple's portal.")
@click.argument("name")
@click.option("--cascade", is_flag=True, help="Delete its devices and profiles with it.")
@with_store
def delete(name: str, cascade: bool) -> None:
    """Delete a token."""
    store = settings().open_store()
    service = settings().token_service(store)
    check_name(name, _known(store, service))
    show_result(service.delete(name, cascade=cascade))


def token_json(one: Token, now: datetime) -> Json:
    """Return a token as JSON, without secrets."""
    return plain(
        {
            "name": one.name,
            "organization": one.org_name,
            "portal": one.portal_to_use,
            "apple_id": one.apple_id,
            "server_uuid": one.server_uuid,
            "scope_tags": one.scope_tags,
            "consented_at": one.consented_at,
            "health": one.health(now),
        }
    )


def show_token_file(data: bytes, keypair: TokenKeypair | None) -> None:
    """Print what a token file is: its recipients and cipher, and decrypted also its expiry; no secret.

    Raises:
        WrongUsageError: It is no token file, or another key pair is needed.
    """
    try:
        envelope = read_envelope(cms_message(data))
        secrets = None if keypair is None else read_token_file(data, keypair)
    except TokenError as error:
        raise WrongUsageError(str(error)) from None
    numbers = [one.serial_number for one in envelope.recipients if one.serial_number is not None]
    found: dict[str, Any] = {
        "cipher": envelope.cipher,
        "certificates": [f"{number:X}" for number in numbers],
        "decrypted": secrets is not None,
    }
    lines = [
        f"server token file, {envelope.cipher}",
        f"  for the certificate {', '.join(found['certificates']) or 'of a key identifier'}",
    ]
    if keypair is None or secrets is None:
        lines.append("  not decrypted: give --key")
    else:
        health = _health_of(secrets)
        found |= {"status": health.status, "expires_at": health.expires_at}
        name = keypair.certificate.subject.rfc4514_string()
        lines += [f"  decrypted with the key pair of {name}", f"  {health}"]
    show_result("\n".join(lines), json=found)


def _health_of(secrets: TokenSecrets) -> TokenHealth:
    try:
        expires_at = None if secrets.access_token_expiry is None else parse_time(secrets.access_token_expiry)
    except (ValueError, OverflowError):
        expires_at = None
    now = utc_now()
    remaining = None if expires_at is None else expires_at - now
    return TokenHealth(
        status=status_at(expires_at, now), expires_at=expires_at, remaining=remaining, next_step=""
    )


def _certificate_path(name: str, output: str | None) -> Path:
    return Path(output or f"{name.replace('/', '_')}.pem")


def _write_certificate(
    service: TokenService, name: str, pem: bytes, output: str | None, *, force: bool
) -> None:
    path = _certificate_path(name, output)
    write_new(path, pem, force=force)
    step = service.next_step(name)
    text = printable(f"{name}: the certificate for Apple's portal is in {path}")
    show_result(f"{text}\n{step}", json={"name": name, "certificate": str(path), "next_step": step})


def _show_accepted(accepted: AcceptedToken) -> int:
    """Print a token that was stored; return 0, or 1 if its sync failed."""
    found = {
        "token": token_json(accepted.token, utc_now()),
        "sync": accepted.sync,
        "error": accepted.error,
        "problems": accepted.problems,
    }
    show_result(accepted, json=found)
    if accepted.error:
        tell(f"the token {accepted.token.name!r} is stored, and its sync failed: run pyade sync later")
    return 1 if accepted.error else 0


def _known(store: Store, service: TokenService) -> set[str]:
    damaged: list[DamagedRecordError] = []
    begun = {one.name for one in service.under_way(damaged=damaged.append)}
    return stored_names(store) | begun | {one.token_name for one in damaged}
