"""Each kind of hostile answer once, on one endpoint and with one driver, chosen by its name.

`test_matrix` has every endpoint and both drivers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from types import ModuleType

from tests import cases
from tests.hostile import (
    kinds_endings,
    kinds_framing,
    kinds_json,
    kinds_packed,
    kinds_refusals,
    kinds_slow,
)
from tests.hostile.conftest import Measure
from tests.hostile.driver import DEADLINE_S, KINDS, MODES, Case, tried
from tests.hostile.endpoints import APPLE, BUSINESS, ENDPOINTS, described
from tests.hostile.kinds import Kind
from tests.hostile.server import HostileServer

from pyade.apple import calls as apple_calls
from pyade.business import calls as business_calls

SHORT_S = 0.2
"""The deadline of what only the deadline ends."""


def chosen(kind: Kind) -> tuple[Case, str]:
    """Return where *kind* is tried for every change: as often on a session as on something else."""
    number = zlib.crc32(kind.name.encode())
    sessions = [one for one in kind.endpoints if one.attacks_session]
    others = [one for one in kind.endpoints if not one.attacks_session]
    places = (sessions or others) if number % 2 else (others or sessions)
    # The largest checksum, so that another endpoint moves few kinds.
    place = max(places, key=lambda one: zlib.crc32(f"{kind.name} {one.name}".encode()))
    return Case(kind=kind, endpoint=place), MODES[number // 64 % len(MODES)]


def small(module: ModuleType) -> Iterable[Kind]:
    family: Mapping[str, Kind] = module.FAMILY
    return [kind for kind in family.values() if not kind.is_large]


def check(kind: Kind, server: HostileServer) -> None:
    case, mode = chosen(kind)
    complaint = tried(case, server.ports, mode, SHORT_S if kind.is_slow else DEADLINE_S)
    assert not complaint, complaint


@cases.each("kind", [kind for kind in KINDS.values() if kind.is_large])
def test_nothing_takes_much_memory(kind: Kind, measured: Measure) -> None:
    complaint = measured(*chosen(kind))
    assert not complaint, complaint


@cases.each("kind", small(kinds_slow))
def test_the_deadline_ends_what_never_ends(kind: Kind, server: HostileServer) -> None:
    check(kind, server)


@cases.each("kind", small(kinds_packed))
def test_packed_answers_are_unpacked_as_far_as_they_were_asked_for(kind: Kind, server: HostileServer) -> None:
    check(kind, server)


@cases.each("kind", small(kinds_framing))
def test_what_is_no_http_is_no_answer(kind: Kind, server: HostileServer) -> None:
    check(kind, server)


@cases.each("kind", small(kinds_endings))
def test_what_breaks_off_is_no_answer(kind: Kind, server: HostileServer) -> None:
    check(kind, server)


@cases.each("kind", small(kinds_refusals))
def test_a_refusal_means_what_the_tables_say(kind: Kind, server: HostileServer) -> None:
    check(kind, server)


@cases.each("kind", small(kinds_json))
def test_a_body_that_cannot_be_right_is_said_so(kind: Kind, server: HostileServer) -> None:
    check(kind, server)


@cases.each("name", ENDPOINTS)
def test_a_good_answer_is_right(name: str, server: HostileServer) -> None:
    case = Case(kind=KINDS["a good answer"], endpoint=ENDPOINTS[name])
    for mode in MODES:
        assert not tried(case, server.ports, mode)


def test_no_endpoint_is_forgotten() -> None:
    assert set(described(apple_calls)) == set(APPLE)
    assert set(described(business_calls)) == set(BUSINESS)


def test_there_are_many_kinds() -> None:
    assert len(KINDS) >= 60
    assert len({kind.key for kind in KINDS.values()}) == len(KINDS)
