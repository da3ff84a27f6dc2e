"""The page about the architecture: its names are there, its walks happen, its counts hold."""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from docs.packages import FLOORS, files_of, picture
from tests.cases import each
from tests.enrollment.conftest import Organization
from tests.keys import RSA_KEYS

import pyade
from pyade import Client, Signer, Syncer
from pyade.storage import MemoryStore
from pyade.testing import DeviceAuthority, FakeApple, FrozenClock
from pyade.testing.store_examples import NOW

ROOT = Path(__file__).parents[1]
PACKAGE = Path(pyade.__file__).parent
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
WORDS = {"# rule 4", "import pyade", "__init__.py", "doctor"}
"""In backticks, and no names of the code."""


def names_in(text: str) -> list[str]:
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def resolve(name: str) -> Any:
    """Return what a dotted name below ``pyade`` is."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(["pyade", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, parts[length:], found)
    return functools.reduce(getattr, parts, pyade)


def exists(name: str) -> bool:
    if name.startswith("PYADE_"):
        return all((ROOT / path).exists() for path in re.findall(r"tests/\S+", name))
    if name.endswith((".py", ".md")):
        return any((place / name).exists() for place in (PACKAGE, ROOT))
    try:
        resolve(name.partition("(")[0])
    except AttributeError:
        return False
    return True


@each("name", sorted(set(names_in(PAGE)) - WORDS))
def test_each_name_of_the_page_is_there(name: str) -> None:
    assert exists(name), name


def test_a_name_that_is_not_there_is_noticed() -> None:
    assert not any(
        map(exists, ("core.no_such_module", "sync.syncer.Syncer.no_such", "core/none.py", "Nothing"))
    )


def test_every_package_is_in_the_picture_with_its_size() -> None:
    shown = picture()
    counted = [path for floor in FLOORS for package in floor for path in files_of(package)]
    assert all(f">{package}<" in shown for floor in FLOORS for package in floor)
    doors = {PACKAGE / "__init__.py", PACKAGE / "__main__.py"}
    assert sorted(counted) == sorted({*PACKAGE.rglob("*.py")} - doors)


def called(work: Callable[[], object]) -> list[str]:
    """Return the functions of the package that *work* calls, in the order of their first calls."""
    found: dict[str, None] = {}

    def note(frame: FrameType, event: str, _argument: object) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(str(PACKAGE)):
            module = ".".join(Path(path).relative_to(PACKAGE).with_suffix("").parts)
            found.setdefault(f"{module}.{frame.f_code.co_qualname}")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return list(found)


def walk(title: str) -> list[str]:
    """Return the functions of a walk on the page, in their order."""
    section = PAGE.split(f"\n## {title}")[1].split("\n## ")[0]
    rows = [line.split("|")[2] for line in section.splitlines() if line.startswith("|")]
    return [name for row in rows for name in names_in(row)]


def test_a_device_record_takes_the_way_that_the_page_tells() -> None:
    clock = FrozenClock()
    apple = FakeApple(clock=clock)
    server = apple.add_server("hq")
    apple.add_devices(1, server=server)
    store, token = MemoryStore(clock=clock), apple.token(server, name="hq")
    store.add_token(token)
    with Client(token, transport=apple.transport(), clock=clock) as client:
        syncer = Syncer(client, store, clock=clock)
        calls = called(syncer.sync)
    told = walk("One device record")
    assert len(told) > 10
    assert [name for name in calls if name in told] == told


def test_a_mac_takes_the_way_that_the_page_tells() -> None:
    authority = DeviceAuthority.generate()
    signer = Signer.self_signed("Contoso MDM", private_key=RSA_KEYS[0], now=NOW)
    organization = Organization(kind="sync", authority=authority, mac=authority.issue(), signer=signer)
    service, body = organization.service(), organization.signed()
    calls = called(lambda: service.enroll(body))
    told = walk("One Mac")
    assert len(told) > 10
    assert [name for name in calls if name in told] == told


def changes() -> Iterator[tuple[str, list[str]]]:
    section = PAGE.split("\n## Where to add what")[1]
    for line in section.splitlines():
        if line.startswith("| A"):
            what, files = line.split("|")[1:3]
            yield what.strip(), [name for name in names_in(files) if name.endswith(".py")]


def test_a_newcomer_changes_few_files() -> None:
    counts = {what: len(files) for what, files in changes()}
    assert counts["A Setup Assistant screen"] == 1
    assert counts["An endpoint of device assignment"] == 3
    assert counts["A rule about identities"] == 1
    assert counts["A store"] <= 2
    assert counts["An Intune variable"] == 1
