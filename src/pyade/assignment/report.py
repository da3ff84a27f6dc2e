"""The report of an assigner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import ClassVar

import attrs

from pyade.assignment.plan import AssignmentPlan
from pyade.core.exports import Exportable
from pyade.core.fleet.device import DeviceResult
from pyade.core.problems import Problem, problem_tables
from pyade.errors import PyadeError
from pyade.text import Printed, Table, format_utc, pluralize


@attrs.frozen(kw_only=True, repr=False)
class AssignReport(Exportable, Printed):
    """The outcome for every device; the counts always add up to ``total``. ``print`` shows it in a few lines.

    Attributes:
        token_name: The token that was used.
        plan: What was to be sent and why, and how many other devices were left as they are.
        results: Apple's result for each device that was sent.
        defined: Ids of the profiles that were defined at Apple in this run.
        started_at: UTC.
        finished_at: UTC.
        next_due_at: When the first device that waits, or whose outcome is unknown, may be tried again, UTC;
            None if there is none. If another worker holds the token: when its lease ends unless renewed.
        holder: The other worker that holds the token, so that nothing was done; "" if there is none.
        problems: What failed, or where Apple's responses contradict each other.
        errors: The errors besides the one that is raised, the most serious first.
        is_partial: True if something failed and everything else was done.
        notes: What else happened, as text.
    """

    token_name: str
    plan: AssignmentPlan
    results: Mapping[str, DeviceResult] = attrs.field(repr=False, hash=False)
    defined: tuple[str, ...] = ()
    started_at: datetime
    finished_at: datetime
    next_due_at: datetime | None = None
    holder: str = ""
    problems: tuple[Problem, ...] = ()
    errors: tuple[PyadeError, ...] = ()
    is_partial: bool = False
    notes: tuple[str, ...] = ()

    _EXPORTED: ClassVar[str] = (
        "token_name is_complete is_partial started_at finished_at total counts results plan defined "
        "next_due_at holder problems errors notes"
    )

    @property
    def total(self) -> int:
        """The number of devices that were examined: all that Apple lists, or the distinct named ones."""
        return len(self.results) + self.plan.kept

    @property
    def counts(self) -> Mapping[DeviceResult, int]:
        """The number of devices by Apple's result."""
        return Counter(self.results.values())

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What the change does not do, such as reach Macs that enrolled with a locked profile."""
        return self.plan.warnings

    @property
    def is_complete(self) -> bool:
        """True if every examined device for which a profile is selected has that profile."""
        return (
            not self.holder
            and not self.plan.waiting
            and not self.plan.unreachable
            and all(result == DeviceResult.SUCCESS for result in self.results.values())
        )

    def _words(self) -> list[str]:
        if self.holder and self.next_due_at is not None:
            until = format_utc(self.next_due_at)
            return [f"{self.token_name}: nothing was done, {self.holder} works on it, at least until {until}"]
        plan = self.plan
        counts = Counter(self.results.values())
        unsent = counts.pop(DeviceResult.NOT_SENT, 0)
        sent = [f"{count:,} {result}" for result, count in counts.most_common()]
        reasons = [f"{count:,} {reason.of(count)}" for reason, count in plan.reasons.items()]
        summary = f"{self.token_name}: {pluralize(self.total, 'device')}, {counts.total():,} sent"
        summary = f"{summary}: {', '.join(sent)}" if sent else summary
        lines = [f"{summary}; {unsent:,} not sent" if unsent else summary]
        if reasons:
            lines.append(f"  because {', '.join(reasons)}")
        lines.extend(f"  {line}" for line in plan.lines())
        lines.extend(f"  defined at Apple: {uuid}" for uuid in self.defined)
        lines.extend(f"  {problem.severity}: {problem}" for problem in self.problems)
        lines.extend(f"  note: {note}" for note in self.notes)
        if self.next_due_at is not None:
            lines.append(f"  next: from {format_utc(self.next_due_at)}")
        return lines

    def _tables(self) -> Iterator[Table]:
        summary, *_ = str(self).partition("\n")
        counts = Counter(self.results.values())
        results = [(f"{count:,}", result.value) for result, count in counts.most_common()]
        yield Table(summary, ("devices", "Apple's result") if results else (), results)
        if not self.holder:
            yield from self.plan._tables()  # noqa: SLF001 - of the same package
        yield from problem_tables(self.problems)
        if rest := [("Note", note) for note in self.notes]:
            yield Table("", (), rest)
