"""``pyade devices``: the Macs in the store, as text, CSV or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import click

from pyade.assignment.risk import DeviceAtRisk, risks
from pyade.cli.files import WrongUsageError
from pyade.cli.fleet import chosen
from pyade.cli.options import settings, with_store
from pyade.cli.output import plain, show
from pyade.core.exports import write_csv
from pyade.core.fleet.records import DeviceRecord
from pyade.storage.protocol import Store
from pyade.text import printable

_WIDTHS = (14, 24, 16, 10)


@click.command(help="List the Macs as of the last sync. Those of the tokens NAME, or of all.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--at-risk", is_flag=True, help="Only those that would fail to enroll, with the reason.")
@click.option("--released", is_flag=True, help="Only those that Apple no longer lists.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a CSV file.")
@with_store
def devices(names: tuple[str, ...], at_risk: bool, released: bool, as_csv: bool) -> None:
    """List the Macs of tokens."""
    given = settings()
    if at_risk and released:
        raise WrongUsageError("--at-risk and --released exclude each other: a released Mac is not at risk")
    if as_csv and given.json:
        raise WrongUsageError("--csv and --json exclude each other: give one, or neither")
    store = given.open_store()
    found = _rows(store, chosen(store, names), at_risk=at_risk, released=released)
    if as_csv:
        write_csv(found, sys.stdout, columns=(DeviceAtRisk if at_risk else DeviceRecord).columns())
    elif given.json:
        _show_json(found)
    else:
        for row in found:
            show(_line(row))


def _rows(
    store: Store, names: tuple[str, ...], *, at_risk: bool, released: bool
) -> Iterator[DeviceRecord | DeviceAtRisk]:
    for name in names:
        yield from risks(store, name) if at_risk else store.devices(name, released=released)


def _show_json(found: Iterator[DeviceRecord | DeviceAtRisk]) -> None:
    """Print one JSON document, one Mac a line, without keeping them all."""
    before = '{"devices": [\n'
    for row in found:
        sys.stdout.write(before + json.dumps(plain(row)))
        before = ",\n"
    sys.stdout.write("\n]}\n" if before == ",\n" else '{"devices": []}\n')


def _line(row: DeviceRecord | DeviceAtRisk) -> str:
    record, risk = (row, "") if isinstance(row, DeviceRecord) else (row.record, str(row.risk))
    device = record.device
    status = "released" if record.is_released else str(device.profile_status or "unknown")
    cells = (device.serial_number, device.model or "", device.asset_tag or "", status)
    texts = [f"{printable(cell):{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)]
    return "  ".join([*texts, printable(record.token_name), printable(risk)]).rstrip()
