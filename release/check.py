"""Build the wheel and the sdist of pyade, and use them as users do; ``nox -s package`` runs this.

``python release/check.py PYTHON ...`` checks with each of these interpreters, and with its own if none is
given. Its environment has ``build``, ``hatchling``, ``twine``, ``mypy`` and ``pyright``. It writes to a
temporary folder.

1. The wheel has the package and nothing else. It is the same if it is built from the sdist, which has every
   file of the checkout that is tracked, except ``.ci/run``.
2. Programs run in an empty folder, in an environment that has the wheel and what it requires, so that they
   find neither the checkout nor packages that only the tests need.
3. Each extra is installed alone; without it, the error is one line that names it.
4. Type checkers see the wheel, not the checkout.
"""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NOT_IN_SDIST = {".ci/run"}
FOR_DEVELOPERS = {"test", "howto", "docs", "dev", "fuzz"}
EXTRAS = sorted(PROJECT["optional-dependencies"].keys() - FOR_DEVELOPERS)
START = time.monotonic()

_REGISTER_TASKS = """
from pyade.operations import register_tasks
from pyade.storage import MemoryStore
try:
    from procrastinate import App, testing
    app = App(connector=testing.InMemoryConnector())
except ImportError:
    app = None
print(register_tasks(app, MemoryStore(), print))
"""
USES = {
    "cli": ("-m", "pyade", "--help"),
    "postgres": ("-c", "from pyade.storage import PostgresStore; print(PostgresStore)"),
    "workers": ("-c", _REGISTER_TASKS),
}
"""What each extra is for, as arguments of Python; fails without it."""

_IMPORTS = """
import importlib, pathlib, sys
import pyade
assert pathlib.Path(sys.prefix) in pathlib.Path(pyade.__file__).parents, pyade.__file__
assert pyade.__version__ == sys.argv[1], pyade.__version__
for name in sys.argv[2:]:
    package = importlib.import_module(name)
    for one in package.__all__:
        try:
            getattr(package, one)
        except ImportError as error:
            assert "needs the extra" in str(error), error
"""


class CheckError(Exception):
    """A check failed; the text says which."""


