"""The architecture: imports run one way, pure modules stay pure, files and functions stay small."""

import ast
import functools
import graphlib
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import attrs
from docs.packages import FLOORS
from tests.cases import each

import pyade

PACKAGE = Path(pyade.__file__).parent
RANK = {name: rank for rank, name in enumerate(name for floor in FLOORS for name in floor)}
EXCEPTIONS = {
    # An error carries what is known of each device; the type is loaded when it is first used.
    ("pyade.errors", "pyade.core.problems"),
    ("pyade.errors", "pyade.core.fleet.outcomes"),
    # Token.from_p7m reads as a sentence.
    ("pyade.core.token", "pyade.crypto.keypair"),
    ("pyade.core.token", "pyade.crypto.token_file"),
}
FILES = sorted(PACKAGE.rglob("*.py"))


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _later(node: ast.Call) -> dict[str, str]:
    """Return the names and modules of a call of ``lazy_modules``."""
    return {str(one.arg): ast.literal_eval(one.value) for one in node.keywords}


def _module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {_module_of(path): path for path in FILES}


def _imported(tree: ast.Module) -> Iterator[str]:
    """Yield each module that is imported: immediately, lazily, or for type checkers alone."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names):
                yield from (
                    whole if (whole := f"{module}.{one.name}") in MODULES else module for one in names
                )
            case ast.Import(names=names):
                yield from (one.name for one in names)
            case ast.Call(func=ast.Name(id="lazy_modules")):
                yield from _later(node).values()
            case _:
                pass


@functools.cache
def _imports() -> dict[str, set[str]]:
    """Return what each module imports of pyade; each ``__init__.py`` is left out, as it names everything."""
    return {
        module: {one for one in _imported(_tree(path)) if one in MODULES and one != module}
        for module, path in MODULES.items()
        if path.name != "__init__.py"
    }


def _package(module: str) -> str:
    """Return the package of *module*: the longest name that ``FLOORS`` has."""
    inner = {"pyade.__main__": "cli"}.get(module, module.removeprefix("pyade."))
    return max((name for name in RANK if f"{inner}.".startswith(f"{name}.")), key=len)


def test_imports_run_one_way_between_packages() -> None:
    up = {
        (module, target)
        for module, targets in _imports().items()
        for target in targets
        if RANK[_package(target)] > RANK[_package(module)]
    }
    assert up == EXCEPTIONS


def test_there_is_no_import_cycle_not_even_for_type_checkers() -> None:
    sorter = graphlib.TopologicalSorter(
        {
            module: {target for target in targets if (module, target) not in EXCEPTIONS}
            for module, targets in _imports().items()
        }
    )
    sorter.prepare()  # raises CycleError, which names the modules of a circle


class _Uses(ast.NodeVisitor):
    """Collects the names that are used at run time, neither as annotations nor under ``if TYPE_CHECKING``."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        self.names.add(node.id)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> None:
        """Leave out the annotation of an argument."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for child in (*node.decorator_list, node.args, *node.body):
            self.visit(child)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)


@each("path", [path for path in FILES if path.name != "__init__.py"])
def test_what_is_imported_for_type_checkers_is_not_used_at_run_time_unless_it_is_loaded_when_asked(
    path: Path,
) -> None:
    """Ruff's TC004 does not know ``lazy_modules``, which names what type checkers see."""
    tree = _tree(path)
    stubs = [node for node in tree.body if isinstance(node, ast.If)]
    told: dict[str, str] = {}
    for node in (child for stub in stubs if ast.unparse(stub.test) == "TYPE_CHECKING" for child in stub.body):
        if isinstance(node, ast.Import):
            told |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            told |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    later = {
        name: module
        for node in calls
        if ast.unparse(node.func) == "lazy_modules"
        for name, module in _later(node).items()
    }
    assert later.items() <= told.items()
    uses = _Uses()
    uses.visit(tree)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = [node for one in functions for node in ast.walk(one) if isinstance(node, ast.ImportFrom)]
    uses.names -= {alias.name for node in inside for alias in node.names}
    assert uses.names & told.keys() <= later.keys(), f"{path}: import it, or load it lazily"


