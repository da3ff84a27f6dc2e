"""Report the state of every token, as objects, text and HTML, and the migration deadlines of its devices.

The rules of this file:

1. Devices are counted by their groups; device records are only read for ``migration_deadlines`` and where the
   devices of a group differ in their risk.
2. Values from outside are escaped in text and HTML.
3. A token that cannot be read is listed with its damage and does not hide the others.

Source: specification, "Sync managed devices" and "Renew enrollment program token"; Apple, device assignment,
``Device`` (``mdm_migration_deadline``, protocol version 8).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from html import escape
from typing import ClassVar, Final

import attrs

from pyade.assignment.failures import assignment_errors
from pyade.assignment.risk import MacsAtRisk
from pyade.core.arguments import check_arguments
from pyade.core.exports import Exportable
from pyade.core.fleet.assignment import Risk
from pyade.core.fleet.groups import DeviceGroup, status_counts
from pyade.core.fleet.records import DeviceRecord, SyncState
from pyade.core.fleet.suspension import suspended_reason
from pyade.core.fleet.sync_policy import SyncPolicy
from pyade.core.token import Portal, Token, TokenHealth, TokenStatus
from pyade.errors import DamagedRecordError
from pyade.flow import clock_of
from pyade.storage.protocol import Store
from pyade.sync.damage import damage_of, read_fleet
from pyade.text import Printed, Table, format_utc, html_tables, pluralize, printable


@check_arguments
def migration_deadlines(
    store: Store, token_name: str, *, until: datetime | None = None
) -> tuple[DeviceRecord, ...]:
    """Return the devices that have a migration deadline, the most urgent first.

    Passed deadlines are included and prove nothing: only an enrollment here shows that the device moved.
    ``check_existing_mac`` returns what a Mac still needs.

    Args:
        store: The store with the devices.
        token_name: The token.
        until: Only deadlines up to this time, UTC; None for all.
    """

    def deadline(record: DeviceRecord) -> datetime:
        return record.device.mdm_migration_deadline or datetime.max.replace(tzinfo=UTC)

    deadlines = _deadlines_by_group(store.device_groups(token_name))
    groups = [group for group, ends in deadlines.items() if until is None or ends <= until]
    return tuple(sorted(store.devices(token_name, groups=groups), key=deadline))


def _deadlines_by_group(groups: Iterable[DeviceGroup]) -> Mapping[DeviceGroup, datetime]:
    """Return the deadline, UTC, of each of *groups* that Apple lists and that has one."""
    return {
        group: group.migration_deadline
        for group in groups
        if group.is_listed and group.migration_deadline is not None
    }


@attrs.frozen(kw_only=True, repr=False)
class TokenOverview(Exportable, Printed):
    """One token of a store; ``print`` shows it.

    Attributes:
        name: The name of the token.
        organization: Name of the organization; "" if Apple has not returned it yet.
        portal: Business or School; None if the token cannot be read.
        apple_id: The Apple ID that must renew it; "" if the token cannot be read.
        health: Whether it is valid, and until when.
        last_sync_at: When the last complete sync ended, UTC; None before the first.
        running_since: When the running sync began, UTC; None if none runs.
        holder: The worker that holds the token, for a sync or for other work; "" if there is none.
        next_request_at: When ``Syncer.sync`` may next send requests, UTC.
        next_automatic_at: When the next automatic sync is due, UTC.
        held_back: The number of devices that are not in Apple's newest list and were not released, because
            they are too many.
        account_problem: How Apple's account differs from the token's server and organization; "" if it does
            not.
        last_error: The error that ended the last run, as text; "" if there was none.
        suspended: Why an administrator must act before the token works again; "" if it works.
        damaged: Which records of the token cannot be read, and what to do; "" if all can be read. Other
            unknown values then have a default, such as None or 0.
        default_profile: Name of the default profile; "" if there is none.
        devices: The number of devices that Apple lists, by profile status; the key "" for an unknown status.
        released: The number of released devices that were not purged yet.
        at_risk: The number of devices that would fail to enroll.
        risks: The number of these devices by reason.
        assignment_errors: The newest error of each profile that could not be assigned to devices, as text.
        migrations: The number of devices with a migration deadline, including passed ones.
        next_deadline: The first deadline that has not passed, UTC; None if there is none.
        seen_at: When the overview was made, UTC.
    """

    name: str
    organization: str
    portal: Portal | None
    apple_id: str
    health: TokenHealth
    last_sync_at: datetime | None
    next_request_at: datetime
    next_automatic_at: datetime
    last_error: str
    suspended: str
    default_profile: str
    devices: Mapping[str, int] = attrs.field(hash=False)
    released: int
    at_risk: int
    risks: Mapping[Risk, int] = attrs.field(factory=dict, hash=False)
    assignment_errors: tuple[str, ...] = ()
    migrations: int = 0
    next_deadline: datetime | None = None
    running_since: datetime | None = None
    holder: str = ""
    held_back: int = 0
    account_problem: str = ""
    damaged: str = ""
    seen_at: datetime

    _EXPORTED: ClassVar[str] = (
        "name organization portal apple_id health.status health.expires_at remaining_s=health.remaining "
        "health.next_step last_sync_at next_request_at next_automatic_at running_since holder last_error "
        "suspended account_problem damaged default_profile total devices released held_back at_risk risks "
        "assignment_errors migrations next_deadline seen_at"
    )

    @property
    def total(self) -> int:
        """The number of devices that Apple lists."""
        return sum(self.devices.values())

    def rows(self) -> tuple[tuple[str, str], ...]:
        """Return the rows of a table, each with label and text; values from outside are escaped."""
        if self.damaged:
            return (("Cannot be read", printable(self.damaged)),)
        statuses = ", ".join(
            f"{count:,} {_STATUS_TEXTS.get(status, status)}" for status, count in sorted(self.devices.items())
        )
        devices = f"{pluralize(self.total, 'device')}{f' ({statuses})' if statuses else ''}"
        released = f", {self.released:,} released" if self.released else ""
        last = "never" if self.last_sync_at is None else format_utc(self.last_sync_at)
        rows = [
            ("Organization", self.organization or "not known yet"),
            ("Portal", f"{self.portal}, as {self.apple_id}"),
            ("Token", str(self.health)),
            ("Last sync", last),
            *self._running_rows(),
            ("Next sync on request", f"from {format_utc(self.next_request_at)}"),
            ("Next automatic sync", f"from {format_utc(self.next_automatic_at)}"),
            ("Default profile", self.default_profile or "none"),
            ("Devices", f"{devices}{released}"),
        ]
        if self.migrations:
            ends = (
                "all have passed" if self.next_deadline is None else f"next {format_utc(self.next_deadline)}"
            )
            rows.append(("Migrations", f"{pluralize(self.migrations, 'device')} with a deadline, {ends}"))
        if self.at_risk:
            reasons = "; ".join(f"{count:,}: {risk}" for risk, count in self.risks.items())
            text = f"{pluralize(self.at_risk, 'device')} without a profile would fail to enroll"
            rows.append(("At risk", f"{text} ({reasons})" if reasons else text))
        rows += (("Assignment error", error) for error in self.assignment_errors)
        if self.held_back:
            held = (
                f"{pluralize(self.held_back, 'device')} not in Apple's list: sync(force=True) if it is right"
            )
            rows.append(("Not released", held))
        if self.account_problem:
            rows.append(("Account", self.account_problem))
        if self.suspended:
            rows.append(("Suspended", self.suspended))
        elif self.last_error:
            rows.append(("Last error", self.last_error))
        return tuple((label, printable(text)) for label, text in rows)  # rule 2

    def _running_rows(self) -> list[tuple[str, str]]:
        if self.running_since is not None:
            return [("Sync running", f"since {format_utc(self.running_since)}, by {self.holder}")]
        return [("Other work running", f"by {self.holder}")] if self.holder else []

    def _words(self) -> list[str]:
        width = max(len(label) for label, _ in self.rows())
        return [self.name, *(f"  {label:<{width}}  {text}" for label, text in self.rows())]

    def _tables(self) -> Iterator[Table]:
        yield Table(self.name, (), self.rows())


class _Overviews(tuple[TokenOverview, ...]):
    """The overviews of all tokens, which a notebook shows as one table."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        heads = ("token", "organization", "token is", "last sync", "devices", "at risk", "to do")
        rows = [
            (
                one.name,
                one.organization,
                one.health.status.value,
                "never" if one.last_sync_at is None else format_utc(one.last_sync_at),
                f"{one.total:,}",
                f"{one.at_risk:,}",
                one.damaged or one.suspended or one.account_problem or one.health.next_step or one.last_error,
            )
            for one in self
        ]
        return html_tables([Table(pluralize(len(rows), "token"), heads, rows)])


