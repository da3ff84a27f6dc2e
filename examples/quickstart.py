"""The main job, end to end: from the server token to a Mac that enrolls.

Needs: pyade alone.
Run: ``python examples/quickstart.py``

Without arguments it uses a fake of Apple's service with 2,500 Macs, over real HTTP on loopback. With
``--token``, ``--key`` and ``--apple-id`` it uses Apple's real service, where it only reads unless
``--assign`` is given.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from pyade import (
    AcmeIssuer,
    Assigner,
    Client,
    EnrollmentProfile,
    EnrollmentService,
    MdmService,
    PrimaryAccount,
    PyadeError,
    ScepIssuer,
    Signer,
    SkipKeys,
    Syncer,
    TargetMac,
    Token,
    TokenKeypair,
    UserAffinity,
    build_enrollment_profile,
)
from pyade.apple import BASE_URL
from pyade.builders import dep_profile
from pyade.core import User
from pyade.enrollment import MachineInfo
from pyade.storage import SQLiteStore
from pyade.sync import Progress
from pyade.testing import DeviceAuthority, FakeApple, FakeMac

PROFILE = EnrollmentProfile(
    name="Standard Mac",
    description="Every Mac of the head office",
    url="https://mdm.contoso.com/enroll",
    user_affinity=UserAffinity.modern("https://mdm.contoso.com/signin"),
    locked=True,
    primary_account=PrimaryAccount(account_name="{{partialupn}}", full_name="{{username}}"),
    department="IT",
    support_phone_number="+1 555 0100",
    skip={SkipKeys.SIRI, SkipKeys.PAYMENT, SkipKeys.SCREEN_TIME},
)
SERVICE = MdmService(
    identifier="com.contoso.mdm",
    organization="Contoso",
    server_url="https://mdm.contoso.com/command",
    check_in_url="https://mdm.contoso.com/checkin",
    topic="com.apple.mgmt.External.0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
)
ACME = AcmeIssuer(
    directory_url="https://ca.contoso.com/acme/directory",
    client_identifier="one-time-code-of-this-enrollment",
)
SCEP = ScepIssuer(url="https://ca.contoso.com/scep", challenge="one-time-challenge-of-this-enrollment")
HOST = "mdm.contoso.com"
SEVERAL_HOURS_LATER = 6
AUTHORITY = DeviceAuthority.generate()  # stands in for the certificate authority of Apple's devices


def main(arguments: list[str] | None = None) -> int:
    """Run the main job; return 0, 1 after an error, or 130 after Ctrl-C."""
    options = parse(arguments)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        if options.token:
            with_apple(options)
        else:
            with_fake(options)
    except (PyadeError, OSError) as error:
        print(f"\nquickstart: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nquickstart: interrupted; all committed pages stay stored", file=sys.stderr)
        return 130
    return 0


def with_fake(options: argparse.Namespace) -> None:
    """Do the work of the administrator in Apple's portal, and that of the service that uses pyade."""
    clock = Clock()
    fake = FakeApple(clock=clock)
    server = fake.add_server("Contoso MDM")
    fake.add_devices(options.devices, server=server)

    step("1", "Server token")
    keypair = TokenKeypair.generate("Contoso MDM")
    write(options.output / "contoso.pem", keypair.certificate_pem, "certificate for Apple's portal")
    token_file = write(
        options.output / "contoso.p7m",
        fake.issue_token(server, keypair.certificate_pem),
        "server token from the fake portal",
    )
    token = Token.from_p7m(
        token_file.read_bytes(), keypair, name="hq", apple_id="it@contoso.com", consented_at=clock()
    )
    say(str(token.health(clock())))

    database = options.output / "fake.db"
    for path in (database, *options.output.glob("fake.db-*")):
        path.unlink(missing_ok=True)
    with fake.serve() as apple, SQLiteStore(database) as store:
        store.add_token(token)
        say(f"fake of Apple's service: {apple.base_url}")
        with Client(token, base_url=apple.base_url, clock=clock) as client:
            identify(client, store, token)
            syncer = Syncer(client, store, clock=clock, progress=show_progress)
            assigner = Assigner(client, store, clock=clock, progress=show_progress)

            step("2", "First sync: the whole fleet")
            say(str(syncer.sync()))
            say(f"devices that would fail to enroll: {assigner.count_devices_at_risk():,}")

            step("3", "Enrollment profile: defined at Apple and assigned to every Mac")
            say(str(assigner.run(default=PROFILE)))

            step("4", f"{SEVERAL_HOURS_LATER} hours later the fleet has changed")
            clock.ahead = timedelta(hours=SEVERAL_HOURS_LATER)
            serials = [record.serial_number for record in islice(store.devices("hq"), 5)]
            fake.unassign(serials)
            fake.add_devices(20, server=server)
            say(f"in the portal: {len(serials)} Macs unassigned, 20 new ones assigned")
            say(str(syncer.sync()))
            say(str(assigner.run()))
            say(f"devices by state: {show_counts(store)}")

        step("5", "A Mac is turned on, and its user signs in")
        serial = next(store.devices("hq")).serial_number
        enroll(FakeMac.from_apple(fake, serial, AUTHORITY, version="15.4"), store, clock, options.output)

    step("6", "Documents")
    write_documents(options.output)


