"""What ``doctor`` checks of Macs that were given a profile: one problem per kind, with the Macs that have it.

Source: specification, "Create an Apple enrollment profile", Account Settings and Await final configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

import attrs

from pyade.core.enrollment import Enrollment
from pyade.core.enrollment_problems import problems_of
from pyade.core.problems import Problem, Severity
from pyade.core.profile import EnrollmentProfile
from pyade.core.setup_accounts import names_of
from pyade.core.variables import names_device, written
from pyade.errors import DamagedRecordError, StoreError
from pyade.storage.protocol import Store
from pyade.sync.damage import damage_of
from pyade.sync.report import counted, some

_Kind: TypeAlias = tuple[str, str, Severity]


@runtime_checkable
class _KeepsEnrollments(Protocol):
    def enrollments(
        self, *, registration: Any = None, damaged: Callable[[DamagedRecordError], None] | None = None
    ) -> Iterator[Enrollment]:
        """Iterate over what is kept of Macs that were given a profile."""
        ...


def enrollment_problems(store: Store, now: datetime) -> list[Problem]:
    """Return what is wrong with the Macs that were given a profile; none where *store* keeps no enrollments.

    Args:
        store: Where they are.
        now: The time, UTC.
    """
    if not isinstance(store, _KeepsEnrollments):
        return []
    damaged: list[DamagedRecordError] = []
    found: dict[_Kind, list[tuple[str, Problem]]] = {}
    unreadable: list[str] = []
    for enrollment in store.enrollments(damaged=damaged.append):
        serial = enrollment.serial_number
        try:
            mine = problems_of(enrollment, now)
        except StoreError:
            unreadable.append(serial)
            continue
        for problem in mine:
            kind = (problem.setting, problem.fix, problem.severity)
            found.setdefault(kind, []).append((serial, problem))
    problems = [Problem("enrollments", "", damage_of(error), _RESTORE) for error in damaged]
    if unreadable:
        text = f"the state of {counted(len(unreadable), 'Mac')} that may wait cannot be read"
        problems.append(Problem("enrollments", some(unreadable), text, _RESTORE))
    return [*problems, *map(_of_all, found.values())]


def device_name_problems(profiles: Iterable[EnrollmentProfile]) -> list[Problem]:
    """Return a reminder for each of *profiles* whose account names need the name of the device.

    Nothing that is stored says whether the caller of ``FinalConfiguration`` gives one.
    """
    problems: list[Problem] = []
    for profile in profiles:
        if names_device(*names_of(profile)):
            text = f"{written('managedDeviceName')} has a value only if FinalConfiguration is given one"
            fix = "see that device_name= or variables= is given, or take the variable out"
            problems.append(Problem(f"profile {profile.name}", "", text, fix, Severity.INFO))
    return problems


def _of_all(found: list[tuple[str, Problem]]) -> Problem:
    """Return one problem for all Macs that have one of this kind."""
    serials, (first, *_) = [serial for serial, _ in found], [problem for _, problem in found]
    such = f", such as {first.value!r}" if first.value else ""
    text = f"{counted(len(set(serials)), 'Mac')}{such}: {first.allowed}"
    return attrs.evolve(
        first, setting=f"enrollments.{first.setting}", value=some(list(dict.fromkeys(serials))), allowed=text
    )


_RESTORE: Final = "restore a backup, or let the Mac enroll again"
