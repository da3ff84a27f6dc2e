"""Extrapolate a simulated week to 10,000 tokens and 50 million Macs, and print the arithmetic."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping

import attrs

TOKENS = 10_000
MACS = 50_000_000

PROCESSES = 8
"""Number of worker processes, each of which works on ``CONCURRENCY`` tokens at a time."""

CONCURRENCY = 4

HOURS = 4
"""Hours within which all tokens are synced, if they are synced in one night instead of all day."""

DAYS_OF_EVENTS = 30
"""``prune_events`` removes older ones."""

_DAY_S = 86_400
_TIED = "\xa0"  # a space at which no line ends
_KIB, _MIB, _GIB = 2**10, 2**20, 2**30


@attrs.define
class Counts:
    """The counts of one part of the simulation.

    Attributes:
        runs: Syncs by their action.
        requests: By method and path.
        sent: Bytes of the request bodies.
        received: Bytes of the response bodies.
        busy_s: Seconds that one worker was busy, without those of the fake.
        cpu_s: Processor seconds of these.
        transactions: Number of write transactions in PostgreSQL.
        log: Bytes of its write-ahead log.
    """

    runs: Counter[str] = attrs.field(factory=Counter)
    requests: Counter[str] = attrs.field(factory=Counter)
    sent: int = 0
    received: int = 0
    busy_s: float = 0
    cpu_s: float = 0
    transactions: int = 0
    log: int = 0

    def lines(self, title: str) -> Iterator[str]:
        """Yield the counts as lines of text."""
        yield f"{title}: {_listed(self.runs)}"
        requests = f"  requests    {self.requests.total():,}: {_listed(self.requests, _TIED)}"
        lines = textwrap.wrap(requests, 100, subsequent_indent=" " * 14)
        yield from (line.replace(_TIED, " ") for line in lines)
        yield f"  bodies      {self.sent / _MIB:,.1f} MiB sent, {self.received / _MIB:,.1f} MiB received"
        yield f"  PostgreSQL  {self.transactions:,} write transactions, {self.log / _MIB:,.1f} MiB of log"
        yield f"  one worker  {self.busy_s:,.1f} s busy, including {self.cpu_s:,.1f} s of processor time"


@attrs.frozen(kw_only=True)
class Measured:
    """The results of the simulation.

    Attributes:
        tokens: Number of simulated tokens.
        devices: Number of Macs of each token.
        imported: Counts of the first sync of all tokens, the assignment that followed, and the first day.
        week: Counts of the seven days after that.
        before: Bytes of each PostgreSQL table with its indexes, before the week.
        after: The same after the week.
        sqlite: Bytes of a SQLite file per Mac.
        search_s: Seconds per token of one search for due tokens.
    """

    tokens: int
    devices: int
    imported: Counts
    week: Counts
    before: Mapping[str, int]
    after: Mapping[str, int]
    sqlite: float
    search_s: float

    @property
    def macs(self) -> int:
        """The number of simulated Macs."""
        return self.tokens * self.devices

    @property
    def events(self) -> float:
        """Bytes of events per day."""
        return (self.after["event"] - self.before["event"]) / 7

    @property
    def others(self) -> int:
        """Bytes of all tables except devices and events."""
        return sum(size for name, size in self.after.items() if name not in ("device", "event"))

    def lines(self) -> Iterator[str]:
        """Yield the results as lines of text."""
        yield f"Measured: {self.tokens:,} tokens with {self.devices:,} Macs each"
        yield from self.imported.lines("the import, and the day after it")
        yield from self.week.lines("seven days")
        device, first = self.after["device"] / self.macs, self.before["device"] / self.macs
        yield "sizes"
        yield f"  PostgreSQL  {device:,.0f} bytes a Mac, {first:,.0f} before the week"
        yield f"  PostgreSQL  {self.events / self.tokens / _KIB:,.1f} KiB of events a token and day"
        yield f"  PostgreSQL  {self.others / self.tokens / _KIB:,.1f} KiB a token in all other tables"
        yield f"  SQLite      {self.sqlite:,.0f} bytes a Mac"
        yield f"one search for due tokens: {self.search_s * 1e6:,.0f} us a token"


def extrapolated(found: Measured, *, latency_s: float) -> Iterator[str]:
    """Yield the extrapolation of *found* as lines of text, if each of Apple's responses takes *latency_s*.

    All tokens are alike, so every number grows linearly with the number of tokens.
    """
    times = TOKENS / found.tokens
    yield f"Extrapolated: {TOKENS:,} tokens with {MACS:,} Macs, x {times:,.0f}"
    if found.macs * times != MACS:
        yield f"  (for {MACS:,} Macs, simulate {MACS // TOKENS:,} for each token)"
    for what, formula, result in (
        *_store(found, times),
        *_day(found.week, times),
        *_workers(found, times, latency_s),
        *_import(found.imported, times, latency_s),
    ):
        yield f"  {what:<33} {formula:<55} = {result}"


def _store(found: Measured, times: float) -> Iterator[tuple[str, str, str]]:
    device = found.after["device"]
    yield "store: devices", f"{device / _MIB:,.1f} MiB x {times:,.0f}", f"{device * times / _GIB:,.0f} GiB"
    formula = f"{found.events / _MIB:,.3f} MiB x {DAYS_OF_EVENTS} x {times:,.0f}"
    size = found.events * DAYS_OF_EVENTS * times
    yield f"store: {DAYS_OF_EVENTS} days of events", formula, f"{size / _GIB:,.1f} GiB"
    formula = f"{found.others / _MIB:,.2f} MiB x {times:,.0f}"
    yield "store: all other tables", formula, f"{found.others * times / _GIB:,.1f} GiB"


def _day(week: Counts, times: float) -> Iterator[tuple[str, str, str]]:
    requests, received = week.requests.total() / 7 * times, week.received / 7 * times
    formula = f"{week.requests.total():,} / 7 x {times:,.0f}"
    yield "a day: requests", formula, f"{requests:,.0f}, {requests / _DAY_S:.1f} a second"
    formula = f"{week.received / _MIB:,.1f} MiB / 7 x {times:,.0f}"
    yield "a day: Apple's responses", formula, f"{received / _GIB:,.1f} GiB"
    transactions = week.transactions / 7 * times
    formula = f"{week.transactions:,} / 7 x {times:,.0f}"
    result = f"{transactions:,.0f}, {transactions / _DAY_S:,.1f} a second"
    yield "a day: write transactions", formula, result
    log = week.log / 7 * times
    formula = f"{week.log / _MIB:,.0f} MiB / 7 x {times:,.0f}"
    yield (
        "a day: log of PostgreSQL",
        formula,
        f"{log / _GIB:,.0f} GiB, {log / _DAY_S / _MIB:,.1f} MiB a second",
    )


def _workers(found: Measured, times: float, latency_s: float) -> Iterator[tuple[str, str, str]]:
    week = found.week
    busy, waits = week.busy_s / 7 * times, week.requests.total() / 7 * times * latency_s
    yield "a day: busy", f"{week.busy_s:,.1f} s / 7 x {times:,.0f}", f"{busy / 3600:,.1f} hours"
    formula = f"{week.requests.total():,} / 7 x {times:,.0f} x {latency_s:g} s"
    yield "a day: waiting for Apple", formula, f"{waits / 3600:,.1f} hours"
    at_a_time = (busy + waits) / _DAY_S
    yield "tokens at a time, all day", f"({busy:,.0f} s + {waits:,.0f} s) / {_DAY_S:,} s", f"{at_a_time:,.1f}"
    formula = f"({busy:,.0f} s + {waits:,.0f} s) / {HOURS * 3600:,} s"
    yield f"tokens at a time, in {HOURS} hours", formula, f"{at_a_time * 24 / HOURS:,.1f}"
    cpu = week.cpu_s / 7 * times
    formula = f"{week.cpu_s:,.1f} s / 7 x {times:,.0f} / {_DAY_S:,} s"
    yield "processors of workers, all day", formula, f"{cpu / _DAY_S:,.3f}"
    formula = f"{week.cpu_s:,.1f} s / 7 x {times:,.0f} / {HOURS * 3600:,} s"
    yield f"processors of workers, in {HOURS} hours", formula, f"{cpu / HOURS / 3600:,.3f}"
    formula = f"{found.search_s * 1e6:,.0f} us x {TOKENS:,}"
    yield "one search for due tokens", formula, f"{found.search_s * TOKENS:,.1f} s"
    formula = f"{PROCESSES} processes x ({CONCURRENCY} tokens + 2 + 5 for Procrastinate)"
    yield "connections to PostgreSQL", formula, f"{PROCESSES * (CONCURRENCY + 2 + 5)}"


def _import(first: Counts, times: float, latency_s: float) -> Iterator[tuple[str, str, str]]:
    requests = first.requests.total() * times
    yield "import: requests", f"{first.requests.total():,} x {times:,.0f}", f"{requests:,.0f}"
    formula = f"{first.received / _MIB:,.1f} MiB x {times:,.0f}"
    yield "import: Apple's responses", formula, f"{first.received * times / _GIB:,.0f} GiB"
    formula = f"{first.log / _MIB:,.1f} MiB x {times:,.0f}"
    yield "import: log of PostgreSQL", formula, f"{first.log * times / _GIB:,.0f} GiB"
    busy, waits = first.busy_s * times, requests * latency_s
    formula = f"({busy:,.0f} s + {waits:,.0f} s) / {PROCESSES * CONCURRENCY}"
    yield "import: by waiting", formula, f"{(busy + waits) / PROCESSES / CONCURRENCY / 3600:,.1f} hours"
    formula = f"{first.cpu_s:,.1f} s x {times:,.0f} / {PROCESSES}"
    yield "import: by the processor", formula, f"{first.cpu_s * times / PROCESSES / 3600:,.1f} hours"


def _listed(counter: Counter[str], space: str = " ") -> str:
    return ", ".join(f"{number:,} {name}".replace(" ", space) for name, number in sorted(counter.items()))
