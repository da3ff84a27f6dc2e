"""Measure the assignment of a profile to a whole fleet over HTTP, with every outcome stored."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bare import BareClient, BareStore
from fleet import PAGE, PROFILE_UUID, Fleet, record, serial, token
from pyade import Assigner, Client
from pyade.storage import SQLiteStore
from setting import Setting
from stores import PROFILE, clock_at, fill
from table import Row, interleaved, timed

_DEVICES = 100_000


class _Results(msgspec.Struct):
    devices: dict[str, str]


class _Details(msgspec.Struct):
    devices: dict[str, msgspec.Raw]


_results = msgspec.json.Decoder(_Results).decode
_details = msgspec.json.Decoder(_Details).decode


def rows(setting: Setting) -> Iterator[Row]:
    """Measure a fleet of which no Mac has a profile."""
    fleet, filled = Fleet(setting.size(_DEVICES)), setting.new_file()
    serials = sorted(map(serial, range(fleet.size)))
    with SQLiteStore(filled) as store:
        fill(store, fleet)
    bare_filled = setting.new_file()
    bare_store = BareStore(bare_filled)
    bare_store.add([(one, "empty", record(one, False)) for one in serials])
    bare_store.close()
    with BareClient(f"{setting.address}{fleet.name}") as bare:

        def post() -> float:
            bare_store = BareStore(_copy(setting, bare_filled))
            seconds = timed(lambda: _post(bare, bare_store, serials))
            bare_store.close()
            return seconds

        post()  # the server prepares its responses
        one, other = interleaved(post, lambda: _assign(setting, fleet, filled))
    yield Row(
        what=f"assign {fleet.size:,} Macs, outcomes stored",
        yardstick="bare posts of the same bodies; a durable mark, a durable executemany",
        bare=one,
        pyade=other,
        reach=1.5,
        note="each outcome is merged with what is stored: of 25 ms a request 5 to read, 5 to write, 4 to "
        "commit, 6 for HTTP and decoding, 3 to store Apple's JSON without the result of the request",
    )


def _post(bare: BareClient, bare_store: BareStore, serials: list[str]) -> None:
    update = (
        "UPDATE device SET outcome = ?, profile_status = 'assigned', document = ? WHERE serial_number = ?"
    )
    for first in range(0, len(serials), PAGE):
        chunk = serials[first : first + PAGE]
        bare_store.database.execute("UPDATE cursor SET value = ?", (f"about to send {first}",))
        answer = bare.post("profile/devices", {"profile_uuid": PROFILE_UUID, "devices": chunk})
        results = _results(answer).devices
        details = _details(bare.post("devices", {"devices": chunk})).devices
        with bare_store.transaction() as database:
            database.executemany(update, [(results[one], str(details[one], "utf-8"), one) for one in chunk])


def _copy(setting: Setting, file: Path) -> Path:
    """Return a copy of *file*: a second run on the same file would have less to write."""
    return Path(shutil.copy(file, setting.new_file()))


def _assign(setting: Setting, fleet: Fleet, filled: Path) -> float:
    clock = clock_at()
    with (
        SQLiteStore(_copy(setting, filled)) as store,
        Client(token(), base_url=f"{setting.address}{fleet.name}", clock=clock) as client,
    ):
        assigner = Assigner(client, store, clock=clock)

        def run() -> None:
            report = assigner.run(default=PROFILE)
            if set(report.results.values()) != {"SUCCESS"} or len(report.results) != fleet.size:
                raise SystemExit(f"not what was to be measured: {report}")

        return timed(run)
