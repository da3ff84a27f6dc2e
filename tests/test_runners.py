"""``Runner`` and ``AsyncRunner`` handle every step of the package, and there is no third interpreter."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import attrs
import httpx
import pytest

import pyade
from pyade import errors
from pyade.apple import AsyncClient, Client
from pyade.assignment import Assigner, AsyncAssigner
from pyade.builders.payloads import MdmService, ScepIssuer
from pyade.business import AsyncBusinessClient, BusinessClient
from pyade.core.secret import Secret
from pyade.enrollment import (
    AsyncEnrollmentService,
    AsyncFinalConfiguration,
    EnrollmentService,
    FinalConfiguration,
)
from pyade.flow import (
    AsyncRunner,
    CallHook,
    Compute,
    Flow,
    NewId,
    Now,
    RandomBytes,
    RandomNumber,
    RandomText,
    ReportProgress,
    Runner,
    Step,
    StoreCall,
    Wait,
    ask,
)
from pyade.operations import AsyncScheduler, AsyncTokenService, Scheduler, TokenService
from pyade.storage import MemoryStore
from pyade.sync import AsyncDeviceActions, AsyncSyncer, DeviceActions, Syncer
from pyade.testing import DeviceAuthority, FakeApple, FakeBusiness, FakeMac

PACKAGE = Path(pyade.__file__).parent
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def steps_below(kind: type[Step[Any]]) -> Iterator[type[Step[Any]]]:
    for below in kind.__subclasses__():
        if below.__module__.startswith("pyade."):
            yield below
        yield from steps_below(below)


def every_step() -> list[type[Step[Any]]]:
    for module in pkgutil.walk_packages([str(PACKAGE)], "pyade."):
        if not module.name.startswith("pyade.testing.contract"):
            importlib.import_module(module.name)
    return sorted(set(steps_below(Step)), key=lambda kind: kind.__name__)


@attrs.frozen
class Odd(Step[None]):
    """A step that no runner handles."""


def runner_of(one: Any) -> Any:
    """Return the runner of *one*; that of a run which shows its progress is made for each run."""
    if isinstance(one, Syncer | AsyncSyncer | Assigner | AsyncAssigner):
        with one._runner() as runner:
            return runner
    return one._runner


def all_runners() -> dict[str, tuple[Runner, AsyncRunner]]:
    """Return the runners of every class of the package that runs flows."""
    fake, store = FakeApple(), MemoryStore()
    server = fake.add_server("hq")
    token = fake.token(server)
    store.add_token(token)
    account = FakeBusiness(fake).add_account()
    apple, async_apple = Client(token), AsyncClient(token)
    parts: dict[str, Any] = {
        "mdm": MdmService(
            identifier="example.mdm",
            organization="Contoso",
            server_url="https://mdm.example/mdm",
            topic="com.apple.mgmt.External.0b6fd0ee-0000-4000-8000-000000000001",
        ),
        "scep": ScepIssuer(url="https://ca.example/scep", challenge="replaced"),
    }
    identity = DeviceAuthority.generate(key="p256").issue()
    mac = FakeMac(serial_number="C02TEST00001", identity=identity)
    made: dict[str, tuple[Any, Any]] = {
        "client": (apple, async_apple),
        "business client": (BusinessClient(account), AsyncBusinessClient(account)),
        "syncer": (Syncer(apple, store), AsyncSyncer(async_apple, store)),
        "assigner": (Assigner(apple, store), AsyncAssigner(async_apple, store)),
        "actions": (DeviceActions(apple, store), AsyncDeviceActions(async_apple, store)),
        "tokens": (TokenService(store, Client), AsyncTokenService(store, AsyncClient)),
        "enrollment": (EnrollmentService(store, **parts), AsyncEnrollmentService(store, **parts)),
        "final": (FinalConfiguration(store), AsyncFinalConfiguration(store)),
    }
    runners = {name: (runner_of(one), runner_of(other)) for name, (one, other) in made.items()}
    runners["Mac"] = (mac._runner(httpx.Client()), mac._runner_async(httpx.AsyncClient()))
    return runners


def test_no_two_steps_have_one_name() -> None:
    names = [kind.__name__ for kind in every_step()]
    assert len(names) == len(set(names)) > 15


def test_both_runners_know_every_step_that_exists() -> None:
    known: set[type[Step[Any]]] = set()
    for name, (one, other) in all_runners().items():
        assert isinstance(one, Runner), name
        assert isinstance(other, AsyncRunner), name
        assert one.steps == other.steps, name
        known |= one.steps
    assert known == set(every_step())


def test_an_unknown_step_is_an_error() -> None:
    for name, (one, other) in all_runners().items():
        unknown: list[type[Step[Any]]] = [Odd, *(kind for kind in every_step() if kind not in one.steps)]
        assert len(unknown) > 1, name
        for kind in unknown:
            step: Step[Any] = kind.__new__(kind)
            with pytest.raises(TypeError, match=rf"this Runner performs .*, not {kind.__name__}$"):
                one(step)
            with pytest.raises(TypeError, match=rf"this AsyncRunner performs .*, not {kind.__name__}$"):
                anyio.run(other, step)


def test_there_is_no_other_interpreter() -> None:
    steps = {kind.__name__ for kind in every_step()}
    by_hand, drivers, asking, runners = set(), set(), set(), set()
    for path in PACKAGE.rglob("*.py"):
        name = str(path.relative_to(PACKAGE))
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.ExceptHandler(type=ast.expr() as kind) if "StopIteration" in ast.unparse(kind):
                    by_hand.add(name)
                case ast.Call(func=ast.Name(id="drive" | "drive_async" as called)):
                    drivers.add((name, called))
                case ast.Call(func=ast.Name(id="isinstance"), args=[_, kind]):
                    asking |= {(name, at) for at in _names(kind) if at in steps}
                case ast.MatchClass(cls=kind):
                    asking |= {(name, at) for at in _names(kind) if at in steps}
                case ast.Compare(left=left, comparators=others):
                    types = ast.unparse(left).startswith("type(")
                    asking |= {(name, at) for kind in others for at in _names(kind) if types and at in steps}
                case ast.ClassDef(name=defined, bases=bases):
                    is_runner = any("Runner" in ast.unparse(base) for base in bases)
                    if is_runner or "Runner" in defined or "Performer" in defined:
                        runners.add((name, defined))
                case _:
                    pass
    assert by_hand == {"flow.py"}
    assert drivers == {("flow.py", "drive"), ("flow.py", "drive_async")}
    assert runners == {("flow.py", "Runner"), ("flow.py", "AsyncRunner")}
    assert not asking


def _names(node: ast.AST) -> set[str]:
    return {at.id for at in ast.walk(node) if isinstance(at, ast.Name)} | {
        at.attr for at in ast.walk(node) if isinstance(at, ast.Attribute)
    }


# The common steps


@pytest.fixture(params=["sync", "asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return a function that runs a flow on a runner with given options."""

    def run_flow(flow: Flow[Any], **options: Any) -> Any:
        if request.param == "sync":
            return Runner(**options).run(flow)

        async def main() -> Any:
            return await AsyncRunner(**options).run(flow)

        return anyio.run(main, backend=request.param)

    return run_flow


