"""The states of a fleet over time, walked back from the stored devices along the stored events.

The rules of this file:

1. After its newest event a device is as the store has it now: every change of a device has an event.
2. Between two events a device is as the first of them says. ``assigned``, ``released``, ``deleted`` and
   ``purged`` say it; ``added``, ``modified``, ``returned`` and ``restored`` only say that Apple lists the
   device: its status at that time is not known.
3. Before its first event a device is as that event implies: not there before ``added``, released before
   ``returned``, hidden before ``restored``. A device without events did not change since the oldest one.
4. On days before the oldest stored event nothing is known, unless every device came with an event: then
   there was none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import attrs

from pyade import svg
from pyade.core.arguments import check_arguments
from pyade.core.exports import Exportable
from pyade.core.fleet.device import ProfileStatus
from pyade.core.fleet.events import Event, EventKind
from pyade.core.fleet.groups import DeviceGroup
from pyade.flow import clock_of
from pyade.operations.past_events import Days, PastEvents, damage_notes
from pyade.storage.protocol import Store
from pyade.text import Printed, cut, format_utc, pluralize

LISTED: Final = "listed"
_RELEASED: Final = "released"
_HIDDEN: Final = "hidden"
_GONE: Final = ""

_AFTER: Final[Mapping[str, str]] = {  # rule 2
    EventKind.ADDED: LISTED,
    EventKind.MODIFIED: LISTED,
    EventKind.RETURNED: LISTED,
    EventKind.RESTORED: LISTED,
    EventKind.ASSIGNED: ProfileStatus.ASSIGNED.value,
    EventKind.UNASSIGNED: LISTED,
    EventKind.RELEASED: _RELEASED,
    EventKind.DELETED: _HIDDEN,
    EventKind.PURGED: _GONE,
}
_BEFORE: Final[Mapping[str, str]] = {  # rule 3
    EventKind.ADDED: _GONE,
    EventKind.RETURNED: _RELEASED,
    EventKind.RESTORED: _HIDDEN,
    EventKind.PURGED: _RELEASED,
}

_STATES: Final[Mapping[str, tuple[str, str, str]]] = {
    "pushed": ("P", svg.GREEN, "profile pushed to the Mac"),
    "assigned": ("A", svg.BLUE, "profile assigned"),
    "empty": ("N", svg.ORANGE, "no profile"),
    "removed": ("D", svg.VERMILION, "profile was removed"),
    "other": ("O", svg.YELLOW, "of another status"),
    LISTED: ("L", svg.SKY, "no event says with which profile status"),
    _RELEASED: ("R", svg.GREY, "no longer listed by Apple"),
    _HIDDEN: ("H", svg.PURPLE, "deleted here"),
}
"""The states from the bottom of the picture to its top: letter, colour and meaning."""


@attrs.frozen(kw_only=True)
class FleetDay(Exportable):
    """The states of a fleet at the end of one day.

    Attributes:
        day: The day, such as ``2026-03-01``, in UTC.
        is_known: False if the events of that time were pruned; there are no counts then.
        counts: The number of devices by state: ``pushed``, ``assigned``, ``empty`` and ``removed`` as Apple
            names the profile status, ``other`` for another status, ``listed`` for devices of which no event
            says the status at that time, ``released``, and ``hidden`` for those that were deleted here.
            States without a device are left out.
    """

    day: str
    is_known: bool = True
    counts: Mapping[str, int] = attrs.field(factory=dict, hash=False)

    @property
    def total(self) -> int:
        """The number of devices, with released and hidden ones."""
        return sum(self.counts.values())


@attrs.frozen(kw_only=True, repr=False)
class FleetHistory(Exportable, Printed):
    """The states of a token's devices, day by day: a table as text, a picture in a notebook.

    Attributes:
        token_name: The token.
        days: The days, the oldest first; the last one ends at ``seen_at``.
        known_from: The time of the oldest stored event, UTC; None if no event is stored.
        damaged: The number of rows of events that could not be read, and are missing here.
        seen_at: When it was made, UTC.
    """

    token_name: str
    days: tuple[FleetDay, ...]
    known_from: datetime | None
    damaged: int = 0
    seen_at: datetime

    @property
    def states(self) -> tuple[str, ...]:
        """The states that occur, in the order of the table and of the picture."""
        return tuple(state for state in _STATES if any(day.counts.get(state) for day in self.days))

    @property
    def _title(self) -> str:
        return f"{cut(self.token_name, 40)}: devices by state, {self.days[0].day} to {self.days[-1].day}"

    def _notes(self) -> list[str]:
        notes = []
        unknown = sum(not day.is_known for day in self.days)
        if unknown:
            since = "no event is stored" if self.known_from is None else format_utc(self.known_from)
            notes.append(f"{pluralize(unknown, 'day')} not known: the oldest stored event is of {since}")
        return [*notes, *damage_notes(self.damaged)]

    def _words(self) -> list[str]:
        states = self.states
        lines = [self._title, "", f"{'day':<12}{'total':>9}{''.join(f'{state:>10}' for state in states)}"]
        for day in self.days:
            if day.is_known:
                counts = "".join(f"{day.counts.get(state, 0):>10,}" for state in states)
                lines.append(f"{day.day:<12}{day.total:>9,}{counts}")
            else:
                lines.append(f"{day.day:<12}{'?':>9}")
        lines += ("", *(f"{state:<10}{_STATES[state][2]}" for state in states), *self._notes())
        return lines

    def svg(self) -> str:
        """Return one bar a day as a picture, which follows the colours of the page."""
        drawing = svg.Drawing(430)
        drawing.text(6, 16, svg.fit(self._title, 416, 12), size=12, more='font-weight="bold"')
        y = 36.0
        for state in self.states:
            letter, fill, meaning = _STATES[state]
            drawing.rect(6, y - 11, 16, 14, fill=fill)
            _letter(drawing, 14, y, letter, fill)
            drawing.text(28, y, f"{state}: {meaning}" if state != meaning else state, size=10.5)
            y += 17
        most = max((day.total for day in self.days), default=0)
        top, bottom = y + 4, y + 4 + _HIGH
        _axes(drawing, top, bottom, most)
        slot = _WIDE / len(self.days)
        for x, day in zip(svg.spread(_LEFT, _WIDE, len(self.days)), self.days, strict=True):
            _bar(drawing, (x + slot * 0.1, bottom, slot * 0.8), day, most)
        for index in sorted({0, len(self.days) // 2, len(self.days) - 1}):
            x = _LEFT + (index + 0.5) * slot
            anchor = "middle" if 0 < index < len(self.days) - 1 else "start" if not index else "end"
            edge = {"start": _LEFT, "middle": x, "end": _LEFT + _WIDE}[anchor]
            drawing.text(edge, bottom + 13, self.days[index].day, size=9.5, more=f'text-anchor="{anchor}"')
        y = bottom + 32
        for note in self._notes():
            y = drawing.paragraph(y, note)
        now = ", ".join(f"{count:,} {state}" for state, count in self.days[-1].counts.items())
        return drawing.svg(
            y - 8, title=self._title, description=f"One bar for each day. Now: {now or 'none'}."
        )

    def _repr_html_(self) -> str:
        """Return the picture for a notebook."""
        return self.svg()


@check_arguments
def fleet_history(
    store: Store, token_name: str, *, now: datetime | None = None, days: int = 30
) -> FleetHistory:
    """Return how many devices were assigned, pushed, released and so on, at the end of each day.

    It reads all stored events, and the serial numbers of the token's devices, but not their records.

    Args:
        store: The store with devices and events.
        token_name: The token.
        now: The time, UTC; None for the time of the clock of *store*.
        days: How many days to show, 1 to 366, with the one of *now*.

    Returns:
        The history; days of which the events were pruned are marked as not known.

    Raises:
        PolicyError: *days* is out of range.
        UnknownTokenError: The store has no such token.
        StoreError: The store failed.
    """
    now = now or clock_of(None, store)()
    span = Days.until(now, days, function="fleet_history")
    groups = store.device_groups(token_name)
    past = PastEvents(store=store, token_name=token_name)
    devices = _Devices(span)
    for event in past.read():
        devices.add(event)
    unchanged = devices.settle(store, token_name, groups)
    is_complete = devices.are_all_added and not unchanged  # rule 4
    first = 0 if is_complete else span.count if past.known_from is None else span.index_of(past.known_from)
    if past.known_from is None and not is_complete:
        first = span.count - 1  # only today is known: from the store itself
    counts = devices.counts(unchanged)
    return FleetHistory(
        token_name=token_name,
        days=tuple(
            FleetDay(day=span.day(index), counts=counts[index])
            if index >= first
            else FleetDay(day=span.day(index), is_known=False)
            for index in range(span.count)
        ),
        known_from=past.known_from,
        damaged=past.damaged,
        seen_at=now,
    )


class _Devices:
    """The devices that have events: for each the days of its changes, and its state since then."""

    def __init__(self, span: Days) -> None:
        self._span = span
        self._changes: dict[str, list[tuple[int, str]]] = {}
        self.are_all_added = True

    def add(self, event: Event) -> None:
        """Apply one event; events come in their order."""
        day = self._span.index_of(event.at)
        if event.kind == EventKind.TOKEN_REMOVED:  # its devices have no events of that
            for changes in self._changes.values():
                changes.append((day, _GONE))
        serial, state = event.serial_number, _AFTER.get(event.kind)
        if serial is None or state is None:
            return
        changes = self._changes.setdefault(serial, [])
        if not changes:
            self.are_all_added &= event.kind == EventKind.ADDED
            changes.append((-1, _BEFORE.get(event.kind, LISTED)))  # rule 3
        if changes[-1][0] == day and len(changes) > 1:
            changes.pop()
        changes.append((day, state))

    def settle(self, store: Store, token_name: str, groups: Mapping[DeviceGroup, int]) -> Counter[str]:
        """Set what the devices are now (rule 1), and count those without events by state."""
        unchanged: Counter[str] = Counter()
        of_state: dict[str, list[DeviceGroup]] = {}
        for group in groups:
            of_state.setdefault(_state_of(group), []).append(group)
        for state, alike in of_state.items():
            for serial in store.serials_in(token_name, alike):
                changes = self._changes.get(serial)
                if changes is None:
                    unchanged[state] += 1
                else:
                    changes[-1] = (changes[-1][0], state)
        return unchanged

    def counts(self, unchanged: Mapping[str, int]) -> list[dict[str, int]]:
        """Return the number of devices by state at the end of each day."""
        steps = [Counter[str]() for _ in range(self._span.count)]
        steps[0].update(unchanged)
        for changes in self._changes.values():
            before = _GONE
            for day, state in changes:
                at = steps[max(day, 0)]
                at[before] -= 1
                at[state] += 1
                before = state
        found, sums = [], Counter[str]()
        for step in steps:
            for state, change in step.items():
                sums[state] += change
            found.append({state: sums[state] for state in _STATES if sums[state]})
        return found


def _state_of(group: DeviceGroup) -> str:
    if group.is_hidden:
        return _HIDDEN
    if group.is_released:
        return _RELEASED
    known = group.profile_status in {status.value for status in ProfileStatus}
    return str(group.profile_status) if known else "other"


_LEFT, _WIDE, _HIGH = 46, 378, 170


def _letter(drawing: svg.Drawing, x: float, y: float, letter: str, fill: str) -> None:
    drawing.text(x, y, letter, size=9.5, fill=svg.ON_FILL.get(fill, "#000"), more='text-anchor="middle"')


def _axes(drawing: svg.Drawing, top: float, bottom: float, most: int) -> None:
    drawing.line(_LEFT, bottom + 0.5, _LEFT + _WIDE, bottom + 0.5, more='opacity="0.6"')
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (bottom - top)
        if share:
            drawing.line(_LEFT, y, _LEFT + _WIDE, y, more='opacity="0.2"')
        if most >= 2 or share != 0.5:
            label = f"{round(most * share):,}"
            drawing.text(_LEFT - 5, y + 3.5, label, size=9.5, more='text-anchor="end"')


def _bar(drawing: svg.Drawing, place: tuple[float, float, float], day: FleetDay, most: int) -> None:
    """Draw a bar at *place*, which is left, bottom and width."""
    x, bottom, width = place
    if not day.is_known:
        drawing.text(x + width / 2, bottom - 4, "?", size=10, more='text-anchor="middle" opacity="0.7"')
        return
    for state, (letter, fill, _) in _STATES.items():
        high = _HIGH * day.counts.get(state, 0) / max(most, 1)
        if not high:
            continue
        bottom -= high
        drawing.rect(x, bottom, width, max(high - 0.8, 0.4), fill=fill)
        if high >= 12 and width >= 8:
            _letter(drawing, x + width / 2, bottom + high / 2 + 3.5, letter, fill)
