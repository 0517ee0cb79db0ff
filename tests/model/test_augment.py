import keras
import numpy as np
import pytest
import tensorflow as tf

from transferkit.model.augment import AUGMENTATIONS, augment_batch, build_augmentations, preview
from transferkit.model.draws import Draws
from transferkit.recipe import augment as spec

pytestmark = pytest.mark.model

EXAMPLES = {
    "random_crop": spec.RandomCrop(margin=0.2),
    "flip": spec.Flip(direction="both"),
    "rotate": spec.Rotate(degrees=20.0),
    "translate": spec.Translate(amount=0.2),
    "zoom": spec.Zoom(amount=0.2),
    "crop_resize": spec.CropResize(min_area=0.4),
    "brightness": spec.Brightness(amount=0.2),
    "contrast": spec.Contrast(amount=0.3),
    "saturation": spec.Saturation(amount=0.5),
    "hue": spec.Hue(degrees=30.0),
    "color_jitter": spec.ColorJitter(),
    "noise": spec.Noise(levels=12.0),
    "blur": spec.Blur(max_sigma_px=2.5, probability=0.9),
    "elastic": spec.Elastic(strength_px=2.0),
    "shear": spec.Shear(degrees=15.0),
    "perspective": spec.Perspective(amount=0.2),
    "erase": spec.Erase(probability=0.9),
    "rand_augment": spec.RandAugment(strength=0.8),
    "mixup": spec.MixUp(alpha=1.0),
    "cutmix": spec.CutMix(alpha=1.0),
}
KINDS = list(EXAMPLES)
MIXING = ("mixup", "cutmix")
SINGLE = [kind for kind in KINDS if kind not in MIXING]
COUNT, SIZE_PX, NUM_CLASSES = 6, 24, 3


@pytest.fixture(scope="module")
def images():
    """Smooth coloured pictures, all different, with dark and bright parts."""
    draw = np.random.default_rng(0).uniform(0, 255, (COUNT, 6, 6, 3))
    return np.asarray(keras.ops.image.resize(draw, (SIZE_PX, SIZE_PX), interpolation="bilinear"), np.float32)


@pytest.fixture(scope="module")
def labels():
    return np.eye(NUM_CLASSES, dtype=np.float32)[np.arange(COUNT) % NUM_CLASSES]


# Every row


def test_every_augmentation_of_a_recipe_has_a_layer_and_an_example():
    kinds = {one.model_fields["kind"].default for one in spec.AUGMENTATION_SPECS}

    assert set(AUGMENTATIONS) == kinds == set(EXAMPLES)


@pytest.mark.parametrize("kind", KINDS)
def test_augmentation_gives_changed_float32_images_of_0_to_255(kind, images, labels, augment):
    changed, mixed = augment(EXAMPLES[kind], images, labels)

    size_px = 20 if kind == "random_crop" else SIZE_PX
    assert changed.shape == (COUNT, size_px, size_px, 3)
    assert mixed.shape == labels.shape
    assert changed.dtype == mixed.dtype == np.float32
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert not np.array_equal(changed, images[:, :size_px, :size_px])


@pytest.mark.parametrize("kind", SINGLE)
def test_augmentation_leaves_labels_alone(kind, images, labels, augment):
    np.testing.assert_array_equal(augment(EXAMPLES[kind], images, labels)[1], labels)


@pytest.mark.parametrize("kind", SINGLE)
def test_augmentation_draws_for_each_image_on_its_own(kind, images, augment):
    changed, _ = augment(EXAMPLES[kind], np.tile(images[:1], (16, 1, 1, 1)))

    assert len(np.unique(changed.round(3), axis=0)) >= 4


