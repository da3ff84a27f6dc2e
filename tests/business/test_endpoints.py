"""Every endpoint against the fake, synchronous and asynchronous."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.business.conftest import NOW, answering
from tests.keys import RSA_KEYS, keypair_of

from pyade import errors
from pyade.business import (
    ApiAccount,
    AssignmentStatus,
    ManagementService,
    OrgDevice,
    ProductFamily,
    ServiceType,
    calls,
)
from pyade.crypto import TokenKeypair
from pyade.testing import FakeApple, FakeBusiness, Fault, FrozenClock, Server

if TYPE_CHECKING:
    from tests.apple.conftest import Driver

pytestmark = pytest.mark.twins


@pytest.fixture(scope="module")
def keypair() -> TokenKeypair:
    return keypair_of(RSA_KEYS[0])


class TestDevices:
    def test_list_and_get(self, client: Driver, apple: FakeApple, server: Server) -> None:
        free = apple.add_devices(2)
        (taken,) = apple.add_devices(1, server=server, imei=["1", "2"])
        devices = client.iter_devices()
        assert [device.serial_number for device in devices] == [*free, taken]
        assert [device.status for device in devices] == [AssignmentStatus.UNASSIGNED] * 2 + [
            AssignmentStatus.ASSIGNED
        ]
        one = client.device(taken)
        assert one == devices[2]
        assert one.product_family == ProductFamily.MAC
        assert one.imei == ("1", "2")
        assert one.added_to_org_date_time == NOW

    def test_chosen_fields_are_sent_on_every_page(
        self, client: Driver, apple: FakeApple, business: FakeBusiness
    ) -> None:
        apple.add_devices(3)
        fields = ["serialNumber", "status"]
        devices = client.iter_devices(limit=2, fields=fields)
        assert [device.device_model for device in devices] == [None] * 3
        asked = [record.query for record in business.requests if record.path == "/v1/orgDevices"]
        assert [query["fields[orgDevices]"] for query in asked] == ["serialNumber,status"] * 2
        assert [query["limit"] for query in asked] == ["2", "2"]

    def test_an_unknown_field_is_refused_with_its_place(self, client: Driver) -> None:
        with pytest.raises(errors.InvalidRequestError) as caught:
            client.list_devices(fields=["nonsense"])
        (error,) = caught.value.errors
        assert (error.code, error.parameter) == ("PARAMETER_ERROR.INVALID", "fields[orgDevices]")
        assert error.is_a("PARAMETER_ERROR")
        assert not error.is_a("PARAMETER")
        assert caught.value.request_id

    def test_a_device_of_another_organization_is_not_found(self, client: Driver, apple: FakeApple) -> None:
        (foreign,) = apple.add_devices(1, organization=apple.add_organization("Other"))
        for serial in (foreign, "NOSUCH"):
            with pytest.raises(errors.NotFoundError, match="NOT_FOUND"):
                client.device(serial)
        assert client.iter_devices() == []

    @pytest.mark.parametrize("serial", ["", " ", ".", "..", "\n"])
    def test_an_id_that_would_lead_elsewhere_is_not_sent(
        self, client: Driver, business: FakeBusiness, serial: str
    ) -> None:
        with pytest.raises(errors.InvalidRequestError, match="is not usable"):
            client.device(serial)
        assert not business.requests

    def test_an_id_is_one_part_of_the_path(self, client: Driver, business: FakeBusiness) -> None:
        with pytest.raises(errors.NotFoundError):
            client.device("a/../b?c=d")
        assert business.requests[-1].path == "/v1/orgDevices/a%2F..%2Fb%3Fc%3Dd"
        assert not business.requests[-1].query


class TestLinkages:
    @pytest.mark.parametrize("answer", ["null", "empty", "missing"])
    def test_a_device_without_a_service_has_none_however_apple_says_it(
        self, client: Driver, apple: FakeApple, business: FakeBusiness, server: Server, answer: Any
    ) -> None:
        business.settings.unassigned_answer = answer
        (free,), (taken,) = apple.add_devices(1), apple.add_devices(1, server=server)
        assert client.assigned_service_id(free) is None
        assert client.assigned_service(free) is None
        assert client.assigned_service_id(taken) == server.server_uuid
        assert client.assigned_service(taken).server_name == "hq"
        for ask in (client.assigned_service_id, client.assigned_service):
            with pytest.raises(errors.NotFoundError):
                ask("NOSUCH")

    def test_a_null_id_is_none_too(self, make_client: Callable[..., Driver]) -> None:
        body = {"data": {"type": "mdmServers", "id": None}}
        client = make_client(transport=answering(httpx.Response(200, json=body)))
        assert client.assigned_service_id("C1") is None

    def test_the_serials_of_a_service(self, client: Driver, apple: FakeApple, server: Server) -> None:
        serials = apple.add_devices(5, server=server)
        apple.add_devices(2)
        assert client.iter_service_serials(server.server_uuid, limit=2) == list(serials)
        page = client.list_service_serials(server.server_uuid, limit=4)
        assert (page.items, page.total) == (serials[:4], 5)
        assert client.list_service_serials(server.server_uuid, page.next_cursor).items == serials[4:]


class TestCoverageAndLock:
    def test_warranty_and_plans(self, client: Driver, apple: FakeApple, business: FakeBusiness) -> None:
        (serial,) = apple.add_devices(1)
        business.add_coverage(serial, status="ACTIVE", paymentType="NEW", agreementNumber="42", bonus=[1])
        warranty, plan = client.apple_care(serial)
        assert (warranty.id, warranty.description, warranty.is_renewable) == (
            serial,
            "Limited Warranty",
            False,
        )
        assert (plan.id, plan.payment_type, plan.extra) == ("42", "NEW", {"bonus": [1]})

    def test_activation_lock(self, client: Driver, apple: FakeApple, business: FakeBusiness) -> None:
        locked, free = apple.add_devices(2)
        business.lock_device(locked)
        assert client.activation_lock_status(locked).lock_type == "MDM"
        assert client.activation_lock_status(free).is_locked is False


class TestServices:
    def test_list_get_and_find(self, client: Driver, server: Server, apple: FakeApple) -> None:
        apple.add_server("lab")
        services = client.iter_services()
        assert [service.server_name for service in services] == ["hq", "lab", "Apple Configurator"]
        assert services[2].server_type == ServiceType.APPLE_CONFIGURATOR
        assert client.service(server.server_uuid).default_product_families == ()
        assert services[0].default_product_families is None
        assert client.find_service("HQ").id == server.server_uuid
        with pytest.raises(
            errors.NotFoundError, match="existing services: 'hq', 'lab', 'Apple Configurator'"
        ):
            client.find_service("depot")
        apple.add_server("HQ")
        with pytest.raises(errors.ConflictError, match="2 services"):
            client.find_service("hq")

    def test_create_change_and_delete(
        self, client: Driver, apple: FakeApple, keypair: TokenKeypair, clock: FrozenClock
    ) -> None:
        made = client.create_service("depot", keypair.certificate_pem, enable_mdm_disown_flag=True)
        assert (made.server_name, made.enable_mdm_disown_flag, made.created_date_time) == (
            "depot",
            True,
            NOW,
        )
        changed = client.update_service(
            made.id, server_name="store", default_product_families=["MAC"], enable_mdm_disown_flag=False
        )
        assert (changed.id, changed.server_name) == (made.id, "store")
        assert changed.default_product_families == ("MAC",)
        assert client.update_service(made.id, default_product_families=[]).default_product_families == ()
        assert client.update_service(made.id, certificate_pem=keypair.certificate_pem).id == made.id
        (serial,) = apple.add_devices(1, server="store")
        with pytest.raises(errors.ConflictError, match="has devices"):
            client.delete_service(made.id, confirm=True)
        apple.unassign([serial])
        client.delete_service(made.id, confirm=True)
        with pytest.raises(errors.NotFoundError):
            client.service(made.id)

    def test_a_family_has_one_service(self, client: Driver, server: Server, apple: FakeApple) -> None:
        other = apple.add_server("lab")
        client.update_service(server.server_uuid, default_product_families=["MAC"])
        with pytest.raises(errors.ConflictError) as caught:
            client.update_service(other.server_uuid, default_product_families=["MAC"])
        assert caught.value.errors[0].pointer == "/data/attributes/defaultProductFamilies"
        assert "/data/attributes/defaultProductFamilies" in str(caught.value)

    @pytest.mark.parametrize("confirm", [False, None, 1])
    def test_nothing_is_deleted_unless_it_is_confirmed(
        self, client: Driver, business: FakeBusiness, server: Server, confirm: Any
    ) -> None:
        with pytest.raises(errors.InvalidRequestError, match="pass confirm=True"):
            client.delete_service(server.server_uuid, confirm=confirm)
        assert not business.requests

    def test_a_certificate_that_is_none_is_not_sent(self, client: Driver, business: FakeBusiness) -> None:
        with pytest.raises(errors.InvalidRequestError, match="certificate cannot be read"):
            client.create_service("depot", b"-----BEGIN")
        assert not business.requests

    def test_a_service_is_not_made_twice_after_a_lost_answer(
        self, client: Driver, business: FakeBusiness, keypair: TokenKeypair
    ) -> None:
        business.script("POST /v1/mdmServers", Fault.dropped(effect=True))
        with pytest.raises(errors.TransportError) as caught:
            client.create_service("depot", keypair.certificate_pem)
        assert caught.value.effect_unknown
        assert client.find_service("depot")
        assert business.counts["POST /v1/mdmServers"] == 1


class TestBuiltinManagement:
    def test_list_and_details(self, client: Driver, business: FakeBusiness) -> None:
        business.add_builtin_device("7", deviceName="Mac of Ada")
        (device,) = client.iter_builtin_devices()
        assert (device.id, device.extra) == ("7", {"deviceName": "Mac of Ada"})
        assert client.builtin_device_details("7").extra == {"deviceName": "Mac of Ada"}
        with pytest.raises(errors.NotFoundError):
            client.builtin_device_details("8")


class TestSchool:
    @pytest.fixture
    def school(self, make_client: Callable[..., Driver], apple: FakeApple) -> Driver:
        fake = FakeBusiness(apple, organization=apple.add_organization("School", org_type="edu"))
        return make_client(account=fake.add_account(), transport=fake.transport())

    def test_what_only_business_has_is_refused_in_words(self, school: Driver, apple: FakeApple) -> None:
        server = apple.add_server("classroom", organization="School")
        (serial,) = apple.add_devices(1, organization="School")
        assert [device.id for device in school.iter_devices()] == [serial]
        assert "classroom" in [service.server_name for service in school.iter_services()]
        with pytest.raises(errors.AccessDeniedError, match="no such operation"):
            school.service(server.server_uuid)
        with pytest.raises(errors.AccessDeniedError, match="no such operation"):
            school.release_devices([serial], confirm=True)
        assert school.assign_devices(server.server_uuid, [serial]).is_complete

    def test_an_account_of_another_organization_is_not_accepted(
        self, make_client: Callable[..., Driver], business: FakeBusiness, apple: FakeApple
    ) -> None:
        other = FakeBusiness(apple, organization=apple.add_organization("Other")).add_account()
        with pytest.raises(errors.CredentialError):
            make_client(account=other).iter_devices()


class TestTolerance:
    def test_unknown_attributes_and_values_survive(self, make_client: Callable[..., Driver]) -> None:
        attributes = {
            "serialNumber": "C1",
            "productFamily": "Hologram",
            "status": "BORROWED",
            "imei": "one text, as in 1.1",
            "meid": "",
            "color": "",
            "orderDateTime": "2025-04-01T10:11:12.345Z",
            "updatedDateTime": "yesterday",
            "releasedFromOrgDateTime": None,
            "isMdmMigrationCapable": "perhaps",
            "purchaseSourceUid": "u",
            "newThing": {"a": [1]},
        }
        body = {"data": {"type": "orgDevices", "id": "C1", "attributes": attributes, "surprise": 1}}
        client = make_client(transport=answering(httpx.Response(200, json=body)))
        device: OrgDevice = client.device("C1")
        assert device.product_family == "Hologram"
        assert device.product_family is not None
        assert not device.product_family.is_known
        assert device.status == "BORROWED"
        assert device.imei == ("one text, as in 1.1",)
        assert (device.meid, device.color) == ((), "")
        assert device.order_date_time is not None
        assert device.order_date_time.isoformat() == "2025-04-01T10:11:12.345000+00:00"
        assert device.extra == {
            "updatedDateTime": "yesterday",
            "isMdmMigrationCapable": "perhaps",
            "purchaseSourceUid": "u",
            "newThing": {"a": [1]},
        }

    def test_a_resource_without_attributes_is_read(self, make_client: Callable[..., Driver]) -> None:
        body = {"data": {"type": "mdmServers", "id": "x"}, "links": {"self": ""}}
        client = make_client(transport=answering(httpx.Response(200, json=body)))
        assert client.service("x") == ManagementService(id="x")

    @pytest.mark.parametrize(
        "answer",
        [
            httpx.Response(200, json={"data": {"type": "orgDevices"}}),
            httpx.Response(200, json={"data": []}),
            httpx.Response(200, json=[]),
            httpx.Response(200, text="<html>"),
            httpx.Response(200, content=b'{"data":' * 10_000),
            httpx.Response(204),
        ],
    )
    def test_a_success_that_cannot_be_read_is_a_response_error(
        self, make_client: Callable[..., Driver], answer: httpx.Response
    ) -> None:
        with pytest.raises(errors.ResponseError):
            make_client(transport=answering(answer)).device("C1")

    def test_a_page_of_something_in_between_is_no_deletion(self, make_client: Callable[..., Driver]) -> None:
        """Such as the sign-in of a proxy, which answers everything with success."""
        client = make_client(transport=answering(httpx.Response(200, html=" \n<html>sign in</html>")))
        with pytest.raises(errors.ResponseError):
            client.delete_service("S1", confirm=True)


def test_every_call_has_a_method(account: ApiAccount) -> None:
    from pyade.business import BusinessClient

    public = {name for name in vars(calls) if not name.startswith("_") and callable(vars(calls)[name])}
    own = {name for name in public if vars(calls)[name].__module__ == calls.__name__}
    named = {"create_activity": "assign_devices", "list_builtin_devices": "iter_builtin_devices"}
    assert not {name for name in own if not hasattr(BusinessClient, named.get(name, name))}
