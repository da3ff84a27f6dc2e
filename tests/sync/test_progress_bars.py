"""``progress=True``: a bar of the real tqdm or rich, else text, on a terminal and elsewhere."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.worlds import World

from pyade.assignment import Assigner, AsyncAssigner
from pyade.core.profile.profile import EnrollmentProfile
from pyade.errors import ArgumentError, TransportError
from pyade.sync import AsyncSyncer, Progress, ProgressPhase, Syncer
from pyade.sync.progress_bars import showing
from pyade.testing import FrozenClock


class Terminal(io.StringIO):
    """A terminal of 80 columns."""

    def isatty(self) -> bool:
        return True


def screen(text: str) -> list[str]:
    """Return the lines that a terminal shows, without colors."""
    text = text.replace("\x1b[2K", f"\r{' ' * 80}\r")
    text = re.sub(r"\x1b\[(\?\d+[hl]|[\d;]*m)", "", text)
    assert "\x1b" not in text
    lines = []
    for line in text.split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def pipe() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(params=["tqdm", "rich", "neither"])
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make only one of the two importable, or neither."""
    for name in {"tqdm", "rich"} - {request.param}:
        for module in {name, *(one for one in sys.modules if one.startswith(f"{name}."))}:
            monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.setitem(sys.modules, f"{name}.progress", None)
    found: str = request.param
    return found


