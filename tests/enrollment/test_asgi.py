"""The ASGI application: paths, methods, limits, and errors whose text no client sees."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import anyio
import anyio.lowlevel
import attrs
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.enrollment.conftest import ADA, HOST, LEGACY, MODERN, Desk

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


def trusting(returned: SignInReturn) -> tuple[str, User] | str:
    """An identity provider whose word is the query: no test of it, but of what carries it."""
    fields = returned.fields
    return (fields["state"], ADA) if "state" in fields else f"no state in {sorted(fields)}"


@pytest.fixture(params=["asyncio", "trio"])
def place(
    request: pytest.FixtureRequest, authority: DeviceAuthority, mac: DeviceIdentity, signer: Signer
) -> Iterator[Desk]:
    desk = Desk(kind=request.param, authority=authority, mac=mac, signer=signer)
    yield desk
    desk.store.close()


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
    desk: Desk,
    method: str,
    path: str,
    *bodies: bytes,
    headers: list[tuple[bytes, bytes]] | None = None,
    query: bytes = b"",
    end_sign_in: SignInEnd | None = trusting,
    leaves: bool = False,
    options: dict[str, Any] | None = None,
    **scope: Any,
) -> Exchange:
    """Send one request to an application around a service of *desk*, as a server does."""
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
        app = EnrollmentApp(desk.service(**(options or {})), end_sign_in=end_sign_in)
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

    anyio.run(main, backend=desk.kind)
    return Exchange(sent, total - len(waiting))


# Addresses


def test_a_mac_posts_and_gets_its_profile(place: Desk) -> None:
    answer = call(place, "POST", "/enroll", place.signed())
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-apple-aspen-config"
    assert answer.headers["cache-control"] == "no-store"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert place.store.one_times("C02TEST00001")


def test_a_body_may_come_in_pieces(place: Desk) -> None:
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
def test_other_paths_and_methods_are_turned_away_without_the_service(
    method: str, path: str, status: int, allow: str | None, place: Desk
) -> None:
    answer = call(place, method, path, b"whatever")
    assert (answer.status, answer.headers.get("allow")) == (status, allow)
    assert not place.events()


def test_without_modern_authentication_no_web_view_can_return(place: Desk) -> None:
    answer = call(place, "GET", "/signed-in", end_sign_in=None, options={"sign_in": None})
    assert answer.status == 404


def test_paths_are_the_callers(place: Desk) -> None:
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
def test_paths_that_cannot_work_are_refused_at_once(paths: dict[str, Any], place: Desk) -> None:
    with pytest.raises(PolicyError, match="path"):
        EnrollmentApp(place.service(sign_in=None), **paths)


@pytest.mark.parametrize("root", ["/ade", "/ade/"])
def test_works_below_another_path(root: str, place: Desk) -> None:
    assert call(place, "POST", "/ade/enroll", place.signed(), root_path=root).status == 200
    assert call(place, "POST", "/adenroll", place.signed(), root_path=root).status == 404


def test_can_be_mounted_in_starlette(place: Desk) -> None:
    outer = Starlette(routes=[Mount("/ade", app=EnrollmentApp(place.service(sign_in=None)))])

    async def main() -> tuple[int, int]:
        transport = httpx.ASGITransport(outer)
        async with httpx.AsyncClient(transport=transport, base_url=f"https://{HOST}") as http:
            inside = await http.post("/ade/enroll", content=place.signed())
            return inside.status_code, (await http.post("/enroll")).status_code

    assert anyio.run(main) == (200, 404)


# Bounds


def test_reads_no_more_than_it_needs_whatever_the_length_says(place: Desk) -> None:
    chunk = bytes(16 * 1024)
    headers = [(b"host", HOST.encode()), (b"content-length", b"5")]
    answer = call(place, "POST", "/enroll", *([chunk] * 1000), headers=headers)
    assert (answer.status, answer.received) == (400, 5)
    (event,) = place.events()
    assert "65537 bytes" in event.details["reason"]
    assert answer.headers["connection"] == "close"


def test_only_a_connection_on_which_more_may_follow_is_closed(place: Desk) -> None:
    assert "connection" not in call(place, "POST", "/enroll", b"short").headers
    assert call(place, "POST", "/nowhere", b"short").headers["connection"] == "close"
    # HTTP/2 has streams for that, and no such header.
    assert "connection" not in call(place, "POST", "/nowhere", b"short", http_version="2").headers


def test_the_largest_body_is_still_read_whole(place: Desk) -> None:
    call(place, "POST", "/enroll", bytes(64 * 1024))
    (event,) = place.events()
    assert "cannot be read" in event.details["reason"]


def test_one_huge_piece_is_cut(place: Desk) -> None:
    assert call(place, "POST", "/enroll", bytes(10_000_000)).status == 400
    assert call(place, "POST", "/signed-in", bytes(10_000_000)).status == 413


def test_a_client_that_leaves_gets_no_answer_and_no_credential(place: Desk) -> None:
    assert not call(place, "POST", "/enroll", place.signed(), leaves=True).messages
    assert not place.events()
    assert not place.store.one_times("C02TEST00001")


# The web view


def test_a_sign_in_ends_with_a_profile_once(place: Desk) -> None:
    place.store.set_default_profile("hq", MODERN)
    header = [(b"host", HOST.encode()), (b"x-apple-aspen-deviceinfo", place.header().encode())]
    opened = call(place, "GET", "/signin", headers=header)
    assert opened.status == 302
    assert opened.headers["location"].startswith("https://login.contoso.example/")
    query = urlencode({"state": place.identity.states[0]}).encode()
    assert call(place, "GET", "/signed-in", query=query).status == 200
    again = call(place, "GET", "/signed-in", query=query)
    assert (again.status, again.body) == (403, REFUSED)


def test_a_provider_may_post_its_answer(place: Desk) -> None:
    place.store.set_default_profile("hq", MODERN)
    header = [(b"host", HOST.encode()), (b"x-apple-aspen-deviceinfo", place.header().encode())]
    call(place, "GET", "/signin", headers=header)
    form = urlencode({"state": place.identity.states[0], "code": "ü"}).encode()

    async def slow(returned: SignInReturn) -> tuple[str, User] | str:
        await anyio.lowlevel.checkpoint()
        assert returned.fields["code"] == "ü"
        return trusting(returned)

    assert call(place, "POST", "/signed-in", form, end_sign_in=slow).status == 200


def test_a_sign_in_ends_where_it_began(place: Desk) -> None:
    place.store.set_default_profile("hq", MODERN)
    header = [(b"host", HOST.encode()), (b"x-apple-aspen-deviceinfo", place.header().encode())]
    call(place, "GET", "/signin", headers=header)
    query = urlencode({"state": place.identity.states[0]}).encode()
    elsewhere = [(b"host", b"evil.example")]
    assert call(place, "GET", "/signed-in", query=query, headers=elsewhere).status == 403
    assert call(place, "GET", "/signed-in", query=query).status == 403  # it is used up


def test_a_sign_in_that_fails_is_answered_and_may_be_tried_again(
    place: Desk, caplog: pytest.LogCaptureFixture
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


def test_a_state_that_is_no_text_is_refused_like_any_other(place: Desk) -> None:
    answer = call(place, "GET", "/signed-in", end_sign_in=lambda returned: ("\ud800", ADA))
    assert (answer.status, answer.body) == (403, REFUSED)


@pytest.mark.parametrize("found", [None, ADA, ("state",), ("state", ADA, ADA), (ADA, "state"), (None, ADA)])
def test_a_sign_in_that_ends_in_something_else_is_an_error_of_the_caller(
    found: Any, place: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    assert call(place, "GET", "/signed-in", end_sign_in=lambda returned: found).status == 500
    assert "end_sign_in returned neither" in caplog.text


@pytest.mark.parametrize("query", [b"state=a&state=b", b"&".join(b"x%d=1" % n for n in range(101))])
def test_a_form_that_can_be_read_in_two_ways_has_no_fields(query: bytes) -> None:
    assert SignInReturn(method="GET", query=query.decode()).fields == {}
    assert SignInReturn(method="POST", body=query).fields == {}


def test_a_browser_without_the_header_is_told_what_the_page_is_for(place: Desk) -> None:
    answer = call(place, "GET", "/signin")
    assert (answer.status, answer.body) == (400, b"This page is for Macs in Setup Assistant.\n")


@pytest.mark.parametrize("name", [b"x-apple-aspen-deviceinfo", b"host"])
def test_a_header_that_comes_twice_counts_as_unreadable(name: bytes, place: Desk) -> None:
    place.store.set_default_profile("hq", MODERN)
    headers = [(b"host", HOST.encode()), (b"x-apple-aspen-deviceinfo", place.header().encode())]
    twice = [*headers, *(pair for pair in headers if pair[0] == name)]
    assert call(place, "GET", "/signin", headers=twice).status in (400, 403)
    assert not place.identity.states


def test_name_and_password_reach_the_service(place: Desk) -> None:
    place.store.set_default_profile("hq", LEGACY)
    options = {"authenticate": lambda name, password: ADA if password == "right" else None}
    asked = call(place, "POST", "/enroll", place.signed(), options=options)
    assert (asked.status, asked.headers["www-authenticate"].split()[0]) == (401, "Basic")
    headers = [(b"host", HOST.encode()), (b"Authorization", b"Basic YWRhOnJpZ2h0")]
    assert call(place, "POST", "/enroll", place.signed(), headers=headers, options=options).status == 200


# When something goes wrong


def broken(error: Exception) -> Callable[..., Any]:
    def hook(*_: object) -> None:
        raise error

    return hook


def test_an_error_of_a_hook_shows_no_client_what_it_quotes(
    place: Desk, caplog: pytest.LogCaptureFixture
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


def test_an_error_of_pyade_itself_says_what_to_do(place: Desk, caplog: pytest.LogCaptureFixture) -> None:
    answer = call(
        place, "POST", "/enroll", place.signed(), options={"check": broken(PolicyError("a\nb: do that"))}
    )
    assert answer.status == 500
    assert r"PolicyError: a\nb: do that at" in caplog.messages[-1]


def test_an_answer_that_no_header_can_hold_becomes_an_error(
    place: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    place.store.set_default_profile("hq", MODERN)

    class Split:
        def begin(self, state: str, machine: object) -> str:
            return f"https://idp.example/\r\nSet-Cookie: {SECRET}"

    header = [(b"host", HOST.encode()), (b"x-apple-aspen-deviceinfo", place.header().encode())]
    answer = call(place, "GET", "/signin", headers=header, options={"sign_in": Split()})
    assert answer.status == 500
    assert SECRET not in caplog.text


def test_health_says_whether_the_store_answers(place: Desk, caplog: pytest.LogCaptureFixture) -> None:
    healthy = call(place, "GET", "/health")
    assert (healthy.status, healthy.body) == (200, b"ok\n")
    bare = call(place, "HEAD", "/health")
    assert (bare.status, bare.body, bare.headers["content-length"]) == (200, b"", "3")


def test_health_says_when_it_does_not(place: Desk, caplog: pytest.LogCaptureFixture) -> None:
    place.store.close()
    place.store = SQLiteStore(":memory:")
    place.store.close()
    sick = call(place, "GET", "/health")
    assert (sick.status, sick.body) == (503, b"The store does not answer.\n")
    assert "StoreClosedError: the store was closed" in caplog.messages[-1]
    assert call(place, "POST", "/enroll", place.signed()).status == 500


def test_any_framework_can_ask_whether_the_store_answers(desk: Desk) -> None:
    desk.run(lambda service: service.check_store())
    desk.store.close()
    desk.store = SQLiteStore(":memory:")
    desk.store.close()
    with pytest.raises(StoreClosedError):
        desk.run(lambda service: service.check_store())


# The server


def live(desk: Desk, *kinds: str, **options: Any) -> list[str]:
    waiting = [{"type": f"lifespan.{kind}"} for kind in kinds]
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return dict(waiting.pop(0))

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def main() -> None:
        await EnrollmentApp(desk.service(**options), end_sign_in=trusting)(
            {"type": "lifespan"}, receive, send
        )

    anyio.run(main, backend=desk.kind)
    return sent


def test_follows_the_life_of_the_server_and_says_what_ends_soon(
    place: Desk, caplog: pytest.LogCaptureFixture, push: PushCertificate
) -> None:
    assert live(place, "startup", "shutdown") == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert not caplog.messages
    live(place, "startup", "shutdown", push=push)
    assert f"{NOW + timedelta(days=10):%Y-%m-%d}" in caplog.text


def test_what_is_not_http_is_turned_away(place: Desk) -> None:
    closed = call(place, "GET", "/enroll", type="websocket")
    assert [message["type"] for message in closed.messages] == ["websocket.close"]
    with pytest.raises(PolicyError, match="'mqtt'"):
        call(place, "GET", "/enroll", type="mqtt")


def test_a_fake_mac_enrolls_through_it(place: Desk) -> None:
    place.store.set_default_profile("hq", MODERN)
    app = EnrollmentApp(place.service(), end_sign_in=trusting, web_view_path="/web")
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
