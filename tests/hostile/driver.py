"""Asks one endpoint with one of the clients, and checks the outcome.

1. A call is checked by its result or error, by its duration, and by the error's text: nothing that a server
   sent may harm a terminal or show a secret.
2. The duration is measured with a monotonic clock. A busy machine may delay a call once: after a complaint
   the call is repeated alone.
3. Unless the deadline itself is tested, the second call has a long one, so that nothing fails because a
   machine is busy.
"""

from __future__ import annotations

import pickle
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel
import attrs
from cryptography.hazmat.primitives.asymmetric import ec
from tests.hostile.endpoints import ENDPOINTS, GOOD, Endpoint
from tests.hostile.kinds import Kind, all_kinds
from tests.hostile.server import HostileServer

from pyade.apple import AsyncClient, Client
from pyade.business import ApiAccount, AsyncBusinessClient, BusinessClient
from pyade.core.token import Token
from pyade.errors import PyadeError, TransportError

DEADLINE_S = 0.5
PATIENT_S = 20.0
SLACK_S = 1.0
"""The allowed delay of a call: a machine needs a moment to notice the deadline."""

LONGEST_TEXT = 4000
MODES = ("sync", "asyncio", "trio")
KINDS: Mapping[str, Kind] = all_kinds()

_TOKEN = Token(
    name="hq",
    consumer_key="CK_1",
    consumer_secret="CS-top-secret",
    access_token="AT-top-secret",
    access_secret="AS-top-secret",
    access_token_expiry=datetime(2999, 1, 1, tzinfo=UTC),
    apple_id="it@contoso.com",
    consented_at=datetime(2025, 12, 1, tzinfo=UTC),
)
_ACCOUNT = ApiAccount("BUSINESSAPI.1", "K1", ec.generate_private_key(ec.SECP256R1()))


def start_server() -> HostileServer:
    """Return a server that answers in every kind."""
    return HostileServer({kind.key: kind.answer for kind in KINDS.values()}, GOOD)


@attrs.frozen(kw_only=True)
class Case:
    """A kind on an endpoint."""

    kind: Kind
    endpoint: Endpoint

    @property
    def name(self) -> str:
        """Kind and endpoint, for messages."""
        return f"{self.kind.name} [{self.endpoint.name}]"

    def address(self, ports: Mapping[str, int], *, is_session: bool) -> str:
        """Return the base URL for the session or the call."""
        is_attacked = is_session == self.endpoint.attacks_session
        port = ports.get(self.kind.key if is_attacked else "", ports[""])
        return f"http://127.0.0.1:{port}/{self.kind.key}/{self.endpoint.attacked}"


@attrs.frozen(kw_only=True)
class Outcome:
    """The outcome of a call: a result or an error, and its duration in seconds."""

    result: Any = None
    error: BaseException | None = None
    seconds: float


def options(case: Case, ports: Mapping[str, int], deadline_s: float) -> dict[str, Any]:
    """Return the arguments of a client."""
    common: dict[str, Any] = {
        "base_url": case.address(ports, is_session=False),
        "deadline_s": deadline_s,
        "timeout": deadline_s,
        "retries": 1,
        "random": lambda: 0.0,
    }
    if case.endpoint.service == "business":
        common["token_url"] = f"{case.address(ports, is_session=True)}/token"
    elif case.kind.key in ports:  # one address for both, and the session is asked for first
        common["base_url"] = f"http://127.0.0.1:{ports[case.kind.key]}/{case.kind.key}/session"
    return common


def client(case: Case, ports: Mapping[str, int], deadline_s: float) -> Client | BusinessClient:
    """Return a synchronous client whose server answers in the kind of *case*."""
    made = options(case, ports, deadline_s)
    if case.endpoint.is_log:
        made["sleep"] = _skip_wait
    return Client(_TOKEN, **made) if case.endpoint.service == "apple" else BusinessClient(_ACCOUNT, **made)


def async_client(
    case: Case, ports: Mapping[str, int], deadline_s: float
) -> AsyncClient | AsyncBusinessClient:
    """Return an asynchronous client whose server answers in the kind of *case*."""
    made = options(case, ports, deadline_s)
    if case.endpoint.is_log:
        made["sleep"] = _skip_wait_async
    if case.endpoint.service == "apple":
        return AsyncClient(_TOKEN, **made)
    return AsyncBusinessClient(_ACCOUNT, **made)


def _skip_wait(seconds: float) -> None:
    """Skip the seconds between two requests for the log of an activity."""


async def _skip_wait_async(seconds: float) -> None:
    await anyio.lowlevel.checkpoint()


def call(case: Case, client: Any) -> Outcome:
    """Return the outcome of a call with a synchronous *client*."""
    started = time.monotonic()
    try:
        result = case.endpoint.ask(client, _base_url(client))
    except Exception as error:  # noqa: BLE001
        return Outcome(error=error, seconds=time.monotonic() - started)
    return Outcome(result=result, seconds=time.monotonic() - started)


