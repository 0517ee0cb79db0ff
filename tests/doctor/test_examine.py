"""The examination as a whole, and the file that a recipe can name."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from transferkit.check import check_draft
from transferkit.doctor import labels
from transferkit.doctor.examine import Examination, examine
from transferkit.doctor.findings import SEVERITIES
from transferkit.doctor.record import record_of
from transferkit.errors import WeightsError
from transferkit.progress import Quiet
from transferkit.recipe.draft import draft_values


def examination_of(root: Path, **data: object) -> Examination:
    values = {"data": {"source": {"folder": str(root)}, **data}}
    return examine(check_draft(draft_values(values, source="test")), quick=True, progress=Quiet())


@pytest.fixture
def folder(picture_folder) -> Path:
    """One file that cannot be read, and one that stands in two classes."""
    (picture_folder / "class_0" / "empty.jpg").write_bytes(b"")
    shutil.copyfile(picture_folder / "class_0" / "0.png", picture_folder / "class_1" / "same.png")
    return picture_folder


def test_findings_come_by_severity(folder):
    severities = [finding.severity for finding in examination_of(folder).findings]

    assert severities == sorted(severities, key=SEVERITIES.index)
    assert severities[0] == "blocking"


def test_statistics_count_what_a_run_would_use(folder):
    statistics = examination_of(folder).statistics

    assert (statistics.num_pictures, statistics.num_readable) == (26, 25)
    assert sum(statistics.per_split.values()) == 23  # without the file that stands in two classes
    assert statistics.formats == {"PNG": 25}
    assert (statistics.width.lowest, statistics.height.highest) == (40, 40)


def test_channel_statistics_are_those_of_the_training_split(tmp_path):
    for split, colour in (("train", 10), ("test", 200)):
        for name in ("cat", "dog"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(12):
                shade = colour + 2 * number + (name == "dog")
                Image.new("RGB", (8, 8), (shade, 0, 255)).save(folder / f"{number}.png")

    statistics = examination_of(tmp_path).statistics

    assert statistics.channel_mean[0] == pytest.approx(10 + 11.5, abs=2)  # two of 24 are taken for validation
    assert statistics.channel_mean[1:] == (0, 255)
    assert statistics.channel_std[1:] == (0, 0)


def test_a_recipe_that_takes_over_the_list_is_found_sound(folder, tmp_path):
    report = tmp_path / "doctor.json"
    report.write_text(json.dumps(record_of(examination_of(folder))))

    after = examination_of(folder, exclude=str(report))

    assert {finding.kind for finding in after.findings} & {"unreadable", "copies_in_classes"} == set()


def test_a_second_examination_keeps_what_the_recipe_leaves_out_already(folder, tmp_path):
    report = tmp_path / "doctor.json"
    first = record_of(examination_of(folder))
    report.write_text(json.dumps(first))

    second = record_of(examination_of(folder, exclude=str(report)))

    assert second["exclude"] == first["exclude"]
    assert [one["path"] for one in first["exclude"]] == ["class_0/0.png", "class_0/empty.jpg", "class_1/same.png"]


def test_pictures_of_one_colour_are_no_conflict(picture_folder):
    for name, side in (("class_0", 50), ("class_1", 60)):
        Image.new("RGB", (side, side), "white").save(picture_folder / name / "white.png")

    kinds = {finding.kind for finding in examination_of(picture_folder).findings}

    assert "constant" in kinds
    assert "label_conflict" not in kinds


def test_leakage_is_found_by_way_of_the_copy_that_a_run_keeps(picture_folder, tmp_path):
    for split in ("train", "test"):
        shutil.copytree(picture_folder, tmp_path / "own" / split)
    for name in ("class_0", "class_1", "class_2"):
        for number in range(8):
            (tmp_path / "own" / "test" / name / f"{number}.png").unlink()
    with Image.open(picture_folder / "class_0" / "0.png") as image:
        image.resize((80, 80)).save(tmp_path / "own" / "train" / "class_0" / "larger.png")
    shutil.copyfile(picture_folder / "class_0" / "0.png", tmp_path / "own" / "test" / "class_0" / "same.png")

    findings = {finding.kind: finding for finding in examination_of(tmp_path / "own").findings}

    assert findings["copies_across_splits"].exclude[0].path == "train/class_0/0.png"
    assert findings["leakage"].exclude[0].path == "train/class_0/larger.png"


def test_a_picture_of_several_classes_counts_once_in_its_split(picture_folder, tmp_path):
    paths = sorted(path.relative_to(picture_folder).as_posix() for path in picture_folder.glob("*/*.png"))
    table = tmp_path / "labels.csv"
    table.write_text("path,label\n" + "".join(f"{path},{path[:7]};all\n" for path in paths))
    values = {
        "data": {"source": {"csv": {"path": str(table), "root": str(picture_folder)}}},
        "loss": "binary_cross_entropy",
    }

    statistics = examine(check_draft(draft_values(values, source="test")), quick=True, progress=Quiet()).statistics

    assert sum(statistics.per_split.values()) == 24
    assert sum(statistics.per_class["all"].values()) == 24


def test_weights_that_are_not_to_be_had_are_a_note(picture_folder, monkeypatch):
    def refuse(*_, **__):
        raise WeightsError("resnet50 cannot be downloaded\nno network")

    monkeypatch.setattr(labels, "find_mislabelled", refuse)
    values = {"data": {"source": {"folder": str(picture_folder)}}}

    findings = examine(check_draft(draft_values(values, source="test")), progress=Quiet()).findings

    (note,) = [finding for finding in findings if finding.kind == "labels_not_examined"]
    assert (note.severity, note.meaning) == ("note", "resnet50 cannot be downloaded")


@pytest.mark.parametrize(("evaluate", "refused"), [(["test"], True), (["validation"], False)])
def test_a_test_split_is_missed_only_where_the_recipe_evaluates_it(picture_folder, tmp_path, evaluate, refused):
    paths = [path.relative_to(picture_folder).as_posix() for path in sorted(picture_folder.glob("*/*.png"))]
    splits = ("train", "train", "validation")
    manifest = tmp_path / "splits.csv"
    rows = (f"{path},{path.split('/')[0]},{splits[at % 3]}\n" for at, path in enumerate(paths))
    manifest.write_text("path,label,split\n" + "".join(rows))
    data = {"source": {"folder": str(picture_folder)}, "split": {"manifest": str(manifest)}}
    recipe = check_draft(draft_values({"data": data, "evaluate": evaluate}, source="test"))

    kinds = {finding.kind for finding in examine(recipe, quick=True, progress=Quiet()).findings}

    assert ("empty_test" in kinds) == refused
