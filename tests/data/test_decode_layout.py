"""Where a picture's pixels go: orientation, layout, resizing, reduced decoding."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import get_args

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from transferkit.data.decode import RESIZES, Resize, decode_picture

RED, BLUE, GREEN, YELLOW = (255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 0)
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


def quadrants(width=96, height=64):
    """Pixels that look different in each of the eight orientations."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = RED, BLUE
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = GREEN, YELLOW
    return pixels


def photo(width, height):
    """Smooth shapes with some grain, as a camera makes them."""
    rng = np.random.default_rng(0)
    shapes = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((width, height), Image.BICUBIC)
    grain = rng.normal(0, 6, (height, width, 3))
    return Image.fromarray((np.asarray(shapes) + grain).clip(0, 255).astype(np.uint8))


STORED = {  # how a camera stores an upright picture under each EXIF orientation
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: np.rot90(upright, -1),
}


def stored(upright, orientation, file_format, **options):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encode(Image.fromarray(STORED[orientation](upright).copy()), file_format, exif=exif, **options)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("orientation", STORED)
def test_orientation_is_undone_under_every_policy(orientation, resize):
    upright = decode_picture(encode(Image.fromarray(quadrants()), "PNG"), size_px=48, resize=resize)

    decoded = decode_picture(stored(quadrants(), orientation, "PNG"), size_px=48, resize=resize)

    # Rows and columns are filtered one after the other, with whole numbers in between.
    assert abs(decoded.astype(int) - upright).max() <= 1


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("file_format", "options"),
    [("JPEG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})],
    ids=["JPEG", "WebP", "TIFF", "LZW TIFF"],
)
def test_orientation_is_undone_in_every_format(file_format, options, orientation):
    encoded = stored(quadrants(640, 480), orientation, file_format, **options)  # large: the JPEG is decoded reduced

    decoded = decode_picture(encoded, size_px=64, resize="stretch")

    corners = decoded[[8, 8, -9, -9], [8, -9, 8, -9]].astype(int)
    assert abs(corners - [RED, BLUE, GREEN, YELLOW]).max() <= 3  # JPEG's YCbCr in whole numbers


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x03\0", b"Exif\0\0nonsense"], ids=["cut", "no EXIF"]
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_leaves_the_picture_as_stored_and_warns_of_nothing(capfd, file_format, exif):
    upright = decode_picture(encode(halves(RED, BLUE), file_format), size_px=SIDE, resize="crop")
    encoded = encode(halves(RED, BLUE), file_format, exif=exif)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decoded = decode_picture(encoded, size_px=SIDE, resize="crop")

    np.testing.assert_array_equal(decoded, upright)
    assert not caught
    assert capfd.readouterr() == ("", "")


def wide():
    """Twice as wide as high, with a mark at either end."""
    pixels = np.asarray(halves(RED, BLUE))
    ends = np.full((SIDE, SIDE // 2, 3), GREEN, np.uint8)
    return np.concatenate([ends, pixels, ends], axis=1)


def test_crop_keeps_the_middle():
    decoded = decode_picture(encode(Image.fromarray(wide()), "PNG"), size_px=SIDE, resize="crop")

    np.testing.assert_array_equal(decoded, np.asarray(halves(RED, BLUE)))


def test_pad_keeps_everything_and_puts_white_around():
    expected = np.full((2 * SIDE, 2 * SIDE, 3), 255, np.uint8)
    expected[SIDE // 2 : -SIDE // 2] = wide()

    decoded = decode_picture(encode(Image.fromarray(wide()), "PNG"), size_px=2 * SIDE, resize="pad")

    np.testing.assert_array_equal(decoded, expected)


def test_stretch_keeps_everything_and_fills_the_square():
    decoded = decode_picture(encode(Image.fromarray(wide()), "PNG"), size_px=SIDE, resize="stretch")

    columns = [2, 12, 20, 29]  # away from the edges between the colours
    assert (decoded[:, columns] == [GREEN, RED, BLUE, GREEN]).all()


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_extreme_shape_is_laid_out(file_format, size, resize):
    decoded = decode_picture(encode(Image.new("RGB", size), file_format), size_px=SIDE, resize=resize)

    num_black = {1: 32 * 32, 5000: 32}[max(size)] if resize == "pad" else 32 * 32
    assert decoded.shape == (SIDE, SIDE, 3)
    assert (decoded == 0).all(axis=-1).sum() == num_black


def test_fine_pattern_becomes_its_mean_not_a_moire():
    board = np.indices((640, 640)).sum(axis=0) % 2 * 255

    decoded = decode_picture(encode(Image.fromarray(board.astype(np.uint8)), "PNG"), size_px=SIDE, resize="crop")

    assert abs(decoded - 127.5).max() <= 1  # rounding


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(33, 50), (601, 400), (7, 900)], ids=str)
def test_grey_picture_is_resized_as_its_colours_would_be(size, resize):
    grey = photo(*size).convert("L")

    as_grey, as_colours = (
        decode_picture(encode(image, "PNG"), size_px=24, resize=resize) for image in (grey, grey.convert("RGB"))
    )

    np.testing.assert_array_equal(as_grey, as_colours)


def test_colour_under_transparency_does_not_bleed():
    red_beside_hidden_green = halves((255, 0, 0, 255), (0, 255, 0, 0), "RGBA")

    decoded = decode_picture(encode(red_beside_hidden_green, "PNG"), size_px=13, resize="crop")

    assert (decoded[..., 0] == 255).all()
    np.testing.assert_array_equal(decoded[..., 1], decoded[..., 2])


@pytest.mark.parametrize("resize", RESIZES)
def test_reduced_decode_is_near_the_full_one(monkeypatch, resize):
    encoded = encode(photo(809, 601), "JPEG", quality=90)  # no multiples of 8
    reduced = decode_picture(encoded, size_px=24, resize=resize)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", lambda *_: None)
    full = decode_picture(encoded, size_px=24, resize=resize)

    difference = abs(reduced.astype(int) - full)
    # Another average over the same pixels, and one more rounding: measured 3 at most and 0.4 in the mean.
    assert 0 < difference.max() <= 5
    assert difference.mean() <= 0.5


def test_averaging_before_the_filter_is_near_filtering_every_pixel():
    large = photo(601, 601)
    filtered = np.asarray(large.resize((24, 24), Image.Resampling.BILINEAR), int)

    decoded = decode_picture(encode(large, "PNG"), size_px=24, resize="crop")

    assert abs(decoded - filtered).max() <= 4  # another average over the same pixels: measured 3


def test_reduced_decode_leaves_one_and_a_half_times_the_final_size(monkeypatch):
    sizes = []
    draft = JpegImagePlugin.JpegImageFile.draft

    def spy(image, *args):
        result = draft(image, *args)
        sizes.append(image.size)
        return result

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", spy)
    for side in (287, 288, 576, 1152):
        decode_picture(encode(Image.new("RGB", (side + 100, side)), "JPEG"), size_px=96, resize="crop")

    assert [min(size) for size in sizes] == [287, 144, 144, 144]


def test_same_file_gives_the_same_array_in_one_thread_and_in_many():
    files = [encode(photo(100 + i, 80), kind) for i in range(4) for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF")]
    serial = [decode_picture(file, size_px=64, resize="pad") for file in files]

    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda file: decode_picture(file, size_px=64, resize="pad"), files * 3))

    for one, other in zip(serial * 3, threaded, strict=True):
        np.testing.assert_array_equal(one, other)


def test_resize_policies_are_those_of_the_type():
    assert set(RESIZES) == set(get_args(Resize))
