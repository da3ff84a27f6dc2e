"""The command line: ``pyade``, or ``python -m pyade``. It needs the extra ``cli``.

``app`` runs a command and turns errors into one line and an exit code. ``options`` has what the commands
share, ``output`` how they print, ``files`` how they read and write files. Each other module holds commands:
``tokens``, ``stores``, ``fleet`` (sync, assign, overview, doctor), ``events``, ``profiles``, ``decode`` and
``fake``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: What follows the name of the program; None for those of this process.

    Returns:
        The exit code; ``docs/cli.md`` lists them.
    """
    if find_spec("click") is None:
        sys.stderr.write(
            "pyade: the command line needs click: install it from a checkout with pip install -e '.[cli]'\n"
        )
        return 2
    from pyade.cli.app import run  # noqa: PLC0415 - it imports click

    return run(arguments)
