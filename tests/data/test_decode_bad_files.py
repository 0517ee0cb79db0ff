"""Every file that is no good picture is refused with a PictureError: nothing else escapes, nothing is printed."""

import struct
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from transferkit.data.decode import decode_picture
from transferkit.errors import PictureError


def encode(file_format, size=(48, 40), mode="RGB", **options):
    grain = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = BytesIO()
    Image.fromarray(grain).convert(mode).save(file, file_format, **options)
    return file.getvalue()


def float_tiff():
    """With values that are not numbers, of the kind that NumPy warns of when it converts them."""
    values = np.full((40, 48), 0.5, "<f4")
    values.view("<u4")[:9] = 0x7F800001
    file = BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    return file.getvalue()


FILES = {
    "JPEG": encode("JPEG"),
    "progressive JPEG": encode("JPEG", progressive=True),
    "CMYK JPEG": encode("JPEG", mode="CMYK"),
    "JPEG with broken EXIF": encode("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x03\0"),
    "PNG": encode("PNG"),
    "palette PNG": encode("PNG", mode="P"),
    "GIF": encode("GIF"),
    "BMP": encode("BMP"),
    "WebP": encode("WEBP"),
    "TIFF": encode("TIFF"),
    "LZW TIFF": encode("TIFF", compression="tiff_lzw"),
    "float TIFF": float_tiff(),
    "PPM": encode("PPM"),
    "plain PPM": b"P3 48 40 255 " + b"200 10 90 " * (48 * 40),
}


def reason_for(encoded, **options):
    with pytest.raises(PictureError) as refusal:
        decode_picture(encoded, size_px=32, resize="crop", **options)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not a picture"),
        (b"just some notes", "not a picture"),
        (bytes(1000), "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture"),
        (bytes(3) + b"\x18ftypheic" + bytes(16), "HEIC files are not read; save it as JPEG"),
        (b"\xff\xd8\xff\xd9", "damaged or unsupported JPEG file"),
    ],
)
def test_file_that_is_no_picture_is_refused_by_its_reason(encoded, reason):
    assert reason_for(encoded) == reason


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.6, 0.9, 0.98])
@pytest.mark.parametrize("encoded", FILES.values(), ids=FILES)
def test_truncated_file_is_refused(encoded, fraction):
    cut = encoded[: int(len(encoded) * fraction)]

    assert reason_for(cut) == "truncated file"


@pytest.mark.parametrize("name", ["JPEG", "progressive JPEG", "CMYK JPEG", "PNG", "WebP"])
def test_file_cut_at_any_length_is_refused(name):
    encoded = FILES[name]

    for length in [*range(16, len(encoded) - 5, 37), len(encoded) - 5]:
        assert reason_for(encoded[:length]) == "truncated file", length


def test_compressed_tiff_with_missing_strips_is_refused_in_silence(capfd):
    pixels = zlib.compress(np.random.default_rng(0).bytes(32 * 32))
    tags = {256: 32, 257: 32, 258: 8, 259: 8, 262: 1, 273: 200, 279: len(pixels)}  # 259: 8 is deflate
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags.items())
    encoded = (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries).ljust(200, b"\0") + pixels
    decode_picture(encoded, size_px=32, resize="crop")

    reason = reason_for(encoded[:-100])

    assert reason == "truncated file"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF"])
def test_download_that_ends_in_zeros_is_refused(name):
    encoded = FILES[name]

    half = encoded[: len(encoded) // 2].ljust(len(encoded), b"\0")

    reason_for(half)


def test_zeros_after_a_whole_jpeg_do_no_harm():
    whole = decode_picture(FILES["JPEG"], size_px=32, resize="crop")

    padded = decode_picture(FILES["JPEG"] + bytes(4096), size_px=32, resize="crop")

    np.testing.assert_array_equal(padded, whole)


@pytest.mark.parametrize("place", ["pixels", "checksum"])
def test_png_with_a_broken_chunk_is_refused(place):
    encoded = bytearray(FILES["PNG"])
    start = encoded.index(b"IDAT")
    length = int.from_bytes(encoded[start - 4 : start], "big")
    encoded[start + 4 + (length // 2 if place == "pixels" else length)] ^= 1

    assert reason_for(bytes(encoded)) == "damaged or unsupported PNG file"


def huge_png():
    """13,000 x 13,000 black pixels in a few kilobytes."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    compressor = zlib.compressobj(1)
    rows = bytes(1000 * (1 + 13_000 // 8))
    pixels = b"".join(compressor.compress(rows) for _ in range(13)) + compressor.flush()
    header = struct.pack(">IIBBBBB", 13_000, 13_000, 1, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_huge_png_is_refused_before_a_pixel_is_decoded(monkeypatch):
    loads = []
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda image: loads.append(image))

    reason = reason_for(huge_png())

    assert reason == "169.0 megapixels, over the limit of 100"
    assert not loads


@pytest.mark.parametrize("name", sorted(set(FILES) - {"LZW TIFF", "WebP"}))  # they cannot be opened without their end
def test_size_is_judged_by_the_header_alone(name):
    head = FILES[name][:-1]

    assert reason_for(head, max_megapixels=0.001) == "0.0 megapixels, over the limit of 0.001"


@pytest.mark.parametrize("encoded", FILES.values(), ids=FILES)
def test_picture_beyond_the_warning_limit_of_pillow_is_read_without_a_warning(monkeypatch, encoded):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 40 - 1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decode_picture(encoded, size_px=32, resize="crop")

    assert not caught
    assert Image.MAX_IMAGE_PIXELS == 48 * 40 - 1


def test_warnings_of_other_code_are_still_given():
    decode_picture(FILES["JPEG"], size_px=32, resize="crop")

    with pytest.warns(UserWarning, match="still here"):
        warnings.warn("still here", stacklevel=1)


def broken(encoded, rng):
    """The file with bits flipped, bytes replaced, its end cut off, a part taken out, or noise after its head."""
    damaged = bytearray(encoded)
    reach = len(damaged) if rng.random() < 0.5 else 200  # half of the damage in the head, where it does most
    match rng.integers(5):
        case 0:
            for place in rng.integers(0, reach, 5):
                damaged[place] ^= 1 << rng.integers(8)
        case 1:
            for place in rng.integers(0, reach, 10):
                damaged[place] = rng.integers(256)
        case 2:
            del damaged[rng.integers(0, reach) :]
        case 3:
            start = rng.integers(0, reach)
            del damaged[start : start + rng.integers(1, 100)]
        case 4:
            damaged[rng.integers(0, 40) :] = rng.bytes(300)
    return bytes(damaged)


@pytest.mark.parametrize("encoded", FILES.values(), ids=FILES)
def test_damaged_file_gives_a_picture_or_a_short_reason(encoded):
    rng = np.random.default_rng(0)
    reasons = []

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(50):
            try:
                pixels = decode_picture(broken(encoded, rng), size_px=16, resize="pad", max_megapixels=4)
                assert pixels.shape == (16, 16, 3)
            except PictureError as refusal:
                reasons.append(str(refusal))

    assert reasons
    assert all(0 < len(reason) < 60 and "\n" not in reason for reason in reasons)
    assert not caught


def test_random_bytes_are_refused():
    rng = np.random.default_rng(0)

    for num_bytes in range(1, 200):
        reason_for(rng.bytes(num_bytes))
