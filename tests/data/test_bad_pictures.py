"""A folder with every kind of bad and odd picture file: none stops the work, each bad one is named with its reason."""

import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from transferkit.check import check_draft
from transferkit.data import stamps
from transferkit.data.decode import decode_picture
from transferkit.data.folder_source import list_folder
from transferkit.data.load import load_data
from transferkit.data.prepare import prepare_pictures
from transferkit.doctor.examine import examine
from transferkit.errors import PictureError
from transferkit.progress import Quiet
from transferkit.recipe.data import DataSpec
from transferkit.recipe.draft import draft_values
from transferkit.recipe.runtime import CacheSpec
from transferkit.recipe.source import FolderSource

SIZE = 24
ODD = ["cmyk.jpg", "ycck.jpg", "16 bits.png", "1 bit.png", "palette.png", "animated.gif", "animated.webp", "thin.png"]
ODD += [f"turned {orientation}.jpg" for orientation in range(1, 9)] + ["wrong.png"]
NAMES = ["a b.png", 'it\'s "quoted".png', "größe 写真.png", "new\nline.png", "-leading.png", "no_extension", "UP.PNG"]


def picture(number, size=(48, 40)):
    """Left half red, right half of another colour; no two alike."""
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((number % 200, 0, 255 - number // 200), (size[0] // 2, 0, *size))
    return image


def huge_png(side):
    """Black, 1 bit a pixel, in a few kilobytes."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    compressor = zlib.compressobj(1)
    row = bytes(1 + -(-side // 8))
    pixels = b"".join(compressor.compress(row) for _ in range(side)) + compressor.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def write_bad(folder):
    """Files that cannot be used, and why."""
    (folder / "zero.jpg").write_bytes(b"")
    (folder / "page.jpg").write_text("<!DOCTYPE html><title>404</title>")
    (folder / "notes.png").write_text("just some notes")
    (folder / "huge.png").write_bytes(huge_png(13_000))
    reasons = {"zero.jpg": "empty file", "page.jpg": "not a picture", "notes.png": "not a picture"}
    reasons["huge.png"] = "169.0 megapixels, over the limit of 100"
    picture(0).resize((640, 480)).save(folder / "whole.jpg", quality=95)
    whole = (folder / "whole.jpg").read_bytes()
    (folder / "whole.jpg").unlink()
    for percent in (1, 10, 50, 90, 99):
        (folder / f"cut {percent}.jpg").write_bytes(whole[: len(whole) * percent // 100])
        reasons[f"cut {percent}.jpg"] = "truncated file"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)).save(folder / "chunk.png")
    broken = bytearray((folder / "chunk.png").read_bytes())
    broken[broken.index(b"IDAT") + 500] ^= 1
    (folder / "chunk.png").write_bytes(broken)
    reasons["chunk.png"] = "damaged or unsupported PNG file"
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    reasons["gone.png"] = "cannot be read: No such file or directory"
    (folder / "loop.png").symlink_to(folder / "loop.png")
    reasons["loop.png"] = "cannot be read: Too many levels of symbolic links"
    return reasons


def write_odd(folder):
    """Files that can be used, although many programs stumble over them."""
    cmyk = picture(1).convert("CMYK")
    cmyk.save(folder / "cmyk.jpg")
    plain = (folder / "cmyk.jpg").read_bytes()
    ycck = plain[: plain.index(b"Adobe") + 11] + b"\x02" + plain[plain.index(b"Adobe") + 12 :]
    (folder / "ycck.jpg").write_bytes(ycck)
    Image.fromarray(np.arange(40 * 48, dtype=np.uint16).reshape(40, 48) * 34).save(folder / "16 bits.png")
    picture(2).convert("1").save(folder / "1 bit.png")
    palette = picture(3).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(folder / "palette.png", transparency=0)
    frames = {"save_all": True, "append_images": [picture(5), picture(6)], "duration": 100}
    picture(4).save(folder / "animated.gif", **frames)
    picture(7).save(folder / "animated.webp", **frames)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        picture(8 + orientation).save(folder / f"turned {orientation}.jpg", exif=exif)
    picture(20, (1, 5000)).save(folder / "thin.png")
    picture(21).save(folder / "wrong.png", "JPEG")
    for number, name in enumerate(NAMES):
        picture(30 + number).save(folder / name, "PNG")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A class with good pictures, and one with everything else; and the reasons of the bad ones."""
    root = tmp_path_factory.mktemp("photos")
    for name in ("good", "odd", "odd/a.jpg"):
        (root / name).mkdir()
    for number in range(100, 110):
        picture(number).save(root / "good" / f"{number}.png")
    reasons = write_bad(root / "odd")
    write_odd(root / "odd")
    return root, reasons


def spec_of(cache):
    return DataSpec(source=FolderSource(path="photos"), image_size=SIZE, cache=cache)


@pytest.mark.parametrize("cache", ["disk", "memory", "none"])
def test_bad_files_are_named_with_reasons_and_all_others_are_prepared(photos, tmp_path, monkeypatch, cache):
    monkeypatch.setattr(stamps, "_SETTLED_NS", 0)
    root, reasons = photos
    listing = list_folder(root)

    for _ in range(2):  # what is stored is found, and bad files are tried again
        prepared = prepare_pictures(listing, spec_of(cache), cache=CacheSpec(folder=str(tmp_path)), progress=Quiet())

        found = {one.path.removeprefix("odd/"): one.reason for one in prepared.skipped}
        assert found == reasons
        assert len(prepared.pictures) == len(listing.pictures) - len(found)
        files = [(root / one.path).read_bytes() for one in prepared.pictures]
        expected = [decode_picture(file, size_px=SIZE, resize="crop") for file in files]
        np.testing.assert_array_equal(prepared.images[:], np.stack(expected))


def test_run_goes_on_without_the_bad_files_and_lists_each(photos, tmp_path):
    root, reasons = photos

    data = load_data(
        list_folder(root),
        spec_of("auto"),
        cache=CacheSpec(folder=str(tmp_path)),
        seed=0,
        need_test=True,
        progress=Quiet(),
    )

    skipped = {one.path: one.reason for one in data.skipped}
    assert {f"odd/{name}": reason for name, reason in reasons.items()}.items() <= skipped.items()
    assert skipped["odd/a.jpg"] == "a folder, though it is named like a picture"
    used = {data.paths[row] for rows in data.rows.values() for row in rows}
    assert {f"odd/{name}" for name in (*NAMES, *ODD)} <= used


def test_files_that_went_away_or_may_not_be_read_are_left_out_of_the_run(open_folder, as_nobody, folder_maker):
    root = folder_maker(open_folder / "photos")
    listing = list_folder(root)
    (root / "class_0" / "3.png").unlink()
    (root / "class_1" / "4.png").chmod(0)

    with as_nobody():
        data = load_data(
            listing,
            spec_of("auto"),
            cache=CacheSpec(folder=str(open_folder / "cache")),
            seed=0,
            need_test=True,
            progress=Quiet(),
        )

    assert [(one.path, one.reason) for one in data.skipped] == [
        ("class_0/3.png", "cannot be read: No such file or directory"),
        ("class_1/4.png", "cannot be read: Permission denied"),
    ]
    assert sum(len(rows) for rows in data.rows.values()) == 22


def test_doctor_names_each_with_its_reason(photos):
    root, reasons = photos
    recipe = check_draft(draft_values({"data": {"source": {"folder": str(root)}}}, source="test"))

    findings = examine(recipe, quick=True, progress=Quiet()).findings

    told = {one.path: one.note for found in findings if found.kind == "unreadable" for one in found.pictures}
    assert told == {f"odd/{name}": reason for name, reason in reasons.items()}
    left_out = {one.path: one.note for found in findings if found.kind == "left_out" for one in found.pictures}
    assert left_out == {"odd/a.jpg": "a folder, though it is named like a picture"}


@pytest.mark.parametrize("length", [0, 1, 2, 11, 100, 623, -300, -2, -1])
def test_jpeg_cut_at_any_place_is_refused_or_whole(photos, tmp_path, length):
    picture(1).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[:length])

    with pytest.raises(PictureError, match="empty file|not a picture|truncated file"):
        decode_picture((tmp_path / "cut.jpg").read_bytes(), size_px=SIZE, resize="crop")


def test_169_megapixels_are_decoded_where_the_recipe_allows_them(tmp_path):
    (tmp_path / "huge.png").write_bytes(huge_png(13_000))

    pixels = decode_picture((tmp_path / "huge.png").read_bytes(), size_px=SIZE, resize="crop", max_megapixels=200)

    assert pixels.shape == (SIZE, SIZE, 3)
    assert not pixels.any()


def test_thin_picture_shows_what_its_policy_says(tmp_path):
    picture(0, (1, 5000)).save(tmp_path / "thin.png")
    encoded = (tmp_path / "thin.png").read_bytes()

    crop, pad, stretch = (decode_picture(encoded, size_px=SIZE, resize=resize) for resize in ("crop", "pad", "stretch"))

    assert (crop == crop[0, 0]).all()
    assert (pad[:, 0] == 255).all()
    assert ((pad != 255).any(axis=(0, 2))).sum() == 1
    assert (stretch == stretch[0, 0]).all()