def enroll(mac: FakeMac, store: SQLiteStore, clock: Clock, folder: Path) -> None:
    """Answer a Mac in Setup Assistant: the sign-in of its user, then its profile."""
    provider = IdentityProvider()
    service = EnrollmentService(
        store,
        mdm=SERVICE,
        acme=ACME,
        scep=SCEP,
        signer=Signer.self_signed("Contoso MDM profiles"),
        trust=AUTHORITY.trust,  # a service for real Macs leaves this out
        sign_in=provider,
        clock=clock,
    )
    opened = service.open_web_view(mac.header(), host=HOST)
    say(f"{opened.status}: {opened.decision.reason}")
    ada = User(upn="ada@contoso.com", full_name="Ada Lovelace")
    answer = service.close_web_view(provider.state, ada, host=HOST)
    say(f"{answer.status}: {answer.decision.identity}")
    write(folder / "mac.mobileconfig", answer.body, f"what {mac.serial_number} got for {ada.upn}")


class IdentityProvider:
    """Stands in for the page on which users sign in."""

    state = ""

    def begin(self, state: str, machine: MachineInfo) -> str:
        """Return the address of the sign-in page, which returns *state* after the sign-in."""
        self.state = state
        return f"https://login.contoso.com/?state={state}&device={machine.serial_number}"


def with_apple(options: argparse.Namespace) -> None:
    """Do the same with Apple's service; change nothing there unless ``--assign`` is given."""
    step("1", "Server token")
    passphrase = os.environ.get("PYADE_KEY_PASSPHRASE")
    keypair = TokenKeypair.from_pem(options.key.read_bytes(), passphrase)
    token = Token.from_p7m(
        options.token.read_bytes(),
        keypair,
        name="quickstart",
        apple_id=options.apple_id,
        consented_at=datetime.now(UTC),
    )
    say(str(token.health(datetime.now(UTC))))
    for problem in token.problems:
        say(f"problem: {problem}")
    with SQLiteStore(options.output / "ade.db") as store:
        token = store.add_or_renew_token(token)
        with Client(lambda: store.token(token.name), base_url=options.base_url) as client:
            identify(client, store, token)
            assigner = Assigner(client, store, progress=show_progress)

            step("2", "Sync")
            say(str(Syncer(client, store, progress=show_progress).sync()))
            say(f"devices by state: {show_counts(store, token.name)}")
            say(f"devices that would fail to enroll: {assigner.count_devices_at_risk():,}")

            step("3", "Enrollment profile")
            if options.assign:
                say(str(assigner.run(default=PROFILE)))
            else:
                say("nothing was defined or assigned: give --assign to do so")

    step("4", "Documents")
    write_documents(options.output)


