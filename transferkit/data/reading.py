"""Pictures of a listing, read and decoded in threads: a pass over some of them, or whenever they are asked for."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit.data.decode import decode_picture
from transferkit.data.listing import Listing
from transferkit.errors import DataError, PictureError
from transferkit.recipe.data import DataSpec


@dataclass(frozen=True, slots=True)
class Decoded:
    """One picture: sha256 of its file, and `(size, size, 3)` uint8, or `None` where nobody wanted them."""

    digest: bytes
    pixels: np.ndarray | None


def decode_pictures(
    listing: Listing, positions: np.ndarray, spec: DataSpec, *, wanted: Callable[[bytes], bool] = lambda digest: True
) -> Iterator[Decoded | PictureError]:
    """The pictures at some positions, which must rise, in their order; few are held at a time.

    Args:
        wanted: asked with a file's digest, in any thread, whether to decode it.
    """

    def decode(encoded: bytes | PictureError) -> Decoded | PictureError:
        if isinstance(encoded, PictureError):
            return encoded
        digest = hashlib.sha256(encoded).digest()
        if not wanted(digest):
            return Decoded(digest, None)
        try:
            pixels = decode_picture(
                encoded, size_px=spec.image_size, resize=spec.resize, max_megapixels=spec.max_megapixels
            )
        except PictureError as error:
            return error
        return Decoded(digest, pixels)

    if listing.any_order:  # then the threads read as well
        return in_threads(lambda position: decode(next(iter(listing.read((int(position),))))), positions)
    return in_threads(decode, listing.read(positions.tolist()))


class DecodedWhenAsked:
    """Pictures that are read and decoded anew whenever they are asked for; nothing is kept.

    Args:
        positions: in the listing, rising.
        digests: sha256 of the files there.
    """

    def __init__(self, listing: Listing, positions: np.ndarray, digests: Sequence[bytes], spec: DataSpec) -> None:
        self._listing, self._positions, self._digests, self._spec = listing, positions, digests, spec
        self.shape, self.dtype = (len(positions), spec.image_size, spec.image_size, 3), np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, chosen: Any) -> np.ndarray:
        """`(len(chosen), size, size, 3)`: some pictures, by an array of integers or a slice.

        Raises:
            DataError: a file is gone, or is not the one that it was.
        """
        rows, places = np.unique(np.arange(len(self))[chosen], return_inverse=True)
        pictures = np.empty((len(rows), *self.shape[1:]), np.uint8)
        with closing(decode_pictures(self._listing, self._positions[rows], self._spec)) as decoded:
            for row, picture, one in zip(rows, pictures, decoded, strict=True):
                picture[...] = self._unchanged(row, one)
        return pictures[places]

    def _unchanged(self, row: int, one: Decoded | PictureError) -> np.ndarray:
        if isinstance(one, Decoded) and one.digest == self._digests[row]:
            return one.pixels
        reason = one if isinstance(one, PictureError) else "another file than before"
        raise DataError(
            f"{self._listing.pictures[self._positions[row]].path}: {reason}; the file was removed or changed while the "
            "run was using it.\nPut it back as it was and resume the run, or begin a new one; with data.cache: disk or "
            "memory a run needs the files no more once they are prepared."
        )


def in_threads(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """`map` over all cores, in order, holding only a few items at a time."""
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
