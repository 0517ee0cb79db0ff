"""Fetch a file of ImageNet weights into Keras' cache."""

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

from transferkit.backbones.spec import WeightsFile
from transferkit.errors import WeightsError

# No answer for this long means no network. The error must reach the user within 15 s, name lookup included.
ANSWER_S = 10.0


def download_weights(name: str, file: WeightsFile) -> Path:
    """The file in Keras' cache, downloaded on the first use.

    A file that is not the published one is never used. It is replaced, and left alone if that fails.

    Args:
        name: of the backbone, for the error.

    Raises:
        WeightsError: it is not in the cache and cannot be downloaded.
    """
    target = _cache() / "models" / file.name
    if target.is_file() and _md5(target) == file.md5:
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _await_answer(file.url)
        # Beside its place, and then moved: a download that breaks off leaves nothing.
        with TemporaryDirectory(prefix=".download-", dir=target.parent) as folder:
            os.replace(_download(file, folder), target)
    # Keras raises plain Exception for a failed download, ValueError for a wrong hash.
    except Exception as error:
        there = "are not on this machine" if not target.exists() else "on this machine are not the published ones"
        raise WeightsError(
            f"The ImageNet weights of {name} {there} and cannot be downloaded: {error}\n"
            f"  from:  {file.url}\n"
            f"  to:    {target}\n"
            "Put the file there by hand, or name a file you have: --set model.weights=PATH\n"
            "Without a network: --set model.backbone=efficientnet_lite0, whose weights come with the installation."
        ) from error
    return target


def _cache() -> Path:
    """Keras' own folder. Keras has no public name for it, only the rule."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _download(file: WeightsFile, folder: str) -> str:
    import keras

    with _socket_timeout(ANSWER_S):
        return keras.utils.get_file(
            file.name, file.url, cache_dir=folder, cache_subdir="", file_hash=file.md5, hash_algorithm="md5"
        )


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _await_answer(url: str) -> None:
    """Find out within `ANSWER_S` whether the server answers at all; only a thread can be left hanging in a lookup."""
    outcome: list[Exception] = []

    def ask() -> None:
        try:
            urlopen(url, timeout=ANSWER_S).close()
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_S)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {ANSWER_S:g} s")
    if outcome:
        raise outcome[0]
