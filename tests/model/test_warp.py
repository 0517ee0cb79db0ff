import numpy as np
import pytest

from transferkit.recipe import augment as spec

pytestmark = pytest.mark.model

# Where pixels go: a picture whose colours are their own coordinates tells where each came from

MANY, RAMP_PX = 200, 64
_START, _STEP = 60.0, 2.0


@pytest.fixture(scope="module")
def ramp():
    row, column = np.mgrid[:RAMP_PX, :RAMP_PX]
    picture = np.stack([_START + _STEP * row, _START + _STEP * column, np.full_like(row, 90.0, dtype=float)], axis=-1)
    return np.tile(picture.astype(np.float32), (MANY, 1, 1, 1))


def origins(images):
    """Row and column that each pixel came from: two `(batch, height, width)` arrays."""
    return (images[..., 0] - _START) / _STEP, (images[..., 1] - _START) / _STEP


def slopes(images):
    """How the origin changes per pixel in the middle: d(row, column) / d(row, column), four arrays `(batch,)`."""
    rows, columns = origins(images)
    middle, reach = RAMP_PX // 2, 6
    return (
        (rows[:, middle + reach, middle] - rows[:, middle - reach, middle]) / (2 * reach),
        (rows[:, middle, middle + reach] - rows[:, middle, middle - reach]) / (2 * reach),
        (columns[:, middle + reach, middle] - columns[:, middle - reach, middle]) / (2 * reach),
        (columns[:, middle, middle + reach] - columns[:, middle, middle - reach]) / (2 * reach),
    )


