"""``pyade fake``: fakes of Apple's services over HTTP, for tests of programs in any language."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import httpx

from pyade.cli.files import WrongUsageError, read_bytes, write_new
from pyade.cli.options import common, show_result
from pyade.cli.output import Json, show_json_line
from pyade.cli.portal import PREFIX, PortalOverHttp
from pyade.core.token import Token
from pyade.crypto.keypair import TokenKeypair
from pyade.testing.apple.fake import FakeApple
from pyade.testing.business.accounts import TOKEN_PATHS
from pyade.testing.business.fake import FakeBusiness
from pyade.testing.http.server import LoopbackServer
from pyade.text import printable


@click.group(help="Serve fakes of Apple's services. Over HTTP, for tests of programs in any language.")
def fake() -> None:
    """Hold the commands of the fakes."""


@fake.command(help="Serve the fakes on 127.0.0.1. Until Ctrl-C or SIGTERM; prints one line of JSON.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Of device assignment; else a free one."
)
@click.option("--business-port", type=click.IntRange(0, 65535), default=0, help="Of the business API.")
@click.option("--devices", type=click.IntRange(0, 1_000_000), default=10, show_default=True, help="Macs.")
@click.option("--seed", type=int, default=0, help="Decides ids, secrets and serial numbers.")
@click.option("--folder", metavar="DIR", help="Write a key pair, its .p7m file and the API key there.")
@common
def serve(port: int, business_port: int, devices: int, seed: int, folder: str | None) -> None:
    """Serve the fakes."""
    apple = FakeApple(seed=seed)
    server = apple.add_server("Main")
    serials = apple.add_devices(devices, server=server)
    files = {} if folder is None else _write_token(apple, Path(folder))
    business = FakeBusiness(apple)
    account = business.add_account()
    front = LoopbackServer(PortalOverHttp(apple).handle, apple.clock, real_delays=True, port=port)
    context = click.get_current_context()
    address = context.with_resource(_listening(front)).base_url
    api = context.with_resource(_listening(business.serve(real_delays=True, port=business_port)))
    key_file = business.key_file(account)
    if folder is not None:
        files["business_key"] = str(Path(folder) / "business-key.pem")
        write_new(Path(files["business_key"]), key_file, private=True)
    found = {
        "base_url": address,
        "portal_url": f"{address}{PREFIX}",
        "server": {"name": server.name, "uuid": server.server_uuid},
        "token": _token_json(apple.token(server)),
        "business": {
            "base_url": api.base_url,
            "token_url": f"{api.base_url}{TOKEN_PATHS[-1]}",
            "client_id": account.client_id,
            "key_id": account.key_id,
            "private_key": key_file.decode(),
        },
        "serial_numbers": serials,
        "files": files,
    }
    try:
        show_json_line(found)
        _wait()
    except KeyboardInterrupt:
        return


@fake.command("token", help="Download a server token of a fake. For the certificate in FILE, to OUTPUT.")
@click.argument("file")
@click.argument("output")
@click.option("--portal", metavar="URL", required=True, help="portal_url, as fake serve printed it.")
@click.option("--force", is_flag=True, help="Overwrite OUTPUT.")
@common
def token_command(file: str, output: str, portal: str, force: bool) -> None:
    """Download a server token."""
    answer = _post(f"{portal.rstrip('/')}/token", read_bytes(file, at_most=64 * 1024))
    write_new(Path(output), answer, force=force)
    text = f"a new server token is in {printable(output)}: it ends the one before it"
    show_result(text, json={"file": output})


def _post(url: str, content: bytes) -> bytes:
    try:
        answer = httpx.post(url, content=content, trust_env=False, timeout=30)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise click.ClickException(f"no fake answers at {url}: {error}") from None
    if answer.status_code != httpx.codes.OK:
        refused = f"the portal refused: {printable(answer.text.strip())}"
        hint = ": give the portal_url that pyade fake serve printed" if answer.status_code == 404 else ""
        raise WrongUsageError(refused + hint)
    return answer.content


def _write_token(apple: FakeApple, folder: Path) -> dict[str, str]:
    """Write a key pair and the server token that was encrypted for it; return the paths."""
    keypair = TokenKeypair.generate("pyade fake")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongUsageError(f"{folder} cannot be used: {error.strerror}") from None
    paths = {"keypair": folder / "keypair.pem", "token": folder / "server-token.p7m"}
    write_new(paths["keypair"], keypair.to_pem(), private=True)
    write_new(paths["token"], apple.issue_token(None, keypair.certificate_pem))
    return {name: str(path) for name, path in paths.items()}


@contextmanager
def _listening(server: LoopbackServer) -> Iterator[LoopbackServer]:
    """Run a server."""
    with ExitStack() as stack:
        try:
            stack.enter_context(server)
        except OSError as error:
            raise WrongUsageError(f"the port cannot be used: {error.strerror or error}") from None
        yield server


def _token_json(token: Token) -> Json:
    """Return the four values of OAuth, which no service of Apple accepts."""
    return {
        "consumer_key": token.consumer_key,
        "consumer_secret": token.consumer_secret.reveal(),
        "access_token": token.access_token.reveal(),
        "access_secret": token.access_secret.reveal(),
        "access_token_expiry": token.access_token_expiry,
    }


def _wait() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    stopped = threading.Event()
    while not stopped.wait(3600):
        pass
