"""What users wait for, in figures: best of several runs each, on this machine.

``python benchmarks/run.py [--devices N]`` prints a table; it judges nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import plistlib
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pyade import (
    AcmeIssuer,
    Assigner,
    Client,
    EnrollmentProfile,
    MdmService,
    ScepIssuer,
    Signer,
    Syncer,
    TargetMac,
    build_enrollment_profile,
)
from pyade.apple.responses import DevicePage
from pyade.core import MachineInfo
from pyade.enrollment import EnrollmentService, read_message, redeem_scep_request
from pyade.errors import TrustError
from pyade.storage import EnrollmentStore, MemoryStore, SQLiteStore
from pyade.storage.protocol import Store
from pyade.testing import DeviceAuthority, FakeApple, FrozenClock
from pyade.testing.mac.hostile import by_owners, by_strangers, requests

PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.example.com/enroll")
SERVICE = MdmService(
    identifier="com.example.mdm",
    organization="Example",
    server_url="https://mdm.example.com/mdm",
    topic="com.apple.mgmt.External.0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
)
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
    acme = AcmeIssuer(directory_url="https://ca.example.com/acme", client_identifier="code")
    mac = TargetMac(serial_number="C02EXAMPLE01", product="Mac14,2", version="15.4")
    signer = Signer.self_signed("Example")

    def build() -> bytes:
        return build_enrollment_profile(PROFILE, SERVICE, mac, acme=acme)

    return best(build, times=50), best(lambda: signer.sign(build()), times=50)


def verify_machine_info() -> list[tuple[str, float]]:
    """Verify what a Mac posts, beside the two signatures that are in it."""
    authority = DeviceAuthority.generate()
    rows: list[tuple[str, float]] = []
    trust, words = authority.trust, machine_info("C02EXAMPLE01")
    for identity in (authority.issue(key="rsa1024"), authority.issue(key="rsa2048")):
        name = f"RSA {identity.private_key.key_size}"
        seconds = best(partial(MachineInfo.from_cms, identity.sign(words), trust=trust), times=50)
        bare = rsa_verification(1024) + rsa_verification(identity.private_key.key_size)
        rows += [
            (f"verify a MachineInfo ({name})", seconds),
            (f"  of that, bare verifications ({name}, and its authority's)", bare),
        ]
    message = authority.issue(key="p256").sign(words)
    seconds = best(partial(MachineInfo.from_cms, message, trust=trust), times=50)
    curve = ec.generate_private_key(ec.SECP256R1())
    signature = curve.sign(b"content", ec.ECDSA(hashes.SHA256()))
    public = curve.public_key()
    bare = best(lambda: public.verify(signature, b"content", ec.ECDSA(hashes.SHA256())), times=50)
    rows += [
        ("verify a MachineInfo (ECDSA P-256)", seconds),
        ("  of that, bare verifications (P-256, and its authority's)", bare + rsa_verification(1024)),
    ]
    return rows


def rsa_verification(bits: int) -> float:
    """Return how long a bare verification takes."""
    key = rsa.generate_private_key(65537, bits)  # Macs have keys of 1024 bits
    scheme = padding.PKCS1v15()
    signature = key.sign(b"content", scheme, hashes.SHA256())
    public = key.public_key()
    return best(lambda: public.verify(signature, b"content", scheme, hashes.SHA256()), times=50)


def bare_signatures() -> tuple[float, float]:
    """Return how long the signature of RSA 2048 and of ECDSA P-256 takes, which a signed profile needs."""
    key, curve = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
    by_rsa = best(lambda: key.sign(b"content", padding.PKCS1v15(), hashes.SHA256()), times=50)
    return by_rsa, best(lambda: curve.sign(b"content", ec.ECDSA(hashes.SHA256())), times=50)


def enroll(store: EnrollmentStore, macs: int) -> float:
    """Return how long one request of a Mac takes, from the signed words to the signed profile."""
    clock = FrozenClock(datetime(2026, 1, 1, tzinfo=UTC))
    fake = FakeApple(clock=clock)
    serials = fake.add_devices(macs, server=fake.add_server("hq"))
    token = fake.token()
    store.add_token(token)
    store.set_default_profile(token.name, PROFILE)
    with Client(token, transport=fake.transport(), clock=clock) as client:
        Syncer(client, store, clock=clock).sync()
    authority = DeviceAuthority.generate()
    device = authority.issue()
    bodies = [device.sign(machine_info(serial)) for serial in serials]
    service = EnrollmentService(
        store,
        mdm=SERVICE,
        acme=AcmeIssuer(directory_url="https://ca.example.com/acme"),
        signer=Signer.self_signed("Example"),
        trust=authority.trust,
        clock=clock,
    )

    def all_of_them() -> None:
        for body in bodies:
            status = service.enroll(body).status
            if status != 200:
                raise SystemExit(f"a Mac was answered {status}")

    return best(all_of_them, times=3) / macs


def hostile_inputs() -> tuple[float, list[tuple[str, float]]]:
    """Return how long a usual refusal takes, and how many of those the worst 64 KiB of each shape cost."""
    clock = FrozenClock(datetime(2026, 1, 1, tzinfo=UTC))
    authority = DeviceAuthority.generate()
    device, stranger = authority.issue(), DeviceAuthority.generate().issue()
    store = MemoryStore()
    service = EnrollmentService(
        store,
        mdm=SERVICE,
        scep=ScepIssuer(url="https://ca.example.com/scep"),
        trust=authority.trust,
        clock=clock,
    )

    def redeem(request: bytes) -> None:
        with contextlib.suppress(TrustError):
            redeem_scep_request(store, request, now=clock())

    usual = best(partial(service.enroll, stranger.sign(machine_info("C02EXAMPLE01"))), times=100)
    costs: dict[str, float] = {}
    for title, work, kinds in (
        ("message", service.enroll, (by_strangers(device), by_strangers(device, elements=1_800))),
        ("signed message", service.enroll, (by_owners(device), by_owners(device, marks=950))),
        ("certificate request", redeem, (requests(), requests(elements=250))),
    ):
        for messages in kinds:
            for name, message in messages.items():
                cost = best(partial(work, message), times=20) / usual
                costs[f"{title}: {name}"] = max(cost, costs.get(f"{title}: {name}", 0))
    return usual, sorted(costs.items(), key=lambda row: -row[1])


def large_message() -> float:
    """Return how long 16 MiB of a Mac's answer take."""
    app = {"Identifier": "com.example.app", "Name": "Example", "Version": "1.0", "BundleSize": 123456789}
    apps = [app] * 70_000
    result = plistlib.dumps({"Status": "Acknowledged", "CommandUUID": "1", "InstalledApplicationList": apps})
    return best(partial(read_message, result), times=3) * 16 * 2**20 / len(result)


