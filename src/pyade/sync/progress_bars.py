"""Show the progress of one run on standard error: as a bar of tqdm or rich, else as text.

The rules of this file:

1. On a terminal and in a notebook tqdm shows a bar if it is installed, else rich does on a terminal. They are
   imported only then, and never required.
2. On a terminal without them one line is updated. Elsewhere lines are written: the first, the last, and in
   between one every five seconds, or one for each tenth of a known total.
3. The time between lines is that of the clock of the run.
4. What fails here does not end the run: nothing more is shown.
5. A log record for the same terminal clears the line first; the next progress draws it again.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol, TextIO, TypeAlias

from pyade.sync.runners import Progress
from pyade.text import logger, printable

_log = logger(__name__)

ProgressHook: TypeAlias = Callable[[Progress], None]

_LINE_EVERY: Final = timedelta(seconds=5)
_UNIT: Final = " devices"


@contextlib.contextmanager
def showing(
    progress: ProgressHook | bool | None, clock: Callable[[], datetime]
) -> Iterator[ProgressHook | None]:
    """Yield the hook for one run; what it shows ends with the block.

    Args:
        progress: The hook of the caller; True for one that shows a bar or lines; False or None for none.
        clock: Returns the time.
    """
    if not isinstance(progress, bool):
        yield progress
    elif not progress:
        yield None
    else:
        shown = _Shown(clock)
        try:
            yield shown
        finally:
            shown.close()


class _Display(Protocol):
    def update(self, progress: Progress) -> None: ...

    def close(self) -> None: ...


class _Shown:
    """Shows the progress of one run, from the first report on."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._display: _Display | None = None
        self._is_broken = False
        self._ends = contextlib.ExitStack()

    def __call__(self, progress: Progress) -> None:
        self._try(partial(self._update, progress))

    def close(self) -> None:
        self._try(self._ends.close)

    def _update(self, progress: Progress) -> None:
        if self._display is None:
            self._display = self._open(progress)
            self._ends.callback(self._display.close)
        self._display.update(progress)

    def _open(self, progress: Progress) -> _Display:
        if _is_notebook():
            return _open_first([_Tqdm], progress) or _Lines(self._clock)
        if not sys.stderr.isatty():
            return _Lines(self._clock)
        self._ends.enter_context(_clearing_before_logs())
        return _open_first([_Tqdm, _Rich], progress) or _Line()

    def _try(self, work: Callable[[], object]) -> None:
        if self._is_broken:
            return
        try:
            work()
        except Exception as error:  # noqa: BLE001 - rule 4
            self._is_broken = True
            _log.debug("progress is no longer shown: %r", error)
            with contextlib.suppress(Exception):
                self._ends.close()


def _open_first(kinds: list[Callable[[Progress], _Display]], progress: Progress) -> _Display | None:
    """Return the first display that can be made; a second one of rich at a time cannot."""
    for kind in kinds:
        try:
            return kind(progress)
        except ImportError:
            pass
        except Exception as error:  # noqa: BLE001 - rule 4
            _log.debug("progress is shown as text: %r", error)
    return None


class _Tqdm:
    def __init__(self, progress: Progress) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # in a notebook without widgets
            module: Any = importlib.import_module("tqdm.auto" if _is_notebook() else "tqdm")
        # A terminal that does not tell its width has none for tqdm.
        width = None if _is_notebook() else _width()
        self._bar = module.tqdm(
            desc=_title(progress), total=progress.total, unit=_UNIT, file=_Unbroken(sys.stderr), ncols=width
        )

    def update(self, progress: Progress) -> None:
        self._bar.set_description_str(_title(progress), refresh=False)
        self._bar.total = progress.total
        self._bar.update(progress.devices - self._bar.n)

    def close(self) -> None:
        self._bar.close()


class _Rich:
    def __init__(self, progress: Progress) -> None:
        rich: Any = importlib.import_module("rich.progress")
        console: Any = importlib.import_module("rich.console")
        self._progress = rich.Progress(
            rich.TextColumn("{task.description}", markup=False),  # the name of the token is no markup
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TextColumn(_UNIT.strip()),
            rich.TimeElapsedColumn(),
            console=console.Console(file=_Unbroken(sys.stderr)),
            auto_refresh=False,  # neither a thread nor what is drawn while a log record is written
        )
        self._task = self._progress.add_task(_title(progress), total=progress.total)
        self._progress.start()

    def update(self, progress: Progress) -> None:
        self._progress.update(
            self._task, description=_title(progress), completed=progress.devices, total=progress.total
        )
        self._progress.refresh()

    def close(self) -> None:
        self._progress.stop()


class _Unbroken:
    """A stream that drops what cannot be written: tqdm would keep its lock, and rich end the program."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(Exception):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(Exception):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Line:
    """One line of a terminal."""

    def update(self, progress: Progress) -> None:
        width = _width()
        _write(f"\r{str(progress)[:width]:<{width}}")

    def close(self) -> None:
        _write("\n")


class _Lines:
    """Lines of a file, a pipe or a log; rule 2."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._written: Progress | None = None
        self._newest: Progress | None = None
        self._next_at: datetime | None = None

    def update(self, progress: Progress) -> None:
        self._newest = progress
        now = self._clock()
        is_due = self._next_at is None or not self._next_at - _LINE_EVERY <= now < self._next_at
        if is_due or _tenth(progress) > _tenth(self._written):
            self._next_at = now + _LINE_EVERY  # rule 3
            self._write()

    def close(self) -> None:
        if self._newest != self._written:
            self._write()

    def _write(self) -> None:
        _write(f"{self._newest}\n")
        self._written = self._newest


def _tenth(progress: Progress | None) -> int:
    return 10 * progress.devices // progress.total if progress is not None and progress.total else 0


def _title(progress: Progress) -> str:
    return printable(f"{progress.token_name}: {progress.phase}")


def _width() -> int:
    return max(shutil.get_terminal_size().columns - 1, 1)  # in the last column some terminals break the line


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _is_notebook() -> bool:
    ipython: Any = sys.modules.get("IPython")
    return getattr(ipython.get_ipython(), "kernel", None) is not None if ipython else False


@contextlib.contextmanager
def _clearing_before_logs() -> Iterator[None]:
    """Clear the line of progress before a log record is written to a terminal; rule 5."""
    loggers = (logging.root, logging.root.manager.loggerDict.get("pyade"))
    handlers = [
        handler
        for one in loggers
        if isinstance(one, logging.Logger)
        for handler in one.handlers
        if isinstance(handler, logging.StreamHandler) and _is_terminal(handler.stream)
    ]
    filters = [partial(_clear_line, handler) for handler in handlers]
    for handler, added in zip(handlers, filters, strict=True):
        handler.addFilter(added)
    try:
        yield
    finally:
        for handler, added in zip(handlers, filters, strict=True):
            handler.removeFilter(added)


def _is_terminal(stream: Any) -> bool:
    return bool(getattr(stream, "isatty", bool)())


def _clear_line(handler: logging.StreamHandler[Any], _record: logging.LogRecord) -> bool:
    with contextlib.suppress(Exception):  # rule 4: an error here would end what logs
        handler.stream.write(f"\r{' ' * _width()}\r")
    return True