def at(devices: int, *, total: int | None = None, name: str = "hq") -> Progress:
    phase = ProgressPhase.FETCH if total is None else ProgressPhase.ASSIGN
    return Progress(token_name=name, phase=phase, pages=devices // 100, devices=devices, total=total)


@contextlib.contextmanager
def shown_on(
    stream: io.StringIO | None, clock: FrozenClock | None = None
) -> Iterator[Callable[[Progress], None]]:
    """Yield the hook of a run with ``progress=True``; *stream* is standard error."""
    with contextlib.redirect_stderr(stream), showing(True, clock or FrozenClock()) as hook:
        assert hook is not None
        yield hook


def show(stream: io.StringIO | None, steps: list[Progress]) -> None:
    with shown_on(stream) as hook:
        for step in steps:
            hook(step)


def test_a_run_shows_its_progress_and_ends_its_line(terminal: Terminal, installed: str, world: World) -> None:
    world.page_size(100)
    world.apple.add_devices(250, server="hq")
    profile = EnrollmentProfile(name="Standard Mac", url="https://mdm.contoso.example/enroll")

    def work(client: object) -> None:
        Syncer(client, world.store, clock=world.clock, progress=True).sync()  # type: ignore[arg-type]
        Assigner(client, world.store, clock=world.clock, progress=True).run(profile)  # type: ignore[arg-type]

    async def async_work(client: object) -> None:
        await AsyncSyncer(client, world.store, clock=world.clock, progress=True).sync()  # type: ignore[arg-type]
        await AsyncAssigner(client, world.store, clock=world.clock, progress=True).run(profile)  # type: ignore[arg-type]

    with contextlib.redirect_stderr(terminal):
        world.do(work, async_work)
    fetched, assigned, end = screen(terminal.getvalue())
    assert not end
    expected = {
        "tqdm": (r"hq: sync: 250 devices \[.*\]", r"hq: assign: 100%\|[█#]+\| 250/250 \[.*\]"),
        "rich": (r"hq: sync [━ ]+250/\? +devices 0:00:0\d", r"hq: assign ━+ 250/250 devices 0:00:0\d"),
        "neither": (
            r"hq: sync, 250 devices in \d requests",
            r"hq: assign, 250 of 250 devices in \d requests?",
        ),
    }[installed]
    assert re.fullmatch(expected[0], fetched)
    assert re.fullmatch(expected[1], assigned)


def test_a_run_that_raises_ends_its_line(terminal: Terminal, installed: str) -> None:
    error = TransportError("sync", "reset")

    def run() -> None:
        with shown_on(terminal) as hook:
            hook(at(100))
            raise error

    with pytest.raises(TransportError):
        run()
    assert len(screen(terminal.getvalue())) == 2
    assert "100" in screen(terminal.getvalue())[0]
    assert installed != "rich" or terminal.getvalue().endswith("\x1b[?25h")  # the cursor is shown again


def test_a_run_that_sends_nothing_shows_nothing(terminal: Terminal, installed: str) -> None:
    assert installed
    show(terminal, [])
    assert not terminal.getvalue()


def test_a_log_record_on_the_terminal_gets_its_own_line(terminal: Terminal, installed: str) -> None:
    handler = logging.StreamHandler(terminal)
    log = logging.getLogger("service")
    logging.root.addHandler(handler)
    try:
        with shown_on(terminal) as hook:
            hook(at(100, total=200))
            log.error("short")
            hook(at(200, total=200))
        assert not handler.filters
    finally:
        logging.root.removeHandler(handler)
    log_line, bar, end = screen(terminal.getvalue())
    assert log_line == "short"
    assert bar.startswith("hq: assign")
    assert not end
    assert installed


def test_a_handler_whose_terminal_is_gone_does_not_end_what_logs(
    terminal: Terminal, installed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    gone = type(terminal)()
    handler = logging.StreamHandler(gone)
    logging.root.addHandler(handler)
    try:
        with shown_on(terminal) as hook:
            hook(at(100, total=200))
            gone.close()
            logging.getLogger("service").error("short")
            hook(at(200, total=200))
    finally:
        logging.root.removeHandler(handler)
    assert "200" in screen(terminal.getvalue())[0]
    assert installed


def test_untrusted_names_are_escaped_and_are_no_markup(terminal: Terminal, installed: str) -> None:
    show(terminal, [at(1, name="[red]\x1b[2J\nhq")])
    assert screen(terminal.getvalue())[0].startswith(r"[red]\x1b[2J\nhq: fetch")
    assert installed


def test_without_a_terminal_lines_are_written_every_five_seconds(pipe: io.StringIO) -> None:
    clock = FrozenClock()
    with shown_on(pipe, clock) as hook:
        for count in range(1, 13):
            hook(at(100 * count))
            clock.advance(seconds=1)
    assert [int(line.split()[2].replace(",", "")) for line in pipe.getvalue().splitlines()] == [
        100,
        600,
        1100,
        1200,
    ]
    assert pipe.getvalue().startswith("hq: fetch, 100 devices in 1 request\n")


def test_without_a_terminal_each_tenth_of_a_known_total_is_a_line(pipe: io.StringIO) -> None:
    show(pipe, [at(count, total=10_000) for count in range(100, 10_001, 100)])
    lines = pipe.getvalue().splitlines()
    assert len(lines) == 11
    assert [lines[0], lines[1], lines[-1]] == [
        "hq: assign, 100 of 10,000 devices in 1 request",
        "hq: assign, 1,000 of 10,000 devices in 10 requests",
        "hq: assign, 10,000 of 10,000 devices in 100 requests",
    ]


def test_a_clock_that_goes_back_writes_no_fewer_lines(pipe: io.StringIO) -> None:
    clock = FrozenClock()
    with shown_on(pipe, clock) as hook:
        hook(at(100))
        clock.advance(days=-1)
        hook(at(200))
        hook(at(300))
    assert len(pipe.getvalue().splitlines()) == 3


def test_in_a_notebook_tqdm_chooses_the_bar(pipe: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = types.SimpleNamespace(kernel=object(), config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    show(pipe, [at(100, total=200), at(200, total=200)])
    assert "hq: assign: 100%" in screen(pipe.getvalue())[0]
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    show(pipe, [at(100)])
    assert pipe.getvalue().endswith("hq: fetch, 100 devices in 1 request\n")


class Broken(Terminal):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_what_cannot_be_shown_ends_no_run(installed: str) -> None:
    assert installed
    for stream in (Broken(), None):
        show(stream, [at(100), at(200)])


def test_runs_in_threads_show_their_progress_side_by_side(terminal: Terminal, installed: str) -> None:
    steps = [at(count, total=1000) for count in range(100, 1001, 100)]

    def run(_number: int) -> None:
        with showing(True, FrozenClock()) as hook:
            assert hook is not None
            for step in steps:
                hook(step)

    with contextlib.redirect_stderr(terminal), ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(8)))
    assert "1000/1000" in terminal.getvalue() or "1,000 of 1,000" in terminal.getvalue()
    assert installed


def test_callbacks_stay_and_false_is_none() -> None:
    seen: list[Progress] = []
    with showing(seen.append, FrozenClock()) as hook:
        assert hook == seen.append
    for off in (False, None):
        with showing(off, FrozenClock()) as hook:
            assert hook is None


def test_another_value_is_refused(world: World) -> None:
    def work(client: object) -> None:
        Syncer(client, world.store, progress="bar")  # type: ignore[arg-type]

    async def async_work(client: object) -> None:
        AsyncSyncer(client, world.store, progress="bar")  # type: ignore[arg-type]

    with pytest.raises(ArgumentError, match="progress is a text: a function or True or False"):
        world.do(work, async_work)
