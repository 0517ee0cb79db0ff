"""Small pictures for the page, inside it as data URIs."""

import base64
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image

from transferkit.data.decode import decode_picture
from transferkit.data.listing import Listing
from transferkit.data.reading import in_threads
from transferkit.doctor.scan import Scan
from transferkit.errors import PictureError
from transferkit.progress import Progress

_SIDE_PX: Final = 128
_QUALITY: Final = 75


def make_thumbnails(
    paths: Iterable[str], listing: Listing, scan: Scan, *, max_megapixels: float, progress: Progress
) -> Mapping[str, str]:
    """Data URIs by path; pictures that cannot be read, and paths that are none of the listing's, are missing."""
    wanted = set(paths)
    rows = [row for row, picture in enumerate(listing.pictures) if picture.path in wanted and not scan.reasons[row]]

    def make(encoded: bytes | PictureError) -> np.ndarray | None:
        try:
            if isinstance(encoded, PictureError):
                raise encoded
            return decode_picture(encoded, size_px=_SIDE_PX, resize="stretch", max_megapixels=max_megapixels)
        except PictureError:  # it has gone, or changed, since it was examined
            return None

    thumbnails = {}
    with progress.task("drawing the page", len(rows), "pictures") as task:
        for row, pixels in zip(rows, in_threads(make, listing.read(rows)), strict=True):
            task.advance()
            if pixels is not None:
                shape = _shape(int(scan.width[row]), int(scan.height[row]))
                thumbnails[listing.pictures[row].path] = _data_uri(Image.fromarray(pixels).resize(shape))
    return thumbnails


def _shape(width: int, height: int) -> tuple[int, int]:
    """The picture's own proportions within a square; extreme ones get a strip that can still be seen."""
    scale = _SIDE_PX / max(width, height)
    return max(12, round(width * scale)), max(12, round(height * scale))


def _data_uri(image: Image.Image) -> str:
    file = BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