def run(*command: str | Path, cwd: Path, fails: bool = False) -> str:
    """Run a command without Python's variables of this process, and return what it printed.

    Args:
        command: Program and arguments.
        cwd: The folder in which it runs.
        fails: True if it must fail.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PSYCOPG_IMPL"] = "binary"  # not a libpq that happens to be on this machine
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if (done.returncode != 0) != fails:
        wanted = "failed" if not fails else "must fail, and did not"
        raise CheckError(f"{' '.join(map(str, command))}: {wanted}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def say(text: str) -> None:
    """Print a step and the seconds since the start."""
    print(f"{time.monotonic() - START:5.1f} s  {text}", flush=True)


def same(what: str, found: Iterable[str], expected: Iterable[str]) -> None:
    """Raise an error that names what is missing and what is too much."""
    found, expected = set(found), set(expected)
    if found != expected:
        missing, surplus = sorted(expected - found), sorted(found - expected)
        raise CheckError(f"{what}: missing {missing}, not expected {surplus}")


def check_files(work: Path) -> Path:
    """Build, check what is inside (rule 1), and return the path of the wheel."""
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir")
    run(*build, work / "dist", "--sdist", "--wheel", ROOT, cwd=work)
    (sdist,) = (work / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(work / "source", filter="data")
    (source,) = (work / "source").iterdir()
    run(*build, work / "again", "--wheel", source, cwd=work)
    tracked = run("git", "ls-files", cwd=ROOT).splitlines()
    # A new file that is not tracked yet may be inside, such as one of the package; others may lie around.
    others = run("git", "ls-files", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    same("the sdist", inside - set(others), {*tracked, "PKG-INFO"} - NOT_IN_SDIST)
    (wheel,), (again,) = (work / "dist").glob("*.whl"), (work / "again").glob("*.whl")
    if wheel.name != again.name:
        raise CheckError(f"{wheel.name} and {again.name}: built from the same source")
    info = f"pyade_apple-{PROJECT['version']}.dist-info"
    about = {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")}
    about |= {f"{info}/entry_points.txt"} if PROJECT.keys() & {"scripts", "entry-points"} else set()
    package = {name.removeprefix("src/") for name in (*tracked, *others) if name.startswith("src/")}
    for built in (wheel, again):
        with zipfile.ZipFile(built) as archive:
            same(str(built), archive.namelist(), package | about)
            metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
    for name, value in {"License-Expression": "MIT", "License-File": "LICENSE"}.items():
        same(name, metadata.get_all(name, []), [value])
    same("extras that are used here", EXTRAS, USES)
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist, cwd=work)
    return wheel


def make_environment(python: str, folder: Path, wheel: str) -> Path:
    """Create an environment with the wheel and its requirements alone; return its Python."""
    folder.mkdir(parents=True)
    run(python, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
    inside = folder / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(sys.executable, "-m", "pip", "--python", inside, "install", "-q", "--no-compile", wheel, cwd=folder)
    run(sys.executable, "-m", "pip", "--python", inside, "check", cwd=folder)
    (folder / "empty").mkdir()
    return inside


def check_plain(python: str, work: Path, wheel: Path) -> None:
    """Use the wheel without extras (rules 2, 3)."""
    folder = work / "plain"
    inside = make_environment(python, folder, str(wheel))
    sources = sorted((ROOT / "src").rglob("__init__.py"))
    packages = [
        ".".join(path.parent.relative_to(ROOT / "src").parts)
        for path in sources
        if "lazy_names(" in path.read_text("utf-8")
    ]
    run(inside, "-c", _IMPORTS, PROJECT["version"], *packages, cwd=folder / "empty")
    run(inside, "-c", "import pyade; pyade.testing.FakeApple()", cwd=folder / "empty")
    for extra in EXTRAS:
        printed = run(inside, *USES[extra], cwd=folder / "empty", fails=True)
        if f"[{extra}]" not in printed.strip().splitlines()[-1]:
            raise CheckError(f"without the extra {extra}, the last line must say what to install:\n{printed}")
    run(inside, ROOT / "release" / "user.py", cwd=folder / "empty")
    printed = run(inside, ROOT / "examples" / "quickstart.py", cwd=folder / "empty")
    say(f"{python}: quickstart printed {len(printed.splitlines())} lines")


def check_extra(python: str, work: Path, wheel: Path, extra: str) -> None:
    """Use one extra (rule 3)."""
    inside = make_environment(python, work / extra, f"{wheel}[{extra}]")
    run(inside, *USES[extra], cwd=work / extra / "empty")
    say(f"{python}: extra {extra}")


def check_types(python: str, work: Path, wheel: Path) -> None:
    """Check a program of a user with mypy and pyright (rule 4)."""
    folder = work / "types"
    inside = make_environment(python, folder, str(wheel))
    program = folder / "user.py"
    program.write_bytes((ROOT / "release" / "user.py").read_bytes())
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict", "include": ["user.py"]}')
    mypy = (sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={folder / 'cache'}")
    run(*mypy, "--python-executable", inside, program, cwd=folder)
    run(sys.executable, "-m", "pyright", "--pythonpath", inside, cwd=folder)
    say("types, as a user's mypy and pyright see them")


def main() -> int:
    """Check everything, two environments at a time."""
    pythons = sys.argv[1:] or [sys.executable]
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(2) as pool:
        work = Path(temporary).resolve()
        try:
            wheel = check_files(work)
            say(f"{wheel.name} and its sdist")
            waiting = [pool.submit(check_types, pythons[0], work, wheel)]
            for number, python in enumerate(pythons):
                folder = work / str(number)
                waiting.append(pool.submit(check_plain, python, folder, wheel))
                waiting += [pool.submit(check_extra, python, folder, wheel, one) for one in EXTRAS]
            for one in waiting:
                one.result()
        except CheckError as error:
            print(error, file=sys.stderr)
            pool.shutdown(cancel_futures=True)
            return 1
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
