"""What several runs tell alike is said once."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from transferkit.progress import Progress, Remark, Task

_ON_PICTURES = "transferkit.data"


class OnceInAllRuns:
    """Progress, and a filter of log records, of several runs with the same recipe and pictures.

    A remark on these that one run made is not made again by a later one, not with other numbers either; nor are log
    lines of the data. Whatever else a run tells passes, such as all that its training has to say.
    """

    def __init__(self, inner: Progress) -> None:
        self.inner = inner
        self._before: set[str] = set()
        self._now: set[str] = set()

    def begin_run(self) -> None:
        self._before |= self._now

    def task(self, what: str, total: int, unit: str = "") -> AbstractContextManager[Task]:
        return self.inner.task(what, total, unit)

    def say(self, line: str) -> None:
        if not isinstance(line, Remark) or self._is_new(line.topic):
            self.inner.say(line)

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.name.startswith(_ON_PICTURES) or self._is_new(record.getMessage())

    @contextmanager
    def in_log(self) -> Iterator[None]:
        """Filter what is logged meanwhile."""
        handlers = [one for one in (*logging.getLogger().handlers, logging.lastResort) if one]
        for handler in handlers:
            handler.addFilter(self)
        try:
            yield
        finally:
            for handler in handlers:
                handler.removeFilter(self)

    def _is_new(self, topic: str) -> bool:
        self._now.add(topic)
        return topic not in self._before
