"""Datasets of TensorFlow Datasets (TFDS), which finds, downloads and reads them; the pictures stay encoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.data.folder_source import file_stamp
from transferkit.data.listing import SPLITS, Listing, Picture, Split
from transferkit.data.tfds_download import (
    CATALOG,
    copy_prepared,
    find_builder,
    is_on_disk,
    open_builder,
    prepare,
    quiet,
    shorten,
    tfds_folder,
)
from transferkit.errors import DataError
from transferkit.recipe.source import TfdsSource

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder

_ANEW = "    delete that folder; the next run prepares it anew"


def list_tfds(spec: TfdsSource) -> Listing:
    """A dataset by name; downloaded and prepared by TFDS the first time.

    A picture's path is its TFDS example id, such as `tf_flowers-train.tfrecord-00000-of-00002__12`: shard and place
    in it, whatever part is read and in whatever order. Pictures come in the order of the files.

    Raises:
        DataError: no such dataset, not one picture and one class label per example, data that is neither on disk nor
            within reach, no train split, a wrong split expression, splits that share examples, missing labels.
    """
    builder = find_builder(spec)
    image_key, label_key = _picture_and_label(builder)  # before a download that would be for nothing
    prepare(builder, try_gcs=spec.try_gcs)
    parts = _choose_parts(builder, spec)
    pictures = tuple(
        Picture(path=example_id.decode(), label=int(label), split=split)
        for split, part in parts.items()
        for example_id, label in _read(builder, part, key=label_key)
    )
    _refuse_unlabelled(pictures, parts, builder)
    _refuse_overlaps(pictures, parts, builder)
    counts = Counter(picture.split for picture in pictures)
    counted = [(part, counts[split]) for split, part in parts.items()]
    return Listing(
        class_names=tuple(builder.info.features[label_key].names),
        pictures=pictures,
        read=lambda chosen: _read_pictures(builder, counted, image_key, chosen),
        any_order=False,
        origin=f"{builder.info.full_name} of TensorFlow Datasets",
        stamps=lambda: _stamps(Path(builder.data_path), pictures),
    )


def is_prepared(spec: TfdsSource) -> bool:
    """Whether the dataset is on this machine, ready to be read.

    Raises:
        DataError: TensorFlow Datasets has no such dataset.
    """
    return is_on_disk(find_builder(spec))


def fetch_tfds(spec: TfdsSource, *, home: Path) -> Path:
    """The folder of the prepared dataset, in a home folder that can be carried to another machine.

    What TFDS has prepared elsewhere on this machine is copied. Where the recipe names a `data_dir`, it is there.

    Raises:
        DataError: see `list_tfds`.
    """
    builder = find_builder(spec)
    _picture_and_label(builder)
    if not spec.data_dir:
        theirs, builder = builder, open_builder(spec, tfds_folder(home))
        if is_on_disk(theirs) and not is_on_disk(builder):
            copy_prepared(theirs, tfds_folder(home))
            builder = open_builder(spec, tfds_folder(home))
    prepare(builder, try_gcs=spec.try_gcs)
    return Path(builder.data_path)


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
        f"example; it has: {has}\n"
        f"    data sets that do: {CATALOG}#image_classification"
    )


def _choose_parts(builder: DatasetBuilder, spec: TfdsSource) -> dict[Split, str]:
    """What to read for each split, as TFDS split expressions."""
    if spec.splits is not None:
        return {split: part for split in SPLITS if (part := getattr(spec.splits, split)) is not None}
    has = tuple(builder.info.splits)
    if not has:
        raise DataError(f"{builder.info.full_name} in {builder.data_path} is incomplete\n{_ANEW}")
    if "train" not in has:
        raise DataError(
            f"{builder.info.full_name} has no split 'train'; it has: {', '.join(has)}\n"
            "    say what to train on in data.source.tfds.splits, such as {train: 'test[:80%]', test: 'test[80%:]'}"
        )
    return {split: split for split in SPLITS if split in has}


def _read(builder: DatasetBuilder, part: str, *, key: str) -> Iterator[tuple[bytes, Any]]:
    """Example ids and one feature as it is stored, in the order of the files; the other features are not parsed."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    try:
        with quiet():
            examples = builder.as_dataset(
                split=part,
                shuffle_files=False,
                decoders=tfds.decode.PartialDecoding({key: True}, decoders={key: tfds.decode.SkipDecoding()}),
                # Automatic caching would hold a small dataset's pictures in memory.
                read_config=tfds.ReadConfig(add_tfds_id=True, interleave_cycle_length=1, try_autocache=False),
            )
    except (ValueError, AssertionError) as error:
        raise DataError(f"{builder.info.full_name} cannot give split {part!r}: {shorten(error)}") from error
    try:
        for example in tfds.as_numpy(examples):
            yield example["tfds_id"], example[key]
    except tf.errors.OpError as error:
        raise DataError(
            f"{builder.info.full_name} in {builder.data_path} is damaged: {shorten(error)}\n{_ANEW}"
        ) from error


def _read_pictures(
    builder: DatasetBuilder, parts: Sequence[tuple[str, int]], image_key: str, chosen: Sequence[int]
) -> Iterator[bytes]:
    """One pass, over the parts that have chosen pictures, and in them up to the last one.

    Args:
        parts: each with its number of pictures.
        chosen: positions in all parts together, rising.
    """
    first = 0
    for part, count in parts:
        wanted = {position - first for position in chosen if first <= position < first + count}
        first += count
        if not wanted:
            continue
        last = max(wanted)
        with closing(_read(builder, part, key=image_key)) as examples:
            for position, (_, picture) in enumerate(examples):
                if position in wanted:
                    yield picture
                if position == last:
                    break


def _stamps(folder: Path, pictures: Sequence[Picture]) -> Iterator[str | None]:
    """See `Listing.stamps`; a picture changes with the file that holds it, which its path begins with."""
    by_file: dict[str, str | None] = {}
    for picture in pictures:
        name = picture.path.rpartition("__")[0]
        if name not in by_file:
            by_file[name] = file_stamp(folder / name)
        yield f"{picture.path}\0{by_file[name]}" if by_file[name] else None


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
