"""The processes of a run meet, agree and notice each other's death: real processes over real sockets."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from transferkit.errors import PeerError
from transferkit.train.cluster import Cluster
from transferkit.train.meeting import Link
from transferkit.train.peers import meet_peers

PROGRAM = """
import os, sys, time
from transferkit.errors import TransferkitError
from transferkit.train import meeting, peers
from transferkit.train.cluster import Cluster
cluster = Cluster({addresses!r}, {index})
{before}
try:
    with peers.meet_peers(cluster, recipe_digest={digest!r}, timeout_s={timeout_s}) as peers_of_run:
        print("met", flush=True)
{body}
except TransferkitError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
print("done")
"""
WAIT = "time.sleep(30)"
# As in a collective operation of an engine: the main thread returns to Python for nothing.
WAIT_IN_C = "import ctypes; ctypes.CDLL(None).sleep(30)"


def free_addresses(count):
    """Addresses of this machine whose ports are free, as is the control port that follows from them."""
    while True:
        with ExitStack() as stack:
            servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
            addresses = tuple(f"127.0.0.1:{server.getsockname()[1]}" for server in servers)
            with suppress(OSError), socket.create_server(Cluster(addresses, 0).control_address):
                return addresses


@pytest.fixture
def start():
    """`start(body, …)`: a process for each body; `None` starts none in that place."""
    started = []

    def make(*bodies, digests=(), before="", timeout_s=20, addresses=None):
        addresses = addresses or free_addresses(len(bodies))
        for index, body in enumerate(bodies):
            if body is None:
                continue
            program = PROGRAM.format(
                addresses=addresses,
                index=index,
                digest=digests[index] if digests else "same",
                before=before,
                timeout_s=timeout_s,
                body=textwrap.indent(textwrap.dedent(body), " " * 8),
            )
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            # What is printed waits for its flush, as it does where output goes to a file.
            environ = {**os.environ, "PYTHONUNBUFFERED": ""}
            started.append(subprocess.Popen([sys.executable, "-c", program], env=environ, **pipes))
        return started

    yield make
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def connected():
    """Both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        here, (there, _) = socket.create_connection(server.getsockname()), server.accept()
    with here, there:
        yield here, there


def wait_until_met(processes):
    for process in processes:
        assert process.stdout.readline() == "met\n", process.stderr.read()


def ends_of(processes, *, within_s=10):
    """Exit code, output and error text of each."""
    texts = [process.communicate(timeout=within_s) for process in processes]
    return [(process.returncode, *text) for process, text in zip(processes, texts, strict=True)]


def test_processes_meet_and_end_well_with_no_word(start):
    processes = start("pass", "pass", "pass")

    assert ends_of(processes) == [(0, "met\ndone\n", "")] * 3


def test_barrier_lets_nobody_on_before_the_last_arrives(start):
    body = """
        time.sleep({delay_s})
        arrived = time.time()
        peers_of_run.barrier("data")
        print(arrived, time.time())
        """

    processes = start(*(body.format(delay_s=delay_s) for delay_s in (0, 0.6, 0.2)))

    times = [tuple(map(float, output.splitlines()[1].split())) for _, output, _ in ends_of(processes)]
    assert max(arrived for arrived, _ in times) <= min(gone_on for _, gone_on in times)


def test_broadcast_gives_everybody_the_chief_s_value(start):
    body = "print(peers_of_run.broadcast({'folder': 'runs/%d', 'step': (%d, None)}))"

    processes = start(*(body % (index, index) for index in range(3)))

    assert {output.splitlines()[1] for _, output, _ in ends_of(processes)} == {
        "{'folder': 'runs/0', 'step': [0, None]}"
    }


def test_many_barriers_and_broadcasts_in_a_row_keep_their_order(start):
    body = """
        for number in range(200):
            assert peers_of_run.broadcast(number) == number
            peers_of_run.barrier(str(number))
        """

    processes = start(body, body, body)

    assert [code for code, *_ in ends_of(processes)] == [0, 0, 0]


def test_missing_process_is_named_by_everybody_who_is_there(start):
    addresses = free_addresses(3)

    ends = ends_of(start(WAIT, WAIT, None, timeout_s=1.0, addresses=addresses))

    assert [code for code, *_ in ends] == [75, 75]
    assert all(f"process 2 ({addresses[2]}) is missing after 1 s" in errors for *_, errors in ends)


def test_missing_chief_is_named_by_everybody_who_is_there(start):
    addresses = free_addresses(3)

    ends = ends_of(start(None, WAIT, WAIT, timeout_s=0.8, addresses=addresses))

    assert [code for code, *_ in ends] == [75, 75]
    assert all(f"process 0 ({addresses[0]}) is missing" in errors for *_, errors in ends)


def test_process_that_comes_late_is_waited_for(start):
    addresses = free_addresses(2)
    late = "time.sleep(0.6) if cluster.is_chief else None"

    processes = start("pass", "pass", before=late, addresses=addresses)

    assert [code for code, *_ in ends_of(processes)] == [0, 0]