@pytest.mark.parametrize("kind", KINDS)
def test_augmentation_is_a_function_of_seed_stream_and_step(kind, images, labels, augment):
    first, _ = augment(EXAMPLES[kind], images, labels, seed=4, stream="phase 1", step=7)

    again, _ = augment(EXAMPLES[kind], images, labels, seed=4, stream="phase 1", step=7)
    others = [
        augment(EXAMPLES[kind], images, labels, **changed)[0]
        for changed in (
            {"seed": 5, "stream": "phase 1", "step": 7},
            {"seed": 4, "stream": "phase 2", "step": 7},
            {"seed": 4, "stream": "phase 1", "step": 8},
        )
    ]

    np.testing.assert_array_equal(first, again)
    for other in others:
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("kind", KINDS)
def test_augmentation_runs_in_a_graph_of_any_batch_size(kind, images, labels, augment):
    augmentations = build_augmentations([EXAMPLES[kind]], seed=0)
    draws = Draws(augmentations, seed=0, stream="test")
    any_batch = tf.TensorSpec((None, SIZE_PX, SIZE_PX, 3)), tf.TensorSpec((None, 3)), tf.TensorSpec((), "int64")

    @tf.function(input_signature=any_batch)
    def run(images, labels, step):
        with draws.at(step):
            return augment_batch(augmentations, images, labels)

    whole = run(images, labels, 3)[0]
    smaller = [run(images[:count], labels[:count], 3)[0] for count in (4, 1)]

    # A graph may order sums in another way.
    np.testing.assert_allclose(whole, augment(EXAMPLES[kind], images, labels, step=3)[0], atol=0.05)
    assert [one.shape[0] for one in smaller] == [4, 1]
    assert not np.array_equal(whole, run(images, labels, 4)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_augmentation_computes_in_float32_under_any_policy(kind, images, labels, augment):
    wanted, _ = augment(EXAMPLES[kind], images, labels)

    keras.config.set_dtype_policy("mixed_float16")
    try:
        found, _ = augment(EXAMPLES[kind], images, labels)
    finally:
        keras.config.set_dtype_policy("float32")

    np.testing.assert_array_equal(found, wanted)


def seeds_drawn(augmentations, images, labels, step) -> list[tuple[int, int]]:
    """The seeds that all layers ask for in a step."""
    draws, seeds = Draws(augmentations, seed=0, stream="test"), []
    with draws.at(step), pytest.MonkeyPatch.context() as patch:
        for generator in draws.generators:
            patch.setattr(generator, "next", recording(generator.next, seeds))
        augment_batch(augmentations, keras.ops.convert_to_tensor(images), keras.ops.convert_to_tensor(labels))
    return seeds


def recording(following, seeds):
    def record(ordered=True):
        seed = following()
        seeds.append(tuple(np.asarray(seed).tolist()))
        return seed

    return record


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_steps_share_a_draw(kind, images, labels):
    augmentations = build_augmentations([EXAMPLES[kind]], seed=0)

    drawn = [seeds_drawn(augmentations, images, labels, step) for step in (0, 1)]

    assert len(set(drawn[0])) == len(drawn[0]) > 0
    assert not set(drawn[0]) & set(drawn[1])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "random_crop"])
def test_augmentation_keeps_the_shape_of_images_that_are_not_square(kind, augment):
    images = np.random.default_rng(1).uniform(0, 255, (4, 16, 28, 3)).astype(np.float32)

    assert augment(EXAMPLES[kind], images)[0].shape == images.shape


def test_augmentations_act_in_the_order_of_the_recipe(images, augment):
    erase, noise = spec.Erase(max_area=0.5, probability=1.0), EXAMPLES["noise"]

    erased_last, _ = augment([noise, erase], images)
    noisy_last, _ = augment([erase, noise], images)

    def grey_share(images):
        return (images == 127).all(axis=-1).mean()

    assert grey_share(erased_last) > 0.05
    assert grey_share(noisy_last) == 0


def test_next_augmentation_gets_images_of_0_to_255(augment):
    """Noise alone reaches far beyond, and contrast would bring that back in."""
    images = np.full((4, 16, 16, 3), 250.0, np.float32)

    changed, _ = augment([spec.Noise(levels=100.0), spec.Blur(max_sigma_px=50.0, probability=1.0)], images)

    # The mean of values that were cut off at 255 is well below 250.
    assert np.median(changed) < 235


def test_no_augmentations_change_nothing(images, labels, augment):
    changed, mixed = augment([], images, labels)

    np.testing.assert_array_equal(changed, images)
    np.testing.assert_array_equal(mixed, labels)


# Preview


def test_preview_shows_the_picture_itself_and_then_its_draws(images):
    augmentations = build_augmentations([EXAMPLES["rotate"], EXAMPLES["brightness"]], seed=0)

    columns = preview(augmentations, images.round().astype(np.uint8), draws=2, seed=3)

    assert columns.shape == (COUNT, 3, SIZE_PX, SIZE_PX, 3)
    assert columns.dtype == np.float32
    np.testing.assert_array_equal(columns[:, 0], images.round())
    assert not np.array_equal(columns[:, 1], columns[:, 0])
    assert not np.array_equal(columns[:, 2], columns[:, 1])


def test_preview_is_the_same_for_the_same_seed(images):
    augmentations = build_augmentations([EXAMPLES["elastic"], EXAMPLES["mixup"]], seed=0)

    first, again, other = (preview(augmentations, images, draws=1, seed=seed) for seed in (3, 3, 4))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_preview_without_draws_is_the_pictures_alone(images):
    np.testing.assert_array_equal(preview((), images, draws=0, seed=0)[:, 0], images)
