"""The layers behind a recipe's augmentations. All take and give float32 images `(batch, height, width, 3)`, 0–255."""

import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import keras
from keras import layers, ops

from transferkit.model.warp import RandomCropResize, RandomElastic
from transferkit.recipe import augment as spec
from transferkit.recipe.spec import Choice

_HALF_TURN_DEGREES = 180.0
# More draws than any layer makes in one step, so that no two steps share any.
_DRAWS_PER_STEP = 256


def _flip(flip: spec.Flip, seed: int) -> layers.Layer:
    mode = "horizontal_and_vertical" if flip.direction == "both" else flip.direction
    return layers.RandomFlip(mode, seed=seed)


def _saturation_range(amount: float) -> tuple[float, float]:
    """Keras' factor f scales colour by f / (1 − f); this is its range for scales 1 − amount … 1 + amount."""
    return (1 - amount) / (2 - amount), (1 + amount) / (2 + amount)


def _color_jitter(jitter: spec.ColorJitter, seed: int) -> layers.Layer:
    return layers.RandomColorJitter(
        brightness_factor=jitter.brightness or None,
        contrast_factor=jitter.contrast or None,
        saturation_factor=_saturation_range(jitter.saturation) if jitter.saturation else None,
        hue_factor=jitter.hue_degrees / _HALF_TURN_DEGREES or None,
        seed=seed,
    )


def _blur(blur: spec.Blur, seed: int) -> layers.Layer:
    kernel_px = 2 * math.ceil(2 * blur.max_sigma_px) + 1  # two sigmas either side
    return layers.RandomGaussianBlur(
        blur.probability, kernel_size=kernel_px, sigma=blur.max_sigma_px, seed=seed
    )


AUGMENTATIONS: Final[Mapping[str, Callable[[Any, int], layers.Layer]]] = {
    "flip": _flip,
    "rotate": lambda given, seed: layers.RandomRotation(given.degrees / 360, seed=seed),
    "translate": lambda given, seed: layers.RandomTranslation(given.amount, given.amount, seed=seed),
    "zoom": lambda given, seed: layers.RandomZoom(given.amount, seed=seed),
    "crop_resize": lambda given, seed: RandomCropResize(given.min_area, given.max_aspect, seed=seed),
    "brightness": lambda given, seed: layers.RandomBrightness(given.amount, seed=seed),
    "contrast": lambda given, seed: layers.RandomContrast(given.amount, seed=seed),
    "saturation": lambda given, seed: layers.RandomSaturation(_saturation_range(given.amount), seed=seed),
    "hue": lambda given, seed: layers.RandomHue(given.degrees / _HALF_TURN_DEGREES, seed=seed),
    "color_jitter": _color_jitter,
    "noise": lambda given, seed: layers.GaussianNoise(given.levels, seed=seed),
    "blur": _blur,
    "elastic": lambda given, seed: RandomElastic(given.strength_px, given.smoothness_px, seed=seed),
    "shear": lambda given, seed: layers.RandomShear(*[math.tan(math.radians(given.degrees))] * 2, seed=seed),
    "perspective": lambda given, seed: layers.RandomPerspective(given.probability, scale=given.amount, seed=seed),
    "erase": lambda given, seed: layers.RandomErasing(
        given.probability, scale=(0.02 * given.max_area, given.max_area), fill_value=127.0, seed=seed
    ),
    "rand_augment": lambda given, seed: layers.RandAugment(num_ops=given.operations, factor=given.strength, seed=seed),
    "mixup": lambda given, seed: layers.MixUp(given.alpha, seed=seed),
    "cutmix": lambda given, seed: layers.CutMix((given.alpha, given.alpha), seed=seed),
}
_MIXES_LABELS = (layers.MixUp, layers.CutMix)


def build_augmentations(specs: Iterable[Choice], *, seed: int) -> tuple[layers.Layer, ...]:
    """One layer for each of a recipe's augmentations, in its order."""
    return tuple(AUGMENTATIONS[given.kind](given, seed + index) for index, given in enumerate(specs))


def augment_batch(augmentations: Sequence[layers.Layer], images: Any, labels: Any) -> tuple[Any, Any]:
    """Change images at random, and labels with them where images are mixed.

    Args:
        images: `(batch, height, width, 3)` float32, 0–255; so is the result.
        labels: `(batch, num_classes)` float32, one-hot.
    """
    for layer in augmentations:
        if isinstance(layer, _MIXES_LABELS):
            mixed = layer({"images": images, "labels": labels}, training=True)
            images, labels = mixed["images"], mixed["labels"]
        else:
            images = layer(images, training=True)
    return (ops.clip(images, 0.0, 255.0) if augmentations else images), labels


def random_states(owners: Iterable[layers.Layer]) -> tuple[Any, ...]:
    """The state of every random generator in `owners`, in a fixed order."""
    return tuple(
        variable for owner in owners for variable in owner.variables if variable.path.endswith("seed_generator_state")
    )


def set_random_states(states: Sequence[Any], *, seed: int, stream: str, step: Any) -> None:
    """Make all draws of one step a function of (seed, stream, step) alone.

    Args:
        states: as from `random_states`; each becomes a stream of its own.
        stream: what the draws are for, such as a phase's name and number.
        step: optimizer step, a Python or a tensor integer.
    """
    for index, state in enumerate(states):
        own = zlib.crc32(f"{seed}/{stream}/{index}".encode())
        counter = ops.cast(step, "uint32") * _DRAWS_PER_STEP
        state.assign(ops.stack([ops.cast(own, "uint32"), counter]))


def preview(augmentations: Sequence[layers.Layer], images: Any, *, draws: int, seed: int) -> Any:
    """Each image and `draws` random versions of it: `(num_images, 1 + draws, height, width, 3)` float32."""
    images = ops.cast(images, "float32")
    labels = ops.zeros((len(images), 2))
    columns = [images]
    for draw in range(draws):
        set_random_states(random_states(augmentations), seed=seed, stream="preview", step=draw)
        columns.append(augment_batch(augmentations, images, labels)[0])
    return keras.ops.convert_to_numpy(ops.stack(columns, axis=1))
