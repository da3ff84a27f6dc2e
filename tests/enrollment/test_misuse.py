"""Untrusted input and wrong arguments, with the service itself."""

from __future__ import annotations

import base64
import plistlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from tests.enrollment.conftest import MDM as CONTOSO
from tests.enrollment.conftest import Organization

from pyade.builders import AcmeIssuer, MdmService
from pyade.core import Device, DeviceFamily, EnrollmentProfile, PrimaryAccount, User, UserAffinity
from pyade.core.fleet.enrollment import Enrollment
from pyade.core.fleet.records import Source
from pyade.core.macos.updates import SoftwareUpdatePolicy
from pyade.core.problems import Severity
from pyade.crypto.push_certificate import PushCertificate
from pyade.enrollment import (
    EnrollmentLimits,
    EnrollmentOutcome,
    EnrollmentService,
    FinalConfiguration,
    MachineInfo,
    PlatformSso,
    redeem_client_identifier,
)
from pyade.enrollment.credentials import Credential, one_time, static
from pyade.errors import (
    ArgumentError,
    PolicyError,
    ProfileError,
    PyadeError,
    StoreError,
    TrustError,
    VersionError,
)
from pyade.storage import MemoryStore
from pyade.testing import DeviceAuthority, DeviceIdentity, FrozenClock
from pyade.testing.store_examples import example_token

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
SERIAL, OTHER = "C02EXAMPLE01", "C02EXAMPLE02"
URL = "https://mdm.example.com/enroll"
PROFILE = EnrollmentProfile(name="Standard Mac", url=URL)
MDM = MdmService(
    identifier="com.example.mdm",
    organization="Example",
    server_url="https://mdm.example.com/mdm",
    topic="com.apple.mgmt.External.0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
)
ACME = AcmeIssuer(directory_url="https://ca.example.com/acme/directory")
SSO = PlatformSso(
    profile_url="https://mdm.example.com/sso.mobileconfig",
    manifest_url="https://mdm.example.com/sso.plist",
    auth_url="https://login.example.com/",
    verify=lambda _: None,
)
Serve = Callable[..., tuple[EnrollmentService, MemoryStore]]


@pytest.fixture
def serve(authority: DeviceAuthority) -> Serve:
    """Return a function that creates a service with its own store."""

    def make(
        profile: EnrollmentProfile = PROFILE, store: MemoryStore | None = None, **settings: Any
    ) -> tuple[EnrollmentService, MemoryStore]:
        store = MemoryStore() if store is None else store
        store.add_token(example_token())
        devices = [Device(serial_number=serial, device_family=DeviceFamily.MAC) for serial in (SERIAL, OTHER)]
        store.commit_page("hq", devices, source=Source.FETCH, state=store.sync_state("hq"), now=NOW)
        store.set_default_profile("hq", profile)
        service = EnrollmentService(
            store,
            mdm=MDM,
            acme=ACME,
            trust=authority.trust,
            clock=FrozenClock(NOW),
            **settings,
        )
        return service, store

    return make


def machine_info_of(serial: str = SERIAL) -> bytes:
    keys = {"UDID": "U", "SERIAL": serial, "PRODUCT": "Mac14,2", "VERSION": "22G74", "OS_VERSION": "13.5"}
    return plistlib.dumps(keys)


def test_replayed_machine_info_does_not_reset_a_waiting_mac(serve: Serve, mac: DeviceIdentity) -> None:
    """MachineInfo has no nonce: a client that saw one gets a profile, but the Mac still counts as waiting."""
    service, store = serve()
    assert service.enroll(mac.sign(machine_info_of())).status == 200
    final = FinalConfiguration(store, clock=FrozenClock(NOW))
    final.authenticated(SERIAL)
    final.token_updated(SERIAL, awaiting=True)
    assert service.enroll(mac.sign(machine_info_of())).status == 200
    final.work_left(SERIAL, ())
    command = final.next_command(SERIAL)
    assert command is not None
    assert command.name == "DeviceConfigured"


