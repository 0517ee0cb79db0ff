"""SIGTERM is noted, met at the next step of long work, and ends the process with its own exit code."""

import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from transferkit.progress import Quiet, wait_until
from transferkit.stop import Preempted, StoppableProgress, StopRequest, on_sigterm

# Works until it is told to stop, tells of it, and lets the exception pass.
WORKER = """
import sys, time
from transferkit.progress import Quiet
from transferkit.stop import Preempted, StoppableProgress, on_sigterm
with on_sigterm() as stop:
    print("ready", flush=True)
    try:
        with StoppableProgress(Quiet(), stop).task("training", 10_000) as task:
            for step in range(10_000):
                time.sleep(0.01)
                task.advance()
    except Exception:
        print("swallowed", flush=True)
    except Preempted:
        print("checkpoint", flush=True)
        {then}
        raise
"""


def terminate():
    signal.raise_signal(signal.SIGTERM)


def worker(then="pass"):
    process = subprocess.Popen([sys.executable, "-c", WORKER.format(then=then)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


class Told(Quiet):
    """Remembers what it was told."""

    def __init__(self):
        self.said, self.steps = [], 0

    def say(self, line):
        self.said.append(line)

    def advance(self, count=1, note=""):
        self.steps += count


def test_sigterm_sets_the_flag_and_no_more():
    with on_sigterm() as stop:
        before = stop.requested
        terminate()

        assert (before, stop.requested) == (False, True)


def test_check_raises_each_time_once_the_run_was_told_to_stop():
    with on_sigterm() as stop:
        stop.check()
        terminate()

        for _ in range(2):
            with pytest.raises(Preempted):
                stop.check()


def test_the_handler_that_stood_before_stands_again():
    for handler in (signal.SIG_DFL, signal.SIG_IGN, lambda *_: None):
        original = signal.signal(signal.SIGTERM, handler)
        try:
            with pytest.raises(ZeroDivisionError), on_sigterm():
                raise ZeroDivisionError
            assert signal.getsignal(signal.SIGTERM) is handler
        finally:
            signal.signal(signal.SIGTERM, original)


def test_a_request_that_nobody_met_reaches_the_outer_one():
    with on_sigterm() as outer:
        with on_sigterm() as inner:
            terminate()
            assert not outer.requested

        assert inner.requested
        assert outer.requested


def test_a_request_that_was_met_is_not_passed_on_twice():
    with on_sigterm() as outer:
        with suppress(Preempted), on_sigterm() as inner:
            terminate()
            inner.check()

        assert inner.requested
        assert not outer.requested


def test_outside_the_main_thread_nothing_is_caught():
    before, found = signal.getsignal(signal.SIGTERM), []

    def work():
        with on_sigterm() as stop:
            found.append((stop.requested, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert found == [(False, before)]


def test_a_preempted_process_has_exit_code_143_and_no_traceback():
    process = worker()

    process.terminate()
    rest = process.communicate(timeout=10)[0]

    assert rest == "checkpoint\n"
    assert process.returncode == 143


def test_a_second_sigterm_ends_at_once():
    process = worker(then="time.sleep(60)")
    process.terminate()
    assert process.stdout.readline() == "checkpoint\n"

    process.terminate()

    assert process.wait(timeout=10) == -signal.SIGTERM
    process.stdout.close()


def test_a_step_that_was_told_counts_as_done_before_the_work_ends():
    told, stop = Told(), StopRequest()
    progress = StoppableProgress(told, stop)

    with progress.task("training", 5) as task:
        task.advance(2)
        stop.requested = True
        with pytest.raises(Preempted):
            task.advance(1, "loss 0.1")

    assert told.steps == 3


def test_a_line_is_said_before_the_work_ends():
    told, stop = Told(), StopRequest()
    stop.requested = True

    with pytest.raises(Preempted):
        StoppableProgress(told, stop).say("epoch 3 of 5")

    assert told.said == ["epoch 3 of 5"]


def test_no_new_work_begins_after_a_request():
    stop = StopRequest()
    stop.requested = True

    with pytest.raises(Preempted), StoppableProgress(Told(), stop).task("features", 5):
        pytest.fail("it began")


def test_waiting_ends_after_a_request():
    told, stop, asked = Told(), StopRequest(), []

    def is_there():
        asked.append("?")
        stop.requested = len(asked) == 2
        return len(asked) > 2

    with pytest.raises(Preempted):
        wait_until(is_there, StoppableProgress(told, stop), "waiting for another process")

    assert (len(asked), told.said) == (2, ["waiting for another process"])


def test_without_a_request_everything_passes_through():
    told = Told()
    progress = StoppableProgress(told, StopRequest())

    with progress.task("features", 5) as task:
        task.advance(4)
    progress.say("done")

    assert (told.steps, told.said) == (4, ["done"])