@check_arguments
def overview(
    store: Store,
    *,
    now: datetime | None = None,
    policy: SyncPolicy = SyncPolicy(),  # noqa: B008 - frozen
) -> tuple[TokenOverview, ...]:
    """Return the state of every token of *store*, sorted by name.

    Devices that only a rule of an ``AssignmentPolicy`` would give a profile count as at risk: rules are not
    stored, only the default is.

    Args:
        store: The store with the tokens.
        now: The time, UTC; None for the time of the clock of *store*.
        policy: The limits.

    Raises:
        StoreError: The store failed.
    """
    now = now or clock_of(None, store)()
    fleet = read_fleet(store)
    found = {
        name: _damaged_overview(name, f"{damage_of(error)}: {fleet.remedy(name)}", now)
        for name, error in fleet.damaged.items()
    }
    for token, state in fleet.readable():
        try:
            found.setdefault(token.name, _overview_of(store, token, state, now, policy))
        except DamagedRecordError as error:
            found[token.name] = _damaged_overview(token.name, str(error), now)  # rule 3
    return _Overviews(found[name] for name in sorted(found))


def _overview_of(
    store: Store, token: Token, state: SyncState, now: datetime, policy: SyncPolicy
) -> TokenOverview:
    groups = store.device_groups(token.name)  # rule 1
    counts = dict(status_counts(groups))
    default = store.default_profile(token.name)
    held = store.held_lease(token.name)
    # Without a lease, a run that is marked as running has died, and the next one takes over immediately.
    held_until = None if held is None else now + held.remaining
    requested, automatic = policy.next_times(state, now, held_until=held_until, has_lease=True)
    at_risk = MacsAtRisk.of(store, token.name, groups).count()
    deadlines = _deadlines_by_group(groups)
    return TokenOverview(
        name=token.name,
        organization=token.org_name or "",
        portal=token.portal,
        apple_id=token.apple_id,
        health=token.health(now),
        last_sync_at=state.succeeded_at,
        next_request_at=requested,
        next_automatic_at=automatic,
        last_error=state.last_error,
        suspended=suspended_reason(token, state),
        running_since=None if held is None else state.running_since,
        holder="" if held is None else held.owner,
        held_back=state.held_back,
        account_problem=state.account_problem,
        default_profile="" if default is None else default.name,
        released=counts.pop("released"),
        devices=counts,
        at_risk=sum(at_risk.values()),
        risks=at_risk,
        assignment_errors=tuple(assignment_errors(state)),
        migrations=sum(groups[group] for group in deadlines),
        next_deadline=min((one for one in deadlines.values() if one > now), default=None),
        seen_at=now,
    )


