"""The other processes of a run: all there before anything starts, and noticed when one dies.

Beside the engine's own connections stands a small one: the chief (process 0) listens at `Cluster.control_address`,
every other process connects to it, and both ends tell each other every half second that they live. An engine that waits
for a dead peer hangs in C++ and hears no Python signal; here a thread ends the process.
"""

import json
import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final, NoReturn

from transferkit import __version__
from transferkit.errors import PeerError, TransferkitError
from transferkit.stop import PREEMPTED, Preempted, StopRequest
from transferkit.train.cluster import Cluster
from transferkit.train.meeting import Link, gather_all, join_chief

_log = logging.getLogger(__name__)

_BEAT_S = 0.5
# A process that dies closes its connections at once, and the kernel notices a machine that vanishes (see `Link`). What
# is left is a process that stands still, and it may do so for long: loading TensorFlow from a slow disk keeps Python's
# other threads from running.
_SILENT_S = 45.0
# After one process ended with an error, others that are about to end with their own may still do so.
_OWN_ERROR_S = 2.0
_RESUME: Final = "the last checkpoint is kept: start the same command with --resume on every machine"


class Peers:
    """All processes of a run, seen from this one; made by `meet_peers`."""

    def __init__(self, cluster: Cluster | None, links: Mapping[int, Link], stop: StopRequest) -> None:
        self.cluster, self._stop, self._stop_told = cluster, stop, False
        self._links = links
        self._left = threading.Event()
        self._someone_ended = False
        # The command line shuts file descriptor 2 for a while as TensorFlow starts; the sentence must be seen then too.
        self._stderr = os.dup(2) if links else -1
        self._watcher = threading.Thread(target=self._watch, name="transferkit-peers", daemon=True)
        self._watcher.start()

    @property
    def is_chief(self) -> bool:
        return self.cluster is None or self.cluster.is_chief

    def barrier(self, name: str) -> None:
        """Return when every process has called this with the same name.

        Raises:
            PeerError: a process has left the run.
        """
        if not self.is_chief:
            self._links[0].try_send(at=name)
            self._expect(0, "go", name)
            return
        for process in self._links:
            self._expect(process, "at", name)
        for link in self._links.values():
            link.try_send(go=name)

    def broadcast(self, value: Any) -> Any:
        """The chief's value, in every process; what the others give is not looked at.

        Args:
            value: made of JSON's types, below 1 MiB; tuples come back as lists, also in the chief.

        Raises:
            PeerError: the chief has left the run.
        """
        if not self.is_chief:
            return self._expect(0, "value")
        value = json.loads(json.dumps(value))
        for link in self._links.values():
            link.try_send(value=value)
        return value

    def close(self) -> None:
        """Say goodbye: the others go on, and no longer wait for this process.

        Only for a process whose share is done. One that stops half way must end with an error, or the others wait.
        """
        self._leave(bye=True)

    def _expect(self, process: int, kind: str, name: str | None = None) -> Any:
        message = self._links[process].inbox.get()
        if message is None:
            raise PeerError(f"{self._name(process)} has already left the run; {_RESUME}.")
        if kind not in message or (name is not None and message[kind] != name):
            raise RuntimeError(f"{self._name(process)} sent {message}, where {kind} {name or ''} was expected")
        return message[kind]

    def _name(self, process: int) -> str:
        return self.cluster.name_of(process)

    def _leave(self, **last: Any) -> None:
        if self._left.is_set():
            return
        self._left.set()
        for link in self._open():
            with suppress(OSError):
                link.try_send(**last)
                link.socket.shutdown(socket.SHUT_WR)
        # The other side closes when it has read the message; closing before might throw the message away.
        self._watcher.join(2.0)
        for link in self._open():
            link.close()

    def _leave_with(self, error: BaseException) -> None:
        """Tell the others that this process ends with an error; if a peer's death is the cause, end as after that."""
        if isinstance(error, Exception) and not isinstance(error, TransferkitError):
            start_s = time.monotonic()
            # The engine may notice a dead peer before we do. So wait until all have been heard, or one is known dead.
            while self._someone_ended or any(link.heard_s < start_s for link in self._open()):
                time.sleep(0.02)
        first_line = (str(error).splitlines() or [""])[0][:300]
        ended = f"ended with an error ({type(error).__name__}{first_line and ': '}{first_line})"
        code = PeerError.exit_code
        if isinstance(error, Preempted):
            ended, code = str(error), PREEMPTED
        elif isinstance(error, KeyboardInterrupt):
            ended = "was interrupted"
        self._leave(ended=f"{self._name(self.cluster.index)} {ended}" if self.cluster else "", code=code)

    def _open(self) -> list[Link]:
        return [link for link in self._links.values() if not link.finished]

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for link in self._open():
                selector.register(link, selectors.EVENT_READ, link)
                self._handle(link, link.early)
            next_beat_s = 0.0
            while self._open():
                # Taken before reading: if this process itself stood still, what has arrived meanwhile counts as heard.
                now_s = time.monotonic()
                for key, _ in selector.select(_BEAT_S / 2):
                    self._read(key.data)
                    if key.data.finished:
                        selector.unregister(key.data)
                        key.data.socket.close()
                for link in self._open():
                    if now_s - link.heard_s > _SILENT_S:
                        self._lost(link, f"{self._name(link.process)} has been silent for {_SILENT_S:.0f} s")
                    elif now_s >= next_beat_s and not self._left.is_set():
                        link.try_send(beat=True)
                if now_s >= next_beat_s:
                    next_beat_s = now_s + _BEAT_S
                if self._stop.requested and not (self.is_chief or self._stop_told or self._left.is_set()):
                    self._stop_told = True
                    self._links[0].try_send(stop=True)

    def _read(self, link: Link) -> None:
        try:
            messages = link.receive()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self._lost(link, f"{self._name(link.process)} died or cannot be reached ({reason})")
            return
        self._handle(link, messages)

    def _handle(self, link: Link, messages: Iterable[Mapping[str, Any]]) -> None:
        for message in messages:
            if "bye" in message:
                link.finished = True
                link.inbox.put(None)
            elif "ended" in message:
                code = PREEMPTED if message.get("code") == PREEMPTED else PeerError.exit_code
                self._lost(link, str(message["ended"]), grace_s=_OWN_ERROR_S, code=code)
            elif "stop" in message:
                self._stop.requested = True
            elif "beat" not in message:
                link.inbox.put(message)

    def _lost(self, link: Link, what: str, *, grace_s: float = 0.0, code: int = PeerError.exit_code) -> None:
        """A peer is gone before its time: tell the rest and end this process, unless it is leaving anyway."""
        if not self._left.is_set():
            self._someone_ended = True
            for other in self._open() if self.is_chief else ():
                if other is not link:
                    other.try_send(ended=what, code=code)
            if not self._left.wait(grace_s):
                self._end_process(f"transferkit: {what}, so every process of the run ends; {_RESUME}.", code)
        link.finished = True
        link.inbox.put(None)

    def _end_process(self, sentence: str, code: int) -> NoReturn:
        # Flushing waits for whoever is in the middle of printing; that must not keep the process alive.
        flusher = threading.Thread(target=_flush, daemon=True)
        flusher.start()
        flusher.join(1.0)
        with suppress(OSError):
            os.write(self._stderr, f"\n{sentence}\n".encode())
        os._exit(code)


