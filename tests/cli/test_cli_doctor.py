"""`transferkit doctor` on the command line."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from transferkit.cli.app import app
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
    assert "blocking 1 picture with copies in different classes" in strict.output
    assert Path("doctor-photos/doctor.html").exists()


def test_the_record_can_be_named_in_the_recipe(spoiled_folder):
    run_doctor(str(spoiled_folder), "--out", "report")

    again = run_doctor(str(spoiled_folder), "--set", "data.exclude=report/doctor.json", "--strict", "--out", "again")

    assert again.exit_code == 0


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
