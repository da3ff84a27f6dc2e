"""Ordered rules that select a profile for a Mac by its properties, and the wildcard patterns in them.

The rules of this file; all functions are pure. A *case* of a rule is one pattern of each of its conditions.

1. The first rule that matches decides; a Mac that no rule matches gets the token's default. Rules are not
   evaluated for a Mac whose profile was picked by hand; see ``selection``.
2. All conditions of a rule must hold. Of the patterns of one condition any may match.
3. A pattern is compared with the whole text, ignoring letter case; ``*`` matches any characters, ``?`` one
   character. A property that Apple does not report matches no pattern.
4. Matching takes a time linear in the length of the text, whatever the pattern. A regular expression with
   several ``.*`` would try every way to split the text. Here the bits of one integer are the places of the
   pattern that are reached so far, and each letter of the text moves all of them at the same time.
5. A rule that can never decide is refused with ``PolicyError``, as far as that can be proved. A rule can
   never decide if each of its cases is covered by an earlier rule. A rule covers a case if each of its own
   conditions holds for every Mac of the case.
6. A condition holds if one of its patterns matches everything that the pattern of the case matches; see
   ``Wildcard.covers``.
7. A condition that the case does not have may fail, as Apple may not report the property. Exception: a case
   whose model can only be a Mac has the family ``Mac``.
8. An earlier rule with a predicate covers nothing, as the predicate may return False, unless the later rule
   has the same predicate.
9. A rule of more than 1,000 cases is compared condition by condition with one earlier rule at a time.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

import attrs

from pyade.core.arguments import check_arguments
from pyade.core.fleet.device import Device
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import ArgumentError, PolicyError
from pyade.text import Printed

if TYPE_CHECKING:
    from pyade.core.fleet.groups import DeviceGroup


@attrs.frozen
class Wildcard:
    """One pattern, which is compared with a whole text, ignoring letter case.

    Attributes:
        places: For each letter of the pattern, the bits of the places where it matches, including those of
            ``?``.
        anywhere: The bits of the places of ``?``.
        loops: The bits of the places of ``*``, where any letters match.
        end: The bit of the place after the last letter.
    """

    places: Mapping[str, int]
    anywhere: int
    loops: int
    end: int

    @classmethod
    def of(cls, pattern: str) -> Self:
        """Compile *pattern*, in which ``*`` matches any characters and ``?`` matches one."""
        places: dict[str, int] = {}
        anywhere = loops = 0
        place = 1
        for letter in _normalize(pattern):
            if letter == "*":
                loops |= place
                continue
            if letter == "?":
                anywhere |= place
            else:
                key = _fold_letter(letter)
                places[key] = places.get(key, 0) | place
            place <<= 1
        return cls({key: found | anywhere for key, found in places.items()}, anywhere, loops, place)

    def matches(self, text: str) -> bool:
        """Return True if the pattern matches the whole *text*."""
        reached, settled = 1, self.end & self.loops
        for letter in text.upper() if text.isascii() else map(_fold_letter, text):
            moved = (reached & self.places.get(letter, self.anywhere)) << 1  # rule 4
            reached = moved | (reached & self.loops)
            if not reached:
                return False
            if reached & settled:
                return True
        return bool(reached & self.end)  # rule 3

    def covers(self, pattern: str) -> bool:
        """Return True only if this pattern matches every text that *pattern* matches.

        A ``*`` in *pattern* is only covered by a ``*`` in this one. So False may be wrong: ``?*`` covers
        ``*x``, which is not detected.
        """
        reached = 1
        for letter in _normalize(pattern):
            kept = reached & self.loops
            if letter == "*":
                reached = kept
            else:
                # "?" matches any letter, including letters that this pattern does not contain.
                key = "" if letter == "?" else _fold_letter(letter)
                reached = (reached & self.places.get(key, self.anywhere)) << 1 | kept
        return bool(reached & self.end)


def _normalize(pattern: str) -> str:
    """Return an equivalent pattern with every ``?`` before an adjacent ``*``, and repeated ``*`` merged."""
    return re.sub(r"[*?]{2,}", lambda run: "?" * run[0].count("?") + "*" * ("*" in run[0]), pattern)


def fold_case(text: str) -> tuple[str, ...]:
    """Return the letters of *text*, equal for all texts that differ in letter case alone."""
    return tuple(map(_fold_letter, text))


def _fold_letter(letter: str) -> str:
    """Return one text for all letters that differ in case alone, as ``re.IGNORECASE`` does."""
    return letter.lower()[:1].upper()


_ALLOWED: Final = "a text or a list of texts is allowed, such as 'MacBook Air*'"


def _convert_patterns(value: str | Iterable[str]) -> tuple[str, ...]:
    """Return the patterns of a condition as a tuple; a single text becomes one pattern."""
    given: Any = (value,) if isinstance(value, str) else value
    if not isinstance(given, Iterable):
        raise PolicyError(f"pattern {given!r}: {_ALLOWED}")
    patterns = tuple(given)
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern.strip():
            raise PolicyError(f"pattern {pattern!r}: {_ALLOWED}")
    return patterns


@attrs.frozen(kw_only=True)
class Rule(Printed):
    """Conditions that a Mac must meet to get a profile; every condition that is given must hold.

    Attributes:
        profile: The profile for Macs that meet the conditions.
        name: Shown in reports; "" shows the conditions instead.
        model: Patterns for ``Device.model``, such as ``MacBook*``.
        family: Patterns for Apple's product family: of a Mac it is ``Mac``, or not reported.
        asset_tag: Patterns for the organization's own tag.
        description: Patterns for ``Device.description``, such as ``*16GB*``.
        order: Patterns for the number of the order with which the Mac was bought, see ``order_numbers`` of
            ``AssignmentPolicy``.
        predicate: A function that returns True for the devices that the rule may match, in addition to the
            other conditions. It is called often: it should depend on the device alone, and be fast.

    Raises:
        PolicyError: There is no condition, a pattern is not a text, or no Mac can match.

    Source: specification, "Assign an enrollment profile to devices". The conditions are this project's
    decision: Intune has only a default profile and picking by hand.
    """

    profile: EnrollmentProfile
    name: str = ""
    model: tuple[str, ...] = attrs.field(default=(), converter=_convert_patterns)
    family: tuple[str, ...] = attrs.field(default=(), converter=_convert_patterns)
    asset_tag: tuple[str, ...] = attrs.field(default=(), converter=_convert_patterns)
    description: tuple[str, ...] = attrs.field(default=(), converter=_convert_patterns)
    order: tuple[str, ...] = attrs.field(default=(), converter=_convert_patterns)
    predicate: Callable[[Device], object] | None = None
    _checks: tuple[tuple[str, tuple[Wildcard, ...]], ...] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.profile, EnrollmentProfile):
            raise PolicyError(
                f"profile of {self.label!r} is {self.profile!r}: an EnrollmentProfile is allowed"
            )
        if self.predicate is not None and not callable(self.predicate):
            raise PolicyError(f"predicate {self.predicate!r}: a function of a device is allowed")
        if not isinstance(self.name, str):
            raise PolicyError(f"name {self.name!r}: a text is allowed")
        if not self.conditions and self.predicate is None:
            raise PolicyError(
                f"the rule for profile {self.profile.name!r} has no condition and would match every Mac: "
                "give one, or make the profile the token's default"
            )
        checks = tuple((name, tuple(map(Wildcard.of, texts))) for name, texts in self.conditions.items())
        object.__setattr__(self, "_checks", checks)
        if not all(_any_matches(patterns, "Mac") for name, patterns in checks if name == "family"):
            raise PolicyError(f"family {', '.join(self.family)}: no Mac can match; use 'Mac'")

    @property
    def conditions(self) -> Mapping[str, tuple[str, ...]]:
        """The patterns by condition, of the conditions that were given."""
        found = {name: getattr(self, name) for name in _CONDITIONS}
        return {name: patterns for name, patterns in found.items() if patterns}

    @property
    def label(self) -> str:
        """The name; if there is none, the conditions as text."""
        if self.name:
            return self.name
        words = [
            f"{name.replace('_', ' ')} {' or '.join(patterns)}" for name, patterns in self.conditions.items()
        ]
        if self.predicate is not None:
            words.append(getattr(self.predicate, "__name__", "own predicate"))
        return " and ".join(words)

    def matches(self, device: Device, *, order_number: str | None = None) -> bool:
        """Return True if *device* meets every condition.

        Args:
            device: The device as Apple reports it.
            order_number: The number of the order with which it was bought; None if unknown.

        Raises:
            ArgumentError: *device* is not a Device.
        """
        # ``check_arguments`` would take as long as the rule itself.
        if not isinstance(device, Device):
            raise ArgumentError("Rule.matches", "device", type(device).__name__, "a Device")
        for name, patterns in self._checks:
            value = order_number if name == "order" else getattr(device, _DEVICE_FIELDS.get(name, name))
            if value is None or not _any_matches(patterns, value):  # rule 2
                return False
        return self.predicate is None or bool(self.predicate(device))

    def matches_group(self, group: DeviceGroup) -> bool | None:
        """Return True if all devices of *group* meet every condition, False if none does, else None.

        The devices of a group have the same model and family; asset tag, description, order and the result of
        a predicate may differ.
        """
        known = {"model": group.model, "family": group.device_family}
        for name, patterns in self._checks:
            if name in known and ((value := known[name]) is None or not _any_matches(patterns, value)):
                return False
        return True if self.predicate is None and self.conditions.keys() <= known.keys() else None

    def _words(self) -> str:
        return f"{self.label}: {self.profile.name}"


def _convert_rules(value: Iterable[Rule]) -> tuple[Rule, ...]:
    if isinstance(value, Rule) or not isinstance(value, Iterable):
        raise PolicyError(
            f"rules is a {type(value).__name__}: a list of rules is allowed, the first that matches decides"
        )
    return tuple(value)


@attrs.frozen
class AssignmentPolicy(Printed):
    """Ordered rules for the profile of a Mac; ``print`` shows them. Without rules, all Macs get the default.

    Attributes:
        rules: The first one that matches decides.
        order_numbers: Serial number to order number, for rules with ``order``. Apple's device assignment
            service does not report it; Apple's Business API does, as ``orderNumber`` of a device.

    Raises:
        PolicyError: An item is not a ``Rule``, a rule can never be reached because earlier ones match every
            Mac that it describes, two rules have the same name, or one has ``order`` and ``order_numbers``
            was not given.
    """

    rules: tuple[Rule, ...] = attrs.field(default=(), converter=_convert_rules)
    order_numbers: Mapping[str, str] | None = attrs.field(default=None, kw_only=True, repr=False, hash=False)

    def __attrs_post_init__(self) -> None:
        if not (self.order_numbers is None or isinstance(self.order_numbers, Mapping)):
            raise PolicyError(f"order_numbers {self.order_numbers!r}: a mapping by serial number is allowed")
        names: set[str] = set()
        for rule in self.rules:
            if not isinstance(rule, Rule):
                raise PolicyError(f"rule {rule!r}: a Rule is allowed")
            if rule.name and rule.name in names:
                raise PolicyError(f"two rules have the name {rule.name!r}: give each rule another name")
            names.add(rule.name)
            if rule.order and self.order_numbers is None:
                raise PolicyError(
                    f"rule {str(rule)!r} has a condition on orders: give order_numbers, by serial number"
                )
        if (found := never_reached(self.rules)) is not None:  # rule 5
            raise PolicyError(f"rule {str(found[0])!r} is never reached: {_describe_takers(*found)}")

    @check_arguments
    def choose(self, device: Device) -> Rule | None:
        """Return the rule that decides for *device*; None if it gets the token's default."""
        order_number = (self.order_numbers or {}).get(device.serial_number)
        matching = (rule for rule in self.rules if rule.matches(device, order_number=order_number))
        return next(matching, None)  # rule 1

    def candidates(self, group: DeviceGroup) -> tuple[Rule | None, ...]:
        """Return the rules that can decide for the devices of *group*, with None for the token's default.

        The result has one item if the same rule decides for all of them.
        """
        found: list[Rule | None] = []
        for rule in self.rules:
            is_match = rule.matches_group(group)
            if is_match is not False:
                found.append(rule)
            if is_match:
                return tuple(found)
        return (*found, None)

    def _words(self) -> list[str]:
        lines = [f"{number}. {rule}" for number, rule in enumerate(self.rules, start=1)]
        return [*lines, "else: the token's default"]


