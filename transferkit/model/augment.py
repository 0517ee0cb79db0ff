"""The layers behind a recipe's augmentations. All take and give float32 images `(batch, height, width, 3)`, 0–255."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from keras import layers, ops

from transferkit.data.middle import middle_of
from transferkit.model.colour import RandomBlur, RandomNoise, RandomSaturation
from transferkit.model.cutmix import CutMix
from transferkit.model.draws import Draws
from transferkit.model.rand_augment import RandomOperations
from transferkit.model.random_crop import RandomCrop
from transferkit.model.random_layer import InTurn
from transferkit.model.warp import RandomCropResize, RandomElastic, RandomPerspective, RandomShear
from transferkit.recipe import augment as spec
from transferkit.recipe.spec import Choice

_HALF_TURN_DEGREES = 180.0
_GREY = 127.0
# Keras' layers would follow the global policy and compute pixels in float16.
_FLOAT32: Final = {"dtype": "float32"}


def _flip(flip: spec.Flip, seed: int) -> layers.Layer:
    if flip.direction != "both":
        return layers.RandomFlip(flip.direction, seed=seed, **_FLOAT32)
    # RandomFlip("horizontal_and_vertical") draws once for both: it turns images by 180 degrees or not at all.
    return InTurn([layers.RandomFlip(one, seed=seed, **_FLOAT32) for one in ("horizontal", "vertical")])


def _contrast(amount: float, seed: int) -> layers.Layer:
    # A single number would mean 1 … 1 + amount.
    return layers.RandomContrast((amount, amount), seed=seed, **_FLOAT32)


def _hue(degrees: float, seed: int) -> layers.Layer:
    return layers.RandomHue(degrees / _HALF_TURN_DEGREES, seed=seed, **_FLOAT32)


def _color_jitter(jitter: spec.ColorJitter, seed: int) -> layers.Layer:
    parts = [layers.RandomBrightness(jitter.brightness, seed=seed, **_FLOAT32)]
    if jitter.contrast:
        parts.append(_contrast(jitter.contrast, seed))
    if jitter.saturation:
        parts.append(RandomSaturation(jitter.saturation, seed=seed))
    if jitter.hue_degrees:
        parts.append(_hue(jitter.hue_degrees, seed))
    return InTurn(parts)


def _erase(erase: spec.Erase, seed: int) -> layers.Layer:
    # A single probability would be drawn from 0 to it, and so act half as often.
    always = (erase.probability, erase.probability)
    return layers.RandomErasing(
        always, scale=(0.02 * erase.max_area, erase.max_area), fill_value=_GREY, seed=seed, **_FLOAT32
    )


AUGMENTATIONS: Final[Mapping[str, Callable[[Any, int], layers.Layer]]] = {
    "random_crop": lambda given, seed: RandomCrop(given.margin, seed=seed),
    "flip": _flip,
    "rotate": lambda given, seed: layers.RandomRotation(given.degrees / 360, seed=seed, **_FLOAT32),
    "translate": lambda given, seed: layers.RandomTranslation(given.amount, given.amount, seed=seed, **_FLOAT32),
    "zoom": lambda given, seed: layers.RandomZoom(given.amount, seed=seed, **_FLOAT32),
    "crop_resize": lambda given, seed: RandomCropResize(given.min_area, given.max_aspect, seed=seed),
    "brightness": lambda given, seed: layers.RandomBrightness(given.amount, seed=seed, **_FLOAT32),
    "contrast": lambda given, seed: _contrast(given.amount, seed),
    "saturation": lambda given, seed: RandomSaturation(given.amount, seed=seed),
    "hue": lambda given, seed: _hue(given.degrees, seed),
    "color_jitter": _color_jitter,
    "noise": lambda given, seed: RandomNoise(given.levels, seed=seed),
    "blur": lambda given, seed: RandomBlur(given.max_sigma_px, given.probability, seed=seed),
    "elastic": lambda given, seed: RandomElastic(given.strength_px, given.smoothness_px, seed=seed),
    "shear": lambda given, seed: RandomShear(given.degrees, seed=seed),
    "perspective": lambda given, seed: RandomPerspective(given.amount, given.probability, seed=seed),
    "erase": _erase,
    "rand_augment": lambda given, seed: RandomOperations(given.operations, given.strength, seed=seed),
    "mixup": lambda given, seed: layers.MixUp(given.alpha, seed=seed, **_FLOAT32),
    "cutmix": lambda given, seed: CutMix(given.alpha, seed=seed),
}
_MIXES_LABELS = (layers.MixUp, CutMix)


def build_augmentations(specs: Iterable[Choice], *, seed: int) -> tuple[layers.Layer, ...]:
    """One layer for each of a recipe's augmentations, in its order."""
    return tuple(AUGMENTATIONS[given.kind](given, seed + index) for index, given in enumerate(specs))


def augment_batch(augmentations: Sequence[layers.Layer], images: Any, labels: Any) -> tuple[Any, Any]:
    """Change images at random, and labels with them where images are mixed.

    Args:
        images: `(batch, height, width, 3)` float32, 0–255; so is the result. Layers that only mix whole images take
            features of any shape as well.
        labels: `(batch, any)` float32: one-hot, and whatever else is to be mixed in the same proportions.
    """
    for layer in augmentations:
        if isinstance(layer, _MIXES_LABELS):
            shape = ops.shape(images)
            as_images = images if len(shape) == 4 else ops.reshape(images, (shape[0], 1, 1, -1))
            mixed = layer({"images": as_images, "labels": labels}, training=True)
            images, labels = ops.reshape(mixed["images"], shape), mixed["labels"]
        else:
            images = ops.clip(layer(images, training=True), 0.0, 255.0)
    return images, labels


def mixes_labels(layer: layers.Layer) -> bool:
    """Whether a layer acts on a batch's images and labels together, rather than on each image by itself."""
    return isinstance(layer, _MIXES_LABELS)


def preview(augmentations: Sequence[layers.Layer], images: Any, *, draws: int, seed: int) -> Any:
    """Each image and `draws` random versions of it: `(num_images, 1 + draws, height, width, 3)` float32.

    Of images with a margin for random crops, the first version is the middle.
    """
    images = ops.cast(images, "float32")
    labels = ops.zeros((len(images), 2))
    columns, random = [], Draws(augmentations, seed=seed, stream="preview")
    for draw in range(draws):
        with random.at(draw):
            columns.append(augment_batch(augmentations, images, labels)[0])
    columns.insert(0, middle_of(images, columns[0].shape[1]) if columns else images)
    return ops.convert_to_numpy(ops.stack(columns, axis=1))
