"""Untrusted text is escaped wherever users read it, so it cannot add lines or control characters."""

from __future__ import annotations

import copy
import enum
import importlib
import inspect
import logging
import pickle
import pkgutil
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each
from tests.keys import RSA_KEYS, keypair_of
from tests.pictures import DRAWN, FRAME

import pyade
from pyade import EnrollmentProfile
from pyade.assignment.rules import AssignmentPolicy, Rule
from pyade.core.fleet.device import Device, DeviceResult
from pyade.core.fleet.events import Event, EventKind
from pyade.core.fleet.outcomes import DeviceResults
from pyade.core.fleet.records import SyncState
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem
from pyade.core.secret import Secret
from pyade.core.token import Token
from pyade.crypto.keypair import TokenKeypair
from pyade.errors import ProfileError, PyadeError, StoreError, TermsError
from pyade.operations import HealthReport
from pyade.operations.portal_steps import TokenSetup
from pyade.testing import FakeEnrollment
from pyade.text import Printed, Table, html_tables, logger, printable, short_repr

FORGED = "2026-03-01 INFO all is well"
HOSTILE = f"Zoë 株式会社\x1b[2J\x9b\r\n{FORGED}\u2028\u2029\x85\u202egnp.exe\u2066\u200f\ud800\0\x7f"
WRITABLE = HOSTILE.replace("\ud800", "")
"""The same text as a token accepts it: without the surrogate."""
TAME = "Contoso"


def check(text: str) -> None:
    """Check that *text* has no line and no control character of the hostile text."""
    for line in text.split("\n"):
        assert line.isprintable()
        assert not line.strip().startswith(FORGED)


