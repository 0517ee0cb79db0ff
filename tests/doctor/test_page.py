"""The page shows what was found and runs nothing of what it shows."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from transferkit.check import check_draft
from transferkit.doctor.advised import recipe_lines
from transferkit.doctor.examine import Examination, examine
from transferkit.doctor.findings import Evidence, Finding
from transferkit.doctor.page import render_page
from transferkit.progress import Quiet
from transferkit.recipe.draft import draft_values
from transferkit.recipe.yaml_tree import parse_yaml

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


@pytest.fixture
def examination_of(hostile_folder):
    """`examination_of(name)`: one that leaves out a picture of a folder of this name."""
    examination, _ = page_of(hostile_folder)

    def examination_of(name: str) -> Examination:
        recipe = check_draft(draft_values({"data": {"source": {"folder": name}}}, source="test"))
        return replace(examination, recipe=recipe)

    return examination_of


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

    assert f"data:\n  source: {{folder: {hostile_folder}}}\n  exclude: doctor.json  # 1 picture</pre>" in page


def test_what_a_picture_shows_stands_before_its_path(picture_folder):
    Image.new("RGB", (50, 40), "red").save(picture_folder / "class_0" / "red.png")

    _, page = page_of(picture_folder)

    assert "<b>one colour: RGB 255 0 0</b><span>class_<wbr>0/<wbr>red.<wbr>png</span>" in page


@pytest.mark.parametrize(
    "name", ["a: b", "#1", "true", ".inf", "2024", "cats, dogs", "{x}", "'", '"', "猫 x", "a ", "~", "-"]
)
def test_the_lines_for_the_recipe_mean_the_paths_whatever_they_are(name, examination_of):
    lines = recipe_lines(examination_of(name), f"{name}/doctor.json")

    data = parse_yaml("\n".join(lines)).data["data"]
    assert data["source"] == {"folder": name}
    assert data["exclude"] == f"{name}/doctor.json"


def test_more_of_the_pictures_that_may_be_mislabelled_are_shown_than_of_others(picture_folder):
    examination, _ = page_of(picture_folder)
    paths = [picture.path for picture in examination.listing.pictures]
    evidence = tuple(Evidence(path, f"{number}") for number in range(5) for path in paths)
    found = {
        kind: render_page(
            replace(examination, findings=(Finding(kind, "note", "", "", "", pictures=evidence),)),
            json_path="doctor.json",
        )
        for kind in ("mislabelled", "grey")
    }

    assert found["mislabelled"].count("<figure>") == 96
    assert found["grey"].count("<figure>") == 12


def test_there_are_no_lines_for_the_recipe_where_nothing_is_to_be_said(picture_folder):
    examination, page = page_of(picture_folder)

    assert recipe_lines(examination, "doctor.json") == ()
    assert "For the recipe" not in page
