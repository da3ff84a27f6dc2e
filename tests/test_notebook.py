"""The notebook of the documentation runs from its first cell to its last, and every cell shows something."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PATH = ROOT / "docs" / "notebook.ipynb"
STORED = json.loads(PATH.read_text("utf-8"))
CODE = ["".join(cell["source"]) for cell in STORED["cells"] if cell["cell_type"] == "code"]

RUN = """
import json, sys, nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
print(json.dumps([cell.outputs for cell in notebook.cells if cell.cell_type == "code"]))
"""


def test_the_notebook_is_stored_without_outputs() -> None:
    for cell in STORED["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert STORED["metadata"]["kernelspec"]["name"] == "python3"


def check_html(shown: str) -> None:
    """Check what a cell shows: a table or a picture, without scripts and ids."""
    assert re.search("<table|<svg", shown)
    assert not re.search(r"<script|\sid=|\son[a-z]+=", shown)
    assert len(shown) < 120_000


def test_every_cell_ends_with_a_table_or_a_picture() -> None:
    names: dict[str, Any] = {}
    for source in CODE:
        *before, last = ast.parse(source).body
        assert isinstance(last, ast.Expr)
        exec(compile(ast.Module(before, []), PATH.name, "exec"), names)
        found = eval(compile(ast.Expression(last.value), PATH.name, "eval"), names)
        check_html(found._repr_html_())
        assert len(repr(found)) < 300
    names["world"].close()
    assert len(CODE) >= 10


@pytest.mark.slow
def test_jupyter_executes_the_notebook_and_shows_html_for_every_cell(tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    environment = {**os.environ, "JUPYTER_RUNTIME_DIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(PATH)],
        capture_output=True,
        check=False,
        env=environment,
        text=True,
        timeout=300,
    )
    assert not done.returncode, done.stderr
    outputs = json.loads(done.stdout)
    assert len(outputs) == len(CODE)
    for shown in outputs:
        *logged, output = shown
        assert all("suspended, an administrator must act" in one["text"] for one in logged)
        assert output["output_type"] == "execute_result"
        check_html("".join(output["data"]["text/html"]))
        assert len("".join(output["data"]["text/plain"])) < 300
