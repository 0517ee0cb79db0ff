"""The one image path: from an encoded file to the RGB pixels that the model gets, in every split and in `predict`."""

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Final, Literal

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from transferkit.data.colours import to_colours
from transferkit.errors import PictureError, PictureTooLargeError

Resize = Literal["crop", "pad", "stretch"]
Size = tuple[float, float]
Box = tuple[float, float, float, float]
LayOut = Callable[[Size, int], tuple[Box, tuple[int, int]]]

# Goes up when this file gives other pixels for the same picture, so that nothing computed from the old ones is used.
DECODE_VERSION: Final = 2
PICTURE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif"}
)
"""Suffixes, in lower case, of the files that a folder lists as pictures."""

# Triangle filter, widened when a picture shrinks: no aliasing, and no overshoot beside an edge as sharper filters have.
_FILTER: Final = Image.Resampling.BILINEAR
# Whole-number averaging before the filter, down to this many times the final size: within 3 grey levels of filtering
# every pixel, in a third of the time.
_REDUCING_GAP: Final = 3.0
# A JPEG is decoded at 1/2, 1/4 or 1/8 as long as this many times the final size remains: about one grey level from the
# full decode on average. What it takes then is mostly the reading of its code, which no scale makes shorter.
_DRAFT_GAP: Final = 1.5

TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation."""

_PILLOW_WARNINGS: Final = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


@dataclass(frozen=True, slots=True)
class _Format:
    """A file format: how its files begin, and Pillow's reader for it (`None`: known, but not read)."""

    name: str
    magic: re.Pattern[bytes]
    reader: type[ImageFile.ImageFile] | None
    is_cut: Callable[[bytes], bool] = lambda encoded: False
    """Whether a file that cannot be read lacks its end."""


def _webp_is_cut(encoded: bytes) -> bool:
    return 8 + int.from_bytes(encoded[4:8], "little") > len(encoded)


def _tiff_is_cut(encoded: bytes) -> bool:
    first_directory = int.from_bytes(encoded[4:8], "little" if encoded.startswith(b"II") else "big")
    return first_directory >= len(encoded)