def answers(*steps: Step[Any]) -> Flow[list[Any]]:
    found: list[Any] = []
    while len(found) < len(steps):
        found.append((yield from ask(steps[len(found)])))
    return found


def on_main(_: object = None) -> bool:
    """Return True in the main thread."""
    return threading.current_thread() is threading.main_thread()


def test_the_common_steps_have_one_answer_on_both(run: Callable[..., Any]) -> None:
    reported: list[object] = []
    steps = (Now(), StoreCall(len), Compute(lambda: 3), CallHook(max, (1, 2)), ReportProgress("half"))
    found = run(answers(*steps), store="abc", clock=lambda: NOW, progress=reported.append)
    assert found == [NOW, 3, 3, 2, None]
    assert reported == ["half"]
    assert run(answers(ReportProgress("half"))) == [None]


def test_handlers_and_options_extend_the_built_in_steps(run: Callable[..., Any]) -> None:
    handlers = {Odd: lambda _: "odd", Now: lambda _: "never"}
    assert run(answers(Odd(), Now()), handlers=handlers, clock=lambda: NOW) == ["odd", "never"]


@pytest.mark.parametrize("step", [StoreCall(len), Now(), Wait(1.0)])
def test_a_common_step_is_unknown_without_its_option(run: Callable[..., Any], step: Step[Any]) -> None:
    with pytest.raises(TypeError, match=f"not {type(step).__name__}"):
        run(answers(step))


