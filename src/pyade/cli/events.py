"""``pyade events``: print what happened, and wait for more."""

from __future__ import annotations

import json
import sys
import time

import click

from pyade.cli.options import settings, with_store
from pyade.cli.output import show, show_json_line, tell
from pyade.core.fleet.events import Event
from pyade.errors import DamagedRecordError
from pyade.storage.protocol import Store
from pyade.text import format_utc, printable

_PAGE = 1000


@click.command(help="Print what happened. The oldest event first; with --json one line each.")
@click.option("--follow", is_flag=True, help="Wait for more, until Ctrl-C or SIGTERM.")
@click.option("--after", metavar="ID", help="Begin after this event.")
@click.option("--token", "name", metavar="NAME", help="Those of one token alone.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between looks.",
)
@with_store
def events(follow: bool, after: str | None, name: str | None, interval: float) -> None:
    """Print events."""
    store = settings().open_store()
    names = sorted(one.name for one in store.tokens(damaged=_tell_damage))
    if name is not None and name not in names:
        there = ", ".join(map(repr, names)) or "none"
        tell(f"no token {name!r} is stored, only old events may have it; there are {there}")
    position = after
    try:
        while True:
            position = _print_all(store, position, name)
            if not follow:
                return
            time.sleep(interval)
    except KeyboardInterrupt:
        if not follow:
            raise


def _print_all(store: Store, position: str | None, name: str | None) -> str | None:
    """Print the events after *position*, and return the new position."""
    while found := store.events(position, limit=_PAGE, damaged=_tell_damage):
        for event in found:
            if name in (None, event.token_name):
                _print(event)
        position = found[-1].id
    return position


def _print(event: Event) -> None:
    if settings().json:
        show_json_line(event)
        return
    details = " ".join(f"{key}={_detail(value)}" for key, value in event.details.items())
    shown = (event.id, format_utc(event.at), event.token_name, event.kind.value, event.serial_number, details)
    show(printable("  ".join(part for part in shown if part)))
    sys.stdout.flush()


def _detail(value: object) -> str:
    return value if isinstance(value, str) and " " not in value else json.dumps(value)


def _tell_damage(error: DamagedRecordError) -> None:
    tell(f"left out: {error}")
