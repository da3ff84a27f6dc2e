"""What the distribution promises."""

import ast
import inspect
import re
import subprocess
import sys
from importlib import import_module, metadata, resources
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.cases import each

import pyade
from pyade.loading import modules_when_asked, when_asked

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
    "loading",
    "storage",
    "sync",
    "testing",
    "text",
}


DOORS = sorted(
    ".".join(path.parent.relative_to(ROOT / "src").parts)
    for path in (ROOT / "src").rglob("__init__.py")
    if "when_asked(" in path.read_text()
)


def _homes(module: ModuleType) -> dict[str, str]:
    """Return the module that each name comes from, as the table in the source of a package says."""
    called = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Call)]
    table = next(node.args[1] for node in called if ast.unparse(node.func) == "when_asked")
    names = ast.literal_eval(table)
    return {name: home for home in names for name in names[home].split()}


@each("package", DOORS)
def test_a_package_offers_what_it_tells_type_checkers(package: str) -> None:
    module = import_module(package)
    homes = _homes(module)
    stub = next(node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.If))
    told = {
        name.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom) and node.module != package  # a module of its own needs no entry
        for name in node.names
    }
    assert told == homes
    assert set(module.__all__) <= set(dir(module))
    for name, home in homes.items():
        assert getattr(module, name) is getattr(import_module(home), name)


@each("package", DOORS)
def test_no_module_has_the_name_of_something_else_that_its_package_offers(package: str) -> None:
    """Python binds a module that is imported to its name in the package, over what was there."""
    folder = Path(str(import_module(package).__file__)).parent
    modules = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not modules & set(_homes(import_module(package)))


def test_two_rooms_mean_the_same_by_the_same_name() -> None:
    offered: dict[str, object] = {}
    for package in DOORS:
        module = import_module(package)
        for name in _homes(module):
            assert offered.setdefault(name, getattr(module, name)) is getattr(module, name), name


def test_the_front_door_is_one_screen_of_names() -> None:
    assert set(pyade.__all__) == set(_homes(pyade))
    assert pyade.__all__ == sorted(pyade.__all__)
    assert len(pyade.__all__) <= 55


@each("package", DOORS)
def test_a_star_takes_all_that_a_package_offers(package: str) -> None:
    program = f"from {package} import *\nimport {package}\nprint(set({package}.__all__) - set(dir()))"
    assert (
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout == b"set()\n"
    )


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("import pyade", "attrs cryptography httpx asn1crypto msgspec sqlite3 psycopg anyio logging"),
        ("from pyade import EnrollmentProfile, SkipKeys", "httpx asn1crypto sqlite3 psycopg anyio"),
        (
            "from pyade import Client, Syncer, Assigner, Token; from pyade.storage import SQLiteStore",
            "httpcore trio asn1crypto cryptography sqlite3 psycopg anyio msgspec pyade.apple.responses",
        ),
        (
            "from pyade import Client, Syncer, Assigner, Token; from pyade.storage import SQLiteStore",
            (
                "pyade.core.fleet.device pyade.core.profile.profile pyade.core.problems pyade.sync.run "
                "pyade.builders.documents"
            ),
        ),
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


@each("room", sorted(SUBMODULES - {"errors", "flow", "hooks", "loading", "text"}))
def test_every_room_has_a_door(room: str) -> None:
    module = import_module(f"pyade.{room}")
    assert all(hasattr(module, name) for name in module.__all__)
    assert len(module.__all__) == len(set(module.__all__)) > 0


def test_the_version_is_read_from_the_distribution() -> None:
    assert pyade.__version__ == metadata.version("pyade-apple")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = pyade.no_such_name  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="no_such_name"):
        exec("from pyade.core import no_such_name")


@each("name", ["no_such.name", "core.device", "core\0", ""])
def test_what_cannot_be_a_name_is_an_attribute_error_as_well(name: str) -> None:
    assert not hasattr(pyade, name)


def test_nothing_is_set_in_what_stands_for_a_module() -> None:
    """It would be lost as soon as the module is there."""
    importer: dict[str, Any] = {}
    modules_when_asked(importer, plan="pyade.core.profile.plan")
    absent = importer["plan"]
    assert absent.Effect
    with pytest.raises(AttributeError):
        absent.Effect = None


def test_a_module_takes_its_place_when_something_of_it_is_asked_for() -> None:
    importer: dict[str, Any] = {}
    modules_when_asked(importer, plan="pyade.core.profile.plan")
    assert importer["plan"] is not import_module("pyade.core.profile.plan")
    assert importer["plan"].Effect is import_module("pyade.core.profile.plan").Effect
    assert importer["plan"] is import_module("pyade.core.profile.plan")


def test_a_module_that_misses_another_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "__init__.py").write_text("")
    (tmp_path / "torn" / "half.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    load, _ = when_asked("torn", {})
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        load("half")


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
