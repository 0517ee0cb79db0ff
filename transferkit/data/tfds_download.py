"""Have a dataset of TensorFlow Datasets (TFDS) on this machine: look where it can be, else let TFDS prepare it."""

from __future__ import annotations

import contextlib
import difflib
import io
import logging
import os
import queue
import re
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from transferkit.download.file import BY_CARRYING, OFFLINE, is_offline
from transferkit.errors import DataError
from transferkit.home import home_folder
from transferkit.recipe.source import TfdsSource

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder

_log = logging.getLogger(__name__)

CATALOG = "https://www.tensorflow.org/datasets/catalog/overview"
_ANSWER_S = 5.0
_ALL_ANSWERS_S = 10.0
_MAX_HOSTS = 8
_BUCKET = "https://storage.googleapis.com/tfds-data"


def find_builder(spec: TfdsSource) -> DatasetBuilder:
    """TFDS' builder of the dataset, in the folder where it is prepared, or will be.

    That is `data_dir`, if the recipe names it. Else it is TFDS' own folder (`~/tensorflow_datasets`) if the dataset is
    prepared there and not in transferkit's home; else `tensorflow_datasets` in transferkit's home.

    Raises:
        DataError: TFDS has no such dataset.
    """
    if spec.data_dir:
        return open_builder(spec, os.path.expanduser(spec.data_dir))
    try:
        ours = open_builder(spec, tfds_folder(home_folder(os.environ)))
    except DataError:
        theirs = open_builder(spec, None)  # a dataset that is known by its files alone
        if is_on_disk(theirs):
            return theirs
        raise
    if is_on_disk(ours):
        return ours
    theirs = open_builder(spec, None)
    return theirs if is_on_disk(theirs) else ours


def is_on_disk(builder: DatasetBuilder) -> bool:
    """Whether the dataset is prepared in the builder's folder."""
    with quiet():
        return builder.is_prepared()


def tfds_folder(home: Path) -> Path:
    """Where datasets lie in a home folder."""
    return home / "tensorflow_datasets"


def open_builder(spec: TfdsSource, folder: Path | str | None) -> DatasetBuilder:
    """TFDS' builder of the dataset, in a folder of datasets (`None`: TFDS' own).

    Raises:
        DataError: TFDS has no such dataset.
    """
    import tensorflow_datasets as tfds

    _leave_devices_to_jax()
    try:
        with quiet():
            return tfds.builder(spec.name, data_dir=folder and os.fspath(folder))
    except tfds.core.DatasetNotFoundError as error:
        name = spec.name.split("/")[0].split(":")[0]
        # Community datasets are listed by asking the network.
        with quiet():
            known = tfds.list_builders(with_community_datasets=False)
        near = " or ".join(repr(guess) for guess in difflib.get_close_matches(name, known))
        raise DataError(
            f"TensorFlow Datasets has no dataset {spec.name!r}{f'; did you mean {near}?' if near else ''}\n"
            f"    all names: {CATALOG}"
        ) from error
    except Exception as error:  # unknown versions, configs and missing packages come as almost any type
        raise DataError(f"TensorFlow Datasets cannot open {spec.name!r}: {shorten(error)}") from error


def _leave_devices_to_jax() -> None:
    """Where Keras runs on JAX, TensorFlow only reads files; it would still take most of a GPU's memory for itself."""
    keras = sys.modules.get("keras")
    if keras and keras.config.backend() == "jax":
        import tensorflow as tf

        with contextlib.suppress(RuntimeError):  # it has its devices already, taken by somebody else
            tf.config.set_visible_devices([], "GPU")


def copy_prepared(builder: DatasetBuilder, folder: Path) -> None:
    """Copy a prepared dataset into another folder of datasets.

    Raises:
        DataError: the disk refuses.
    """
    source, root = Path(builder.data_path), Path(builder.data_dir_root)
    target = folder / source.relative_to(root)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        defaults = root / builder.name / ".config"  # which of several configurations a bare name means
        if defaults.is_dir():
            shutil.copytree(defaults, folder / builder.name / ".config", dirs_exist_ok=True)
        with TemporaryDirectory(prefix="incomplete.", dir=folder) as aside:
            shutil.copytree(source, Path(aside, "copy"))
            Path(aside, "copy").rename(target)
    except OSError as error:
        raise DataError(f"{source} cannot be copied to {target}: {error.strerror or error}") from error


