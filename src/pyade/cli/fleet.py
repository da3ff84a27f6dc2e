"""``pyade sync``, ``assign``, ``overview`` and ``doctor``: work on the tokens of a store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from pyade.assignment.assigner import Assigner
from pyade.assignment.report import AssignReport
from pyade.cli.app import DONE, FAILED, code_of
from pyade.cli.files import WrongUsageError, passphrase_for, read_bytes, read_lines
from pyade.cli.options import (
    NO_TOKEN,
    Settings,
    check_name,
    settings,
    show_result,
    stored_names,
    with_apple,
    with_store,
)
from pyade.cli.output import Json, plain, show, show_json, tell
from pyade.cli.profile_files import read_profile_file, with_intune
from pyade.core.fleet.device import DeviceResult
from pyade.core.problems import Severity
from pyade.crypto.push_certificate import PushCertificate
from pyade.errors import PyadeError, SigningError
from pyade.flow import utc_now
from pyade.operations.health import doctor
from pyade.operations.token_overview import overview
from pyade.storage.protocol import Store
from pyade.sync.report import SyncOutcome, SyncReport
from pyade.sync.suspension import send_reminders
from pyade.sync.syncer import Syncer
from pyade.text import printable

_UNDONE: Final = (
    SyncOutcome.REPEATED_CURSOR,
    SyncOutcome.NO_CURSOR,
    SyncOutcome.RELEASE_HELD,
    SyncOutcome.OVERTAKEN,
)
"""Outcomes of a sync after which the store does not hold what Apple has."""


@click.command(help="Sync with Apple's service. The tokens NAME, or all.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--full", "lists", is_flag=True, help="Fetch Apple's full list of devices.")
@click.option("--changes", "follows", is_flag=True, help="Follow the changes, no full list.")
@click.option("--automatic", is_flag=True, help="A nightly job: the longer interval applies.")
@click.option("--force", is_flag=True, help="Release every device that the full list does not show.")
@with_apple
def sync(names: tuple[str, ...], lists: bool, follows: bool, automatic: bool, force: bool) -> int:
    """Sync tokens."""
    if lists and follows:
        raise WrongUsageError("--full and --changes exclude each other: give one, or neither")
    given = settings()
    store = given.open_store()
    full = lists if lists or follows else None

    def sync_one(name: str) -> tuple[SyncReport, int]:
        with given.client_of(store, name) as client:
            syncer = Syncer(client, store, progress=_shows_progress(given))
            report = syncer.sync(full=full, automatic=automatic, force=force)
            while report.continues:
                report = syncer.sync(full=full, automatic=automatic, force=force)
        return report, FAILED if report.outcome in _UNDONE else DONE

    code = _for_each(given, chosen(store, names), sync_one)
    send_reminders(store, now=utc_now())  # a nightly job is all that runs in many places
    return code


@click.command(help="Assign the default profile to Macs. Those of the tokens NAME, or of all.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--profile", "file", metavar="FILE", help="Becomes the default profile; else the stored one.")
@click.option("--preview", is_flag=True, help="Show what would be sent; send and store nothing.")
@with_intune
@with_apple
def assign(names: tuple[str, ...], file: str | None, preview: bool, **intune: Any) -> int:
    """Assign the default profile."""
    given = settings()
    default = None if file is None else read_profile_file(file, **intune)
    store = given.open_store()

    def assign_one(name: str) -> tuple[Any, int]:
        with given.client_of(store, name) as client:
            assigner = Assigner(client, store, progress=_shows_progress(given))
            if preview:
                plan = assigner.preview(default)
                return ({"token_name": name, **plan.to_dict()} if given.json else f"{name}: {plan}"), DONE
            report = assigner.run(default)
        return report, DONE if _is_done(report) else FAILED

    return _for_each(given, chosen(store, names), assign_one)


@click.command("overview", help="Show every token and its devices.")
@with_store
def overview_command() -> None:
    """Show the state of every token."""
    found = overview(settings().open_store())
    if settings().json:
        show_json({"tokens": found})
        return
    if not found:
        tell(NO_TOKEN)
    for one in found:
        show(one)


@click.command("doctor", help="Check everything that Macs need. The exit code is 1 if a problem is an error.")
@click.option("--offline", is_flag=True, help="Ask the store alone, not Apple.")
@click.option("--push", metavar="FILE", help="The MDM push certificate, to check it too.")
@click.option("--passphrase-file", metavar="FILE", help="Passphrase of the key in that file.")
@click.option("--serials", metavar="FILE", help="Serial numbers of a purchase, one a line, to look for.")
@with_apple
def doctor_command(offline: bool, push: str | None, passphrase_file: str | None, serials: str | None) -> int:
    """Check everything that Macs need."""
    given = settings()
    report = doctor(
        given.open_store(),
        None if offline else given.client_for,
        push=None if push is None else _push_certificate(push, passphrase_file),
        expected_serials=() if serials is None else read_lines(serials),
    )
    show_result(report)
    return DONE if report.is_healthy else FAILED


def _push_certificate(path: str, passphrase_file: str | None) -> PushCertificate:
    data = read_bytes(path, at_most=256 * 1024)
    passphrase = passphrase_for(data, passphrase_file)
    try:
        return PushCertificate.load(data, None if passphrase is None else passphrase.reveal())
    except SigningError as error:
        raise WrongUsageError(f"{printable(path)}: {error}") from None


def chosen(store: Store, names: Sequence[str]) -> tuple[str, ...]:
    """Return the tokens to work on: the named ones, else all."""
    known = stored_names(store)
    for name in names:
        check_name(name, known)
    if not known:
        raise WrongUsageError(NO_TOKEN)
    return tuple(dict.fromkeys(names or sorted(known)))


def _for_each(given: Settings, names: Sequence[str], work: Callable[[str], tuple[Any, int]]) -> int:
    """Do *work* for each token, print its result, and return the exit code; an error stops no other token."""
    results: list[Json] = []
    codes = {DONE}
    for name in names:
        try:
            result, code = work(name)
            results.append(result)
        except PyadeError as error:
            tell(f"{name}: {error}")
            result, code = error.report, code_of(error)
            results.append({"token_name": name, **plain(error), "report": result})
        if result is not None and not given.json:
            show(result)
        codes.add(code)
    if given.json:
        show_json({"tokens": results})
    return min(codes - {DONE}, default=DONE)


def _is_done(report: AssignReport) -> bool:
    """Return True if every Mac that may be sent now was, and none is left without a profile."""
    has_error = any(problem.severity is Severity.ERROR for problem in report.problems)
    is_assigned = all(result == DeviceResult.SUCCESS for result in report.results.values())
    return is_assigned and not (has_error or report.holder or report.plan.without_profile)


def _shows_progress(given: Settings) -> bool:
    """Return True if a person watches; the mail of a nightly job has no progress."""
    return given.verbose or sys.stderr.isatty()
