"""Pictures that Python code gives: arrays, a `tf.data.Dataset` or a Keras `PyDataset`."""

import copy
import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit.data.listing import Listing, Picture, Skipped
from transferkit.data.pixels import PixelRange, encode_picture, take_pixels
from transferkit.errors import DataError, PictureError
from transferkit.recipe.source import ArraysSource

Label = int | str | tuple[int | float | str, ...]


@dataclass(frozen=True)
class Arrays:
    """Labelled pictures from Python.

    Args:
        pictures: `(height, width)` or `(height, width, 3 or 4)` uint8, where possible the caller's own memory; or why
            one cannot be used.
        labels: one class by number or name; several by a row of zeros and ones, or by their names.
        weights: what each counts in training.
        class_names: what the numbers stand for; default: themselves.
        digest: sha256 of all of it.
    """

    pictures: tuple[np.ndarray | PictureError, ...]
    labels: tuple[Label, ...]
    weights: tuple[float, ...]
    class_names: tuple[str, ...] | None
    digest: str


def split_off_arrays(data: Any, class_names: Iterable[str] | None = None) -> tuple[dict[str, Any], Arrays | None]:
    """What `FineTuner` was given, as a recipe's data section, and the pictures, which no recipe can hold.

    Args:
        data: see `FineTuner`.

    Raises:
        DataError: it is nothing that `FineTuner` takes, or no labelled pictures; see `take_arrays`.
    """
    if isinstance(data, (str, os.PathLike)):
        data = {"source": {"folder": os.fspath(data)}}
    elif not isinstance(data, Mapping):
        data = {"source": {"arrays": data}}
    section = dict(data) if class_names is None else {**data, "class_names": list(class_names)}
    source = section.get("source")
    given = source.get("arrays") if isinstance(source, Mapping) else None
    if given is None or isinstance(given, (str, Mapping)):
        return section, None
    arrays = take_arrays(given, class_names=section.pop("class_names", None))
    return {**section, "source": {**source, "arrays": arrays.digest}}, arrays


def take_arrays(given: Any, *, class_names: Iterable[str] | None = None) -> Arrays:
    """Look at all pictures.

    Args:
        given: `(images, labels)` or `(images, labels, weights)`: images `(num_images, height, width, channels)`, or
            without channels, or a list of pictures of any sizes, Pillow's too; labels: numbers, names, one-hot or
            multi-hot rows, or lists of names. Or a `tf.data.Dataset` or Keras `PyDataset` of such pairs, in batches or
            one by one. Pixels are 0–255; what is no whole number is rounded.
        class_names: default: the `class_names` that Keras hangs on data sets of folders.

    Raises:
        DataError: it is nothing of this kind; pixels are in another range; there is no end to it, or nothing in it.
    """
    class_names = getattr(given, "class_names", None) if class_names is None else class_names
    names = None if class_names is None else tuple(map(str, class_names))
    if names and len(set(names)) < len(names):
        raise DataError(f"class_names has a name twice: {', '.join(names)}")
    pixel_range = PixelRange()
    pictures: list[np.ndarray | PictureError] = []
    labels: list[Label] = []
    weights: list[float] = []
    digest = hashlib.sha256(repr(names).encode())
    for image, label, weight in _rows(given):
        labels.append(_plain_label(label))
        weights.append(_plain_weight(weight))
        try:
            pictures.append(take_pixels(image, pixel_range))
            shape, content = np.shape(image), pictures[-1]
        except PictureError as error:
            pictures.append(error)
            shape, content = (), b""
        digest.update(repr((shape, labels[-1], weights[-1])).encode())
        digest.update(content)
    if not pictures:
        raise DataError("the data from Python holds no picture at all.")
    pixel_range.refuse_up_to_one()
    return Arrays(tuple(pictures), tuple(labels), tuple(weights), names, digest.hexdigest())


def list_arrays(source: ArraysSource, arrays: Arrays | None, *, multi_label: bool) -> Listing:
    """Pictures from Python by their number, in the order in which they came.

    Raises:
        DataError: the recipe's are not there; labels name several classes where one is meant, or fit no class.
    """
    if arrays is None or arrays.digest != source.digest:
        other = "other pictures or labels were given now" if arrays else "they are in no file"
        raise DataError(
            f"data.source.arrays: the pictures of this recipe came from Python (sha256 {source.digest[:12]}…), and "
            f"{other}.\nGive them to FineTuner((images, labels), …) again, or save them as files and name their folder."
        )
    width = len(str(len(arrays.labels) - 1))
    names = arrays.class_names
    found: dict[int, tuple[int | str, ...]] = {}
    skipped: list[Skipped] = []
    for row, label in enumerate(arrays.labels):
        try:
            classes = _classes_of(label, names)
            if not (math.isfinite(arrays.weights[row]) and arrays.weights[row] >= 0):
                raise ValueError(f"weight {arrays.weights[row]:g} is no number from 0 on")
            if not multi_label and not classes:
                raise ValueError("has no class")
        except ValueError as error:
            skipped.append(Skipped(f"{row:0{width}}", str(error)))
            continue
        if not multi_label and len(classes) > 1:
            raise DataError(
                f"picture {row} from Python has {len(classes)} classes; several need loss: binary_cross_entropy.\n"
                "For one class per picture, give its number or name."
            )
        found[row] = classes
    keys = names or sorted({one for classes in found.values() for one in classes}, key=_numbers_first)
    index = {key: label for label, key in enumerate(keys)}
    pictures = []
    for row, classes in found.items():
        labels = tuple(sorted({one if names and isinstance(one, int) else index[one] for one in classes}))
        label = labels if multi_label else labels[0]
        pictures.append(Picture(f"{row:0{width}}", label, weight=arrays.weights[row]))
    chosen_pictures = [arrays.pictures[row] for row in found]
    return Listing(
        class_names=tuple(map(str, keys)),
        pictures=tuple(pictures),
        read=lambda chosen: (encode_picture(chosen_pictures[position]) for position in chosen),
        origin="pictures from Python",
        skipped=tuple(skipped),
    )


