"""From a folder to pictures in splits."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from transferkit.bundle.run_folder import write_data
from transferkit.data.listing import Listing, Picture
from transferkit.data.load import count_splits, load_data
from transferkit.data.source import list_source
from transferkit.errors import DataError
from transferkit.progress import Quiet
from transferkit.recipe.data import DataSpec, SplitSpec
from transferkit.recipe.runtime import CacheSpec
from transferkit.recipe.source import CsvSource, FolderSource


def spec_of(folder, **settings) -> DataSpec:
    return DataSpec(source=FolderSource(path=str(folder)), **{"image_size": 16, **settings})


def load(folder, *, need_test=True, seed=0, progress=None, **settings):
    spec = spec_of(folder, **settings)
    progress = progress or Quiet()
    return load_data(list_source(spec), spec, cache=CacheSpec(), seed=seed, need_test=need_test, progress=progress)


def load_listing(listing):
    spec = DataSpec(source=FolderSource(path="unused"), image_size=16)
    return load_data(listing, spec, cache=CacheSpec(), seed=0, need_test=True, progress=Quiet())


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


class Told(Quiet):
    """Keeps the lines that it is told."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def load_table(folder, gone: int, progress, **settings):
    rows = [f"class_{label}/{number}.png,class_{label}" for label in range(3) for number in range(8)]
    rows += [f"gone_{number}.png,class_0" for number in range(gone)]
    (folder / "labels.csv").write_text("\n".join(["path,label", *rows]))
    spec = spec_of(folder).model_copy(update={"source": CsvSource(path=str(folder / "labels.csv")), **settings})
    return load_data(list_source(spec), spec, cache=CacheSpec(), seed=0, need_test=True, progress=progress)


def test_many_faulty_pictures_are_told_of_with_the_commonest_reasons(picture_folder):
    (picture_folder / "class_1" / "2.png").write_bytes(b"")
    told = Told()

    load_table(picture_folder, gone=6, progress=told)

    assert [line for line in told.lines if "warning" in line] == [
        "warning: 7 of 30 pictures (23%) of the source are left out, which skipped.csv lists: "
        "cannot be read: No such file or directory (6); empty file (1)"
    ]


@pytest.mark.parametrize(
    ("gone", "settings"),
    [(2, {}), (0, {"exclude": ("class_0/0.png", "class_0/1.png", "class_1/1.png", "class_2/1.png")})],
    ids=["few", "by the recipe"],
)
def test_few_faulty_pictures_and_those_that_the_recipe_leaves_out_are_not_warned_of(picture_folder, gone, settings):
    told = Told()

    data = load_table(picture_folder, gone, told, **settings)

    assert len(data.skipped) == (gone or 4)
    assert not [line for line in told.lines if "warning" in line]


def test_a_class_without_a_readable_picture_is_left_out_and_named(picture_folder):
    for file in (picture_folder / "class_1").iterdir():
        file.write_bytes(b"")
    told = Told()

    data = load(picture_folder, progress=told)

    assert data.class_names == ("class_0", "class_2")
    assert {data.classes_of(row)[0] for row in np.concatenate(list(data.rows.values()))} == {"class_0", "class_2"}
    assert ("class_1", "a class left out: no picture that can be used") in {(s.path, s.reason) for s in data.skipped}
    assert any("class_1" in line for line in told.lines)


def test_a_class_that_is_in_test_only_is_left_out_with_its_pictures(tmp_path, folder_maker):
    folder_maker(tmp_path / "train", classes=2, each=6)
    folder_maker(tmp_path / "test", classes=3, each=4, size_px=30)

    data = load(tmp_path)

    assert data.class_names == ("class_0", "class_1")
    assert len(data.rows["test"]) == 8
    assert "none of its 4 pictures is in train" in data.skipped[-1].reason


def test_one_class_with_readable_pictures_is_refused_with_the_reasons(picture_folder):
    for label in (0, 1):
        for file in (picture_folder / f"class_{label}").iterdir():
            file.write_bytes(b"")

    with pytest.raises(DataError, match="1 of 3 classes") as caught:
        load(picture_folder)

    assert "class_0" in str(caught.value)
    assert "empty file" in str(caught.value)


