"""Mutation testing: put small faults into a copy of pyade, one at a time; the fast test suite must fail.

``python benchmarks/mutants.py --seed 10 --count 100`` draws them evenly over the packages of pyade, and
within a package evenly over its lines. It lists the faults that no test detects, each with its diff. Then
decide by hand whether a test is missing or whether the fault makes no difference.

The rules of this file:

1. The checkout is never changed: each job works in a copy in a temporary folder.
2. One run of the suite with coverage records which tests execute which line; ``--coverage-file`` keeps the
   result. A test that fails in that run is left out.
3. Of these tests, those in the test folder of the package run first, then the others.
4. Then the whole test folder of the package runs: a test may execute a line in another process, or only the
   first time before a result is cached. For a line that runs at import, all tests that execute its file run.
5. A test that fails or hangs detects the fault. It hangs after ten times the time that it took with coverage.

pytest also loads this file as a plugin, to select tests by name and to record how long they take.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import copy
import difflib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from coverage import CoverageData

if TYPE_CHECKING:
    import pytest

HERE = Path(__file__).resolve().parents[1]
PACKAGE = Path("src/pyade")
TOP = "top-level"
IGNORED = shutil.ignore_patterns(".git", ".venv*", ".nox", ".*_cache", "__pycache__", "_build")
SELECTED, TIMES = "PYADE_MUTANTS_SELECTED", "PYADE_MUTANTS_TIMES"
FIRST = 400
PASSED, NO_TESTS = 0, 5
PYTEST = ("-m", "pytest", "-q", "-p", "mutants", "-p", "no:cacheprovider")
PAIRS: list[tuple[type[ast.AST], type[ast.AST]]] = [
    *((ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn)),
    *((ast.And, ast.Or), (ast.Add, ast.Sub), (ast.BitOr, ast.BitAnd), (ast.LShift, ast.RShift)),
    *((ast.FloorDiv, ast.Mult), (ast.Div, ast.Mult), (ast.Mod, ast.Mult), (ast.Mult, ast.FloorDiv)),
]
Fault: TypeAlias = tuple[ast.expr | ast.stmt, str, str]
SWAPPED = {after: before for before, after in PAIRS[:9]} | dict(PAIRS)

_seconds: defaultdict[str, float] = defaultdict(float)
_failed: set[str] = set()


def pytest_configure() -> None:
    """Let Ctrl-C interrupt a test that hangs, even if a shell started this program in the background."""
    if SELECTED in os.environ:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep only the selected tests; all cases of a test whose case names differ between runs."""
    if SELECTED in os.environ:
        wanted = set(json.loads(Path(os.environ[SELECTED]).read_text()))
        wanted |= {_function(name) for name in wanted - {item.nodeid for item in items}}
        items[:] = [item for item in items if not wanted.isdisjoint({item.nodeid, _function(item.nodeid)})]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up the duration of each test."""
    _seconds[report.nodeid] += report.duration
    if report.failed:
        _failed.add(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the durations, in the main process, which gets those of all workers."""
    if TIMES in os.environ and not hasattr(session.config, "workerinput"):
        Path(os.environ[TIMES]).write_text(json.dumps({"seconds": _seconds, "failed": sorted(_failed)}))


def _function(test: str) -> str:
    return test.partition("[")[0]


