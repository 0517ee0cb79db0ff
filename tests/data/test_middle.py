"""Pictures prepared with a margin for random crops, and their middle."""

import numpy as np
import pytest

from transferkit.data.decode import decode_picture
from transferkit.data.folder_source import list_folder
from transferkit.data.load import load_data
from transferkit.data.middle import Middle, middle_of, prepared_size_px, shown_size_px
from transferkit.progress import Quiet
from transferkit.recipe.data import DataSpec
from transferkit.recipe.runtime import CacheSpec
from transferkit.recipe.source import FolderSource

MARGINS = (0.01, 0.1, 0.125, 0.14, 0.25, 1 / 3, 0.5, 1.0)


@pytest.mark.parametrize("margin", MARGINS, ids=str)
def test_shown_size_is_what_the_prepared_size_was_made_of(margin):
    sizes = range(1, 1025)

    assert [shown_size_px(prepared_size_px(size, margin), margin) for size in sizes] == list(sizes)


def test_0_14_is_the_usual_margin():
    assert [prepared_size_px(size, 0.14) for size in (224, 160)] == [255, 182]
    assert prepared_size_px(224, 0.0) == 224


def test_middle_leaves_as_much_on_each_side():
    large = np.arange(2 * 9 * 9 * 3, dtype=np.uint8).reshape(2, 9, 9, 3)
    middle = Middle(large, 5)

    assert (len(middle), middle.shape, middle.dtype) == (2, (2, 5, 5, 3), np.uint8)
    np.testing.assert_array_equal(middle[np.array([1, 0])], large[::-1, 2:7, 2:7])
    np.testing.assert_array_equal(middle[:1], large[:1, 2:7, 2:7])
    np.testing.assert_array_equal(middle_of(large[0], 5), large[0, 2:7, 2:7])


@pytest.mark.parametrize("cache", ["disk", "memory", "none"])
def test_data_with_a_margin_shows_the_middle_and_augments_the_whole(picture_folder, tmp_path, cache):
    spec = DataSpec(source=FolderSource(path="photos"), image_size=20, cache=cache)
    settings = {"cache": CacheSpec(folder=str(tmp_path)), "seed": 0, "need_test": True, "progress": Quiet()}

    data = load_data(list_folder(picture_folder), spec, margin=0.2, **settings)
    plain = load_data(list_folder(picture_folder), spec, **settings)

    files = [(picture_folder / path).read_bytes() for path in data.paths]
    large = np.stack([decode_picture(file, size_px=24, resize="crop") for file in files])
    np.testing.assert_array_equal(data.for_augmentation[:], large)
    np.testing.assert_array_equal(data.images[:], large[:, 2:22, 2:22])
    assert plain.images.shape == (24, 20, 20, 3)
    assert plain.for_augmentation is plain.images
