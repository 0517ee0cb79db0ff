"""Datasets of TensorFlow Datasets (TFDS), which finds, downloads and reads them; the pictures stay encoded."""

from __future__ import annotations

import contextlib
import difflib
import io
import logging
import os
import queue
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from transferkit.data.listing import SPLITS, Listing, Picture, Split
from transferkit.errors import DataError
from transferkit.recipe.source import TfdsSource

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder

_log = logging.getLogger(__name__)

_ANSWER_S = 5.0
_ALL_ANSWERS_S = 10.0
_MAX_HOSTS = 8


def list_tfds(spec: TfdsSource) -> Listing:
    """A dataset by name; downloaded and prepared by TFDS the first time.

    A picture's path is its TFDS example id, such as `tf_flowers-train.tfrecord-00000-of-00002__12`: shard and place
    in it, whatever part is read and in whatever order. Pictures come in the order of the files.

    Raises:
        DataError: no such dataset, not one picture and one class label per example, data that is neither on disk nor
            within reach, no train split, a wrong split expression, splits that share examples, missing labels.
    """
    builder = _find_builder(spec)
    image_key, label_key = _picture_and_label(builder)  # before a download that would be for nothing
    _prepare(builder)
    parts = _choose_parts(builder, spec)
    pictures = tuple(
        Picture(path=example_id.decode(), label=int(label), split=split)
        for split, part in parts.items()
        for example_id, label in _read(builder, part, key=label_key)
    )
    _refuse_unlabelled(pictures, parts, builder)
    _refuse_overlaps(pictures, parts, builder)
    return Listing(
        class_names=tuple(builder.info.features[label_key].names),
        pictures=pictures,
        read=partial(_read_pictures, builder, tuple(parts.values()), image_key),
        any_order=False,
        origin=f"{builder.info.full_name} of TensorFlow Datasets",
    )


def is_prepared(spec: TfdsSource) -> bool:
    """Whether the dataset is on this machine, ready to be read.

    Raises:
        DataError: TensorFlow Datasets has no such dataset.
    """
    return _find_builder(spec).is_prepared()


def _find_builder(spec: TfdsSource) -> DatasetBuilder:
    import tensorflow_datasets as tfds

    _leave_devices_to_jax()
    try:
        with _quiet():
            return tfds.builder(spec.name, data_dir=spec.data_dir and os.path.expanduser(spec.data_dir))
    except tfds.core.DatasetNotFoundError as error:
        name = spec.name.split("/")[0].split(":")[0]
        # Community datasets are listed by asking the network.
        known = tfds.list_builders(with_community_datasets=False)
        near = " or ".join(repr(guess) for guess in difflib.get_close_matches(name, known))
        raise DataError(
            f"TensorFlow Datasets has no dataset {spec.name!r}{f'; did you mean {near}?' if near else ''}\n"
            "    all names: https://www.tensorflow.org/datasets/catalog/overview"
        ) from error
    except Exception as error:  # unknown versions, configs and missing packages come as almost any type
        raise DataError(f"TensorFlow Datasets cannot open {spec.name!r}: {_shorten(error)}") from error


def _leave_devices_to_jax() -> None:
    """Where Keras runs on JAX, TensorFlow only reads files; it would still take most of a GPU's memory for itself."""
    keras = sys.modules.get("keras")
    if keras and keras.config.backend() == "jax":
        import tensorflow as tf

        with contextlib.suppress(RuntimeError):  # it has its devices already, taken by somebody else
            tf.config.set_visible_devices([], "GPU")


def _picture_and_label(builder: DatasetBuilder) -> tuple[str, str]:
    """The keys of the two features that matter: the supervised pair, else the only ones of their type."""
    import tensorflow_datasets as tfds

    features = dict(builder.info.features.items())
    images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
    labels = [key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    match builder.info.supervised_keys:
        case (str(image_key), str(label_key)) if image_key in images and label_key in labels:
            return image_key, label_key
    if len(images) == len(labels) == 1:
        return images[0], labels[0]
    has = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in features.items())
    raise DataError(
        f"{builder.info.full_name} does not have exactly one picture (Image) and one class label (ClassLabel) per "
        f"example; it has: {has}"
    )


