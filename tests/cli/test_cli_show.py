"""`transferkit show`: which pictures, what is done to them, and the file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from transferkit.check import check_draft
from transferkit.cli.app import app
from transferkit.data.source import list_source
from transferkit.errors import DataError
from transferkit.progress import Quiet
from transferkit.recipe.draft import draft_values

pytestmark = pytest.mark.model

AUGMENT = [{"flip": "horizontal"}, {"brightness": 0.4}]


@pytest.fixture
def drawn(monkeypatch):
    """`drawn(folder, …)`: the columns, captions and title lines that a recipe's sheet is drawn from."""
    from transferkit.report import look

    def drawn(folder, *, count=4, listed=None, **sections):
        given = {}
        monkeypatch.setattr(look, "plot_contact_sheet", lambda columns, **rest: given.update(rest, columns=columns))
        data = {"source": {"folder": str(folder)}, "image_size": 32, **sections.pop("data", {})}
        recipe = check_draft(draft_values({"name": "mine", "data": data, **sections}, source="test"))
        look.look_at(recipe, listed or list_source(recipe.data), count=count, progress=Quiet())
        return given["columns"], given["captions"], given["title"]

    return drawn


def titles(columns):
    return [" ".join(column.title) for column in columns]


def test_the_command_writes_a_picture_and_prints_its_path(picture_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = {"source": {"folder": str(picture_folder)}, "image_size": 32}
    Path("recipe.yaml").write_text(json.dumps({"name": "mine", "data": data, "augment": AUGMENT}))

    results = [CliRunner().invoke(app, ["show", "recipe.yaml", *more]) for more in ((), ("--out", "a b.png"))]

    assert [result.stdout for result in results] == ["mine-pictures.png\n", "a b.png\n"]
    assert [result.exit_code for result in results] == [0, 0]
    with Image.open("mine-pictures.png") as one, Image.open("a b.png") as other:
        assert one.format == "PNG"
        assert min(one.size) > 200
        assert one.tobytes() == other.tobytes()


def test_columns_are_the_file_the_picture_as_read_each_augmentation_and_all_together(drawn, picture_folder):
    columns, captions, title = drawn(picture_folder, augment=AUGMENT)

    assert titles(columns) == [
        "file the frame is kept",
        "as read and resized",
        "flip horizontal",
        "brightness amount 0.4",
        "all in turn draw 1",
        "all in turn draw 2",
    ]
    assert captions == sorted(captions)
    assert set(captions) == {"class_0", "class_1", "class_2"}
    assert title[1] == "Augmentation acts in fine-tune, not in warm-up."


def test_an_augmentation_by_itself_does_that_alone(drawn, picture_folder):
    columns, _, _ = drawn(picture_folder, count=9, augment=AUGMENT)
    read, flipped, brightened, first, second = (column.images.astype(np.float32) for column in columns[1:])

    was_flipped = [not np.array_equal(one, other) for one, other in zip(flipped, read, strict=True)]
    assert 0 < sum(was_flipped) < 9
    for one, other, changed, note in zip(flipped, read, was_flipped, columns[2].notes, strict=True):
        np.testing.assert_array_equal(one, other[:, ::-1] if changed else other)
        assert note == (() if changed else ("unchanged",))
    inside = (brightened > 0) & (brightened < 255)
    for row in range(9):
        assert np.ptp((brightened - read)[row][inside[row]]) < 0.01
    assert not np.array_equal(first, second)


def test_mixed_pictures_show_their_mixed_labels(drawn, picture_folder):
    columns, _, _ = drawn(picture_folder, count=6, augment=[{"mixup": {"alpha": 1.0}}])

    notes = columns[-1].notes
    assert titles(columns)[-1] == "mixup alpha 1"
    assert len(notes) == 6
    assert any(len(lines) == 2 for lines in notes)
    for lines in notes:
        assert sum(int(line.split("%")[0]) for line in lines) == pytest.approx(100, abs=1)


def test_the_frame_is_what_crop_keeps(drawn, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.new("RGB", (80, 40), (200, 10 * number, 0)).save(tmp_path / name / f"{number}.png")

    cropped, stretched, padded = (
        drawn(tmp_path, count=2, data={"resize": resize})[0] for resize in ("crop", "stretch", "pad")
    )

    assert cropped[0].frames == [(0.25, 0.25, 0.5, 0.5)] * 2
    assert (cropped[0].images[:, :8] == 255).all()
    assert (cropped[0].images[:, 8:24, :, 0] == 200).all()
    assert cropped[0].notes == [("80 x 40 px",)] * 2
    assert titles(stretched) == ["file", "as read and resized"]
    assert not stretched[0].frames
    assert titles(padded) == ["as read and resized"]


@pytest.mark.parametrize(
    ("resize", "frame"),
    [("crop", (0.3, 0.3, 0.4, 0.4)), ("stretch", (0.1, 0.3, 0.8, 0.4)), ("pad", (0.1, 0.1, 0.8, 0.8))],
)
def test_the_frame_leaves_out_the_margin_that_random_crops_need(drawn, tmp_path, resize, frame):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.new("RGB", (80, 40), (200, 10 * number, 0)).save(tmp_path / name / f"{number}.png")

    file, *_ = drawn(tmp_path, count=2, data={"resize": resize}, augment=[{"random_crop": 0.25}])[0]

    assert file.title == ("file", "the frame is kept;", "training moves it")
    np.testing.assert_allclose(file.frames, [frame] * 2, atol=1e-9)


def test_only_training_pictures_are_shown_and_bad_files_are_passed_over(drawn, tmp_path):
    for split, red in (("train", 10), ("validation", 100), ("test", 200)):
        for name in ("cat", "dog"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(5):
                Image.new("RGB", (40, 40), (red, number, 0)).save(folder / f"{number}.png")
                (folder / f"bad {number}.jpg").write_bytes(b"\xff\xd8\xff")

    columns, captions, _ = drawn(tmp_path, count=20)

    assert captions == ["cat"] * 5 + ["dog"] * 5
    assert (columns[-1].images[..., 0] == 10).all()


def test_each_class_comes_once_before_any_comes_twice(drawn, session_folder_maker, tmp_path):
    folder = session_folder_maker(tmp_path / "many", classes=6, each=5)

    _, few, _ = drawn(folder, count=3)
    _, captions, _ = drawn(folder, count=6)

    assert len(set(few)) == 3
    assert len(set(captions)) == 6


def test_a_set_without_a_readable_training_picture_is_refused(drawn, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_bytes(b"")

    with pytest.raises(DataError, match=r"no training picture can be read(.|\n)*a/0.jpg: empty file"):
        drawn(tmp_path)


def test_a_picture_of_several_classes_is_named_after_them(drawn, picture_folder):
    recipe = check_draft(draft_values({"data": {"source": {"folder": str(picture_folder)}}}, source="test"))
    listing = list_source(recipe.data)
    several = replace(listing, pictures=tuple(replace(one, label=(0, 2)) for one in listing.pictures))

    _, captions, _ = drawn(picture_folder, listed=several)

    assert captions == ["class_0, class_2"] * 4


def test_a_picture_of_no_class_is_said_to_be_so(drawn, picture_folder):
    recipe = check_draft(draft_values({"data": {"source": {"folder": str(picture_folder)}}}, source="test"))
    listing = list_source(recipe.data)
    none = replace(listing, pictures=tuple(replace(one, label=()) for one in listing.pictures))

    columns, captions, _ = drawn(picture_folder, listed=none, augment=["mixup"])

    assert captions == ["no class"] * 4
    assert columns[-1].notes == [("no class",)] * 4