def _classes_of(label: Label, names: Sequence[str] | None) -> tuple[int | str, ...]:
    """The classes by number or name; a row of numbers has a 1 for each."""
    classes = label if isinstance(label, tuple) else (label,)
    if isinstance(label, tuple) and label and not any(isinstance(one, str) for one in label):
        if names and len(names) != len(label):
            raise DataError(f"labels from Python have {len(label)} columns, but there are {len(names)} class_names.")
        if any(one not in (0, 1) for one in label):
            raise ValueError("its label is a row with other numbers than 0 and 1")
        classes = tuple(column for column, one in enumerate(label) if one)
    for one in classes:
        if isinstance(one, float) or (isinstance(one, int) and not 0 <= one < (len(names) if names else math.inf)):
            raise ValueError(f"label {one} is no class's number")
        if isinstance(one, str) and (not one if names is None else one not in names):
            raise ValueError(f"label {one!r} is not in class_names" if one else "its label is empty")
    return classes


def _numbers_first(label: int | str) -> tuple[bool, int | str]:
    """Sorts numbers by their value, not by their text."""
    return isinstance(label, str), label


def _rows(given: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Picture, label and weight, one by one."""
    if hasattr(given, "as_numpy_iterator"):
        if int(given.cardinality()) == -1:
            raise DataError("the tf.data.Dataset repeats for ever; give it without .repeat().")
        for element in given.as_numpy_iterator():
            yield from _rows_of(element)
    elif hasattr(given, "num_batches"):
        if given.num_batches is None:
            raise DataError("the PyDataset has no end; give it a __len__.")
        for number in range(given.num_batches):
            yield from _rows_of(copy.deepcopy(given[number]))  # it may fill the same array again
    elif isinstance(given, (tuple, list)):
        yield from _rows_of(given, batched=True)
    else:
        raise DataError(
            f"FineTuner cannot take a {type(given).__name__} as data. Give a folder, a mapping with a recipe's data "
            "section,\n(images, labels) as arrays, a tf.data.Dataset or a Keras PyDataset of such pairs."
        )


def _rows_of(element: Any, *, batched: bool | None = None) -> Iterator[tuple[Any, Any, Any]]:
    if not isinstance(element, (tuple, list)) or len(element) not in (2, 3):
        raise DataError("data from Python must be pairs (images, labels), or (images, labels, weights).")
    columns = [column if isinstance(column, (tuple, list)) else np.asarray(column) for column in element]
    shape = np.shape(columns[0]) if batched is None else ()
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4)):
        yield columns[0], columns[1], columns[2] if len(columns) > 2 else 1.0
        return
    if not all(np.ndim(column) for column in columns if isinstance(column, np.ndarray)):
        raise DataError("data from Python must be pairs of as many images as labels.")
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise DataError(f"images, labels and weights from Python differ in number: {', '.join(map(str, lengths))}.")
    yield from zip(*columns, *([[1.0] * lengths[0]] if len(columns) == 2 else []), strict=True)


def _plain_label(label: Any) -> Label:
    """As Python's own numbers, text and tuples; `(1,)` arrays, as of Keras' binary labels, as their number."""
    if isinstance(label, bytes):
        return label.decode("utf-8", "backslashreplace")
    if isinstance(label, (str, int)):
        return int(label) if isinstance(label, int) else label  # no bool
    if isinstance(label, (list, tuple)):
        return tuple(_plain_label(one) for one in label)
    if isinstance(label, float):
        return int(label) if label.is_integer() else label
    value = np.asarray(label)
    plain = value.item() if value.size == 1 else value.tolist()
    if not isinstance(plain, (list, str, bytes, int, float)):
        raise DataError(f"label {label!r} from Python is no number, name, or row of them.")
    return _plain_label(plain)


def _plain_weight(weight: Any) -> float:
    try:
        return float(np.asarray(weight).item())
    except (TypeError, ValueError) as error:
        raise DataError(f"weight {weight!r} from Python is no number.") from error