def _prepare(builder: DatasetBuilder) -> None:
    """Make sure that the data is on disk."""
    if builder.data_path.exists():
        return
    name, folder, urls = builder.info.full_name, builder.data_dir_root.resolve(), builder.url_infos or {}
    # Files that the user has to bring may be all that a builder needs, so a missing network says nothing then.
    if not builder.MANUAL_DOWNLOAD_INSTRUCTIONS and (silent := _silent_hosts(urls)):
        raise DataError(
            f"{name} is not in {folder}, and it cannot be downloaded: no answer from {', '.join(silent)}\n"
            "    a network is needed once; run again with one, or copy a tensorflow_datasets folder that holds this\n"
            "    dataset from another machine and set data.source.tfds.data_dir to it\n"
            "    to try transferkit without any network: transferkit finetune quickstart"
        )
    size_mb = sum(info.size for info in urls.values()) / 1e6
    _log.info("preparing %s in %s, once: up to %.0f MB to download", name, folder, size_mb)
    try:
        with _quiet():
            builder.download_and_prepare()
    except Exception as error:  # whatever a builder's own code, its host or the disk comes up with
        raise DataError(f"{name} cannot be prepared in {folder}: {_shorten(error)}") from error


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


def _choose_parts(builder: DatasetBuilder, spec: TfdsSource) -> dict[Split, str]:
    """What to read for each split, as TFDS split expressions."""
    if spec.splits is not None:
        return {split: part for split in SPLITS if (part := getattr(spec.splits, split)) is not None}
    has = tuple(builder.info.splits)
    if "train" not in has:
        raise DataError(
            f"{builder.info.full_name} has no split 'train'; it has: {', '.join(has) or 'none'}\n"
            "    say what to train on in data.source.tfds.splits, such as {train: 'test[:80%]', test: 'test[80%:]'}"
        )
    return {split: split for split in SPLITS if split in has}


def _read(builder: DatasetBuilder, part: str, *, key: str) -> Iterator[tuple[bytes, Any]]:
    """Example ids and one feature as it is stored, in the order of the files; the other features are not parsed."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    try:
        with _quiet():
            examples = builder.as_dataset(
                split=part,
                shuffle_files=False,
                decoders=tfds.decode.PartialDecoding({key: True}, decoders={key: tfds.decode.SkipDecoding()}),
                # Automatic caching would hold a small dataset's pictures in memory.
                read_config=tfds.ReadConfig(add_tfds_id=True, interleave_cycle_length=1, try_autocache=False),
            )
    except (ValueError, AssertionError) as error:
        raise DataError(f"{builder.info.full_name} cannot give split {part!r}: {_shorten(error)}") from error
    try:
        for example in tfds.as_numpy(examples):
            yield example["tfds_id"], example[key]
    except tf.errors.OpError as error:
        raise DataError(
            f"{builder.info.full_name} in {builder.data_path} is damaged: {_shorten(error)}\n"
            "    delete that folder; the next run prepares it anew"
        ) from error


def _read_pictures(
    builder: DatasetBuilder, parts: Sequence[str], image_key: str, chosen: Sequence[int]
) -> Iterator[bytes]:
    wanted = set(chosen)
    encoded = (picture for part in parts for _, picture in _read(builder, part, key=image_key))
    return (picture for index, picture in enumerate(encoded) if index in wanted)


def _refuse_unlabelled(pictures: Sequence[Picture], parts: Mapping[Split, str], builder: DatasetBuilder) -> None:
    """TFDS marks an example whose label is kept secret, as in contests' test sets, by the label -1."""
    if missing := Counter(picture.split for picture in pictures if picture.label < 0):
        where = ", ".join(f"{count} in {split} ({parts[split]!r})" for split, count in missing.items())
        raise DataError(
            f"{builder.info.full_name} has pictures without a label: {where}\n"
            "    name only splits with labels in data.source.tfds.splits"
        )


def _refuse_overlaps(pictures: Sequence[Picture], parts: Mapping[Split, str], builder: DatasetBuilder) -> None:
    first: dict[str, Split] = {}
    shared = Counter(
        (first[picture.path], picture.split)
        for picture in pictures
        if first.setdefault(picture.path, picture.split) is not picture.split
    )
    repeated = len(pictures) - len(first) - shared.total()
    if shared or repeated:
        where = [f"{a} ({parts[a]!r}) and {b} ({parts[b]!r}) share {count}" for (a, b), count in shared.items()]
        where += [f"{repeated} are twice in one split"] if repeated else []
        raise DataError(
            f"{builder.info.full_name}: splits must not share pictures, but {'; '.join(where)}\n"
            "    change data.source.tfds.splits"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, printed lines or remarks to developers from TFDS; its own switches for them are for good."""
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _shorten(error: Exception) -> str:
    return textwrap.shorten(str(error), 400) or type(error).__name__
