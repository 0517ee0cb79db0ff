import keras
import numpy as np
import pytest

from transferkit.model.rand_augment import _OPERATIONS, RandomOperations
from transferkit.recipe import augment as spec

pytestmark = pytest.mark.model

SIDE = 32


def operate(name, images, strength=1.0, signs=(1, -1)):
    """One operation, forwards and backwards: two of each image."""
    layer = RandomOperations(1, strength, seed=0)
    images = np.repeat(np.asarray(images, np.float32)[None], len(signs), axis=0)
    drawn = np.full(len(signs), _OPERATIONS.index(name), np.int32)
    signed = keras.ops.convert_to_tensor(strength * np.array(signs), "float32")
    return np.asarray(layer._operate(keras.ops.convert_to_tensor(images), keras.ops.convert_to_tensor(drawn), signed))


@pytest.fixture
def ramp():
    """Coordinates as colours: 100 + row, 100 + column."""
    row, column = np.mgrid[:SIDE, :SIDE]
    return np.stack([100.0 + row, 100.0 + column, np.full((SIDE, SIDE), 80.0)], axis=-1)


@pytest.fixture
def noise():
    """Every value from 0 to 255."""
    values = np.arange(SIDE * SIDE * 3) % 256
    return np.random.default_rng(0).permutation(values).reshape(SIDE, SIDE, 3).astype(float)


def origin(image):
    """Offsets from the centre, `(row, column)`, that the pixel ten below and the one ten right of it came from."""
    at, middle = SIDE // 2 - 1, (SIDE - 1) / 2
    places = ((at, at), (at + 10, at), (at, at + 10))
    here, below, right = (image[row, column, :2] - 100 - middle for row, column in places)
    return (below - here) / 10, (right - here) / 10, here + (middle - at)


def test_identity_changes_nothing(noise):
    np.testing.assert_array_equal(operate("identity", noise)[0], noise)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_rotate_turns_by_up_to_30_degrees(strength, ramp):
    for image, sign in zip(operate("rotate", ramp, strength), (1, -1), strict=True):
        _, right, centre = origin(image)

        assert np.degrees(np.arctan2(*right)) == pytest.approx(sign * 30 * strength, abs=0.1)
        assert abs(centre).max() < 0.5


@pytest.mark.parametrize(("name", "axis"), [("shear_x", 0), ("shear_y", 1)])
def test_shear_slants_by_up_to_three_tenths(name, axis, ramp):
    for image, sign in zip(operate(name, ramp, 0.5), (1, -1), strict=True):
        below, right, _ = origin(image)

        wanted = np.array([[1, 0.15 * sign], [0, 1]]) if axis == 0 else np.array([[1, 0], [0.15 * sign, 1]])
        np.testing.assert_allclose([below, right], wanted, atol=1e-3)


@pytest.mark.parametrize(("name", "axis"), [("translate_y", 0), ("translate_x", 1)])
def test_translate_shifts_by_up_to_150_of_331_of_the_side(name, axis, ramp):
    for image, sign in zip(operate(name, ramp, 0.5), (1, -1), strict=True):
        _, _, centre = origin(image)

        assert centre[axis] == pytest.approx(sign * 0.5 * SIDE * 150 / 331, abs=0.01)
        assert abs(centre[1 - axis]) < 0.01


def test_brightness_scales_by_up_to_nine_tenths(noise):
    brighter, darker = operate("brightness", noise, 0.5)

    np.testing.assert_allclose(brighter, np.minimum(noise * 1.45, 255), rtol=1e-5)
    np.testing.assert_allclose(darker, noise * 0.55, rtol=1e-5)


def test_contrast_scales_the_distance_from_the_mean_grey(ramp):
    stronger, weaker = operate("contrast", ramp, 0.5)

    grey = (ramp @ [0.299, 0.587, 0.114]).mean()
    np.testing.assert_allclose(stronger, grey + (ramp - grey) * 1.45, rtol=1e-4)
    np.testing.assert_allclose(weaker, grey + (ramp - grey) * 0.55, rtol=1e-4)


def test_saturation_scales_the_distance_from_grey(ramp):
    stronger, weaker = operate("saturation", ramp, 0.5)

    grey = (ramp @ [0.299, 0.587, 0.114])[..., None]
    np.testing.assert_allclose(stronger, grey + (ramp - grey) * 1.45, rtol=1e-4)
    np.testing.assert_allclose(weaker, grey + (ramp - grey) * 0.55, rtol=1e-4)


def test_sharpness_raises_and_lowers_edges_and_keeps_even_parts():
    edge = np.full((SIDE, SIDE, 3), 100.0)
    edge[:, SIDE // 2 :] = 140

    sharper, softer = operate("sharpness", edge, 1.0)

    np.testing.assert_allclose([sharper[:, :10], softer[:, :10]], 100, rtol=1e-5)
    assert sharper[:, SIDE // 2].min() > 140
    assert softer[:, SIDE // 2].max() < 140


@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_solarize_inverts_what_is_brighter_than_its_threshold(strength, noise):
    solarized = operate("solarize", noise, strength)[0]

    np.testing.assert_allclose(solarized, np.where(noise >= 255 * (1 - strength), 255 - noise, noise))


@pytest.mark.parametrize(("strength", "levels"), [(0.1, 256), (0.3, 128), (0.5, 64), (1.0, 16)])
def test_posterize_leaves_fewer_levels_the_stronger_it_is(strength, levels, noise):
    posterized = operate("posterize", noise, strength)[0]

    assert len(np.unique(posterized)) == levels
    assert (noise - posterized).min() >= 0
    assert (noise - posterized).max() < 256 / levels


def test_auto_contrast_stretches_each_channel_and_leaves_an_even_one(ramp):
    stretched = operate("auto_contrast", ramp)[0]

    np.testing.assert_allclose(stretched[..., :2].min((0, 1)), 0)
    np.testing.assert_allclose(stretched[..., :2].max((0, 1)), 255, rtol=1e-5)
    np.testing.assert_array_equal(stretched[..., 2], 80)


def test_every_operation_is_drawn_about_equally(augment, monkeypatch):
    """What each image gets is read from the names of the operations, which stand in for their results."""
    drawn = []
    monkeypatch.setattr(
        RandomOperations, "_operate", lambda self, images, which, signed: (drawn.append((which, signed)), images)[1]
    )

    augment(spec.RandAugment(operations=2, strength=0.4), np.zeros((2000, 2, 2, 3)))

    assert len(drawn) == 2
    for which, signed in drawn:
        counts = np.bincount(np.asarray(which), minlength=len(_OPERATIONS))
        expected = 2000 / len(_OPERATIONS)
        assert abs(counts - expected).max() < 4 * expected**0.5
        assert set(np.unique(signed)) == {np.float32(-0.4), np.float32(0.4)}
        assert abs((np.asarray(signed) > 0).mean() - 0.5) < 4 * 0.5 / 2000**0.5
    first, second = (np.asarray(which) for which, _ in drawn)
    assert (first == second).mean() < 0.2


def test_weaker_changes_less(augment, noise):
    images = np.repeat(noise[None], 200, axis=0)

    changes = [
        np.abs(augment(spec.RandAugment(operations=2, strength=strength), images)[0] - images).mean()
        for strength in (0.05, 0.3, 1.0)
    ]

    assert changes[0] < 0.6 * changes[1] < 0.6 * changes[2]
