"""How the processes of a run find each other: lines of JSON over TCP, the chief listens, the others connect to it."""

import ipaddress
import json
import queue
import selectors
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from transferkit.errors import PeerError, RuntimeSetupError
from transferkit.train.cluster import Cluster

_MAX_LINE_BYTES: Final = 1 << 20
# After a mismatch is seen, the other processes may still come, to be told as well.
_MISMATCH_S = 5.0
# The kernel gives up a connection whose other machine has not answered for this long.
_KERNEL_S = 15
_RETRY_S = 0.2
_SEND_S = 5.0


class Link:
    """One connection, as lines of JSON."""

    def __init__(self, connection: socket.socket, process: int | None = None) -> None:
        self.socket, self.process = connection, process
        self.heard_s = time.monotonic()
        self.finished = False
        self.early: list[dict[str, Any]] = []  # came with the chief's welcome
        self.inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._unread = bytearray()
        self._lock = threading.Lock()
        connection.settimeout(_SEND_S)
        # Messages are small and awaited: held back to fill a packet, a barrier takes 20 ms.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _let_kernel_watch(connection)

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, **message: Any) -> None:
        line = json.dumps(message).encode() + b"\n"
        if len(line) > _MAX_LINE_BYTES:
            raise ValueError(f"a message of {len(line)} bytes is longer than the {_MAX_LINE_BYTES} allowed")
        with self._lock:
            self.socket.sendall(line)

    def try_send(self, **message: Any) -> None:
        """`send`, where the reading side is the one to notice that nobody is there."""
        with suppress(OSError):
            self.send(**message)

    def receive(self) -> list[dict[str, Any]]:
        """Whole messages that have arrived; waits for the first bytes.

        Raises:
            OSError: the connection is closed or broken.
            ValueError: what arrives is not this protocol.
        """
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionResetError("closed by the other side")
        self.heard_s = time.monotonic()
        *lines, rest = (self._unread + data).split(b"\n")
        self._unread = rest
        if max(map(len, (*lines, rest))) > _MAX_LINE_BYTES:
            raise ValueError("a line is too long")
        try:
            messages = [json.loads(line) for line in lines]
        except RecursionError:
            raise ValueError("JSON is nested too deeply") from None
        if not all(isinstance(message, dict) for message in messages):
            raise ValueError("a message is not a JSON object")
        return messages

    def close(self) -> None:
        self.finished = True
        self.inbox.put(None)
        self.socket.close()


def gather_all(cluster: Cluster, hello: Mapping[str, Any], *, timeout_s: float) -> dict[int, Link]:
    """Links to all others, in the chief. Whoever connects and does not speak the protocol is shut out again.

    Args:
        hello: what must be equal in all processes.
    """
    deadline_s = time.monotonic() + timeout_s
    there: dict[int, Link] = {}
    problems: dict[Link, str] = {}
    with _listen(cluster, deadline_s) as listener, selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while len(there) < cluster.num_processes - 1 and time.monotonic() < deadline_s:
            for key, _ in selector.select(_RETRY_S):
                if key.fileobj is listener:
                    with suppress(OSError):
                        selector.register(Link(listener.accept()[0]), selectors.EVENT_READ)
                    continue
                link = key.fileobj
                try:
                    for message in link.receive():
                        _welcome(link, message, hello, there, problems, cluster)
                except (OSError, ValueError):  # a stranger, or a process that died again
                    selector.unregister(link)
                    link.close()
                    if there.get(link.process) is link:
                        del there[link.process]
            if problems:
                deadline_s = min(deadline_s, time.monotonic() + _MISMATCH_S)
        connected = [key.fileobj for key in selector.get_map().values() if key.fileobj is not listener]
    for stranger in connected:
        if stranger.process is None:
            stranger.close()
    present = [link for link in connected if link.process is not None]
    if problems:
        _refuse(present, RuntimeSetupError(_describe_mismatch(sorted(problems.values()))))
    missing = [process for process in range(1, cluster.num_processes) if process not in there]
    if missing:
        names = ", ".join(map(cluster.name_of, missing))
        verb = "is" if len(missing) == 1 else "are"
        _refuse(present, PeerError(_describe_missing(f"{names} {verb} missing", timeout_s)))
    for link in there.values():
        link.try_send(welcome=True)
    return there


