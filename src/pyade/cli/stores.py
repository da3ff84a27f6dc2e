"""``pyade store``: the keys that encrypt the secrets of a store."""

from __future__ import annotations

from pathlib import Path

import click

from pyade.cli.files import WrongUsageError, write_new
from pyade.cli.options import common, settings, show_result, with_store
from pyade.crypto.secret_box import SecretBox
from pyade.text import printable


@click.group(help="Create and rotate the keys of a store. They encrypt its secrets.")
def store() -> None:
    """Hold the commands of stores."""


@store.command("new-key", help="Write a new key to FILE. For --store-keys; keep it apart from the store.")
@click.argument("file")
@common
def new_key(file: str) -> None:
    """Write a new key."""
    write_new(Path(file), f"{SecretBox.generate_key().reveal()}\n".encode(), private=True)
    show_result(f"a new key is in {printable(file)}: keep a copy apart from the store", json={"keys": file})


@store.command("rotate-keys", help="Encrypt all secrets with the first key. Old keys are for backups then.")
@with_store
def rotate_keys() -> None:
    """Encrypt every secret with the first key."""
    if settings().keys() is None:
        raise WrongUsageError("no keys are given: give --store-keys FILE, with the new key in the first line")
    settings().open_store().rotate_keys()
    text = "every secret is encrypted with the first key: the others are needed for backups alone"
    show_result(text, json={"rotated": True})
