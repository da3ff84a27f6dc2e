"""Rules: the first match decides, and a rule that can never decide is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

from pyade.assignment.rules import AssignmentPolicy, Rule, never_reached
from pyade.core.fleet.device import Device, DeviceFamily
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import PolicyError

URL = "https://mdm.contoso.example/enroll"
KIOSK = EnrollmentProfile(name="Kiosk", url=URL)
LAB = EnrollmentProfile(name="Lab", url=URL)
AIR = Device(
    serial_number="S1",
    model="MacBook Air",
    description="MBA 13.6 MIDNIGHT/8C CPU/16GB",
    asset_tag="LAB-017",
    device_family=DeviceFamily.MAC,
)
BARE = Device(serial_number="S2")


def is_midnight(device: Device) -> bool:
    return "MIDNIGHT" in (device.description or "")


MATCHES: dict[str, tuple[dict[str, Any], bool]] = {
    "the whole text": ({"model": "MacBook Air"}, True),
    "in any letter case": ({"model": "macbook AIR"}, True),
    "not a part of it": ({"model": "MacBook"}, False),
    "any characters": ({"model": "*air"}, True),
    "one character": ({"asset_tag": "LAB-01?"}, True),
    "one character, not two": ({"asset_tag": "LAB-0?"}, False),
    "what means something elsewhere means itself": ({"description": "MBA 13.6 [A-Z]*"}, False),
    "a dot is a dot": ({"description": "MBA 13?6*"}, True),
    "any of several patterns": ({"model": ["iMac*", "MacBook*"]}, True),
    "all conditions": ({"model": "MacBook*", "asset_tag": "LAB-*"}, True),
    "one condition that fails": ({"model": "MacBook*", "asset_tag": "HQ-*"}, False),
    "the family": ({"family": "Mac"}, True),
    "the order": ({"order": "PO-7*"}, True),
    "another order": ({"order": "PO-8*"}, False),
    "an own predicate": ({"predicate": is_midnight}, True),
    "an own predicate besides": ({"model": "iMac", "predicate": is_midnight}, False),
    "an own predicate that says no": ({"predicate": lambda device: False}, False),
}


@each(("conditions", "expected"), MATCHES.values())
def test_rule_matches_if_all_its_conditions_match(conditions: dict[str, Any], expected: bool) -> None:
    assert Rule(profile=KIOSK, **conditions).matches(AIR, order_number="PO-77") is expected


@each("condition", ["model", "family", "asset_tag", "description", "order"])
def test_missing_value_matches_no_condition(condition: str) -> None:
    """Also if any text would match: a missing tag is not a tag."""
    conditions: dict[str, Any] = {condition: "*"}
    assert not Rule(profile=KIOSK, **conditions).matches(BARE)


def test_first_matching_rule_decides() -> None:
    first, second = Rule(profile=LAB, asset_tag="LAB-*"), Rule(profile=KIOSK, model="MacBook*")
    assert AssignmentPolicy([first, second]).choose(AIR) is first
    assert AssignmentPolicy([second, first]).choose(AIR) is second
    assert AssignmentPolicy([second, first]).choose(BARE) is None
    assert AssignmentPolicy().choose(AIR) is None


def test_order_numbers_are_looked_up_by_serial_number() -> None:
    rule = Rule(profile=LAB, order="PO-77")
    policy = AssignmentPolicy([rule], order_numbers={"S1": "po-77"})
    assert (policy.choose(AIR), policy.choose(BARE)) == (rule, None)


@given(st.text(max_size=20), st.integers(0, 20))
def test_text_matches_itself_and_patterns_made_of_its_parts(text: str, at: int) -> None:
    """With any characters that Apple or an administrator uses."""
    device = Device(serial_number="S", asset_tag=f"x{text}")
    literal = f"x{text}".replace("*", "?")
    assert Rule(profile=KIOSK, asset_tag=literal).matches(device)
    assert Rule(profile=KIOSK, asset_tag=literal[:at] + "*").matches(device)
    assert not Rule(profile=KIOSK, asset_tag=literal + "?").matches(device)


LAB_RULE = Rule(profile=LAB, asset_tag="LAB-*")
MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "no condition": (lambda: Rule(profile=KIOSK), "'Kiosk' has no condition"),
    "an empty pattern": (lambda: Rule(profile=KIOSK, model=" "), "pattern ' '"),
    "no text": (lambda: Rule(profile=KIOSK, model=7), "pattern 7"),  # type: ignore[arg-type]
    "no text in a list": (lambda: Rule(profile=KIOSK, model=["a", 7]), "pattern 7"),  # type: ignore[list-item]
    "no Mac": (lambda: Rule(profile=KIOSK, family=["iPad", "iPhone"]), "iPad, iPhone: no Mac can match"),
    "no profile": (lambda: Rule(profile="Kiosk", model="*"), "'Kiosk': an EnrollmentProfile"),  # type: ignore[arg-type]
    "no function": (lambda: Rule(profile=KIOSK, predicate="x"), "predicate 'x'"),  # type: ignore[arg-type]
    "one rule": (lambda: AssignmentPolicy(LAB_RULE), "rules is a Rule: a list of rules"),  # type: ignore[arg-type]
    "no rule": (lambda: AssignmentPolicy([KIOSK]), "a Rule is allowed"),  # type: ignore[list-item]
    "never reached": (
        lambda: AssignmentPolicy([Rule(profile=LAB, model="A"), Rule(profile=KIOSK, model="a")]),
        "'model a: Kiosk' is never reached: 'model A: Lab'",
    ),
    "one name twice": (
        lambda: AssignmentPolicy([Rule(profile=LAB, model=tag, name="Lab Macs") for tag in "AB"]),
        "two rules have the name 'Lab Macs'",
    ),
    "unknown orders": (
        lambda: AssignmentPolicy([Rule(profile=LAB, order="1")]),
        "give order_numbers",
    ),
}


@each(("make", "words"), MISTAKES.values())
def test_invalid_rule_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(PolicyError) as mistake:
        make()
    assert words in str(mistake.value)


NEVER = (
    ([{"model": "*"}], {"model": "Mac mini"}),
    ([{"family": "Mac"}], {"model": "Mac mini"}),
    ([{"family": "m*"}], {"model": ["iMac*", "MacBook ?ir"]}),
    ([{"family": "*"}], {"model": "Mac mini", "asset_tag": "LAB-*"}),
    ([{"family": "Mac"}], {"family": "MAC", "model": "*"}),
    ([{"model": "MacBook*"}], {"model": ["MacBook Air", "MACBOOK PRO (*"], "description": "*8GB*"}),
    ([{"model": ["Mac mini", "iMac", "Mac Pro"]}], {"model": ["imac", "Mac Pro"]}),
    ([{"model": "MacBook*"}, {"model": "Mac mini"}], {"model": ["MacBook Air", "Mac mini"]}),
    ([{"model": "*", "asset_tag": "*"}], {"asset_tag": "L-1", "model": "x"}),
    ([{"asset_tag": "LAB-*"}], {"asset_tag": [f"LAB-{number}" for number in range(1100)]}),
    ([{"order": "*"}], {"order": "PO-1"}),
    ([{"model": "Mac*", "predicate": is_midnight}], {"model": "Mac mini", "predicate": is_midnight}),
    ([{"predicate": is_midnight}], {"model": "Mac mini", "predicate": is_midnight}),
)
"""Earlier rules, and one that can never decide after them."""

SOMETIMES = (
    ([{"model": "*"}], {"family": "Mac"}),
    ([{"model": "*"}], {"asset_tag": "L-1"}),
    ([{"family": "Mac"}], {"asset_tag": "L-1"}),
    ([{"family": "Mac"}], {"model": "*mini"}),
    ([{"family": "Mac"}], {"model": ["Mac mini", "*"]}),
    ([{"model": "Mac mini"}], {"model": "Mac*"}),
    ([{"model": "MacBook*"}, {"model": "iMac"}], {"model": ["MacBook Air", "Mac mini"]}),
    ([{"model": "Mac*", "asset_tag": "L-*"}], {"model": "Mac mini"}),
    ([{"model": "Mac*", "predicate": is_midnight}], {"model": "Mac mini"}),
    ([{"model": "stra\u00dfe"}], {"model": "strasse"}),
)
"""Earlier rules, and one that still decides for some Mac."""


@pytest.mark.parametrize(("before", "after"), NEVER)
def test_rule_that_can_never_decide_is_refused(before: list[Any], after: Any) -> None:
    rules = [Rule(profile=LAB, **conditions) for conditions in (*before, after)]
    with pytest.raises(PolicyError, match="never reached"):
        AssignmentPolicy(rules, order_numbers={})


@pytest.mark.parametrize(("before", "after"), SOMETIMES)
def test_rule_that_may_decide_is_accepted(before: list[Any], after: Any) -> None:
    policy = AssignmentPolicy([Rule(profile=LAB, **conditions) for conditions in (*before, after)])
    assert len(policy.rules) == len(before) + 1


def test_error_names_the_rules_that_match_first() -> None:
    rules = [
        Rule(profile=LAB, model="MacBook*"),
        Rule(profile=KIOSK, model="Mac mini", name="Lobby"),
        Rule(profile=KIOSK, model=["MacBook Air", "Mac mini"]),
    ]
    with pytest.raises(PolicyError) as refused:
        AssignmentPolicy(rules)
    assert str(refused.value) == (
        "rule 'model MacBook Air or Mac mini: Kiosk' is never reached: 'model MacBook*: Lab' and "
        "'Lobby: Kiosk' before it match every Mac that it describes"
    )


DEVICES = st.builds(
    lambda **fields: Device(serial_number="X", **fields),
    model=st.sampled_from(["Mac mini", "MacBook Air", "iMac", "iPad", "x", None]),
    device_family=st.sampled_from([DeviceFamily.MAC]),
    asset_tag=st.sampled_from(["L-1", "L-2", "K", None]),
)
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.lists(st.sampled_from(["*", "Mac*", "Mac mini", "MacBook ?ir", "i*", "?*"]), min_size=1),
        "family": st.sampled_from(["*", "Mac", "m?c"]),
        "asset_tag": st.lists(st.sampled_from(["*", "L-*", "L-1", "K", "?"]), min_size=1),
    },
).filter(bool)


@given(st.lists(CONDITIONS, min_size=2, max_size=4), st.lists(DEVICES, min_size=20, max_size=40))
def test_rule_that_decides_for_a_mac_is_never_refused(conditions: list[Any], devices: list[Device]) -> None:
    rules = [Rule(profile=LAB, **one) for one in conditions]
    found = never_reached(rules)
    if found is not None:
        place = next(number for number, rule in enumerate(rules) if rule is found[0])
        assert not any(
            rules[place].matches(one) and not any(rule.matches(one) for rule in rules[:place])
            for one in devices
        )


def test_rules_with_different_predicates_differ() -> None:
    rules = [Rule(profile=KIOSK, model="A", predicate=is_midnight), Rule(profile=LAB, model="A")]
    assert len(AssignmentPolicy(rules).rules) == 2


def test_text_of_a_policy_is_a_list() -> None:
    policy = AssignmentPolicy(
        [
            Rule(profile=LAB, asset_tag=["LAB-*", "L-*"], model="MacBook*"),
            Rule(profile=KIOSK, name="Lobby", description="*24GB*"),
            Rule(profile=KIOSK, predicate=is_midnight),
        ]
    )
    assert str(policy).splitlines() == [
        "1. model MacBook* and asset tag LAB-* or L-*: Lab",
        "2. Lobby: Kiosk",
        "3. is_midnight: Kiosk",
        "else: the token's default",
    ]


def test_policy_survives_pickling() -> None:
    policy = AssignmentPolicy([Rule(profile=LAB, model="MacBook*", predicate=is_midnight)])
    again = pickle.loads(pickle.dumps(policy))
    assert again == policy
    assert again.choose(AIR) == policy.rules[0]