def prepare(builder: DatasetBuilder, *, try_gcs: bool) -> None:
    """Make sure that the data is on disk.

    Args:
        try_gcs: look into Google's bucket of prepared datasets first.

    Raises:
        DataError: it is not, and cannot be downloaded and prepared.
    """
    if builder.data_path.exists():
        return
    import tensorflow_datasets as tfds

    name, folder, urls = builder.info.full_name, builder.data_dir_root.resolve(), builder.url_infos or {}
    if is_offline(os.environ):
        raise DataError(f"{name} is not in {folder}, and this run is offline (--offline or {OFFLINE})\n{BY_CARRYING}")
    # Files that the user has to bring may be all that a builder needs, so a missing network says nothing then.
    if not builder.MANUAL_DOWNLOAD_INSTRUCTIONS and (silent := _silent_hosts([*urls, *[_BUCKET] * try_gcs])):
        raise DataError(
            f"{name} is not in {folder}, and it cannot be downloaded: no answer from {', '.join(silent)}\n"
            "    a network is needed once; run again with one, or copy a tensorflow_datasets folder that holds this\n"
            "    dataset from another machine and set data.source.tfds.data_dir to it\n"
            "    to try transferkit without any network: transferkit finetune quickstart"
        )
    size_mb = sum(info.size for info in urls.values()) / 1e6
    _log.info("preparing %s in %s, once: up to %.0f MB to download", name, folder, size_mb)
    try:
        with quiet(), _bucket(allowed=try_gcs):
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=try_gcs))
    except Exception as error:  # whatever a builder's own code, its host or the disk comes up with
        raise DataError(f"{name} cannot be prepared in {folder}: {shorten(error)}") from error


@contextlib.contextmanager
def _bucket(*, allowed: bool) -> Iterator[None]:
    """TFDS has a switch of its own besides, which is off, and which it does not show to its users."""
    from tensorflow_datasets.core.utils import gcs_utils

    before = gcs_utils._is_gcs_disabled
    gcs_utils._is_gcs_disabled = not allowed
    try:
        yield
    finally:
        gcs_utils._is_gcs_disabled = before


def _silent_hosts(urls: Iterable[str]) -> tuple[str, ...]:
    """Hosts to download from, each with what went wrong, if none of them answers.

    TFDS asks eleven times and doubles its pause from 0.4 s on (`core/download/downloader.py`): 204 s until it finds
    that there is no network. So one address of every host is asked first, the way TFDS will ask: same library, same
    proxies and certificates.
    """
    by_host = {urlsplit(url).netloc: url for url in urls if url.startswith(("http://", "https://"))}
    hosts = dict(list(by_host.items())[:_MAX_HOSTS])
    answers: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
    silent = dict.fromkeys(hosts, "no answer in time")
    for host, url in hosts.items():
        # A daemon: looking up a name has no time limit of its own, and must hold up neither this nor the exit.
        threading.Thread(target=lambda h=host, u=url: answers.put((h, _ask(u))), daemon=True).start()
    deadline_s = time.monotonic() + _ALL_ANSWERS_S
    for _ in hosts:
        try:
            host, fault = answers.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except queue.Empty:
            break
        if not fault:
            return ()
        silent[host] = fault
    return tuple(f"{host} ({fault})" for host, fault in silent.items())


def _ask(url: str) -> str:
    """What is wrong with an address; empty if it answers in a way that TFDS would not retry."""
    import requests

    try:
        with requests.get(url, stream=True, timeout=_ANSWER_S) as response:
            return f"HTTP {response.status_code}" if response.status_code in (500, 502, 503, 504) else ""
    except requests.RequestException as error:
        return type(error).__name__


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, printed lines, log lines or tracebacks from TFDS; its own switches for them are for good.

    What really goes wrong is an exception.
    """
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow", "urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def shorten(error: Exception) -> str:
    """An error of TFDS in one line, without the place in TensorFlow's own graph."""
    text = re.sub(r"\{\{.*?\}\} |\[Op:\w*\] name:", "", str(error))
    return textwrap.shorten(text, 400) or type(error).__name__