def join_chief(cluster: Cluster, hello: Mapping[str, Any], *, timeout_s: float) -> dict[int, Link]:
    """A link to the chief, once it says that all are there."""
    deadline_s = time.monotonic() + timeout_s
    host, port = cluster.control_address
    what = "nothing answers"
    while time.monotonic() < deadline_s:
        try:
            link = Link(socket.create_connection((host, port), timeout=_SEND_S), 0)
            # A port of this machine at which nobody listens may get connected to itself.
            is_self = link.socket.getsockname() == link.socket.getpeername()
        except OSError as error:
            what = error.strerror or str(error)
            time.sleep(_RETRY_S)
            continue
        if not is_self:
            link.try_send(process=cluster.index, **hello)
            verdict = _await_verdict(link, timeout_s)
            if "welcome" in verdict:
                link.socket.settimeout(_SEND_S)
                return {0: link}
            for kind in (RuntimeSetupError, PeerError):
                if kind.__name__ in verdict:
                    link.close()
                    raise kind(str(verdict[kind.__name__]))
            what = "the connection was closed"
        link.close()
        time.sleep(_RETRY_S)
    raise PeerError(_describe_missing(f"{cluster.name_of(0)} is missing (at {host}:{port}: {what})", timeout_s))


def _await_verdict(link: Link, timeout_s: float) -> dict[str, Any]:
    """The chief's first message; it waits for the others for `timeout_s` at most. Nothing if it is no chief."""
    link.socket.settimeout(timeout_s + _MISMATCH_S)
    with suppress(OSError, ValueError):
        while not (messages := link.receive()):
            pass
        link.early = messages[1:]
        return messages[0]
    return {}


def _welcome(
    link: Link,
    message: Mapping[str, Any],
    hello: Mapping[str, Any],
    there: dict[int, Link],
    problems: dict[Link, str],
    cluster: Cluster,
) -> None:
    """Note who a link is to, and what does not match.

    Raises:
        ValueError: the message is no hello.
    """
    process = message.get("process")
    if type(process) is not int or process < 1 or not hello.keys() <= message.keys():
        raise ValueError("not a hello")
    link.process = process
    if message["processes"] != hello["processes"] or process >= cluster.num_processes:
        problems[link] = f"process {process} counts {message['processes']} processes, the chief {hello['processes']}"
        return
    name = cluster.name_of(process)
    if there.setdefault(process, link) is not link:
        problems[link] = f"{name} is there twice"
    elif message["version"] != hello["version"]:
        problems[link] = f"{name} runs transferkit {message['version']}, the chief {hello['version']}"
    elif message["recipe"] != hello["recipe"]:
        problems[link] = f"{name} has another recipe than the chief"


def _refuse(links: Iterable[Link], error: PeerError | RuntimeSetupError) -> None:
    for link in links:
        link.try_send(**{type(error).__name__: str(error)})
        with suppress(OSError):
            link.socket.shutdown(socket.SHUT_WR)
        link.close()
    raise error


def _describe_mismatch(problems: Iterable[str]) -> str:
    return "\n".join(
        (
            "The processes of this run do not fit together:",
            *(f"  {problem}" for problem in problems),
            "Start every process once, with the same version of transferkit, the same recipe and the same options.",
        )
    )


def _describe_missing(what: str, timeout_s: float) -> str:
    return (
        f"{what} after {timeout_s:.0f} s, so the run does not start.\n"
        f"Start the same command on every machine at about the same time, and let the machines reach each other.\n"
        f"To continue a run that was under way, add --resume everywhere: its last checkpoint is kept."
    )


def _listen(cluster: Cluster, deadline_s: float) -> socket.socket:
    """A listening socket at the control address; a process of the run before may still be letting go of it."""
    host, port = cluster.control_address
    while True:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            # All interfaces: what a machine calls itself need not be the address at which others see it.
            return socket.create_server((host if _is_loopback(host) else "", port), family=family, backlog=128)
        except OSError as error:
            if time.monotonic() > deadline_s:
                raise RuntimeSetupError(
                    f"The chief cannot listen at {host}:{port} for the other processes: {error}.\n"
                    f"Choose another port for {cluster.name_of(0)}; the control port is the next free one above it."
                ) from None
            time.sleep(_RETRY_S)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _let_kernel_watch(connection: socket.socket) -> None:
    """Probe an idle connection, and give up one whose data is not acknowledged, after `_KERNEL_S`; see tcp(7)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if not hasattr(socket, "TCP_USER_TIMEOUT"):  # not Linux: a machine that vanishes counts as silent
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KERNEL_S // 3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KERNEL_S // 3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _KERNEL_S * 1000)
