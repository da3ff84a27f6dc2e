"""Imports and metadata of the distribution."""

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
from pyade.loading import lazy_modules, lazy_names

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
    "svg",
    "sync",
    "testing",
    "text",
}


LAZY_PACKAGES = sorted(
    ".".join(path.parent.relative_to(ROOT / "src").parts)
    for path in (ROOT / "src").rglob("__init__.py")
    if "lazy_names(" in path.read_text()
)


def _homes(module: ModuleType) -> dict[str, str]:
    """Return the module of each name according to the table in the source of a package."""
    called = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Call)]
    table = next(node.args[1] for node in called if ast.unparse(node.func) == "lazy_names")
    names = ast.literal_eval(table)
    return {name: home for home in names for name in names[home].split()}


@each("package", LAZY_PACKAGES)
def test_a_package_exports_the_same_names_at_run_time_and_to_type_checkers(package: str) -> None:
    module = import_module(package)
    homes = _homes(module)
    stub = next(node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.If))
    typed = {
        name.name: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom) and node.module != package  # its own modules need no entry
        for name in node.names
    }
    assert typed == homes
    assert set(module.__all__) <= set(dir(module))
    for name, home in homes.items():
        assert getattr(module, name) is getattr(import_module(home), name)


@each("package", LAZY_PACKAGES)
def test_no_module_has_the_name_of_another_export_of_its_package(package: str) -> None:
    """On import Python binds a module to its name in the package, and replaces an export of that name."""
    folder = Path(str(import_module(package).__file__)).parent
    modules = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not modules & set(_homes(import_module(package)))


def test_a_name_is_the_same_object_in_every_package() -> None:
    offered: dict[str, object] = {}
    for package in LAZY_PACKAGES:
        module = import_module(package)
        for name in _homes(module):
            assert offered.setdefault(name, getattr(module, name)) is getattr(module, name), name


def test_the_top_level_package_is_one_screen_of_names() -> None:
    assert set(pyade.__all__) == set(_homes(pyade))
    assert pyade.__all__ == sorted(pyade.__all__)
    assert len(pyade.__all__) <= 55


@each("package", LAZY_PACKAGES)
def test_a_star_import_binds_all_exports(package: str) -> None:
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
                "pyade.builders.documents pyade.sync.progress_bars difflib"
            ),
        ),
        ("from pyade import SyncPolicy, MacOSVersion, Problem, PyadeError", "httpx asn1crypto sqlite3 anyio"),
    ],
)
def test_modules_are_loaded_only_when_they_are_used(program: str, absent: str) -> None:
    """A program that only reads a profile loads no HTTP client and no database."""
    check = f"import sys; {program}; print([one for one in '{absent}'.split() if one in sys.modules])"
    assert subprocess.run([sys.executable, "-c", check], check=True, capture_output=True).stdout == b"[]\n"


def test_a_subpackage_needs_no_import() -> None:
    program = "import pyade; print(pyade.errors.TokenError is pyade.TokenError, pyade.testing.FakeApple)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert done.stdout.startswith(b"True <class")


@each("package", sorted(SUBMODULES - {"errors", "flow", "hooks", "loading", "svg", "text"}))
def test_every_subpackage_has_public_names(package: str) -> None:
    module = import_module(f"pyade.{package}")
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
def test_an_impossible_name_is_an_attribute_error(name: str) -> None:
    assert not hasattr(pyade, name)


def test_the_placeholder_of_a_module_is_read_only() -> None:
    """A set attribute would be lost when the module is loaded."""
    importer: dict[str, Any] = {}
    lazy_modules(importer, plan="pyade.core.profile.plan")
    absent = importer["plan"]
    assert absent.Effect
    with pytest.raises(AttributeError):
        absent.Effect = None


def test_a_module_replaces_its_placeholder_when_an_attribute_is_read() -> None:
    importer: dict[str, Any] = {}
    lazy_modules(importer, plan="pyade.core.profile.plan")
    assert importer["plan"] is not import_module("pyade.core.profile.plan")
    assert importer["plan"].Effect is import_module("pyade.core.profile.plan").Effect
    assert importer["plan"] is import_module("pyade.core.profile.plan")


def test_a_missing_dependency_of_a_module_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "__init__.py").write_text("")
    (tmp_path / "torn" / "half.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    load, _ = lazy_names("torn", {})
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


INSTALLS_FROM_PYPI = re.compile(
    r"""(?:pip3? install|pipx install|uv add)(?: -\S+)* ['"]?pyade(?:-apple)?(?![\w./-])|pyade-apple\["""
)


@each("line", ["pip install pyade", "$ pip3 install -q 'pyade-apple[cli]'", "needs 'pyade-apple[postgres]'"])
def test_a_line_that_installs_from_pypi_is_found(line: str) -> None:
    assert INSTALLS_FROM_PYPI.search(line)


def test_nothing_says_to_install_pyade_from_pypi() -> None:
    """The name ``pyade-apple`` is not registered there, and ``pyade`` is another project."""
    folders = [ROOT / name for name in ("src", "examples", "docs", "release", "benchmarks", "fuzz")]
    files = [*ROOT.glob("*"), *(path for folder in folders for path in folder.rglob("*"))]
    texts = {".md", ".py", ".ipynb", ".txt", ".sh", ".yml", ".yaml"}
    said = [
        f"{path}: {line}"
        for path in files
        if path.suffix in texts and "_build" not in path.parts
        for line in path.read_text("utf-8").splitlines()
        if INSTALLS_FROM_PYPI.search(line)
    ]
    assert said == []


def test_the_package_stands_alone() -> None:
    for folder in ("src", "tests", "examples", "docs", "benchmarks"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".md"} and "_build" not in path.parts and path != Path(__file__):
                assert "../shared" not in path.read_text(), path
