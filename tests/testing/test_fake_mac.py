"""``FakeMac`` enrolls as a Mac does, follows orders, and checks the profile that it gets."""

from __future__ import annotations

import base64
import json
import plistlib
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import attrs
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from pyade.builders.payloads import AcmeIssuer, MdmService, ScepIssuer
from pyade.core.fleet.device import Device, DeviceFamily
from pyade.core.fleet.records import Source
from pyade.core.macos.identity import IdentityPolicy
from pyade.core.macos.models import ChipClass
from pyade.core.macos.updates import SoftwareUpdatePolicy
from pyade.core.macos.versions import MacOSVersion
from pyade.core.profile.accounts import User
from pyade.core.profile.affinity import UserAffinity
from pyade.core.profile.profile import EnrollmentProfile
from pyade.crypto.signing import Signer
from pyade.enrollment import EnrollmentResponse, EnrollmentService, PlatformSso
from pyade.errors import VersionError
from pyade.storage import MemoryStore
from pyade.testing import CmsForm, DeviceAuthority, FakeApple, FakeMac, FrozenClock, MacError, Server
from pyade.testing.mac import DeviceIdentity, read_enrollment
from pyade.testing.mac.state import build_of
from pyade.testing.store_examples import example_token

HOST = "mdm.contoso.example"
LOGIN = "https://login.contoso.example"
SERIAL = "C02FAKEMAC01"
ADA = User(upn="ada@contoso.example", full_name="Ada Lovelace")
PLAIN = EnrollmentProfile(name="Plain", url=f"https://{HOST}/enroll", await_final_configuration=False)
MODERN = attrs.evolve(PLAIN, user_affinity=UserAffinity.modern(f"https://{HOST}/signin"))
LEGACY = attrs.evolve(PLAIN, user_affinity=UserAffinity.legacy())
MDM = MdmService(
    identifier="example.contoso.mdm",
    organization="Contoso",
    server_url=f"https://{HOST}/mdm",
    topic="com.apple.mgmt.External.0b6fd0ee-0000-4000-8000-000000000001",
)
ACME = AcmeIssuer(directory_url=f"https://{HOST}/acme/directory")
SCEP = ScepIssuer(url=f"https://{HOST}/scep")
APP_MANIFEST = plistlib.dumps({"items": []})


@pytest.fixture(scope="module")
def authority() -> DeviceAuthority:
    return DeviceAuthority.generate()


@pytest.fixture(scope="module")
def identity(authority: DeviceAuthority) -> DeviceIdentity:
    return authority.issue()


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer.self_signed("Contoso MDM")


class SignIn:
    """The first half of an identity provider."""

    def begin(self, state: str, machine: object) -> str:
        return f"{LOGIN}/authorize?state={state}"


@attrs.define
class Organization:
    """The service of an organization and its identity provider, as an httpx transport without a network."""

    signer: Signer
    authority: DeviceAuthority
    profile: EnrollmentProfile = PLAIN
    options: dict[str, Any] = attrs.Factory(dict)
    pages: dict[str, Callable[[httpx.Request], httpx.Response]] = attrs.Factory(dict)
    requests: list[httpx.Request] = attrs.Factory(list)
    store: MemoryStore = attrs.Factory(MemoryStore)

    def __attrs_post_init__(self) -> None:
        self.store.add_token(example_token())
        self.store.set_default_profile("hq", self.profile)
        device = Device(serial_number=SERIAL, device_family=DeviceFamily.MAC, model="MacBook Pro")
        state = self.store.sync_state("hq")
        self.store.commit_page("hq", [device], source=Source.SYNC, state=state, now=FrozenClock()())
        self.service = EnrollmentService(
            self.store,
            **{
                "mdm": MDM,
                "acme": ACME,
                "scep": SCEP,
                "signer": self.signer,
                "trust": self.authority.trust,
                "sign_in": SignIn(),
                "clock": FrozenClock(),
                **self.options,
            },
        )

    service: EnrollmentService = attrs.field(init=False)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        address = f"{request.url.host}{request.url.path}"
        if page := self.pages.get(address):
            return page(request)
        if address == "login.contoso.example/authorize":
            back = f"https://{HOST}/signed-in?state={request.url.params['state']}"
            return httpx.Response(303, headers={"Location": back, "Set-Cookie": "session=1"})
        if address == f"{HOST}/enroll":
            return _http(
                self.service.enroll(request.content, authorization=request.headers.get("Authorization"))
            )
        if address == f"{HOST}/signin":
            header = request.headers.get("x-apple-aspen-deviceinfo")
            return _http(self.service.open_web_view(header, host=request.headers["Host"]))
        if address == f"{HOST}/signed-in":
            state = request.url.params["state"]
            return _http(self.service.close_web_view(state, ADA, host=request.headers["Host"]))
        return httpx.Response(404)

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self))


