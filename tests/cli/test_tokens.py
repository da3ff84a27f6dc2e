"""``pyade token`` and ``pyade store``: certificates, files, renewals, keys; secrets stay secret."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from tests.cases import each
from tests.cli.conftest import Run, stored_token

from pyade import TokenKeypair
from pyade.cli.output import WORDS
from pyade.storage import SQLiteStore
from pyade.testing import FakeApple

ADMIN = "it@contoso.com"


@pytest.fixture
def portal(fleet: FakeApple, tmp_path: Path) -> FakeApple:
    """Return the fake; the folder has the server token of a second server, with its key pair."""
    keypair = TokenKeypair.generate("Contoso MDM")
    (tmp_path / "key.pem").write_bytes(keypair.to_pem())
    (tmp_path / "locked.pem").write_bytes(keypair.to_pem("open sesame"))
    server = fleet.add_server("Second")
    fleet.add_devices(2, server=server)
    (tmp_path / "second.p7m").write_bytes(fleet.issue_token(server, keypair.certificate_pem))
    return fleet


def secrets_of(folder: Path, name: str) -> list[str]:
    token = stored_token(folder, name)
    return [one.reveal() for one in (token.consumer_secret, token.access_token, token.access_secret)]


def test_a_token_needs_consent(run: Run, tmp_path: Path) -> None:
    done = run("token", "new", "hq", code=2)
    assert "give --consent" in done.err
    assert not (tmp_path / "ade.db").exists()


def test_a_certificate_never_replaces_another_file_silently(run: Run, tmp_path: Path) -> None:
    (tmp_path / "hq.pem").write_text("something else")
    assert "hq.pem exists" in run("token", "new", "hq", "--consent", code=2).err
    assert "no token is stored" in run("token", "list").err
    assert (tmp_path / "hq.pem").read_text() == "something else"
    run("token", "new", "hq", "--consent", "--output", "other.pem")
    run("token", "certificate", "hq", "--output", "other.pem")  # the same content
    run("token", "certificate", "hq", "--force")
    assert (tmp_path / "hq.pem").read_bytes() == (tmp_path / "other.pem").read_bytes()


def test_the_steps_of_a_new_token_can_be_stored_one_by_one(run: Run) -> None:
    run("token", "new", "hq", "--consent", "--school")
    assert "Apple School Manager" in run("token", "steps", "hq").out
    done = run("token", "steps", "hq", "--done", "4", code=1)
    assert "give --apple-id" in done.err
    step = run("token", "steps", "hq", "--done", "4", "--apple-id", "it@contoso.com", "--json").json
    assert (step["is_new"], step["next_step"]["number"]) == (True, 5)
    listed = run("token", "list", "--json").json
    assert (listed["tokens"], listed["unfinished"][0]["apple_id"]) == ([], "it@contoso.com")


def test_a_token_that_was_made_elsewhere_is_added_and_renewed(
    run: Run, portal: FakeApple, tmp_path: Path
) -> None:
    added = ("token", "add", "second", "second.p7m", "--apple-id", ADMIN)
    assert "give --key" in run(*added, "--consent", code=2).err
    assert "give --consent" in run(*added, "--key", "key.pem", code=2).err
    assert "2 added" in run(*added, "--key", "key.pem", "--consent").out
    before = stored_token(tmp_path, "second")
    run("token", "certificate", "second")
    new_file = portal.issue_token("Second", (tmp_path / "second.pem").read_bytes())
    (tmp_path / "new.p7m").write_bytes(new_file)
    assert "use pyade token renew" in run("token", "upload", "second", "new.p7m", code=2).err
    done = run("token", "renew", "second", "new.p7m", "--apple-id", ADMIN, "--json")
    assert done.json["token"]["name"] == "second"
    assert stored_token(tmp_path, "second").fingerprint != before.fingerprint
    shown = done.out + done.err + run("token", "list").out + run("overview").out + run("sync", "-v").err
    assert not [secret for secret in secrets_of(tmp_path, "second") if secret in shown]


def test_a_renewal_with_another_apple_id_is_refused_in_words_of_the_command_line(
    run: Run, portal: FakeApple, tmp_path: Path
) -> None:
    run("token", "add", "second", "second.p7m", "--key", "key.pem", "--apple-id", ADMIN, "--consent")
    done = run("token", "renew", "second", "second.p7m", "--apple-id", "eve@contoso.com", code=1)
    assert "or give --force" in done.err
    assert "force=True" not in done.err


def test_a_file_is_read_without_its_secrets(
    run: Run, portal: FakeApple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not decrypted" in run("decode", "p7m", "second.p7m").out
    shown = run("token", "read", "second.p7m", "--key", "key.pem")
    found = run(
        "decode", "p7m", "-", "--key", "key.pem", "--json", stdin=(tmp_path / "second.p7m").read_bytes()
    )
    assert (found.json["status"], found.json["decrypted"]) == ("valid", True)
    credentials = portal.server("Second").credentials
    assert credentials is not None
    secrets = (credentials.consumer_secret, credentials.access_token, credentials.access_secret)
    assert not [one for one in secrets if one in shown.out + shown.err + found.out]
    assert "--passphrase-file" in run("token", "read", "second.p7m", "--key", "locked.pem", code=2).err
    monkeypatch.setenv("PYADE_KEY_PASSPHRASE", "wrong")
    wrong = run("token", "read", "second.p7m", "--key", "locked.pem", code=2)
    assert "wrong" not in wrong.err.replace("passphrase is wrong", "")
    (tmp_path / "passphrase").write_text("open sesame\n")
    run("token", "read", "second.p7m", "--key", "locked.pem", "--passphrase-file", "passphrase")
    monkeypatch.delenv("PYADE_KEY_PASSPHRASE")
    assert "another certificate" in run("token", "read", "second.p7m", "--key", other(tmp_path), code=2).err


def test_the_passphrase_of_a_key_is_asked_for_on_a_terminal(
    run: Run, portal: FakeApple, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(text: str) -> str:
        asked.append(text)
        return "open sesame"

    monkeypatch.setattr("click.termui.hidden_prompt_func", answer)
    monkeypatch.setattr("pyade.cli.files.is_terminal", lambda: True)
    run("token", "read", "second.p7m", "--key", "locked.pem")
    assert asked == ["Passphrase of the private key: "]


def other(folder: Path) -> str:
    (folder / "other-key.pem").write_bytes(TokenKeypair.generate("Other").to_pem())
    return "other-key.pem"


def test_a_token_is_deleted_with_its_devices_only_on_request(run: Run, fleet: FakeApple) -> None:
    run("sync")
    assert "give --cascade" in run("token", "delete", "hq", code=1).err
    assert run("token", "delete", "hq", "--cascade", "--json").json["devices"] == 3
    assert "no token is stored" in run("token", "list").err


@each(
    "arguments",
    [
        ("sync", "nope"),
        ("assign", "nope"),
        ("token", "steps", "nope"),
        ("token", "delete", "nope"),
        ("token", "certificate", "nope"),
        ("token", "renew", "nope", "x.p7m", "--apple-id", ADMIN),
        ("token", "read", "x.p7m", "--name", "nope"),
    ],
)
def test_an_unknown_token_names_the_known_ones(
    arguments: tuple[str, ...], run: Run, fleet: FakeApple
) -> None:
    assert run(*arguments, code=2).err == "pyade: there is no token 'nope'; there are 'hq'\n"


def test_the_secrets_of_a_store_are_encrypted_with_keys_from_a_file(
    run: Run, fleet: FakeApple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("store", "new-key", "old.txt")
    assert stat.S_IMODE((tmp_path / "old.txt").stat().st_mode) == 0o600
    key = (tmp_path / "old.txt").read_text()
    assert "old.txt exists: name another file" in run("store", "new-key", "old.txt", code=2).err
    assert "--store-keys" in run("store", "rotate-keys", code=2).err
    assert key.strip() not in run("store", "rotate-keys", "--store-keys", "old.txt").out
    assert "give --store-keys FILE" in run("token", "list", code=1).err
    run("store", "new-key", "new.txt")
    (tmp_path / "both.txt").write_text(f"# the new one first\n{(tmp_path / 'new.txt').read_text()}\n{key}")
    run("store", "rotate-keys", "--store-keys", "both.txt")
    run("token", "list", "--store-keys", "old.txt", code=1)
    monkeypatch.setenv("PYADE_STORE_KEYS", (tmp_path / "new.txt").read_text())
    assert "hq: server token" in run("token", "list").out
    with SQLiteStore(tmp_path / "ade.db", keys=[(tmp_path / "new.txt").read_text().strip()]) as store:
        assert store.token("hq").health(store.token("hq").consented_at).remaining > timedelta(days=1)  # type: ignore[operator]


@pytest.mark.slow
def test_the_words_that_are_replaced_are_those_of_the_library() -> None:
    """A text that the library no longer has needs no replacement."""
    import ast

    import pyade

    package = Path(pyade.__file__).parent
    texts = [
        node.value
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] != "cli"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [said for said in WORDS if not any(said in text for text in texts)] == []
