"""Print results: as text, or with ``--json`` as one JSON document on stdout; messages are on stderr.

The rules of this file:

1. Stdout has results alone; progress and messages are on stderr.
2. Text from outside is escaped; JSON is ASCII, so it needs no locale.
3. A ``Secret`` and a field without ``repr`` never become JSON.
4. Advice that names a call of the library names the option or command instead.
"""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

import attrs

from pyade.core.exports import Exportable
from pyade.core.macos.versions import MacOSVersion
from pyade.core.problems import Problem
from pyade.core.values import format_time
from pyade.errors import PyadeError
from pyade.text import printable

Json: TypeAlias = Any
"""What ``json.dumps`` takes."""

WORDS: Final = {
    "run with force=True": "run pyade sync --full --force",
    "sync(force=True)": "pyade sync --full --force",
    "and sync with force=True": "and run pyade sync --full --force",
    "or with force=True": "or give --force",
    "or call accept() with force=True": "or give --force",
    "or call add() with force=True to replace it": "or give --force to replace it",
    "or renew with force=True": "or give --force",
    "pass cascade=True": "give --cascade",
    "make one, beginning with TokenService.create": "begin with pyade token new NAME --consent",
    "begin again with delete()": "begin again with pyade token delete NAME",
    "begin again with create()": "begin again with pyade token new NAME --consent",
    "call create() to make another one": "run pyade token new NAME --consent to make another one",
    "or pass it to TokenService.add()": "or give it to pyade token add",
    "make a new key pair with replace_keypair(), or pass the existing one to add()": (
        "make a new key pair with pyade token certificate NAME --new-keypair"
    ),
    "pass it to add(), or make a new one with replace_keypair()": (
        "make a new one with pyade token certificate NAME --new-keypair"
    ),
    "call certificate()": "run pyade token certificate NAME",
    "certificate() does step 1, upload() does step 5": (
        "pyade token certificate does step 1, pyade token upload does step 5"
    ),
    "pass the Apple ID with which the file was downloaded": "give --apple-id",
    "save the Apple ID that downloaded the token": "give --apple-id, the one that downloaded the token",
    "call Syncer(apple, store).sync() first": "run pyade sync first",
    "call run(default=profile), or pass policy= with rules": "give --profile FILE",
    "run a Scheduler, or Syncer.sync()": "run pyade sync",
    "check that a Scheduler runs": "check that pyade sync runs each night",
    "set one with Assigner.run(default=)": "set one with pyade assign --profile FILE",
    "pass push=PushCertificate.load(...)": "give --push FILE",
    " in doctor()": " in pyade doctor",
    "open it with keys=": "give --store-keys FILE, or set PYADE_STORE_KEYS",
    "open the store with keys= that include": "give --store-keys a file with",
    "add the key each was written with to keys=": "add the key of each to the file of --store-keys",
    "create one with SecretBox.generate_key()": "create one with pyade store new-key",
    "give one that events() returned": "give one that pyade events printed",
    "next_step() returns the remaining step": "pyade token steps NAME shows the remaining step",
}
"""What the library says, and what the command line says instead; a test compares it with the library."""


def in_words(value: object) -> str:
    """Return *value* as text, with the words of the command line (rule 4)."""
    text = str(value)
    for said, instead in WORDS.items():
        text = text.replace(said, instead)
    return text


def show(value: object) -> None:
    """Print a result that escapes itself, such as a report, or a text of this package."""
    sys.stdout.write(f"{in_words(value)}\n")


def show_problems(problems: Iterable[Problem], indent: str = "") -> None:
    """Print problems, one line each."""
    for problem in problems:
        show(f"{indent}{problem.severity.value:<8} {problem}")


def show_json(value: Json) -> None:
    """Print one JSON document."""
    sys.stdout.write(f"{json.dumps(plain(value), indent=2)}\n")


def show_json_line(value: Json) -> None:
    """Print one line of JSON, and send it at once."""
    sys.stdout.write(f"{json.dumps(plain(value))}\n")
    sys.stdout.flush()


def tell(message: object) -> None:
    """Print a message on stderr: ``pyade: …``; further lines are indented."""
    first, *others = in_words(message).split("\n")
    lines = [f"pyade: {printable(first)}", *(f"  {printable(line.strip())}" for line in others)]
    sys.stdout.flush()  # results before it come first, also in one file
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()


def plain(value: Any) -> Json:
    """Return *value* as JSON: what has ``to_dict`` as that, other objects of pyade with their attributes."""
    if isinstance(value, Exportable):
        return _advised(value.to_dict())
    for kind, write in _TEXTS.items():
        if isinstance(value, kind):
            return write(value)
    match value:
        case None | str() | bool() | int() | float():
            found: Json = value
        case Mapping():
            found = {str(plain(key)): plain(one) for key, one in value.items()}
        case list() | tuple() | frozenset():
            found = [plain(one) for one in (sorted(value) if isinstance(value, frozenset) else value)]
        case _ if attrs.has(type(value)):
            shown = (field.name for field in attrs.fields(type(value)) if field.repr)  # rule 3
            found = {name: plain(getattr(value, name)) for name in shown}
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")
    return found


def _advised(value: Json) -> Json:
    """Return *value* with the words of the command line in what it advises (rule 4)."""
    if isinstance(value, dict):
        return {
            name: in_words(one) if name in _ADVICE and isinstance(one, str) else _advised(one)
            for name, one in value.items()
        }
    return list(map(_advised, value)) if isinstance(value, list) else value


_ADVICE: Final = ("allowed", "fix", "next_step", "text")
_TEXTS: Final[dict[type, Callable[[Any], Json]]] = {
    datetime: format_time,
    timedelta: timedelta.total_seconds,
    enum.Enum: lambda value: str(value.value),
    MacOSVersion: str,
    PyadeError: lambda value: {"error": type(value).__name__, "text": in_words(value)},
}
"""Types with a JSON form of their own."""