def test_three_hundred_classes_of_three_pictures_are_loaded(tmp_path, folder_maker):
    data = load(folder_maker(tmp_path / "photos", classes=300, each=3, size_px=8), image_size=8)

    assert len(data.class_names) == 300
    assert set(data.labels[data.rows["train"]]) == set(range(300))
    assert {split: len(rows) for split, rows in data.rows.items()} == {"train": 720, "validation": 90, "test": 90}


def test_a_class_of_one_picture_trains(picture_folder):
    for number in range(1, 8):
        (picture_folder / "class_1" / f"{number}.png").unlink()

    data = load(picture_folder)

    assert data.paths.index("class_1/0.png") in data.rows["train"]


def listing_of_several(tmp_path, labels):
    """Pictures with any number of classes, by position."""
    draw = np.random.default_rng(0)
    encoded = []
    for number in range(len(labels)):
        path = tmp_path / f"{number}.png"
        Image.fromarray(draw.integers(0, 256, (16, 16, 3), np.uint8)).save(path)
        encoded.append(path.read_bytes())
    pictures = tuple(Picture(f"{n}.png", label) for n, label in enumerate(labels))
    return Listing(("cat", "dog", "tree"), pictures, lambda chosen: (encoded[n] for n in chosen)), encoded


def test_pictures_of_several_classes_have_a_column_for_each(tmp_path):
    listing, _ = listing_of_several(tmp_path, [(0, 1), (1,), (), (0, 1, 2), (2,), (0,)] * 4)

    data = load_listing(listing)

    assert data.multi_label
    assert data.labels.dtype == bool
    assert [data.classes_of(row) for row in range(4)] == [("cat", "dog"), ("dog",), (), ("cat", "dog", "tree")]


def test_copies_with_other_classes_are_all_left_out(tmp_path):
    listing, encoded = listing_of_several(tmp_path, [(0, 1), (1,), (2,)] * 5)
    encoded[4] = encoded[0]

    data = load_listing(listing)

    assert [one.path for one in data.skipped] == ["0.png", "4.png"]
    assert {one.reason for one in data.skipped} == {"the same file stands in cat+dog and dog"}


def test_pictures_that_look_alike_are_in_one_split_if_the_recipe_says_so(tmp_path, folder_maker):
    folder, draw = folder_maker(tmp_path / "photos", classes=2, each=12), np.random.default_rng(0)
    for file in list(folder.rglob("*.png")):
        blocks = Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).resize((64, 64), Image.Resampling.NEAREST)
        blocks.save(file)
        blocks.save(file.with_suffix(".jpg"), quality=60)

    data = load(folder, image_size=64, duplicates="group", split=SplitSpec(validation=0.25, test=0.25))

    assert len(data.alike) == 24
    split_of = {data.paths[row]: split for split, rows in data.rows.items() for row in rows}
    assert all(split_of[path] == split_of[path.replace(".png", ".jpg")] for path in split_of)
    assert set(split_of.values()) == {"train", "validation", "test"}


def test_pictures_left_out_for_their_group_are_listed_and_said(tmp_path, folder_maker):
    folder_maker(tmp_path / "train", classes=2, each=6)
    folder_maker(tmp_path / "test", classes=2, each=2, size_px=30)
    told = Told()

    data = load(tmp_path, split=SplitSpec(group=r"class_\d/(\d)"), progress=told)

    assert {one.path for one in data.skipped} == {f"train/class_{label}/{n}.png" for label in (0, 1) for n in (0, 1)}
    assert any("4 pictures are left out" in line for line in told.lines)


def test_the_manifest_of_a_run_gives_its_splits_to_another(picture_folder, tmp_path):
    first = load(picture_folder, seed=1)
    write_data(tmp_path, first)
    (picture_folder / "class_0" / "0.png").rename(picture_folder / "class_0" / "later.png")
    told = Told()

    second = load(picture_folder, seed=2, split=SplitSpec(manifest=str(tmp_path / "splits.csv")), progress=told)

    def paths(data):
        return {split: {data.paths[row] for row in rows} - {"class_0/0.png"} for split, rows in data.rows.items()}

    assert paths(second) == paths(first)
    assert [one.path for one in second.skipped] == ["class_0/later.png"]
    assert any("class_0/0.png" in line for line in told.lines)