@contextmanager
def meet_peers(
    cluster: Cluster | None, *, recipe_digest: str, timeout_s: float = 60.0, stop: StopRequest | None = None
) -> Iterator[Peers]:
    """All processes of the run, once all are there with the same version and recipe; watched until the block ends.

    If one dies or falls silent inside the block, every process prints which and ends with code 75. A process that
    leaves the block by an error tells the others, who then end too; one that leaves it otherwise says goodbye.

    Args:
        cluster: None for a process that is alone: everything then works and waits for nobody.
        recipe_digest: of everything that must be the same in all processes.
        stop: a request to any process becomes one to the chief, which alone may end the run half way: a process that
            stopped at a step of its own would leave the others waiting for it. Ctrl-C is likewise left to the chief.

    Raises:
        PeerError: somebody is missing after `timeout_s`; the message, in every process that is there, says who.
        RuntimeSetupError: the processes differ in version, recipe or number.
    """
    links: Mapping[int, Link] = {}
    if cluster and cluster.num_processes > 1:
        hello = {"version": __version__, "recipe": recipe_digest, "processes": cluster.num_processes}
        links = (gather_all if cluster.is_chief else join_chief)(cluster, hello, timeout_s=timeout_s)
        _log.info("all %d processes are there", cluster.num_processes)
    peers = Peers(cluster, links, stop or StopRequest())
    try:
        with nullcontext() if peers.is_chief else _ignore_interrupts():
            yield peers
    except SystemExit as leave:
        peers.close() if not leave.code else peers._leave_with(leave)
        raise
    except BaseException as error:
        peers._leave_with(error)
        raise
    peers.close()


@contextmanager
def _ignore_interrupts() -> Iterator[None]:
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread, where Python lets no signal through anyway
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
