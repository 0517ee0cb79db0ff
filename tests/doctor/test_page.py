"""The page shows what was found and runs nothing of what it shows."""

from pathlib import Path

import pytest
from PIL import Image

from transferkit.check import check_draft
from transferkit.doctor.examine import Examination, examine
from transferkit.doctor.page import render_page
from transferkit.progress import Quiet
from transferkit.recipe.draft import draft_values

HOSTILE = "<script>alert(1)<&script>"


def page_of(root: Path) -> tuple[Examination, str]:
    recipe = check_draft(draft_values({"data": {"source": {"folder": str(root)}}}, source="test"))
    examination = examine(recipe, quick=True, progress=Quiet())
    return examination, render_page(examination, json_path="doctor.json")


@pytest.fixture
def hostile_folder(picture_folder) -> Path:
    (picture_folder / "class_0").rename(picture_folder / HOSTILE)
    (picture_folder / HOSTILE / "<img src=x onerror=alert(1)>.jpg").write_bytes(b"")
    return picture_folder


def test_names_never_become_markup(hostile_folder):
    _, page = page_of(hostile_folder)

    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;.jpg" in page


def test_pictures_are_inside_the_page(hostile_folder):
    copy = hostile_folder / "class_1" / "copy.png"
    copy.write_bytes((hostile_folder / "class_1" / "0.png").read_bytes())

    _, page = page_of(hostile_folder)

    assert page.count('<img src="data:image/jpeg;base64,') == page.count("<img ")
    assert 'alt="class_1/copy.png"' in page


def test_a_picture_that_goes_meanwhile_is_shown_without_its_thumbnail(picture_folder):
    Image.new("RGB", (50, 40), "red").save(picture_folder / "class_0" / "red.png")
    Image.new("RGB", (50, 40), "blue").save(picture_folder / "class_0" / "blue.png")
    recipe = check_draft(draft_values({"data": {"source": {"folder": str(picture_folder)}}}, source="test"))
    examination = examine(recipe, quick=True, progress=Quiet())
    (picture_folder / "class_0" / "red.png").unlink()

    page = render_page(examination, json_path="doctor.json")

    assert "no picture to show" in page
    assert 'alt="class_0/blue.png"' in page
    assert 'alt="class_0/red.png"' not in page


def test_advice_names_the_report_where_it_is(hostile_folder):
    examination, _ = page_of(hostile_folder)

    page = render_page(examination, json_path="my reports/doctor.json")

    assert "<code>data.exclude: my reports/doctor.json</code>" in page
    assert "data.exclude: doctor.json" not in page


def test_the_recipe_s_words_for_the_advice_are_on_the_page(hostile_folder):
    _, page = page_of(hostile_folder)

    assert "  exclude: doctor.json" in page