def test_text_that_cannot_be_encoded_is_unknown_like_any_other(serve: Serve) -> None:
    """As ``surrogateescape`` produces from the bytes in an address."""
    service, store = serve()
    response = service.close_web_view("\udc80", User(upn="ada@contoso.example"), host="mdm.example.com")
    assert (response.status, response.decision.outcome) == (403, EnrollmentOutcome.REFUSE)
    with pytest.raises(TrustError, match="unknown"):
        redeem_client_identifier(store, "\udc80", now=NOW)


def test_legacy_sign_in_without_a_verifier_is_reported_as_unconfigured(
    serve: Serve, mac: DeviceIdentity
) -> None:
    """Another request for a password would not help."""
    service, _ = serve(EnrollmentProfile(name="Legacy", url=URL, user_affinity=UserAffinity.legacy()))
    response = service.enroll(mac.sign(machine_info_of()))
    assert response.status == 403
    assert "authenticate=" in response.decision.reason


def test_repeated_secret_of_a_source_is_an_error(serve: Serve, mac: DeviceIdentity) -> None:
    """The second Mac gets nothing, and the first keeps its credential."""
    service, store = serve(acme_credential=lambda _: Credential(secret="same", lifetime=timedelta(hours=1)))
    assert service.enroll(mac.sign(machine_info_of())).status == 200
    with pytest.raises(StoreError):
        service.enroll(mac.sign(machine_info_of(OTHER)))
    assert store.enrollment(OTHER) is None
    assert redeem_client_identifier(store, "same", now=NOW).serial_number == SERIAL


def test_renewal_keeps_the_version_of_its_profile(serve: Serve, mac: DeviceIdentity) -> None:
    """An unreadable version is an error; the version of the enrollment is not used instead."""
    service, store = serve()
    service.enroll(mac.sign(machine_info_of()))
    with pytest.raises(VersionError):
        service.renew(SERIAL, version="Sequoia")
    response = service.renew(SERIAL, version="15.4")
    assert "attested" in response.decision.identity
    assert response.decision.version == "15.4"
    stored = store.enrollment(SERIAL)
    assert stored is not None
    assert stored.version == "15.4"


def test_unusable_platform_sso_is_refused_when_it_is_configured() -> None:
    """Not when the first Mac enrolls."""
    with pytest.raises(ProfileError, match="ProfileURL"):
        PlatformSso(
            profile_url="http://mdm.example.com/sso.mobileconfig",
            manifest_url="https://mdm.example.com/sso.plist",
            auth_url="https://login.example.com/",
            verify=lambda _: None,
        )


class Provider:
    """An identity provider that sends the web view to *address*."""

    def __init__(self, address: Any = "https://login.example.com/") -> None:
        self.address = address
        self.state = ""

    def begin(self, state: str, machine: MachineInfo) -> Any:
        self.state = state
        return self.address


MODERN = EnrollmentProfile(
    name="Modern", url=URL, user_affinity=UserAffinity.modern("https://mdm.example.com/signin")
)
LEGACY = EnrollmentProfile(name="Legacy", url=URL, user_affinity=UserAffinity.legacy())
ADA = User(upn="ada@contoso.example")
NO_USERS = [
    None,
    True,
    "ada",
    User(upn=""),
    User(upn=" "),
    User(upn="\ud800"),
    User(upn="a\0"),
    User(upn="a" * 256),
]


NO_TEXTS: list[object] = [True, False, 0, b"no"]
NO_SWITCHES: list[object] = ["no", "", None, 1]
NO_CATALOGUES: list[object] = [True, {}, "26.1"]


@pytest.mark.parametrize("no_user", NO_USERS)
def test_sign_in_without_a_user_enrolls_nothing_and_can_be_repeated(
    no_user: Any, serve: Serve, mac: DeviceIdentity
) -> None:
    """Such as when a claim of the identity provider is missing."""
    provider = Provider()
    service, store = serve(MODERN, sign_in=provider)
    header = base64.b64encode(mac.sign(machine_info_of()))
    assert service.open_web_view(header.decode(), host="mdm.example.com").status == 302
    with pytest.raises(PolicyError, match="close_web_view: got"):
        service.close_web_view(provider.state, no_user, host="mdm.example.com")
    assert store.enrollment(SERIAL) is None
    assert service.close_web_view(provider.state, ADA, host="mdm.example.com").status == 200


