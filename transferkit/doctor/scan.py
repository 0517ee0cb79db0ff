"""One pass over all pictures of a listing: every file is read once and decoded once, small."""

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from transferkit.data.decode import decode_picture, format_of
from transferkit.data.listing import Listing
from transferkit.data.reading import in_threads
from transferkit.doctor.facts import read_facts
from transferkit.errors import CacheError, PictureError, PictureTooLargeError
from transferkit.progress import Progress

SCAN_PX: Final = 64
# Grey levels that a JPEG of one colour, or without colour, may stray.
ONE_COLOUR_LEVELS: Final = 4
_GREY_LEVELS: Final = 6
_UNREADABLE: Final = np.full((SCAN_PX, SCAN_PX, 3), 255, np.uint8)


@dataclass(frozen=True)
class Scan:
    """What is known of each picture of a listing, by its position there; of files that cannot be read, hardly anything.

    Args:
        pixels: `(num_pictures, SCAN_PX, SCAN_PX, 3)` uint8 RGB, the whole picture stretched; mapped from a scratch
            file. White where a file cannot be read.
        reasons: why a file cannot be read; empty where it can.
        too_large: `(num_pictures,)` bool, it can where the recipe allows more megapixels.
        digests: sha256 of the file; empty where there are no bytes.
        num_bytes: `(num_pictures,)` int64.
        formats: such as `JPEG`, by content; empty for what is no picture.
        width: `(num_pictures,)` int64, of the upright picture, as is `height`; 0 where a file cannot be read.
        orientation: `(num_pictures,)` uint8, EXIF, 1 is upright.
        captured: when the photo was taken, in ISO 8601; empty where it is not said, as in `cameras`.
        animated: `(num_pictures,)` bool, more than one frame or page.
        transparent: `(num_pictures,)` bool, parts may show what is behind them.
        grey: `(num_pictures,)` bool, no colour.
        constant: `(num_pictures,)` bool, one colour all over.
        channel_mean: `(num_pictures, 3)` float32, 0–255.
        channel_square: `(num_pictures, 3)` float32, mean of the squared values.
    """

    pixels: np.ndarray
    reasons: tuple[str, ...]
    too_large: np.ndarray
    digests: tuple[bytes, ...]
    num_bytes: np.ndarray
    formats: tuple[str, ...]
    width: np.ndarray
    height: np.ndarray
    orientation: np.ndarray
    captured: tuple[str, ...]
    cameras: tuple[str, ...]
    animated: np.ndarray
    transparent: np.ndarray
    grey: np.ndarray
    constant: np.ndarray
    channel_mean: np.ndarray
    channel_square: np.ndarray

    @property
    def readable(self) -> np.ndarray:
        """`(num_pictures,)` bool."""
        return np.array([not reason for reason in self.reasons], bool)


# Kept as numbers, not as objects: a million pictures take 60 MB.
_NUMBERS: Final = np.dtype(
    [
        ("too_large", bool),
        ("num_bytes", np.int64),
        ("width", np.int64),
        ("height", np.int64),
        ("orientation", np.uint8),
        ("animated", bool),
        ("transparent", bool),
        ("grey", bool),
        ("constant", bool),
        ("channel_mean", np.float32, 3),
        ("channel_square", np.float32, 3),
    ]
)


@dataclass(frozen=True, slots=True)
class _Examined:
    """One picture's row; `numbers` in the order of `_NUMBERS`."""

    reason: str
    digest: bytes
    format: str
    captured: str
    camera: str
    numbers: tuple[Any, ...]


def scan_pictures(listing: Listing, *, max_megapixels: float, progress: Progress) -> Scan:
    """Read and decode every picture of a listing, in threads.

    Args:
        max_megapixels: larger pictures are not decoded and count as not readable, as in a run.

    Raises:
        CacheError: no room for the scratch file.
    """
    total, num_bad = len(listing.pictures), 0
    numbers, texts = np.zeros(total, _NUMBERS), []
    with tempfile.TemporaryFile(prefix="transferkit-") as scratch:
        try:
            with progress.task("examining", total, "pictures") as task:
                for position, (row, pixels) in enumerate(_examined(listing, max_megapixels)):
                    scratch.write(pixels)
                    numbers[position] = row.numbers
                    texts.append((row.reason, row.digest, row.format, row.captured, row.camera))
                    num_bad += bool(row.reason)
                    task.advance(note=f"{num_bad} unreadable" if num_bad else "")
            scratch.flush()
        except OSError as error:
            raise CacheError(
                f"{tempfile.gettempdir()}: {error.strerror}; examining {total:,} pictures needs "
                f"{total * _UNREADABLE.nbytes / 1e6:,.0f} MB there for a while.\n"
                "Make room, or set the environment variable TMPDIR to a folder with room."
            ) from error
        shape = (total, *_UNREADABLE.shape)
        # The mapping keeps the data when the file is closed, until it is let go itself.
        pixels = np.memmap(scratch, np.uint8, "r", shape=shape) if total else np.empty(shape, np.uint8)
    columns = ("reasons", "digests", "formats", "captured", "cameras")
    return Scan(
        pixels=np.asarray(pixels),  # indexing a plain array costs less
        **{name: numbers[name] for name in _NUMBERS.names},
        **dict(zip(columns, zip(*texts, strict=True) if texts else [()] * len(columns), strict=True)),
    )


def _examined(listing: Listing, max_megapixels: float) -> Iterator[tuple[_Examined, np.ndarray]]:
    examine = partial(_examine, max_megapixels=max_megapixels)
    positions = range(len(listing.pictures))
    if listing.any_order:  # then the threads read as well
        return in_threads(lambda position: examine(next(iter(listing.read((position,))))), positions)
    return in_threads(examine, listing.read(positions))


def _examine(encoded: bytes | PictureError, *, max_megapixels: float) -> tuple[_Examined, np.ndarray]:
    if isinstance(encoded, PictureError):
        return _unreadable(str(encoded)), _UNREADABLE
    known = format_of(encoded[:64])
    about = hashlib.sha256(encoded).digest(), known.name if known else ""
    try:
        pixels = decode_picture(encoded, size_px=SCAN_PX, resize="stretch", max_megapixels=max_megapixels)
    except PictureError as error:
        too_large = isinstance(error, PictureTooLargeError)
        return _unreadable(str(error), *about, num_bytes=len(encoded), too_large=too_large), _UNREADABLE
    facts = read_facts(encoded)
    channels = np.ascontiguousarray(pixels.reshape(-1, 3).T, np.float32)  # each in one piece: several times as fast
    numbers = (
        False,
        len(encoded),
        facts.width,
        facts.height,
        facts.orientation,
        facts.animated,
        facts.transparent,
        np.abs(channels - channels[[1, 2, 0]]).max() <= _GREY_LEVELS,
        np.ptp(channels, axis=1).max() <= ONE_COLOUR_LEVELS,
        channels.mean(1),
        (channels**2).mean(1),
    )
    return _Examined("", *about, facts.captured, sys.intern(facts.camera), numbers), pixels


def _unreadable(
    reason: str, digest: bytes = b"", name: str = "", *, num_bytes: int = 0, too_large: bool = False
) -> _Examined:
    return _Examined(reason, digest, name, "", "", (too_large, num_bytes, 0, 0, 1, False, False, False, False, 0, 0))