def centre(images):
    """Where the centre came from, as an offset from it, in pixels: two arrays `(batch,)`."""
    middle = slice(RAMP_PX // 2 - 1, RAMP_PX // 2 + 1)
    return tuple(part[:, middle, middle].mean(axis=(1, 2)) - (RAMP_PX - 1) / 2 for part in origins(images))


@pytest.mark.parametrize(
    ("direction", "kinds"),
    [
        ("horizontal", {(1, 1), (1, -1)}),
        ("vertical", {(1, 1), (-1, 1)}),
        ("both", {(1, 1), (1, -1), (-1, 1), (-1, -1)}),
    ],
)
def test_flip_mirrors_about_half_of_the_images_along_each_axis(direction, kinds, ramp, augment):
    changed, _ = augment(spec.Flip(direction=direction), ramp)

    down, _, _, across = slopes(changed)
    found = list(zip(down.round(), across.round(), strict=True))
    assert set(found) == kinds
    for kind in kinds:
        # Four deviations of a binomial share.
        assert abs(found.count(kind) / MANY - 1 / len(kinds)) < 4 * 0.5 / MANY**0.5


def test_rotate_turns_by_degrees_about_the_centre(ramp, augment, assert_spread):
    changed, _ = augment(spec.Rotate(degrees=30.0), ramp)

    down, row_across, column_down, across = slopes(changed)
    assert_spread(np.degrees(np.arctan2(row_across, across)), -30, 30)
    np.testing.assert_allclose(np.hypot(row_across, across), 1, atol=0.01)
    np.testing.assert_allclose(column_down, -row_across, atol=0.01)
    assert np.abs(centre(changed)).max() < 0.05


def test_translate_shifts_by_a_share_of_the_side(ramp, augment, assert_spread):
    changed, _ = augment(spec.Translate(amount=0.25), ramp)

    for offset in centre(changed):
        assert_spread(offset, -0.25 * RAMP_PX, 0.25 * RAMP_PX)


def test_zoom_scales_both_axes_alike_in_and_out(ramp, augment, assert_spread):
    changed, _ = augment(spec.Zoom(amount=0.3), ramp)

    down, _, _, across = slopes(changed)
    assert_spread(down, 0.7, 1.3)
    np.testing.assert_allclose(down, across, atol=0.01)
    assert np.abs(centre(changed)).max() < 0.05


@pytest.mark.parametrize(("min_area", "max_aspect"), [(0.3, 4 / 3), (0.9, 4 / 3), (0.5, 1.0)])
def test_crop_resize_keeps_its_area_and_aspect_and_stays_inside(min_area, max_aspect, ramp, augment, assert_spread):
    changed, _ = augment(spec.CropResize(min_area=min_area, max_aspect=max_aspect), ramp)

    tall, _, _, wide = slopes(changed)
    assert_spread(tall * wide, min_area, 1.0)
    largest = min(max_aspect, 1 / min_area)  # a part with a large area cannot be much longer than wide
    np.testing.assert_array_less(np.maximum(tall / wide, wide / tall), largest * 1.01)
    for offset, length in zip(centre(changed), (tall, wide), strict=True):
        room = (1 - length) * RAMP_PX / 2
        assert (np.abs(offset) <= room + 0.05).all()
        assert (np.abs(offset) > 0.5 * room).mean() > 0.3


def test_crop_resize_reaches_its_aspect(ramp, augment):
    changed, _ = augment(spec.CropResize(min_area=0.3, max_aspect=2.0), ramp)

    tall, _, _, wide = slopes(changed)
    assert (tall / wide).max() > 1.7
    assert (tall / wide).min() < 1 / 1.7


def test_shear_slants_each_axis_by_degrees_about_the_centre(ramp, augment, assert_spread):
    changed, _ = augment(spec.Shear(degrees=20.0), ramp)

    down, row_across, column_down, across = slopes(changed)
    assert_spread(np.degrees(np.arctan(column_down)), -20, 20)
    assert_spread(np.degrees(np.arctan(row_across)), -20, 20)
    assert abs(np.corrcoef(column_down, row_across)[0, 1]) < 0.3  # each axis on its own
    np.testing.assert_allclose([down, across], 1, atol=0.01)
    assert np.abs(centre(changed)).max() < 0.05


def test_perspective_moves_every_corner_within_its_share_of_the_side(ramp, augment, assert_spread):
    amount = 0.2
    changed, _ = augment(spec.Perspective(amount=amount), ramp)

    last = RAMP_PX - 1
    for row in (0, last):
        for column in (0, last):
            for found, at in zip(origins(changed), (row, column), strict=True):
                # What lies outside is mirrored, so distances show without their sign.
                assert_spread(np.abs(found[:, row, column] - at) / last, 0, amount)


def test_perspective_keeps_lines_straight_and_goes_nearer_and_farther(ramp, augment):
    changed, _ = augment(spec.Perspective(amount=0.2), ramp)

    rows, columns = origins(changed)
    along = [np.stack([rows[:, 32, at], columns[:, 32, at]]) for at in (20, 32, 44)]
    (first_row, first_column), (second_row, second_column) = along[1] - along[0], along[2] - along[1]
    turn = first_row * second_column - first_column * second_row
    np.testing.assert_allclose(turn / np.hypot(first_row, first_column) ** 2, 0, atol=0.02)
    down, _, _, across = slopes(changed)
    assert (down * across).min() < 0.85
    assert (down * across).max() > 1.15


@pytest.mark.parametrize(
    "given",
    [
        spec.Perspective(amount=0.2, probability=0.3),
        spec.Erase(probability=0.3),
        spec.Blur(max_sigma_px=2.0, probability=0.3),
    ],
    ids=lambda given: given.kind,
)
def test_probability_is_the_share_of_images_that_change(given, ramp, augment):
    noisy = ramp + np.random.default_rng(0).normal(0, 20, ramp.shape).astype(np.float32).clip(-60, 60)

    changed, _ = augment(given, noisy)

    share = (np.abs(changed - noisy).max(axis=(1, 2, 3)) > 0).mean()
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / MANY) ** 0.5


def test_elastic_displaces_by_its_strength_in_every_direction(ramp, augment):
    changed, _ = augment(spec.Elastic(strength_px=3.0, smoothness_px=16.0), ramp)

    inside = slice(12, -12)  # what comes from outside is mirrored
    row, column = np.mgrid[:RAMP_PX, :RAMP_PX]
    down, across = ((found - at)[:, inside, inside] for found, at in zip(origins(changed), (row, column), strict=True))
    # The deviation is 3 px at the control points, and less in between.
    for moved in (down, across):
        assert 1.8 < moved.std() < 3.2
        assert abs(moved.mean()) < 0.3
    assert abs(np.corrcoef(down.ravel(), across.ravel())[0, 1]) < 0.2


def test_elastic_is_as_smooth_as_told(ramp, augment):
    def roughness(smoothness_px):
        changed, _ = augment(spec.Elastic(strength_px=2.0, smoothness_px=smoothness_px), ramp)
        return np.abs(np.diff(origins(changed)[0][:, 12:-12, 12:-12], axis=2)).mean()

    assert roughness(4.0) > 1.5 * roughness(8.0) > 2 * roughness(16.0)
