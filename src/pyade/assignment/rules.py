"""Which profile a Mac should get by what it is: ordered rules, then the token's default.

The rules of this file, all pure:

1. The first rule that matches decides; what no rule matches follows the token's default.
2. All conditions of a rule must hold. Of the patterns of one condition any may match.
3. A pattern is compared with the whole text, letter case does not count; ``*`` stands for any characters,
   ``?`` for one. What Apple does not say about a Mac matches no pattern.
4. A rule that can never decide is refused, as far as that can be known; see ``rule_reach``.
5. A profile that was picked for a Mac by hand stands above the rules: they are not asked.

Patterns with ``*`` and ``?``, in a time that grows with the length of the text, whatever both hold.

A regular expression with several ``.*`` tries every way to share a text among them. Here one number holds
every place of the pattern that could have been reached so far, as a bit each, and each letter of the text
moves all of them on at once.

Whether a rule can ever decide, or the rules before it take every Mac that it describes.

The rules of this file, where a *case* of a rule is one pattern of each of its conditions:

1. A rule can never decide if each of its cases is covered by a rule before it. One rule covers a case if each
   of its own conditions holds for every Mac of the case.
2. A condition holds if one of its patterns matches all that the pattern of the case does; see ``Wildcard``.
3. A condition that the case does not have may fail, as Apple need not say everything about a Mac. The family
   of what can only be the model of a Mac is known: ``Mac``.
4. A predicate may be false, except where the later rule asks the same one.
5. Only what can be known is said. A rule of more than 1,000 cases is compared condition by condition with one
   rule at a time.
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
    """One pattern, which is compared with a whole text; letter case does not count.

    Attributes:
        places: For each letter of the pattern the places where it may come next, those of ``?`` among them.
        anywhere: The places of ``?``.
        loops: The places of ``*``: any letters may come there.
        end: The place after the last letter.
    """

    places: Mapping[str, int]
    anywhere: int
    loops: int
    end: int

    @classmethod
    def of(cls, pattern: str) -> Self:
        """Return *pattern*, of which ``*`` stands for any characters and ``?`` for one."""
        places: dict[str, int] = {}
        anywhere = loops = 0
        place = 1
        for letter in _in_order(pattern):
            if letter == "*":
                loops |= place
                continue
            if letter == "?":
                anywhere |= place
            else:
                key = _without_case(letter)
                places[key] = places.get(key, 0) | place
            place <<= 1
        return cls({key: found | anywhere for key, found in places.items()}, anywhere, loops, place)

    def matches(self, text: str) -> bool:
        """Return True if the pattern describes the whole *text*."""
        reached, settled = 1, self.end & self.loops
        for letter in text.upper() if text.isascii() else map(_without_case, text):
            moved = (reached & self.places.get(letter, self.anywhere)) << 1
            reached = moved | (reached & self.loops)
            if not reached:
                return False
            if reached & settled:
                return True
        return bool(reached & self.end)

    def covers(self, pattern: str) -> bool:
        """Return True if every text that *pattern* matches is matched by this one, too; never wrongly.

        What ``*`` of *pattern* stands for is only taken by a ``*`` of this one: that ``?*`` covers ``*x`` is
        not known.
        """
        reached = 1
        for letter in _in_order(pattern):
            kept = reached & self.loops
            if letter == "*":
                reached = kept
            else:
                # "?" stands for any letter, also for one that this pattern does not name.
                key = "" if letter == "?" else _without_case(letter)
                reached = (reached & self.places.get(key, self.anywhere)) << 1 | kept
        return bool(reached & self.end)


def _in_order(pattern: str) -> str:
    """Return the same pattern with every ``?`` before the ``*`` beside it, and one ``*`` for several."""
    return re.sub(r"[*?]{2,}", lambda run: "?" * run[0].count("?") + "*" * ("*" in run[0]), pattern)


def folded(text: str) -> tuple[str, ...]:
    """Return the same letters for all texts that differ in the case of letters alone, as patterns see it."""
    return tuple(map(_without_case, text))


def _without_case(letter: str) -> str:
    """Return the same text for the letters that differ in case alone, as ``re.IGNORECASE`` sees it."""
    return letter.lower()[:1].upper()


_EXPECTED: Final = "a text or several are allowed, such as 'MacBook Air*'"


def _patterns(value: str | Iterable[str]) -> tuple[str, ...]:
    """Return the patterns of a condition; a single text is one."""
    given: Any = (value,) if isinstance(value, str) else value
    if not isinstance(given, Iterable):
        raise PolicyError(f"pattern {given!r}: {_EXPECTED}")
    patterns = tuple(given)
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern.strip():
            raise PolicyError(f"pattern {pattern!r}: {_EXPECTED}")
    return patterns


@attrs.frozen(kw_only=True)
class Rule(Printed):
    """Conditions that a Mac must meet to get a profile; every condition that is given must hold.

    Attributes:
        profile: What a Mac gets that meets them.
        name: Shown where the rule decided; "" shows the conditions instead.
        model: Patterns for ``Device.model``, such as ``MacBook*``.
        family: Patterns for Apple's product family. A Mac is ``Mac``, or unknown.
        asset_tag: Patterns for the organization's own tag.
        description: Patterns for ``Device.description``, such as ``*16GB*``.
        order: Patterns for the number of the order with which the Mac was bought, see ``order_numbers`` of
            ``AssignmentPolicy``.
        predicate: True for the devices that the rule may match, besides the other conditions. It is called
            often: it should depend on the device alone, and be fast.

    Raises:
        PolicyError: There is no condition, a pattern is no text, or no Mac can match.

    Source: specification, "Assign an enrollment profile to devices"; which conditions there are is this
    project's choice, Intune has a default profile and picking by hand.
    """

    profile: EnrollmentProfile
    name: str = ""
    model: tuple[str, ...] = attrs.field(default=(), converter=_patterns)
    family: tuple[str, ...] = attrs.field(default=(), converter=_patterns)
    asset_tag: tuple[str, ...] = attrs.field(default=(), converter=_patterns)
    description: tuple[str, ...] = attrs.field(default=(), converter=_patterns)
    order: tuple[str, ...] = attrs.field(default=(), converter=_patterns)
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
        if not all(_matches(patterns, "Mac") for name, patterns in checks if name == "family"):
            raise PolicyError(f"family {', '.join(self.family)}: no Mac can match, 'Mac' does")

    @property
    def conditions(self) -> Mapping[str, tuple[str, ...]]:
        """The patterns by condition, without the conditions that were not given."""
        found = {name: getattr(self, name) for name in _CONDITIONS}
        return {name: patterns for name, patterns in found.items() if patterns}

    @property
    def label(self) -> str:
        """The name, or the conditions in words where there is none."""
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
            device: What Apple says about it.
            order_number: With which order it was bought; None if nobody knows.

        Raises:
            ArgumentError: *device* is none.
        """
        if not isinstance(
            device, Device
        ):  # not by ``check_arguments``, which takes as long as the rule itself
            raise ArgumentError("Rule.matches", "device", type(device).__name__, "a Device")
        for name, patterns in self._checks:
            value = order_number if name == "order" else getattr(device, _FIELDS.get(name, name))
            if value is None or not _matches(patterns, value):
                return False
        return self.predicate is None or bool(self.predicate(device))

    def matches_group(self, group: DeviceGroup) -> bool | None:
        """Return True if all devices of *group* meet every condition, False if none does; None if some may.

        What tells devices of a group apart is their asset tag, description, order and what a predicate asks.
        """
        known = {"model": group.model, "family": group.device_family}
        for name, patterns in self._checks:
            if name in known and ((value := known[name]) is None or not _matches(patterns, value)):
                return False
        return True if self.predicate is None and self.conditions.keys() <= known.keys() else None

    def _words(self) -> str:
        return f"{self.label}: {self.profile.name}"