@dataclass(frozen=True, order=True)
class Mutant:
    """One fault.

    Attributes:
        file: Path in the checkout.
        line: Line of the fault.
        start: Offset of the first byte that it replaces.
        end: Offset after the last one.
        kind: The kind of fault, such as ``comparison``.
        after: The replacement.
        lines: Lines of its statement, without those of nested statements.
        at_import: True if that statement runs when the file is imported.
    """

    file: str
    line: int
    start: int
    end: int
    kind: str
    after: str
    lines: tuple[int, ...]
    at_import: bool

    @property
    def package(self) -> str:
        """The package of the file, such as ``core``; ``TOP`` for a module outside the packages."""
        parts = Path(self.file).relative_to(PACKAGE).parts
        return parts[0] if len(parts) > 1 else TOP

    @property
    def folder(self) -> str:
        """Start of the paths of the package's tests."""
        return "tests/test_" if self.package == TOP else f"tests/{self.package}/"

    def applied(self, source: bytes) -> bytes:
        """Return *source* with the fault."""
        return source[: self.start] + self.after.encode() + source[self.end :]

    def described(self, source: bytes) -> str:
        """Return place, kind and change as one line of text."""
        before = " ".join(source[self.start : self.end].decode().split())
        return f"{self.file}:{self.line} {self.kind}: {before} -> {self.after}"

    def diff(self, source: bytes) -> str:
        """Return the lines that the fault changes."""
        old, new = (text.decode().splitlines(keepends=True) for text in (source, self.applied(source)))
        return "".join(list(difflib.unified_diff(old, new, n=1))[2:])


def find_mutants(file: str, source: bytes) -> Iterator[Mutant]:
    """Yield every fault that one file can have."""
    offsets = [0, *itertools.accumulate(len(line) for line in source.splitlines(keepends=True))]
    tree = ast.parse(source)
    for found, statement, at_import in _walk(tree, tree, source.splitlines(), at_import=True):
        for node, kind, after in _faults(found, statement):
            last = node.end_lineno or node.lineno
            start, end = (
                offsets[node.lineno - 1] + node.col_offset,
                offsets[last - 1] + (node.end_col_offset or 0),
            )
            mutant = Mutant(file, node.lineno, start, end, kind, after, _lines(statement), at_import)
            # An expression of several lines may be valid only inside its parentheses.
            if last == node.lineno or _can_be_parsed(mutant.applied(source)):
                yield mutant


def _can_be_parsed(source: bytes) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def _walk(
    node: ast.AST, statement: ast.AST, text: Sequence[bytes], *, at_import: bool
) -> Iterator[tuple[ast.AST, ast.AST, bool]]:
    """Yield the nodes below *node*, each with its statement and True if that runs at import."""
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if (
                name in {"annotation", "returns"}
                or not isinstance(child, ast.AST)
                or _is_ignored(child, text)
            ):
                continue
            own, now = statement, at_import
            if isinstance(child, ast.stmt):
                own, now = child, at_import and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            yield child, own, now
            yield from _walk(child, own, text, at_import=now)


def _is_ignored(node: ast.AST, text: Sequence[bytes]) -> bool:
    """Return True if *node* only documents, logs or declares types, or cannot be reached."""
    match node:
        case (
            ast.Expr(value=ast.Constant())
            | ast.Import()
            | ast.ImportFrom()
            | ast.JoinedStr()  # its parts have no position of their own before Python 3.12
            | ast.FunctionDef(name="__repr__")
            | ast.If(test=ast.Name(id="TYPE_CHECKING"))
            | ast.Assign(targets=[ast.Name(id="__all__")])
            | ast.AnnAssign(annotation=ast.Name(id="TypeAlias"))
            | ast.Call(func=ast.Name(id="TypeVar" | "NewType" | "cast" | "assert_never"))
            | ast.Raise(exc=ast.Name(id="NotImplementedError"))
            | ast.Subscript(value=ast.Name(id="Literal"))
            | ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "_log" | "logging"))))
        ):
            return True
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):  # a union of types, perhaps
            return any(hasattr(builtins, ast.unparse(side)) for side in (left, right))
    return isinstance(node, ast.stmt) and b"pragma: no cover" in text[node.lineno - 1]


def _faults(node: ast.AST, statement: ast.AST) -> Iterator[Fault]:
    """Yield the faults at *node*: the node to replace, the kind of fault, and the replacement."""
    match node:
        case ast.Constant():
            value = _changed_constant(node.value)
            if value is not None and not (isinstance(value, str) and isinstance(statement, ast.Raise)):
                yield node, "constant", repr(value)
        case ast.If(test=test) | ast.IfExp(test=test):
            yield from ((test, "condition", text) for text in ("True", "False"))
        case ast.comprehension(ifs=tests):
            yield from ((test, "condition", text) for test in tests for text in ("True", "False"))
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield node, "returns None", "return None"
        case ast.Raise():
            yield node, "raise removed", "pass"
        case ast.Expr(value=ast.Call() | ast.Await(value=ast.Call()) | ast.YieldFrom()):
            yield node, "statement removed", "pass"
    yield from _operators(node)