class Clock:
    """Real time plus ``ahead``: a sync on request is allowed only once in 15 minutes."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        """Return the time, UTC."""
        return datetime.now(UTC) + self.ahead


def write_documents(folder: Path) -> None:
    """Write the documents that Apple's service and two Macs would get."""
    document = json.dumps(dep_profile.definition(PROFILE), indent=2)
    write(folder / "dep-profile.json", document.encode(), "Apple's profile JSON")
    signer = Signer.self_signed("Contoso MDM profiles")
    for version, kind in (("13.0", "SCEP"), ("15.4", "ACME")):
        mac = TargetMac(serial_number="C02EXAMPLE01", product="Mac14,2", version=version)
        plist = build_enrollment_profile(PROFILE, SERVICE, mac, acme=ACME, scep=SCEP)
        write(folder / f"enroll-{version}.mobileconfig", signer.sign(plist), f"signed, {kind} identity")
    plan = PROFILE.plan("15.4")
    write(folder / "plan-15.4.txt", f"{plan}\n".encode(), "what each setting does on macOS 15.4, and why")


def identify(client: Client, store: SQLiteStore, token: Token) -> None:
    """Read the server and organization of the token from Apple, and store them with it."""
    account = client.account()
    store.replace_token(account.identify(token))
    say(f"organization {account.org_name!r}, MDM server {account.server_name!r} ({account.server_uuid})")


def show_counts(store: SQLiteStore, token_name: str = "hq") -> str:
    """Return the number of devices by profile status, as text."""
    counts = store.count_devices(token_name)
    return ", ".join(f"{count:,} {status or 'unknown'}" for status, count in counts.items() if count)


def show_progress(progress: Progress) -> None:
    """Update one line on a terminal; elsewhere print a line for each commit."""
    if sys.stdout.isatty():
        print(f"   … {progress}".ljust(78), end="\r", flush=True)
    else:
        print(f"   … {progress}")


def step(number: str, title: str) -> None:
    """Print a heading."""
    print(f"\n{number}. {title}")


def say(text: str) -> None:
    """Print *text*, indented."""
    # Padded, to overwrite a line of progress.
    pad = 78 if sys.stdout.isatty() else 0
    print("\n".join(f"   {line}".ljust(pad) for line in text.splitlines()))


def write(path: Path, content: bytes, what: str) -> Path:
    """Write a file and print its path."""
    path.write_bytes(content)
    say(f"{path}  ({what})")
    return path


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description="Run the main job of pyade, against a fake or Apple's service."
    )
    parser.add_argument(
        "--output", type=Path, default=Path("quickstart-output"), help="folder for the results"
    )
    parser.add_argument("--devices", type=int, default=2_500, help="Macs in the fake fleet")
    real = parser.add_argument_group("with Apple's real service (reads only, unless --assign is given)")
    real.add_argument("--token", type=Path, help="the .p7m file from the portal")
    real.add_argument(
        "--key", type=Path, help="PEM file of TokenKeypair.to_pem (passphrase: PYADE_KEY_PASSPHRASE)"
    )
    real.add_argument("--apple-id", help="the Apple ID that downloaded the token")
    real.add_argument("--base-url", default=BASE_URL, help="of Apple's service or a stand-in")
    real.add_argument("--assign", action="store_true", help="define the profile at Apple and assign it")
    options = parser.parse_args(arguments)
    if options.token and not (options.key and options.apple_id):
        parser.error("--token needs --key and --apple-id")
    if not options.token and (options.key or options.assign or options.base_url != BASE_URL):
        parser.error("--key, --base-url and --assign need --token")
    return options


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may lack "…", such as in the C locale
    sys.exit(main())