def _http(answer: EnrollmentResponse) -> httpx.Response:
    return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.body)


@pytest.fixture
def organization(signer: Signer, authority: DeviceAuthority) -> Iterator[Callable[..., Organization]]:
    made = []

    def make(profile: EnrollmentProfile = PLAIN, **options: Any) -> Organization:
        made.append(Organization(signer, authority, profile, options))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


@pytest.fixture
def mac(identity: DeviceIdentity) -> FakeMac:
    return FakeMac(serial_number=SERIAL, identity=identity, url=PLAIN.url)


@pytest.mark.parametrize(
    ("product", "version", "key"),
    [
        ("Mac16,1", "15.4", ("acme", "ECSECPrimeRandom", 384, True, True)),
        ("MacBookPro16,1", "15.4", ("acme", "RSA", 2048, False, False)),
        ("iMac19,1", "14.0", ("acme", "RSA", 2048, False, False)),
        ("VirtualMac2,1", "13.1", ("acme", "RSA", 2048, False, False)),
        ("Mac14,2", "13.0", ("scep", "RSA", 2048, False, False)),
        ("iMac19,1", "10.13.6", ("scep", "RSA", 2048, False, False)),
    ],
)
def test_machine_info_of_a_fake_mac(
    product: str,
    version: str,
    key: tuple[Any, ...],
    organization: Callable[..., Organization],
    mac: FakeMac,
    signer: Signer,
) -> None:
    mac.product = product
    mac.update(version)
    there = organization()
    with there.client() as http:
        found = mac.enroll(http)
    shown = (found.identity, found.key_type, found.key_size, found.hardware_bound, found.attest)
    assert shown == key
    assert (found.topic, found.server_url, found.check_in_url) == (MDM.topic, MDM.server_url, MDM.server_url)
    assert found.issuer_url == (ACME.directory_url if found.identity == "acme" else SCEP.url)
    assert found.subject == (("O", "Contoso"), ("CN", SERIAL))
    assert found.signer == signer.certificate
    (kept,) = there.store.one_times(SERIAL)
    assert kept.digest
    assert len(found.credential) >= 32
    assert found.credential not in repr(found)


def test_mac_accepts_a_profile_signed_with_an_ec_key(authority: DeviceAuthority, mac: FakeMac) -> None:
    signer = Signer.self_signed("Contoso MDM", private_key=ec.generate_private_key(ec.SECP256R1()))
    there = Organization(signer, authority, PLAIN, {})
    with there.store, there.client() as http:
        assert mac.enroll(http).signer == signer.certificate


@pytest.mark.parametrize(
    "form", [CmsForm.APPLE, CmsForm.IPAD, CmsForm.MODERN, CmsForm(signer="key-identifier", has_chain=False)]
)
def test_mac_signs_in_every_form(
    form: CmsForm, organization: Callable[..., Organization], mac: FakeMac
) -> None:
    mac.form = form
    with organization().client() as http:
        assert mac.enroll(http).topic == MDM.topic


def test_mac_sends_the_request_of_a_real_mac(organization: Callable[..., Organization], mac: FakeMac) -> None:
    there = organization()
    with there.client() as http:
        mac.enroll(http)
    (request,) = there.requests
    assert (request.method, str(request.url)) == ("POST", PLAIN.url)
    assert request.headers["Content-Type"] == "application/pkcs7-signature"
    assert request.headers["User-Agent"] == "CloudConfiguration/1.0"
    assert request.content.startswith(b"\x30\x80")
    assert mac.history == [f"POST {PLAIN.url}: 200"]


