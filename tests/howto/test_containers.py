"""What the image of the page starts works, and the manifests agree with it; nothing here builds an image."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from tests.howto.pages import files_of, free_port, run, running, wait_until, write_files

from pyade import EnrollmentProfile
from pyade.storage import PostgresStore, SecretBox
from pyade.testing import FakeApple

PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.com/enroll")

INSTRUCTIONS = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "EXPOSE", "HEALTHCHECK", "CMD"}


def instructions() -> list[tuple[str, str]]:
    text = files_of("containers.md")["Dockerfile"].replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def manifests() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="needs the extra howto")
    found = list(yaml.safe_load_all(files_of("containers.md")["ade.yaml"]))
    return {manifest["kind"]: manifest for manifest in found}


def probes() -> list[dict[str, Any]]:
    (container,) = manifests()["Deployment"]["spec"]["template"]["spec"]["containers"]
    return [container[name]["httpGet"] for name in ("startupProbe", "readinessProbe")]


def test_the_dockerfile_has_only_known_instructions_and_does_not_end_as_root() -> None:
    names = [name for name, _ in instructions()]
    assert set(names) == INSTRUCTIONS
    assert names[-1] == "CMD"
    assert dict(instructions())["USER"].isdecimal()
    json.loads(dict(instructions())["CMD"])


@pytest.mark.slow
def test_the_manifests_agree_with_each_other_and_with_the_image() -> None:
    found = manifests()
    pod = found["Deployment"]["spec"]["template"]
    job = found["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    labels = pod["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    (web,), (sync,) = pod["spec"]["containers"], job["containers"]
    (port,) = web["ports"]
    assert found["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert str(port["containerPort"]) == dict(instructions())["EXPOSE"]
    assert {probe["port"] for probe in probes()} == {port["name"]}
    assert web["image"] == sync["image"]
    assert web["envFrom"] == sync["envFrom"]
    assert sync["command"][:2] == ["sh", "-c"]
    assert job["restartPolicy"] == "Never"


@pytest.mark.slow
def test_the_commands_of_the_image_run_and_the_probes_succeed(tmp_path: Path, database: str) -> None:
    if importlib.util.find_spec("starlette") is None:
        pytest.skip("starlette is not installed")
    write_files("containers.md", tmp_path)
    write_files("asgi.md", tmp_path)
    key = SecretBox.generate_key()
    settings = {"PYADE_STORE": _as_url(database), "PYADE_STORE_KEYS": f"{key.reveal()}\n"}
    port = str(free_port())
    command = [part.replace("8000", port) for part in json.loads(dict(instructions())["CMD"])]
    assert command[0] == "uvicorn"

    with running(sys.executable, "-m", *command, folder=tmp_path, **settings):
        base = f"http://127.0.0.1:{port}"
        wait_until(lambda: _is_listening(base), tmp_path)
        for probe in probes():
            headers = {header["name"]: header["value"] for header in probe["httpHeaders"]}
            assert httpx.get(f"{base}{probe['path']}", headers=headers).status_code == 200
        assert httpx.get(f"{base}/ade/health").status_code == 400, "the address of a pod is no known host"
        check = json.loads(re.split(r" CMD ", dict(instructions())["HEALTHCHECK"])[1])
        run(sys.executable, *(part.replace("8000", port) for part in check[1:]), folder=tmp_path)

        fake = FakeApple()
        fake.add_devices(3, server=fake.add_server("Contoso MDM"))
        with PostgresStore(database, keys=[key]) as store, fake.serve() as served:
            store.add_token(fake.token(name="hq"))
            store.set_default_profile("hq", PROFILE)
            job = manifests()["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
            (container,) = job["containers"]
            printed = run(*container["command"], folder=tmp_path, PYADE_BASE_URL=served.base_url, **settings)
            assert "3 sent: 3 SUCCESS" in printed
            assert store.count_devices("hq")["assigned"] == 3


def _as_url(dsn: str) -> str:
    """Return a DSN in the form that the command line takes."""
    from psycopg.conninfo import conninfo_to_dict

    return f"postgresql:///?{urlencode(conninfo_to_dict(dsn))}"


def _is_listening(base: str) -> bool:
    try:
        return httpx.get(base).status_code > 0
    except httpx.TransportError:
        return False


def test_the_page_does_not_put_secrets_into_the_manifests() -> None:
    text = files_of("containers.md")["ade.yaml"] + files_of("containers.md")["Dockerfile"]
    assert not [word for word in shlex.split(text, posix=False) if "password" in word.lower()]