@pytest.mark.parametrize("no_user", NO_USERS[1:])
def test_a_hook_that_returns_no_user_enrolls_nothing(no_user: Any, serve: Serve, mac: DeviceIdentity) -> None:
    basic = "Basic " + base64.b64encode(b"ada:secret").decode()
    service, store = serve(LEGACY, authenticate=lambda name, password: no_user)
    with pytest.raises(PolicyError, match="authenticate: got"):
        service.enroll(mac.sign(machine_info_of()), authorization=basic)
    service, store = serve(MODERN, platform_sso=attrs.evolve(SSO, verify=lambda token: no_user))
    with pytest.raises(PolicyError, match="verify: got"):
        service.enroll(mac.sign(machine_info_of()), authorization="Bearer token")
    assert store.enrollment(SERIAL) is None


@pytest.mark.parametrize(
    "address",
    [
        *(None, "", b"https://login.example.com/", "/authorize", "http://login.example.com/", "https:///a"),
        *("javascript:alert(1)", "https://login.example.com/\r\nSet-Cookie: a=b", "https://login.\xe9/"),
    ],
)
def test_a_web_view_is_sent_to_https_addresses_only(address: Any, serve: Serve, mac: DeviceIdentity) -> None:
    """The error does not show the address, as it holds the state."""
    service, store = serve(MODERN, sign_in=Provider(address))
    header = base64.b64encode(mac.sign(machine_info_of()))
    with pytest.raises(
        PolicyError, match=r"begin returned no https address: one in ASCII with a host is needed$"
    ):
        service.open_web_view(header.decode(), host="mdm.example.com")
    assert not store.one_times(SERIAL)


@pytest.mark.parametrize(
    ("name", "needed", "answer"),
    [
        *(("check", "a text", answer) for answer in NO_TEXTS),
        *(("is_licensed", "True or False", answer) for answer in NO_SWITCHES),
        *(("catalogue", "UpdateCatalogue", answer) for answer in NO_CATALOGUES),
    ],
)
def test_hook_that_returns_another_type_neither_enrolls_nor_refuses(
    name: str, needed: str, answer: object, serve: Serve, mac: DeviceIdentity
) -> None:
    """True is no reason to refuse a Mac, and "no" is no license."""
    hook = (lambda: answer) if name == "catalogue" else (lambda request: answer)
    service, store = serve(updates=SoftwareUpdatePolicy(minimum="15.4"), **{name: hook})
    with pytest.raises(PolicyError, match=f"{name} returned {type(answer).__name__}: {needed} is needed"):
        service.enroll(mac.sign(machine_info_of()))
    assert store.enrollment(SERIAL) is None


@pytest.mark.parametrize(
    ("objection", "reason"),
    [
        ("not on the list", "not on the list"),
        ("a\nforged line", "a\\nforged line"),
        ("\ud800", "\\ud800"),
        ("x" * 100_000, "x" * 500),
        ("", None),
        (None, None),
    ],
)
def test_reason_of_a_refusal_is_truncated(
    objection: str | None, reason: str | None, serve: Serve, mac: DeviceIdentity
) -> None:
    """Any text that a hook quotes; every form of "no objection" is accepted."""
    service, _ = serve(check=lambda request: objection)
    decision = service.enroll(mac.sign(machine_info_of())).decision
    assert decision.reason == f"refused by the organization: {reason}" or reason is None
    assert (decision.outcome is EnrollmentOutcome.ENROLL) is (reason is None)
    if objection:  # as why no user signed in is
        assert service.sign_in_failed(objection).decision.reason == f"no user signed in: {reason}"


