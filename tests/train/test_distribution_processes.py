"""Two TensorFlow processes on this machine take the step that one device takes; each also trains alone, to compare."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

pytestmark = pytest.mark.model

CASES = Path(__file__).with_name("distribution_cases.py")
# Sums over processes are added in another order, which batch norm by the statistics of 7 pictures magnifies; 5e-7
# measured.
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def found():
    """What each process found."""
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        addresses = ",".join(f"127.0.0.1:{server.getsockname()[1]}" for server in servers)
    common = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TRANSFERKIT_CLUSTER": addresses}
    processes = [
        subprocess.Popen(
            [sys.executable, str(CASES), "first_train"],
            env={**common, "TRANSFERKIT_PROCESS": str(index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        outputs = [one.communicate(timeout=300) for one in processes]
    finally:
        for one in processes:
            one.kill()
    assert [one.returncode for one in processes] == [0, 0], outputs
    return [json.loads(out.splitlines()[-1])["first_train"] for out, _ in outputs]


def test_distribution_over_processes_takes_the_gradients_of_one_device_on_an_uneven_batch(found):
    """With statistics of the whole batch, binary cross-entropy, and pictures of different weight."""
    for one in found:
        assert one["rows"] == 7
        assert one["gradients"] < ROUNDING
        assert one["sums"] < ROUNDING
