"""The timeline of a token: what its events and its sync state say about the last days, and what comes next.

The rules of this file:

1. A run that changed nothing leaves no event. The sync state has the last run, its error, and the last full
   list: the timeline shows these, and the days on which devices changed.
2. Events about devices are counted by day and kind; events about the token are listed one by one.
3. Times that ``SyncPolicy`` allows are asked from it, as ``overview`` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from pyade import svg
from pyade.core.arguments import check_arguments
from pyade.core.exports import Exportable
from pyade.core.fleet.events import Event, EventKind
from pyade.core.fleet.records import SyncState
from pyade.core.fleet.suspension import suspended_reason
from pyade.core.fleet.sync_policy import SyncPolicy
from pyade.core.token import Token
from pyade.flow import clock_of
from pyade.operations.past_events import Days, PastEvents, damage_notes
from pyade.storage.protocol import Store
from pyade.text import Printed, cut, format_utc, pluralize

_CHANGES: Final = (
    *(EventKind.ADDED, EventKind.MODIFIED, EventKind.RELEASED, EventKind.RETURNED),
    *(EventKind.DELETED, EventKind.RESTORED, EventKind.PURGED),
)
_ASSIGNMENTS: Final = (EventKind.ASSIGNED, EventKind.UNASSIGNED)
_FAILURES: Final = (EventKind.ASSIGNMENT_FAILED, EventKind.THROTTLED)
_OF_TOKEN: Final[Mapping[str, str]] = {
    EventKind.TOKEN_SUSPENDED: "suspended",
    EventKind.TOKEN_RESUMED: "resumed",
    EventKind.TOKEN_EXPIRING: "reminder to renew",
    EventKind.TOKEN_ACCOUNT_CHANGED: "account changed",
    EventKind.TOKEN_REMOVED: "removed",
    EventKind.ASSIGNMENT_ERROR: "assignment error",
}
_MOST_LISTED: Final = 40


@attrs.frozen(kw_only=True)
class TimelineEntry(Exportable):
    """Something at one time.

    Attributes:
        at: When, UTC.
        what: ``last run``, ``last run failed``, ``last success``, ``last full list``, ``now``,
            ``next request``, ``next automatic run``, ``next full list``, ``token expires``, ``suspended``,
            ``resumed``, ``reminder to renew``, ``account changed``, ``removed`` or ``assignment error``.
        text: More about it; "" if there is nothing to say.
    """

    at: datetime
    what: str
    text: str = ""


@attrs.frozen(kw_only=True)
class TimelineDay(Exportable):
    """What happened to the devices on one day.

    Attributes:
        day: The day, such as ``2026-03-01``, in UTC.
        counts: The number of events by kind: ``added``, ``modified``, ``assigned``, ``throttled`` and so on.
    """

    day: str
    counts: Mapping[str, int] = attrs.field(factory=dict, hash=False)

    def count(self, kinds: Iterable[str]) -> int:
        """Return the number of events of *kinds*."""
        return sum(self.counts.get(kind, 0) for kind in kinds)


@attrs.frozen(kw_only=True, repr=False)
class Timeline(Exportable, Printed):
    """The last days of a token and its next times: a list as text, a picture in a notebook.

    Attributes:
        token_name: The token.
        days: One entry for each day, the oldest first; the last one is that of ``seen_at``.
        entries: What has a time of its own, the oldest first; times after ``seen_at`` are still to come. At
            most the newest 40 events of the token.
        left_out: The number of events of the token that are not among the entries.
        suspensions: Since when the token was suspended, and until when, UTC: for each suspension of these
            days; None for a start before them, and for an end that has not come.
        known_from: The time of the oldest stored event, UTC; None if no event is stored.
        damaged: The number of rows of events that could not be read, and are missing here.
        seen_at: When it was made, UTC.
    """

    token_name: str
    days: tuple[TimelineDay, ...]
    entries: tuple[TimelineEntry, ...]
    left_out: int = 0
    suspensions: tuple[tuple[datetime | None, datetime | None], ...] = ()
    known_from: datetime | None
    damaged: int = 0
    seen_at: datetime

    def entry(self, what: str) -> TimelineEntry | None:
        """Return the newest entry of that kind; None if there is none."""
        return next((one for one in reversed(self.entries) if one.what == what), None)

    @property
    def _title(self) -> str:
        return f"{cut(self.token_name, 40)}: {self.days[0].day} to {self.days[-1].day}, and what comes next"

    def _notes(self) -> list[str]:
        notes = []
        first = self.days[0].day
        if self.known_from is None:
            notes.append("no event is stored")
        elif self.known_from.date().isoformat() > first:
            notes.append(f"the oldest stored event is of {format_utc(self.known_from)}")
        notes.append("of runs only the last one is stored; one that changed nothing leaves no event")
        if self.left_out:
            notes.append(f"{pluralize(self.left_out, 'older event')} of the token left out")
        return [*notes, *damage_notes(self.damaged)]

    def _words(self) -> list[str]:
        rows = [
            (f"{one.at:%Y-%m-%d %H:%M}", "-- now --" if one.what == "now" else one.what, one.text)
            for one in self.entries
        ]
        for day in self.days:
            counts = ", ".join(f"{count:,} {kind}" for kind, count in day.counts.items())
            if counts:
                rows.append((day.day, "devices", counts))
        rows.sort(key=lambda row: row[0])
        lines = [cut(f"  {when:<16}  {what:<18}  {text}".rstrip(), 110) for when, what, text in rows]
        return [self._title, *lines, *(f"  note: {note}" for note in self._notes())]

    def svg(self) -> str:
        """Return the timeline as a picture, which follows the colours of the page."""
        return _draw(self, self._title, self._notes())

    def _repr_html_(self) -> str:
        """Return the picture for a notebook."""
        return self.svg()


@check_arguments
def timeline(
    store: Store,
    token_name: str,
    *,
    now: datetime | None = None,
    policy: SyncPolicy = SyncPolicy(),  # noqa: B008 - frozen
    days: int = 30,
) -> Timeline:
    """Return what happened to a token in the last days, and when it may or must do what next.

    Args:
        store: The store with the token and the events.
        token_name: The token.
        now: The time, UTC; None for the time of the clock of *store*.
        policy: The limits, for the next times.
        days: How many days to show, 1 to 366, with the one of *now*.

    Returns:
        The timeline, with the days on which devices changed, suspensions and reminders from the events, and
        the last run, the last full list and the next times from the sync state.

    Raises:
        PolicyError: *days* is out of range.
        UnknownTokenError: The store has no such token.
        DamagedRecordError: The token cannot be read.
        StoreError: The store failed.
    """
    now = now or clock_of(None, store)()
    span = Days.until(now, days, function="timeline")
    token, state = store.token(token_name), store.sync_state(token_name)
    past = PastEvents(store=store, token_name=token_name)
    counts = [Counter[str]() for _ in range(span.count)]
    of_token: list[TimelineEntry] = []
    suspensions: list[tuple[datetime | None, datetime | None]] = []
    for event in past.read():
        if event.kind in (EventKind.TOKEN_SUSPENDED, EventKind.TOKEN_RESUMED):
            _note_suspension(suspensions, event)
        day = span.index_of(event.at)
        if day < 0:
            continue
        if event.kind in _OF_TOKEN:
            of_token.append(
                TimelineEntry(at=event.at, what=_OF_TOKEN[event.kind], text=_text_of(event.details))
            )
        elif event.kind in (*_CHANGES, *_ASSIGNMENTS, *_FAILURES):
            counts[day][event.kind.value] += 1
    entries = [*of_token[-_MOST_LISTED:], *_of_state(token, state, policy, now)]
    return Timeline(
        token_name=token_name,
        days=tuple(
            TimelineDay(day=span.day(index), counts=dict(counted)) for index, counted in enumerate(counts)
        ),
        entries=tuple(sorted(entries, key=lambda one: one.at)),
        left_out=max(len(of_token) - _MOST_LISTED, 0),
        suspensions=tuple(
            (start if start is None or start >= span.start else None, end)
            for start, end in _closed(suspensions, token, state, now)
            if end is None or end >= span.start
        ),
        known_from=past.known_from,
        damaged=past.damaged,
        seen_at=now,
    )


def _note_suspension(found: list[tuple[datetime | None, datetime | None]], event: Event) -> None:
    if event.kind == EventKind.TOKEN_SUSPENDED:
        if not found or found[-1][1] is not None:  # another error of a suspended token goes on
            found.append((event.at, None))
    elif found and found[-1][1] is None:
        found[-1] = (found[-1][0], event.at)
    else:
        found.append((None, event.at))


def _closed(
    found: list[tuple[datetime | None, datetime | None]], token: Token, state: SyncState, now: datetime
) -> list[tuple[datetime | None, datetime | None]]:
    """Return *found* as the sync state completes it: a renewed token has no event until its next sync."""
    is_suspended = bool(suspended_reason(token, state))
    if found and found[-1][1] is None and not is_suspended:
        return [*found[:-1], (found[-1][0], now)]
    if is_suspended and (not found or found[-1][1] is not None):
        return [*found, (None, None)]  # its event was pruned
    return found


def _text_of(details: Mapping[str, Any]) -> str:
    """Return what the details of an event about a token say, which may come from a newer pyade."""
    if "days" in details:
        return f"{details['days']} days before it expires"
    return str(details.get("reason") or details.get("error") or "")[:500]


def _of_state(token: Token, state: SyncState, policy: SyncPolicy, now: datetime) -> Iterator[TimelineEntry]:
    """Yield what the sync state says about the last run and the next times (rules 1 and 3)."""
    if state.run_at is not None:
        failed = bool(state.last_error)
        text = f"{pluralize(state.failures, 'failure')} in a row: {state.last_error}" if failed else ""
        yield TimelineEntry(at=state.run_at, what="last run failed" if failed else "last run", text=text)
    if state.succeeded_at is not None:
        yield TimelineEntry(at=state.succeeded_at, what="last success")
    if state.listed_at is not None:
        held = f"{pluralize(state.held_back, 'device')} held back" if state.held_back else ""
        yield TimelineEntry(at=state.listed_at, what="last full list", text=held)
    yield TimelineEntry(at=now, what="now")
    requested, automatic = policy.next_times(state, now, has_lease=True)
    yield TimelineEntry(at=requested, what="next request")
    yield TimelineEntry(at=automatic, what="next automatic run")
    full = policy.decide(state, now, full=True, has_lease=True, early=False).allowed_at
    yield TimelineEntry(at=full or now, what="next full list")
    if token.access_token_expiry is not None:
        text = token.health(now).next_step
        yield TimelineEntry(at=token.access_token_expiry, what="token expires", text=text)


_LEFT, _WIDE, _LANE = 96, 322, 27
_AHEAD: Final = timedelta(days=9)
"""How much of the future the picture has: a full list is allowed once in 7 days."""

_LANES: Final[tuple[tuple[str, Mapping[str, str]], ...]] = (
    ("Token", {"resumed": "W", "reminder to renew": "R", "account changed": "C", "token expires": "E"}),
    ("Runs", {"last run": "L", "last run failed": "!", "last success": "S", "next request": "N"}),
    ("Automatic runs", {"next automatic run": "N"}),
    ("Full lists", {"last full list": "L", "next full list": "N"}),
)
_MEANINGS: Final[Mapping[str, str]] = {
    "L": "last",
    "!": "last run, which failed",
    "S": "last success",
    "N": "next, from then on",
    "W": "works again",
    "R": "reminder to renew",
    "C": "account changed",
    "E": "token expires",
}


class _Axis:
    """Where a time is in the picture."""

    def __init__(self, one: Timeline) -> None:
        self.start = Days.until(one.seen_at, len(one.days), function="timeline").start
        self.end = max(one.seen_at, self.start) + max(_AHEAD, timedelta(days=len(one.days) / 4))
        self._scale = _WIDE / (self.end - self.start).total_seconds()

    def x(self, at: datetime) -> float:
        inside = min(max(at, self.start), self.end)
        return _LEFT + (inside - self.start).total_seconds() * self._scale


def _draw(one: Timeline, title: str, notes: list[str]) -> str:
    drawing, axis = svg.Drawing(430), _Axis(one)
    drawing.text(6, 16, svg.fit(title, 416, 12), size=12, more='font-weight="bold"')
    top, y = 26.0, 30.0
    for label, of_lane, fill in (
        ("Devices changed", _CHANGES, svg.BLUE),
        ("Assignments", _ASSIGNMENTS, svg.GREEN),
        ("Not assigned", _FAILURES, svg.VERMILION),
    ):
        _bars(drawing, axis, y, (label, of_lane, fill), one)
        y += _LANE
    shown = [it for it in one.entries if it.what != "last success" or one.entry("last run failed")]
    used: set[str] = set()
    for label, kinds in _LANES:
        drawing.text(6, y + 17, label, size=10.5)
        drawing.line(_LEFT, y + _LANE - 3, _LEFT + _WIDE, y + _LANE - 3, more='opacity="0.2"')
        if label == "Token":
            _suspensions(drawing, axis, y, one)
        marks = [(kinds[it.what], it) for it in shown if it.what in kinds]
        used |= {letter for letter, _ in marks}
        _marks(drawing, axis, y, marks, one.seen_at)
        y += _LANE
    x = axis.x(one.seen_at)
    drawing.line(x, top, x, y, more='stroke-dasharray="2 2" opacity="0.7"')
    drawing.text(x, y + 10, "now", size=9.5, more='text-anchor="middle"')
    drawing.text(_LEFT, y + 10, one.days[0].day, size=9.5)
    drawing.text(_LEFT + _WIDE, y + 10, axis.end.date().isoformat(), size=9.5, more='text-anchor="end"')
    meanings = [f"{letter} {meaning}" for letter, meaning in _MEANINGS.items() if letter in used]
    if one.suspensions:
        meanings.append("dashed: suspended")
    y = drawing.paragraph(y + 30, "; ".join(meanings)) + 4
    for it in one.entries[-_IN_PICTURE:]:
        if it.what != "now":
            more = f": {cut(it.text, 160)}" if it.text else ""
            y = drawing.paragraph(y, f"{it.at:%Y-%m-%d %H:%M} {it.what}{more}", indent=8)
    y += 4
    for note in notes:
        y = drawing.paragraph(y, f"Note: {note}", indent=8)
    changed = sum(day.count(_CHANGES) for day in one.days)
    return drawing.svg(
        y, title=title, description=f"{pluralize(changed, 'change')} of devices; the next times are listed."
    )


_IN_PICTURE: Final = 16


def _bars(
    drawing: svg.Drawing, axis: _Axis, y: float, lane: tuple[str, tuple[str, ...], str], one: Timeline
) -> None:
    label, kinds, fill = lane
    counts = [day.count(kinds) for day in one.days]
    most, bottom = max(counts), y + _LANE - 3
    drawing.text(6, y + 11, label, size=10.5)
    drawing.text(6, y + 22, f"at most {most:,} a day" if most else "none", size=9, more='opacity="0.75"')
    drawing.line(_LEFT, bottom, _LEFT + _WIDE, bottom, more='opacity="0.2"')
    for index, count in enumerate(counts):
        if count:
            left = axis.x(axis.start + timedelta(days=index))
            right = axis.x(axis.start + timedelta(days=index + 1))
            high = 3 + (_LANE - 9) * count / most
            drawing.rect(left + 0.5, bottom - high, max(right - left - 1, 1), high, fill=fill)


def _suspensions(drawing: svg.Drawing, axis: _Axis, y: float, one: Timeline) -> None:
    for start, end in one.suspensions:
        left, right = axis.x(start or axis.start), axis.x(end or one.seen_at)
        more = f'stroke="{svg.VERMILION}" stroke-width="1.5" stroke-dasharray="3 2" rx="2"'
        drawing.rect(left, y + 4, max(right - left, 3), _LANE - 10, more=more)


def _marks(
    drawing: svg.Drawing, axis: _Axis, y: float, marks: list[tuple[str, TimelineEntry]], now: datetime
) -> None:
    """Draw the marks of a lane, one beside the other where their times are too near."""
    free, line = _LEFT - 8.0, axis.x(now)
    for letter, one in marks:
        is_next = letter == "N" or one.at > now
        x = max(axis.x(one.at), line + 9) if is_next else min(axis.x(one.at), line - 9)
        x = min(max(x, free + 8), _LEFT + _WIDE)
        free = x + 7
        fill = "none" if is_next else svg.VERMILION if letter == "!" else svg.BLUE
        edge = f'rx="6.5" stroke="{svg.PAGE if fill == "none" else fill}"'
        drawing.rect(x - 6.5, y + 6, 13, 13, fill=fill, more=edge)
        colour = svg.PAGE if fill == "none" else svg.ON_FILL.get(fill, "#000")
        drawing.text(x, y + 16, letter, size=9.5, fill=colour, more='text-anchor="middle"')
        if one.at > axis.end:
            drawing.text(_LEFT + _WIDE - 10, y + 16, f"{one.at:%Y-%m-%d}", size=9, more='text-anchor="end"')
