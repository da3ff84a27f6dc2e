"""Where every token stands, for people: as objects, as text and as HTML.

Source: specification, "Sync managed devices" and "Renew enrollment program token".

Which Macs must have moved to this server by when.

Source: Apple, device assignment, ``Device`` (``mdm_migration_deadline``, protocol version 8).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import Final

import attrs

from pyade.apple.http.connection import utc_now
from pyade.assignment.failures import assignment_errors
from pyade.assignment.risk import MacsAtRisk
from pyade.core.arguments import check_arguments
from pyade.core.fleet.assignment import Risk
from pyade.core.fleet.groups import DeviceGroup, status_counts
from pyade.core.fleet.records import DeviceRecord, SyncState
from pyade.core.fleet.suspension import suspended_reason
from pyade.core.fleet.sync_policy import SyncPolicy
from pyade.core.token import Portal, Token, TokenHealth, TokenStatus
from pyade.errors import DamagedRecordError
from pyade.storage.protocol import Store
from pyade.sync.damage import damage_of, read_fleet
from pyade.sync.report import format_utc, pluralize
from pyade.text import Printed, printable


@check_arguments
def migration_deadlines(
    store: Store, token_name: str, *, until: datetime | None = None
) -> tuple[DeviceRecord, ...]:
    """Return the devices that have a migration deadline, the most urgent first.

    A deadline that has passed is among them and proves nothing: only an enrollment here shows that the device
    moved. ``check_existing_mac`` says what a Mac still needs.

    Args:
        store: Where the devices are.
        token_name: The token.
        until: Only deadlines up to this time, UTC; None for all.
    """

    def deadline(record: DeviceRecord) -> datetime:
        return record.device.mdm_migration_deadline or datetime.max.replace(tzinfo=UTC)

    deadlines = deadlines_of(store.device_groups(token_name))
    groups = [group for group, ends in deadlines.items() if until is None or ends <= until]
    return tuple(sorted(store.devices(token_name, groups=groups), key=deadline))


def deadlines_of(groups: Iterable[DeviceGroup]) -> Mapping[DeviceGroup, datetime]:
    """Return the deadline, UTC, of each of *groups* that Apple lists and that has one."""
    return {
        group: group.migration_deadline
        for group in groups
        if group.is_listed and group.migration_deadline is not None
    }


@attrs.frozen(kw_only=True)
class TokenOverview(Printed):
    """One token of a store; ``print`` shows it.

    Attributes:
        name: The token.
        organization: Name of the organization; "" if Apple has not named it yet.
        portal: Business or School; None if the token cannot be read.
        apple_id: Who must renew it; "" likewise.
        health: Until when it is good.
        last_sync_at: When the store last had everything that Apple had to say, UTC; None before that.
        running_since: Since when a sync is under way, UTC; None if none is.
        holder: Which worker holds the token, for a sync or for other work; "" if none does.
        next_request_at: From when a sync may be asked for, UTC, as ``Syncer.sync`` would answer now.
        next_automatic_at: From when an automatic one is due, UTC; likewise.
        held_back: How many devices are not in Apple's newest list, and were not released for their number.
        account_problem: How Apple's account differs from the token's server and organization; "" if it does
            not.
        last_error: What ended the last run, in words; "" if nothing did.
        suspended: Why the token needs a person; "" if it does not.
        damaged: What is stored of the token and cannot be read, and what to do; "" if all can be read. What
            else is not known then has its default, such as None and 0.
        default_profile: Name of the default profile; "" if there is none.
        devices: How many devices Apple lists, by profile status; "" where that is unknown.
        released: How many were released, and not forgotten yet.
        at_risk: How many would fail to enroll.
        risks: How many of them for which reason.
        assignment_errors: The newest error of each profile that could not be given to devices, in words.
        migrations: How many have a migration deadline, also one that has passed.
        next_deadline: The next of them that has not passed, UTC; None if there is none.
        seen_at: When all this was so, UTC.
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

    @property
    def total(self) -> int:
        """How many devices Apple lists."""
        return sum(self.devices.values())

    def rows(self) -> tuple[tuple[str, str], ...]:
        """Return label and text of everything, for a table; what came from outside is escaped in it."""
        if self.damaged:
            return (("Cannot be read", printable(self.damaged)),)
        statuses = ", ".join(
            f"{count:,} {_IN_WORDS.get(status, status)}" for status, count in sorted(self.devices.items())
        )
        devices = f"{pluralize(self.total, 'device')}{f' ({statuses})' if statuses else ''}"
        released = f", {self.released:,} released" if self.released else ""
        last = "never" if self.last_sync_at is None else format_utc(self.last_sync_at)
        rows = [
            ("Organization", self.organization or "not known yet"),
            ("Portal", f"{self.portal}, as {self.apple_id}"),
            ("Token", str(self.health)),
            ("Last sync", last),
            *self._work_under_way(),
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
            rows.append(("Needs a person", self.suspended))
        elif self.last_error:
            rows.append(("Last error", self.last_error))
        return tuple((label, printable(text)) for label, text in rows)

    def _work_under_way(self) -> list[tuple[str, str]]:
        if self.running_since is not None:
            return [("Sync under way", f"since {format_utc(self.running_since)}, by {self.holder}")]
        return [("Other work under way", f"by {self.holder}")] if self.holder else []

    def _words(self) -> list[str]:
        width = max(len(label) for label, _ in self.rows())
        return [self.name, *(f"  {label:<{width}}  {text}" for label, text in self.rows())]


@check_arguments
def overview(
    store: Store,
    *,
    now: datetime | None = None,
    policy: SyncPolicy = SyncPolicy(),  # noqa: B008 - frozen
) -> tuple[TokenOverview, ...]:
    """Return where every token of *store* stands, by name; counts devices by their groups.

    Devices that rules of the caller's would give a profile count as at risk here: only the default is known.

    Args:
        store: Where the tokens are.
        now: UTC; None reads the clock.
        policy: The limits.

    Raises:
        StoreError: The store failed.
    """
    now = now or utc_now()
    fleet = read_fleet(store)
    found = {
        name: _damaged(name, f"{damage_of(error)}: {fleet.remedy(name)}", now)
        for name, error in fleet.damaged.items()
    }
    for token, state in fleet.readable():
        try:
            found.setdefault(token.name, _of_token(store, token, state, now, policy))
        except DamagedRecordError as error:
            found[token.name] = _damaged(token.name, str(error), now)
    return tuple(found[name] for name in sorted(found))


def _of_token(
    store: Store, token: Token, state: SyncState, now: datetime, policy: SyncPolicy
) -> TokenOverview:
    groups = store.device_groups(token.name)
    counts = dict(status_counts(groups))
    default = store.default_profile(token.name)
    held = store.held_lease(token.name)
    # Without a lease a run that is marked as under way has died, and the next one takes over at once.
    held_until = None if held is None else now + held.remaining
    requested, automatic = policy.next_times(state, now, held_until=held_until, has_lease=True)
    at_risk = MacsAtRisk.of(store, token.name, groups).count()
    deadlines = deadlines_of(groups)
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


def _damaged(name: str, damaged: str, now: datetime) -> TokenOverview:
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
    """Return one HTML page with a table for each of *overviews*; it loads nothing from elsewhere."""
    shown_ones = tuple(overviews)
    if not shown_ones:
        return _PAGE.format(style=_STYLE, body="<p>No token is stored.</p>")
    seen = f"<p>Seen at {format_utc(max(one.seen_at for one in shown_ones))}</p>"
    return _PAGE.format(style=_STYLE, body="\n".join([seen, *map(_section, shown_ones)]))


def _section(one: TokenOverview) -> str:
    marked = {*_WORTH_A_LOOK, "Token"} if one.health.next_step else _WORTH_A_LOOK
    rows = "\n".join(_row(label, text, _LOOK if label in marked else "") for label, text in one.rows())
    return f"<section>\n<h2>{escape(printable(one.name))}</h2>\n<table>\n{rows}\n</table>\n</section>"


def _row(label: str, text: str, look: str) -> str:
    return f'<tr{look}><th scope="row">{escape(label)}</th><td>{escape(text)}</td></tr>'


_IN_WORDS: Final = {
    "": "of an unknown status",
    "empty": "without a profile",
    "removed": "with a removed profile",
}
_WORTH_A_LOOK: Final = frozenset(
    {
        "Account",
        "Assignment error",
        "At risk",
        "Cannot be read",
        "Last error",
        "Needs a person",
        "Not released",
    }
)
_LOOK: Final = ' class="look"'
_STYLE: Final = """
:root { color-scheme: light dark; --back: #f5f5f7; --card: #fff; --text: #1d1d1f; --line: #e3e3e6;
  --dim: #63636a; --look: #fdf0d5; }
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
.look td, .look th { background: var(--look); color: inherit; }
.look th { font-weight: 600; }
@media (prefers-color-scheme: dark) {
  :root { --back: #1b1b1d; --card: #252528; --text: #e6e6e6; --line: #3a3a3e;
    --dim: #a0a0a8; --look: #4a3a12; }
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
