"""Findings about single files that the planted folder does not show."""

from dataclasses import replace

import numpy as np

from transferkit.data.listing import Listing, Picture, Skipped
from transferkit.doctor.files import find_in_files
from transferkit.doctor.scan import Scan
from transferkit.recipe.data import DataSpec
from transferkit.recipe.source import FolderSource

SPEC = DataSpec(source=FolderSource(path="photos"), image_size=100)


def scan_of(count: int, **columns: object) -> Scan:
    """Sound colour photos of 200 x 150 pixels, but for what is said."""
    plain = Scan(
        pixels=np.zeros((count, 1, 1, 3), np.uint8),
        reasons=("",) * count,
        too_large=np.zeros(count, bool),
        digests=tuple(bytes([row]) * 32 for row in range(count)),
        num_bytes=np.full(count, 5000),
        formats=("JPEG",) * count,
        width=np.full(count, 200),
        height=np.full(count, 150),
        orientation=np.ones(count, np.uint8),
        captured=("",) * count,
        cameras=("",) * count,
        animated=np.zeros(count, bool),
        transparent=np.zeros(count, bool),
        grey=np.zeros(count, bool),
        constant=np.zeros(count, bool),
        channel_mean=np.full((count, 3), 127, np.float32),
        channel_square=np.full((count, 3), 127.0**2, np.float32),
    )
    return replace(plain, **columns)


def found(scan: Scan, *, spec: DataSpec = SPEC, skipped: tuple[Skipped, ...] = ()):
    pictures = tuple(Picture(f"{row}.jpg", row % 2) for row in range(len(scan.reasons)))
    listing = Listing(("a", "b"), pictures, lambda chosen: iter(()), skipped=skipped)
    return {finding.kind: finding for finding in find_in_files(listing, scan, spec)}


def test_sound_photos_are_no_finding():
    assert found(scan_of(10)) == {}


def test_one_picture_in_ten_may_be_unreadable_before_it_is_blocking():
    few, many = (found(scan_of(20, reasons=("empty file",) * bad + ("",) * (20 - bad))) for bad in (2, 3))

    assert (few["unreadable"].severity, many["unreadable"].severity) == ("warning", "blocking")
    assert [one.path for one in few["unreadable"].exclude] == ["0.jpg", "1.jpg"]


def test_pictures_over_the_limit_are_not_to_be_restored_but_may_be_allowed():
    large, empty = (
        found(scan_of(20, reasons=("its reason",) + ("",) * 19, too_large=too_large))["unreadable"].advice
        for too_large in (np.arange(20) == 0, np.zeros(20, bool))
    )

    assert "data.max_megapixels" in large
    assert "data.max_megapixels" not in empty


def test_what_the_source_left_out_is_listed_with_its_reason():
    skipped = (Skipped("row 3", "no such file"), Skipped("row 9", "no such file"))

    left_out = found(scan_of(4), skipped=skipped)["left_out"]

    assert left_out.meaning.startswith("No such file (2).")
    assert (left_out.pictures[1].path, left_out.pictures[1].note) == ("row 9", "no such file")


def test_a_set_without_any_colour_is_no_finding():
    assert "greyscale" not in found(scan_of(10, grey=np.ones(10, bool)))


def test_the_rarer_of_grey_and_coloured_pictures_are_named():
    grey = np.arange(20) < 18

    assert [one.path for one in found(scan_of(20, grey=grey))["greyscale"].pictures] == ["18.jpg", "19.jpg"]
    assert [one.path for one in found(scan_of(20, grey=~grey))["greyscale"].pictures] == ["18.jpg", "19.jpg"]


def test_small_pictures_are_told_the_size_that_fits_most():
    small = found(scan_of(4, width=np.full(4, 40), height=np.full(4, 36)))["small"]

    assert small.severity == "note"
    assert "data.image_size: 32" in small.advice


def test_a_long_picture_that_pad_reduces_is_not_small():
    scan = scan_of(4, width=np.full(4, 400), height=np.full(4, 100))

    kinds = {
        resize: "small" in found(scan, spec=SPEC.model_copy(update={"resize": resize, "image_size": 224}))
        for resize in ("crop", "stretch", "pad")
    }

    assert kinds == {"crop": True, "stretch": True, "pad": False}


def test_what_an_extreme_shape_means_depends_on_the_recipe_s_resize():
    scan = scan_of(4, width=np.array([200, 200, 200, 2000]), height=np.full(4, 150))

    crop, pad = (
        found(scan, spec=SPEC.model_copy(update={"resize": resize}))["extreme_aspect"] for resize in ("crop", "pad")
    )

    assert crop.pictures[0].note == "2000 x 150 pixels, 8% of it shown"
    assert "choose data.resize: pad" in crop.advice
    assert "choose" not in pad.advice
    assert (crop.severity, pad.severity) == ("warning", "note")  # following the advice ends the warning


def test_transparency_that_all_pictures_have_is_no_finding():
    assert "transparent" not in found(scan_of(3, transparent=np.ones(3, bool)))
