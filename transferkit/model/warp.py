"""Two random warps that Keras' own layers lack, or do wrongly, as layers of the same kind."""

import math
from typing import Any

import keras
from keras import layers, ops


class RandomCropResize(layers.Layer):
    """Cut out a random part of each image and scale it to the full size.

    Args:
        min_area: smallest share of the image's area that is kept; the largest is 1.
        max_aspect: largest ratio of the part's sides, either way.

    Source:
        Szegedy et al. 2014, "Going Deeper with Convolutions", section 6. https://arxiv.org/abs/1409.4842
    """

    def __init__(self, min_area: float, max_aspect: float, *, seed: int, **options: Any) -> None:
        super().__init__(dtype="float32", **options)
        self.min_area, self.max_log_aspect = min_area, math.log(max_aspect)
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, images: Any, training: bool = False) -> Any:
        if not training:
            return images
        count, height, width = ops.shape(images)[0], images.shape[1], images.shape[2]

        def draw(low: float, high: float) -> Any:
            return keras.random.uniform((count,), low, high, seed=self.generator)

        area, aspect = draw(self.min_area, 1.0), ops.exp(draw(-self.max_log_aspect, self.max_log_aspect))
        tall = ops.minimum(ops.sqrt(area / aspect), 1.0)
        wide = ops.minimum(ops.sqrt(area * aspect), 1.0)
        top, left = draw(0.0, 1.0) * (1 - tall) * height, draw(0.0, 1.0) * (1 - wide) * width
        zero = ops.zeros_like(tall)
        # Maps an output pixel's centre to the input: x ↦ wide · (x + ½) + left − ½.
        matrix = [wide, zero, left + wide / 2 - 0.5, zero, tall, top + tall / 2 - 0.5, zero, zero]
        return ops.image.affine_transform(images, ops.stack(matrix, axis=1), "bilinear", "nearest")


class RandomElastic(layers.Layer):
    """Bend each image by a smooth random field of its own.

    Keras' RandomElasticTransform moves every pixel along the diagonal only, and all images of a batch alike.

    Args:
        strength_px: standard deviation of the displacement at the field's control points.
        smoothness_px: distance between control points; the field between them is interpolated bicubically.

    Source:
        Simard et al. 2003, "Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis".
    """

    def __init__(self, strength_px: float, smoothness_px: float, *, seed: int, **options: Any) -> None:
        super().__init__(dtype="float32", **options)
        self.strength_px, self.smoothness_px = strength_px, smoothness_px
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, images: Any, training: bool = False) -> Any:
        if not training:
            return images
        count, (height, width, channels) = ops.shape(images)[0], images.shape[1:]
        points = [max(2, round(side / self.smoothness_px) + 1) for side in (height, width)]
        field = keras.random.normal((count, *points, 2), stddev=self.strength_px, seed=self.generator)
        field = ops.image.resize(field, (height, width), interpolation="bicubic")
        rows = ops.reshape(ops.arange(height, dtype="float32"), (1, height, 1)) + field[..., 0]
        columns = ops.reshape(ops.arange(width, dtype="float32"), (1, 1, width)) + field[..., 1]
        return _sample(images, rows, columns)


def _sample(images: Any, rows: Any, columns: Any) -> Any:
    """Bilinear values of `images` at `(batch, height, width)` coordinates; outside, the edge goes on."""
    height, width = images.shape[1:3]
    rows, columns = ops.clip(rows, 0, height - 1), ops.clip(columns, 0, width - 1)
    top, left = ops.floor(rows), ops.floor(columns)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    flat = ops.reshape(images, (-1, height * width, images.shape[3]))

    def at(row: Any, column: Any) -> Any:
        row, column = ops.minimum(row, height - 1), ops.minimum(column, width - 1)
        index = ops.cast(ops.reshape(row * width + column, (-1, height * width, 1)), "int32")
        return ops.reshape(ops.take_along_axis(flat, index, axis=1), (-1, *images.shape[1:]))

    upper = at(top, left) * (1 - right) + at(top, left + 1) * right
    lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return upper * (1 - down) + lower * down
