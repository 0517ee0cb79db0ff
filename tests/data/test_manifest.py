"""Splits of one run, used by another."""

import csv

import pytest

from transferkit.data.listing import Listing, Picture
from transferkit.data.manifest import apply_manifest
from transferkit.errors import DataError

LISTING = Listing(
    ("cat", "dog"),
    tuple(Picture(path, label) for path, label in (("a", 0), ("b", 1), ("c", 1))),
    lambda chosen: iter(()),
    origin="photos",
)


def manifest(tmp_path, rows, header=("path", "label", "split")):
    path = tmp_path / "splits.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_pictures_go_where_the_manifest_says(tmp_path):
    path = manifest(tmp_path, [("c", "dog", "test"), ("a", "cat", "train"), ("b", "dog", "validation")])

    listing, warning = apply_manifest(LISTING, path)

    assert [(one.path, one.split) for one in listing.pictures] == [("a", "train"), ("b", "validation"), ("c", "test")]
    assert warning == ""


def test_a_picture_that_it_does_not_name_is_left_out_with_the_reason(tmp_path):
    path = manifest(tmp_path, [("a", "cat", "train"), ("c", "dog", "test")])

    listing, _ = apply_manifest(LISTING, path)

    assert [(one.path, one.reason) for one in listing.skipped] == [("b", f"not in {path}")]


def test_pictures_that_are_missing_now_are_warned_about(tmp_path):
    _, warning = apply_manifest(LISTING, manifest(tmp_path, [("a", "cat", "train"), ("gone", "cat", "test")]))

    assert "1 of 2" in warning
    assert "gone" in warning


def test_another_class_than_the_manifests_is_refused_by_name(tmp_path):
    path = manifest(tmp_path, [("a", "cat", "train"), ("b", "cat", "test")])

    with pytest.raises(DataError, match="b: cat in the manifest, dog here"):
        apply_manifest(LISTING, path)


def test_a_manifest_of_other_pictures_is_refused(tmp_path):
    with pytest.raises(DataError, match="none of the 1 pictures"):
        apply_manifest(LISTING, manifest(tmp_path, [("photos/a", "cat", "train")]))


@pytest.mark.parametrize(
    "rows", [[("a", "cat", "somewhere")], [("a", "cat", "train"), ("a", "cat", "test")], [("a", "cat")]]
)
def test_a_row_that_is_none_is_refused_with_its_number(tmp_path, rows):
    with pytest.raises(DataError, match=f"row {len(rows) + 1}"):
        apply_manifest(LISTING, manifest(tmp_path, rows))


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00junk"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, content):
    if content:
        (tmp_path / "splits.csv").write_bytes(content)

    with pytest.raises(DataError, match="cannot be read"):
        apply_manifest(LISTING, tmp_path / "splits.csv")


def test_classes_of_one_picture_are_compared_as_the_run_wrote_them(tmp_path):
    listing = Listing(("cat", "dog"), (Picture("a", (0, 1)), Picture("b", ())), lambda chosen: iter(()))

    found, _ = apply_manifest(listing, manifest(tmp_path, [("a", "cat;dog", "train"), ("b", "", "test")]))

    assert [one.split for one in found.pictures] == ["train", "test"]


def test_a_class_that_the_run_left_out_is_not_missed(tmp_path):
    # Nothing of cow was in train, so the run had no such class, and wrote its pictures without it.
    listing = Listing(
        ("cat", "cow", "dog"), (Picture("a", (0, 1)), Picture("b", (1,)), Picture("c", (2,))), lambda chosen: iter(())
    )
    rows = [("a", "cat", "train"), ("b", "", "test"), ("c", "dog", "train")]

    found, _ = apply_manifest(listing, manifest(tmp_path, rows))

    assert [one.split for one in found.pictures] == ["train", "test", "train"]


@pytest.mark.parametrize("label", ["cat;dog", "dog", ""])
def test_of_several_classes_each_is_compared(tmp_path, label):
    listing = Listing(("cat", "dog"), (Picture("a", (0,)), Picture("b", (0, 1))), lambda chosen: iter(()))

    with pytest.raises(DataError, match="1 pictures have another class"):
        apply_manifest(listing, manifest(tmp_path, [("a", label, "train"), ("b", "cat;dog", "test")]))