# Each file is given to the one reader that its first bytes name, not to `Image.open`: that judges the size by a
# setting of the whole process, and tries readers in turn.
_FORMATS: Final = tuple(
    _Format(name, re.compile(magic, re.DOTALL), *rest)
    for name, magic, *rest in (
        ("JPEG", rb"\xff\xd8\xff", JpegImagePlugin.JpegImageFile, lambda encoded: b"\xff\xd9" not in encoded[-16:]),
        ("PNG", rb"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile, lambda encoded: b"IEND" not in encoded[-16:]),
        ("GIF", rb"GIF8[79]a", GifImagePlugin.GifImageFile, lambda encoded: b";" not in encoded[-1:]),
        ("BMP", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", BmpImagePlugin.BmpImageFile),
        ("WebP", rb"RIFF.{4}WEBPVP8[ LX]", WebPImagePlugin.WebPImageFile, _webp_is_cut),
        ("TIFF", rb"II[*+]\0|MM\0[*+]", TiffImagePlugin.TiffImageFile, _tiff_is_cut),
        ("PPM", rb"P[1-6]\s+[\d#]", PpmImagePlugin.PpmImageFile),
        ("AVIF", rb".{4}ftypavi[fs]", AvifImagePlugin.AvifImageFile),
        # Phones write it and Pillow does not read it: listed, so that whole albums do not go missing without a word.
        ("HEIC", rb".{4}ftyp(hei[cmsx]|hev[cx]|mif1|msf1)", None),
    )
)


def looks_like_picture(head: bytes) -> bool:
    """Whether a file that begins with `head` (32 bytes are enough) is of a picture format, whatever its name."""
    return format_of(head) is not None


def decode_picture(encoded: bytes, *, size_px: int, resize: Resize, max_megapixels: float = 100) -> np.ndarray:
    """The pixels of one encoded picture, upright, in RGB, at the model's size.

    JPEG, PNG, GIF, BMP, WebP, TIFF, PPM and AVIF are read; of several frames or pages, the first. The EXIF orientation
    is undone. Transparent parts become white. Colour profiles are ignored. 16-bit grey is scaled from its full range,
    32-bit and float grey from 0–1 where it is float and lies there, otherwise from its own lowest to its own highest
    value. Large JPEGs are decoded at a reduced scale: a few grey levels from the full decode, twice as fast.
    All are resized with one antialiased filter. The same bytes give the same array, in any thread.

    Args:
        encoded: the whole file.
        size_px: height and width of the result.
        resize: `crop`: the short side fits, the middle is kept. `pad`: the long side fits, the rest is white, as
            transparent parts are, so that cut-out pictures get no frame. `stretch`: both sides fit, shapes change.
        max_megapixels: a larger picture is refused by its header, before any pixel is decoded.

    Returns:
        `(size_px, size_px, 3)`, uint8.

    Raises:
        PictureError: the file is no picture, is truncated, damaged or too large; the message is the reason.
    """
    lay_out = RESIZES[resize]
    _silence_pillow()
    if not encoded:
        raise PictureError("empty file")
    file_format = format_of(encoded)
    if file_format is None:
        raise PictureError("not a picture")
    if file_format.reader is None:
        raise PictureError(f"{file_format.name} files are not read; save it as JPEG")
    if file_format.name == "JPEG":
        # A download that broke off in a file of reserved size ends in zeros, which would decode to half a grey picture.
        encoded = encoded.rstrip(b"\0")

    with _bad_file_refused(file_format, encoded):
        image = file_format.reader(BytesIO(encoded))
    megapixels = image.width * image.height / 1e6
    if megapixels > max_megapixels:
        raise PictureTooLargeError(f"{megapixels:.1f} megapixels, over the limit of {max_megapixels:g}")
    with _bad_file_refused(file_format, encoded):
        size = _load(image, encoded, needed_size=_needed_size(image.size, *lay_out(image.size, size_px)))
        orientation = orientation_of(image)
        colours = to_colours(image)

    box, content_size = lay_out(size, size_px)
    content = colours.resize(content_size, _FILTER, box, _REDUCING_GAP)
    if orientation in TURNS:
        content = content.transpose(TURNS[orientation])
    picture = Image.new("RGB", (size_px, size_px), "white")
    picture.paste(content, ((size_px - content.width) // 2, (size_px - content.height) // 2))
    return np.array(picture)


def _crop(size: Size, size_px: int) -> tuple[Box, tuple[int, int]]:
    width, height = size
    side = min(size)
    left, top = (width - side) / 2, (height - side) / 2
    return (left, top, left + side, top + side), (size_px, size_px)


def _pad(size: Size, size_px: int) -> tuple[Box, tuple[int, int]]:
    scale = size_px / max(size)
    content_width, content_height = (max(1, round(length * scale)) for length in size)
    return (0, 0, *size), (content_width, content_height)


def _stretch(size: Size, size_px: int) -> tuple[Box, tuple[int, int]]:
    return (0, 0, *size), (size_px, size_px)


RESIZES: Final[Mapping[str, LayOut]] = {"crop": _crop, "pad": _pad, "stretch": _stretch}
"""From a picture's size and `size_px` to the part of it that is shown and that part's width and height when shown."""


def _needed_size(size: Size, box: Box, content_size: tuple[int, int]) -> tuple[int, int]:
    """Smallest size of the whole picture that leaves `_DRAFT_GAP` times the final size in the part that is shown."""
    width, height = (
        max(1, int(_DRAFT_GAP * content * length / (end - start)))
        for content, length, start, end in zip(content_size, size, box[:2], box[2:], strict=True)
    )
    return width, height


def format_of(head: bytes) -> _Format | None:
    """The format of a file that begins with `head` (32 bytes are enough); `None` for what is no picture."""
    return next((row for row in _FORMATS if row.magic.match(head)), None)


def _silence_pillow() -> None:
    """Keep Pillow from warning about files: what is wrong with one is the PictureError's to say.

    `warnings.catch_warnings` changes and restores a list of the whole process, which threads would restore over each
    other. A filter for Pillow's own modules that stays does no harm; it must come first, and others may be put before.
    """
    if warnings.filters[:1] != [_PILLOW_WARNINGS]:
        warnings.filterwarnings("ignore", module=_PILLOW_WARNINGS[3].pattern)
        logging.getLogger("PIL").setLevel(logging.CRITICAL)


@contextmanager
def _bad_file_refused(file_format: _Format, encoded: bytes) -> Iterator[None]:
    try:
        yield
    except PictureError:
        raise
    except MemoryError as error:
        raise PictureError("needs more memory than there is") from error
    except Image.DecompressionBombError as error:
        raise PictureError("more megapixels than Pillow allows") from error
    except Exception as error:  # Pillow has no error of its own: bad bytes raise whatever the reader stumbles over
        says_so = re.search("truncated|not enough image data|EOF", str(error), re.IGNORECASE)
        if says_so or file_format.is_cut(encoded):
            raise PictureError("truncated file") from error
        raise PictureError(f"damaged or unsupported {file_format.name} file") from error


def _load(image: ImageFile.ImageFile, encoded: bytes, *, needed_size: tuple[int, int]) -> Size:
    """Decode the pixels and return the size that they cover: fractional where a JPEG's last pixels are partly filled.

    Raises:
        Exception: of any class, when the bytes are bad.
    """
    if isinstance(image, PngImagePlugin.PngImageFile):
        PngImagePlugin.PngImageFile(BytesIO(encoded)).verify()  # checksums of the pixel data, which `load` skips
    is_compressed_tiff = isinstance(image, TiffImagePlugin.TiffImageFile) and image.info["compression"] != "raw"
    if is_compressed_tiff and _tiff_lacks_strips(image, len(encoded)):  # libtiff would write it to the terminal
        raise PictureError("truncated file")
    drafted = image.draft(None, needed_size)
    image.load()
    return drafted[1][2:] if drafted else image.size


def _tiff_lacks_strips(image: TiffImagePlugin.TiffImageFile, num_bytes: int) -> bool:
    tags = image.tag_v2
    starts = tags.get(TiffImagePlugin.STRIPOFFSETS) or tags.get(TiffImagePlugin.TILEOFFSETS, ())
    lengths = tags.get(TiffImagePlugin.STRIPBYTECOUNTS) or tags.get(TiffImagePlugin.TILEBYTECOUNTS, ())
    return any(start + length > num_bytes for start, length in zip(starts, lengths, strict=False))


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8, of a loaded picture. Upright where EXIF is broken: the pixels are still good."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as many kinds as there are ways to break it
        return 1
