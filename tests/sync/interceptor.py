"""An interceptor between a client and the fake Apple, such as a proxy or a faulty Apple."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import msgspec

from pyade.apple.client import AsyncClient, Client
from pyade.assignment import Assigner, AssignmentPolicy, AssignReport, AsyncAssigner
from pyade.core.profile.profile import EnrollmentProfile

if TYPE_CHECKING:
    from tests.worlds import World

Answer = Callable[[httpx.Request, Any], httpx.Response | None]


def failing_for(bad: Iterable[str], answer: Callable[[], httpx.Response]) -> Answer:
    """Answer each assignment that contains one of *bad* as a whole with *answer*."""
    bad_serials = set(bad)

    def handle(request: httpx.Request, body: Any) -> httpx.Response | None:
        has_bad_serial = request.url.path == "/profile/devices" and bad_serials & set(body["devices"])
        return answer() if has_bad_serial else None

    return handle


def failing_definition_of(name: str, answer: Callable[[], httpx.Response]) -> Answer:
    """Answer the definition of the profile called *name* with *answer*."""

    def handle(request: httpx.Request, body: Any) -> httpx.Response | None:
        is_bad = (request.method, request.url.path) == ("POST", "/profile") and body["profile_name"] == name
        return answer() if is_bad else None

    return handle


@attrs.define
class Interceptor:
    """Records the requests to Apple, and answers some of them itself."""

    world: World
    answer: Answer
    bodies: list[tuple[str, Any]] = attrs.Factory(list)

    def count(self, endpoint: str) -> int:
        """Return how many different requests came; the client's retries do not count."""
        found = [body for name, body in self.bodies if name == endpoint]
        return sum(index == 0 or body != found[index - 1] for index, body in enumerate(found))

    def _intercept(self, request: httpx.Request) -> httpx.Response | None:
        body = msgspec.json.decode(request.content) if request.content else None
        self.bodies.append((f"{request.method} {request.url.path}", body))
        return self.answer(request, body)

    def run(self, *, policy: AssignmentPolicy | None = None, **arguments: Any) -> AssignReport:
        """Run an assigner of the world's kind, with a client that goes through this interceptor."""
        return self.do("run", (), arguments, policy)

    def assign(self, profile: EnrollmentProfile, serials: Sequence[str]) -> AssignReport:
        return self.do("assign", (profile, serials), {}, None)

    def do(
        self, name: str, positional: tuple[Any, ...], named: dict[str, Any], policy: AssignmentPolicy | None
    ) -> AssignReport:
        world, rules = self.world, policy or AssignmentPolicy()
        inner: Any = world.apple.transport()

        def handle(request: httpx.Request) -> httpx.Response:
            return self._intercept(request) or inner.handle_request(request)

        async def handle_async(request: httpx.Request) -> httpx.Response:
            return self._intercept(request) or await inner.handle_async_request(request)

        def work(client: Client) -> AssignReport:
            assigner = Assigner(client, world.store, policy=rules, clock=world.clock)
            report: AssignReport = getattr(assigner, name)(*positional, **named)
            return report

        async def async_work(client: AsyncClient) -> AssignReport:
            assigner = AsyncAssigner(client, world.store, policy=rules, clock=world.clock)
            report: AssignReport = await getattr(assigner, name)(*positional, **named)
            return report

        handler: Any = handle if world.kind == "sync" else handle_async
        return world.do(work, async_work, transport=httpx.MockTransport(handler))


def server_error() -> httpx.Response:
    return httpx.Response(500, text="Internal Server Error")