def _damaged_overview(name: str, damaged: str, now: datetime) -> TokenOverview:
    health = TokenHealth(status=TokenStatus.UNKNOWN, expires_at=None, remaining=None, next_step="")
    return TokenOverview(
        name=name,
        organization="",
        portal=None,
        apple_id="",
        health=health,
        last_sync_at=None,
        next_request_at=now,
        next_automatic_at=now,
        last_error="",
        suspended="",
        default_profile="",
        devices={},
        released=0,
        at_risk=0,
        damaged=damaged,
        seen_at=now,
    )


@check_arguments
def overview_html(overviews: Iterable[TokenOverview]) -> str:
    """Return one HTML page with a table for each of *overviews*; it loads no external resources."""
    listed = tuple(overviews)
    if not listed:
        return _PAGE.format(style=_STYLE, body="<p>No token is stored.</p>")
    seen = f"<p>As of {format_utc(max(one.seen_at for one in listed))}</p>"
    return _PAGE.format(style=_STYLE, body="\n".join([seen, *map(_section, listed)]))


def _section(one: TokenOverview) -> str:
    marked = {*_HIGHLIGHTED_LABELS, "Token"} if one.health.next_step else _HIGHLIGHTED_LABELS
    rows = "\n".join(_row(label, text, _HIGHLIGHT if label in marked else "") for label, text in one.rows())
    return f"<section>\n<h2>{escape(printable(one.name))}</h2>\n<table>\n{rows}\n</table>\n</section>"


def _row(label: str, text: str, attributes: str) -> str:
    return f'<tr{attributes}><th scope="row">{escape(label)}</th><td>{escape(text)}</td></tr>'


_STATUS_TEXTS: Final = {
    "": "of an unknown status",
    "empty": "without a profile",
    "removed": "with a removed profile",
}
_HIGHLIGHTED_LABELS: Final = frozenset(
    {
        "Account",
        "Assignment error",
        "At risk",
        "Cannot be read",
        "Last error",
        "Not released",
        "Suspended",
    }
)
_HIGHLIGHT: Final = ' class="highlight"'
_STYLE: Final = """
:root { color-scheme: light dark; --back: #f5f5f7; --card: #fff; --text: #1d1d1f; --line: #e3e3e6;
  --dim: #63636a; --highlight: #fdf0d5; }
body { background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin: 0; }
h1 + p { color: var(--dim); margin: 0.2rem 0 1.5rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; margin: 0 0 1.2rem;
  overflow: hidden; }
h2 { font-size: 1.15rem; margin: 0; padding: 0.7rem 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-top: 1px solid var(--line); padding: 0.35rem 1rem; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; }
th { color: var(--dim); font-weight: 500; width: 11rem; }
.highlight td, .highlight th { background: var(--highlight); color: inherit; }
.highlight th { font-weight: 600; }
@media (prefers-color-scheme: dark) {
  :root { --back: #1b1b1d; --card: #252528; --text: #e6e6e6; --line: #3a3a3e;
    --dim: #a0a0a8; --highlight: #4a3a12; }
}
@media (max-width: 40rem) {
  th, td { display: block; width: auto; }
  td { border-top: 0; padding-top: 0; }
}
"""
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Server tokens</title>
<style>{style}</style>
</head>
<body>
<h1>Server tokens</h1>
{body}
</body>
</html>
"""