@given(st.text() | st.text(alphabet=[*HOSTILE, "'", '"', "\\"]))
def test_unprintable_characters_are_escaped_as_by_repr(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    assert shown == "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    assert (shown == text) == text.isprintable()


def test_names_of_all_languages_stay_as_they_are() -> None:
    for name in ("Zoë & Söhne GmbH", "株式会社", "مدرسة", 'O\'Neill "IT"', "C:\\Macs", "Ελλάδα"):
        assert printable(name) == name
    assert printable("a\x1b[2J\n\u202eb\ud800") == r"a\x1b[2J\n\u202eb\ud800"


def all_classes() -> Iterator[type]:
    """Yield every class of the package; some name ``pyade`` as their module."""
    for module in pkgutil.walk_packages(pyade.__path__, "pyade."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and value.__module__ in (module.name, "pyade"):
                yield value


CLASSES = list(dict.fromkeys(all_classes()))
TYPES = {kind.__name__: kind for kind in CLASSES if attrs.has(kind) or issubclass(kind, enum.Enum)}
NAMES = {
    **TYPES,
    "Any": Any,
    "Mapping": Mapping,
    "Sequence": Sequence,
    "datetime": datetime,
    "Secret": Secret,
}
PROFILE = EnrollmentProfile(name="Lab\u202e", url="https://mdm.contoso.example/enroll")
TOKEN = Token(
    name=WRITABLE,
    consumer_key="CK_1",
    consumer_secret="CS_1",
    access_token="AT_1",
    access_secret="AS_1",
    access_token_expiry=None,
    apple_id="it\u202e@contoso.example",
    consented_at=datetime(2026, 3, 1, tzinfo=UTC),
    org_name=WRITABLE,
    admin_id=WRITABLE,
)
KEYPAIR = keypair_of(RSA_KEYS[0])


def filled(kind: type, text: str) -> Any:
    """Return an object of *kind* with *text* in each text field."""
    if not attrs.has(kind):
        return kind(text)
    try:
        known = typing.get_type_hints(kind)
    except NameError:
        known = {}  # imported for type checkers alone
    values = {}
    for field in attrs.fields(kind):
        if not field.init:
            continue
        annotation = field.type
        if isinstance(annotation, str):
            annotation = known[field.name] if field.name in known else eval(annotation, NAMES)
        values[field.alias] = value_of(annotation, text)
    return kind(**values)


def value_of(kind: Any, text: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return value_of(next(one for one in arguments if one is not type(None)), text)
    if origin in (tuple, Sequence):
        return (value_of(arguments[0], text), value_of(arguments[0], text))
    if origin is not None and issubclass(origin, Mapping):
        return {value_of(arguments[0], text): value_of(arguments[1], text)}
    simple: dict[Any, Any] = {
        str: text,
        int: 3,
        bool: True,
        float: 2.5,
        Any: text,
        datetime: datetime(2026, 3, 1, tzinfo=UTC),
        timedelta: timedelta(days=3),
        MacOSVersion: MacOSVersion(14, 1),
        EnrollmentProfile: PROFILE,
        Secret: Secret(text),
        Token: TOKEN,
        TokenKeypair: KEYPAIR,
    }
    if kind in simple:
        return simple[kind]
    if issubclass(kind, enum.Enum):
        members = list(kind)
        try:
            return kind(text)  # an open enumeration accepts any value
        except ValueError:
            return members[0]
    return filled(kind, text)


BY_HAND = {
    "AssignmentPolicy",
    "MacOSVersion",
    "Printed",
    "Rule",
    "Token",
    "TokenKeypair",
    "TokenSetup",
    "_Argument",
}
PRINTED = [kind for kind in CLASSES if issubclass(kind, Printed) and kind.__name__ not in BY_HAND]

ERRORS = [kind for kind in PRINTED if issubclass(kind, PyadeError)]


@pytest.mark.parametrize("kind", PRINTED, ids=lambda kind: kind.__name__)
def test_every_printed_object_escapes_untrusted_text(kind: type[Printed]) -> None:
    """Every error, report, plan and decision, with hostile text in each field, nested ones included."""
    if not attrs.has(kind):
        shown = [kind(HOSTILE), kind(HOSTILE, HOSTILE)] if issubclass(kind, PyadeError) else []
    else:
        whole = filled(kind, HOSTILE)
        shown = [whole]
        if not isinstance(whole, Exception):
            optional = [
                {field.name: empty}
                for field in attrs.fields(kind)
                for empty in ("", None)
                if field.init
                and type(getattr(whole, field.name)) in (str, datetime)
                and (empty == "" if isinstance(getattr(whole, field.name), str) else empty is None)
            ]
            shown += [attrs.evolve(whole, **change) for change in optional if _is_possible(kind, change)]
    assert shown
    for one in shown:
        check(str(one))
        check(f"{one}")


def _is_possible(kind: type, change: Mapping[str, Any]) -> bool:
    ((name, value),) = change.items()
    return value == "" or "None" in str(attrs.fields_dict(kind)[name].type)


def test_a_rule_escapes_its_patterns() -> None:
    for condition in ("model", "asset_tag", "description"):
        patterns: dict[str, Any] = {condition: HOSTILE}
        rule = Rule(profile=PROFILE, **patterns)
        check(str(rule))
        policy = AssignmentPolicy([rule, Rule(profile=PROFILE, name=HOSTILE, model="x")])
        check(str(policy))
        assert len(str(policy).split("\n")) == 3


@pytest.mark.parametrize(
    "kind", [kind for kind in CLASSES if issubclass(kind, PyadeError) and attrs.has(kind)]
)
def test_an_error_keeps_the_original_text_in_its_attributes(kind: type[PyadeError]) -> None:
    """Also after pickling and copying."""
    error = filled(kind, HOSTILE)
    for twin in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):
        texts = [value for value in attrs.asdict(twin, recurse=False).values() if isinstance(value, str)]
        assert set(texts) <= {HOSTILE}
        assert str(twin) == str(error)


def test_an_error_of_several_rules_keeps_the_lines_of_pyade() -> None:
    problem = Problem(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    text = str(ProfileError((problem, problem)))
    check(text)
    assert len(text.split("\n")) == 3


def test_a_token_and_its_key_pair_print_as_one_line() -> None:
    setup = TokenSetup(name=WRITABLE, consented_at=datetime(2026, 3, 1, tzinfo=UTC), apple_id=TOKEN.apple_id)
    stored = attrs.evolve(setup, is_stored=True, steps_done=4, last_error=HOSTILE)
    renewal = attrs.evolve(setup, is_renewal=True)
    for shown in (
        TOKEN,
        KEYPAIR,
        *TOKEN.problems,
        setup,
        stored,
        renewal,
        *(one.next_step for one in (setup, stored, renewal)),
    ):
        check(str(shown))
        check(f"{shown}")
    assert "\n" not in str(TOKEN) + str(KEYPAIR)


def test_summaries_escape_values_of_apple() -> None:
    results = DeviceResults(results={"C02A": DeviceResult(HOSTILE)})
    check(results.summary())
    assert "\n" not in results.summary()


class Collected(logging.Handler):
    """A logging handler of the caller."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def collected() -> Iterator[Collected]:
    handler = Collected()
    log = logging.getLogger("pyade.tests")
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield handler
    log.removeHandler(handler)
    log.setLevel(logging.NOTSET)


def test_every_handler_gets_escaped_messages(collected: Collected) -> None:
    log = logger("pyade.tests")
    assert logger("pyade.tests") is log
    assert len(log.filters) == 1
    log.info("%s: %d of %.1f", HOSTILE, 3, 2.5)
    log.warning("%s", OSError(HOSTILE))
    log.error("%s and %r", DeviceResult(HOSTILE), [HOSTILE])
    log.info("%(name)s has %(count)d", {"name": HOSTILE, "count": 2})
    log.info("no arguments")
    log.info("%s", None)
    messages = [record.getMessage() for record in collected.records]
    assert len(messages) == 6
    for message in messages:
        check(message)
        assert "\n" not in message
    assert messages[0].startswith("Zoë 株式会社\\x1b[2J")
    assert messages[0].endswith(": 3 of 2.5")
    assert messages[3].endswith(" has 2")
    assert messages[4:] == ["no arguments", "None"]


def test_a_log_record_keeps_the_lines_of_a_report(collected: Collected) -> None:
    problem = Problem("name", HOSTILE, "a name", "")
    logger("pyade.tests").info("%s", ProfileError((problem, problem)))
    (record,) = collected.records
    check(record.getMessage())
    assert len(record.getMessage().split("\n")) == 3


def test_the_text_of_a_foreign_error_is_made_by_the_handler() -> None:
    """As without pyade: an error in ``__str__`` is raised in the handler, not in a sync."""

    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    record = logging.LogRecord("pyade.tests", logging.INFO, "", 0, "%s", (BrokenError(),), None)
    assert logger("pyade.tests").filter(record)
    with pytest.raises(RuntimeError):
        record.getMessage()


def test_an_error_without_fields_prints_as_one_line() -> None:
    assert str(PyadeError("a\nb")) == r"a\nb"
    assert str(StoreError(HOSTILE)) == printable(HOSTILE)
    assert str(TermsError("read", 403, next_step=HOSTILE)) == f"read: 403; {printable(HOSTILE)}"


REPORTS = [kind for kind in PRINTED if attrs.has(kind) and kind.__repr__ is Printed.__repr__]


def test_notebooks_show_the_text_escaped() -> None:
    report = HealthReport(
        problems=(Problem("name", "<script>&", "a name", "rename it"),),
        checked_at=datetime(2026, 3, 1, tzinfo=UTC),
    )
    shown = report._repr_html_()
    assert "&lt;script&gt;&amp;" in shown
    assert "<script>" not in shown


@each("kind", [kind for kind in PRINTED if attrs.has(kind)])
def test_notebooks_show_a_small_table_or_the_text_without_scripts_and_ids(kind: type[Printed]) -> None:
    shown = filled(kind, HOSTILE)._repr_html_()
    tree = ET.fromstring(shown)
    for one in tree.iter():
        tag = one.tag.rpartition("}")[2]
        assert tag in {*("div", "b", "table", "thead", "tbody", "tr", "th", "td", "pre"), *DRAWN, *FRAME}
        assert not {"id", "class", "href", "onload"} & one.attrib.keys()
        assert not re.search("url|(?<!-)color:(?!inherit)", str(one.get("style")))
        for text in (one.text or "", one.tail or ""):
            check(text)


def test_a_table_in_a_notebook_is_bounded() -> None:
    rows = [(number, "x" * 2_000, None) for number in range(2_000)]
    shown = html_tables([Table("Many", ("number", "text", "nothing"), rows)])
    assert len(shown) < 60_000
    assert shown.count("<tr ") == 51
    assert "and 1,950 more" in shown
    assert "and 9,950 more" in html_tables([Table("Many", (), rows[:50], total=10_000)])
    assert html_tables([]) == ""


def _has_short_repr(kind: type) -> bool:
    own = vars(kind).get("__repr__")
    return inspect.isfunction(own) and short_repr.__name__ in own.__code__.co_names


SHORT = [kind for kind in CLASSES if _has_short_repr(kind)]


def test_repr_of_an_object_with_fields_is_one_short_line_without_what_is_not_set() -> None:
    assert len(SHORT) >= 35
    device = Device(serial_number="C02XL0GSJGH5", model="Mac")
    assert repr(device) == "Device(serial_number='C02XL0GSJGH5', model='Mac')"
    event = Event(id="1-1.0", kind=EventKind.ADDED, token_name="hq", at=datetime(2026, 3, 1, tzinfo=UTC))
    assert repr(event).startswith("Event(id='1-1.0', kind=<EventKind.ADDED: 'added'>, token_name='hq', at=")
    assert repr(event).endswith("token_name='hq', at=2026-03-01 00:00:00+00:00)")
    assert "serial_number" not in repr(event)
    assert repr(SyncState()) == "SyncState()"
    for text in ("x", "long\n" * 1_000, "\u202e" * 80):
        long = Event(
            id=text, kind=EventKind(text), token_name=text, at=event.at, details={text: [text] * 1_000}
        )
        assert len(repr(long)) < 300
        assert repr(long).isprintable()


def test_repr_of_an_object_with_secrets_shows_none() -> None:
    enrollment = FakeEnrollment(
        profile={"Challenge": "SECRET"},
        signer=None,
        topic="com.apple.mgmt.External.1",
        server_url="https://mdm.contoso.example/mdm",
        check_in_url="https://mdm.contoso.example/checkin",
        identity="scep",
        credential="SECRET",
    )
    assert "identity='scep'" in repr(enrollment)
    assert "SECRET" not in repr(enrollment)


@pytest.mark.parametrize("kind", REPORTS, ids=lambda kind: kind.__name__)
def test_repr_of_a_report_is_one_short_line(kind: type[Printed]) -> None:
    report = filled(kind, "long\n" * 1000)
    assert len(repr(report)) < 300
    assert "\n" not in repr(report)
    assert repr(report).startswith(f"<{kind.__name__}: ")
