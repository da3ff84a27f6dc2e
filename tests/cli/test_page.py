"""The page of the command line shows what the commands print."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import click
import pytest
from tests.cli.page import PAGE, normalized, replayed

from pyade.cli.app import COMMANDS, program


@pytest.mark.slow
def test_the_commands_of_the_page_print_what_it_shows(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    page = PAGE.read_text()
    assert normalized(replayed(page, tmp_path, port)).splitlines() == normalized(page).splitlines()


def test_the_page_names_every_command_option_and_variable() -> None:
    page = PAGE.read_text()
    context = click.Context(program)
    names: set[str] = set()
    for name in COMMANDS:
        command = program.get_command(context, name)
        assert command is not None
        inner = command.commands if isinstance(command, click.Group) else {}
        names |= {f"{name} {one}" for one in inner} or {name}
        for one in (command, *inner.values()):
            assert one.help
            assert one.get_short_help_str(100).removesuffix(".") in one.help
    assert {name for name in names if name not in page} == set()
    source = "".join(path.read_text() for path in (PAGE.parents[1] / "src/pyade/cli").glob("*.py"))
    variables = set(re.findall(r'"(PYADE_[A-Z_]+)"', source))
    assert len(variables) == 5
    assert {name for name in variables if f"`{name}`" not in page} == set()
