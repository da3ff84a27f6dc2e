"""Every regular expression of the package takes linear time on hostile text.

The patterns are collected from the source: compiled patterns of modules, and literals at their use. A pattern
that is built at run time must be listed in ``BUILT``, or a test fails.
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Final, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cases import each

import pyade
from pyade import EnrollmentProfile, UserAffinity
from pyade.assignment.rules import Rule
from pyade.builders import commands, error_bodies, payload_keys
from pyade.builders.payload_keys import Key
from pyade.core.fleet.device import Device
from pyade.core.macos import models, versions
from pyade.core.profile.accounts import AdministratorAccount, PrimaryAccount, without_variables
from pyade.errors import ProfileError

Compiled: TypeAlias = re.Pattern[str] | re.Pattern[bytes]

PACKAGE = Path(pyade.__file__).parent
SIZE: Final = 64 * 1024
ALLOWED_S: Final = 0.5
"""CPU time for one text. A linear pattern needs a few milliseconds, a quadratic one two seconds or more, an
exponential one never ends."""
ENDED_AFTER_S: Final = 1.0
METHODS: Final = {"finditer", "findall", "fullmatch", "match", "search", "split", "sub", "subn"}


def _document_key_patterns() -> list[str]:
    """Return the patterns of the keys of documents."""
    found: list[str] = []
    for module in (commands, error_bodies, payload_keys):
        values = list(vars(module).values())
        while values:
            value = values.pop()
            if isinstance(value, Key):
                found += [value.pattern] if value.pattern else []
            elif isinstance(value, dict):
                values += value.values()
            elif isinstance(value, list | tuple):
                values += value
    assert len(found) > 5
    return found


BUILT: dict[str, Callable[[], list[str]]] = {
    "apple/http/json_bodies.py: _GOOD_TEXT _GOOD_WORD": list,
    "apple/error_codes.py: MAX_CODE": list,
    "builders/payload_keys.py: key": _document_key_patterns,
    "core/macos/models.py: _FAMILIES": list,
    "core/macos/models.py: name": lambda: [
        rf"{name.casefold()}(?![a-z0-9])" for name in models._NAMES.values()
    ],
    "core/macos/versions.py: pattern": lambda: ["[a-z]?", versions._VERSION, versions._BUILD],
    "testing/apple/sessions.py: _PARAMETER": list,
    "testing/business/endpoints.py: path": lambda: ["/v1/orgDevices/([^/]+)/relationships/assignedServer"],
}
"""The patterns of each place that builds some from names; none if a module keeps the compiled pattern."""

GUARDED: Final = {
    r'\s*([A-Za-z_]+)\s*=\s*"([^"]*)"\s*': "the fake uses it only after the text matched another pattern",
    r":? *(?:bytearray\()?b['\"].*": "its input has 500 characters at most",
}
"""Patterns that never get hostile text, each with the reason."""


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _module(path: Path) -> ModuleType:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return importlib.import_module(".".join(part for part in parts if part != "__init__"))


def _calls(path: Path) -> Iterator[tuple[str, str, ast.Call]]:
    """Yield owner, method and node of each method call in *path*, such as ``re`` and ``search``."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func.value), node.func.attr, node


def _collect_patterns() -> dict[Compiled, set[str]]:
    """Return every pattern of the package with the methods that are used."""
    found: dict[Compiled, set[str]] = defaultdict(set)
    for path in sorted(PACKAGE.rglob("*.py")):
        if "import re\n" not in path.read_text():
            continue
        kept = {name: value for name, value in vars(_module(path)).items() if isinstance(value, re.Pattern)}
        for name, value in kept.items():
            found[value] |= {method for owner, method, _ in _calls(path) if owner == name} & METHODS
        for owner, method, node in _calls(path):
            if owner == "re" and method in METHODS:
                for pattern in _patterns_of(path, node):
                    found[pattern].add(method)
            elif owner == "re" and method == "compile":
                for pattern in _patterns_of(path, node):
                    found.setdefault(pattern, set())
    return found


def _patterns_of(path: Path, node: ast.Call) -> list[Compiled]:
    """Return the possible patterns of the first argument of a function of ``re``."""
    argument = node.args[0]
    if isinstance(argument, ast.Constant):
        flags = re.NOFLAG
        for flag in (*node.args[1:2], *(one.value for one in node.keywords if one.arg == "flags")):
            if ast.unparse(flag).startswith("re."):
                flags |= getattr(re, ast.unparse(flag).removeprefix("re."))
        pattern: Any = argument.value
        return [re.compile(pattern, flags)]
    names = {one.id for one in ast.walk(argument) if isinstance(one, ast.Name)}
    place = f"{path.relative_to(PACKAGE)}: {' '.join(sorted(names))}"
    SEEN.add(place)
    return [re.compile(pattern) for pattern in BUILT.get(place, list)()]


SEEN: set[str] = set()
"""The places that build a pattern."""
FOUND = _collect_patterns()


def test_the_patterns_of_the_package_are_found() -> None:
    """So that the tests below cannot pass without patterns."""
    assert len(FOUND) > 50
    assert {"search", "fullmatch", "sub", "findall", "finditer", "split"} <= set().union(*FOUND.values())
    assert set(BUILT) == SEEN, "list in BUILT the patterns of each place that builds some"
    odd = re.compile(r"^\s*(from re import|import re as)", re.MULTILINE)
    assert not [path for path in PACKAGE.rglob("*.py") if odd.search(path.read_text())]


