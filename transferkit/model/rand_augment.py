"""RandAugment: a few operations out of a fixed list, drawn anew for each image."""

import math
from typing import Any, Final

import keras
from keras import ops

from transferkit.model.colour import blend, to_grey
from transferkit.model.random_layer import RandomLayer, per_image
from transferkit.model.warp import transform_about_centre

_MOVES: Final = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
_OPERATIONS: Final = (
    *_MOVES, "identity", "brightness", "contrast", "saturation", "sharpness", "solarize", "posterize", "auto_contrast",
)  # fmt: skip
# What strength 1 means: AutoAugment's ranges, where the shift is 150 pixels of 331.
_MAX_RADIANS: Final = math.radians(30)
_MAX_SHEAR: Final = 0.3
_MAX_SHIFT: Final = 150 / 331
_MAX_BLEND: Final = 0.9
_MAX_BITS_LOST: Final = 4
# Pillow's smoothing, which sharpness goes away from.
_SMOOTH: Final = ((1, 1, 1), (1, 5, 1), (1, 1, 1))


class RandomOperations(RandomLayer):
    """RandAugment, without histogram equalisation, which has no strength to set.

    Keras' RandAugment draws one list of operations for all images of a batch, brightens and never darkens, rotates by
    108 degrees at strength 0.3, and leaves fewer grey levels the lower the strength is.

    Args:
        operations: how many, one after the other, for each image.
        strength: 0–1, the share of each operation's full range; the sign is drawn.

    Source:
        Cubuk et al. 2019, https://arxiv.org/abs/1909.13719; ranges from Cubuk et al. 2018, table 6,
        https://arxiv.org/abs/1805.09501
    """

    def __init__(self, operations: int, strength: float, *, seed: int) -> None:
        super().__init__(seed=seed)
        self.operations, self.strength = operations, strength

    def change(self, images: Any) -> Any:
        shape = (self.operations, ops.shape(images)[0])
        drawn = keras.random.randint(shape, 0, len(_OPERATIONS), seed=self.generator)
        signed = ops.where(self.draw(shape) < 0.5, -self.strength, self.strength)
        for turn in range(self.operations):
            images = self._operate(images, drawn[turn], signed[turn])
        return images

    def _operate(self, images: Any, drawn: Any, signed: Any) -> Any:
        """One operation on each image: all are computed, and each image takes its own."""
        scale, grey = 1 + per_image(signed) * _MAX_BLEND, to_grey(images)
        moved = _move(images, lambda name, full: ops.where(drawn == _OPERATIONS.index(name), signed * full, 0.0))
        results = [  # one for all moves, and then in the order of the list
            moved,
            images,
            blend(0.0, images, scale),
            blend(ops.mean(grey, axis=(1, 2), keepdims=True), images, scale),
            blend(grey, images, scale),
            blend(_smooth(images), images, scale),
            ops.where(images >= 255 * (1 - self.strength), 255 - images, images),
            _posterize(images, bits_lost=round(self.strength * _MAX_BITS_LOST)),
            _stretch(images),
        ]
        return _pick(results, ops.maximum(drawn - (len(_MOVES) - 1), 0))


def _move(images: Any, amount: Any) -> Any:
    height, width = images.shape[1:3]
    angle = amount("rotate", _MAX_RADIANS)
    sine, cosine = ops.sin(angle), ops.cos(angle)
    matrix = ((cosine, amount("shear_x", _MAX_SHEAR) - sine), (amount("shear_y", _MAX_SHEAR) + sine, cosine))
    shift = amount("translate_x", _MAX_SHIFT * width), amount("translate_y", _MAX_SHIFT * height)
    return transform_about_centre(images, matrix, *shift)


def _smooth(images: Any) -> Any:
    channels = images.shape[3]
    kernel = ops.convert_to_tensor(_SMOOTH, "float32") / 13
    kernel = ops.tile(kernel[:, :, None, None], (1, 1, channels, 1))
    padded = ops.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
    return ops.depthwise_conv(padded, kernel, padding="valid")


def _posterize(images: Any, *, bits_lost: int) -> Any:
    step = 2**bits_lost
    return ops.floor(images / step) * step


def _stretch(images: Any) -> Any:
    """Each channel's range drawn out to 0–255; a channel of one value stays."""
    # One axis after the other is much the faster way.
    low = ops.min(ops.min(images, axis=1, keepdims=True), axis=2, keepdims=True)
    high = ops.max(ops.max(images, axis=1, keepdims=True), axis=2, keepdims=True)
    return ops.where(high > low, (images - low) * 255 / ops.maximum(high - low, 1e-6), images)


def _pick(results: list[Any], index: Any) -> Any:
    """Image n of `results[index[n]]`. Copying whole images is much faster than `where` on their values."""
    count = ops.shape(index)[0]
    row = ops.cast(index, "int32") * count + ops.arange(count, dtype="int32")
    return ops.take(ops.concatenate(results, axis=0), row, axis=0)
