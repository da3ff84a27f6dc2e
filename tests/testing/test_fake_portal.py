"""The portal: servers, tokens, and devices that move between servers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from pyade.testing import FakeApple, FrozenClock, PortalError, Server

Send = Callable[..., httpx.Response]
Pages = Callable[..., list[dict[str, Any]]]


def operations(pages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(device["serial_number"], device["op_type"]) for page in pages for device in page["devices"]]


def test_an_assigned_device_is_added(apple: FakeApple, server: Server, pages: Pages) -> None:
    date = "2025-01-01T00:00:00Z"
    cursor = pages()[-1]["cursor"]
    (serial,) = apple.add_devices(1)
    assert apple.assign(server, 1) == (serial,)
    (record,) = pages("/devices/sync", cursor)[0]["devices"]
    assert (record["op_type"], record["profile_status"], record["op_date"]) == ("added", "empty", date)
    assert record["device_assigned_date"] == "2025-01-01T00:00:00Z"


@pytest.mark.parametrize("announced", [True, False])
def test_an_unassigned_device_is_deleted_without_profile_keys(
    apple: FakeApple, server: Server, pages: Pages, define: Callable[..., str], call: Send, announced: bool
) -> None:
    serials = apple.add_devices(1, server=server)
    call("POST", "/profile/devices", {"profile_uuid": define(), "devices": serials})
    cursor = pages()[-1]["cursor"]
    apple.unassign(serials, announce=announced)
    records = pages("/devices/sync", cursor)[0]["devices"]
    assert [record["op_type"] for record in records] == (["deleted"] if announced else [])
    assert not any(key.startswith("profile_") for record in records for key in record)
    assert pages()[0]["devices"] == []
    assert not any(key.startswith("device_assigned") for key in apple.device(serials[0]))
    assert apple.assign(server, serials) == serials
    assert apple.device(serials[0])["profile_status"] == "empty"
    assert "profile_uuid" not in apple.device(serials[0])


@pytest.mark.parametrize("arrive_as", ["added", "modified"])
@pytest.mark.parametrize("announced", [True, False])
def test_a_device_moves_between_servers(
    apple: FakeApple, pages: Pages, define: Callable[..., str], call: Send, arrive_as: Any, announced: bool
) -> None:
    apple.add_server("hq")
    apple.add_server("branch")
    serials = apple.add_devices(1, server="hq")
    uuid = define("hq")
    call("POST", "/profile/devices", {"profile_uuid": uuid, "devices": serials}, server="hq")
    cursors = {name: pages(server=name)[-1]["cursor"] for name in ("hq", "branch")}
    apple.move(serials, "branch", arrive_as=arrive_as, announce=announced)
    lost = operations(pages("/devices/sync", cursors["hq"], server="hq"))
    assert lost == ([(serials[0], "deleted")] if announced else [])
    (gained,) = pages("/devices/sync", cursors["branch"], server="branch")[0]["devices"]
    assert gained["op_type"] == arrive_as
    expected = ("empty", None) if arrive_as == "added" else ("removed", uuid)
    assert (gained["profile_status"], gained.get("profile_uuid")) == expected
    details = call("POST", "/devices", {"devices": serials}, server="hq").json()["devices"]
    assert details == {serials[0]: {"response_status": "NOT_ACCESSIBLE"}}


def test_assigning_to_another_server_moves_and_to_the_same_one_removes_the_profile(
    apple: FakeApple, pages: Pages, define: Callable[..., str], call: Send
) -> None:
    apple.add_server("hq")
    apple.add_server("branch")
    serials = apple.add_devices(2, server="hq")
    uuid = define("hq")
    call("POST", "/profile/devices", {"profile_uuid": uuid, "devices": serials[:1]}, server="hq")
    apple.assign("hq", serials)
    states = [apple.device(serial) for serial in serials]
    assert [(state["profile_status"], state.get("profile_uuid")) for state in states] == [
        ("removed", uuid),
        ("empty", None),
    ]
    apple.assign("branch", serials)
    assert operations(pages(server="hq", cursor=None)) == []
    assert len(pages(server="branch")[0]["devices"]) == 2


def test_a_device_without_profile_arrives_as_modified_and_empty(apple: FakeApple, pages: Pages) -> None:
    apple.add_server("hq")
    cursor = pages()[-1]["cursor"]
    serials = apple.add_devices(1)
    apple.move(serials, "hq", arrive_as="modified")
    (record,) = pages("/devices/sync", cursor)[0]["devices"]
    assert (record["op_type"], "profile_uuid" in record) == ("modified", False)


@pytest.mark.parametrize("change", [False, True])
def test_a_new_token_supersedes_the_old_one(
    apple: FakeApple, server: Server, get_session: Send, change: bool
) -> None:
    old = apple.token(server)
    assert apple.token(server) == old
    assert get_session(old).status_code == 200
    apple.generate_token(server, change_consumer_key=change)
    new = apple.token(server)
    answer = get_session(old)
    assert (answer.status_code, answer.text) == (401, "signature_invalidUnauthorized")
    assert get_session(new).status_code == 200
    assert (new.consumer_key != old.consumer_key) == change
    assert {new.consumer_secret, new.access_token, new.access_secret}.isdisjoint(
        {old.consumer_secret, old.access_token, old.access_secret}
    )


def test_credentials_have_the_form_of_apples(apple: FakeApple, server: Server) -> None:
    credentials = apple.generate_token(server)
    assert credentials.consumer_key.startswith("CK_")
    assert credentials.consumer_secret.startswith("CS_")
    assert credentials.access_token.startswith("AT_O")
    assert credentials.access_token.endswith("O1735689600000")
    assert credentials.access_secret.startswith("AS_")
    assert credentials.expires_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert not any(
        secret in repr(credentials) for secret in (credentials.consumer_secret, credentials.access_secret)
    )


def test_a_token_of_29_february_expires_on_1_march() -> None:
    apple = FakeApple(clock=FrozenClock(datetime(2024, 2, 29, 12, tzinfo=UTC)))
    apple.add_server()
    assert apple.token().access_token_expiry == datetime(2025, 3, 1, 12, tzinfo=UTC)


def test_the_same_seed_and_clock_give_the_same_values() -> None:
    def create_values(seed: int) -> tuple[object, ...]:
        apple = FakeApple(clock=FrozenClock(), seed=seed)
        server = apple.add_server()
        serials = apple.add_devices(3, server=server)
        cursors = [apple._pager.fetch(server, {"limit": 1}, 10, apple.clock())["cursor"] for _ in range(3)]
        return server.server_uuid, serials, cursors, apple.token(), apple._identifiers.session()

    assert create_values(1) == create_values(1)
    assert all(
        ours != others for ours, others in zip(create_values(1)[:2], create_values(2)[:2], strict=True)
    )


def test_organizations_and_servers_are_independent(apple: FakeApple, pages: Pages, call: Send) -> None:
    contoso, school = apple.add_organization("Contoso"), apple.add_organization("School", org_type="edu")
    for name, owner in (("a", contoso), ("b", contoso), ("c", school)):
        apple.add_server(name, organization=owner)
        apple.add_devices(2, server=name)
    assert [len(pages(server=name)[0]["devices"]) for name in "abc"] == [2, 2, 2]
    accounts = [call("GET", "/account", server=name).json() for name in "abc"]
    assert accounts[0]["org_id"] == accounts[1]["org_id"] != accounts[2]["org_id"]
    assert [account["org_type"] for account in accounts] == ["org", "org", "edu"]
    (serial,) = apple.add_devices(1, organization=school)
    apple.move([serial], "a")
    assert apple.devices[serial].organization is contoso


def test_devices_with_given_values_and_of_every_family(apple: FakeApple, server: Server) -> None:
    assert apple.add_devices(serials=["C02ABC", "C02DEF"], model="Mac Pro", server=server) == (
        "C02ABC",
        "C02DEF",
    )
    assert apple.device("C02DEF")["model"] == "Mac Pro"
    for family, os in (("iPhone", "iOS"), ("AppleTV", "tvOS"), ("Vision", "visionOS"), ("Mac", "OSX")):
        (serial,) = apple.add_devices(1, family=family)  # type: ignore[arg-type]
        assert (apple.device(serial)["device_family"], apple.device(serial)["os"]) == (family, os)
    apple.edit_device(serial, asset_tag="A-1")
    assert apple.device(serial)["asset_tag"] == "A-1"


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda apple: apple.device("NOPE"), "no device 'NOPE'; there are 'ONE', 'TWO'"),
        (lambda apple: apple.server("nope"), "no server 'nope'; there are 'branch', 'hq'"),
        (lambda apple: apple.token(), "name the server; there are 'branch', 'hq'"),
        (
            lambda apple: apple.add_server("x", organization="Nope"),
            "no organization 'Nope'; there are 'Contoso'",
        ),
        (lambda apple: apple.add_server("hq"), "there is a server 'hq' already"),
        (lambda apple: apple.add_organization(), "there is an organization 'Contoso' already"),
        (lambda apple: apple.add_devices(serials=["ONE"]), "there is a device 'ONE' already"),
        (lambda apple: apple.assign("hq", 3), "'Contoso' has 1 devices without a server, not 3"),
        (lambda apple: apple.unassign(["TWO"]), "TWO has no server"),
        (
            lambda apple: apple.operate(apple.devices["TWO"], "added", {"serial_number": "TWO"}),
            "TWO has no server",
        ),
        (lambda apple: apple.devices["TWO"].operation, "TWO was never assigned to a server"),
        (lambda apple: apple.faults.repeat_records(["TWO"]), "TWO has no operation on these servers"),
        (
            lambda apple: apple.faults.throttle(["NOPE"], apple.clock()),
            "no device 'NOPE'; there are 'ONE', 'TWO'",
        ),
    ],
)
def test_error_of_an_unknown_name_lists_existing_ones(
    apple: FakeApple, mistake: Callable[[FakeApple], object], said: str
) -> None:
    for name in ("branch", "hq"):
        apple.add_server(name)
    apple.add_devices(serials=["ONE"], server="hq")
    apple.add_devices(serials=["TWO"])
    with pytest.raises(PortalError) as caught:
        mistake(apple)
    assert str(caught.value) == said


def test_long_list_of_existing_names_is_cut(apple: FakeApple) -> None:
    apple.add_devices(serials=[f"S{number:02}" for number in range(12)])
    with pytest.raises(PortalError, match=r"'S09' and 2 more"):
        apple.device("NOPE")
    with pytest.raises(PortalError, match="there are none"):
        FakeApple().server("hq")


def test_a_server_is_found_by_object_name_and_uuid(apple: FakeApple, server: Server) -> None:
    assert (
        apple.server(server)
        is apple.server("hq")
        is apple.server(server.server_uuid)
        is apple.server()
        is server
    )


def test_fake_without_a_clock_uses_real_time() -> None:
    apple = FakeApple()
    assert apple.clock().tzinfo is UTC
