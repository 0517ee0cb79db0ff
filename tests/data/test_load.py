"""From a folder to pictures in splits."""

import shutil

import numpy as np
import pytest
from PIL import Image

from transferkit.data.load import count_splits, list_source, load_data
from transferkit.errors import DataError
from transferkit.progress import Quiet
from transferkit.recipe.data import DataSpec, SplitSpec
from transferkit.recipe.source import FolderSource


def spec_of(folder, **settings) -> DataSpec:
    return DataSpec(source=FolderSource(path=str(folder)), **{"image_size": 16, **settings})


def load(folder, *, need_test=True, seed=0, **settings):
    spec = spec_of(folder, **settings)
    return load_data(list_source(spec), spec, seed=seed, need_test=need_test, progress=Quiet())


def test_every_picture_is_in_exactly_one_split(picture_folder):
    data = load(picture_folder)

    rows = np.concatenate(list(data.rows.values()))
    assert sorted(rows) == list(range(24))
    assert [data.paths[row].split("/")[0] for row in range(24)] == [f"class_{label}" for label in data.labels]
    assert data.images.shape == (24, 16, 16, 3)
    assert data.images.dtype == np.uint8


def test_images_belong_to_their_paths(picture_folder):
    data = load(picture_folder, image_size=40)

    for row in (0, 9, 23):
        expected = np.asarray(Image.open(picture_folder / data.paths[row]))
        np.testing.assert_array_equal(data.images[row], expected)


def test_disk_and_memory_hold_the_same_pictures(picture_folder):
    on_disk, in_memory = load(picture_folder, cache="disk"), load(picture_folder, cache="memory")

    assert isinstance(on_disk.images, np.memmap)
    assert not isinstance(in_memory.images, np.memmap)
    np.testing.assert_array_equal(on_disk.images, in_memory.images)


def test_bad_files_are_left_out_with_a_reason_and_counted(picture_folder):
    (picture_folder / "class_0" / "zero.jpg").touch()
    (picture_folder / "class_1" / "page.jpg").write_text("<html>no picture</html>")

    data = load(picture_folder)

    assert {one.path: one.reason for one in data.skipped} == {
        "class_0/zero.jpg": "empty file",
        "class_1/page.jpg": "not a picture",
    }
    assert "24 pictures in 3 classes" in data.describe()
    assert "2 left out" in data.describe()


def test_a_bad_file_does_not_shift_labels_or_paths(picture_folder):
    (picture_folder / "class_0" / "0.png").write_bytes(b"")

    data = load(picture_folder, image_size=40)

    row = data.paths.index("class_2/7.png")
    np.testing.assert_array_equal(data.images[row], np.asarray(Image.open(picture_folder / "class_2" / "7.png")))
    assert data.labels[row] == 2


def test_pictures_over_the_size_limit_are_left_out_unless_allowed(picture_folder):
    Image.new("RGB", (1200, 1000)).save(picture_folder / "class_0" / "large.png")

    assert "1.2 megapixels" in load(picture_folder, max_megapixels=1.0).skipped[0].reason
    assert not load(picture_folder, max_megapixels=2.0).skipped


def test_copies_of_a_file_count_once(picture_folder):
    shutil.copy(picture_folder / "class_0" / "3.png", picture_folder / "class_0" / "copy.png")

    data = load(picture_folder)

    assert [(one.path, one.reason) for one in data.skipped] == [("class_0/copy.png", "the same file as class_0/3.png")]
    assert sum(len(rows) for rows in data.rows.values()) == 24


def test_a_file_in_two_classes_is_left_out_of_both(picture_folder):
    shutil.copy(picture_folder / "class_0" / "3.png", picture_folder / "class_1" / "same.png")

    data = load(picture_folder)

    assert {one.path for one in data.skipped} == {"class_0/3.png", "class_1/same.png"}
    assert {one.reason for one in data.skipped} == {"the same file stands in class_0 and class_1"}


def test_a_training_copy_of_a_test_picture_is_left_out(tmp_path, folder_maker):
    for split in ("train", "validation", "test"):
        folder_maker(tmp_path / split, classes=2, each=4, size_px={"train": 20, "validation": 24, "test": 28}[split])
    shutil.copy(tmp_path / "test" / "class_0" / "1.png", tmp_path / "train" / "class_0" / "leak.png")

    data = load(tmp_path)

    assert [one.path for one in data.skipped] == ["train/class_0/leak.png"]
    assert len(data.rows["test"]) == 8


def test_one_class_is_refused(tmp_path, folder_maker):
    with pytest.raises(DataError, match="one class only"):
        load(folder_maker(tmp_path / "photos", classes=1))


def test_a_class_without_a_readable_picture_is_named_with_reasons(picture_folder):
    for file in (picture_folder / "class_1").iterdir():
        file.write_bytes(b"")

    with pytest.raises(DataError, match="class_1") as caught:
        load(picture_folder)

    assert "empty file" in str(caught.value)


@pytest.mark.parametrize(
    ("shares", "empty"), [((0.01, 0.3), "validation"), ((0.3, 0.01), "test"), ((0.3, 0.0), "test")]
)
def test_an_empty_split_is_refused(picture_folder, shares, empty):
    split = SplitSpec(validation=shares[0], test=shares[1])

    with pytest.raises(DataError, match=f"{empty} split is empty"):
        load(picture_folder, split=split)


def test_no_test_split_is_fine_when_none_is_reported(picture_folder):
    data = load(picture_folder, split=SplitSpec(validation=0.3, test=0.0), need_test=False)

    assert len(data.rows["test"]) == 0


def test_counts_before_decoding_equal_the_splits_after_it(picture_folder):
    spec = spec_of(picture_folder)

    counts = count_splits(list_source(spec), spec, seed=5)

    assert counts == {split: len(rows) for split, rows in load(picture_folder, seed=5).rows.items()}


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
def test_the_resize_policy_reaches_the_pictures(tmp_path, folder_maker, resize):
    folder = folder_maker(tmp_path / "photos", classes=2)
    Image.new("RGB", (80, 20), "black").save(folder / "class_0" / "wide.png")

    data = load(folder, resize=resize)

    wide = data.images[data.paths.index("class_0/wide.png")]
    assert (wide[0, 0] == 255).all() == (resize == "pad")
    assert wide[8, 8].max() == 0
