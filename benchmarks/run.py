"""What users wait for, in figures: best of several runs each, on this machine.

``python benchmarks/run.py [--devices N]`` prints a table; it judges nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pyade import (
    AcmeIssuer,
    Assigner,
    Client,
    EnrollmentProfile,
    MdmService,
    Signer,
    Syncer,
    TargetMac,
    build_enrollment_profile,
)
from pyade.apple.responses import DevicePage
from pyade.storage import MemoryStore, SQLiteStore
from pyade.storage.protocol import Store
from pyade.testing import FakeApple, FrozenClock

PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.example.com/enroll")
RECORD = {
    "model": "MacBook Pro",
    "description": "MBP 13.3 SPACE GRAY/2.0GHZ/8GB/256GB-USA",
    "color": "SPACE GRAY",
    "device_family": "Mac",
    "os": "OSX",
    "profile_status": "empty",
    "device_assigned_date": "2026-01-01T00:00:00Z",
    "device_assigned_by": "it@example.com",
}


def best(work: Callable[[], object], *, times: int = 5) -> float:
    """Return the shortest of several runs, in seconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def decode_page() -> float:
    """Decode one page of 1,000 devices."""
    devices = [{"serial_number": f"C02{number:09}", **RECORD} for number in range(1_000)]
    body = json.dumps({"devices": devices, "cursor": "x", "more_to_follow": False}).encode()
    return best(lambda: DevicePage.decode(body), times=20)


def sync_and_assign(store: Store, devices: int) -> tuple[float, float, float]:
    """Sync a new fleet, assign it, and find that nothing is left to do."""
    clock = FrozenClock(datetime(2026, 1, 1, tzinfo=UTC))
    fake = FakeApple(clock=clock)
    fake.add_devices(devices, server=fake.add_server("hq"))
    token = fake.token()
    store.add_token(token)
    with Client(token, transport=fake.transport(), clock=clock) as client:
        syncer = Syncer(client, store, clock=clock)
        assigner = Assigner(client, store, clock=clock)
        first = best(syncer.sync, times=1)
        assigned = best(lambda: assigner.run(default=PROFILE), times=1)
        return first, assigned, best(assigner.run, times=3)


def build_and_sign() -> tuple[float, float]:
    """Build an enrollment profile, and build and sign it."""
    service = MdmService(
        identifier="com.example.mdm",
        organization="Example",
        server_url="https://mdm.example.com/mdm",
        topic="com.apple.mgmt.External.0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
    )
    acme = AcmeIssuer(directory_url="https://ca.example.com/acme", client_identifier="code")
    mac = TargetMac(serial_number="C02EXAMPLE01", product="Mac14,2", version="15.4")
    signer = Signer.self_signed("Example")

    def build() -> bytes:
        return build_enrollment_profile(PROFILE, service, mac, acme=acme)

    return best(build, times=50), best(lambda: signer.sign(build()), times=50)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=20_000)
    devices = parser.parse_args().devices
    page = decode_page()
    print(f"{'decode a page of 1,000 devices':<58}{page * 1e3:9.2f} ms")
    with tempfile.TemporaryDirectory() as folder:
        for name, store in (("memory", MemoryStore()), ("SQLite", SQLiteStore(Path(folder) / "ade.db"))):
            first, assigned, idle = sync_and_assign(store, devices)
            print(f"{f'{name}: first sync of {devices:,} devices, fake included':<58}{first:9.2f} s")
            print(f"{f'{name}: assign {devices:,} devices, fake included':<58}{assigned:9.2f} s")
            print(f"{f'{name}: find that none of {devices:,} is due':<58}{idle:9.2f} s")
            store.close()
    built, signed = build_and_sign()
    print(f"{'build an enrollment profile':<58}{built * 1e3:9.2f} ms")
    print(f"{'build and sign it (RSA 2048)':<58}{signed * 1e3:9.2f} ms")


if __name__ == "__main__":
    main()
