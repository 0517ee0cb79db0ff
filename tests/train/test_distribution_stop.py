"""Who may end a run of several processes half way: the chief, whoever of them is told to."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

PROGRAM = """
import sys, time
from transferkit.stop import on_sigterm
from transferkit.train import peers
from transferkit.train.cluster import Cluster
cluster = Cluster({addresses!r}, {index})
with on_sigterm() as stop, peers.meet_peers(cluster, recipe_digest="same", timeout_s=20, stop=stop) as peers_of_run:
    print("met", flush=True)
    for _ in range(3000):
        time.sleep(0.01)
        if cluster.is_chief:
            stop.check()
"""


@pytest.fixture
def pair():
    """Two processes that have met; the chief's program checks for a stop, the other's never does."""
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        addresses = tuple(f"127.0.0.1:{server.getsockname()[1]}" for server in servers)
    environ = {**os.environ, "PYTHONUNBUFFERED": ""}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(addresses=addresses, index=index)],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell's background job ignores interrupts, and its children would, too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        for index in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "met\n", process.stderr.read()
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("told", [[0], [1], [0, 1]], ids=["the chief", "the other", "both"])
def test_distribution_stops_everywhere_with_143_whoever_is_told(pair, told):
    for index in told:
        pair[index].send_signal(signal.SIGTERM)

    outputs = [process.communicate(timeout=20) for process in pair]

    assert [process.returncode for process in pair] == [143, 143], outputs
    assert "stopped by SIGTERM" in outputs[1][1]
    assert "--resume" in outputs[1][1]


def test_distribution_leaves_ctrl_c_to_the_chief(pair):
    pair[1].send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        pair[1].wait(1.0)
    pair[0].send_signal(signal.SIGINT)

    outputs = [process.communicate(timeout=20) for process in pair]

    assert pair[0].returncode in (1, 130, -signal.SIGINT)  # which of them is the command line's choice
    assert pair[1].returncode == 75
    assert "process 0" in outputs[1][1]
    assert "was interrupted" in outputs[1][1]