def _samples(pattern: Compiled) -> list[str]:
    """Return words and letters of *pattern*, so that texts of them almost match."""
    parser: Any = importlib.import_module("re._parser")
    found = dict.fromkeys(_literals(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)))
    words = sorted(filter(None, found), key=lambda word: (len(word) == 1, not word.isprintable()))
    return [*words[:7], "~"]


def _literals(items: Any) -> Iterator[str]:
    """Yield the literals, one character of each range and category, and sequences of literals."""
    word = ""
    for item in items:
        match item:
            case (code, int(number)) if str(code) == "LITERAL":
                word += chr(number)
                yield chr(number)
                continue
            case (code, (int(number), int())) if str(code) == "RANGE":
                yield chr(number)
            case (code, kind) if str(code) == "CATEGORY":
                yield {"CATEGORY_DIGIT": "7", "CATEGORY_SPACE": " "}.get(str(kind), "x")
            case (code, None) if str(code) == "ANY":
                yield "x"
            case tuple() | list():
                yield from _literals(item)
            case _ if hasattr(item, "data"):
                yield from _literals(item)
            case _:
                pass
        yield word
        word = ""
    yield word


def _hostile_texts(pattern: Compiled) -> Iterator[str | bytes]:
    """Yield texts of 64 KiB: repeated samples of *pattern*, with and without an end that never matches."""
    samples = _samples(pattern)
    texts = [sample * (SIZE // len(sample)) for sample in samples]
    for one, other in permutations(samples, 2):
        texts.append((one + other) * (SIZE // len(one + other)))
        texts.append(one + other * (SIZE // len(other)))
        texts.append(other * (SIZE // 2 // len(other)) + one * (SIZE // 2 // len(one)) + "~")
    for text in texts:
        yield text if isinstance(pattern.pattern, str) else text.encode("latin-1", "replace")


def _use(pattern: Any, method: str, text: Any) -> None:
    empty = text[:0]
    match method:
        case "sub" | "subn":
            pattern.sub(empty, text)
        case "finditer":
            list(pattern.finditer(text))
        case _:
            getattr(pattern, method)(text)


def _ended(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of *work*, at most ``ENDED_AFTER_S``; other processes do not count."""
    before = signal.signal(signal.SIGVTALRM, _ended)
    signal.setitimer(signal.ITIMER_VIRTUAL, ENDED_AFTER_S)
    start = time.process_time()
    try:
        work()
    except TimeoutError:
        return ENDED_AFTER_S
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    return time.process_time() - start


def _is_slow(work: Callable[[], object]) -> bool:
    # Twice, since other threads of this process may have used CPU time during the first run.
    return seconds(work) > ALLOWED_S and seconds(work) > ALLOWED_S


def _slow_use(pattern: Compiled, methods: set[str]) -> str:
    """Return the first slow use of *pattern* on hostile text; "" if there is none."""
    for text in _hostile_texts(pattern):
        for method in sorted(methods):
            if _is_slow(functools.partial(_use, pattern, method, text)):
                return f"{pattern.pattern!r}.{method} takes too long with {text[:24]!r}..."
    return ""


@pytest.mark.slow
@each("pattern", [pattern for pattern in FOUND if pattern.pattern not in GUARDED])
def test_no_pattern_is_slow_on_hostile_text(pattern: Compiled) -> None:
    assert not _slow_use(pattern, FOUND[pattern] or METHODS - {"subn"})


def test_guarded_patterns_still_exist() -> None:
    assert set(GUARDED) <= {pattern.pattern for pattern in FOUND}


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"\{\{.*?\}\}", "sub"),
        (r"(a+)+b", "fullmatch"),
        (r"a.*a.*a.*a.*b", "fullmatch"),
        (r" *:", "search"),
        (r"(\w+\s?)+!", "match"),
    ],
)
def test_a_slow_pattern_is_detected(pattern: str, method: str) -> None:
    assert _slow_use(re.compile(pattern), {method})


URL: Final = "https://mdm.contoso.example/enroll"


def _profile(name: str) -> object:
    """Check that a profile refuses *name* as the name of both accounts."""
    with pytest.raises(ProfileError):
        EnrollmentProfile(
            name="Standard",
            url=URL,
            user_affinity=UserAffinity.legacy(),
            await_final_configuration=True,
            primary_account=PrimaryAccount(account_name=name, full_name=name),
            administrator=AdministratorAccount(short_name=name, full_name=name, password_hash=b"x"),
        )
    return None


@pytest.mark.parametrize("unit", ["{{", "}}", "{{a", "{{a}}", "{{ }} ", "{", "a{{\n", " ", "\0"])
def test_no_account_name_slows_the_check_of_a_profile(unit: str) -> None:
    name = unit * (SIZE // len(unit))
    assert not _is_slow(lambda: _profile(name))


@pytest.mark.parametrize(
    "pattern", ["*a*a*a*a*a*b", f"{'*a' * 2_000}b", f"{'*?' * 2_000}b", f"*{'?a' * 2_000}"]
)
@pytest.mark.parametrize("condition", ["description", "asset_tag", "model"])
def test_no_text_from_apple_slows_a_rule(pattern: str, condition: str) -> None:
    rule = Rule(profile=EnrollmentProfile(name="Lab", url=URL), **{condition: pattern})  # type: ignore[arg-type]
    fields: dict[str, Any] = {condition: "a" * SIZE}
    hostile = Device(serial_number="C02A", **fields)
    assert not _is_slow(lambda: rule.matches(hostile))


@given(st.text("{}a ", max_size=12))
def test_variables_are_removed_as_a_regular_expression_would(text: str) -> None:
    assert without_variables(text) == re.sub(r"\{\{.*?\}\}", "a", text)
