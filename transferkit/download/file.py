"""Files from the web: fetched once, whole, and the right ones."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from transferkit.download import transfer
from transferkit.download.alone import alone_with
from transferkit.download.partial import Partial
from transferkit.download.transfer import Transfer, shown_url
from transferkit.errors import DownloadError
from transferkit.progress import ConsoleProgress, Progress

MIRROR, OFFLINE = "TRANSFERKIT_MIRROR", "TRANSFERKIT_OFFLINE"
FETCH = "transferkit fetch RECIPE"
BY_CARRYING = f"With a network elsewhere: run `{FETCH} --to DIR` there, bring DIR here, and set TRANSFERKIT_HOME to it."
_TRIES = 2


@dataclass(frozen=True)
class Digest:
    """What a file must be, by its hash in hexadecimal digits."""

    algorithm: Literal["sha256", "md5"]
    hexadecimal: str

    def fits(self, path: Path) -> bool:
        """Whether this is the file; no if there is none."""
        return path.is_file() and hash_file(path, self.algorithm) == self.hexadecimal


def download_file(url: str, target: Path, *, digest: Digest | None = None, progress: Progress | None = None) -> None:
    """Make sure that `target` is there, from a mirror if one is named, else from `url`.

    A broken download is gone on with, in this call and in later ones. Two processes fetch a file once. A file with
    another hash is thrown away and fetched once more. The file gets its name when all of it is there; one with the
    wrong hash that stood there before stays if no better one can be had.

    Args:
        digest: without it, a file that is there is taken for the right one, and the server is believed.
        progress: default: lines or a bar on standard error.

    Raises:
        DownloadError: what went wrong, at each address; `ways_out` says what a person can do.
    """
    if _is_there(target, digest):
        return
    refuse_offline(os.environ)
    progress = progress or screen()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with alone_with(target, progress):
            if not _is_there(target, digest):
                _download(_addresses(url, target.name, os.environ), Partial(target), digest, progress)
    except OSError as error:
        raise DownloadError(f"{error.filename or target}: {error.strerror or error}") from error


def is_offline(environ: Mapping[str, str]) -> bool:
    """Whether nothing may be asked of the network."""
    return environ.get(OFFLINE, "").lower() not in ("", "0", "false", "no")


def refuse_offline(environ: Mapping[str, str]) -> None:
    """Raise the error of a run that may not ask the network.

    Raises:
        DownloadError: the run is offline.
    """
    if is_offline(environ):
        raise DownloadError(f"this run is offline (--offline or {OFFLINE})")


def screen() -> Progress:
    """Where downloads tell of themselves where nobody says otherwise: standard error, which no result goes to."""
    return ConsoleProgress(Console(stderr=True, soft_wrap=True))


def ways_out(environ: Mapping[str, str]) -> str:
    """What a person can do about a file that cannot be had: some lines without an end of line."""
    mirror = environ.get(MIRROR)
    looked = f" (now: {shown_url(mirror)})" if mirror else ""
    return f"{BY_CARRYING}\nWith a mirror: set {MIRROR} to the web folder that has the file{looked}."


def hash_file(path: Path, algorithm: Literal["sha256", "md5"]) -> str:
    """In hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _is_there(target: Path, digest: Digest | None) -> bool:
    return digest.fits(target) if digest else target.is_file()


def _addresses(url: str, name: str, environ: Mapping[str, str]) -> list[str]:
    mirror = environ.get(MIRROR, "").rstrip("/")
    return [f"{mirror}/{name}", url] if mirror else [url]


def _download(urls: list[str], partial: Partial, digest: Digest | None, progress: Progress) -> None:
    faults = []
    for url in urls:
        try:
            _download_from(url, partial, digest, progress, answer_s=transfer.ANSWER_S / len(urls))
        except DownloadError as fault:
            faults.append(f"{shown_url(url)}: {fault}")
        else:
            partial.finish()
            return
    raise DownloadError("\n  ".join(faults))


def _download_from(url: str, partial: Partial, digest: Digest | None, progress: Progress, *, answer_s: float) -> None:
    fault = ""
    for _ in range(_TRIES):
        Transfer(url, partial, is_checked=digest is not None, progress=progress, answer_s=answer_s).run()
        if digest is None or (found := hash_file(partial.path, digest.algorithm)) == digest.hexadecimal:
            return
        came = f"{partial.num_bytes:,} bytes{_page_text(partial.path)}"
        partial.remove()
        fault = f"{digest.algorithm} of what came ({came}) is {found}, not {digest.hexadecimal}"
        progress.say(f"{partial.target.name}: {fault}; thrown away")
    raise DownloadError(fault)


def _page_text(path: Path) -> str:
    """What a file begins with that is rather a page about another one."""
    with path.open("rb") as file:
        head = file.read(40)
    return f", which begin with {head!r}" if head.lstrip().startswith((b"<", b"{")) else ""
