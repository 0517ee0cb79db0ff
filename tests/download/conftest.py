"""Waits that are over soon, and a progress that remembers."""

import pytest

from transferkit.download import transfer
from transferkit.progress import Quiet


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Gives what the longest wait for a first answer is otherwise."""
    answer_s = transfer.ANSWER_S
    monkeypatch.setattr(transfer, "ANSWER_S", 1.0)
    monkeypatch.setattr(transfer, "STALL_S", 0.5)
    monkeypatch.setattr(transfer, "PATIENCE_S", 1.0)
    monkeypatch.setattr(transfer, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(transfer, "LONGEST_PAUSE_S", 0.2)
    return answer_s


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("TRANSFERKIT_MIRROR", "TRANSFERKIT_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


class Clock:
    """Time that passes only where somebody waits for it to, or looks."""

    def __init__(self):
        self.now = 0.0
        self.look_s = 0.0  # how long it takes to look

    def monotonic(self):
        self.now += self.look_s
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    """What downloads take for the time between attempts; sockets go by the true one."""
    clock = Clock()
    monkeypatch.setattr(transfer, "time", clock)
    return clock


class Told(Quiet):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture
def told():
    """Keeps the lines it is told."""
    return Told()
