"""The response to each message of the tables in ``test_device_trust``, for both requests of the service."""

from __future__ import annotations

import base64
import plistlib
from collections.abc import Iterator

import pytest
from tests.cases import each
from tests.enrollment.conftest import HOST, Organization
from tests.enrollment.test_service import dump
from tests.enrollment.trust.conftest import MACHINE_INFO, World
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
def organization(
    authority: DeviceAuthority, device: DeviceIdentity, signer: Signer, trust: DeviceTrust
) -> Iterator[Organization]:
    """An organization that knows the serial number in the messages."""
    organization = Organization(
        kind="sync", authority=authority, mac=device, signer=signer, options={"trust": trust}
    )
    yield organization
    organization.store.close()


def both(organization: Organization, message: bytes) -> tuple[EnrollmentResponse, EnrollmentResponse]:
    service = organization.service()
    header = base64.b64encode(message).decode()
    return service.enroll(message), service.open_web_view(header, host=HOST)


@each("case", ACCEPTED)
def test_trusted_message_enrolls(case: str, organization: Organization, world: World) -> None:
    organization.later(hours=1)  # a Mac may not ask too often
    for answer in both(organization, ACCEPTED[case](world)):
        assert (answer.status, answer.decision.serial_number) == (200, "C02TEST00001")


@each("case", [*UNREADABLE, *UNTRUSTED])
def test_untrusted_message_writes_only_its_record(
    case: str, organization: Organization, world: World
) -> None:
    status = 400 if case in UNREADABLE else 403
    make, reason = {**UNREADABLE, **UNTRUSTED}[case]
    message = make(world)
    before, event_count = dump(organization), len(organization.events())
    for answer in both(organization, message):
        assert (answer.status, answer.body) == (status, REFUSALS[status])
        assert reason in answer.decision.reason
        assert answer.decision.serial_number == "", "nothing that it said can be trusted"
    assert dump(organization) == before
    assert [event.serial_number for event in organization.events()[event_count:]] == [None], (
        "the second one is counted"
    )


ENTITY = (
    b"<!DOCTYPE plist [<!ENTITY e 'x'>]><plist><dict><key>SERIAL</key><string>&e;</string></dict></plist>"
)
BAD_WORDS = {
    "root array": plistlib.dumps([MACHINE_INFO]),
    "wrong type": plistlib.dumps({**MACHINE_INFO, "SERIAL": 1}),
    "a flag that is a number": plistlib.dumps({**MACHINE_INFO, "MDM_CAN_REQUEST_SOFTWARE_UPDATE": 1}),
    "empty serial": plistlib.dumps({**MACHINE_INFO, "SERIAL": ""}),
    "missing serial": plistlib.dumps({key: value for key, value in MACHINE_INFO.items() if key != "SERIAL"}),
    "entity declarations": ENTITY,
    "not a property list": b"not a property list",
    "binary property list": plistlib.dumps(MACHINE_INFO, fmt=plistlib.FMT_BINARY),
}


@each("case", BAD_WORDS)
def test_signed_invalid_machine_info_is_refused(case: str, organization: Organization, world: World) -> None:
    before = dump(organization)
    for answer in both(organization, world.pki.sign(BAD_WORDS[case], world.mac, "-noattr")):
        assert (answer.status, answer.body) == (400, REFUSALS[400])
    assert dump(organization) == before


@each("header", [None, "", "=", "not base64!", "\u00e9", "A" * 200_000])
def test_unreadable_header_changes_nothing(header: str | None, organization: Organization) -> None:
    before = dump(organization)
    answer = organization.service().open_web_view(header, host=HOST)
    assert (answer.status, answer.body) == (400, REFUSALS[400])
    assert dump(organization) == before
