"""The pages about metrics, logs and progress print what they show, with the packages that they are about."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
from tests.howto.pages import blocks_of, complete, files_of, run, write_files

pytestmark = pytest.mark.slow


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None, reason=f"{package} is not installed: needs the extra howto"
    )


@needs("prometheus_client")
def test_the_metrics_are_those_of_the_page_and_of_its_alerts(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="needs the extra howto")
    write_files("prometheus.md", tmp_path)
    printed = run(sys.executable, "try_metrics.py", folder=tmp_path)
    (shown,) = blocks_of("prometheus.md", "text")
    assert shown in printed
    served = files_of("prometheus.md")["metrics.py"]
    names = set(re.findall(r'"(pyade_\w+)"', served))
    (group,) = yaml.safe_load(files_of("prometheus.md")["ade.rules.yaml"])["groups"]
    rules = group["rules"]
    used = {name.removesuffix("_total") for rule in rules for name in re.findall(r"pyade_\w+", rule["expr"])}
    assert used <= names
    assert len(rules) == 5


@needs("prometheus_client")
def test_the_metrics_are_published_until_the_service_stops(tmp_path: Path) -> None:
    write_files("prometheus.md", tmp_path)
    program = (
        "import prometheus_client, serve, threading\n"
        "from pyade.testing import demo\n"
        "with demo() as world:\n"
        "    threading.Timer(0.5, serve.stop.set).start()\n"
        "    serve.publish(world.store, seconds=0.05)\n"
        "print(prometheus_client.generate_latest().decode())\n"
    )
    assert 'pyade_devices_at_risk{token="hq"} 0.0' in run(sys.executable, "-c", program, folder=tmp_path)


@needs("structlog")
def test_every_line_of_the_log_is_json_with_the_keys_of_the_page(tmp_path: Path) -> None:
    write_files("structlog.md", tmp_path)
    printed = complete(sys.executable, "try_logs.py", folder=tmp_path).stderr
    lines = [json.loads(line) for line in printed.splitlines()]
    assert {"pyade.sync.run", "fleet"} <= {line["logger"] for line in lines}
    (shown,) = blocks_of("structlog.md", "text")
    assert lines[-1].keys() == json.loads(shown).keys()
    assert (lines[-1]["event"], lines[-1]["serial"]) == ("added", "J06W000001")


@pytest.mark.parametrize("package", ["tqdm", "rich"])
def test_the_bars_reach_their_end(package: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: needs the extra howto")
    write_files("progress.md", tmp_path)
    done = complete(sys.executable, f"with_{package}.py", folder=tmp_path)
    assert re.search(r"assign.*2500/2500", done.stdout + done.stderr)
