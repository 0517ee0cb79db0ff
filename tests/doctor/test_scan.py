"""One pass over files: what is known of each afterwards."""

import errno
import tempfile
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from transferkit.data.folder_source import list_folder
from transferkit.data.listing import Listing, Picture
from transferkit.doctor.scan import SCAN_PX, Scan, scan_pictures
from transferkit.errors import CacheError, PictureError
from transferkit.progress import Quiet

ORIENTATION, MAKE, MODEL, EXIF_FOLDER, TAKEN = 0x0112, 0x010F, 0x0110, 0x8769, 0x9003


def scan_files(*contents: bytes | PictureError, max_megapixels: float = 100) -> Scan:
    pictures = tuple(Picture(f"{number}.jpg", number % 2) for number in range(len(contents)))
    listing = Listing(("a", "b"), pictures, lambda chosen: (contents[row] for row in chosen))
    return scan_pictures(listing, max_megapixels=max_megapixels, progress=Quiet())


def jpeg(size=(40, 30), colour="red", **options) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, colour).save(file, "JPEG", **options)
    return file.getvalue()


def png(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_file_s_size_is_that_of_the_upright_picture():
    exif = Image.Exif()
    exif[ORIENTATION] = 6

    scan = scan_files(jpeg(), jpeg(exif=exif))

    assert list(zip(scan.width, scan.height, scan.orientation, strict=True)) == [(40, 30, 1), (30, 40, 6)]


def test_capture_time_and_camera_come_from_exif():
    exif = Image.Exif()
    exif[MAKE], exif[MODEL] = "Make\0", " Model 1\n"
    exif.get_ifd(EXIF_FOLDER)[TAKEN] = "2024:05:01 12:30:00"

    scan = scan_files(jpeg(exif=exif), jpeg())

    assert (scan.captured, scan.cameras) == (("2024-05-01T12:30:00", ""), ("Make Model 1", ""))


def test_a_clock_that_was_never_set_tells_no_time():
    exif = Image.Exif()
    exif.get_ifd(EXIF_FOLDER)[TAKEN] = "0000:00:00 00:00:00"

    assert scan_files(jpeg(exif=exif)).captured == ("",)


def test_broken_exif_leaves_a_sound_picture():
    scan = scan_files(jpeg(exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"))

    assert (scan.reasons, scan.width[0], scan.orientation[0]) == (("",), 40, 1)


def test_what_cannot_be_read_has_a_reason_and_white_pixels():
    scan = scan_files(
        b"", jpeg(), PictureError("cannot be read: gone"), b"<html>", jpeg((200, 200)), max_megapixels=0.03
    )

    assert scan.reasons == (
        "empty file",
        "",
        "cannot be read: gone",
        "not a picture",
        "0.0 megapixels, over the limit of 0.03",
    )
    assert scan.readable.tolist() == [False, True, False, False, False]
    assert scan.too_large.tolist() == [False, False, False, False, True]
    assert scan.pixels.shape == (5, SCAN_PX, SCAN_PX, 3)
    assert (scan.pixels[0] == 255).all()
    assert not (scan.pixels[1] == 255).all()


def test_grey_and_constant_pictures_are_told_from_others():
    draw = np.random.default_rng(0)
    grey = draw.integers(0, 256, (8, 8), np.uint8).repeat(8, 0).repeat(8, 1)
    colours = draw.integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)

    scan = scan_files(png(grey), png(colours), jpeg(colour="orange"), jpeg(colour="grey"))

    assert scan.grey.tolist() == [True, False, False, True]
    assert scan.constant.tolist() == [False, False, True, True]


def test_channel_statistics_are_those_of_the_pixels():
    pixels = np.random.default_rng(1).integers(0, 256, (SCAN_PX, SCAN_PX, 3), np.uint8)

    scan = scan_files(png(pixels))

    np.testing.assert_allclose(scan.channel_mean[0], pixels.mean((0, 1)), rtol=1e-5)  # float32
    np.testing.assert_allclose(scan.channel_square[0], (pixels.astype(float) ** 2).mean((0, 1)), rtol=1e-5)


def test_copies_have_one_digest():
    scan = scan_files(jpeg(), jpeg(colour="blue"), jpeg())

    assert scan.digests[0] == scan.digests[2] != scan.digests[1]


def test_a_source_in_one_order_is_read_in_one_pass(picture_folder):
    listing = list_folder(picture_folder)
    passes = []

    def read(chosen):
        passes.append(list(chosen))
        return listing.read(chosen)

    scan_pictures(
        Listing(listing.class_names, listing.pictures, read, any_order=False), max_megapixels=1, progress=Quiet()
    )

    assert passes == [list(range(len(listing.pictures)))]


def test_a_full_disk_is_told_with_what_to_do(monkeypatch):
    class FullDisk(BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: FullDisk())

    with pytest.raises(CacheError, match="No space left .* needs 0 MB there"):
        scan_files(jpeg())