def test_no_file_is_too_large_to_have_one_purpose() -> None:
    sizes = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in FILES}
    assert not {path: lines for path, lines in sizes.items() if lines > 700}


def test_no_function_is_too_long_to_read_at_once() -> None:
    long = []
    for path in FILES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                doc = (
                    (node.body[0].end_lineno or 0) - node.body[0].lineno + 1 if ast.get_docstring(node) else 0
                )
                if (node.end_lineno or 0) - node.lineno + 1 - doc > 60:
                    long.append(f"{path.name}:{node.name}")
    assert not long


OUTSIDE = {
    *("anyio", "asyncio", "httpx", "procrastinate", "psycopg", "psycopg_pool", "random", "secrets", "socket"),
    *("sqlite3", "ssl", "threading", "time", "uuid"),
}
"""What a pure function does not use: networks, databases, threads, clocks and randomness."""

MAY_IMPORT = {
    # HTTP, and what waits for it
    "apple.client": {"httpx", "ssl"},
    "apple.http.connection": {"anyio", "httpx", "random"},
    "apple.http.deadlines": {"threading", "time"},
    "apple.http.exchange": {"httpx"},
    "apple.http.network": {"httpx", "ssl"},
    "apple.http.service": {"httpx"},
    "apple.http.sessions": {"threading"},
    "apple.http.watched": {"httpx"},
    "apple.service": {"httpx"},
    "business.async_client": {"httpx"},
    "business.client": {"httpx", "ssl"},
    "business.paging": {"httpx"},
    "business.service": {"httpx"},
    "enrollment.asgi": {"anyio"},
    # databases
    "storage.dbapi": {"threading"},
    "storage.postgres": {"psycopg", "psycopg_pool"},
    "storage.sqlite": {"sqlite3", "time", "uuid"},
    "storage.sqlite_file": {"sqlite3", "threading", "time"},
    "storage.tables": {"uuid"},
    # runners, and what moves the synchronous store into threads
    "flow": {"anyio", "uuid"},
    "hooks": {"anyio"},
    "assignment.assigner": {"anyio"},
    "enrollment.final_configuration": {"anyio"},
    "operations.due_queue": {"threading"},
    "operations.scheduler": {"anyio", "threading"},
    "operations.job_queue": {"procrastinate"},
    "operations.workers": {"procrastinate"},
    "sync.leases": {"anyio", "socket", "threading"},
    "sync.syncer": {"anyio"},
    # what several threads share
    "enrollment.tally": {"threading"},
    "sync.damage": {"threading"},
    # secrets, and ids that follow from what they name
    "builders.commands": {"uuid"},
    "builders.payloads": {"uuid"},
    "crypto.bypass_code": {"secrets"},
    "crypto.jwt": {"uuid"},
    "crypto.password_hash": {"secrets"},
    "enrollment.credentials": {"secrets"},
    "enrollment.redemption": {"secrets"},
}


def test_only_these_modules_do_io_threads_time_or_randomness() -> None:
    """``pyade.testing`` and ``pyade.cli`` are free to."""
    found = {
        module.removeprefix("pyade."): outside
        for module, path in MODULES.items()
        if (outside := {one.split(".")[0] for one in _imported(_tree(path))} & OUTSIDE)
        and not module.startswith(("pyade.testing.", "pyade.cli."))
    }
    assert found == MAY_IMPORT


def test_no_pure_module_and_no_flow_reads_a_clock_or_randomness() -> None:
    """A module that asks for steps holds flows; they get time and randomness by steps, too."""
    asks = re.compile(r"^from pyade\.flow import .*\bask\b", re.MULTILINE)
    flows = {path for path in FILES if asks.search(path.read_text())}
    assert len(flows) > 20
    pure = ("core", "builders", "sync", "assignment", "operations")
    asking = []
    for path in flows | {path for name in pure for path in (PACKAGE / name).rglob("*.py")}:
        calls = {"datetime.now", "datetime.utcnow", "date.today", "os.urandom", "jitter"}
        if path in flows:
            calls |= {"utc_now"}
        asking += [
            f"{path.name}:{node.lineno}"
            for node in ast.walk(_tree(path))
            if isinstance(node, ast.Call) and ast.unparse(node.func) in calls
        ]
    assert not asking


