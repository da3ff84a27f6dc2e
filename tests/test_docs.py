"""The Python and SQL of the documentation run, and the pages are complete."""

import contextlib
import inspect
import re
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.cases import each

import pyade
import pyade.apple
import pyade.business
from pyade import errors
from pyade.builders import dep_profile
from pyade.storage import Database, Dialect, MemoryStore, PostgresStore, Session, SQLiteStore, SQLStore
from pyade.testing import FakeApple, FrozenClock
from pyade.testing.store_examples import commit, example_device, example_token, fleet_of

ROOT = Path(__file__).parents[1]
PAGES = [
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
    if "_build" not in path.parts and path.name != "tutorial.md" and "```python\n" in path.read_text()
]
"""Pages with Python to paste; tests/test_tutorial.py follows the tutorial, whose blocks are files."""

EXAMPLES = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "examples").glob("**/*.py"))]

PASTE = """
import sys
from pathlib import Path

names = {"__name__": "__main__"}
for number, block in enumerate(Path(sys.argv[1]).read_text("utf-8").split("\\0"), 1):
    exec(compile(block, f"block {number}", "exec"), names)
"""


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] * ("/howto/" in page)) for page in PAGES]
)
def test_the_python_of_a_page_runs_as_pasted_in_one_fresh_process(page: str, tmp_path: Path) -> None:
    blocks = tmp_path / "blocks"
    blocks.write_text("\0".join(map(textwrap.dedent, _blocks(page, "python"))), "utf-8")
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-W", "error", "-c", PASTE, str(blocks)]
    for _ in range(2 if page == "README.md" else 1):  # people paste it again
        run = subprocess.run(command, cwd=tmp_path / "empty", capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr


CAPTIONED = re.compile(
    r"^```\{(code-block|literalinclude)\} (\S+)\n(?::language: \w+\n)?:caption: (\S+\.py)\n\n?(.*?)^```",
    re.DOTALL | re.MULTILINE,
)
"""A file with a name on a page: its text, or the path of an included file."""


@pytest.mark.slow
@pytest.mark.parametrize("page", ["own-store.md", "test-your-service.md"])
def test_the_test_files_of_a_page_pass_in_a_folder_of_their_own(page: str, tmp_path: Path) -> None:
    text = (ROOT / "docs" / page).read_text()
    for module in ("apsw", "django", "fastapi", "flask"):
        if re.search(rf"^(?:from|import) {module}\b", text, re.MULTILINE):
            pytest.importorskip(module)
    files = CAPTIONED.findall(text)
    assert len(files) == text.count(":caption: ")
    for kind, place, name, content in files:
        is_included = kind == "literalinclude"
        (tmp_path / name).write_text((ROOT / "docs" / place).read_text() if is_included else content)
    tests = [name for *_, name, _ in files if name.startswith("test_")]
    options = ["-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command = [sys.executable, *options, f"--basetemp={tmp_path / 'runs'}", *tests]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def _blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text()
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("store_kind", ["sqlite", "postgres"])
def test_every_query_of_the_tables_page_runs(
    store_kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store, ask = _open_store(store_kind, tmp_path, request)
    with store:
        store.add_token(example_token())
        commit(store, example_device(), *fleet_of(3))
        released, left = (ask(block) for block in _blocks("docs/tables.md", "sql"))
        columns = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/tables.md").read_text(), re.MULTILINE)[:6]
        rows = ask(f"SELECT {', '.join(columns)} FROM pyade_devices ORDER BY serial")
    assert {status: count for _, status, count in released} == {None: 3, "levitating": 1}
    assert left == []
    assert [row[0] for row in rows] == ["C02000000", "C02000001", "C02000002", "C02FULL00001"]


def _open_store(
    store_kind: str, folder: Path, request: pytest.FixtureRequest
) -> tuple[SQLStore, Callable[[str], list[tuple[Any, ...]]]]:
    """Return a store, and a function that queries its database without pyade."""
    if store_kind == "sqlite":

        def ask_file(query: str) -> list[tuple[Any, ...]]:
            with contextlib.closing(sqlite3.connect(folder / "ade.db")) as connection:
                return connection.execute(query).fetchall()

        return SQLiteStore(folder / "ade.db"), ask_file
    place = request.getfixturevalue("postgres")
    import psycopg

    def ask_server(query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(place.dsn, options=f"-csearch_path={place.schema}") as connection:
            rows: list[tuple[Any, ...]] = connection.execute(query).fetchall()
            return rows

    return PostgresStore(place.dsn, schema=place.schema), ask_server


def test_a_restored_store_finds_the_profiles_that_devices_have() -> None:
    clock = FrozenClock()
    fake = FakeApple(clock=clock)
    (serial,) = fake.add_devices(1, server=fake.add_server("Contoso MDM"))
    token = fake.token(name="hq")
    profile = pyade.EnrollmentProfile(name="Picked", url="https://mdm.contoso.com/enroll")
    with pyade.Client(token, transport=fake.transport(), clock=clock) as apple, MemoryStore() as store:
        response = apple.define_profile(profile)
        apple.assign_profile(response.profile_uuid, [serial])
        store.add_token(token)
        pyade.Syncer(apple, store, clock=clock).sync()
        (block,) = (block for block in _blocks("docs/backup.md", "python") if "def adopt_profiles" in block)
        exec(block, {"apple": apple, "store": store, "clock": clock})
        (found,) = store.profiles("hq")
        default = attrs.evolve(profile, name="Default")
        pyade.Assigner(apple, store, clock=clock).run(default=default)
    assert (found.profile.name, found.profile_uuid) == ("Picked", response.profile_uuid)
    assert found.digest == dep_profile.digest(profile)
    assert fake.device(serial)["profile_uuid"] == response.profile_uuid, "the default leaves it alone"


def test_the_page_about_own_stores_lists_every_method_and_placeholder() -> None:
    text = (ROOT / "docs" / "own-store.md").read_text()
    calls = [
        f"`{protocol.__name__}.{name}"
        for protocol in (Database, Session)
        for name in vars(protocol)
        if not name.startswith("_")
    ]
    words = [f"`{{{field.name}}}`" for field in attrs.fields(Dialect) if field.name != "prefix"]
    assert [found for found in (*calls, *words, "(`prefix`)") if found not in text] == []


@each("page", [*PAGES, "docs/tutorial.md", *EXAMPLES])
def test_documentation_and_examples_import_only_from_public_packages(page: str) -> None:
    deep = re.findall(r"^ *from pyade\.\w+\.[\w.]+ import .*", (ROOT / page).read_text(), re.MULTILINE)
    assert not [line for line in deep if "pyade.testing.contract" not in line]


def test_the_troubleshooting_page_names_every_error() -> None:
    text = (ROOT / "docs" / "errors.md").read_text()
    classes = [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, errors.PyadeError)
    ]
    missing = {cls.__name__ for cls in classes if f"`{cls.__name__}`" not in text}
    assert missing <= {"AppleError", "CursorError"}


def test_the_tree_in_the_error_module_is_complete_and_correct() -> None:
    drawn = {}
    stack: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    ((?:[│ ]   )*)(?:[├└]── )?(\w+Error)\b", line):
            depth = len(match[1]) // 4 + ("── " in line)
            stack[depth:] = [match[2]]
            drawn[match[2]] = stack[depth - 1] if depth else "Exception"
    classes = {
        name: value.__base__.__name__ if value.__base__ else ""
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.PyadeError)
    }
    assert drawn == classes


def test_the_readme_names_two_lines_that_the_checks_run() -> None:
    text = (ROOT / "README.md").read_text()
    for marker in ("main job", "tests"):
        block = re.search(rf"<!-- {marker} -->\n```sh\n(.+)\n```\n<!-- end -->", text)
        assert block is not None
        assert "\n" not in block[1]


def test_the_page_about_security_names_existing_tests() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 25
    for path, name in named:
        source = (ROOT / "tests" / path).read_text()
        assert re.search(rf"^ *(?:async )?(?:def|class) {name or 'test'}", source, re.MULTILINE), (path, name)
