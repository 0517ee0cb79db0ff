"""Folders as people have them."""

import os
import shutil
import socket
import sys
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image

from transferkit.data.folder_source import list_folder, read_picture_file
from transferkit.errors import DataError, PictureError


def save(path, color="red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), color).save(path, format="PNG")


def reasons_of(listing) -> dict[str, str]:
    return {one.path: one.reason for one in listing.skipped}


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


@pytest.mark.parametrize("names", [("Training", "Test"), ("Train", "val", "testing"), ("TRAIN", "Validation")])
def test_splits_may_be_called_as_people_call_them(tmp_path, names, caplog):
    for split in names:
        for name in ("cat", "dog"):
            save(tmp_path / split / name / "1.png")

    listing = list_folder(tmp_path)

    assert listing.class_names == ("cat", "dog")
    assert [listing.count(split) for split in ("train", None)] == [2, 0]
    assert listing.count("validation") + listing.count("test") == 2 * (len(names) - 1)
    assert caplog.text == ""


def test_a_class_called_train_is_a_class_beside_others(tmp_path, caplog):
    for name in ("train", "bus"):
        save(tmp_path / name / "1.png")

    assert list_folder(tmp_path).class_names == ("bus", "train")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("train", "tets", "stray"), "for classes: train; since these are no names of splits: stray, tets."),
        (("Test", "val"), "for classes: Test, val; since there is no train folder."),
    ],
)
def test_folders_of_folders_named_like_splits_that_are_taken_for_classes_are_told_of(tmp_path, names, says, caplog):
    for split in names:
        save(tmp_path / split / "cat" / "1.png")

    listing = list_folder(tmp_path)

    assert listing.class_names == tuple(sorted(names))
    assert says in caplog.text
    assert "be called train, validation or test" in caplog.text


@pytest.mark.parametrize(("twice", "split"), [(("val", "valid"), "validation"), (("test", "Testing"), "test")])
def test_two_folders_for_one_split_are_refused(tmp_path, twice, split):
    for name in ("train", *twice):
        save(tmp_path / name / "a" / "1.png")

    with pytest.raises(DataError, match=f"two folders for the {split} split"):
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
    (tmp_path / "b" / "2.png").symlink_to(tmp_path / "b" / "2.png")

    listing = list_folder(tmp_path)

    assert [picture.path for picture in listing.pictures] == ["a/1.png", "b/1.png", "b/2.png"]
    assert "symbolic links" in str(list(listing.read([2]))[0])
    assert reasons_of(listing) == {
        "a/again": "a link to a folder, which is not followed",
        "up": "a link back to a folder around it",
    }


def test_a_class_folder_may_be_a_link(tmp_path):
    save(tmp_path / "elsewhere" / "1.png")
    save(tmp_path / "photos" / "a" / "1.png")
    (tmp_path / "photos" / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)

    assert [picture.path for picture in list_folder(tmp_path / "photos").pictures] == ["a/1.png", "b/1.png"]


def test_a_folder_named_like_a_picture_is_no_picture(tmp_path):
    (tmp_path / "a" / "x.jpg").mkdir(parents=True)
    save(tmp_path / "a" / "y.jpg")

    listing = list_folder(tmp_path)

    assert [picture.path for picture in listing.pictures] == ["a/y.jpg"]
    assert reasons_of(listing) == {"a/x.jpg": "a folder, though it is named like a picture"}


def test_pictures_outside_of_class_folders_are_told_of(tmp_path):
    save(tmp_path / "a" / "1.png")
    save(tmp_path / "loose.png")
    (tmp_path / "notes.txt").touch()

    assert reasons_of(list_folder(tmp_path)) == {"loose.png": "lies in no class folder"}


@pytest.mark.parametrize("name", ["pipe.jpg", "pipe"])
def test_pipes_and_sockets_hold_nobody_up(tmp_path, name):
    save(tmp_path / "a" / "1.png")
    os.mkfifo(tmp_path / "a" / name)
    with socket.socket(socket.AF_UNIX) as server, pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "a")  # a socket's path may have some hundred characters only
        server.bind("socket.png")

        listing = list_folder(tmp_path)
        read = dict(
            zip([one.path for one in listing.pictures], listing.read(range(len(listing.pictures))), strict=True)
        )

    assert set(read) == {"a/1.png", "a/socket.png", *(["a/pipe.jpg"] if name == "pipe.jpg" else [])}
    bad = [str(one) for one in read.values() if isinstance(one, PictureError)]
    assert set(bad) == {"is no file but a pipe, socket or device"}


def test_a_class_folder_that_may_not_be_read_is_told_of(open_folder, as_nobody):
    save(open_folder / "a" / "1.png")
    save(open_folder / "b" / "1.png")
    (open_folder / "b").chmod(0)

    with as_nobody():
        listing = list_folder(open_folder)

    assert [picture.path for picture in listing.pictures] == ["a/1.png"]
    assert reasons_of(listing) == {"b": "a folder that cannot be read: Permission denied"}


def test_a_folder_that_may_not_be_read_is_an_error_of_the_data(open_folder, as_nobody):
    save(open_folder / "photos" / "a" / "1.png")
    (open_folder / "photos").chmod(0)

    with as_nobody(), pytest.raises(DataError, match="cannot be read: Permission denied"):
        list_folder(open_folder / "photos")


@pytest.mark.parametrize("name", ["1.png", "no_extension"])
def test_a_file_that_may_not_be_read_is_listed_and_its_reason_told(open_folder, as_nobody, name):
    save(open_folder / "a" / name)
    (open_folder / "a" / name).chmod(0)

    with as_nobody():
        listing = list_folder(open_folder)
        (read,) = listing.read([0])

    assert [picture.path for picture in listing.pictures] == [f"a/{name}"]
    assert str(read) == "cannot be read: Permission denied"


@pytest.mark.parametrize("root", [".", "photos", "photos/../photos"])
def test_paths_are_shown_and_files_found_wherever_the_folder_is_named_from(tmp_path, monkeypatch, root):
    save(tmp_path / "photos" / "a" / "deep" / "1.png")
    monkeypatch.chdir(tmp_path / "photos" if root == "." else tmp_path)

    listing = list_folder(Path(root))

    assert [picture.path for picture in listing.pictures] == ["a/deep/1.png"]
    assert list(listing.read([0])) == [(tmp_path / "photos" / "a" / "deep" / "1.png").read_bytes()]
    assert next(listing.stamps()).startswith(f"{tmp_path / 'photos' / 'a' / 'deep' / '1.png'}\0")


def test_a_listing_holds_little_more_than_its_pictures(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(1000):
            (tmp_path / name / f"{number}.jpg").touch()
    list_folder(tmp_path)
    tracemalloc.start()

    listing = list_folder(tmp_path)
    held_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    own_bytes = sum(sys.getsizeof(one) + sys.getsizeof(one.path) + 8 for one in listing.pictures)
    assert held_bytes < 1.05 * own_bytes


def test_three_hundred_classes_of_three_are_listed(tmp_path):
    for label in range(300):
        for number in range(3):
            path = tmp_path / f"class {label:03}" / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"not decoded here")

    listing = list_folder(tmp_path)

    assert len(listing.class_names) == 300
    assert [picture.label for picture in listing.pictures] == [label for label in range(300) for _ in range(3)]


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
