"""What every run finds out about its data in passing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transferkit.check import check_draft
from transferkit.data.load import load_data
from transferkit.data.source import list_source
from transferkit.doctor import quick, remember
from transferkit.doctor.examine import examine
from transferkit.doctor.quick import describe_findings, quick_findings
from transferkit.progress import Quiet
from transferkit.recipe.draft import draft_values
from transferkit.recipe.recipe import Recipe

CLASSES = ("cat", "dog")


class Heard(Quiet):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def save_picture(path: Path, number: int, *, quality: int = 95) -> None:
    pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    Image.fromarray(pixels).save(path, quality=quality)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two classes in the source's own splits; no two pictures are alike."""
    number = 0
    for split, count in (("train", 12), ("validation", 3), ("test", 3)):
        for name in CLASSES:
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for _ in range(count):
                number += 1
                save_picture(folder / f"{number}.jpg", number)
    return tmp_path / "photos"


def recipe_of(photos: Path, **data: object) -> Recipe:
    values = {"data": {"source": {"folder": str(photos)}, "image_size": 48, **data}}
    return check_draft(draft_values(values, source="test"))


def find(recipe: Recipe, heard: Heard | None = None):
    listing, progress = list_source(recipe.data), heard or Quiet()
    data = load_data(listing, recipe.data, cache=recipe.cache, seed=recipe.seed, need_test=True, progress=Quiet())
    findings = quick_findings(data, listing, recipe.data, cache=recipe.cache, progress=progress)
    return {finding.kind: finding for finding in findings}


def test_sound_data_give_nothing_to_print(photos):
    findings = find(recipe_of(photos))

    assert list(describe_findings(findings.values())) == []


def test_a_test_picture_that_was_trained_on_is_printed_with_the_way_out(photos):
    save_picture(photos / "test" / "cat" / "again.jpg", 1, quality=60)

    findings = find(recipe_of(photos))

    assert [(one.path, one.partner) for one in findings["leakage"].pictures] == [
        ("test/cat/again.jpg", "train/cat/1.jpg")
    ]
    lines = list(describe_findings(findings.values()))
    assert lines[0] == "data, blocking: leakage: 1 test picture looks like pictures of another split"
    assert "data.exclude: doctor.json" in lines[1]
    assert "transferkit doctor" in lines[-1]


def test_pictures_alike_in_two_classes_are_found(photos):
    save_picture(photos / "train" / "dog" / "again.jpg", 1, quality=60)

    assert find(recipe_of(photos))["label_conflict"].num == 1


def test_classes_with_hardly_any_pictures_are_found(photos):
    for picture in sorted((photos / "train" / "cat").iterdir())[3:]:
        picture.unlink()

    assert find(recipe_of(photos))["few_pictures"].table[1][0] == "cat"


def test_pictures_that_are_not_kept_are_not_decoded_again_for_it(photos):
    save_picture(photos / "test" / "cat" / "again.jpg", 1, quality=60)
    heard = Heard()

    findings = find(recipe_of(photos, cache="none"), heard)

    assert "leakage" not in findings
    assert "leakage is not looked for" in heard.lines[0]


def test_pictures_that_were_compared_once_are_not_compared_again(photos, monkeypatch):
    save_picture(photos / "test" / "cat" / "again.jpg", 1, quality=60)
    first = find(recipe_of(photos))
    monkeypatch.setattr(quick, "alike_pairs", lambda *_: pytest.fail("compared again"))

    second = find(recipe_of(photos))

    assert second == first
    assert "leakage" in second


def test_pairs_of_another_search_are_not_used(photos, monkeypatch):
    find(recipe_of(photos))
    monkeypatch.setattr(remember, "LOOKALIKES_VERSION", 0)
    monkeypatch.setattr(quick, "alike_pairs", lambda *_: [(0, 35, 1.0)])

    assert "leakage" in find(recipe_of(photos))


def test_a_picture_that_changed_is_compared_again(photos):
    before = find(recipe_of(photos))
    save_picture(min((photos / "test" / "cat").iterdir()), 1, quality=60)

    after = find(recipe_of(photos))

    assert "leakage" not in before
    assert "leakage" in after


def test_kept_pairs_that_cannot_be_read_are_found_anew(photos, tmp_path):
    save_picture(photos / "test" / "cat" / "again.jpg", 1, quality=60)
    recipe = recipe_of(photos)
    recipe = recipe.model_copy(update={"cache": recipe.cache.model_copy(update={"folder": str(tmp_path / "cache")})})
    first = find(recipe)
    for kept in (tmp_path / "cache" / "lookalikes").iterdir():
        kept.write_text("[[1, 2")

    assert find(recipe) == first


@pytest.mark.parametrize("duplicates", ["drop", "group"])
def test_pictures_of_one_colour_are_no_conflict(photos, duplicates):
    for name, side in (("cat", 50), ("dog", 60)):
        Image.new("RGB", (side, side), "white").save(photos / "train" / name / "white.png")

    assert "label_conflict" not in find(recipe_of(photos, duplicates=duplicates))


def test_pairs_that_the_splits_needed_are_not_looked_for_again(photos, monkeypatch):
    save_picture(photos / "train" / "dog" / "again.jpg", 1, quality=60)
    monkeypatch.setattr(quick, "alike_pairs", lambda *_: pytest.fail("compared again"))

    assert find(recipe_of(photos, duplicates="group"))["label_conflict"].num == 1


def test_pictures_of_several_classes_get_no_advice_that_the_recipe_check_refuses(photos, tmp_path):
    paths = sorted(path.relative_to(photos).as_posix() for path in photos.glob("*/*/*.jpg"))
    rows = (
        f"{path},{'all;rare' if number % 5 == 0 else 'all'},{path.split('/')[0]}\n" for number, path in enumerate(paths)
    )
    (tmp_path / "labels.csv").write_text("path,label,split\n" + "".join(rows))
    source = {"csv": {"path": str(tmp_path / "labels.csv"), "root": str(photos)}}
    values = {"data": {"source": source, "image_size": 48}, "loss": "binary_cross_entropy"}
    recipe = check_draft(draft_values(values, source="test"))
    listing = list_source(recipe.data, multi_label=True)
    data = load_data(listing, recipe.data, cache=recipe.cache, seed=0, need_test=True, progress=Quiet())

    passing = quick_findings(data, listing, recipe.data, cache=recipe.cache, progress=Quiet())
    thorough = examine(recipe, quick=True, progress=Quiet()).findings

    for findings in (passing, thorough):
        (advice,) = [finding.advice for finding in findings if finding.kind == "imbalance"]
        assert "data.source.csv.weight_column" in advice
