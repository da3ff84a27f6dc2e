"""Measure the most expensive untrusted messages of 64 KiB, and compare each with an ordinary refusal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial

from enrollment import SERVICE, machine_info
from pyade import ScepIssuer
from pyade.enrollment import EnrollmentService, redeem_scep_request
from pyade.errors import TrustError
from pyade.storage import MemoryStore
from pyade.testing import DeviceAuthority
from pyade.testing.mac.hostile import requests, signed_messages, unsigned_messages
from setting import Setting
from stores import clock_at
from table import Row

_REACH = 12
"""Highest allowed cost, in ordinary refusals; the fuzzer fails if an input costs more."""


def rows(setting: Setting) -> Iterator[Row]:
    """Measure the most expensive message, signed message and certificate request."""
    times = 20 if setting.scale == 1 else 3
    clock, authority = clock_at(), DeviceAuthority.generate()
    device, untrusted = authority.issue(), DeviceAuthority.generate().issue()
    with MemoryStore() as store:
        service = EnrollmentService(
            store,
            mdm=SERVICE,
            scep=ScepIssuer(url="https://ca.contoso.com/scep"),
            trust=authority.trust,
            clock=clock,
        )

        def redeem(request: bytes) -> None:
            with contextlib.suppress(TrustError):
                redeem_scep_request(store, request, now=clock())

        usual = _best(partial(service.enroll, untrusted.sign(machine_info("C02EXAMPLE01"))), 5 * times)
        for title, work, kinds in (
            (
                "message",
                service.enroll,
                (unsigned_messages(device), unsigned_messages(device, elements=1_800)),
            ),
            ("signed message", service.enroll, (signed_messages(device), signed_messages(device, marks=750))),
            ("certificate request", redeem, (requests(), requests(elements=250))),
        ):
            shapes = [shape for shapes in kinds for shape in shapes.items()]
            costs = [(_best(partial(work, message), times), name) for name, message in shapes]
            worst, name = max(costs)
            yield Row(
                what=f"refuse the worst {title}: {name}",
                yardstick="refuse an ordinary message of an untrusted device",
                bare=usual,
                pyade=worst,
                reach=_REACH,
                note=f"the worst of {len(costs)}",
            )


def _best(work: Callable[[], object], times: int) -> float:
    # The shortest time, as in the fuzzer: a single slow run may mean that the machine was busy.
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
