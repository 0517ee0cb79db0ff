"""`transferkit doctor` on the command line."""

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from transferkit.cli.app import app
from transferkit.doctor import page
from transferkit.errors import DataError, RunFolderError


def run_doctor(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments, "--quick"])


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def spoiled_folder(picture_folder) -> Path:
    """A file that stands in two classes."""
    shutil.copyfile(picture_folder / "class_0" / "0.png", picture_folder / "class_1" / "same.png")
    return picture_folder


def test_a_folder_is_examined_and_page_and_record_are_written(picture_folder):
    result = run_doctor(str(picture_folder))

    assert result.exit_code == 0
    assert "page: doctor-photos/doctor.html" in result.output
    assert {path.name for path in Path("doctor-photos").iterdir()} == {"doctor.html", "doctor.json"}
    assert json.loads(Path("doctor-photos/doctor.json").read_text())["statistics"]["num_pictures"] == 24


def test_a_recipe_can_be_changed_and_gives_the_report_its_name(picture_folder):
    Path("recipe.yaml").write_text(f"name: mine\ndata: {{source: {{folder: {picture_folder}}}}}\n")

    result = run_doctor("recipe.yaml", "--set", "seed=7")

    assert result.exit_code == 0
    assert json.loads(Path("doctor-mine/doctor.json").read_text())["seed"] == 7


def test_strict_fails_on_a_blocking_finding_alone(picture_folder, spoiled_folder):
    strict, plain = (run_doctor(str(spoiled_folder), *options) for options in (("--strict",), ()))
    (spoiled_folder / "class_1" / "same.png").unlink()
    sound = run_doctor(str(picture_folder), "--strict")

    assert (strict.exit_code, plain.exit_code, sound.exit_code) == (1, 0, 0)
    assert "blocking copies in different classes: 2 pictures in 1 group" in strict.output
    assert Path("doctor-photos/doctor.html").exists()


def test_the_record_can_be_named_in_the_recipe(spoiled_folder):
    run_doctor(str(spoiled_folder), "--out", "report")

    again = run_doctor(str(spoiled_folder), "--set", "data.exclude=report/doctor.json", "--strict", "--out", "again")

    assert again.exit_code == 0


def test_advice_and_record_name_the_report_where_it_is(spoiled_folder):
    result = run_doctor(str(spoiled_folder), "--out", "my report")

    said = " ".join(result.output.split())
    assert "data.exclude: my report/doctor.json says so" in said
    assert "data.exclude: doctor.json" not in said
    assert (
        "data.exclude: my report/doctor.json"
        in json.loads(Path("my report/doctor.json").read_text())["findings"][0]["advice"]
    )


def test_pictures_that_are_not_used_are_counted(spoiled_folder):
    result = run_doctor(str(spoiled_folder))

    assert "25 pictures in 3 classes" in result.output
    assert "; 2 not used)" in result.output


def test_examples_and_the_rest_add_up_to_the_pairs_of_a_group(spoiled_folder):
    for number in range(4):
        shutil.copyfile(spoiled_folder / "class_0" / "0.png", spoiled_folder / "class_1" / f"same {number}.png")

    result = run_doctor(str(spoiled_folder))

    assert "copies in different classes: 6 pictures in 1 group" in result.output
    assert "and 2 more" in result.output  # of five, one with each of the others


def test_the_last_lines_can_be_pasted_into_a_recipe_and_end_the_trouble(spoiled_folder):
    result = run_doctor(str(spoiled_folder), "--strict")
    pasted = [line[4:] for line in result.output.splitlines() if line.startswith("    ") and line[4:].strip()]
    lines = pasted[pasted.index("data:") :]
    Path("recipe.yaml").write_text("\n".join(["name: mended", *lines]))

    again = run_doctor("recipe.yaml", "--strict")

    exclude = "  exclude: doctor-photos/doctor.json  # 2 pictures"
    assert lines == ["data:", f"  source: {{folder: {spoiled_folder}}}", exclude]
    assert (result.exit_code, again.exit_code) == (1, 0)
    assert "for the recipe's data" not in again.output


def test_findings_are_counted_nearest_to_the_prompt(spoiled_folder):
    *_, findings, last = run_doctor(str(spoiled_folder)).output.splitlines()

    assert re.fullmatch(r"findings: 1 blocking(, \d warnings?)?, \d+ notes?", findings)
    assert last == "page: doctor-photos/doctor.html"