async def call_async(case: Case, client: Any) -> Outcome:
    """Return the outcome of a call with an asynchronous *client*."""
    started = time.monotonic()
    try:
        result = await case.endpoint.ask(client, _base_url(client))
    except Exception as error:  # noqa: BLE001
        return Outcome(error=error, seconds=time.monotonic() - started)
    return Outcome(result=result, seconds=time.monotonic() - started)


def _base_url(client: Any) -> str:
    return repr(client).partition("base_url='")[2].partition("'")[0].rstrip("/")


def call_alone(case: Case, ports: Mapping[str, int], mode: str, deadline_s: float) -> Outcome:
    """Return the outcome of *case* with a new client."""
    if mode == "sync":
        with client(case, ports, deadline_s) as made:
            return call(case, made)

    async def run() -> Outcome:
        async with async_client(case, ports, deadline_s) as made:
            return await call_async(case, made)

    return anyio.run(run, backend=mode)


def complaint_about(case: Case, ports: Mapping[str, int], mode: str, deadline_s: float = DEADLINE_S) -> str:
    """Return what is wrong with the outcome of *case*, or "", after a second call if the first one failed."""
    complaint = ""
    for limit_s in (deadline_s, deadline_s if case.kind.is_slow else PATIENT_S):
        complaint = check_outcome(
            case, call_alone(case, ports, mode, limit_s), reference(case, ports), limit_s
        )
        if not complaint:
            return ""
    return f"{case.name} {mode}: {complaint}"


_references: dict[str, Any] = {}


def reference(case: Case, ports: Mapping[str, int]) -> Any:
    """Return the result of a good answer."""
    name = case.endpoint.name
    if name not in _references:
        good = Case(kind=KINDS["a good answer"], endpoint=case.endpoint)
        outcome = call_alone(good, ports, "sync", PATIENT_S)
        assert outcome.error is None, f"{name}: {outcome.error!r}"
        _references[name] = outcome.result
    return _references[name]


def check_outcome(case: Case, outcome: Outcome, good: Any, deadline_s: float) -> str:
    """Return what is wrong with *outcome*, or ""."""
    # The log is requested twice, and the activity in between.
    latest = (3 if case.endpoint.is_log else 1) * deadline_s + SLACK_S
    late = f"it took {outcome.seconds:.1f} s; " if outcome.seconds > latest else ""
    wrong = (
        _wrong_result(case, outcome.result, good)
        if outcome.error is None
        else _wrong_error(case, outcome.error)
    )
    return late + wrong


def _wrong_result(case: Case, result: Any, good: Any) -> str:
    expected = case.kind.expected(case.endpoint)
    if case.endpoint.is_log:
        is_fine = result in ({}, good) if expected.right else isinstance(result, dict)
        return "" if is_fine else f"the result is {result!r:.300}"
    if expected.check is not None:
        return "" if expected.check(result) else f"the result is {result!r:.300}"
    if (expected.typed and _is_alike(result, good)) or (expected.right and result == good):
        return ""
    names = ", ".join(one.__name__ for one in expected.errors)
    return f"{names or 'the right result'} was expected, the result is {result!r:.300}"


def _is_alike(result: Any, good: Any) -> bool:
    return result is None or isinstance(result, type(good))


def _wrong_error(case: Case, error: BaseException) -> str:
    if not isinstance(error, PyadeError):
        return f"no error of pyade's: {error!r:.300}"
    expected, text = case.kind.expected(case.endpoint), str(error)
    names = ", ".join(one.__name__ for one in expected.errors) or "no error"
    checks: tuple[tuple[bool, Callable[[], str]], ...] = (
        (
            case.endpoint.is_log or not _is_expected(error, expected.errors),
            lambda: f"{names} was expected: {error!r:.300}",
        ),
        (len(text) > LONGEST_TEXT, lambda: f"its text has {len(text)} characters"),
        (not text.isprintable(), lambda: f"its text is not printable: {text!r:.300}"),
        (
            "top-secret" in "".join(traceback.format_exception(error)) + repr(error),
            lambda: f"it shows a secret: {error!r:.300}",
        ),
        (
            str(pickle.loads(pickle.dumps(error))) != text,  # a pickle of our own
            lambda: "it does not survive a pickle",
        ),
    )
    return "; ".join(words() for is_wrong, words in checks if is_wrong)


def _is_expected(error: PyadeError, classes: tuple[type[PyadeError], ...]) -> bool:
    # A lost response may be of a subclass that says how it was lost; a refusal has exactly one class.
    return type(error) in classes or (TransportError in classes and isinstance(error, TransportError))


def endpoint_of(name: str) -> Endpoint:
    """Return an endpoint by its name."""
    return ENDPOINTS[name]