class InAnotherOrder:
    """Entries of a folder as another file system may list them."""

    def __init__(self, entries):
        self._entries = iter(sorted(entries, key=lambda one: str(getattr(one, "name", one)), reverse=True))

    def __iter__(self):
        return self._entries

    def __next__(self):
        return next(self._entries)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    close = __exit__


@pytest.mark.parametrize(
    "split", [SplitSpec(), SplitSpec(method="hash"), SplitSpec(fold="1/3"), SplitSpec(group=r"(\d)\.png")], ids=str
)
def test_splits_stay_where_the_folder_is_moved_to_another_file_system(picture_folder, tmp_path, monkeypatch, split):
    first = load(picture_folder, need_test=False, split=split)
    (tmp_path / "elsewhere").mkdir()
    moved = picture_folder.rename(tmp_path / "elsewhere" / "renamed")
    scandir, listdir = os.scandir, os.listdir
    monkeypatch.setattr(os, "scandir", lambda *path: InAnotherOrder(scandir(*path)))
    monkeypatch.setattr(os, "listdir", lambda *path: list(InAnotherOrder(listdir(*path))))

    second = load(moved, need_test=False, split=split)

    for name in ("train", "validation", "test"):
        assert [first.paths[row] for row in first.rows[name]] == [second.paths[row] for row in second.rows[name]]


def load_rows(folder, rows, *, several=False, **settings):
    lines = ["path,label,split,group", *(",".join(row) for row in rows)]
    (folder / "labels.csv").write_text("\n".join(lines))
    spec = spec_of(folder).model_copy(update={"source": CsvSource(path=str(folder / "labels.csv")), **settings})
    listing = list_source(spec, multi_label=several)
    return load_data(listing, spec, cache=CacheSpec(), seed=5, need_test=False, progress=Quiet())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"split": SplitSpec(method="hash", validation=0.3, test=0.3)},
        {"split": SplitSpec(fold="2/3")},
        {"duplicates": "group"},
    ],
    ids=["stratified", "hash", "fold", "lookalikes"],
)
@pytest.mark.parametrize("several", [False, True], ids=["one class each", "several classes each"])
def test_a_manifest_gives_the_same_splits_when_pictures_have_come(picture_folder, tmp_path, several, settings):
    rows = [
        (f"class_{label}/{n}.png", f"class_{label}", "", f"{label}-{n // 2}") for label in (0, 1, 2) for n in range(6)
    ]
    # A class without a picture to train on, which the first run leaves out.
    shutil.copytree(picture_folder / "class_0", picture_folder / "late")
    Image.new("RGB", (20, 20), "red").save(picture_folder / "late" / "0.png")
    rows += [("late/0.png", "class_0;late" if several else "late", "test", "")]
    first = load_rows(picture_folder, rows, several=several, **settings)
    write_data(tmp_path, first)
    # Of a class that is there, of a new one, of a group, and copies in the same and in another class.
    shutil.copy(picture_folder / "class_1" / "0.png", picture_folder / "class_0" / "00.png")
    rows = [
        ("class_0/00.png", "class_0", "", ""), ("late/3.png", "late", "", ""), ("late/4.png", "newer", "", ""),
        ("class_2/7.png", "class_2", "", "2-1"), *rows[::-1],
    ]  # fmt: skip

    manifest = SplitSpec(manifest=str(tmp_path / "splits.csv"))
    second = load_rows(picture_folder, rows, several=several, split=manifest)

    def paths(data):
        return {split: sorted(data.paths[row] for row in own) for split, own in data.rows.items()}

    assert first.class_names == ("class_0", "class_1", "class_2")
    assert second.class_names == first.class_names
    assert paths(second) == paths(first)


def test_a_fold_is_loaded(picture_folder):
    parts = [load(picture_folder, split=SplitSpec(fold=f"{number}/4")).rows["test"] for number in (1, 2, 3, 4)]

    assert sorted(np.concatenate(parts)) == list(range(24))


def test_an_empty_split_by_hash_says_that_shares_are_met_on_average(picture_folder):
    split = SplitSpec(method="hash", validation=0.001)

    with pytest.raises(DataError, match=r"validation split is empty(.|\n)*average"):
        load(picture_folder, split=split)


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
