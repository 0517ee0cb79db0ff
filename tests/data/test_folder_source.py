"""Folders as people have them."""

import os
import shutil

import pytest
from PIL import Image

from transferkit.data.folder_source import list_folder, picture_files, read_picture_file
from transferkit.errors import DataError, PictureError


def save(path, color="red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), color).save(path, format="PNG")


def test_classes_are_the_sorted_sub_folders(tmp_path):
    for name in ("b/1.png", "a/1.png", "C/1.png"):
        save(tmp_path / name)

    listing = list_folder(tmp_path)

    assert listing.class_names == ("C", "a", "b")
    assert [(picture.path, picture.label) for picture in listing.pictures] == [
        ("C/1.png", 0),
        ("a/1.png", 1),
        ("b/1.png", 2),
    ]


def test_odd_names_are_found_and_files_that_are_no_pictures_are_not(tmp_path):
    odd = ["with space.PNG", "quote'\".jpg", "ünï😀.jpeg", "-dash.png", "new\nline.png", "deep/er/still.webp"]
    for name in odd:
        save(tmp_path / "a" / name)
    save(tmp_path / "a" / "no_extension")
    save(tmp_path / "b" / "1.png")
    for name in (".DS_Store", "Thumbs.db", "notes.txt", "README", ".hidden.png"):
        (tmp_path / "a" / name).write_bytes(b"something else")
    (tmp_path / "loose.png").write_bytes(b"not in a class")
    (tmp_path / ".git" / "x").mkdir(parents=True)

    found = {picture.path for picture in list_folder(tmp_path).pictures}

    assert found == {*(f"a/{name}" for name in [*odd, "no_extension"]), "b/1.png"}


@pytest.mark.parametrize("validation", ["validation", "val", "valid"])
def test_train_validation_and_test_folders_are_the_splits(tmp_path, validation):
    for split in ("train", validation, "test"):
        for name in ("cat", "dog"):
            save(tmp_path / split / name / "1.png")

    listing = list_folder(tmp_path)

    assert listing.class_names == ("cat", "dog")
    assert [listing.count(split) for split in ("train", "validation", "test", None)] == [2, 2, 2, 0]


def test_a_class_called_train_is_a_class_beside_others(tmp_path):
    for name in ("train", "bus"):
        save(tmp_path / name / "1.png")

    assert list_folder(tmp_path).class_names == ("bus", "train")


def test_two_validation_folders_are_refused(tmp_path):
    for split in ("train", "val", "valid"):
        save(tmp_path / split / "a" / "1.png")

    with pytest.raises(DataError, match="two folders for the validation split"):
        list_folder(tmp_path)


@pytest.mark.parametrize(
    ("make", "says"), [(lambda path: None, "no such folder"), (lambda path: path.touch(), "a file")]
)
def test_a_missing_folder_is_named_with_where_it_was_looked_for(tmp_path, make, says):
    path = tmp_path / "photos"
    make(path)

    with pytest.raises(DataError, match=says) as caught:
        list_folder(path)

    assert str(path) in str(caught.value)


def test_a_folder_without_class_folders_is_refused(tmp_path):
    save(tmp_path / "1.png")

    with pytest.raises(DataError, match="sub-folder of its own"):
        list_folder(tmp_path)


def test_links_in_circles_end(tmp_path):
    save(tmp_path / "a" / "1.png")
    save(tmp_path / "b" / "1.png", "blue")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "up").symlink_to(tmp_path, target_is_directory=True)

    assert [picture.path for picture in list_folder(tmp_path).pictures] == ["a/1.png", "b/1.png"]


def test_a_folder_named_like_a_picture_is_no_picture(tmp_path):
    (tmp_path / "a" / "x.jpg").mkdir(parents=True)
    save(tmp_path / "a" / "y.jpg")

    assert [path.name for path in picture_files(tmp_path)] == ["y.jpg"]


def test_a_file_that_went_away_is_a_reason_not_a_crash(tmp_path):
    save(tmp_path / "a" / "1.png")
    save(tmp_path / "b" / "1.png")
    listing = list_folder(tmp_path)
    shutil.rmtree(tmp_path / "a")

    first, second = listing.read(range(len(listing.pictures)))

    assert isinstance(first, PictureError)
    assert "No such file" in str(first)
    assert isinstance(second, bytes)


def test_whatever_the_system_says_of_a_file_is_the_reason(tmp_path):
    assert str(read_picture_file(tmp_path)) == "cannot be read: Is a directory"


def test_a_file_name_that_is_no_text_is_shown_with_escapes(tmp_path):
    save(tmp_path / "a" / "1.png")
    os.rename(tmp_path / "a" / "1.png", os.fsencode(tmp_path / "a") + b"/\xff.png")

    assert list_folder(tmp_path).pictures[0].path == "a/\\xff.png"


def test_class_names_that_cannot_be_printed_are_refused(tmp_path):
    save(tmp_path / "a\nb" / "1.png")

    with pytest.raises(DataError, match="cannot be printed"):
        list_folder(tmp_path)
