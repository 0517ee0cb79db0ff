"""`--workers N`: the same command as N processes on this machine, to try what several machines would do."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import BinaryIO, Final

from transferkit.errors import PeerError
from transferkit.train.cluster import CLUSTER_VARIABLE, PROCESS_VARIABLE, Cluster

_HOST: Final = "127.0.0.1"
_PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A process ends within about 50 s of another's death (see train/peers.py), and writes a checkpoint when told to stop.
_GRACE_S = 60.0
_TERM_S = 10.0
_POLL_S = 0.05
# One process must leave cores to the others: each would start a thread per core.
_THREAD_VARIABLES: Final = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    output: BinaryIO | None  # None: straight to the screen


def run_workers(
    num_workers: int, argv: Sequence[str], *, command: Sequence[str] = (sys.executable, "-m", "transferkit")
) -> int:
    """Run `command argv` as `num_workers` processes of one cluster; argv's own `--workers` is left out.

    The chief prints as it would alone; what the others print is shown if they fail. Ctrl-C and SIGTERM go to all.
    When one fails, the others have a minute to end by themselves.

    Returns:
        The exit code of the first that failed by itself; 75 if they only missed each other; 0 if all went well.
    """
    with ExitStack() as stack:
        workers: list[_Worker] = []
        received: list[int] = []
        stack.callback(_end, workers)
        stack.enter_context(_pass_on(workers, received))
        addresses = _choose_addresses(num_workers)
        for index in range(num_workers):
            output = stack.enter_context(tempfile.TemporaryFile()) if index else None
            process = subprocess.Popen(
                [*command, *without_workers(argv)],
                env={**os.environ, **_environment(Cluster(addresses, index))},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output and subprocess.STDOUT,
                process_group=0,  # so that a Ctrl-C of the terminal comes once, from here
            )
            workers.append(_Worker(process, output))
            if received:  # while they were being started
                process.send_signal(received[-1])
        codes = _wait(workers, received)
        _show_failures(workers, codes)
    return _exit_code(list(codes.values()), received)


def without_workers(argv: Sequence[str]) -> list[str]:
    """Arguments without `--workers N` or `--workers=N`."""
    kept, rest = [], iter(argv)
    for one in rest:
        if one == "--workers":
            next(rest, None)
        elif not one.startswith("--workers="):
            kept.append(one)
    return kept


def _environment(cluster: Cluster) -> dict[str, str]:
    threads = max(1, (os.cpu_count() or 1) // cluster.num_processes)
    chosen = {name: os.environ.get(name, str(threads)) for name in _THREAD_VARIABLES}
    return {
        **chosen,
        CLUSTER_VARIABLE: ",".join(cluster.addresses),
        PROCESS_VARIABLE: str(cluster.index),
        "TF_CONFIG": "",  # would be read first
    }


def _choose_addresses(count: int) -> tuple[str, ...]:
    """Ports that are free now, with a free one for the control channel."""
    while True:
        with ExitStack() as stack:
            sockets = [stack.enter_context(socket.create_server((_HOST, 0))) for _ in range(count)]
            addresses = tuple(f"{_HOST}:{one.getsockname()[1]}" for one in sockets)
            try:
                stack.enter_context(socket.create_server(Cluster(addresses, 0).control_address))
            except OSError:
                continue
            return addresses


@contextmanager
def _pass_on(workers: Sequence[_Worker], received: list[int]) -> Iterator[None]:
    """Hand signals to all workers; one that is ignored, as after `nohup`, stays so."""

    def pass_on(number: int, _: FrameType | None) -> None:
        received.append(number)
        for worker in workers:
            worker.process.send_signal(number)

    before = {one: signal.getsignal(one) for one in _PASSED_ON}
    handled = [one for one in _PASSED_ON if before[one] is not signal.SIG_IGN]
    for one in handled:
        signal.signal(one, pass_on)
    try:
        yield
    finally:
        for one in handled:
            signal.signal(one, before[one])


def _wait(workers: Sequence[_Worker], received: Sequence[int]) -> dict[int, int]:
    """Exit codes by worker, in the order in which they ended; without those that have not ended in time."""
    codes: dict[int, int] = {}
    deadline_s = None
    while len(codes) < len(workers):
        for index, worker in enumerate(workers):
            code = worker.process.poll()
            if code is not None and index not in codes:
                codes[index] = code if code >= 0 else 128 - code  # as shells say it for a signal
        if deadline_s is None and (received or any(codes.values())):
            deadline_s = time.monotonic() + _GRACE_S
        if deadline_s and time.monotonic() > deadline_s:
            break
        time.sleep(_POLL_S)
    return codes


def _end(workers: Sequence[_Worker]) -> None:
    """Nobody outlives the launcher."""
    for worker in workers:
        worker.process.terminate()
    deadline_s = time.monotonic() + _TERM_S
    for worker in workers:
        try:
            worker.process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()


def _show_failures(workers: Sequence[_Worker], codes: dict[int, int]) -> None:
    """What failed workers printed; those that only missed a peer, if nobody says more."""
    failed = [index for index, code in codes.items() if code not in (0, PeerError.exit_code)]
    for index in failed or [index for index, code in codes.items() if code]:
        output = workers[index].output
        if output is None:
            continue
        output.seek(0)
        for line in output.read().decode(errors="replace").splitlines():
            print(f"[process {index}] {line}", file=sys.stderr)
        print(f"[process {index}] ended with code {codes[index]}", file=sys.stderr, flush=True)


def _exit_code(codes: Sequence[int], received: Sequence[int]) -> int:
    failures = [code for code in codes if code]
    own = [code for code in failures if code != PeerError.exit_code]
    if own or failures:
        return (own or failures)[0]
    return 128 + received[-1] if received and not codes else 0
