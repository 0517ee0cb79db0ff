"""A table with every kind of bad row: none stops the work, each is named with its reason."""

import csv

import pytest

from transferkit.check import check_draft
from transferkit.doctor.examine import examine
from transferkit.progress import Quiet
from transferkit.recipe.draft import draft_values


@pytest.fixture(scope="module")
def table(tmp_path_factory, session_folder_maker):
    """A table with a byte order mark and Windows line ends; and the reasons of its bad rows, by path."""
    root = session_folder_maker(tmp_path_factory.mktemp("table"), classes=3, each=8)
    (root / "class_2").rename(root / "7")
    (root / "class_0" / "7.png").write_bytes(b"")
    rows = [f"{name}/{number}.png,{name},," for name in ("class_0", "class_1", "7") for number in range(8)]
    bad = {
        "gone.png,class_0,,": "line 26: cannot be read: No such file or directory",
        "class_0/0.png,class_0,,": "line 27: the same as line 2",
        "class_0/a.png": "line 28: has no label",
        f"class_0/b.png,{'x' * 2**20},,": f"line 29: label '{'x' * 40}' is longer than 255 characters",
        "class_0/c.png,caf\udce9,,": "line 30: label 'caf\\udce9' is no UTF-8; save the table as UTF-8",
        "class_0/d.png,class_0,holdout,": (
            "line 31: split 'holdout' is none of train, training, validation, valid, val, test, testing"
        ),
        "class_0/e.png,class_0,,heavy": "line 32: weight 'heavy' is no number from 0 on",
        "class_0,class_0,,": "line 33: is no ordinary file",
    }
    text = "".join(f"{line}\r\n" for line in ("path,label,split,weight", *rows, *bad))
    (root / "labels.csv").write_bytes(b"\xef\xbb\xbf" + text.encode("utf-8", "surrogateescape"))
    return root / "labels.csv", {line.split(",")[0]: reason for line, reason in bad.items()}


def section_of(table):
    return {"source": {"csv": str(table)}, "image_size": 32, "split": {"validation": 0.25, "test": 0.25}}


def test_doctor_names_each_bad_row_with_its_reason(table):
    path, reasons = table

    findings = examine(
        check_draft(draft_values({"data": section_of(path)}, source="test")), quick=True, progress=Quiet()
    ).findings

    told = {one.path: one.note for found in findings if found.kind == "left_out" for one in found.pictures}
    assert told == reasons
    unreadable = {one.path: one.note for found in findings if found.kind == "unreadable" for one in found.pictures}
    assert unreadable == {"class_0/7.png": "empty file"}


@pytest.mark.model
def test_fine_tuning_survives_bad_rows_and_names_each_with_its_reason(table, tmp_path):
    from transferkit import FineTuner

    path, reasons = table
    tuner = FineTuner(
        section_of(path),
        model={"backbone": "vgg16", "weights": "none"},
        phases=[{"name": "head", "train": "head", "epochs": 1, "learning_rate": 1e-3}],
        cache={"folder": str(tmp_path / "cache")},
    )

    result = tuner.run(tmp_path / "run", progress=Quiet())

    with (tmp_path / "run" / "skipped.csv").open(encoding="utf-8", newline="") as file:
        skipped = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert skipped == reasons | {"class_0/7.png": "empty file"}
    assert (tmp_path / "run" / "classes.txt").read_text() == "7\nclass_0\nclass_1\n"
    assert sum(one.num_images for one in result.report.values()) == 12
