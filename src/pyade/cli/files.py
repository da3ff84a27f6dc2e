"""Read the files that a person names, and write new ones.

The rules of this file:

1. A file that cannot be used is wrong usage: one line with its name, and the exit code 2.
2. A file with a private key gets mode 0600, and no file is overwritten unless the person says so.
3. Secrets come from a file, the environment or a prompt.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pyade.core.secret import Secret
from pyade.errors import SigningError
from pyade.loading import lazy_modules
from pyade.text import printable

if TYPE_CHECKING:
    from pyade.crypto import keypair
    from pyade.crypto.keypair import TokenKeypair
else:
    lazy_modules(globals(), keypair="pyade.crypto.keypair")

MAX_BYTES: Final = 64 * 1024 * 1024
PASSPHRASE_VARIABLE: Final = "PYADE_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable


class WrongUsageError(click.ClickException):
    """An argument, an option or a file that cannot be used; nothing was done. The exit code is 2."""

    exit_code = 2


def read_bytes(path: str, *, at_most: int = MAX_BYTES) -> bytes:
    """Return the content of a file, or of stdin for ``-``.

    Raises:
        WrongUsageError: There is no such file, it cannot be read, is empty or too large (rule 1).
    """
    shown = "stdin" if path == "-" else printable(path)
    try:
        if path == "-":
            data = sys.stdin.buffer.read(at_most + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(at_most + 1)
    except (OSError, ValueError) as error:
        raise WrongUsageError(f"{shown} cannot be read: {_reason(error)}") from None
    if not data:
        raise WrongUsageError(f"{shown} is empty")
    if len(data) > at_most:
        raise WrongUsageError(f"{shown} is larger than {at_most:,} bytes")
    return data


def read_lines(path: str) -> list[str]:
    """Return the lines of a text file, without empty ones and those that begin with ``#``.

    Raises:
        WrongUsageError: It cannot be read, or is no text.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise WrongUsageError(f"{printable(path)} is no text in UTF-8") from None
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def write_new(path: Path, data: bytes, *, force: bool | None = None, private: bool = False) -> None:
    """Write a file; one with the same content is left as it is.

    Args:
        path: Where.
        data: The content.
        force: Overwrite another file; None if the command has no such option.
        private: Only its owner may read it (rule 2).

    Raises:
        WrongUsageError: There is another file already, or it cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        descriptor = os.open(path, flags, 0o600 if private else 0o644)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if private:
                    path.chmod(0o600)
                file.write(data)
        except BaseException:
            if not force:
                path.unlink(missing_ok=True)  # a part of a file would stop the next try
            raise
    except FileExistsError:
        with suppress(OSError):
            if path.read_bytes() == data:
                return
        advice = "name another file" if force is None else "name another file, or give --force"
        raise WrongUsageError(f"{printable(str(path))} exists: {advice}") from None
    except (OSError, ValueError) as error:
        raise WrongUsageError(f"{printable(str(path))} cannot be written: {_reason(error)}") from None


def read_passphrase(file: str | None) -> Secret | None:
    """Return the passphrase of a private key from *file*, else from the environment; None if neither has it.

    Raises:
        WrongUsageError: The file cannot be read, or has no text.
    """
    if file is None:
        found = os.environ.get(PASSPHRASE_VARIABLE)
        return None if found is None else Secret(found)
    try:
        text = Secret(read_bytes(file, at_most=4096).decode().rstrip("\r\n"))
    except UnicodeDecodeError:
        raise WrongUsageError(f"{printable(file)} is no text in UTF-8") from None
    if not text:
        raise WrongUsageError(f"{printable(file)} has no passphrase")
    return text


def passphrase_for(data: bytes, file: str | None) -> Secret | None:
    """Return the passphrase for a PEM file with the content *data*; asks for it on a terminal (rule 3).

    Raises:
        WrongUsageError: The key is encrypted, and there is no passphrase.
    """
    passphrase = read_passphrase(file)
    if passphrase is not None or b"ENCRYPTED" not in data:
        return passphrase
    if not is_terminal():
        raise WrongUsageError(
            f"the private key is encrypted: give --passphrase-file, or set {PASSPHRASE_VARIABLE}"
        )
    return Secret(click.prompt("Passphrase of the private key", hide_input=True, err=True))


def is_terminal() -> bool:
    """Return True if a person can be asked."""
    return sys.stdin.isatty()


def read_keypair(path: str, passphrase_file: str | None) -> TokenKeypair:
    """Return the key pair of a PEM file.

    Raises:
        WrongUsageError: It cannot be read.
    """
    data = read_bytes(path, at_most=256 * 1024)
    passphrase = passphrase_for(data, passphrase_file)
    try:
        return keypair.TokenKeypair.from_pem(data, None if passphrase is None else passphrase.reveal())
    except SigningError as error:
        raise WrongUsageError(f"{printable(path)}: {error}") from None


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
