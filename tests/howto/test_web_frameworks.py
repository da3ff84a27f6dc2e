"""A Mac enrolls with the application of each page about a web framework, as the page shows it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from tests.howto.pages import files_of, run, write_files

PROGRAMS = [
    ("asgi.md", "try_starlette.py", "starlette"),
    ("asgi.md", "try_fastapi.py", "fastapi"),
    ("wsgi.md", "try_wsgi.py", "wsgiref"),
    ("wsgi.md", "try_flask.py", "flask"),
    ("django.md", "try_django.py", "django"),
]
ENROLLMENTS = {"try_django.py": 2}


@pytest.mark.slow
@pytest.mark.parametrize(("page", "program", "framework"), PROGRAMS)
def test_a_mac_enrolls_with_the_application_of_the_page(
    page: str, program: str, framework: str, tmp_path: Path
) -> None:
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed: pip install -e '.[howto]'")
    write_files(page, tmp_path)
    printed = run(sys.executable, program, folder=tmp_path)
    assert printed.count("acme https://mdm.contoso.com/mdm\n") == ENROLLMENTS.get(program, 1), printed
    assert printed.strip().endswith(": 200"), printed


ODD = """
import httpx

def odd_requests(app, path):
    front = httpx.WSGITransport(app)
    with httpx.Client(transport=front, base_url="https://mdm.contoso.com") as http:
        yield http.post(path, content=bytes(100_000)).status_code
        yield http.post(path, content=b"x", headers={"Host": "another.example"}).status_code
        yield http.post(path, content=b"x").status_code
"""
FLASK = """
from flask_app import make_app
from pyade.testing import demo

with demo() as world:
    print(*odd_requests(make_app(world.store, trust=world.trust), "/ade/enroll"))
"""
DJANGO = """
import os

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.wsgi import get_wsgi_application

print(*odd_requests(get_wsgi_application(), "/enroll"))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "framework", "program", "statuses"),
    [("wsgi.md", "flask", FLASK, "413 400 400"), ("django.md", "django", DJANGO, "400 400 400")],
)
def test_long_bodies_and_other_hosts_are_refused_as_the_page_says(
    page: str, framework: str, program: str, statuses: str, tmp_path: Path
) -> None:
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed: pip install -e '.[howto]'")
    write_files(page, tmp_path)
    (tmp_path / "odd.py").write_text(ODD + program, "utf-8")
    assert run(sys.executable, "odd.py", folder=tmp_path).split("\n")[0] == statuses


def test_every_program_of_these_pages_is_tested() -> None:
    shown = {
        (page, name)
        for page in ("asgi.md", "wsgi.md", "django.md")
        for name in files_of(page)
        if name.startswith("try_")
    }
    assert shown == {(page, program) for page, program, _ in PROGRAMS}
