"""Configuration mistakes are refused when the service is created; refusals are explained in the log."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import attrs
import httpx
import pytest
from tests.cases import each
from tests.enrollment.conftest import ACME, HOST, MDM, MODERN, SCEP, Organization, RecordingSignIn

from pyade.core.profile.accounts import User
from pyade.enrollment import (
    AsyncEnrollmentService,
    AsyncFinalConfiguration,
    EnrollmentApp,
    EnrollmentService,
    FinalConfiguration,
    PlatformSso,
    SignInReturn,
)
from pyade.errors import ArgumentError, PolicyError, ProfileError
from pyade.storage import MemoryStore
from pyade.testing import FakeMac, MacError
from pyade.testing.mac import DeviceAuthority


def sso(verify: Any) -> PlatformSso:
    return PlatformSso(
        profile_url=f"https://{HOST}/sso",
        manifest_url=f"https://{HOST}/app",
        auth_url=f"https://{HOST}/in",
        verify=verify,
    )


class StatelessSignIn:
    """An identity provider whose ``begin`` takes no state."""

    def begin(self, machine: Any) -> str:
        return f"https://{HOST}"


async def later(*_: Any) -> None: ...


SERVICES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a catalogue that is no function": ({"catalogue": {}}, ArgumentError, "catalogue is a dict"),
    "a catalogue that wants something": (
        {"catalogue": lambda product: None},
        PolicyError,
        "catalogue is called with ()",
    ),
    "a licence of True": ({"is_licensed": True}, ArgumentError, "is_licensed is True"),
    "an invalid license hook": (
        {"is_licensed": lambda: True},
        PolicyError,
        "is_licensed is called with (request)",
    ),
    "a check of two": ({"check": lambda request, user: ""}, PolicyError, "check is called with (request)"),
    "a name alone": ({"authenticate": lambda name: None}, PolicyError, "called with (name, password)"),
    "credentials": ({"acme_credential": lambda: None}, PolicyError, "acme_credential is called"),
    "challenges": ({"scep_credential": lambda a, b: None}, PolicyError, "scep_credential is called"),
    "a provider": (
        {"sign_in": StatelessSignIn()},
        PolicyError,
        "sign_in.begin is called with (state, machine)",
    ),
    "no provider": ({"sign_in": object()}, ArgumentError, "sign_in is an object"),
    "a clock": ({"clock": lambda zone: None}, PolicyError, "clock is called with ()"),
    "a clock without a zone": ({"clock": lambda: None}, ArgumentError, "what clock returned"),
    "a topic": ({"mdm": attrs.evolve(MDM, topic="com.contoso")}, ProfileError, "com.apple.mdm.Topic"),
    "an address": ({"mdm": attrs.evolve(MDM, server_url="http://x")}, ProfileError, "ServerURL 'http://x'"),
    "an ACME server": ({"acme": attrs.evolve(ACME, directory_url="x")}, ProfileError, "DirectoryURL"),
    "a SCEP server": ({"scep": attrs.evolve(SCEP, url="ftp://x")}, ProfileError, "scep.PayloadContent.URL"),
    "the second issuer alone": (
        {"acme": None, "scep": attrs.evolve(SCEP, url="ftp://x")},
        ProfileError,
        "scep.PayloadContent.URL",
    ),
}


@each("case", SERVICES)
def test_service_that_could_serve_no_mac_is_refused(case: str, organization: Organization) -> None:
    options, kind, words = SERVICES[case]
    with pytest.raises(kind) as refused:
        organization.service(**options)
    assert words in str(refused.value)


def test_error_names_all_wrong_addresses(organization: Organization) -> None:
    with pytest.raises(ProfileError) as refused:
        organization.service(acme=attrs.evolve(ACME, directory_url="x"), scep=attrs.evolve(SCEP, url="y"))
    assert [problem.setting for problem in refused.value.problems] == [
        "com.apple.security.acme.DirectoryURL",
        "com.apple.security.scep.PayloadContent.URL",
    ]


@each("hook", ["catalogue", "authenticate", "is_licensed", "check", "acme_credential", "scep_credential"])
def test_a_coroutine_function_needs_the_asynchronous_class(hook: str, organization: Organization) -> None:
    options: dict[str, Any] = {
        "mdm": MDM,
        "acme": ACME,
        "trust": organization.authority.trust,
        "clock": organization.clock,
        hook: later,
    }
    AsyncEnrollmentService(organization.store, **options)
    with pytest.raises(PolicyError, match=f"{hook} is asynchronous: use AsyncEnrollmentService"):
        EnrollmentService(organization.store, **options)


def test_platform_sso_and_final_configurations_are_checked_as_well() -> None:
    with pytest.raises(PolicyError, match=r"platform_sso.verify is called with \(token\)"):
        sso(lambda: None)
    for kind in (FinalConfiguration, AsyncFinalConfiguration):
        with pytest.raises(PolicyError, match=r"administrator is called with \(enrollment\)"):
            kind(MemoryStore(), administrator=lambda: None)


def end(returned: SignInReturn) -> tuple[str, User] | str:
    return "nobody"


def test_an_application_is_checked_as_well(organization: Organization) -> None:
    values: dict[str, Any] = {
        "mdm": MDM,
        "acme": ACME,
        "trust": organization.authority.trust,
        "clock": organization.clock,
    }
    plain = AsyncEnrollmentService(organization.store, **values)
    signing_in = AsyncEnrollmentService(organization.store, **values, sign_in=RecordingSignIn())
    assert (plain.has_sign_in, signing_in.has_sign_in) == (False, True)
    EnrollmentApp(plain)
    EnrollmentApp(signing_in, end_sign_in=end)
    with pytest.raises(PolicyError, match="has a sign_in, and no end_sign_in is given"):
        EnrollmentApp(signing_in)
    with pytest.raises(PolicyError, match=r"end_sign_in is called with \(returned\)"):
        EnrollmentApp(plain, end_sign_in=lambda: "nobody")
    with pytest.raises(ArgumentError, match="an AsyncEnrollmentService is allowed"):
        EnrollmentApp(EnrollmentService(organization.store, **values))  # type: ignore[arg-type]


def test_failing_hook_is_named_by_its_argument(
    organization: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    def deny(request: Any) -> str:
        raise LookupError("the directory says: s3cret")

    with caplog.at_level(logging.INFO), pytest.raises(LookupError):
        organization.enroll(check=deny)
    assert "the hook check (" in caplog.text
    assert "deny) raised LookupError at test_hook_checks.py:" in caplog.text
    assert "s3cret" not in caplog.text


UNTRUSTED = "the signer's certificate was not issued by a trusted authority"
REFUSED = b"This Mac cannot be enrolled. Contact your organization.\n"


@pytest.mark.parametrize("has_logs", [True, False])
def test_fake_mac_shows_why_it_was_refused(
    organization: Organization, has_logs: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """From the log of the service beside it: the response contains no reason."""
    if organization.kind == "sync":
        organization.kind = "asyncio"
    errors: list[MacError] = []

    async def main() -> None:
        app = EnrollmentApp(organization.service(check=lambda request: "lost (reported)"), end_sign_in=end)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}") as http:
            untrusted = DeviceAuthority.generate().issue()
            for serial, identity in (
                ("C02TEST00001", organization.mac),
                ("C02NOBODYS01", organization.mac),
                ("C02TEST00001", untrusted),  # logged as an unknown Mac
            ):
                fake = FakeMac(serial_number=serial, identity=identity, url=f"https://{HOST}/enroll")
                with pytest.raises(MacError) as refused:
                    await fake.enroll_async(http)
                errors.append(refused.value)
                assert (str(refused.value).partition("403: ")[2] in fake.history[-1]) or not has_logs

    with caplog.at_level(logging.WARNING if has_logs else logging.ERROR, logger="pyade.enrollment"):
        anyio.run(main, backend=organization.kind)
    words = [str(error) for error in errors]
    if has_logs:
        assert words == [
            "the server refuses with status 403: refuse: refused by the organization: lost (reported)",
            "the server refuses with status 403: refuse: no stored token has this serial number",
            f"the server refuses with status 403: refuse: {UNTRUSTED}",
        ]
    else:
        assert words == ["the server refuses with status 403"] * 3
    assert [error.status for error in errors] == [403] * 3


def test_refusal_is_logged_as_a_warning_and_an_order_is_not(
    organization: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    organization.store.set_default_profile("hq", MODERN)
    with caplog.at_level(logging.INFO, logger="pyade.enrollment"):
        organization.enroll()
        organization.open()
    levels = [(record.levelname, record.getMessage().partition(": ")[2]) for record in caplog.records]
    assert levels == [
        ("WARNING", "refuse: the user must sign in on the web page first"),
        ("INFO", "sign_in: the user signs in with the identity provider"),
    ]