_CONDITIONS: Final = ("model", "family", "asset_tag", "description", "order")
_DEVICE_FIELDS: Final = {"family": "device_family"}


def _any_matches(patterns: tuple[Wildcard, ...], value: str) -> bool:
    return any(pattern.matches(value) for pattern in patterns)  # rule 2


def _describe_takers(rule: Rule, takers: tuple[Rule, ...]) -> str:
    same = takers[0].conditions.keys() == rule.conditions.keys() and all(
        _fold_all(patterns) == _fold_all(rule.conditions[name])
        for name, patterns in takers[0].conditions.items()
    )
    if same:
        return f"{str(takers[0])!r} has the same conditions"
    names = " and ".join(repr(str(taker)[:80]) for taker in takers[:3])
    return f"{names} before it {'matches' if len(takers) == 1 else 'match'} every Mac that it describes"


def _fold_all(patterns: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    return frozenset(map(fold_case, patterns))


_MAX_CASES: Final = 1_000
_MAC_MODEL_PREFIXES: Final = ("mac", "imac", "xserve")
"""Prefixes of the names of all Mac models, and of no other model of Apple's; in lower case."""


@attrs.frozen
class _Patterns:
    """The patterns of one condition: those without a wildcard are looked up in a set."""

    texts: frozenset[tuple[str, ...]]
    wildcards: tuple[Wildcard, ...]

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Self:
        given = tuple(patterns)
        return cls(
            frozenset(fold_case(pattern) for pattern in given if not _is_wild(pattern)),
            tuple(Wildcard.of(pattern) for pattern in given if _is_wild(pattern)),
        )

    def cover(self, pattern: str) -> bool:
        is_listed = bool(self.texts) and not _is_wild(pattern) and _fold_case_cached(pattern) in self.texts
        return is_listed or any(one.covers(pattern) for one in self.wildcards)


def never_reached(rules: Sequence[Rule]) -> tuple[Rule, tuple[Rule, ...]] | None:
    """Return the first rule that can never decide, and the earlier ones that match its Macs; None if none is.

    Args:
        rules: In the order in which they are evaluated.
    """
    before: list[tuple[Rule, dict[str, _Patterns]]] = []
    for rule in rules:
        comparable = [  # rule 8
            it for it in before if it[0].predicate is None or it[0].predicate is rule.predicate
        ]
        if takers := _takers(rule, comparable):
            return rule, takers
        before.append((rule, {name: _Patterns.of(texts) for name, texts in rule.conditions.items()}))
    return None


def _takers(rule: Rule, before: list[tuple[Rule, dict[str, _Patterns]]]) -> tuple[Rule, ...]:
    found: dict[int, Rule] = {}
    for case in _iterate_cases(rule):
        for earlier, conditions in before:
            if all(_condition_holds(name, patterns, case) for name, patterns in conditions.items()):
                found[id(earlier)] = earlier
                break
        else:
            return ()
    return tuple(found.values())


def _iterate_cases(rule: Rule) -> Iterator[Mapping[str, tuple[str, ...]]]:
    """Yield the cases of *rule*; one combined case if there are more than ``_MAX_CASES``."""
    conditions = rule.conditions
    if math.prod(map(len, conditions.values())) > _MAX_CASES:  # rule 9
        yield conditions
        return
    for patterns in itertools.product(*conditions.values()):
        yield {name: (pattern,) for name, pattern in zip(conditions, patterns, strict=True)}


def _condition_holds(name: str, patterns: _Patterns, case: Mapping[str, tuple[str, ...]]) -> bool:
    """Return True if *patterns* match everything that the patterns of *case* for that condition match."""
    wanted = case.get(name, ())
    if name == "family" and not wanted and "model" in case and all(map(_is_mac_model, case["model"])):
        wanted = ("Mac",)  # rule 7
    return bool(wanted) and all(map(patterns.cover, wanted))  # rules 6 and 7


@functools.lru_cache(maxsize=1_024)
def _fold_case_cached(pattern: str) -> tuple[str, ...]:
    """Return ``fold_case(pattern)``, cached because each pattern is compared with all earlier rules."""
    return fold_case(pattern)


def _is_wild(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def _is_mac_model(pattern: str) -> bool:
    """Return True if only names of Mac models match *pattern*."""
    return re.split("[*?]", pattern.lower(), maxsplit=1)[0].startswith(_MAC_MODEL_PREFIXES)
