"""How long work tells how far it is; what a person sees of it is decided by the caller."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

_EVERY_S = 15.0
_AGAIN_S = 0.1


class Task(Protocol):
    """One stretch of work with a known length."""

    def advance(self, count: int = 1, note: str = "") -> None: ...


class Remark(str):
    """A line on the recipe or its pictures, such as several runs of the same ones would all tell.

    Args:
        topic: what it is about, whatever its numbers are; default: the line without its numbers.
    """

    topic: str

    def __new__(cls, line: str, topic: str = "") -> "Remark":
        remark = super().__new__(cls, line)
        remark.topic = topic or re.sub(r"\d+", "…", line)
        return remark


class Progress(Protocol):
    """Where a run tells what it does. A `total` of 0 stands for one that nobody knows."""

    def task(self, what: str, total: int, unit: str = "") -> "contextmanager[Task]": ...

    def say(self, line: str) -> None: ...


class Quiet:
    """Says nothing."""

    @contextmanager
    def task(self, what: str, total: int, unit: str = "") -> Iterator[Task]:
        yield self

    def advance(self, count: int = 1, note: str = "") -> None:
        pass

    def say(self, line: str) -> None:
        pass


class ConsoleProgress:
    """A bar with the time left on a terminal or in a notebook; a line now and then where output goes to a file."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(soft_wrap=True)

    @contextmanager
    def task(self, what: str, total: int, unit: str = "") -> Iterator[Task]:
        if not (self.console.is_terminal or self.console.is_jupyter):
            yield _Lines(self, what, total, unit)
            return
        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(unit, style="dim"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", markup=False),
        ]
        with Bars(*columns, console=self.console, transient=True) as bars:
            yield _Bar(bars, what, total)

    def say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False)


class _Bar:
    def __init__(self, bars: Bars, what: str, total: int) -> None:
        self.bars = bars
        self.task_id = bars.add_task(what, total=total or None, note="")

    def advance(self, count: int = 1, note: str = "") -> None:
        self.bars.update(self.task_id, advance=count, note=note)


class _Lines:
    def __init__(self, progress: ConsoleProgress, what: str, total: int, unit: str) -> None:
        self.progress, self.what, self.total, self.unit = progress, what, total, unit
        self.done = 0
        self.start_s = self.last_s = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        now_s = time.monotonic()
        if now_s - self.last_s >= _EVERY_S and self.done < self.total:
            self.last_s = now_s
            left_s = (now_s - self.start_s) / self.done * (self.total - self.done)
            text = f"{self.what}: {self.done} of {self.total} {self.unit}".rstrip()
            self.progress.say(f"{text}, {format_seconds(left_s)} left  {note}".rstrip())


def wait_until(done: Callable[[], bool], progress: Progress, line: str) -> None:
    """Say what is waited for, and ask again and again whether it is done.

    A progress that raises, such as one of a run that was told to stop, ends the wait.
    """
    progress.say(line)
    with progress.task("waiting", 0) as task:
        while not done():
            task.advance(0)
            time.sleep(_AGAIN_S)


def format_seconds(seconds: float) -> str:
    """`8.2 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
