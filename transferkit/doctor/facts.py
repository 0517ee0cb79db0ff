"""What a picture file says of itself in its header, beside its pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Final

from PIL import ExifTags, Image

from transferkit.data.decode import format_of

_SIDEWAYS: Final = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""
_MAX_TEXT: Final = 60
FORMAT_SUFFIXES: Final[Mapping[str, tuple[str, ...]]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "WebP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
    "HEIC": (".heic", ".heif"),
}
"""Endings of file names that go with each format, in lower case."""


@dataclass(frozen=True, slots=True)
class Facts:
    """A sound file's header.

    Args:
        width: in pixels, of the upright picture, as is `height`.
        orientation: EXIF, 1 (upright) to 8.
        captured: when the photo was taken, as `2024-05-01T12:30:00`; empty if it is not said, as is `camera`.
        animated: more than one frame or page.
        transparent: parts may show what is behind them.
    """

    width: int
    height: int
    orientation: int
    captured: str
    camera: str
    animated: bool
    transparent: bool


def read_facts(encoded: bytes) -> Facts:
    """The header of a file that `decode_picture` has read."""
    image = format_of(encoded).reader(BytesIO(encoded))
    # Asked for EXIF that is not there, Pillow would decode a PNG to its end to look behind the pixels.
    has_exif = image.format != "PNG" or b"eXIf" in encoded or b"exif" in encoded
    orientation, captured, camera = _read_exif(image) if has_exif else (1, "", "")
    width, height = reversed(image.size) if orientation in _SIDEWAYS else image.size
    try:
        animated = bool(getattr(image, "is_animated", False))
    except Exception:  # a later frame is broken, and Pillow raises whatever it stumbles over; the first was decoded
        animated = False
    return Facts(width, height, orientation, captured, camera, animated, image.has_transparency_data)


def _read_exif(image: Image.Image) -> tuple[int, str, str]:
    try:
        exif = image.getexif()
        orientation = exif.get(ExifTags.Base.Orientation, 1)
        taken = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
        camera = " ".join(_text(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model)).strip()
    except Exception:  # as many kinds as there are ways to break it
        return 1, "", ""
    return orientation if orientation in range(1, 9) else 1, _time(taken), camera


def _text(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(letter for letter in text if letter.isprintable()).strip()[:_MAX_TEXT]


def _time(value: object) -> str:
    try:
        return datetime.strptime(_text(value)[:19], "%Y:%m:%d %H:%M:%S").isoformat()
    except ValueError:  # cameras whose clock was never set write zeros or blanks
        return ""