def test_mac_sends_its_header_on_the_first_web_view_request_only(
    organization: Callable[..., Organization], mac: FakeMac
) -> None:
    mac.web_url = f"https://{HOST}/signin"
    there = organization(MODERN)
    with there.client() as http:
        assert mac.enroll(http).topic == MDM.topic
    assert [request.method for request in there.requests] == ["GET"] * 3
    assert ["x-apple-aspen-deviceinfo" in request.headers for request in there.requests] == [
        True,
        False,
        False,
    ]
    # The states of a sign-in are secrets.
    assert "state" not in "".join(mac.history)


def test_mac_follows_the_web_view_asynchronously(
    organization: Callable[..., Organization], mac: FakeMac
) -> None:
    mac.web_url = f"https://{HOST}/signin"
    there = organization(MODERN)

    async def main() -> str:
        async with httpx.AsyncClient(transport=httpx.MockTransport(there)) as http:
            return (await mac.enroll_async(http)).topic

    assert anyio.run(main) == MDM.topic


def test_mac_has_no_web_view_before_10_15(organization: Callable[..., Organization], mac: FakeMac) -> None:
    mac.web_url = f"https://{HOST}/signin"
    mac.update("10.14.6")
    mac.name, mac.password = "ada", "secret"
    there = organization(MODERN, authenticate=lambda name, password: ADA if password == "secret" else None)
    with there.client() as http:
        assert mac.enroll(http).identity == "scep"
    assert [request.url.path for request in there.requests] == ["/enroll", "/enroll"]


@pytest.mark.parametrize("keeps", [True, False])
def test_mac_keeps_or_drops_its_cookies(
    keeps: bool, organization: Callable[..., Organization], mac: FakeMac
) -> None:
    mac.web_url = f"https://{HOST}/signin"
    mac.keeps_cookies = keeps
    there = organization(MODERN)

    def twice(request: httpx.Request) -> httpx.Response:
        if "again" in request.url.params:
            back = f"https://{HOST}/signed-in?state={request.url.params['state']}"
            return httpx.Response(302, headers={"Location": back})
        again = {"Location": f"?state={request.url.params['state']}&again=1", "Set-Cookie": "session=1"}
        return httpx.Response(302, headers=again)

    there.pages["login.contoso.example/authorize"] = twice
    with there.client() as http:
        mac.enroll(http)
    cookies = ["Cookie" in request.headers for request in there.requests]
    assert cookies == [False, False, keeps, False]


def test_mac_sends_the_values_of_the_user(organization: Callable[..., Organization], mac: FakeMac) -> None:
    mac.web_url = f"https://{HOST}/signin"
    there = organization(MODERN)

    def page(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, headers={"Content-Type": "text/html"}, text="Who are you?")
        assert request.content == b"name=ada"
        back = f"https://{HOST}/signed-in?state={request.url.params['state']}"
        return httpx.Response(303, headers={"Location": back})

    there.pages["login.contoso.example/authorize"] = page
    with there.client() as http:
        with pytest.raises(MacError, match="ends at a page of type text/html"):
            mac.enroll(http)
        mac.browse = lambda page: httpx.Request("POST", page.request.url, content=b"name=ada")
        assert mac.enroll(http).topic == MDM.topic


def test_mac_sends_name_and_password_if_requested(
    organization: Callable[..., Organization], mac: FakeMac
) -> None:
    there = organization(LEGACY, authenticate=lambda name, password: ADA if password == "sec:ret" else None)
    with there.client() as http:
        with pytest.raises(MacError) as refused:
            mac.enroll(http)
        assert refused.value.status == 401
        mac.name, mac.password = "ada", "wrong"
        with pytest.raises(MacError):
            mac.enroll(http)
        mac.password = "sec:ret"
        assert mac.enroll(http).topic == MDM.topic
    assert "sec:ret" not in repr(mac)


