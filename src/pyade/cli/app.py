"""The program: finds the command, and turns what it raises into one line and an exit code.

The rules of this file:

1. Exit codes: 0 done, 1 the work failed or the fleet is unhealthy, 2 wrong usage and nothing was done,
   3 Apple refused or could not be reached, 130 Ctrl-C, 141 the reader of stdout is gone, 143 SIGTERM.
2. Errors of pyade and of the operating system are one line each, without a traceback.
3. Stdout and stderr take every character in every locale.
4. A command is imported when it is used.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, Final

import click

from pyade.cli.options import Settings, common
from pyade.cli.output import tell
from pyade.errors import (
    AppleError,
    InvalidRequestError,
    ProfileError,
    PyadeError,
    TransportError,
    UserAgentError,
    VersionError,
)
from pyade.text import logger

DONE, FAILED, WRONG_USAGE, APPLE = 0, 1, 2, 3
INTERRUPTED, CLOSED_PIPE, TERMINATED = 130, 141, 143

COMMANDS: Final = {
    "token": "tokens:token",
    "sync": "fleet:sync",
    "assign": "fleet:assign",
    "profile": "profiles:profile",
    "devices": "devices:devices",
    "overview": "fleet:overview_command",
    "doctor": "fleet:doctor_command",
    "events": "events:events",
    "decode": "decode:decode",
    "store": "stores:store",
    "fake": "fake:fake",
}
"""The module and the name of each command, in the order of the help."""


class TerminatedError(KeyboardInterrupt):
    """SIGTERM arrived: like Ctrl-C, the work ends where it is safe."""


class _StoppedError(Exception):
    """The command was stopped from outside."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code


class _Program(click.Group):
    """The commands; each is imported when it is used (rule 4)."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the name of click
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        found: click.Command = getattr(importlib.import_module(f"pyade.cli.{module}"), name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; click would look for the nearest name among those that are imported."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            for near in get_close_matches(args[0], COMMANDS, n=1):
                text = f"{error.format_message()} Did you mean {near!r}?"
                raise click.UsageError(text, ctx) from None
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; click would answer a closed pipe and Ctrl-C with exit codes of its own."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            raise _StoppedError(CLOSED_PIPE) from None
        except TerminatedError:
            raise _StoppedError(TERMINATED) from None
        except KeyboardInterrupt:
            raise _StoppedError(INTERRUPTED) from None
        return result


@click.group(
    cls=_Program,
    name="pyade",
    help="Apple Automated Device Enrollment of Macs: server tokens, sync, assignment of profiles.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="pyade-apple", message="pyade %(version)s")
@common
def program() -> None:
    """Hold the options that may stand before the command."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code (rule 1)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # rule 3
    given = Settings()
    with _terminating(), _logging(given, logger("pyade")):
        try:
            result = program.main(
                None if arguments is None else list(arguments),
                prog_name="pyade",
                standalone_mode=False,
                obj=given,
            )
            sys.stdout.flush()
        except (click.ClickException, click.Abort, PyadeError, OSError, _StoppedError) as error:
            try:
                return _exit_code(error)
            except BrokenPipeError as closed:
                return _exit_code(closed)
    return result if isinstance(result, int) else DONE


def _exit_code(error: Exception) -> int:
    """Print *error* and return its exit code (rule 2)."""
    code = code_of(error)
    match error:
        case _StoppedError() | BrokenPipeError():
            _stop(code)
        case click.exceptions.NoArgsIsHelpError():
            error.show()
        case click.Abort():
            tell("no input: nothing was done")
        case click.ClickException():
            context = getattr(error, "ctx", None)  # a usage error of click itself has one
            help_of = "" if context is None else f"; see {context.command_path} --help"
            tell(f"{error.format_message().rstrip('.')}{help_of}")
        case _:
            tell(error)
    return code


def code_of(error: Exception) -> int:
    """Return the exit code of an error that ended the work, or a part of it (rule 1)."""
    match error:
        case _StoppedError() | click.ClickException():
            return error.exit_code
        case BrokenPipeError():
            return CLOSED_PIPE
        case click.Abort():
            return INTERRUPTED
        case InvalidRequestError(status=0) | UserAgentError(status=0) | VersionError() | ProfileError():
            return WRONG_USAGE  # an option or a file that cannot be used; nothing was sent
        case AppleError() | TransportError():
            return APPLE
        case _:
            return FAILED


def _stop(code: int) -> None:
    if code == CLOSED_PIPE:
        # Python would complain at its exit about what it cannot write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    else:
        tell("stopped: what was committed stays, run it again to continue")


@contextmanager
def _terminating() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(_number: int, _frame: object) -> None:
        raise TerminatedError

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _logging(given: Settings, library: logging.Logger) -> Iterator[None]:
    """Show the log of pyade on stderr with ``--verbose``, else nothing: commands print what matters."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    handler.addFilter(lambda _: given.verbose)
    level = library.level
    library.addHandler(handler)
    library.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        library.removeHandler(handler)
        library.setLevel(level)
