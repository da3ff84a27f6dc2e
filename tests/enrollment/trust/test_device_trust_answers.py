"""What is answered to each message of the tables beside, both ways in: by the service, not by its parts."""

from __future__ import annotations

import base64
import plistlib
from collections.abc import Iterator

import pytest
from tests.cases import each
from tests.enrollment.conftest import HOST, Desk
from tests.enrollment.test_service import dump
from tests.enrollment.trust.conftest import WORDS, World
from tests.enrollment.trust.test_device_trust import ACCEPTED, UNREADABLE, UNTRUSTED
from tests.keys import RSA_KEYS

from pyade.crypto import Signer
from pyade.enrollment import DeviceTrust, EnrollmentResponse
from pyade.testing import DeviceAuthority, DeviceIdentity
from pyade.testing.store_examples import NOW

REFUSALS = {
    400: b"This page is for Macs in Setup Assistant.\n",
    403: b"This Mac cannot be enrolled. Contact your organization.\n",
}


@pytest.fixture(scope="module")
def authority() -> DeviceAuthority:
    return DeviceAuthority.generate()


@pytest.fixture(scope="module")
def device(authority: DeviceAuthority) -> DeviceIdentity:
    return authority.issue()


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.self_signed("Contoso MDM", private_key=RSA_KEYS[0], now=NOW)


@pytest.fixture
def desk(
    authority: DeviceAuthority, device: DeviceIdentity, signer: Signer, trust: DeviceTrust
) -> Iterator[Desk]:
    """An organization that knows the serial number in the messages."""
    desk = Desk(kind="sync", authority=authority, mac=device, signer=signer, options={"trust": trust})
    yield desk
    desk.store.close()


def both(desk: Desk, message: bytes) -> tuple[EnrollmentResponse, EnrollmentResponse]:
    service = desk.service()
    header = base64.b64encode(message).decode()
    return service.enroll(message), service.open_web_view(header, host=HOST)


@each("case", ACCEPTED)
def test_what_is_believed_enrolls(case: str, desk: Desk, world: World) -> None:
    desk.later(hours=1)  # a Mac may not ask too often
    for answer in both(desk, ACCEPTED[case](world)):
        assert (answer.status, answer.decision.serial_number) == (200, "C02TEST00001")


@each("case", [*UNREADABLE, *UNTRUSTED])
def test_what_is_not_believed_changes_nothing_but_the_record(case: str, desk: Desk, world: World) -> None:
    status = 400 if case in UNREADABLE else 403
    make, reason = {**UNREADABLE, **UNTRUSTED}[case]
    message = make(world)
    before, told = dump(desk), len(desk.events())
    for answer in both(desk, message):
        assert (answer.status, answer.body) == (status, REFUSALS[status])
        assert reason in answer.decision.reason
        assert answer.decision.serial_number == "", "nothing that it said can be trusted"
    assert dump(desk) == before
    assert [event.serial_number for event in desk.events()[told:]] == [None], "the second one is counted"


ENTITY = (
    b"<!DOCTYPE plist [<!ENTITY e 'x'>]><plist><dict><key>SERIAL</key><string>&e;</string></dict></plist>"
)
BAD_WORDS = {
    "root array": plistlib.dumps([WORDS]),
    "wrong type": plistlib.dumps({**WORDS, "SERIAL": 1}),
    "a flag that is a number": plistlib.dumps({**WORDS, "MDM_CAN_REQUEST_SOFTWARE_UPDATE": 1}),
    "empty serial": plistlib.dumps({**WORDS, "SERIAL": ""}),
    "missing serial": plistlib.dumps({key: value for key, value in WORDS.items() if key != "SERIAL"}),
    "entity declarations": ENTITY,
    "not a property list": b"not a property list",
    "binary property list": plistlib.dumps(WORDS, fmt=plistlib.FMT_BINARY),
}


@each("case", BAD_WORDS)
def test_a_good_signature_does_not_help_bad_words(case: str, desk: Desk, world: World) -> None:
    before = dump(desk)
    for answer in both(desk, world.pki.sign(BAD_WORDS[case], world.mac, "-noattr")):
        assert (answer.status, answer.body) == (400, REFUSALS[400])
    assert dump(desk) == before


@each("header", [None, "", "=", "not base64!", "\u00e9", "A" * 200_000])
def test_a_header_that_cannot_be_read_changes_nothing(header: str | None, desk: Desk) -> None:
    before = dump(desk)
    answer = desk.service().open_web_view(header, host=HOST)
    assert (answer.status, answer.body) == (400, REFUSALS[400])
    assert dump(desk) == before