BY_POSITION = {
    *("AdministratorAccount", "ApiAccount", "DeviceOutcome", "EventBatch", "EventGroup", "MacOSVersion"),
    *("OwnedDevice", "PlanRow", "PrimaryAccount", "Problem", "TokenKeypair"),
}


def test_public_classes_take_their_fields_by_name() -> None:
    """So that a later version can add one anywhere; a few that are written often keep their order instead."""
    found = set()
    for path in PACKAGE.rglob("__init__.py"):
        module = importlib.import_module(".".join(path.parent.relative_to(PACKAGE.parent).parts))
        for name in getattr(module, "__all__", ()):
            public = getattr(module, name)
            if inspect.isclass(public) and attrs.has(public) and not issubclass(public, Exception):
                fields = attrs.fields(public)
                found |= {name} if sum(one.init and not one.kw_only for one in fields) > 1 else set()
    assert found == BY_POSITION


LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log"}


NOT_PRINTED = {"secret.py", "exports.py"}
"""A secret is stars; a value in a row is JSON for programs."""


def _bypasses(path: Path) -> Iterator[str]:
    """Yield what of *path* shows text to people and does not go through ``pyade.text``."""
    for node in ast.walk(_tree(path)):
        match node:
            case ast.FunctionDef(name="__str__" | "__format__") if path.name not in NOT_PRINTED:
                yield f"{path}:{node.lineno}: give the words in _words, and let the class be Printed"
            case ast.Name(id="getLogger") | ast.Attribute(attr="getLogger" | "LoggerAdapter"):
                yield f"{path}:{node.lineno}: take the logger from pyade.text"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="logging"), attr=name)) if name in LEVELS:
                yield f"{path}:{node.lineno}: take the logger from pyade.text"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "_log"), attr=name)) if name in LEVELS:
                text = node.args[1 if name == "log" else 0]
                if not isinstance(text, ast.Constant) or node.keywords or name == "exception":
                    # The text of a record and of a traceback is not escaped, its arguments are.
                    yield f"{path}:{node.lineno}: log a literal text with arguments, and nothing else"
            case ast.Call(func=ast.Attribute(attr="add_note"), args=[note]):
                if not ast.unparse(note).startswith("printable("):
                    yield f"{path}:{node.lineno}: Python prints notes as they are: add printable(...)"
            case _:
                pass


def test_whatever_people_read_is_escaped_in_one_place() -> None:
    """An error, a report and a log record; ``tests/test_text.py`` shows what the one place does."""
    for path in FILES:
        relative = str(path.relative_to(PACKAGE))
        assert relative == "text.py" or not list(_bypasses(path))


@each(
    "code",
    [
        "class A:\n    def __str__(self): ...",
        "class A:\n    def __format__(self, spec): ...",
        "log = logging.getLogger(__name__)",
        "from logging import getLogger\nlog = getLogger(__name__)",
        "logging.warning('%s', name)",
        "_log.info(f'{name} was lost')",
        "log.log(level, text)",
        "log.error('lost', exc_info=True)",
        "_log.exception('lost')",
        "error.add_note(f'{name}: lost')",
    ],
)
def test_what_is_not_escaped_is_noticed(code: str, tmp_path: Path) -> None:
    path = tmp_path / f"{hash(code)}.py"
    path.write_text(code)
    assert list(_bypasses(path))


def test_each_logger_of_a_module_has_a_name_that_the_check_knows() -> None:
    for path in FILES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("logger("):
                assert [ast.unparse(target) for target in node.targets] == ["_log"]
                name = ast.unparse(node.value)
                assert name == "logger(__name__)" or path.name == "fake_mac.py", (
                    "it listens to a whole package"
                )
