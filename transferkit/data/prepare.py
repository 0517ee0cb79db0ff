"""Decode every picture once, to the size the model takes."""

import hashlib
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from transferkit.data.decode import decode_picture
from transferkit.data.listing import Listing, Picture, Skipped
from transferkit.errors import PictureError
from transferkit.progress import Progress
from transferkit.recipe.data import DataSpec

# Above this share of the free memory, prepared pictures go to a file that the system pages in.
_MEMORY_SHARE = 0.5


@dataclass(frozen=True)
class Prepared:
    """Pictures as the model gets them.

    Args:
        images: `(num_images, size, size, 3)` uint8 RGB.
        digests: sha256 of each picture's file.
    """

    images: np.ndarray
    pictures: tuple[Picture, ...]
    digests: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]


def prepare_pictures(listing: Listing, spec: DataSpec, *, progress: Progress) -> Prepared:
    """Decode all pictures of a listing; the ones that cannot be read are left out and listed with the reason."""
    size_px = spec.image_size

    def decode(encoded: bytes | PictureError) -> tuple[np.ndarray, bytes] | PictureError:
        if isinstance(encoded, PictureError):
            return encoded
        try:
            pixels = decode_picture(encoded, size_px=size_px, resize=spec.resize, max_megapixels=spec.max_megapixels)
        except PictureError as error:
            return error
        return pixels, hashlib.sha256(encoded).digest()

    images = _allocate((len(listing.pictures), size_px, size_px, 3), spec.cache)
    pictures, digests, skipped = [], [], []
    with progress.task("reading pictures", len(listing.pictures), "pictures") as task:
        read = listing.read(range(len(listing.pictures)))
        for picture, result in zip(listing.pictures, _in_threads(decode, read), strict=True):
            if isinstance(result, PictureError):
                skipped.append(Skipped(picture.path, str(result)))
            else:
                images[len(pictures)] = result[0]
                pictures.append(picture)
                digests.append(result[1])
            task.advance(note=f"{len(skipped)} left out" if skipped else "")
    return Prepared(images[: len(pictures)], tuple(pictures), tuple(digests), tuple(skipped))


def _allocate(shape: tuple[int, ...], cache: str) -> np.ndarray:
    needed = int(np.prod(shape, dtype=np.int64))
    fits = needed <= _MEMORY_SHARE * psutil.virtual_memory().available
    if cache == "memory" or (cache == "auto" and fits) or not needed:
        return np.zeros(shape, np.uint8)
    with tempfile.NamedTemporaryFile(prefix="transferkit-", suffix=".pictures", delete=False) as file:
        array = np.memmap(file, np.uint8, "w+", shape=shape)
    with suppress(PermissionError):  # Windows keeps open files
        Path(file.name).unlink()  # the mapping keeps the data until it is let go, however the process ends
    return array


def _in_threads(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """`map` over all cores, in order, holding only a few items at a time."""
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 4 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
