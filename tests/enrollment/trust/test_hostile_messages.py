"""The cost of 64 KiB of untrusted input: counted here, the same on each machine; benchmarks measure time."""

from __future__ import annotations

import plistlib
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.cases import each

from pyade.core.input_limits import MAX_BYTES
from pyade.enrollment.machine_info import MachineInfo
from pyade.errors import TrustError
from pyade.testing import DeviceAuthority
from pyade.testing.mac.hostile import signed_messages, unsigned_messages

WORDS = plistlib.dumps(
    {"UDID": "564D6C7A", "SERIAL": "C02EXAMPLE01", "PRODUCT": "Mac14,2", "VERSION": "23B74"}
)
AUTHORITY = DeviceAuthority.generate()
MAC, UNTRUSTED = AUTHORITY.issue(), DeviceAuthority.generate().issue()
TRUST = AUTHORITY.trust


def refusal_of(message: bytes) -> str:
    with pytest.raises(TrustError) as caught:
        MachineInfo.from_cms(message, trust=TRUST)
    return caught.value.reason


def calls(work: Callable[[], object]) -> int:
    """Return how many functions *work* calls, those of C included."""
    counted = Counter[str]()

    def count(_frame: Any, event: str, _argument: Any) -> None:
        counted[event] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return counted["call"] + counted["c_call"]


USUAL = UNTRUSTED.sign(WORDS)
KINDS = {
    "too many": unsigned_messages(MAC),
    "as many as are read": unsigned_messages(MAC, elements=1_800),
    "well signed, too many": signed_messages(MAC),
    "well signed, as many as are read": signed_messages(MAC, marks=750),
}
MESSAGES = {
    f"{name}, {kind}": message for kind, messages in KINDS.items() for name, message in messages.items()
}


USUAL_CALLS, MOST_CALLS = 1_200, 15_000


def test_a_usual_message_is_verified_with_few_calls() -> None:
    assert calls(lambda: refusal_of(USUAL)) <= USUAL_CALLS


@each("name", MESSAGES)
def test_no_message_costs_much_more_than_a_usual_one(name: str) -> None:
    message = MESSAGES[name]
    assert len(message) <= MAX_BYTES
    assert calls(lambda: refusal_of(message)) <= MOST_CALLS
