"""The head of each example says what it needs, and how to run it."""

import ast
import re
import sys
from pathlib import Path

from tests.cases import each

EXAMPLES = Path(__file__).parents[2] / "examples"
ALWAYS_THERE = sys.stdlib_module_names | {
    "pyade",
    "anyio",
    "asn1crypto",
    "attrs",
    "cryptography",
    "httpx",
    "msgspec",
}


@each("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_says_what_it_needs_and_how_to_run_it(name: str) -> None:
    tree = ast.parse((EXAMPLES / name).read_text("utf-8"))
    head = ast.get_docstring(tree) or ""
    needs = re.search(r"^Needs: (.+?)^Run: ", head, re.DOTALL | re.MULTILINE)
    run = re.search(rf"^Run: .*?``.*examples/{re.escape(name)}.*``", head, re.MULTILINE)
    assert needs is not None, "a line 'Needs: ', then a line 'Run: '"
    assert run is not None, "the command, in double backticks"
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {one.name.partition(".")[0] for one in node.names}
        if isinstance(node, ast.ImportFrom) and not node.level:
            imported.add(str(node.module).partition(".")[0])
    others = imported - ALWAYS_THERE
    assert {module for module in others if not re.search(rf"\b{module}\b", needs[1])} == set()
    assert others or needs[1].startswith("pyade alone")
