"""A finished run that answers for new pictures."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferkit.bundle.run_folder import CLASSES, MODEL, read_thresholds
from transferkit.data.decode import decode_picture
from transferkit.data.folder_source import read_picture_file
from transferkit.data.middle import middle_of, prepared_size_px
from transferkit.data.pixels import encode_picture, take_pictures
from transferkit.data.reading import in_threads
from transferkit.errors import DataError, PictureError
from transferkit.evaluate.thresholds import DEFAULT_THRESHOLD, name_found
from transferkit.progress import Progress, Quiet
from transferkit.recipe.data import DataSpec
from transferkit.recipe.recipe import Recipe
from transferkit.train.forward import compute_outputs, fitting_batch_size
from transferkit.train.placement import local_strategy
from transferkit.train.strategy import Forward, Strategy

_CHUNK = 256
_NEITHER = (
    "predict takes paths of picture files, or pixels 0–255 as arrays (num_images, height, width, 3) or "
    "(height, width, 3), or as Pillow's pictures, and was given: {}."
)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a classifier says of one picture; `error` says why it says nothing.

    `class_names` are all classes found in it, the likeliest first: one, or, where pictures may have any number, those
    whose probabilities reach their thresholds. `class_name` is the first of them, `None` if there is none.
    """

    path: str
    class_names: tuple[str, ...]
    probabilities: dict[str, float]
    error: str | None = None

    @property
    def class_name(self) -> str | None:
        return self.class_names[0] if self.class_names else None

    @property
    def probability(self) -> float:
        """Of the first class found, 0–1."""
        return self.probabilities[self.class_name] if self.class_name else 0.0


@dataclass(frozen=True)
class Predictor:
    """A classifier with the picture path of its run.

    Args:
        model: pixels 0–255 to probabilities.
        thresholds: `(num_classes,)`, where a picture may have any number of classes.
        margin: of the recipe.
    """

    model: Any
    class_names: tuple[str, ...]
    data: DataSpec
    thresholds: np.ndarray | None = None
    margin: float = 0.0

    @property
    def multi_label(self) -> bool:
        """Whether a picture may have any number of classes."""
        return self.thresholds is not None

    def predict(self, pictures: Any, *, progress: Progress | None = None) -> list[Prediction]:
        """Class and probabilities of each picture, in order; a bad one gives an entry with its error.

        Args:
            pictures: one or several paths of files; or pixels 0–255, of which `path` is the number: an array
                `(num_images, height, width, 3)` or `(height, width, 3)`, a picture of Pillow's, or a list of such
                pictures of any sizes.

        Raises:
            DataError: it is neither, or the pixels are in another range.
        """
        files, given = _files_or_pixels(pictures)
        found: list[Prediction] = []
        with (progress or Quiet()).task("predicting", len(files), "pictures") as task:
            for start in range(0, len(files), _CHUNK):
                chunk = slice(start, start + _CHUNK)
                read = map(read_picture_file, files[chunk]) if given is None else map(encode_picture, given[chunk])
                found += self._predict_chunk(files[chunk], read)
                task.advance(len(files[chunk]))
        return found

    def _predict_chunk(self, files: Sequence[Path], read: Iterable[bytes | PictureError]) -> list[Prediction]:
        decoded = list(in_threads(self._decode, read))
        good = [pixels for pixels in decoded if not isinstance(pixels, PictureError)]
        rows = iter(self._probabilities(np.stack(good)) if good else ())
        return [
            Prediction(str(file), (), {}, str(pixels))
            if isinstance(pixels, PictureError)
            else self._of(file, next(rows))
            for file, pixels in zip(files, decoded, strict=True)
        ]

    def _probabilities(self, images: np.ndarray) -> np.ndarray:
        batch_size = fitting_batch_size(len(images))
        (rows,) = compute_outputs(
            self._forward, images, np.arange(len(images)), strategy=self._strategy, batch_size=batch_size
        )
        return rows

    @cached_property
    def _strategy(self) -> Strategy:
        return local_strategy()

    @cached_property
    def _forward(self) -> Forward:
        return self._strategy.forward([self.model])

    def _decode(self, encoded: bytes | PictureError) -> np.ndarray | PictureError:
        if isinstance(encoded, PictureError):
            return encoded
        spec = self.data
        try:
            size_px = prepared_size_px(spec.image_size, self.margin)
            pixels = decode_picture(encoded, size_px=size_px, resize=spec.resize, max_megapixels=spec.max_megapixels)
            return middle_of(pixels, spec.image_size)
        except PictureError as error:
            return error

    def _of(self, file: Path, values: np.ndarray) -> Prediction:
        if not np.isfinite(values).all():
            return Prediction(str(file), (), {}, "the model gives no numbers for it")
        by_name = {name: float(value) for name, value in zip(self.class_names, values, strict=True)}
        found = name_found(values, self.class_names, self.thresholds)
        return Prediction(str(file), tuple(sorted(found, key=lambda name: -by_name[name])), by_name)


def _files_or_pixels(pictures: Any) -> tuple[list[Path], list[np.ndarray | PictureError] | None]:
    """Paths, or the pictures themselves with their numbers for paths."""
    if isinstance(pictures, (str, os.PathLike)):
        return [Path(pictures)], None
    if not _is_pixels(pictures):
        if not isinstance(pictures, Iterable):
            raise DataError(_NEITHER.format(type(pictures).__name__))
        pictures = list(pictures)
        if all(isinstance(one, (str, os.PathLike)) for one in pictures):
            return [Path(one) for one in pictures], None
        if not all(map(_is_pixels, pictures)):
            kinds = sorted({type(one).__name__ for one in pictures})
            raise DataError(_NEITHER.format(f"{type(pictures).__name__} of {' and '.join(kinds)}"))
    given = take_pictures(pictures)
    return [Path(str(number)) for number in range(len(given))], given


def _is_pixels(value: Any) -> bool:
    """A picture of Pillow's, whose file may be damaged, or an array of numbers; one of texts may hold paths."""
    return isinstance(value, Image.Image) or hasattr(value, "__array__") and np.asarray(value).dtype.kind in "iufb"


def load_predictor(run_dir: Path, recipe: Recipe) -> Predictor:
    """The classifier in a run folder, on the backend that Keras runs on."""
    import keras

    model = keras.saving.load_model(run_dir / MODEL, compile=False)
    class_names = tuple((run_dir / CLASSES).read_text(encoding="utf-8").splitlines())
    thresholds = None
    if recipe.multi_label:
        thresholds = np.array(read_thresholds(run_dir) or [DEFAULT_THRESHOLD] * len(class_names))
    return Predictor(model, class_names, recipe.data, thresholds, recipe.margin)