@pytest.mark.parametrize("credential", [None, "secret"])
def test_invalid_credential_is_named_in_the_error(credential: Any, serve: Serve, mac: DeviceIdentity) -> None:
    service, store = serve(acme_credential=lambda request: credential)
    with pytest.raises(PolicyError, match="acme_credential returned"):
        service.enroll(mac.sign(machine_info_of()))
    assert store.enrollment(SERIAL) is None


WRONG_ANSWERS: dict[str, list[Any]] = {
    "check": [True, False, 1, b"no", ["no"]],
    "is_licensed": ["no", None, 1, []],
    "catalogue": [True, "no", {}],
}


@pytest.mark.parametrize(
    ("hook", "answer"), [(hook, answer) for hook, answers in WRONG_ANSWERS.items() for answer in answers]
)
def test_hook_that_returns_another_object_enrolls_nothing(
    hook: str, answer: Any, serve: Serve, mac: DeviceIdentity
) -> None:
    """``check=lambda request: True`` is ambiguous: it could refuse every Mac, or enroll it."""
    more = {"updates": SoftwareUpdatePolicy(minimum="13.0")} if hook == "catalogue" else {}
    service, store = serve(**{hook: lambda *_: answer}, **more)
    with pytest.raises(PyadeError, match=rf"{hook}.* needed|catalogue is .* allowed"):
        service.enroll(mac.sign(machine_info_of()))
    assert store.enrollment(SERIAL) is None


def test_check_may_return_none_for_no_objection(serve: Serve, mac: DeviceIdentity) -> None:
    service, _ = serve(check=lambda _: None)
    assert service.enroll(mac.sign(machine_info_of())).status == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret": ""},
        {"secret": "a", "lifetime": timedelta(0)},
        {"secret": "a", "lifetime": timedelta.max},
    ],
)
def test_an_unusable_credential_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        Credential(**wrong)


def test_impossible_time_is_refused_at_creation(serve: Serve) -> None:
    """Not with an overflow when a Mac enrolls."""
    longest: dict[str, Callable[[], object]] = {
        "lifetime": lambda: one_time(timedelta.max),
        "renewal_lifetime": lambda: one_time(renewal_lifetime=timedelta.max),
        "window": lambda: EnrollmentLimits(window=timedelta.max),
        "sign_in_lifetime": lambda: EnrollmentLimits(sign_in_lifetime=timedelta.max),
        "release_after": lambda: serve(release_after=timedelta.max),
    }
    for name, given in longest.items():
        with pytest.raises(PolicyError, match=f"{name} is .* at most 3,650 days"):
            given()


def test_error_of_a_wrong_source_names_its_arguments(serve: Serve, mac: DeviceIdentity) -> None:
    wrong: list[Any] = ["1h", 3600, None]
    for span in wrong:
        with pytest.raises(ArgumentError, match=r"one_time: lifetime is .* a timedelta"):
            one_time(span)
    with pytest.raises(ArgumentError, match="static: secret is"):
        static(5)  # type: ignore[arg-type]
    # The parentheses were forgotten.
    service, _ = serve(acme_credential=one_time)
    with pytest.raises(ArgumentError, match="one_time: lifetime is a CredentialRequest"):
        service.enroll(mac.sign(machine_info_of()))


def test_sign_in_of_another_user_does_not_name_the_account_of_a_waiting_mac(
    serve: Serve, mac: DeviceIdentity
) -> None:
    """Bob has another Apple device, and claims the serial number of Ada's Mac in its MachineInfo."""
    provider = Provider()
    account = PrimaryAccount(account_name="{{partialupn}}", full_name="{{username}}")
    service, store = serve(attrs.evolve(MODERN, primary_account=account), sign_in=provider)
    final = FinalConfiguration(store, clock=FrozenClock(NOW))

    def sign_in(user: User) -> None:
        service.open_web_view(base64.b64encode(mac.sign(machine_info_of())).decode(), host="mdm.example.com")
        assert service.close_web_view(provider.state, user, host="mdm.example.com").status == 200

    sign_in(ADA)
    final.authenticated(SERIAL)
    final.token_updated(SERIAL, awaiting=True)
    sign_in(User(upn="bob@contoso.example"))
    final.work_left(SERIAL, ())
    command = final.next_command(SERIAL)
    assert command is not None
    accounts = plistlib.loads(command.body)["Command"]
    assert (accounts["PrimaryAccountUserName"], accounts["PrimaryAccountFullName"]) == ("ada", ADA.upn)