def _rules(value: Iterable[Rule]) -> tuple[Rule, ...]:
    if isinstance(value, Rule) or not isinstance(value, Iterable):
        raise PolicyError(f"rules {value!r}: a list of rules is allowed, in the order in which they count")
    return tuple(value)


@attrs.frozen
class AssignmentPolicy(Printed):
    """Ordered rules for the profile of a Mac; ``print`` shows them. Without rules, all follow the default.

    Attributes:
        rules: The first one that matches decides.
        order_numbers: Serial number to order number, for rules with ``order``. Apple's device assignment
            service does not tell it; Apple's Business API does, as ``orderNumber`` of a device.

    Raises:
        PolicyError: Something is no rule, a rule can never be reached because earlier ones take every Mac
            that it describes, two have the same name, or one asks for orders and ``order_numbers`` was not
            given.
    """

    rules: tuple[Rule, ...] = attrs.field(default=(), converter=_rules)
    order_numbers: Mapping[str, str] | None = attrs.field(default=None, kw_only=True, repr=False, hash=False)

    def __attrs_post_init__(self) -> None:
        if not (self.order_numbers is None or isinstance(self.order_numbers, Mapping)):
            raise PolicyError(f"order_numbers {self.order_numbers!r}: a mapping by serial number is allowed")
        names: set[str] = set()
        for rule in self.rules:
            if not isinstance(rule, Rule):
                raise PolicyError(f"rule {rule!r}: a Rule is allowed")
            if rule.name and rule.name in names:
                raise PolicyError(f"rule {rule.name!r} is there twice: give each a name of its own")
            names.add(rule.name)
            if rule.order and self.order_numbers is None:
                raise PolicyError(f"rule {str(rule)!r} asks for orders: give order_numbers, by serial number")
        if (found := never_reached(self.rules)) is not None:
            raise PolicyError(f"rule {str(found[0])!r} is never reached: {_taken_by(*found)}")

    @check_arguments
    def choose(self, device: Device) -> Rule | None:
        """Return the rule that decides for *device*; None if it follows the token's default."""
        order_number = (self.order_numbers or {}).get(device.serial_number)
        return next((rule for rule in self.rules if rule.matches(device, order_number=order_number)), None)

    def candidates(self, group: DeviceGroup) -> tuple[Rule | None, ...]:
        """Return the rules that can decide for the devices of *group*, with None for the token's default.

        It is one where all of them follow the same.
        """
        found: list[Rule | None] = []
        for rule in self.rules:
            answer = rule.matches_group(group)
            if answer is not False:
                found.append(rule)
            if answer:
                return tuple(found)
        return (*found, None)

    def _words(self) -> list[str]:
        lines = [f"{number}. {rule}" for number, rule in enumerate(self.rules, start=1)]
        return [*lines, "else: the token's default"]