def test_mac_updates_when_ordered_and_enrolls_again(
    organization: Callable[..., Organization], mac: FakeMac
) -> None:
    mac.update("14.1")
    there = organization(updates=SoftwareUpdatePolicy(minimum="15.4.1"))
    with there.client() as http:
        assert mac.enroll(http).identity == "acme"
    assert str(mac.version) == "15.4.1"
    assert mac.history == [
        f"POST {PLAIN.url}: 403 com.apple.softwareupdate.required",
        f"POST {PLAIN.url}: 200",
    ]


def test_mac_follows_an_order_to_update_in_the_web_view(
    organization: Callable[..., Organization], mac: FakeMac
) -> None:
    mac.web_url = f"https://{HOST}/signin"
    mac.update("14.1")
    with organization(MODERN, updates=SoftwareUpdatePolicy(minimum="26.1")).client() as http:
        mac.enroll(http)
    assert mac.version == MacOSVersion(26, 1)
    assert mac.build.startswith("25B")


def test_mac_sets_up_platform_sso_and_returns_with_its_token(
    organization: Callable[..., Organization], mac: FakeMac
) -> None:
    mac.update("26.0")
    sso = PlatformSso(
        profile_url=f"https://{HOST}/sso.mobileconfig",
        manifest_url=f"https://{HOST}/manifest.plist",
        auth_url=f"{LOGIN}/sso",
        verify=lambda token: ADA if token == "t0ken" else None,
    )
    there = organization(MODERN, platform_sso=sso)
    token = "apple-remotemanagement-user-login://authentication-results?access-token=t0ken"
    there.pages |= {
        f"{HOST}/sso.mobileconfig": lambda request: httpx.Response(200, content=b"<plist/>"),
        f"{HOST}/manifest.plist": lambda request: httpx.Response(200, content=APP_MANIFEST),
        "login.contoso.example/sso": lambda request: httpx.Response(308, headers={"Location": token}),
    }
    with there.client() as http:
        assert mac.enroll(http).topic == MDM.topic
        there.pages["login.contoso.example/sso"] = lambda request: httpx.Response(403)
        with pytest.raises(MacError, match="does not end with a token"):
            mac.enroll(http)
        there.pages[f"{HOST}/manifest.plist"] = lambda request: httpx.Response(404)
        with pytest.raises(MacError, match="manifest"):
            mac.enroll(http)
    assert there.requests[4].headers["Authorization"] == "Bearer t0ken"
    enrollment = there.store.enrollment(SERIAL)
    assert enrollment is not None
    assert enrollment.user == ADA


def test_mac_can_be_made_from_a_device_of_fake_apple(authority: DeviceAuthority, signer: Signer) -> None:
    apple = FakeApple(clock=FrozenClock())
    server: Server = apple.add_server("hq")
    first, second = apple.add_devices(2, server=server)
    uuid = apple._identifiers.profile_uuid()
    anchor = base64.b64encode(signer.certificate.public_bytes(Encoding.DER)).decode()
    server.profiles[uuid] = {
        "url": PLAIN.url,
        "configuration_web_url": f"https://{HOST}/signin",
        "anchor_certs": [anchor],
    }
    apple.edit_device(first, profile_status="assigned", profile_uuid=uuid)
    mac = FakeMac.from_apple(apple, first, authority, version="14.1")
    assert (mac.serial_number, mac.product, mac.chip) == (first, "Mac16,1", ChipClass.APPLE_SILICON)
    assert (mac.url, mac.web_url) == (PLAIN.url, f"https://{HOST}/signin")
    assert mac.build == "23B101"
    assert mac.tls_context().cert_store_stats()["x509"] == 1
    assert apple.device(first)["profile_status"] == "pushed"
    with pytest.raises(MacError, match="no profile"):
        FakeMac.from_apple(apple, second, authority)


def test_mac_sends_only_the_keys_of_its_version(mac: FakeMac) -> None:
    for version, missing in {
        "13.7": {"OS_VERSION", "MDM_CAN_REQUEST_SOFTWARE_UPDATE", "SOFTWARE_UPDATE_DEVICE_ID"},
        "14.1": {"SOFTWARE_UPDATE_DEVICE_ID", "MDM_CAN_REQUEST_PSSO_CONFIG"},
        "15.4": {"MDM_CAN_REQUEST_PSSO_CONFIG"},
        "26.1 (a)": set(),
    }.items():
        mac.update(version)
        keys = mac.machine_info()
        assert not keys.keys() & missing
        assert ("SUPPLEMENTAL_OS_VERSION_EXTRA" in keys) == ("(a)" in version)
    assert keys["OS_VERSION"] == "26.1"
    assert keys["MDM_CAN_REQUEST_PSSO_CONFIG"] is True


