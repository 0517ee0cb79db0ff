import numpy as np
import pytest

from transferkit.data.middle import middle_of, prepared_size_px
from transferkit.model.augment import build_augmentations, preview
from transferkit.recipe import augment as spec

pytestmark = pytest.mark.model

SHOWN_PX, MARGIN = 20, 0.2
LARGE_PX = prepared_size_px(SHOWN_PX, MARGIN)
CROP = spec.RandomCrop(margin=MARGIN)


@pytest.fixture
def images():
    """Every pixel tells its row, its column and its image."""
    rows, columns = np.mgrid[:LARGE_PX, :LARGE_PX]
    one = np.stack([rows, columns, np.zeros_like(rows)], axis=-1)
    return np.stack([one + [0, 0, number] for number in range(250)]).astype(np.float32)


def test_random_crop_cuts_each_image_exactly_at_a_place_of_its_own(images, augment):
    cut, _ = augment(CROP, images)

    assert cut.shape == (250, SHOWN_PX, SHOWN_PX, 3)
    places = set()
    for whole, part in zip(images, cut, strict=True):
        top, left = part[0, 0, :2].astype(int)
        np.testing.assert_array_equal(part, whole[top : top + SHOWN_PX, left : left + SHOWN_PX])
        places.add((top, left))
    margin_px = LARGE_PX - SHOWN_PX
    assert {top for top, _ in places} == {left for _, left in places} == set(range(margin_px + 1))
    assert len(places) > margin_px + 1  # rows and columns are drawn apart


def test_random_crop_stands_before_others(images, augment):
    changed, _ = augment([CROP, spec.Flip(), spec.Rotate(degrees=5.0)], images[:4])

    assert changed.shape == (4, SHOWN_PX, SHOWN_PX, 3)


def test_preview_begins_with_the_middle(images):
    columns = preview(build_augmentations([CROP], seed=0), images[:3], draws=2, seed=0)

    assert columns.shape == (3, 3, SHOWN_PX, SHOWN_PX, 3)
    np.testing.assert_array_equal(columns[:, 0], middle_of(images[:3], SHOWN_PX))
    assert not np.array_equal(columns[:, 1], columns[:, 2])