@pytest.mark.parametrize("victim", [0, 2], ids=["chief", "worker"])
def test_death_of_one_ends_all_others_within_seconds_with_one_sentence(start, victim):
    addresses = free_addresses(3)
    processes = start(*[WAIT_IN_C] * 3, addresses=addresses, before="peers._OWN_ERROR_S = 0.2")
    wait_until_met(processes)

    processes[victim].send_signal(signal.SIGKILL)
    killed_s = time.monotonic()
    ends = ends_of([one for index, one in enumerate(processes) if index != victim])

    assert time.monotonic() - killed_s < 6
    assert [code for code, *_ in ends] == [75, 75]
    for *_, errors in ends:
        (sentence,) = errors.split("\n")[1:-1]
        assert f"process {victim} ({addresses[victim]}) died" in sentence
        assert "--resume on every machine" in sentence


def test_process_that_stands_still_counts_as_dead(start):
    processes = start(WAIT, WAIT, before="peers._BEAT_S = 0.05; peers._SILENT_S = 0.8")
    wait_until_met(processes)

    processes[1].send_signal(signal.SIGSTOP)
    (code, _, errors), *_ = ends_of(processes[:1])

    assert code == 75
    assert "process 1" in errors
    assert "silent" in errors


def test_what_was_printed_before_is_not_lost_when_a_peer_dies(start):
    processes = start("print('epoch 7'); print('printed', file=sys.stderr, flush=True); time.sleep(30)", WAIT)
    wait_until_met(processes)
    assert processes[0].stderr.readline() == "printed\n"

    processes[1].kill()
    (_, output, _), *_ = ends_of(processes[:1])

    assert output == "epoch 7\n"


def test_sentence_is_seen_also_while_the_error_stream_is_put_aside(start):
    aside = "os.dup2(os.open(os.devnull, os.O_WRONLY), 2); print('aside', flush=True); time.sleep(30)"
    processes = start(aside, WAIT)
    wait_until_met(processes)
    assert processes[0].stdout.readline() == "aside\n"

    processes[1].kill()
    (_, _, errors), *_ = ends_of(processes[:1])

    assert "process 1" in errors


@pytest.mark.parametrize("early", [0, 1], ids=["chief", "worker"])
def test_process_that_says_goodbye_is_not_missed(start, early):
    bodies = ["time.sleep(1.2)"] * 3
    bodies[early] = "pass"

    ends = ends_of(start(*bodies, before="peers._BEAT_S = 0.05; peers._SILENT_S = 0.8"))

    assert ends == [(0, "met\ndone\n", "")] * 3


def test_system_exit_with_code_0_is_a_goodbye(start):
    ends = ends_of(start("time.sleep(0.5)", "sys.exit(0)"))

    assert [code for code, *_ in ends] == [0, 0]


def test_error_of_one_is_told_to_the_others_who_end_too(start):
    ends = ends_of(start(WAIT, WAIT, "raise ValueError('no such\\nlayer')", before="peers._OWN_ERROR_S = 0.2"))

    assert [code for code, *_ in ends] == [75, 75, 1]
    for *_, errors in ends[:2]:
        assert "process 2" in errors
        assert "ended with an error (ValueError: no such)" in errors
    assert "Traceback" in ends[2][2]


def test_error_of_the_user_that_all_make_is_said_by_all(start):
    body = "time.sleep({delay_s}); from transferkit.errors import DataError; raise DataError('no pictures')"

    ends = ends_of(start(body.format(delay_s=0), body.format(delay_s=0.5)))

    assert [(code, errors) for code, _, errors in ends] == [(2, "no pictures\n")] * 2


def test_engine_error_after_a_peer_s_death_counts_as_the_death(start):
    # A peer that stands still: the engine gives up before it counts as silent here.
    before = "peers._BEAT_S = 0.05; peers._SILENT_S = 1.2"
    processes = start("time.sleep(0.3); raise RuntimeError('collective failed')", WAIT, before=before)
    wait_until_met(processes)

    processes[1].send_signal(signal.SIGSTOP)
    (code, _, errors), *_ = ends_of(processes[:1])

    assert code == 75
    assert "process 1" in errors
    assert "collective failed" not in errors


def test_barrier_that_a_finished_process_cannot_reach_is_an_error(start):
    ends = ends_of(start("peers_of_run.barrier('end')", "pass"))

    assert [code for code, *_ in ends] == [75, 0]
    assert "has already left the run" in ends[0][2]


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_other_recipe_is_refused_by_everybody(start, odd):
    digests = ["same"] * 3
    digests[odd] = "other"

    ends = ends_of(start(WAIT, WAIT, WAIT, digests=digests))

    assert [code for code, *_ in ends] == [2, 2, 2]
    others = [odd] if odd else [1, 2]
    for *_, errors in ends:
        assert [number for number in (1, 2) if f"process {number} (" in errors] == others
        assert "another recipe than the chief" in errors


