"""The pictures of the documentation, made from real calls on a small fleet while the pages are built."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from pyade import Assigner, EnrollmentProfile, SkipKeys, Syncer, UserAffinity
from pyade.assignment import risks
from pyade.errors import TermsError
from pyade.operations import device_table, fleet_history, timeline
from pyade.testing import World, demo

PROFILE: Final = EnrollmentProfile(
    name="Standard Mac",
    url="https://mdm.contoso.com/enroll",
    user_affinity=UserAffinity.modern("https://mdm.contoso.com/signin"),
    locked=True,
    skip={SkipKeys.SIRI, SkipKeys.PAYMENT, SkipKeys.SCREEN_TIME, SkipKeys.ACCESSIBILITY},
)


@functools.cache
def world() -> World:
    """Return a fleet after three weeks in which Macs came, were set up and left, and terms were changed."""
    made = demo(40, start=datetime(2026, 3, 1, 8, tzinfo=UTC))
    syncer, assigner = Syncer(made.client, made.store), Assigner(made.client, made.store)
    portal: dict[int, Callable[[], object]] = {
        4: lambda: made.fake.add_devices(25, server=made.server),
        8: made.fake.faults.change_terms,
        10: made.fake.faults.accept_terms,
        11: lambda: made.fake.faults.device_result(
            made.fake.add_devices(30, server=made.server)[:3], "FAILED"
        ),
        13: lambda: [made.fake.activate(serial) for serial in made.serials[10:20]],
        16: lambda: made.fake.unassign(made.serials[:6]),
        18: lambda: [made.fake.activate(serial) for serial in made.serials[15:30]],
        20: lambda: made.fake.faults.device_result(
            made.fake.add_devices(12, server=made.server, model="MacBook Air")[:4], "FAILED", times=None
        ),
    }
    for name in ("pyade", "httpx"):  # sphinx shows what they log
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for day in range(1, 23):
        portal.get(day, lambda: None)()
        with contextlib.suppress(TermsError):
            syncer.sync(automatic=True)
            assigner.run(default=PROFILE)
        made.clock.advance(days=1)
    return made


PICTURES: Final[dict[str, Callable[[], str]]] = {
    "preview": lambda: PROFILE.preview().svg(),
    "preview-14.1": lambda: PROFILE.preview("14.1").svg(),
    "timeline": lambda: timeline(world().store, "hq").svg(),
    "fleet": lambda: fleet_history(world().store, "hq").svg(),
    "devices": lambda: device_table(risks(world().store, "hq"))._repr_html_(),
}
"""What the directive ``picture`` shows, by name."""

TEXTS: Final[dict[str, Callable[[], str]]] = {
    "preview-14.1": lambda: str(PROFILE.preview("14.1")),
    "timeline": lambda: str(timeline(world().store, "hq")),
    "fleet": lambda: str(fleet_history(world().store, "hq", days=6)),
}
"""What the directive ``printed`` shows, by name."""