_CONDITIONS: Final = ("model", "family", "asset_tag", "description", "order")
_FIELDS: Final = {"family": "device_family"}


def _matches(patterns: tuple[Wildcard, ...], value: str) -> bool:
    return any(pattern.matches(value) for pattern in patterns)


def _taken_by(rule: Rule, takers: tuple[Rule, ...]) -> str:
    same = takers[0].conditions.keys() == rule.conditions.keys() and all(
        _set(patterns) == _set(rule.conditions[name]) for name, patterns in takers[0].conditions.items()
    )
    if same:
        return f"{str(takers[0])!r} has the same conditions"
    names = " and ".join(repr(str(taker)[:80]) for taker in takers[:3])
    return f"{names} before it {'takes' if len(takers) == 1 else 'take'} every Mac that it describes"


def _set(patterns: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    return frozenset(map(folded, patterns))


_MAX_CASES: Final = 1_000
_NAMES_OF_MACS: Final = ("mac", "imac", "xserve")
"""How the name of every model of Apple's begins that is a Mac, and of no other; in lower case."""


@attrs.frozen
class _Patterns:
    """The patterns of one condition: those without a wildcard are found in a set."""

    texts: frozenset[tuple[str, ...]]
    wildcards: tuple[Wildcard, ...]

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Self:
        given = tuple(patterns)
        return cls(
            frozenset(folded(pattern) for pattern in given if not _is_wild(pattern)),
            tuple(Wildcard.of(pattern) for pattern in given if _is_wild(pattern)),
        )

    def cover(self, pattern: str) -> bool:
        is_listed = bool(self.texts) and not _is_wild(pattern) and _folded(pattern) in self.texts
        return is_listed or any(one.covers(pattern) for one in self.wildcards)


def never_reached(rules: Sequence[Rule]) -> tuple[Rule, tuple[Rule, ...]] | None:
    """Return the first rule that can never decide, and the earlier ones that take its Macs; None if none is.

    Args:
        rules: In the order in which they count.
    """
    before: list[tuple[Rule, dict[str, _Patterns]]] = []
    for rule in rules:
        asked = [it for it in before if it[0].predicate is None or it[0].predicate is rule.predicate]
        if takers := _takers(rule, asked):
            return rule, takers
        before.append((rule, {name: _Patterns.of(texts) for name, texts in rule.conditions.items()}))
    return None


def _takers(rule: Rule, before: list[tuple[Rule, dict[str, _Patterns]]]) -> tuple[Rule, ...]:
    found: dict[int, Rule] = {}
    for case in _cases(rule):
        for earlier, conditions in before:
            if all(_holds(name, patterns, case) for name, patterns in conditions.items()):
                found[id(earlier)] = earlier
                break
        else:
            return ()
    return tuple(found.values())


def _cases(rule: Rule) -> Iterator[Mapping[str, tuple[str, ...]]]:
    """Yield the cases of *rule*; one of them for all if there are too many."""
    conditions = rule.conditions
    if math.prod(map(len, conditions.values())) > _MAX_CASES:
        yield conditions
        return
    for patterns in itertools.product(*conditions.values()):
        yield {name: (pattern,) for name, pattern in zip(conditions, patterns, strict=True)}


def _holds(name: str, patterns: _Patterns, case: Mapping[str, tuple[str, ...]]) -> bool:
    """Return True if one of *patterns* matches whatever the patterns of *case* for that condition do."""
    wanted = case.get(name, ())
    if name == "family" and not wanted and "model" in case and all(map(_names_a_mac, case["model"])):
        wanted = ("Mac",)
    return bool(wanted) and all(map(patterns.cover, wanted))


@functools.lru_cache(maxsize=1_024)
def _folded(pattern: str) -> tuple[str, ...]:
    """Return *pattern* in the letters of ``folded``: each is compared with all rules before it."""
    return folded(pattern)


def _is_wild(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def _names_a_mac(pattern: str) -> bool:
    """Return True if only the model of a Mac matches *pattern*."""
    return re.split("[*?]", pattern.lower(), maxsplit=1)[0].startswith(_NAMES_OF_MACS)