def test_a_long_path_stays_in_one_piece(picture_folder):
    name = f"{'long_' * 30}.jpg"
    (picture_folder / "class_0" / name).write_bytes(b"")

    result = run_doctor(str(picture_folder))

    assert f"class_0/{name}:\n" in result.output


def test_a_list_that_was_edited_is_kept_and_one_that_was_not_is_replaced(spoiled_folder):
    report, kept = Path("doctor-photos/doctor.json"), Path("doctor-photos/doctor-edited.json")
    run_doctor(str(spoiled_folder))
    untouched = run_doctor(str(spoiled_folder))
    assert not kept.exists()
    assert "had been edited" not in untouched.output
    record = json.loads(report.read_text())
    record["exclude"].pop()
    report.write_text(json.dumps(record))

    result = run_doctor(str(spoiled_folder))

    assert json.loads(kept.read_text()) == record
    assert len(json.loads(report.read_text())["exclude"]) == 2
    assert (
        "doctor-photos/doctor.json had been edited: that list is now doctor-photos/doctor-edited.json" in result.output
    )


def test_an_interruption_leaves_the_report_of_before_and_nothing_else(spoiled_folder, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    run_doctor(str(spoiled_folder))
    Path("doctor-photos/doctor.json").write_text("edited")
    before = {path.name: path.read_bytes() for path in Path("doctor-photos").iterdir()}
    monkeypatch.setattr(page, "render_page", interrupted)

    codes = [run_doctor(str(spoiled_folder), *more).exit_code for more in ((), ("--out", "new"))]

    assert codes == [130, 130]
    assert {path.name: path.read_bytes() for path in Path("doctor-photos").iterdir()} == before
    assert not Path("new").exists()


def test_a_second_edited_list_does_not_replace_the_first(spoiled_folder):
    for text in ("one", "two"):
        Path("doctor-photos").mkdir(exist_ok=True)
        Path("doctor-photos/doctor.json").write_text(text)
        run_doctor(str(spoiled_folder))

    assert Path("doctor-photos/doctor-edited.json").read_text() == "one"
    assert Path("doctor-photos/doctor-edited-2.json").read_text() == "two"


def test_pictures_that_finetune_would_refuse_are_a_blocking_finding():
    for number in range(4):
        path = Path("few", ("cat", "dog")[number % 2], f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((40, 40), 20 + number).save(path)

    result = run_doctor("few", "--strict")

    assert result.exit_code == 1
    assert "blocking the validation split is empty" in result.output


@pytest.mark.parametrize(("target", "guess"), [("photo/", "photos"), ("quikstart", "quickstart"), ("x\0y", "")])
def test_what_is_neither_folder_nor_recipe_is_told_with_what_was_meant(target, guess):
    Path("photos").mkdir(exist_ok=True)

    error = run_doctor(target).exception

    assert isinstance(error, DataError)
    assert "no such folder or recipe (looked from" in str(error)
    assert ("did you mean" in str(error)) == bool(guess)
    assert guess in str(error)


def test_a_table_is_examined_as_a_folder_is(picture_folder):
    files = sorted(picture_folder.rglob("*.png"))
    rows = "".join(f"{file},{file.parent.name}\n" for file in files)
    Path("labels.csv").write_text(f"path,label\n{rows}{files[0]},other\n")

    result = run_doctor("labels.csv")

    assert result.exit_code == 0, result.output
    assert f"labels.csv: {len(files) - 1} pictures in " in result.output
    assert Path("doctor-labels/doctor.json").is_file()


def test_names_cannot_move_the_cursor(picture_folder):
    (picture_folder / "class_0" / "red\x1b[31m\nline.png").write_bytes(b"")

    result = run_doctor(str(picture_folder))

    assert r"red\x1b[31m\nline.png" in result.output
    assert "\x1b" not in result.output


def test_a_report_folder_that_cannot_be_made_is_told_before_the_work(picture_folder):
    Path("taken").write_text("")

    result = run_doctor(str(picture_folder), "--out", "taken/report")

    assert isinstance(result.exception, RunFolderError)
    assert "--out" in str(result.exception)


def test_data_that_cannot_be_listed_leave_no_report_folder():
    Path("empty").mkdir()

    result = run_doctor("empty")

    assert isinstance(result.exception, DataError)
    assert not Path("doctor-empty").exists()
