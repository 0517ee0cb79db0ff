"""From a data section to a listing."""

import json

import pytest
from PIL import Image

from transferkit.check import check_draft
from transferkit.data.source import LISTS, is_on_this_machine, list_source
from transferkit.errors import DataError, RecipeError
from transferkit.recipe.data import DataSpec
from transferkit.recipe.draft import draft_values
from transferkit.recipe.source import SOURCE_SPECS


def spec_of(**section) -> DataSpec:
    return check_draft(draft_values({"data": section}, source="test")).data


def paths_of(listing) -> list[str]:
    return [one.path for one in listing.pictures]


def test_every_source_of_a_recipe_can_be_listed():
    assert set(LISTS) == {spec.model_fields["kind"].default for spec in SOURCE_SPECS}


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_table_lists_what_its_folder_lists(picture_folder, suffix):
    by_folder = list_source(spec_of(source={"folder": str(picture_folder)}))
    rows = [{"path": one.path, "label": by_folder.class_names[one.label]} for one in by_folder.pictures]
    path = picture_folder / f"labels.{suffix}"
    if suffix == "csv":
        path.write_text("path,label\n" + "".join(f"{row['path']},{row['label']}\n" for row in rows))
    elif suffix == "jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)

    by_table = list_source(spec_of(source={suffix: str(path)}))

    assert by_table.class_names == by_folder.class_names
    assert by_table.pictures == by_folder.pictures
    assert list(by_table.read(range(24))) == list(by_folder.read(range(24)))
    assert list(by_table.stamps()) == list(by_folder.stamps())


def test_the_sample_is_listed_and_here():
    spec = spec_of(source="sample")

    assert is_on_this_machine(spec)
    assert len(list_source(spec).class_names) > 1


def test_excluded_pictures_and_classes_that_are_not_kept_are_gone(picture_folder):
    listing = list_source(
        spec_of(source={"folder": str(picture_folder)}, keep_classes=["class_0", "class_2"], exclude=["class_2/0.png"])
    )

    assert listing.class_names == ("class_0", "class_2")
    assert len(listing.pictures) == 15
    assert [one.path for one in listing.skipped] == ["class_2/0.png"]


def test_an_empty_class_folder_does_not_stop_a_run(picture_folder):
    (picture_folder / "class_9").mkdir()
    (picture_folder / "class_8").mkdir()
    (picture_folder / "class_8" / "notes.txt").touch()

    listing = list_source(spec_of(source={"folder": str(picture_folder)}))

    assert listing.class_names == ("class_0", "class_1", "class_2")
    assert [one.path for one in listing.skipped] == ["class_8", "class_9"]


def test_a_table_s_class_whose_files_are_all_missing_is_told_of(picture_folder, caplog):
    path = picture_folder / "labels.csv"
    path.write_text("path,label\nclass_0/0.png,a\nclass_1/0.png,b\ngone.png,c\n")

    listing = list_source(spec_of(source={"csv": str(path)}))

    assert listing.class_names == ("a", "b")
    assert [one.path for one in listing.skipped] == ["gone.png", "c"]
    assert "1 class has no picture, and will not be in the run: c" in caplog.text


def test_a_class_whose_last_picture_is_excluded_goes(picture_folder):
    exclude = [f"class_1/{number}.png" for number in range(8)]

    listing = list_source(spec_of(source={"folder": str(picture_folder)}, exclude=exclude))

    assert listing.class_names == ("class_0", "class_2")


def test_classes_that_differ_in_case_stay_apart(tmp_path):
    for name in ("Cat", "cat"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "1.png")

    assert list_source(spec_of(source={"folder": str(tmp_path)})).class_names == ("Cat", "cat")


@pytest.mark.parametrize("classes", [0, 1])
def test_fewer_than_two_classes_are_refused_with_what_was_left_out(tmp_path, folder_maker, classes):
    folder_maker(tmp_path, classes=classes)
    (tmp_path / "empty").mkdir()

    with pytest.raises(DataError, match="one class only" if classes else "not one picture") as caught:
        list_source(spec_of(source={"folder": str(tmp_path)}))

    assert "empty: a class without any picture" in str(caught.value)
    assert ("Give the folder that holds one sub-folder per class." in str(caught.value)) == (classes == 1)


@pytest.mark.parametrize("source", ["sample", {"folder": "photos"}, {"tfds": "x"}, {"archive": "https://a.b/c.zip"}])
def test_sources_of_one_class_each_are_refused_with_a_loss_for_several(source):
    with pytest.raises(RecipeError, match="loss: 'binary_cross_entropy' is for pictures of several classes"):
        check_draft(draft_values({"data": {"source": source}, "loss": "binary_cross_entropy"}, source="test"))


def test_a_table_of_several_classes_is_checked_and_listed(picture_folder):
    path = picture_folder / "labels.csv"
    path.write_text("path,label\nclass_0/0.png,a;b\nclass_0/1.png,b\nclass_0/2.png,\n")
    recipe = check_draft(
        draft_values({"data": {"source": {"csv": str(path)}}, "loss": "binary_cross_entropy"}, source="test")
    )

    listing = list_source(recipe.data, multi_label=recipe.multi_label)

    assert [one.label for one in listing.pictures] == [(0, 1), (1,), ()]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_may_bring_its_own_test_split(kind):
    values = {"data": {"source": {kind: "x"}, "split": {"test": 0.0}}}

    assert check_draft(draft_values(values, source="test")).data.split.test == 0
