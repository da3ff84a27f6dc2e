"""An organization, a server and a Mac with hostile names, from Apple's response to the operator's screen."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from pyade.assignment import Assigner
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import TermsError
from pyade.operations import doctor, overview, overview_html
from pyade.testing import Fault

if TYPE_CHECKING:
    from tests.worlds import World

FORGED = "2026-03-01 INFO pyade: every Mac is enrolled"
HOSTILE = f"Zoë\x1b]0;owned\x07\x1b[2J\r\n{FORGED}\u2028\u202egnp.exe\x9b"
SHOWN = r"Zoë\x1b]0;owned\x07\x1b[2J\r\n" + FORGED + r"\u2028\u202egnp.exe\x9b"


def check(texts: Iterable[str]) -> list[str]:
    """Check that no line of *texts* is forged or moves a cursor, and return the lines."""
    lines = [line for text in texts for line in text.split("\n")]
    for line in lines:
        assert line.isprintable()
        assert not line.startswith(FORGED)
    return lines


@pytest.fixture
def hostile(world: World) -> World:
    """The organization's name came with ``/account`` before; a Mac has a hostile serial number."""
    organization = world.apple.server("hq").organization
    organization.name = HOSTILE
    world.apple.organizations = {HOSTILE: organization}
    with world.client() as client:
        named = client.account().identify(world.token)
    world.store.replace_token(named)
    world.token = named
    return world


def test_hostile_organization_and_hostile_mac_forge_no_line(
    hostile: World, profile: EnrollmentProfile, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world = hostile
    page = {
        "devices": [
            {"serial_number": HOSTILE, "model": HOSTILE, "asset_tag": HOSTILE, "op_type": HOSTILE},
            {"serial_number": "C02A", "model": "Mac mini", "device_family": "Mac", "profile_status": HOSTILE},
        ],
        "cursor": "1",
        "more_to_follow": False,
    }
    world.apple.script("POST /server/devices", Fault.answered(json=page))
    reports = [str(world.sync())]
    world.apple.script("POST /profile/devices", Fault.answered(json={"devices": {"C02A": HOSTILE}}))
    with world.client() as client:
        reports.append(str(Assigner(client, world.store, clock=world.clock).preview(profile)))
    reports.append(str(world.run(profile)))
    world.apple.faults.change_terms()
    world.later(days=1)
    with pytest.raises(TermsError) as caught:
        world.sync()
    assert world.token.org_name == HOSTILE
    assert SHOWN in str(caught.value)
    now = world.clock()
    diagnosis = doctor(
        world.store,
        lambda _: world.client(),
        expected_serials=[HOSTILE],
        find_in_program=lambda serials: (),
        clock=world.clock,
    )
    (seen,) = overview(world.store, now=now)
    assert seen.organization == HOSTILE
    assert dict(seen.rows())["Organization"] == SHOWN
    lines = check(
        [
            *reports,
            str(caught.value),
            *getattr(caught.value, "__notes__", ()),
            str(diagnosis),
            str(seen),
            overview_html([seen]),
            str(world.token.health(now)),
            world.state.suspended,
            world.state.last_error,
            *(record.getMessage() for record in caplog.records if record.name.startswith("pyade")),
        ]
    )
    assert sum(SHOWN in line for line in lines) >= 5
