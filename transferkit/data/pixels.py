"""Arrays as pictures: their pixels checked, and given as the files that all other pictures come from."""

import io
import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from transferkit.data.colours import to_colours
from transferkit.data.decode import TURNS, orientation_of
from transferkit.errors import DataError, PictureError

_SHAPES = "(height, width, 3), or with 1 or 4 channels, or (height, width)"


@dataclass
class PixelRange:
    """The values of the pictures that are not bytes yet."""

    low: float = math.inf
    high: float = -math.inf

    def take(self, low: float, high: float) -> None:
        self.low, self.high = min(self.low, low), max(self.high, high)
        if self.low < -0.5 or self.high > 255.5:
            raise DataError(
                f"pictures from Python hold values from {self.low:g} to {self.high:g}, but pixels are 0–255.\n"
                "Give them as they were before any normalisation: the model does its backbone's own inside."
            )

    def refuse_up_to_one(self) -> None:
        if self.low <= self.high <= 1:
            raise DataError(
                f"pictures from Python hold values from {self.low:g} to {self.high:g}, but pixels are 0–255.\n"
                "Multiply by 255, or leave out the Rescaling(1/255) before them."
            )


def take_pixels(image: Any, pixel_range: PixelRange) -> np.ndarray:
    """`(height, width)` or `(height, width, 3 or 4)`, uint8."""
    if isinstance(image, (str, bytes, os.PathLike)):
        raise DataError(
            f"a picture from Python is {str(image)[:80]!r}, which is not its pixels.\n"
            "Files come by a folder or a table: FineTuner('photos/') or FineTuner({'source': {'csv': 'labels.csv'}})."
        )
    if isinstance(image, Image.Image):  # of which an array may hold the numbers of a palette
        try:
            image = _upright_colours(image)
        except Exception as error:  # its file is read only now, and may be damaged in any way
            raise PictureError(f"cannot be read: {error}"[:200]) from error
    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))) or not pixels.size:
        raise DataError(f"a picture from Python has the shape {pixels.shape}; it must be {_SHAPES}.")
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype.kind not in "iufb":
        raise DataError(f"a picture from Python is of {pixels.dtype}; give uint8, or other numbers 0–255.")
    if not np.isfinite(pixels).all():
        raise PictureError("holds values that are no numbers")
    pixel_range.take(float(pixels.min()), float(pixels.max()))
    return np.ascontiguousarray(np.rint(pixels.astype(np.float32)).clip(0, 255).astype(np.uint8))


def _upright_colours(image: Image.Image) -> Image.Image:
    image.load()
    orientation = orientation_of(image)
    colours = to_colours(image)  # before it is turned, which leaves nothing of the format that says what is white
    return colours.transpose(TURNS[orientation]) if orientation in TURNS else colours


def take_pictures(given: Any) -> list[np.ndarray | PictureError]:
    """Pictures without labels, for `encode_picture`.

    Args:
        given: arrays of one picture each or Pillow's pictures, an array of several, or one of a single picture or
            Pillow's; shapes and pixels as in `FineTuner`.

    Raises:
        DataError: shapes or pixels are others.
    """
    pixel_range = PixelRange()
    shape = np.shape(given) if hasattr(given, "shape") else ()
    is_one = isinstance(given, Image.Image) or len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))
    pictures: list[np.ndarray | PictureError] = []
    for row in [given] if is_one else given:
        try:
            pictures.append(take_pixels(row, pixel_range))
        except PictureError as error:
            pictures.append(error)
    pixel_range.refuse_up_to_one()
    return pictures


def encode_picture(pixels: np.ndarray | PictureError) -> bytes | PictureError:
    """A file without loss, so that these pictures take the one way from a file to pixels."""
    if isinstance(pixels, PictureError):
        return pixels
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG", compress_level=1)
        return file.getvalue()
    # Made and read a hundred times as fast as PNG.
    height, width = pixels.shape[:2]
    return f"P{5 if pixels.ndim == 2 else 6} {width} {height} 255\n".encode() + pixels.tobytes()
