"""What the distribution promises."""

import ast
import inspect
import re
import subprocess
import sys
from importlib import import_module, metadata, resources
from pathlib import Path

import pytest
from tests.cases import each

import pyade

ROOT = Path(__file__).parent.parent
SUBMODULES = {
    "apple",
    "builders",
    "business",
    "core",
    "crypto",
    "enrollment",
    "errors",
    "flow",
    "hooks",
    "storage",
    "sync",
    "testing",
    "text",
}


def test_the_public_names_are_exactly_what_the_package_binds() -> None:
    assert set(pyade.__all__) == set(pyade._HOMES) <= set(dir(pyade))
    stub = next(node for node in ast.parse(inspect.getsource(pyade)).body if isinstance(node, ast.If))
    told = {name.name: node.module for node in stub.body for name in node.names}  # type: ignore[attr-defined]
    assert told == pyade._HOMES, "type checkers are told the same"
    assert pyade.__all__ == sorted(pyade.__all__)
    assert len(pyade.__all__) <= 45


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("import pyade", "attrs cryptography httpx asn1crypto msgspec sqlite3 psycopg anyio logging"),
        ("from pyade import EnrollmentProfile, SkipKeys", "httpx asn1crypto sqlite3 psycopg anyio"),
        ("from pyade import SyncPolicy, MacOSVersion, Problem, PyadeError", "httpx asn1crypto sqlite3 anyio"),
    ],
)
def test_what_is_not_asked_for_is_not_loaded(program: str, absent: str) -> None:
    """Who reads a profile waits for no HTTP client and no database."""
    check = f"import sys; {program}; print([one for one in '{absent}'.split() if one in sys.modules])"
    assert subprocess.run([sys.executable, "-c", check], check=True, capture_output=True).stdout == b"[]\n"


def test_a_room_needs_no_import_of_its_own() -> None:
    program = "import pyade; print(pyade.errors.TokenError is pyade.TokenError, pyade.testing.FakeApple)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout.startswith(b"True <class")


@each("room", sorted(SUBMODULES - {"errors", "flow", "hooks", "text"}))
def test_every_room_has_a_door(room: str) -> None:
    module = import_module(f"pyade.{room}")
    assert set(module.__all__) <= vars(module).keys()
    assert len(module.__all__) == len(set(module.__all__)) > 0


def test_what_the_package_exports_of_a_room_is_at_the_door_of_that_room() -> None:
    for name in pyade.__all__:
        room = getattr(pyade, name).__module__.split(".")[1]
        assert hasattr(import_module(f"pyade.{room}"), name), f"pyade.{room} lacks {name}"


def test_the_version_is_read_from_the_distribution() -> None:
    assert pyade.__version__ == metadata.version("pyade-apple")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = pyade.no_such_name


def test_types_are_shipped() -> None:
    assert resources.files("pyade").joinpath("py.typed").is_file()


def test_the_run_time_dependencies_stay_few() -> None:
    required = {
        re.split(r"[^A-Za-z0-9_-]", requirement)[0]
        for requirement in metadata.requires("pyade-apple") or []
        if "extra ==" not in requirement
    }
    assert required == {"anyio", "asn1crypto", "attrs", "cryptography", "httpx", "msgspec"}


def test_the_package_stands_alone() -> None:
    for folder in ("src", "tests", "examples", "docs", "benchmarks"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".md"} and "_build" not in path.parts and path != Path(__file__):
                assert "../shared" not in path.read_text(), path