def _operators(node: ast.AST) -> Iterator[Fault]:
    match node:
        case ast.Compare(ops=ops):
            for at, op in enumerate(ops):
                yield node, "comparison", _with(node, ops=[*ops[:at], SWAPPED[type(op)](), *ops[at + 1 :]])
        case ast.BoolOp(op=op):
            yield node, "and/or", f"({_with(node, op=SWAPPED[type(op)]())})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, "not removed", f"({ast.unparse(operand)})"
        case ast.BinOp(op=op) if type(op) in SWAPPED:
            yield node, "arithmetic", f"({_with(node, op=SWAPPED[type(op)]())})"
        case ast.Subscript(slice=ast.Slice() as bounds):
            for side in ("lower", "upper"):
                if getattr(bounds, side) is not None:
                    yield node, "bound removed", _with(node, slice=_replaced(bounds, **{side: None}))


def _changed_constant(value: object) -> object:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case bytes():
            return value + b"x"
    return None


def _replaced(node: ast.AST, **fields: object) -> ast.AST:
    twin = copy.copy(node)
    for name, value in fields.items():
        setattr(twin, name, value)
    return twin


def _with(node: ast.AST, **fields: object) -> str:
    return ast.unparse(_replaced(node, **fields))


def _lines(statement: ast.AST) -> tuple[int, ...]:
    """Return the lines of a statement, up to the first of its body."""
    nodes = [node for node in ast.walk(statement) if isinstance(node, ast.stmt | ast.expr)]
    below = [node for node in nodes if isinstance(node, ast.stmt) and node is not statement]
    first = min(node.lineno for node in nodes)  # a decorator stands before its function
    end = min((node.lineno for node in below), default=(max(node.end_lineno or 0 for node in nodes) + 1))
    return tuple(range(first, max(end, first + 1)))


