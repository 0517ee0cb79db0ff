"""Bring one file from one address, over as many attempts as it takes and as time allows."""

import email.utils
import random
import re
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import BadStatusLine, IncompleteRead
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from transferkit.download.partial import Origin, Partial
from transferkit.errors import DownloadError
from transferkit.progress import Progress, format_seconds

# No answer at all for this long means no network. The error must reach the user within 15 s, name lookup included.
ANSWER_S = 10.0
# A server that has answered and then sends nothing for this long is stalled.
STALL_S = 20.0
# How long a server that has answered is tried again, or listened to, without this much more from it.
PATIENCE_S = 60.0
LEAST_BYTES: Final = 2**16
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0

_CHUNK_BYTES: Final = 2**16
_MB: Final = 10**6
_PASSING: Final = frozenset({408, 425, 429, *range(500, 600)})


class _Passing(Exception):
    """A fault that may be gone in a while.

    Args:
        wait_s: how long the server itself asks to wait.
    """

    def __init__(self, reason: str, *, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Transfer:
    """One file of one server on its way to `partial`.

    Args:
        is_checked: whether somebody compares the whole file with a known hash afterwards. Without that, a part is only
            gone on with if the server can tell that its file is still the same.
        answer_s: how long the first answer may take.
    """

    def __init__(
        self, url: str, partial: Partial, *, is_checked: bool, progress: Progress, answer_s: float | None = None
    ) -> None:
        self.url, self.partial, self.is_checked, self.progress = url, partial, is_checked, progress
        self.answer_s = ANSWER_S if answer_s is None else answer_s
        self.has_answered = False
        self.most_bytes = 0  # that ever came, so that a server which always breaks off at the same byte is given up
        self.began_at = self.news_at = time.monotonic()
        self.news_bytes = 0

    def run(self) -> None:
        """Bring all of it.

        Raises:
            DownloadError: it did not come in time, or asking again would not help.
        """
        pauses = pause_lengths()
        while True:
            most_before = self.most_bytes
            try:
                self._attempt()
                return
            except _Passing as fault:
                if self.most_bytes > most_before:
                    pauses = pause_lengths()
                pause_s = max(next(pauses), fault.wait_s)
                now = time.monotonic()
                if now + pause_s >= self._deadline:
                    asked = f", and asks to wait {fault.wait_s:.0f} s" if fault.wait_s > LONGEST_PAUSE_S else ""
                    tried = f" (tried for {now - self.began_at:.0f} s)" if now - self.began_at >= 1 else ""
                    raise DownloadError(f"{fault}{asked}{tried}") from fault
                if self.has_answered:
                    again = f"trying again in {format_seconds(pause_s)}, for {self._deadline - now:.0f} s at most"
                    self.progress.say(f"{self.partial.target.name}: {fault}; {again}")
                time.sleep(pause_s)

    @property
    def _deadline(self) -> float:
        return self.news_at + (PATIENCE_S if self.has_answered else self.answer_s)

    def _attempt(self) -> None:
        known = self._known_part()
        offset = self.partial.num_bytes if known else 0
        headers = {"Accept-Encoding": "identity"}
        if known:
            headers["Range"] = f"bytes={offset}-"
            if known.validator:
                headers["If-Range"] = known.validator
        with self._ask(headers) as response:
            if not self.has_answered:
                self.has_answered, self.news_at = True, time.monotonic()
            if known and response.status_code == 416:
                if offset == _size_in_range(response):  # whoever began it was ended before it could be finished
                    return
                self.partial.remove()
                raise _Passing("the file on the server has become another one")
            if known and response.status_code == 206:
                origin = self._origin(response, _size_in_range(response))
                start = re.match(rf"bytes {offset}-", response.headers.get("Content-Range", ""))
                if not start or not _may_be_one(origin, known):
                    self.partial.remove()
                    raise _Passing("the file on the server has become another one")
            elif response.status_code == 200:
                length = response.headers.get("Content-Length", "")
                origin, offset = self._origin(response, int(length) if length.isdecimal() else None), 0
                self.partial.begin(origin)
            else:
                reason = f"HTTP {response.status_code} {response.reason or ''}".rstrip()
                if response.status_code in _PASSING:
                    raise _Passing(reason, wait_s=_retry_after_s(response))
                raise DownloadError(reason)
            self._receive(response, offset, origin.num_bytes)

    def _known_part(self) -> Origin | None:
        """What the part on disk belongs to, if it can be gone on with."""
        known = self.partial.origin
        may = known and known.url == self.url and (known.validator or self.is_checked) and self.partial.num_bytes
        return known if may else None

    def _origin(self, response: requests.Response, num_bytes: int | None) -> Origin:
        tag = response.headers.get("ETag", "")
        # A weak tag stands for several versions of a file.
        validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
        return Origin(self.url, validator, num_bytes)

    def _ask(self, headers: dict[str, str]) -> requests.Response:
        """The head of the answer; the body is yet to be read.

        In a thread, since looking up a name has no time limit of its own; only a thread can be left hanging in it.
        """
        limit_s = STALL_S if self.has_answered else max(0.1, self._deadline - time.monotonic())
        outcome: list[requests.Response | Exception] = []
        is_given_up = threading.Event()

        def ask() -> None:
            try:
                response = requests.get(self.url, headers=headers, stream=True, timeout=(limit_s, STALL_S))
                outcome.append(response)
                if is_given_up.is_set():
                    response.close()
            except Exception as error:
                outcome.append(error)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(limit_s)
        # The library's own limit is as long; either of the two may notice first.
        if not outcome or isinstance(outcome[0], requests.Timeout):
            is_given_up.set()
            raise _Passing(f"no answer within {limit_s if self.has_answered else self.answer_s:g} s")
        (answer,) = outcome
        if isinstance(answer, requests.Response):
            return answer
        passing = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
        if isinstance(answer, passing) and not isinstance(answer, requests.exceptions.SSLError):
            raise _Passing(_reason(answer)) from answer
        if isinstance(answer, (requests.RequestException, ValueError)):
            raise DownloadError(_reason(answer)) from answer
        raise answer

    def _receive(self, response: requests.Response, offset: int, num_bytes: int | None) -> None:
        left = None if num_bytes is None else num_bytes - offset
        free = shutil.disk_usage(self.partial.path.parent).free
        if left is not None and left > free:
            raise DownloadError(
                f"needs {left / _MB:,.0f} MB more, and the disk of {self.partial.path.parent} has {free / _MB:,.0f} MB "
                "free; make room, or use a folder on another disk (TRANSFERKIT_HOME, or fetch --to)"
            )
        what = f"downloading {self.partial.target.name}"
        if offset:
            self.progress.say(f"{self.partial.target.name}: going on after {offset / _MB:,.1f} MB")
        elif left is None or left >= _MB:
            size = "" if left is None else f", {left / _MB:,.1f} MB,"
            self.progress.say(f"{what}{size} from {urlsplit(self.url).hostname}")
        received = 0
        try:
            with self.progress.task(what, -(-(left or 0) // _MB), "MB") as task, self.partial.open() as file:
                for chunk in _chunks(response, left):
                    file.write(chunk)
                    before, received = received, received + len(chunk)
                    self.most_bytes = max(self.most_bytes, offset + received)
                    if self.most_bytes - self.news_bytes >= LEAST_BYTES:
                        self.news_bytes, self.news_at = self.most_bytes, time.monotonic()
                    if whole := received // _MB - before // _MB:
                        task.advance(whole)
        # Of the disk, on which closing writes too; faults of the network are passing ones by now.
        except OSError as error:
            if num_bytes is None:  # it may have no end, and must not keep the disk full
                self.partial.remove()
            raise DownloadError(f"{self.partial.path}: {error.strerror or error}") from error
        if left is not None and received < left:
            raise _Passing(f"broke off after {(offset + received) / _MB:,.1f} of {num_bytes / _MB:,.1f} MB")


def pause_lengths() -> Iterator[float]:
    """Seconds to wait before each new attempt: twice as long each time, and never for many at the same moment."""
    longest_s = FIRST_PAUSE_S
    while True:
        yield longest_s * random.uniform(0.5, 1.0)
        longest_s = min(2 * longest_s, LONGEST_PAUSE_S)


def _chunks(response: requests.Response, left: int | None) -> Iterator[bytes]:
    came, since = 0, time.monotonic()
    while left is None or left > 0:
        try:
            # What is there by now, so that the pace shows. And as it was sent: a server may call a .tar.gz file a tar
            # file in gzip encoding, which must not be undone here.
            limit = _CHUNK_BYTES if left is None else min(_CHUNK_BYTES, left)
            chunk = response.raw.read1(limit, decode_content=False)
        except ReadTimeoutError as error:
            raise _Passing(f"nothing came for {STALL_S:g} s") from error
        except (HTTPError, OSError) as error:
            raise _Passing(f"broke off: {_reason(error)}") from error
        if not chunk:
            return
        yield chunk
        left = None if left is None else left - len(chunk)
        came += len(chunk)
        if came >= LEAST_BYTES:
            came, since = 0, time.monotonic()
        elif time.monotonic() - since > PATIENCE_S:
            raise _Passing(f"only {came:,} bytes came in {PATIENCE_S:g} s")


def _may_be_one(origin: Origin, known: Origin) -> bool:
    """Whether nothing tells two versions of a file apart; a server may say less of itself with the rest of a file."""
    same_version = origin.validator in ("", known.validator)
    return same_version and (None in (origin.num_bytes, known.num_bytes) or origin.num_bytes == known.num_bytes)


def _size_in_range(response: requests.Response) -> int | None:
    """The whole file's size, from a header such as `bytes 100-199/200` or `bytes */200`."""
    found = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _retry_after_s(response: requests.Response) -> float:
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        until = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (until.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def _reason(error: Any) -> str:
    """The innermost reason, without the layers of libraries around it."""
    inner = error
    while True:
        following = getattr(inner, "reason", None) or next(
            (arg for arg in inner.args if isinstance(arg, Exception)), None
        )
        if not isinstance(following, Exception):
            break
        inner = following
    if isinstance(inner, IncompleteRead):
        return "the connection ended early"
    if isinstance(inner, BadStatusLine) and not isinstance(inner, ConnectionError):
        return "what answers is no web server"
    text = re.sub(r"^.*?<?\w*Connection\w*[^>]*>?: ", "", " ".join(str(inner).split())) or type(inner).__name__
    return text if len(text) < 200 else f"{text[:200]} …"


def shown_url(url: str) -> str:
    """An address for people: without passwords and keys that may stand in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the address"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
