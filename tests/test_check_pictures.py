"""What a recipe's pictures and augmentation must fulfil together."""

import pytest

from transferkit.check import check_draft
from transferkit.errors import RecipeError
from transferkit.recipe.draft import draft_values


def checked(data, **sections):
    return check_draft(draft_values({"data": data, **sections}, source="test"))


def test_a_source_that_is_read_in_one_pass_cannot_be_read_when_asked_for():
    with pytest.raises(RecipeError, match=r"data\.cache: 'none' reads a picture whenever .* use auto, disk or memory"):
        checked({"source": {"tfds": "tf_flowers"}, "cache": "none"})


@pytest.mark.parametrize("cache", ["auto", "disk", "memory"])
def test_a_source_that_is_read_in_one_pass_can_be_kept(cache):
    assert checked({"source": {"tfds": "tf_flowers"}, "cache": cache}).data.cache == cache


def test_pictures_of_a_folder_can_be_read_when_asked_for():
    assert checked({"source": {"folder": "photos"}, "cache": "none"}).data.cache == "none"


@pytest.mark.parametrize("before", ["flip", {"random_crop": {"margin": 0.2}}], ids=["flip", "itself"])
def test_a_random_crop_comes_first_and_once(before):
    with pytest.raises(RecipeError, match=r"augment\[1\]: 'random_crop' must come first, and once"):
        checked({"source": "sample"}, augment=[before, "random_crop"])


@pytest.mark.parametrize(
    ("augment", "margin"), [([], 0.0), (["flip"], 0.0), (["random_crop", "flip"], 0.14), ([{"random_crop": 0.3}], 0.3)]
)
def test_margin_of_a_recipe_is_that_of_its_random_crop(augment, margin):
    assert checked({"source": "sample"}, augment=augment).margin == margin
