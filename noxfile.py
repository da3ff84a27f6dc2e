"""Checks, one session each; ``nox`` runs the ones that a change must pass."""

import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["tests", "lint", "types", "docs"]

# pyenv offers the versions that its user chose; let it offer all.
_PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
os.environ.setdefault(
    "PYENV_VERSION", ":".join(["system", *(path.name for path in sorted(_PYENV.glob("3.*")))])
)


def _runs(version: str) -> bool:
    """Return True if that Python is installed; a name on the PATH may be an empty promise."""
    path = shutil.which(f"python{version}")
    return (
        path is not None
        and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0
    )


PYTHONS = [version for version in ("3.11", "3.12", "3.13", "3.14") if _runs(version)] or ["3"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the suite with branch coverage, without what ``slow`` runs."""
    session.install("-e", ".[test]")
    session.run(
        "pytest",
        "-n",
        "2",
        "--cov",
        "--cov-branch",
        "--cov-report=term-missing:skip-covered",
        *session.posargs,
    )


@nox.session
def slow(session: nox.Session) -> None:
    """Run what is too slow for every change, and properties with 200 examples; then nodes, kills, faults."""
    session.install("-e", ".[test]")
    session.run("pytest", "-m", "slow", "-n", "auto", *session.posargs)
    much = {"PYADE_NODES_TOKENS": "20", "PYADE_TEST_KILLS": "50", "PYADE_FAULT_SCRIPTS": "1000"}
    files = ["operations/test_two_nodes", "sync/test_kills", "sync/test_fault_scripts"]
    session.run("pytest", "-q", "-m", "", *(f"tests/{name}.py" for name in files), *session.posargs, env=much)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """Run the suite on the lowest versions that pyproject.toml allows; the test tools are the newest."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["cli"], *extras["postgres"], *extras["workers"]]
    session.install("-e", ".[test]", *(need.replace(">=", "==") for need in needed))
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install("ruff>=0.9")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy strict and pyright, and that every public name is typed."""
    session.install(".[dev]")  # not editable: --verifytypes does not look into those
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "pyade", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning fails."""
    session.install("-e", ".[docs,test]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session
def package(session: nox.Session) -> None:
    """Build wheel and sdist, and use them outside of the checkout with every installed Python.

    ``nox -s package -- python3.12`` uses that one alone.
    """
    session.install("build>=1.2", "hatchling>=1.25", "twine>=6", "mypy>=1.14", "pyright>=1.1.390")
    pythons = session.posargs or [shutil.which(f"python{version}") or version for version in PYTHONS]
    session.run("python", "release/check.py", *pythons)


@nox.session
def tutorial(session: nox.Session) -> None:
    """Follow docs/tutorial.md in an empty folder and a new environment, and compare what is printed.

    ``nox -s tutorial -- --write`` puts what is printed into the page.
    """
    session.run("python", "tests/tutorial.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Compare pyade's operations with minimal implementations of them, and print a table.

    ``nox -s bench -- --scale 0.01 --only ingest`` uses a hundredth of the devices, and one group of rows.
    """
    session.install("-e", ".[test]")
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz the readers of untrusted input; by default 20 seconds and 512 MB for each entry point.

    ``nox -s fuzz -- --seconds 600 --memory-mb 512 cms`` is a longer run of one entry point.
    """
    session.install("-e", ".[fuzz]")
    session.run("python", "fuzz/run.py", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Put 100 faults into a copy of pyade, drawn by a seed, and list those that no test detects.

    ``nox -s mutants -- --seed 10 --count 9 --packages core`` draws the same again, or fewer, or from one
    package.
    """
    session.install("-e", ".[test]")
    session.run("python", "benchmarks/mutants.py", *session.posargs)


@nox.session
def schemas(session: nox.Session) -> None:
    """Compare the transcribed schema rules with Apple's files in the folder that PYADE_SCHEMAS names."""
    session.install("-e", ".[test]", "pyyaml")
    session.run("pytest", "tests", "-k", "apple_files", *session.posargs)