def test_a_build_belongs_to_its_version() -> None:
    for text in ("10.9", "10.13.6", "11.0", "11.6", "12.7", "13.1", "13.7", "14.0", "15.7", "26.1", "27.0"):
        version = MacOSVersion.of(text)
        assert MacOSVersion.from_build(build_of(version)) == version
    with pytest.raises(VersionError):
        build_of(MacOSVersion(16))


# Refusals


def answers(*responses: httpx.Response) -> httpx.Client:
    waiting = list(responses)
    return httpx.Client(transport=httpx.MockTransport(lambda request: waiting.pop(0)))


def order(code: str, details: object, *, kind: str = "application/json") -> httpx.Response:
    body = json.dumps({"code": code, "details": details})
    return httpx.Response(403, headers={"Content-Type": kind}, text=body)


UPDATE, SSO = "com.apple.softwareupdate.required", "com.apple.psso.required"


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (httpx.Response(403, text="no"), "refuses with status 403"),
        (httpx.Response(500), "refuses with status 500"),
        (httpx.Response(302, headers={"Location": "/elsewhere"}), "refuses with status 302"),
        (httpx.Response(200, text="<?xml"), "instead of application/x-apple-aspen-config"),
        (order(UPDATE, {"OSVersion": "15.4"}), "has 15.4 already"),
        (order(UPDATE, {"OSVersion": "latest"}), "update without a valid version"),
        (order(UPDATE, {}), "update without a valid version"),
        (order(UPDATE, None), "has no details"),
        (order(UPDATE, {"OSVersion": "26.0"}, kind="text/plain"), "refuses with status 403"),
        (order("com.apple.unheard.of", {}), "refuses with status 403"),
        (order(SSO, {}), "did not offer"),
    ],
)
def test_mac_refuses_an_invalid_response(response: httpx.Response, reason: str, mac: FakeMac) -> None:
    with answers(response) as http, pytest.raises(MacError, match=reason):
        mac.enroll(http)


def test_mac_refuses_an_order_that_it_did_not_offer(mac: FakeMac) -> None:
    mac.can_update = False
    with (
        answers(order(UPDATE, {"OSVersion": "26.0"})) as http,
        pytest.raises(MacError, match="did not offer"),
    ):
        mac.enroll(http)
    mac.can_use_platform_sso = True
    with (
        answers(order(SSO, {"ProfileURL": "http://x"})) as http,
        pytest.raises(MacError, match="three https"),
    ):
        mac.enroll(http)


def test_mac_gives_up_after_too_many_orders(mac: FakeMac) -> None:
    orders = [order(UPDATE, {"OSVersion": f"26.{minor}"}) for minor in range(8)]
    with (
        answers(*orders) as http,
        pytest.raises(MacError, match="refused the Mac with further orders 8 times"),
    ):
        mac.enroll(http)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        (f"https://{HOST}/signin", "more than 20 times"),
        (f"http://{HOST}/signin", "from https to http"),
    ],
)
def test_web_view_refuses_forbidden_addresses(location: str, reason: str, mac: FakeMac) -> None:
    mac.web_url = f"https://{HOST}/signin"
    responses = [httpx.Response(302, headers={"Location": location}) for _ in range(20)]
    with answers(*responses) as http, pytest.raises(MacError, match=reason):
        mac.enroll(http)


def test_mac_refuses_a_profile_from_another_host(mac: FakeMac) -> None:
    mac.web_url = f"https://{HOST}/signin"
    away = httpx.Response(302, headers={"Location": "https://evil.example/profile"})
    profile = httpx.Response(200, headers={"Content-Type": "application/x-apple-aspen-config"})
    with answers(away, profile) as http, pytest.raises(MacError, match="another host"):
        mac.enroll(http)


