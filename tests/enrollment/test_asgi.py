"""The ASGI application: paths, methods, limits, and errors whose text is never sent to clients."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import anyio
import anyio.lowlevel
import attrs
import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.enrollment.conftest import ADA, HOST, LEGACY, MODERN, Organization

from pyade.core.profile.accounts import User
from pyade.crypto.push_certificate import PushCertificate
from pyade.crypto.signing import Signer
from pyade.enrollment import EnrollmentApp, SignInReturn
from pyade.enrollment.asgi import SignInEnd
from pyade.errors import PolicyError, StoreClosedError
from pyade.storage import SQLiteStore
from pyade.testing import DeviceAuthority, DeviceIdentity, FakeMac
from pyade.testing.store_examples import NOW

REFUSED = b"This Mac cannot be enrolled. Contact your organization.\n"
SECRET = "s3cret-of-the-provider"


def query_sign_in(returned: SignInReturn) -> tuple[str, User] | str:
    """An identity provider that trusts the query: it tests the transport of the sign-in only."""
    fields = returned.fields
    return (fields["state"], ADA) if "state" in fields else f"no state in {sorted(fields)}"


@pytest.fixture(params=["asyncio", "trio"])
def place(
    request: pytest.FixtureRequest, authority: DeviceAuthority, mac: DeviceIdentity, signer: Signer
) -> Iterator[Organization]:
    organization = Organization(kind=request.param, authority=authority, mac=mac, signer=signer)
    yield organization
    organization.store.close()


@attrs.frozen
class Exchange:
    """What the application sent, and how much it had read by then."""

    messages: list[dict[str, Any]]
    received: int

    @property
    def status(self) -> int:
        status: int = self.messages[0]["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        body: bytes = self.messages[1]["body"]
        return body


def call(
    organization: Organization,
    method: str,
    path: str,
    *bodies: bytes,
    headers: list[tuple[bytes, bytes]] | None = None,
    query: bytes = b"",
    end_sign_in: SignInEnd | None = query_sign_in,
    leaves: bool = False,
    options: dict[str, Any] | None = None,
    **scope: Any,
) -> Exchange:
    """Send one request to an application around a service of *organization*, as a server does."""
    waiting: list[dict[str, Any]] = [
        {"type": "http.request", "body": body, "more_body": leaves or number < len(bodies)}
        for number, body in enumerate(bodies, 1)
    ] or [{"type": "http.request", "body": b"", "more_body": leaves}]
    waiting.append({"type": "http.disconnect"})
    total = len(waiting)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def main() -> None:
        app = EnrollmentApp(organization.service(**(options or {})), end_sign_in=end_sign_in)
        fields = [(b"host", HOST.encode())] if headers is None else headers
        whole = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": fields,
            **scope,
        }
        await app(whole, receive, send)

    anyio.run(main, backend=organization.kind)
    return Exchange(sent, total - len(waiting))


# Paths


def test_a_mac_posts_and_gets_its_profile(place: Organization) -> None:
    answer = call(place, "POST", "/enroll", place.signed())
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-apple-aspen-config"
    assert answer.headers["cache-control"] == "no-store"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert place.store.one_times("C02TEST00001")


def test_body_may_arrive_in_chunks(place: Organization) -> None:
    body = place.signed()
    assert call(place, "POST", "/enroll", body[:1000], b"", body[1000:]).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/enroll", 405, "POST"),
        ("PUT", "/enroll", 405, "POST"),
        ("POST", "/signin", 405, "GET"),
        ("DELETE", "/signed-in", 405, "GET, POST"),
        ("POST", "/health", 405, "GET, HEAD"),
        ("GET", "/", 404, None),
        ("POST", "/enroll/", 404, None),
        ("POST", "/Enroll", 404, None),
        ("POST", "//enroll", 404, None),
    ],
)
def test_other_paths_and_methods_never_reach_the_service(
    method: str, path: str, status: int, allow: str | None, place: Organization
) -> None:
    answer = call(place, method, path, b"whatever")
    assert (answer.status, answer.headers.get("allow")) == (status, allow)
    assert not place.events()


def test_without_modern_authentication_there_is_no_web_view(place: Organization) -> None:
    answer = call(place, "GET", "/signed-in", end_sign_in=None, options={"sign_in": None})
    assert answer.status == 404


def test_caller_can_choose_the_paths(place: Organization) -> None:
    app = EnrollmentApp(place.service(sign_in=None), enroll_path="/mdm/enroll", health_path="/livez")

    async def main() -> list[int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}") as http:
            answers = [
                await http.post("/mdm/enroll", content=place.signed()),
                await http.get("/livez"),
                await http.post("/enroll"),
            ]
        return [answer.status_code for answer in answers]

    assert anyio.run(main) == [200, 200, 404]


@pytest.mark.parametrize(
    "paths", [{"enroll_path": "enroll"}, {"return_path": "/health"}, {"health_path": ""}]
)
def test_unusable_paths_are_refused_at_creation(paths: dict[str, Any], place: Organization) -> None:
    with pytest.raises(PolicyError, match="path"):
        EnrollmentApp(place.service(sign_in=None), **paths)


@pytest.mark.parametrize("root", ["/ade", "/ade/"])
def test_application_works_below_another_path(root: str, place: Organization) -> None:
    assert call(place, "POST", "/ade/enroll", place.signed(), root_path=root).status == 200
    assert call(place, "POST", "/adenroll", place.signed(), root_path=root).status == 404


def test_application_can_be_mounted_in_starlette(place: Organization) -> None:
    outer = Starlette(routes=[Mount("/ade", app=EnrollmentApp(place.service(sign_in=None)))])

    async def main() -> tuple[int, int]:
        transport = httpx.ASGITransport(outer)
        async with httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}") as http:
            inside = await http.post("/ade/enroll", content=place.signed())
            return inside.status_code, (await http.post("/enroll")).status_code

    assert anyio.run(main) == (200, 404)


# Limits


def test_application_reads_no_more_than_needed_for_any_content_length(place: Organization) -> None:
    chunk = bytes(16 * 1024)
    headers = [(b"host", HOST.encode()), (b"content-length", b"5")]
    answer = call(place, "POST", "/enroll", *([chunk] * 1000), headers=headers)
    assert (answer.status, answer.received) == (400, 5)
    (event,) = place.events()
    assert "65537 bytes" in event.details["reason"]
    assert answer.headers["connection"] == "close"


def test_only_a_connection_with_unread_data_is_closed(place: Organization) -> None:
    assert "connection" not in call(place, "POST", "/enroll", b"short").headers
    assert call(place, "POST", "/nowhere", b"short").headers["connection"] == "close"
    # HTTP/2 has streams for that, and no such header.
    assert "connection" not in call(place, "POST", "/nowhere", b"short", http_version="2").headers


def test_largest_allowed_body_is_read(place: Organization) -> None:
    call(place, "POST", "/enroll", bytes(64 * 1024))
    (event,) = place.events()
    assert "cannot be read" in event.details["reason"]


def test_single_huge_chunk_is_cut_at_the_limit(place: Organization) -> None:
    assert call(place, "POST", "/enroll", bytes(10_000_000)).status == 400
    assert call(place, "POST", "/signed-in", bytes(10_000_000)).status == 413


def test_client_that_disconnects_gets_no_response_and_no_credential(place: Organization) -> None:
    assert not call(place, "POST", "/enroll", place.signed(), leaves=True).messages
    assert not place.events()
    assert not place.store.one_times("C02TEST00001")


# The web view


def test_a_sign_in_ends_with_a_profile_once(place: Organization) -> None:
    place.store.set_default_profile("hq", MODERN)
    header = [(b"host", HOST.encode()), (b"x-apple-aspen-deviceinfo", place.header().encode())]
    opened = call(place, "GET", "/signin", headers=header)
    assert opened.status == 302
    assert opened.headers["location"].startswith("https://login.contoso.example/")
    query = urlencode({"state": place.identity.states[0]}).encode()
    assert call(place, "GET", "/signed-in", query=query).status == 200
    again = call(place, "GET", "/signed-in", query=query)
    assert (again.status, again.body) == (403, REFUSED)


def test_provider_may_post_its_response(place: Organization) -> None:
    place.store.set_default_profile("hq", MODERN)
    header = [(b"host", HOST.encode()), (b"x-apple-aspen-deviceinfo", place.header().encode())]
    call(place, "GET", "/signin", headers=header)
    form = urlencode({"state": place.identity.states[0], "code": "ü"}).encode()

    async def slow(returned: SignInReturn) -> tuple[str, User] | str:
        await anyio.lowlevel.checkpoint()
        assert returned.fields["code"] == "ü"
        return query_sign_in(returned)

    assert call(place, "POST", "/signed-in", form, end_sign_in=slow).status == 200


def test_sign_in_must_end_on_the_host_where_it_began(place: Organization) -> None:
    place.store.set_default_profile("hq", MODERN)
    header = [(b"host", HOST.encode()), (b"x-apple-aspen-deviceinfo", place.header().encode())]
    call(place, "GET", "/signin", headers=header)
    query = urlencode({"state": place.identity.states[0]}).encode()
    elsewhere = [(b"host", b"evil.example")]
    assert call(place, "GET", "/signed-in", query=query, headers=elsewhere).status == 403
    assert call(place, "GET", "/signed-in", query=query).status == 403  # the state is used up


def test_failed_sign_in_gets_a_page_and_can_be_repeated(
    place: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    place.store.set_default_profile("hq", MODERN)
    header = [(b"host", HOST.encode()), (b"x-apple-aspen-deviceinfo", place.header().encode())]
    call(place, "GET", "/signin", headers=header)
    with caplog.at_level(logging.INFO, "pyade"):
        refused = call(place, "GET", "/signed-in", query=b"error=access_denied&x%0Afaked=1")
    assert refused.status == 403
    assert b"not signed in" in refused.body
    assert r"\n" in caplog.messages[-1]
    assert "\n" not in caplog.messages[-1]
    query = urlencode({"state": place.identity.states[0]}).encode()
    assert call(place, "GET", "/signed-in", query=query).status == 200


def test_state_that_is_not_valid_text_is_refused_like_any_other(place: Organization) -> None:
    answer = call(place, "GET", "/signed-in", end_sign_in=lambda returned: ("\ud800", ADA))
    assert (answer.status, answer.body) == (403, REFUSED)


@pytest.mark.parametrize("found", [None, ADA, ("state",), ("state", ADA, ADA), (ADA, "state"), (None, ADA)])
def test_sign_in_that_returns_another_type_is_an_error_of_the_caller(
    found: Any, place: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    assert call(place, "GET", "/signed-in", end_sign_in=lambda returned: found).status == 500
    assert "end_sign_in returned neither" in caplog.text


@pytest.mark.parametrize("query", [b"state=a&state=b", b"&".join(b"x%d=1" % n for n in range(101))])
def test_ambiguous_form_has_no_fields(query: bytes) -> None:
    assert SignInReturn(method="GET", query=query.decode()).fields == {}
    assert SignInReturn(method="POST", body=query).fields == {}


def test_browser_without_the_header_gets_an_explanation(place: Organization) -> None:
    answer = call(place, "GET", "/signin")
    assert (answer.status, answer.body) == (400, b"This page is for Macs in Setup Assistant.\n")


@pytest.mark.parametrize("name", [b"x-apple-aspen-deviceinfo", b"host"])
def test_duplicate_header_counts_as_unreadable(name: bytes, place: Organization) -> None:
    place.store.set_default_profile("hq", MODERN)
    headers = [(b"host", HOST.encode()), (b"x-apple-aspen-deviceinfo", place.header().encode())]
    twice = [*headers, *(pair for pair in headers if pair[0] == name)]
    assert call(place, "GET", "/signin", headers=twice).status in (400, 403)
    assert not place.identity.states


def test_name_and_password_reach_the_service(place: Organization) -> None:
    place.store.set_default_profile("hq", LEGACY)
    options = {"authenticate": lambda name, password: ADA if password == "right" else None}
    asked = call(place, "POST", "/enroll", place.signed(), options=options)
    assert (asked.status, asked.headers["www-authenticate"].split()[0]) == (401, "Basic")
    headers = [(b"host", HOST.encode()), (b"Authorization", b"Basic YWRhOnJpZ2h0")]
    assert call(place, "POST", "/enroll", place.signed(), headers=headers, options=options).status == 200


# Errors


def broken(error: Exception) -> Callable[..., Any]:
    def hook(*_: object) -> None:
        raise error

    return hook


def test_error_text_of_a_hook_is_not_sent_to_clients(
    place: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"check": broken(RuntimeError(f"GET https://idp/?code={SECRET}"))}
    answer = call(place, "POST", "/enroll", place.signed(), options=options)
    assert (answer.status, answer.body) == (500, b"Something went wrong. Try again later.\n")
    assert SECRET not in caplog.text
    assert "RuntimeError at test_asgi.py:" in caplog.messages[-1]
    returned = call(place, "GET", "/signed-in", end_sign_in=broken(KeyError(SECRET)))
    assert returned.status == 500
    assert SECRET not in caplog.text
    assert not place.store.one_times("C02TEST00001")


def test_logged_error_of_pyade_contains_the_next_step(
    place: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    answer = call(
        place, "POST", "/enroll", place.signed(), options={"check": broken(PolicyError("a\nb: do that"))}
    )
    assert answer.status == 500
    assert r"PolicyError: a\nb: do that at" in caplog.messages[-1]


def test_response_with_an_invalid_header_becomes_an_error(
    place: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    place.store.set_default_profile("hq", MODERN)

    class Split:
        def begin(self, state: str, machine: object) -> str:
            return f"https://idp.example/\r\nSet-Cookie: {SECRET}"

    header = [(b"host", HOST.encode()), (b"x-apple-aspen-deviceinfo", place.header().encode())]
    answer = call(place, "GET", "/signin", headers=header, options={"sign_in": Split()})
    assert answer.status == 500
    assert SECRET not in caplog.text


def test_health_check_succeeds_if_the_store_works(
    place: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    healthy = call(place, "GET", "/health")
    assert (healthy.status, healthy.body) == (200, b"ok\n")
    bare = call(place, "HEAD", "/health")
    assert (bare.status, bare.body, bare.headers["content-length"]) == (200, b"", "3")


def test_health_check_fails_if_the_store_fails(place: Organization, caplog: pytest.LogCaptureFixture) -> None:
    place.store.close()
    place.store = SQLiteStore(":memory:")
    place.store.close()
    sick = call(place, "GET", "/health")
    assert (sick.status, sick.body) == (503, b"The store does not answer.\n")
    assert "StoreClosedError: the store was closed" in caplog.messages[-1]
    assert call(place, "POST", "/enroll", place.signed()).status == 500


def test_any_framework_can_check_the_store(organization: Organization) -> None:
    organization.run(lambda service: service.check_store())
    organization.store.close()
    organization.store = SQLiteStore(":memory:")
    organization.store.close()
    with pytest.raises(StoreClosedError):
        organization.run(lambda service: service.check_store())


# The server


def live(organization: Organization, *kinds: str, **options: Any) -> list[str]:
    waiting = [{"type": f"lifespan.{kind}"} for kind in kinds]
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return dict(waiting.pop(0))

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def main() -> None:
        await EnrollmentApp(organization.service(**options), end_sign_in=query_sign_in)(
            {"type": "lifespan"}, receive, send
        )

    anyio.run(main, backend=organization.kind)
    return sent


def test_lifespan_is_supported_and_warns_about_expiring_certificates(
    place: Organization, caplog: pytest.LogCaptureFixture, push: PushCertificate
) -> None:
    assert live(place, "startup", "shutdown") == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert not caplog.messages
    live(place, "startup", "shutdown", push=push)
    assert f"{NOW + timedelta(days=10):%Y-%m-%d}" in caplog.text


def test_server_whose_port_is_taken_says_nothing_about_the_lifespan(
    place: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    """It shuts the application down, and cancels what still runs when that is complete."""
    app = EnrollmentApp(place.service(), end_sign_in=query_sign_in)
    with socket.create_server(("127.0.0.1", 0)) as other, caplog.at_level(logging.INFO, "uvicorn.error"):
        server = uvicorn.Server(uvicorn.Config(app, port=other.getsockname()[1], log_config=None))
        with pytest.raises(SystemExit):
            server.run()
    assert "Application shutdown complete." in caplog.messages
    assert not [message for message in caplog.messages if "unsupported" in message]


def test_other_protocols_than_http_are_refused(place: Organization) -> None:
    closed = call(place, "GET", "/enroll", type="websocket")
    assert [message["type"] for message in closed.messages] == ["websocket.close"]
    with pytest.raises(PolicyError, match="'mqtt'"):
        call(place, "GET", "/enroll", type="mqtt")


def test_fake_mac_enrolls_through_the_application(place: Organization) -> None:
    place.store.set_default_profile("hq", MODERN)
    app = EnrollmentApp(place.service(), end_sign_in=query_sign_in, web_view_path="/web")
    mac = FakeMac(
        serial_number="C02TEST00001",
        identity=place.mac,
        url=MODERN.url,
        web_url=MODERN.user_affinity.web_url,
    )

    class Provider(httpx.ASGITransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.host == HOST:
                return await super().handle_async_request(request)
            back = f"https://{HOST}/signed-in?state={request.url.params['state']}"
            return httpx.Response(302, headers={"Location": back})

    async def main() -> str:
        async with httpx.AsyncClient(transport=Provider(app)) as http:
            return (await mac.enroll_async(http)).credential

    assert anyio.run(main, backend=place.kind)
    assert [line.rpartition(" ")[2] for line in mac.history] == ["302", "302", "200"]
