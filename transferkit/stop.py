"""Pre-emption: a machine that is about to be taken away sends SIGTERM; the run writes its state and leaves."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from transferkit.progress import Progress, Task

PREEMPTED = 143  # 128 + SIGTERM, what a shell reports of a process that the signal ended


class Preempted(SystemExit):
    """The run was told to stop. Passes every `except Exception`; where nobody catches it the exit code is 143."""

    def __init__(self) -> None:
        super().__init__(PREEMPTED)

    def __str__(self) -> str:
        return "stopped by SIGTERM"


class StopRequest:
    """Whether the run was told to stop."""

    def __init__(self) -> None:
        self.requested = False

    def check(self) -> None:
        """Raise `Preempted`, each time anew, once the run was told to stop."""
        if self.requested:
            raise Preempted


@contextmanager
def on_sigterm() -> Iterator[StopRequest]:
    """Turn the first SIGTERM into a request; a second one ends the process at once.

    Outside the main thread signals cannot be caught: nothing is ever requested there, and SIGTERM does what it did.
    A request that nobody acted on before the end goes to the handler that stood there before, if there was one.
    """
    stop = StopRequest()

    def note(number: int, frame: FrameType | None) -> None:
        stop.requested = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # which works in the middle of a compiled step, too

    try:
        before = signal.signal(signal.SIGTERM, note)
    except ValueError:  # not the main thread
        yield stop
        return
    try:
        yield stop
    finally:
        # None stands for a handler that was not set from Python and cannot be put back.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
    if stop.requested and callable(before):
        signal.raise_signal(signal.SIGTERM)


class StoppableProgress:
    """Progress that ends long work at its next step once the run was told to stop.

    What is told reaches `inner` first, so a step that was told counts as done. Whoever catches `Preempted` speaks
    through `inner`.
    """

    def __init__(self, inner: Progress, stop: StopRequest) -> None:
        self.inner, self.stop = inner, stop

    @contextmanager
    def task(self, what: str, total: int, unit: str = "") -> Iterator[Task]:
        self.stop.check()
        with self.inner.task(what, total, unit) as task:
            yield _StoppableTask(task, self.stop)

    def say(self, line: str) -> None:
        self.inner.say(line)
        self.stop.check()


class _StoppableTask:
    def __init__(self, inner: Task, stop: StopRequest) -> None:
        self.inner, self.stop = inner, stop

    def advance(self, count: int = 1, note: str = "") -> None:
        self.inner.advance(count, note)
        self.stop.check()
