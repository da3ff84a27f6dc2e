"""``demo()`` and ``World``: one clock for all, and Macs that enroll in the same process."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import anyio
import attrs
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from pyade import (
    AcmeIssuer,
    Assigner,
    AsyncSyncer,
    EnrollmentProfile,
    EnrollmentService,
    MdmService,
    Scheduler,
    SessionCache,
    Syncer,
    TokenService,
    UserAffinity,
    doctor,
)
from pyade.enrollment import AsyncEnrollmentService, EnrollmentApp
from pyade.errors import ArgumentError, CredentialError, DuplicateTokenError
from pyade.operations import overview
from pyade.storage import SQLiteStore
from pyade.testing import FrozenClock, MacError, PortalError, World, demo

START = datetime(2031, 5, 1, 8, tzinfo=UTC)
PROFILE = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.com/enroll")
MDM = MdmService(
    identifier="com.contoso.mdm",
    organization="Contoso",
    server_url="https://mdm.contoso.com/mdm",
    topic="com.apple.mgmt.External.0b6fd0ee-0000-4000-8000-000000000001",
)
ACME = AcmeIssuer(directory_url="https://ca.contoso.com/acme/directory")


@pytest.fixture
def world() -> World:
    return World(FrozenClock(START), devices=2)


def assigned(world: World) -> World:
    Syncer(world.client, world.store).sync()
    assert Assigner(world.client, world.store).run(default=PROFILE).is_complete
    return world


def test_everything_in_a_world_uses_its_clock_without_being_given_it(world: World) -> None:
    report = Syncer(world.client, world.store).sync()
    assert report.next_automatic_at == datetime(2031, 5, 2, 8, tzinfo=UTC)
    world.clock.advance(minutes=15)
    assert Syncer(world.client, world.store).sync().is_complete
    assert Assigner(world.client, world.store).run(default=PROFILE).is_complete
    assert overview(world.store)[0].seen_at == world.clock()
    assert not [problem for problem in doctor(world.store).problems if problem.setting == "clock"]
    service = TokenService(world.store, world.client_for)
    service.create("emea", consent=True)
    assert service.under_way()[0].consented_at == world.clock()
    (state,) = Scheduler(world.store, world.client_for).status()
    assert state.next_at == world.clock()


def test_a_world_names_what_is_in_it(world: World) -> None:
    assert repr(world) == "<World: 2 Macs, token 'hq', 2031-05-01 08:00:00 UTC>"


def test_the_asynchronous_client_of_a_world_syncs_the_same_store(world: World) -> None:
    async def main() -> None:
        async with world.async_client() as client:
            assert (await AsyncSyncer(client, world.store).sync()).changes.added == 2

    anyio.run(main)
    assert [record.serial_number for record in world.store.devices("hq")] == list(world.serials)


def test_the_client_of_a_world_uses_a_renewed_token(world: World) -> None:
    world.client.account()
    world.fake.generate_token(world.server)
    world.fake.faults.expire_sessions()
    world.store.replace_token(world.fake.token(world.server, name="hq"))
    assert world.client.account().server_name == "Contoso MDM"


def test_clients_of_a_world_can_share_their_sessions(world: World) -> None:
    async def ask(sessions: SessionCache) -> None:
        async with world.async_client_for(world.token, sessions=sessions) as client:
            await client.account()

    sessions = SessionCache()
    with world.client_for(world.token, sessions=sessions) as client:
        client.account()
    anyio.run(ask, sessions)
    assert [request.path for request in world.fake.requests] == ["/session", "/account", "/account"]


def test_the_business_clients_of_a_world_change_its_fleet_by_its_clock(world: World) -> None:
    (bought, another) = world.fake.add_devices(2)
    with world.business_client() as client:
        service = client.find_service("Contoso MDM")
        assert client.assign_devices(service.id, [bought]).succeeded == (bought,)
    assert world.clock() > START, "the client waited for the activity by this clock"

    async def main() -> None:
        async with world.async_business_client() as client:
            assert (await client.assign_devices(service.id, [another])).succeeded == (another,)

    anyio.run(main)
    assert Syncer(world.client, world.store).sync().changes.added == 4


@pytest.mark.parametrize("provided", [False, True])
def test_a_business_client_uses_the_account_that_it_is_given(world: World, provided: bool) -> None:
    account = world.business.add_account()
    with world.business_client((lambda: account) if provided else account) as client:
        assert client.find_service("Contoso MDM").id == world.server.server_uuid
    world.business.revoke_key(account)
    with world.business_client(account) as client, pytest.raises(CredentialError):
        client.find_service("Contoso MDM")


def test_a_mac_enrolls_with_a_service_in_the_same_process(world: World) -> None:
    service = EnrollmentService(world.store, mdm=MDM, acme=ACME, trust=world.trust)
    mac = assigned(world).mac(version="15.4")
    assert (mac.enroll(service).identity, mac.history) == (
        "acme",
        ["POST https://mdm.contoso.com/enroll: 200"],
    )


@pytest.mark.parametrize("mounted", [False, True])
def test_a_mac_enrolls_with_an_asgi_application_or_an_asynchronous_service(
    world: World, mounted: bool
) -> None:
    service = AsyncEnrollmentService(world.store, mdm=MDM, acme=ACME, trust=world.trust)
    server = Starlette(routes=[Mount("/", EnrollmentApp(service))]) if mounted else service
    assert anyio.run(assigned(world).mac().enroll_async, server).topic == MDM.topic


def test_a_mac_enrolls_with_a_wsgi_application(world: World) -> None:
    service = EnrollmentService(world.store, mdm=MDM, acme=ACME, trust=world.trust)

    def app(environ, start_response):  # type: ignore[no-untyped-def]
        response = service.enroll(environ["wsgi.input"].read())
        start_response(f"{response.status} OK", list(response.headers.items()))
        return [response.body]

    assert assigned(world).mac().enroll(app).topic == MDM.topic


def test_a_mac_without_a_profile_and_an_unknown_mac_say_so(world: World) -> None:
    with pytest.raises(MacError, match="assign one"):
        world.mac()
    with pytest.raises(PortalError, match="J06W000001"):
        world.mac("C02UNKNOWN01")
    with demo(0) as empty, pytest.raises(PortalError, match="without Macs: give the serial number"):
        empty.mac()


def test_a_mac_that_sends_another_serial_number_records_why_it_was_refused(world: World) -> None:
    service = EnrollmentService(world.store, mdm=MDM, acme=ACME, trust=world.trust)
    mac = assigned(world).mac(extra={"SERIAL": "C02UNKNOWN01"})
    with pytest.raises(MacError):
        mac.enroll(service)
    (line,) = mac.history
    assert line.startswith("POST https://mdm.contoso.com/enroll: 403 (")


def test_the_web_view_of_a_service_alone_ends_at_the_sign_in_page(world: World) -> None:
    class Provider:
        def begin(self, state: str, machine: object) -> str:
            return f"https://login.contoso.com/?state={state}"

    service = EnrollmentService(world.store, mdm=MDM, acme=ACME, trust=world.trust, sign_in=Provider())
    Syncer(world.client, world.store).sync()
    modern = UserAffinity.modern("https://mdm.contoso.com/signin")
    Assigner(world.client, world.store).run(default=attrs.evolve(PROFILE, user_affinity=modern))
    mac = world.mac()
    with pytest.raises(MacError, match="400"):
        mac.enroll(service)
    assert [line.partition(".com")[2].partition(" (")[0] for line in mac.history] == [
        "/signin: 302",
        "/: 400",
    ]


def test_a_demo_starts_now_and_stands_still() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    with demo() as world:
        assert before <= world.clock() <= datetime.now(UTC)
        assert world.clock() == world.clock()
        assert len(world.serials) == 3


def test_a_demo_keeps_its_store_in_a_file_if_it_gets_a_path(tmp_path: Path) -> None:
    with demo(1, path=tmp_path / "ade.db", start=START) as world:
        Syncer(world.client, world.store).sync()
    with SQLiteStore(tmp_path / "ade.db") as store:
        assert store.count_devices("hq")


def test_a_demo_that_cannot_begin_closes_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[SQLiteStore] = []
    close = SQLiteStore.close

    def close_and_note(store: SQLiteStore) -> None:
        closed.append(store)
        close(store)

    monkeypatch.setattr(SQLiteStore, "close", close_and_note)
    demo(0, path=tmp_path / "ade.db").close()
    with pytest.raises(DuplicateTokenError):
        demo(0, path=tmp_path / "ade.db")
    assert len(closed) == 2


def test_a_demo_refuses_a_wrong_kind_of_argument() -> None:
    with pytest.raises(ArgumentError, match="devices"):
        demo("3")  # type: ignore[arg-type]
    with pytest.raises(PortalError, match="count is -1: 0 or more is allowed"):
        demo(-1)