def test_mac_needs_an_address(identity: DeviceIdentity) -> None:
    with answers() as http, pytest.raises(MacError, match="no enrollment URL"):
        FakeMac(serial_number=SERIAL, identity=identity).enroll(http)


@pytest.fixture
def valid_profile(organization: Callable[..., Organization], mac: FakeMac) -> dict[str, Any]:
    """An unsigned profile that a Mac accepts."""
    with organization(signer=None).client() as http:
        found = mac.enroll(http)
    assert found.signer is None
    return dict(found.profile)


def payload(profile: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = [part for part in profile["PayloadContent"] if part["PayloadType"] == kind]
    assert isinstance(found, dict)
    return found


def read(profile: dict[str, Any], *, version: str = "15.4", chip: ChipClass = ChipClass.APPLE_SILICON) -> Any:
    return read_enrollment(plistlib.dumps(profile), version=MacOSVersion.of(version), chip=chip)


MDM_TYPE, ACME_TYPE = "com.apple.mdm", "com.apple.security.acme"


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("", {"PayloadType": "Other"}, "not Configuration"),
        ("", {"PayloadIdentifier": ""}, "is empty"),
        ("", {"TargetDeviceType": 1}, "not for Macs"),
        ("", {"PayloadContent": [1]}, "array of dictionaries"),
        ("", {"PayloadContent": []}, "0 payloads com.apple.mdm"),
        (MDM_TYPE, {"PayloadVersion": None}, "PayloadVersion"),
        (MDM_TYPE, {"PayloadIdentifier": "example.contoso.mdm.acme"}, "not unique"),
        (MDM_TYPE, {"IdentityCertificateUUID": "0" * 8 + "-0000-0000-0000-" + "0" * 12}, "names no identity"),
        (MDM_TYPE, {"IdentityCertificateUUID": "1"}, "not a UUID"),
        (MDM_TYPE, {"Topic": "com.contoso"}, "com.apple.mgmt."),
        (MDM_TYPE, {"ServerURL": f"http://{HOST}"}, "not https"),
        (MDM_TYPE, {"CheckInURL": 1}, "cannot be read"),
        (MDM_TYPE, {"AccessRights": 8192}, "8191"),
        (MDM_TYPE, {"AccessRights": None}, "8191"),
        (MDM_TYPE, {"AccessRights": 2}, "2 without 1"),
        (MDM_TYPE, {"AccessRights": 128}, "128 without 64"),
        (MDM_TYPE, {"ServerCapabilities": []}, "user channel"),
        (MDM_TYPE, {"ManagedAppleID": "ada"}, "not for Automated"),
        (MDM_TYPE, {"ServerURLPinningCertificateUUIDs": ["x"]}, "names no certificate"),
        (ACME_TYPE, {"DirectoryURL": f"http://{HOST}"}, "not https"),
        (ACME_TYPE, {"ClientIdentifier": ""}, "is empty"),
        (ACME_TYPE, {"KeySize": 512}, "no keys of size 512"),
        (ACME_TYPE, {"KeySize": 521}, "Secure Enclave cannot hold this key"),
        (ACME_TYPE, {"KeyType": "RSA", "KeySize": 2048}, "Secure Enclave cannot hold this key"),
        (ACME_TYPE, {"HardwareBound": False}, "Attest is true without"),
        (ACME_TYPE, {"HardwareBound": 1}, "HardwareBound"),
        (ACME_TYPE, {"Subject": [["CN", "x"]]}, "something other than pairs"),
        (ACME_TYPE, {"Subject": ["CN"]}, "array of arrays"),
        (ACME_TYPE, {"Subject": [[["commonName", "x"]]]}, "attribute 'commonName'"),
        (ACME_TYPE, {"PayloadType": "com.apple.security.scep"}, "PayloadContent"),
        (ACME_TYPE, {"PayloadType": "com.apple.security.root", "PayloadContent": b"x"}, "cannot be read"),
    ],
)
def test_mac_refuses_an_invalid_profile(
    kind: str, changes: dict[str, Any], reason: str, valid_profile: dict[str, Any]
) -> None:
    part = payload(valid_profile, kind) if kind else valid_profile
    for key, value in changes.items():
        if value is None:
            del part[key]
        else:
            part[key] = value
    with pytest.raises(MacError, match=reason):
        read(valid_profile)


