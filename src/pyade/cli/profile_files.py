"""Read an enrollment profile from a file: Apple's JSON, Intune's, or the document that pyade stores."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from pyade.builders.dep_profile import from_apple
from pyade.builders.documents import profile_from_document
from pyade.builders.intune.exports import read_intune
from pyade.builders.intune.model import IntuneProfile, OwnSettings
from pyade.cli.files import WrongUsageError, read_bytes
from pyade.cli.output import tell
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import IntuneError
from pyade.text import printable

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def with_intune(command: CommandT) -> CommandT:
    """Add the options for what Intune's JSON lacks."""
    for name, shown, about in (
        ("--intune-name", "NAME", "For Intune's JSON with several profiles: which."),
        ("--web-url", "URL", "For Intune's JSON: the page on which users sign in."),
        ("--url", "URL", "For Intune's JSON: your server, which answers the Macs."),
    ):
        command = click.option(name, metavar=shown, help=about)(command)
    return command


def read_profile_file(
    path: str, *, url: str | None = None, web_url: str | None = None, intune_name: str | None = None
) -> EnrollmentProfile:
    """Return the profile in a file.

    Args:
        path: The file, or ``-``.
        url: For Intune's JSON: the address of the server.
        web_url: For Intune's JSON: the page on which users sign in.
        intune_name: For Intune's JSON with several profiles: the name of one.

    Raises:
        WrongUsageError: It holds no profile, or an option is missing.
        ProfileError: The profile breaks rules.
    """
    data, shown = read_bytes(path), "stdin" if path == "-" else printable(path)
    try:
        found = json.loads(data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"))
    except UnicodeDecodeError:
        raise WrongUsageError(f"{shown} is no text: the JSON of an enrollment profile is needed") from None
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise WrongUsageError(f"{shown} is no JSON{where}: that of an enrollment profile is needed") from None
    if isinstance(found, dict) and "profile_name" in found:
        return from_apple(found)
    if isinstance(found, dict) and {"version", "name", "url"} <= found.keys():
        return profile_from_document(found)
    if not _may_be_intune(found):
        raise WrongUsageError(
            f"{shown} is JSON, but no enrollment profile: Apple's has profile_name, Intune's displayName"
        )
    if url is None:
        raise WrongUsageError(f"{shown} is Intune's JSON, which does not name your server: give --url")
    return _read_intune(data, shown, OwnSettings(url=url, web_url=web_url or ""), intune_name)


def _may_be_intune(found: object) -> bool:
    objects = found if isinstance(found, list) else [found]
    return any(
        isinstance(one, dict) and ({"value", "displayName", "settings"} & one.keys() or "@odata.type" in one)
        for one in objects
    )


def _read_intune(data: bytes, shown: str, own: OwnSettings, name: str | None) -> EnrollmentProfile:
    try:
        tenant = read_intune(data, own)
    except IntuneError as error:
        raise WrongUsageError(f"{shown}: {error}") from None
    profiles = [one for one in tenant.profiles if name in (None, one.profile.name)]
    if not profiles:
        why = next((str(problem) for problem in tenant.problems), "it has none for Macs")
        raise WrongUsageError(f"{shown} has no enrollment profile{f' {name!r}' if name else ''}: {why}")
    if len(profiles) > 1:
        names = ", ".join(repr(one.profile.name) for one in profiles)
        raise WrongUsageError(f"{shown} has {len(profiles)} profiles: give --intune-name, one of {names}")
    _tell_problems(profiles[0])
    return profiles[0].profile


def _tell_problems(imported: IntuneProfile) -> None:
    for problem in imported.problems:
        tell(f"{problem.severity.value}: {problem}")
