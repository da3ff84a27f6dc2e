"""Where every token stands, for people: as objects, as text and as HTML.

Source: specification, "Sync managed devices" and "Renew enrollment program token".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from html import escape
from typing import Final

import attrs

from pyade.core.parking import parked_reason
from pyade.core.policy import SyncPolicy
from pyade.core.token import Portal, TokenHealth
from pyade.storage.protocol import Store
from pyade.sync.assigner import devices_at_risk
from pyade.sync.report import counted, shown


@attrs.frozen(kw_only=True)
class TokenOverview:
    """One token of a store; ``print`` shows it.

    Attributes:
        name: The token.
        organization: Name of the organization; "" if Apple has not named it yet.
        portal: Business or School.
        apple_id: Who must renew it.
        health: Until when it is good.
        last_sync_at: When the store last had everything that Apple had to say, UTC; None before that.
        next_request_at: From when a sync may be asked for, UTC.
        next_automatic_at: From when an automatic one is due, UTC.
        last_error: What ended the last run, in words; "" if nothing did.
        parked: Why the token needs a person; "" if it does not.
        default_profile: Name of the default profile; "" if there is none.
        devices: How many devices Apple lists, by profile status; "" where that is unknown.
        released: How many were released, and not forgotten yet.
        at_risk: How many would fail to enroll: without a profile, and without a default.
    """

    name: str
    organization: str
    portal: Portal
    apple_id: str
    health: TokenHealth
    last_sync_at: datetime | None
    next_request_at: datetime
    next_automatic_at: datetime
    last_error: str
    parked: str
    default_profile: str
    devices: Mapping[str, int] = attrs.field(hash=False)
    released: int
    at_risk: int

    @property
    def total(self) -> int:
        """How many devices Apple lists."""
        return sum(self.devices.values())

    def rows(self) -> tuple[tuple[str, str], ...]:
        """Return label and text of everything, for a table."""
        statuses = ", ".join(
            f"{count:,} {status or 'unknown'}" for status, count in sorted(self.devices.items())
        )
        devices = f"{counted(self.total, 'device')}{f' ({statuses})' if statuses else ''}"
        released = f", {self.released:,} released" if self.released else ""
        last = "never" if self.last_sync_at is None else shown(self.last_sync_at)
        rows = [
            ("Organization", self.organization or "not known yet"),
            ("Portal", f"{self.portal}, as {self.apple_id}"),
            ("Token", str(self.health)),
            ("Last sync", last),
            ("Next sync on request", f"from {shown(self.next_request_at)}"),
            ("Next automatic sync", f"from {shown(self.next_automatic_at)}"),
            ("Default profile", self.default_profile or "none"),
            ("Devices", f"{devices}{released}"),
        ]
        if self.at_risk:
            rows.append(("At risk", f"{counted(self.at_risk, 'device')} would fail to enroll: no profile"))
        if self.parked:
            rows.append(("Needs a person", self.parked))
        elif self.last_error:
            rows.append(("Last error", self.last_error))
        return tuple(rows)

    def __str__(self) -> str:
        width = max(len(label) for label, _ in self.rows())
        return "\n".join([self.name, *(f"  {label:<{width}}  {text}" for label, text in self.rows())])


def overview(
    store: Store,
    *,
    now: datetime,
    policy: SyncPolicy = SyncPolicy(),  # noqa: B008 - frozen
) -> tuple[TokenOverview, ...]:
    """Return where every token of *store* stands, by name.

    Devices that rules of the caller's would give a profile count as at risk here: only the default is known.

    Args:
        store: Where the tokens are.
        now: UTC.
        policy: The limits.

    Raises:
        StoreError: The store failed.
    """
    states = store.sync_states()
    found = []
    for token in store.tokens():
        if token.name not in states:
            continue  # added a moment ago: the next look has it
        state = states[token.name]
        counts = dict(store.count_devices(token.name))
        default = store.default_profile(token.name)
        requested, automatic = policy.next_times(state, now)
        found.append(
            TokenOverview(
                name=token.name,
                organization=token.org_name or "",
                portal=token.portal,
                apple_id=token.apple_id,
                health=token.health(now),
                last_sync_at=state.succeeded_at,
                next_request_at=requested,
                next_automatic_at=automatic,
                last_error=state.last_error,
                parked=parked_reason(token, state),
                default_profile="" if default is None else default.name,
                released=counts.pop("released"),
                devices=counts,
                at_risk=sum(1 for _ in devices_at_risk(store, token.name)),
            )
        )
    return tuple(found)


def overview_html(overviews: Iterable[TokenOverview]) -> str:
    """Return one HTML page with a table for each of *overviews*; it loads nothing from elsewhere."""
    sections = [_section(one) for one in overviews]
    body = "\n".join(sections) or "<p>No token is stored.</p>"
    return _PAGE.format(style=_STYLE, body=body)


def _section(one: TokenOverview) -> str:
    rows = "\n".join(
        f'<tr{_kind(label)}><th scope="row">{escape(label)}</th><td>{escape(text)}</td></tr>'
        for label, text in one.rows()
    )
    return f"<section>\n<h2>{escape(one.name)}</h2>\n<table>\n{rows}\n</table>\n</section>"


def _kind(label: str) -> str:
    return ' class="look"' if label in _WORTH_A_LOOK else ""


_WORTH_A_LOOK: Final = ("At risk", "Needs a person", "Last error")
_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #ccc; padding: 0.3rem 0.6rem; text-align: left; vertical-align: top; }
th { font-weight: 600; white-space: nowrap; width: 10rem; }
.look td, .look th { background: #fdf0d5; }
@media (prefers-color-scheme: dark) {
  body { background: #1b1b1d; color: #e6e6e6; }
  th, td { border-color: #444; }
  .look td, .look th { background: #4a3a12; }
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
