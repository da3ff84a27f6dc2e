"""``pyade profile``: check an enrollment profile, and show what it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pyade.cli.app import DONE, FAILED
from pyade.cli.files import write_new
from pyade.cli.options import common, settings, show_result
from pyade.cli.output import Json, plain, show, show_json, show_problems
from pyade.cli.profile_files import read_profile_file, with_intune
from pyade.core.problems import Problem
from pyade.errors import ProfileError

_macos = click.option(
    "--macos", metavar="VERSION", default="15.4", show_default=True, help="Version of macOS."
)


@click.group(help="Check profiles, and show what they do. FILE is Apple's JSON, or Intune's.")
def profile() -> None:
    """Hold the commands of profiles."""


@profile.command(help="List the problems of a profile. The exit code is 1 if one is an error.")
@click.argument("file")
@with_intune
@common
def check(file: str, **intune: Any) -> int:
    """Check a profile."""
    try:
        found = read_profile_file(file, **intune)
    except ProfileError as error:
        return _show_problems(file, "", error.problems, is_valid=False)
    return _show_problems(file, found.name, found.problems, is_valid=True)


@profile.command(help="Show what each setting does on a macOS.")
@click.argument("file")
@_macos
@with_intune
@common
def plan(file: str, macos: str, **intune: Any) -> None:
    """Show a plan."""
    show_result(read_profile_file(file, **intune).plan(macos))


@profile.command(help="Show what a person meets in Setup Assistant. In order, by version of macOS.")
@click.argument("file")
@click.option("--macos", metavar="VERSION", help="Only this macOS; else a column for each.")
@click.option("--svg", "picture", metavar="FILE", help="Write a picture too.")
@click.option("--force", is_flag=True, help="Overwrite that file.")
@with_intune
@common
def preview(file: str, macos: str | None, picture: str | None, force: bool, **intune: Any) -> None:
    """Show a preview."""
    found = read_profile_file(file, **intune).preview(macos)
    if picture is not None:
        write_new(Path(picture), found.svg().encode(), force=force)
    show_result(found)


@profile.command(help="Show what changes between two profiles. And which Macs the change reaches.")
@click.argument("file")
@click.argument("file2")
@with_intune
@common
def diff(file: str, file2: str, **intune: Any) -> None:
    """Compare two profiles."""
    show_result(read_profile_file(file, **intune).diff(read_profile_file(file2, **intune)))


def _show_problems(file: str, name: str, problems: tuple[Problem, ...], *, is_valid: bool) -> int:
    if settings().json:
        found: Json = {"file": file, "name": name, "is_valid": is_valid, "problems": plain(problems)}
        show_json(found)
    else:
        words = "valid" if is_valid else "not valid: Apple or a Mac would refuse it"
        show(f"{name or file}: {words}")
        show_problems(problems, "  ")
    return DONE if is_valid else FAILED
