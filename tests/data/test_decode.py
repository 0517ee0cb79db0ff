"""Every kind of file becomes correct RGB, and is known for a picture."""

import struct
import zlib
from io import BytesIO

import numpy as np
import PIL
import pytest
from PIL import Image, features

from transferkit.data.decode import PICTURE_SUFFIXES, decode_picture, looks_like_picture

BLACK, WHITE, RED, BLUE, GREEN, YELLOW = (0, 0, 0), (255,) * 3, (255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 0)
PINK = (255, 127, 127)  # red, half transparent, on white
SIDE = 32
ORIENTATION = 0x0112


def encode(image, file_format, **options):
    file = BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def halves(left, right, mode="RGB"):
    image = Image.new(mode, (SIDE, SIDE), left)
    image.paste(right, (SIDE // 2, 0, SIDE, SIDE))
    return image


def palette_halves():
    image = halves(0, 1, "P")
    image.putpalette([*RED, *BLUE])
    return image


def png_16_bits(colour_type, left, right):
    """A PNG of a kind that Pillow reads but does not write."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    row = b"\0" + struct.pack(f">{len(left)}H", *left) * 16 + struct.pack(f">{len(right)}H", *right) * 16
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * SIDE)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def grey_tiff(bits, left, right, *more_tags):
    """A TIFF of a kind that Pillow reads but does not write; `left` and `right` are a row's halves, encoded."""
    pixels = (left + right) * SIDE
    tags = [(256, SIDE), (257, SIDE), (258, bits), (259, 1), (262, 1), (273, 200), (279, len(pixels)), *more_tags]
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in sorted(tags))
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries).ljust(200, b"\0") + pixels


ANIMATED = {"save_all": True, "append_images": [halves(GREEN, YELLOW)]}
EXACT = {
    "png": (encode(halves(RED, BLUE), "PNG"), RED, BLUE),
    "bmp": (encode(halves(RED, BLUE), "BMP"), RED, BLUE),
    "ppm": (encode(halves(RED, BLUE), "PPM"), RED, BLUE),
    "plain ppm": (b"P3 32 32 255 " + (b"255 0 0 " * 16 + b"0 0 255 " * 16) * 32, RED, BLUE),
    "tiff": (encode(halves(RED, BLUE), "TIFF"), RED, BLUE),
    "lzw tiff": (encode(halves(RED, BLUE), "TIFF", compression="tiff_lzw"), RED, BLUE),
    "cmyk tiff": (encode(halves((0, 255, 255, 0), (255, 255, 0, 0), "CMYK"), "TIFF"), RED, BLUE),
    "webp": (encode(halves(RED, BLUE), "WEBP", lossless=True), RED, BLUE),
    "gif": (encode(palette_halves(), "GIF"), RED, BLUE),
    "animated gif": (encode(halves(RED, BLUE), "GIF", **ANIMATED), RED, BLUE),
    "animated webp": (encode(halves(RED, BLUE), "WEBP", lossless=True, **ANIMATED), RED, BLUE),
    "animated png": (encode(halves(RED, BLUE), "PNG", **ANIMATED), RED, BLUE),
    "two-page tiff": (encode(halves(RED, BLUE), "TIFF", **ANIMATED), RED, BLUE),
    "grey": (encode(halves(0, 128, "L"), "PNG"), BLACK, (128,) * 3),
    "1 bit": (encode(halves(0, 1, "1"), "PNG"), BLACK, WHITE),
    "1-bit tiff": (encode(halves(0, 1, "1"), "TIFF", compression="group4"), BLACK, WHITE),
    "palette": (encode(palette_halves(), "PNG"), RED, BLUE),
    "palette, one transparent": (encode(palette_halves(), "PNG", transparency=1), RED, WHITE),
    "palette, alphas": (encode(palette_halves(), "PNG", transparency=b"\x80\xff"), PINK, BLUE),
    "gif, transparent": (encode(palette_halves(), "GIF", transparency=0), WHITE, BLUE),
    "rgb, transparent colour": (encode(halves(RED, BLUE), "PNG", transparency=RED), WHITE, BLUE),
    "grey, transparent level": (encode(halves(0, 64, "L"), "PNG", transparency=0), WHITE, (64,) * 3),
    "rgba": (encode(halves((255, 0, 0, 128), (0, 0, 255, 255), "RGBA"), "PNG"), PINK, BLUE),
    "la": (encode(halves((0, 128), (0, 0), "LA"), "PNG"), (127,) * 3, WHITE),
    "16-bit grey": (encode(halves(0, 128 * 257, "I;16"), "PNG"), BLACK, (128,) * 3),
    "16-bit grey tiff": (encode(halves(65535, 64 * 257, "I;16B"), "TIFF"), WHITE, (64,) * 3),
    "16-bit grey pgm": (encode(halves(65535, 64 * 257, "I;16"), "PPM"), WHITE, (64,) * 3),
    "12-bit grey tiff": (grey_tiff(12, b"\xff" * 24, b"\x55" * 24), WHITE, (85,) * 3),
    "16-bit rgb": (png_16_bits(2, (65535, 0, 0), (0, 0, 65535)), RED, BLUE),
    "16-bit rgba": (png_16_bits(6, (65535, 0, 0, 65535), (0, 0, 65535, 0)), RED, WHITE),
    "32-bit integers": (encode(halves(-70_000, 70_000, "I"), "TIFF"), BLACK, WHITE),
    "floats in 0-1": (encode(halves(1.0, 0.25, "F"), "TIFF"), WHITE, (64,) * 3),
    "floats beyond": (encode(halves(-3.0, 900.0, "F"), "TIFF"), BLACK, WHITE),
    "floats, some not numbers": (encode(halves(float("nan"), 1.0, "F"), "TIFF"), BLACK, WHITE),
    "floats, none a number": (encode(halves(float("nan"), float("nan"), "F"), "TIFF"), BLACK, BLACK),
}


@pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 13, reason="Pillow reads this kind of TIFF from 13 on")
def test_premultiplied_grey_is_composed_on_white():
    encoded = grey_tiff(8 | 8 << 16, b"\x00\x80" * 16, b"\x40\xff" * 16, (277, 2), (338, 1))

    pixels = decode_picture(encoded, size_px=SIDE, resize="crop")

    np.testing.assert_array_equal(pixels, np.asarray(halves((127,) * 3, (64,) * 3)))


@pytest.mark.parametrize(("encoded", "left", "right"), EXACT.values(), ids=EXACT)
def test_lossless_picture_keeps_its_exact_colours(encoded, left, right):
    expected = np.asarray(halves(left, right))

    decoded = decode_picture(encoded, size_px=SIDE, resize="crop")

    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, expected)


def ycck_halves():
    """Adobe's other four-colour JPEG: Pillow writes the planes of a YCCK picture as CMYK; the marker then says YCCK."""
    cyan_magenta_yellow = halves((0, 255, 255), (255, 255, 0)).convert("YCbCr")  # of red and blue
    planes = [band.point(lambda value: 255 - value) for band in cyan_magenta_yellow.split()]  # Pillow inverts them back
    black = Image.new("L", (SIDE, SIDE), 0)
    encoded = encode(Image.merge("CMYK", [*planes, black]), "JPEG", quality=100)
    transform = encoded.index(b"Adobe") + 11
    return encoded[:transform] + b"\x02" + encoded[transform + 1 :]


LOSSY = {
    "jpeg": (lambda: encode(halves(RED, BLUE), "JPEG", quality=100, subsampling=0), RED, BLUE),
    "progressive jpeg": (
        lambda: encode(halves(RED, BLUE), "JPEG", quality=100, subsampling=0, progressive=True),
        RED,
        BLUE,
    ),
    "grey jpeg": (lambda: encode(halves(10, 200, "L"), "JPEG", quality=100), (10,) * 3, (200,) * 3),
    "cmyk jpeg": (
        lambda: encode(halves((0, 255, 255, 55), (255, 255, 0, 0), "CMYK"), "JPEG", quality=100),
        (200, 0, 0),
        BLUE,
    ),
    "ycck jpeg": (ycck_halves, RED, BLUE),
    "jpeg in tiff": (
        lambda: encode(halves(10, 200, "L"), "TIFF", compression="jpeg", quality=100),
        (10,) * 3,
        (200,) * 3,
    ),
    "avif": (lambda: encode(halves(RED, BLUE), "AVIF", quality=100, subsampling="4:4:4"), RED, BLUE),
}


@pytest.mark.parametrize(("make", "left", "right"), LOSSY.values(), ids=LOSSY)
def test_lossy_picture_keeps_its_colours_nearly(make, left, right):
    if make is LOSSY["avif"][0] and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    expected = np.asarray(halves(left, right), int)

    decoded = decode_picture(make(), size_px=SIDE, resize="crop")

    # YCbCr in whole numbers, there and back, moves a channel by up to 2, quantisation by 1.
    assert abs(decoded - expected).max() <= 3


@pytest.mark.parametrize("encoded", [row[0] for row in EXACT.values()], ids=EXACT)
def test_picture_without_suffix_is_known_by_its_first_bytes(encoded):
    assert looks_like_picture(encoded[:32])


@pytest.mark.parametrize(
    "head",
    [b"", b"notes about birds", b"BM, the British Museum, has many rooms", b"P1 is the first", b"<!DOCTYPE html>"]
    + [
        b"\0\0\0\1Bud1\0\0\x10\0",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(24),
        b"%PDF-1.7",
        b"%!PS-Adobe-3.0 EPSF-3.0",
    ],
)
def test_other_file_does_not_look_like_a_picture(head):
    assert not looks_like_picture(head)


def test_suffixes_are_lower_case_and_leave_other_files_out():
    assert {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm"} <= PICTURE_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in PICTURE_SUFFIXES)
    assert not PICTURE_SUFFIXES & {"", ".txt", ".db", ".csv", ".eps", ".svg", ".pdf"}
