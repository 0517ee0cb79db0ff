import numpy as np
import pytest

from transferkit.recipe import augment as spec

pytestmark = pytest.mark.model

MANY = 200


def flat(colour, count=MANY, size_px=8):
    return np.tile(np.full((size_px, size_px, 3), colour, np.float32), (count, 1, 1, 1))


def luma(images):
    return images @ [0.299, 0.587, 0.114]


def chroma(images):
    return images.max(axis=-1) - images.min(axis=-1)


def hue_degrees(images):
    red, green, blue = np.moveaxis(images.astype(float), -1, 0)
    return np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue))


def stripes(low=100.0, high=140.0):
    picture = np.full((8, 8, 3), low, np.float32)
    picture[::2] = high
    return np.tile(picture, (MANY, 1, 1, 1))


def test_brightness_adds_a_share_of_255(augment, assert_spread):
    changed, _ = augment(spec.Brightness(amount=0.2), flat([100, 128, 150]))

    added = changed - flat([100, 128, 150])
    assert_spread(added[:, 0, 0, 0] / 255, -0.2, 0.2)
    assert np.ptp(added, axis=(1, 2, 3)).max() < 1e-3


def test_contrast_scales_the_distance_from_the_mean_both_ways(augment, assert_spread):
    changed, _ = augment(spec.Contrast(amount=0.4), stripes())

    assert_spread(np.ptp(changed, axis=(1, 2, 3)) / 40, 0.6, 1.4)
    np.testing.assert_allclose(changed.mean(axis=(1, 2, 3)), 120, rtol=1e-4)


@pytest.mark.parametrize("amount", [0.5, 1.0])
def test_saturation_scales_the_colour_and_keeps_the_brightness(amount, augment, assert_spread):
    colour = [130, 110, 100]

    changed, _ = augment(spec.Saturation(amount=amount), flat(colour))

    assert_spread(chroma(changed)[:, 0, 0] / 30, 1 - amount, 1 + amount)
    np.testing.assert_allclose(luma(changed), luma(np.array(colour)), rtol=1e-4)


def test_hue_turns_the_colour_wheel_by_degrees(augment):
    changed, _ = augment(spec.Hue(degrees=40.0), flat([150, 100, 100]))

    # The hue of a colour's hexagon and of its circle differ by up to a degree or so.
    turned = hue_degrees(changed)[:, 0, 0]
    assert -42 < turned.min() < -33
    assert 33 < turned.max() < 42
    np.testing.assert_allclose(chroma(changed), 50, rtol=1e-3)


COLOUR_PARTS = {
    "brightness": (spec.ColorJitter(brightness=0.3, contrast=0.0, saturation=0.0, hue_degrees=0.0), "brightness"),
    "contrast": (spec.ColorJitter(brightness=0.0, contrast=0.3, saturation=0.0, hue_degrees=0.0), "contrast"),
    "saturation": (spec.ColorJitter(brightness=0.0, contrast=0.0, saturation=0.3, hue_degrees=0.0), "saturation"),
    "hue": (spec.ColorJitter(brightness=0.0, contrast=0.0, saturation=0.0, hue_degrees=30.0), "hue"),
    "none": (spec.ColorJitter(brightness=0.0, contrast=0.0, saturation=0.0, hue_degrees=0.0), "none"),
}


@pytest.mark.parametrize("part", COLOUR_PARTS)
def test_color_jitter_does_what_its_parts_say_and_no_more(part, augment):
    images = stripes() + flat([20, 0, 0])

    changed, _ = augment(COLOUR_PARTS[part][0], images)

    measures = {
        "brightness": np.ptp(changed.mean(axis=(1, 2)).mean(axis=1)) / 255,
        "contrast": np.ptp(np.ptp(changed[..., 1], axis=(1, 2))) / 40,
        "saturation": np.ptp(chroma(changed).mean(axis=(1, 2))) / 20,
        "hue": np.ptp(hue_degrees(changed).mean(axis=(1, 2))),
    }
    wanted = {"brightness": 0.6, "contrast": 0.6, "saturation": 0.6, "hue": 60.0}
    for name, value in measures.items():
        if name == part:
            assert 0.85 * wanted[name] < value < 1.05 * wanted[name]
        elif (part, name) != ("saturation", "brightness") and (part, name) != ("hue", "brightness"):
            # The plain mean of red, green and blue is not the brightness that saturation and hue keep.
            assert value < 0.02 * wanted[name], name


def test_noise_has_a_deviation_in_grey_levels(augment):
    changed, _ = augment(spec.Noise(levels=12.0), flat(128.0, size_px=16))

    noise = changed - 128
    assert abs(noise.std() - 12) < 0.2
    assert abs(noise.mean()) < 0.2
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.05  # each colour on its own


@pytest.mark.parametrize("max_sigma_px", [0.8, 3.0])
def test_blur_has_a_sigma_in_pixels_alike_along_both_axes(max_sigma_px, augment, assert_spread):
    side = 33
    point = np.zeros((side, side, 3), np.float32)
    point[side // 2, side // 2] = 255.0

    changed, _ = augment(spec.Blur(max_sigma_px=max_sigma_px, probability=1.0), np.tile(point, (MANY, 1, 1, 1)))

    share = changed[..., 0] / 255
    np.testing.assert_allclose(share.sum(axis=(1, 2)), 1, rtol=1e-3)  # nothing is lost
    distance = (np.arange(side) - side // 2) ** 2
    down, across = ((share * part).sum(axis=(1, 2)) ** 0.5 for part in (distance[:, None], distance[None, :]))
    np.testing.assert_allclose(down, across, atol=1e-3)
    # A Gaussian on whole pixels is a little narrower where its sigma is below half a pixel.
    assert_spread(down, 0, max_sigma_px)


def test_blur_keeps_an_even_picture_even_up_to_its_edges(augment):
    changed, _ = augment(spec.Blur(max_sigma_px=20.0, probability=1.0), flat(200.0, count=8))

    np.testing.assert_allclose(changed, 200, rtol=1e-5)


@pytest.mark.parametrize("max_area", [0.05, 0.4])
def test_erase_fills_one_rectangle_of_a_limited_area_with_grey(max_area, augment):
    side = 64
    changed, _ = augment(spec.Erase(max_area=max_area, probability=1.0), flat(200.0, size_px=side))

    erased = (changed == 127).all(axis=-1)
    assert set(np.unique(changed)) == {127.0, 200.0}
    height, width = erased.any(axis=2).sum(axis=1), erased.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(erased.sum(axis=(1, 2)), height * width)
    share = height * width / side**2
    assert 0 < share.min() < 0.3 * max_area
    # Each side is rounded to whole pixels.
    assert 0.7 * max_area < share.max() <= (max_area**0.5 + 1 / side) ** 2
    # It can lie anywhere, next to the edges too.
    for along in (erased.any(axis=(0, 1)), erased.any(axis=(0, 2))):
        assert along[2:].all()