@pytest.mark.parametrize(
    ("version", "chip", "reason"),
    [
        ("13.0", ChipClass.APPLE_SILICON, "has no ACME"),
        ("13.7", ChipClass.APPLE_SILICON, "binds no key"),
        ("14.0", ChipClass.T1, "binds no key"),
        ("15.4", ChipClass.VIRTUAL, "binds no key"),
    ],
)
def test_mac_checks_the_profile_against_its_hardware(
    version: str, chip: ChipClass, reason: str, valid_profile: dict[str, Any]
) -> None:
    with pytest.raises(MacError, match=reason):
        read(valid_profile, version=version, chip=chip)


def test_t2_mac_ignores_a_requested_attestation(valid_profile: dict[str, Any]) -> None:
    assert read(valid_profile).attest is True
    found = read(valid_profile, chip=ChipClass.T2)
    assert (found.hardware_bound, found.attest) == (True, False)


def test_attest_must_be_present_and_false_before_14(valid_profile: dict[str, Any]) -> None:
    part = payload(valid_profile, ACME_TYPE)
    part |= {"HardwareBound": False, "Attest": False}
    assert read(valid_profile, version="13.1").hardware_bound is False
    del part["Attest"]
    with pytest.raises(MacError, match="needs Attest"):
        read(valid_profile, version="13.1")


def test_profile_must_contain_one_identity(valid_profile: dict[str, Any]) -> None:
    second = {
        **payload(valid_profile, ACME_TYPE),
        "PayloadIdentifier": "example.other",
        "PayloadUUID": "other",
    }
    valid_profile["PayloadContent"] = [*valid_profile["PayloadContent"], second]
    with pytest.raises(MacError, match="one of several"):
        read(valid_profile)
    valid_profile["PayloadContent"] = [
        part for part in valid_profile["PayloadContent"] if part["PayloadType"] != ACME_TYPE
    ]
    with pytest.raises(MacError, match="no identity"):
        read(valid_profile)


def test_mac_reads_other_identities(valid_profile: dict[str, Any]) -> None:
    part = payload(valid_profile, ACME_TYPE)
    part |= {"PayloadType": "com.apple.security.pkcs12", "PayloadContent": b"p12"}
    assert read(valid_profile).identity == "pkcs12"
    part |= {"PayloadType": "com.apple.security.scep", "PayloadContent": {"URL": "http://x"}}
    assert read(valid_profile).key_size == 1024
    for wrong in (
        {"URL": "ftp://x"},
        {"URL": "http://x", "Keysize": 3072},
        {"URL": "http://x", "Key Type": "EC"},
    ):
        part["PayloadContent"] = wrong
        with pytest.raises(MacError):
            read(valid_profile)


def test_a_signature_must_be_over_the_profile(
    organization: Callable[..., Organization], mac: FakeMac, signer: Signer
) -> None:
    there = organization(identity=IdentityPolicy(scep_only=True))
    signed = there.service.enroll(mac.signed()).body

    def read_signed(message: bytes) -> Any:
        return read_enrollment(message, version=mac.version, chip=mac.chip)

    assert read_signed(signed).signer == signer.certificate
    with pytest.raises(MacError, match="does not match its content"):
        read_signed(signed.replace(b"Contoso", b"Evil Co"))
    with pytest.raises(MacError, match="does not match its content"):
        read_signed(signed[:-1] + bytes([signed[-1] ^ 1]))
    for broken in (signed + b"\0", signed[:-1], b"", b"\x30\x80", b"hello"):
        with pytest.raises(MacError, match="cannot be read"):
            read_signed(broken)
    with pytest.raises(MacError, match="cannot be read"):
        read_signed(b"<?xml version='1.0'?><plist>")
    with pytest.raises(MacError):
        read_signed(signer.sign(b"hello"))
    # Signed by a Mac instead of the organization: each form is read.
    for form in (CmsForm.APPLE, CmsForm.MODERN):
        content = plistlib.dumps(dict(read_signed(signed).profile))
        assert read_signed(mac.identity.sign(content, form=form)).topic == MDM.topic
