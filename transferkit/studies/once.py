"""What several runs tell alike is said once."""

import re

from transferkit.progress import Progress


class OnceInAllRuns:
    """Progress of several runs on the same pictures; a warning or finding of one is not told again by a later one,
    not with other numbers either."""

    def __init__(self, inner: Progress) -> None:
        self.inner, self.task = inner, inner.task
        self._before: set[str] = set()
        self._now: set[str] = set()
        self._passes = True

    def begin_run(self) -> None:
        self._before |= self._now

    def say(self, line: str) -> None:
        # A line that is set in goes on with the one before it.
        if not line.startswith("  "):
            topic = _topic(line)
            self._passes = topic not in self._before
            self._now |= {topic} if topic else set()
        if self._passes:
            self.inner.say(line)


def _topic(line: str) -> str:
    """What a warning or finding is about, without numbers, names and examples; empty for any other line."""
    if line.startswith("warning: "):
        what = line
    elif re.match("data, |data: leakage", line):
        what = ": ".join(line.split(": ")[:2])
    else:
        return ""
    return re.sub(r"'[^']*'|\d+", "…", what)