def machine_info(serial: str) -> bytes:
    """Return what a Mac says of itself."""
    keys = {
        "UDID": "564D6C7A",
        "SERIAL": serial,
        "PRODUCT": "Mac14,2",
        "VERSION": "24E248",
        "OS_VERSION": "15.4",
    }
    return plistlib.dumps(keys)


def per_second(name: str, seconds: float) -> None:
    """Print a row."""
    print(f"{name:<58}{seconds * 1e3:9.3f} ms {1 / seconds:9,.0f} /s")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=20_000)
    devices = parser.parse_args().devices
    logging.getLogger("pyade").setLevel(logging.ERROR)
    page = decode_page()
    print(f"{'decode a page of 1,000 devices':<58}{page * 1e3:9.2f} ms")
    with tempfile.TemporaryDirectory() as folder:
        for name, store in (("memory", MemoryStore()), ("SQLite", SQLiteStore(Path(folder) / "ade.db"))):
            first, assigned, idle = sync_and_assign(store, devices)
            print(f"{f'{name}: first sync of {devices:,} devices, fake included':<58}{first:9.2f} s")
            print(f"{f'{name}: assign {devices:,} devices, fake included':<58}{assigned:9.2f} s")
            print(f"{f'{name}: find that none of {devices:,} is due':<58}{idle:9.2f} s")
            store.close()
    for name, seconds in verify_machine_info():
        per_second(name, seconds)
    built, signed = build_and_sign()
    by_rsa, by_curve = bare_signatures()
    per_second("build an enrollment profile", built)
    per_second("build and sign it (RSA 2048)", signed)
    per_second("  of that, the bare signature (RSA 2048)", by_rsa)
    per_second("  a bare signature of ECDSA P-256, for comparison", by_curve)
    with tempfile.TemporaryDirectory() as folder:
        for name, store in (("memory", MemoryStore()), ("SQLite", SQLiteStore(Path(folder) / "ade.db"))):
            per_second(f"{name}: enroll a Mac, from its words to its profile", enroll(store, 200))
            store.close()
    print(f"{'read 16 MiB of installed applications':<58}{large_message():9.2f} s")
    usual, costs = hostile_inputs()
    per_second("refuse a stranger's usual message", usual)
    for name, cost in costs:
        print(f"  {name:<64}{cost:5.1f} of those{' (more than 12)' if cost > 12 else ''}")


if __name__ == "__main__":
    main()
