"""Memory does not grow with the fleet, measured in a separate process."""

import subprocess
import sys
from pathlib import Path

import pytest

from pyade.testing import FakeApple

STATUS = Path("/proc/self/status")

# VmHWM, since getrusage in a child also counts the memory of its parent at the fork.
# The child knows only the URL of the fake, so its memory is that of a real service.
CHILD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pyade import Client, Syncer, Token
from pyade.storage import SQLiteStore

base_url, path, key, secret, access, access_secret = sys.argv[1:]
token = Token(
    name="hq", consumer_key=key, consumer_secret=secret, access_token=access, access_secret=access_secret,
    access_token_expiry=None, apple_id="it@example.com", consented_at=datetime(2026, 1, 1, tzinfo=UTC),
)
with SQLiteStore(path) as store, Client(token, base_url=base_url) as client:
    store.add_token(token)
    report = Syncer(client, store).sync()
    status = Path("/proc/self/status").read_text()
    print(report.changes.added, status.split("VmHWM:")[1].split()[0])
"""


def peak_of_a_first_sync(devices: int, folder: Path) -> float:
    """Return the peak memory in MiB of a process that syncs *devices* devices."""
    fake = FakeApple()
    fake.add_devices(devices, server=fake.add_server("hq"))
    token = fake.token()
    own = (token.consumer_secret, token.access_token, token.access_secret)
    secrets = [token.consumer_key, *(secret.reveal() for secret in own)]
    with fake.serve() as served:
        command = [sys.executable, "-c", CHILD, served.base_url, str(folder / f"{devices}.db"), *secrets]
        child = subprocess.run(command, capture_output=True, text=True, check=True)
    added, peak = child.stdout.split()
    assert int(added) == devices
    return int(peak) / 1024


@pytest.mark.slow
@pytest.mark.skipif(
    not STATUS.exists(), reason="needs the peak memory of a process in /proc, as Linux has it"
)
@pytest.mark.parametrize("devices", [20_000, 100_000])
def test_a_sync_of_many_devices_needs_no_more_memory_than_one_of_5_000(tmp_path: Path, devices: int) -> None:
    small = peak_of_a_first_sync(5_000, tmp_path)
    large = peak_of_a_first_sync(devices, tmp_path)
    assert large - small <= 15, f"{small:.1f} MiB for 5,000 devices, {large:.1f} MiB for {devices:,}"