def test_other_version_is_refused_with_both_versions(start):
    before = "peers.__version__ = 'chief' if cluster.is_chief else 'worker'"

    ends = ends_of(start(WAIT, WAIT, before=before))

    assert [code for code, *_ in ends] == [2, 2]
    assert all("runs transferkit worker, the chief chief" in errors for *_, errors in ends)


def test_other_number_of_processes_is_refused_by_everybody(start):
    addresses = free_addresses(3)
    before = f"cluster = Cluster({addresses[:2]!r}, 0) if cluster.is_chief else cluster"

    # Two of them, as the third is in nobody's way; all agree about the control port.
    ends = ends_of(start(WAIT, None, WAIT, before=before + "; meeting._MISMATCH_S = 0.5", addresses=addresses))

    assert [code for code, *_ in ends] == [2, 2]
    assert all("process 2 counts 3 processes, the chief 2" in errors for *_, errors in ends)


def test_process_that_is_started_twice_is_refused(start):
    addresses = free_addresses(3)
    before = "cluster = Cluster(cluster.addresses, min(cluster.index, 1)); meeting._MISMATCH_S = 0.5"

    ends = ends_of(start(WAIT, WAIT, WAIT, before=before, addresses=addresses))

    assert [code for code, *_ in ends] == [2, 2, 2]
    assert all(f"process 1 ({addresses[1]}) is there twice" in errors for *_, errors in ends)


STRANGERS = [
    b"",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x00\xff" * 50 + b"\n",
    b"5\n",
    b'{"process": true}\n',
    b'{"process": 1}\n',
    b"[" * 100_000 + b"\n",
    b"x" * (3 << 20),
]


def test_strangers_before_the_meeting_break_nothing(start):
    addresses = free_addresses(2)
    control = Cluster(addresses, 0).control_address
    chief = start("pass", None, addresses=addresses)
    connections = []
    for data in STRANGERS:
        connections.append(connect(control))
        with suppress(OSError):  # shut out in the middle of it
            connections[-1].sendall(data)

    start(None, "pass", addresses=addresses)

    assert ends_of(chief) == [(0, "met\ndone\n", "")] * 2
    for one in connections:
        one.close()


def test_port_is_closed_to_strangers_after_the_meeting(start):
    addresses = free_addresses(2)
    processes = start("time.sleep(1)", "time.sleep(1)", addresses=addresses)
    wait_until_met(processes)

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(Cluster(addresses, 0).control_address, timeout=1)


def test_something_else_at_the_chief_s_port_is_no_chief():
    addresses = free_addresses(2)
    with socket.create_server(Cluster(addresses, 0).control_address) as server:
        threading.Thread(target=answer_like_a_web_server, args=[server], daemon=True).start()

        with (
            pytest.raises(PeerError, match="process 0 .* is missing"),
            meet_peers(Cluster(addresses, 1), recipe_digest="", timeout_s=0.6),
        ):
            pass


def test_worker_that_died_while_waiting_may_come_again(start):
    addresses = free_addresses(3)
    processes = start("pass", None, None, addresses=addresses)
    control = Cluster(addresses, 0).control_address
    with connect(control) as first:
        hello = {"process": 1, "version": version(), "recipe": "same", "processes": 3}
        first.sendall(json.dumps(hello).encode() + b"\n")
        time.sleep(0.3)

    start(None, "pass", "pass", addresses=addresses)

    assert [code for code, *_ in ends_of(processes)] == [0, 0, 0]


@pytest.mark.parametrize("cluster", [None, Cluster(("a:1",), 0)], ids=["no cluster", "cluster of one"])
def test_process_alone_waits_for_nobody(cluster):
    with meet_peers(cluster, recipe_digest="", timeout_s=0.0) as peers:
        peers.barrier("data")

        assert peers.is_chief
        assert peers.broadcast({"step": (1, 2)}) == {"step": [1, 2]}


def test_error_of_a_process_alone_stays_as_it_is():
    with pytest.raises(ValueError, match="mine"), meet_peers(None, recipe_digest=""):
        raise ValueError("mine")


def test_message_that_is_too_long_is_refused_by_its_sender(connected):
    here, _ = connected
    with pytest.raises(ValueError, match="longer than"):
        Link(here).send(value="x" * (1 << 20))


def test_messages_arrive_whole_however_they_are_cut(connected):
    here, there = connected
    link = Link(here)

    there.sendall(b'{"a": 1}\n{"b"')
    first = link.receive()
    there.sendall(b': "\xc3')
    second = link.receive()
    there.sendall(b'\xa4"}\n')

    assert (first, second, link.receive()) == ([{"a": 1}], [], [{"b": "ä"}])


def connect(address):
    """A connection to a port that is about to be opened."""
    end_s = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(address, timeout=5)
        except OSError:
            assert time.monotonic() < end_s
            time.sleep(0.05)


def answer_like_a_web_server(server):
    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def version():
    import transferkit

    return transferkit.__version__