class ContendedStore(MemoryStore):
    """A store in which *others* write a Mac's enrollment before each of our writes."""

    others: Callable[[], object] | None = None
    turns = 0

    def save_enrollment(self, enrollment: Enrollment, **facts: Any) -> Enrollment:
        others, self.others = self.others, None
        if others is not None and self.turns:
            self.turns -= 1
            others()
            self.others = others
        return super().save_enrollment(enrollment, **facts)


def test_no_concurrent_request_fails(serve: Serve, mac: DeviceIdentity) -> None:
    """Each response is a profile or, after the limit, the instruction to come later."""
    store = ContendedStore()
    service, _ = serve(store=store)
    body = mac.sign(machine_info_of())
    store.others, store.turns = (lambda: service.enroll(body)), 9
    assert service.enroll(body).status == 200
    store.delete_enrollment(SERIAL)
    store.others, store.turns = (lambda: service.enroll(body)), 100
    assert service.enroll(body).status == 429
    assert len(store.one_times(SERIAL)) == 1


def test_token_of_platform_sso_is_verified_once(
    serve: Serve, mac: DeviceIdentity, authority: DeviceAuthority
) -> None:
    """Also if the request must be repeated after a conflict, as the token may work only once."""
    store, asked = ContendedStore(), list[str]()

    def verify(token: str) -> User | None:
        asked.append(token)
        return ADA if len(asked) == 1 else None

    service, _ = serve(MODERN, store=store, platform_sso=attrs.evolve(SSO, verify=verify))
    other = attrs.evolve(SSO, verify=lambda token: ADA)
    faster = EnrollmentService(
        store, mdm=MDM, acme=ACME, platform_sso=other, trust=authority.trust, clock=FrozenClock(NOW)
    )
    body = mac.sign(machine_info_of())
    store.others, store.turns = (lambda: faster.enroll(body, authorization="Bearer other")), 1
    assert service.enroll(body, authorization="Bearer token").status == 200
    assert asked == ["token"]


def test_order_to_update_does_not_consume_a_platform_sso_token(serve: Serve, mac: DeviceIdentity) -> None:
    asked: list[str] = []

    def verify(token: str) -> User:
        asked.append(token)
        return ADA

    service, _ = serve(
        MODERN,
        platform_sso=attrs.evolve(SSO, verify=verify),
        updates=SoftwareUpdatePolicy(minimum="15.0"),
    )
    document = plistlib.loads(machine_info_of()) | {"MDM_CAN_REQUEST_SOFTWARE_UPDATE": True}
    response = service.enroll(mac.sign(plistlib.dumps(document)), authorization="Bearer token")
    assert (response.decision.outcome, asked) == (EnrollmentOutcome.UPDATE, [])


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"topic": "com.apple.mgmt.External.of-another"}, ["topic"]),
        ({"development_push": True}, ["development_push"]),
        ({"topic": "com.apple.mgmt.External.of-another", "development_push": True}, None),
    ],
    ids=["topic", "development_push", "both"],
)
def test_service_with_another_push_topic_is_refused(
    organization: Organization, push: PushCertificate, changes: dict[str, Any], settings: list[str] | None
) -> None:
    """Before it serves a Mac; a certificate that ends soon is only a problem."""
    with pytest.raises(ProfileError) as caught:
        organization.service(push=push, mdm=attrs.evolve(CONTOSO, **changes))
    expected = settings or ["topic", "development_push"]
    assert [problem.setting for problem in caught.value.problems] == expected
    service = organization.service(push=push)
    assert [problem.severity for problem in service.problems()] == [Severity.WARNING]
    assert organization.service(mdm=attrs.evolve(CONTOSO, **changes)).problems() == ()