def draw(mutants: Sequence[Mutant], packages: Collection[str], count: int, seed: int) -> list[Mutant]:
    """Draw *count* faults evenly over *packages*: a line, a kind of fault there, and one of that kind."""
    chance = random.Random(seed)
    by_package: dict[str, dict[tuple[str, int], list[Mutant]]] = {
        package: defaultdict(list) for package in sorted(packages)
    }
    for mutant in sorted(mutants):
        if mutant.package in by_package:
            by_package[mutant.package][mutant.file, mutant.line].append(mutant)
    shares = [count // len(by_package) + (at < count % len(by_package)) for at in range(len(by_package))]
    drawn = []
    for places, share in zip(by_package.values(), shares, strict=True):
        for place in chance.sample(sorted(places), min(share, len(places))):
            kind = chance.choice(sorted({mutant.kind for mutant in places[place]}))
            drawn.append(chance.choice([mutant for mutant in places[place] if mutant.kind == kind]))
    return drawn


class Suite:
    """Selects the tests that may detect a fault, from the coverage and the durations of the whole suite."""

    def __init__(self, coverage_file: Path, *, seconds: Mapping[str, float], failed: Sequence[str]) -> None:
        self.failed = failed
        self.seconds = {test: took for test, took in seconds.items() if test not in failed}  # rule 2
        self._data = CoverageData(basename=str(coverage_file))
        self._data.read()
        self._files = {path.replace("\\", "/"): path for path in self._data.measured_files()}

    def of(self, mutant: Mutant) -> list[list[str]]:
        """Return the tests for *mutant*, in groups that run one after the other."""
        path = next((own for path, own in self._files.items() if path.endswith("/" + mutant.file)), None)
        by_line = self._data.contexts_by_lineno(path) if path else {}
        exact = self._tests(by_line, mutant.lines)
        more = {test for test in self.seconds if test.startswith(mutant.folder)}
        if mutant.at_import or not exact:  # rule 4
            more |= self._tests(by_line, by_line)

        def distance(test: str) -> tuple[bool, bool, float]:
            far = not test.startswith(mutant.folder)  # rule 3
            return far, Path(mutant.file).stem not in test.partition("::")[0], self.seconds[test]

        first = sorted(exact, key=distance)
        rest = [first[FIRST:], sorted(more - exact, key=distance)]
        return [group for group in (first[:FIRST], *rest) if group]

    def _tests(self, by_line: Mapping[int, list[str]], lines: Iterable[int]) -> set[str]:
        contexts = {context for line in lines for context in by_line.get(line, ())}
        return {context.rpartition("|")[0] for context in contexts} & self.seconds.keys()


class Copy:
    """A copy of the checkout, with one fault at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._stamp = 1_000_000_000
        shutil.copytree(HERE, root, ignore=IGNORED)  # rule 1

    def pytest(
        self, *arguments: str, timeout: float | None = None, variables: Mapping[str, str]
    ) -> tuple[int | None, str]:
        """Run pytest in the copy; return its exit code (None after *timeout*) and its output."""
        shutil.rmtree(self.root / ".hypothesis", ignore_errors=True)  # the failing examples of earlier faults
        paths = os.pathsep.join(str(self.root / name) for name in ("src", "benchmarks"))
        command = [sys.executable, *PYTEST, *arguments]
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                command,
                cwd=self.root,
                env=os.environ | dict(variables) | {"PYTHONPATH": paths},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                code = _wait(process, timeout)
            finally:
                _end(process)
            output.seek(0)
            return code, output.read().decode(errors="replace")

    def detects(self, tests: Sequence[str], *, timeout: float, seed: int) -> tuple[bool, str]:
        """Return True if one of *tests* fails or hangs, and which one."""
        selected = self.root / "selected.json"
        selected.write_text(json.dumps(tests))
        files = dict.fromkeys(test.partition("::")[0] for test in tests)
        options = ("-x", "--tb=no", f"--hypothesis-seed={seed}", *files)
        code, output = self.pytest(*options, timeout=timeout, variables={SELECTED: str(selected)})
        if code is None:
            return True, "hangs"  # rule 5
        lines = [line for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        return code not in {PASSED, NO_TESTS}, lines[0] if lines else f"exit code {code}"

    def write(self, file: str, content: bytes) -> None:
        """Write a source file with a new time in seconds: Python caches compiled code by time and size."""
        (self.root / file).write_bytes(content)
        self._stamp += 10
        os.utime(self.root / file, (self._stamp, self._stamp))


def _wait(process: subprocess.Popen[bytes], timeout: float | None) -> int | None:
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End pytest and its child processes; first with SIGINT, so that it can stop its PostgreSQL server."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        _wait(process, 30)


def measure(arguments: argparse.Namespace, place: Copy) -> Suite:
    """Run the suite with coverage, or read the result of an earlier run."""
    coverage_file = Path(arguments.coverage_file or place.root / ".coverage").resolve()
    times = coverage_file.with_name(coverage_file.name + ".json")
    if not (coverage_file.exists() and times.exists()):
        print("running the suite with coverage", flush=True)
        options = ("-n", "2", "--tb=short", "--cov", "--cov-branch", "--cov-context=test", "--cov-report=")
        variables = {"COVERAGE_FILE": str(coverage_file), TIMES: str(times)}
        print(place.pytest(*options, variables=variables)[1], flush=True)
    return Suite(coverage_file, **json.loads(times.read_text()))


def check(place: Copy, suite: Suite, seed: int) -> None:
    """Check that the tests pass in an unchanged copy, and that they test the copy."""
    test = min((test for test in suite.seconds if "/core/" in test), key=suite.seconds.__getitem__)
    file = (PACKAGE / "__init__.py").as_posix()
    source = (place.root / file).read_bytes()
    found = []
    for content in (source + b"\nraise RuntimeError\n", source):
        place.write(file, content)
        found.append(place.detects([test], timeout=600, seed=seed)[0])
    if found != [True, False]:
        raise SystemExit(f"the tests do not test the copy, or fail without a fault: {test} fails {found}")


def detected_by(
    mutant: Mutant, places: SimpleQueue[Copy], suite: Suite, options: argparse.Namespace
) -> str | None:
    """Return which test detects a fault; None if none does."""
    groups = suite.of(mutant)
    place = places.get()
    source = (place.root / mutant.file).read_bytes()
    try:
        place.write(mutant.file, mutant.applied(source))
        for tests in groups:
            timeout = max(options.timeout, 10 * sum(suite.seconds[test] for test in tests))
            fails, how = place.detects(tests, timeout=timeout, seed=options.seed)
            if fails:
                return how
        return None
    finally:
        place.write(mutant.file, source)
        places.put(place)


def run(
    drawn: Sequence[Mutant], sources: Mapping[str, bytes], options: argparse.Namespace, folder: Path
) -> None:
    """Test each drawn fault as soon as a copy is free, and list those that no test detects."""
    places: SimpleQueue[Copy] = SimpleQueue()
    first, *others = [Copy(folder / f"copy-{number}") for number in range(options.jobs)]
    suite = measure(options, first)
    for test in suite.failed:
        print(f"fails without a fault, and is left out: {test}")
    for place in (first, *others):
        check(place, suite, options.seed)
        places.put(place)
    survivors = []
    with ThreadPoolExecutor(options.jobs) as pool:
        fates = pool.map(lambda mutant: detected_by(mutant, places, suite, options), drawn)
        for number, (mutant, how) in enumerate(zip(drawn, fates, strict=True), 1):
            text = mutant.described(sources[mutant.file])
            print(f"{number} {'SURVIVED' if how is None else 'killed'} {text}\n    {how or ''}", flush=True)
            if how is None:
                survivors.append(mutant)
    print("\nsurvivors:" if survivors else "\nno survivors")
    for mutant in survivors:
        print(f"\n{mutant.described(sources[mutant.file])}\n{mutant.diff(sources[mutant.file])}")
    print(f"killed {len(drawn) - len(survivors)} of {len(drawn)} (seed {options.seed})")


def main() -> None:
    """Draw faults, test them, and list those that no test detects."""
    parser = argparse.ArgumentParser(description="put faults into a copy of pyade that its tests must detect")
    parser.add_argument(
        "--seed",
        type=int,
        default=random.randrange(10**6),
        help="decides which faults are drawn; it is printed",
    )
    parser.add_argument("--count", type=int, default=100, help="number of faults")
    parser.add_argument("--jobs", type=int, default=1, help="copies that are tested at the same time")
    parser.add_argument("--packages", nargs="*", help=f"packages of pyade, and {TOP}; all by default")
    parser.add_argument("--coverage-file", help="file with the coverage; reused if it exists")
    parser.add_argument(
        "--timeout",
        type=float,
        default=300,
        help="lowest limit in seconds after which tests count as hanging",
    )
    parser.add_argument("--list", action="store_true", help="list the drawn faults without testing them")
    options = parser.parse_args()
    files = sorted((HERE / PACKAGE).rglob("*.py"))
    sources = {path.relative_to(HERE).as_posix(): path.read_bytes() for path in files}
    mutants = [mutant for file, source in sources.items() for mutant in find_mutants(file, source)]
    drawn = draw(
        mutants, options.packages or {mutant.package for mutant in mutants}, options.count, options.seed
    )
    print(f"seed {options.seed}: {len(drawn)} of {len(mutants)} possible mutants", flush=True)
    if options.list:
        print(*(mutant.described(sources[mutant.file]) for mutant in drawn), sep="\n")
        return
    with tempfile.TemporaryDirectory(prefix="pyade-mutants-") as folder:
        run(drawn, sources, options, Path(folder))


if __name__ == "__main__":
    main()