def test_a_test_can_fix_the_source_of_randomness(run: Callable[..., Any]) -> None:
    steps = (NewId(), RandomBytes(2), RandomText(3), RandomNumber())
    fixed = run(answers(*steps), chance=lambda size: b"\xff" * size)
    assert fixed[:3] == ["ffffffff-ffff-4fff-bfff-ffffffffffff", b"\xff\xff", Secret("____")]
    assert 0.999 < fixed[3] < 1
    assert run(answers(RandomNumber()), chance=bytes) == [0.0]
    one, other = run(answers(*steps)), run(answers(*steps))
    assert not set(one) & set(other)
    assert (len(one[1]), len(one[2].reveal())) == (2, 4)


def test_blocking_steps_run_outside_the_event_loop() -> None:
    async def main() -> list[Any]:
        steps = (
            StoreCall(on_main),
            Compute(on_main),
            CallHook(on_main),
            CallHook[bool](hook),
        )
        return await AsyncRunner(store="store").run(answers(*steps))

    async def hook() -> bool:
        await anyio.lowlevel.checkpoint()
        return on_main()

    assert anyio.run(main) == [False, False, False, True]
    assert (
        Runner(store="store").run(answers(StoreCall(on_main), Compute(on_main), CallHook(on_main)))
        == [True] * 3
    )


def test_a_handler_of_the_asynchronous_runner_may_be_of_both_kinds() -> None:
    async def later(step: Wait) -> float:
        await anyio.lowlevel.checkpoint()
        return step.seconds

    async def main() -> list[Any]:
        runner = AsyncRunner({Wait: later, Odd: lambda _: "now"})
        return await runner.run(answers(Wait(2.5), Odd()))

    assert anyio.run(main) == [2.5, "now"]


def test_waiting_is_left_to_the_function_that_was_given() -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        waited.append(-seconds)

    async def main() -> Any:
        return await AsyncRunner(sleep=sleep).run(answers(Wait(2.0)))

    Runner(sleep=waited.append).run(answers(Wait(1.0)))
    anyio.run(main)
    assert waited == [1.0, -2.0]


def test_the_synchronous_runner_refuses_a_hook_that_must_be_awaited() -> None:
    async def find() -> None: ...

    class Later(Awaitable[None]):
        def __await__(self) -> Generator[Any, None, None]:
            yield

    runner = Runner(asynchronous="AsyncThing")
    with pytest.raises(errors.PolicyError, match="find is asynchronous: use AsyncThing, or give a function"):
        runner(CallHook[None](find))
    with pytest.raises(errors.PolicyError, match="Later is asynchronous"):
        runner(CallHook[None](Later))


# The constructors of the pairs


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Client, AsyncClient),
        (BusinessClient, AsyncBusinessClient),
        (Syncer, AsyncSyncer),
        (Assigner, AsyncAssigner),
        (DeviceActions, AsyncDeviceActions),
        (TokenService, AsyncTokenService),
        (Scheduler, AsyncScheduler),
        (EnrollmentService, AsyncEnrollmentService),
        (FinalConfiguration, AsyncFinalConfiguration),
    ],
)
def test_a_constructor_stands_once_and_help_explains_every_argument(one: type, other: type) -> None:
    assert one.__init__ is other.__init__  # type: ignore[misc]
    text = inspect.getdoc(one.__init__) or ""  # type: ignore[misc]
    described = text.partition("Args:\n")[2]
    for name in list(inspect.signature(one).parameters):
        assert f"\n    {name}: " in f"\n{described}", name
