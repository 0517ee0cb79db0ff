"""Random layers that move pixels."""

import math
from typing import Any

import keras
from keras import ops

from transferkit.model.random_layer import RandomLayer, per_image


class RandomCropResize(RandomLayer):
    """Cut out a random part of each image and scale it to the full size. Keras has none.

    Args:
        min_area: smallest share of the image's area that is kept; the largest is 1.
        max_aspect: largest ratio of the part's sides, either way; less where the part would not fit into the image.

    Source:
        Szegedy et al. 2014, "Going Deeper with Convolutions", section 6. https://arxiv.org/abs/1409.4842
    """

    def __init__(self, min_area: float, max_aspect: float, *, seed: int) -> None:
        super().__init__(seed=seed)
        self.min_area, self.max_log_aspect = min_area, math.log(max_aspect)

    def change(self, images: Any) -> Any:
        count, (height, width) = ops.shape(images)[0], images.shape[1:3]
        area = self.draw((count,), self.min_area, 1.0)
        # Beyond a ratio of 1 / area the longer side would leave the image, and cutting it off would cost area.
        aspect = ops.exp(self.draw((count,), -1.0, 1.0) * ops.minimum(self.max_log_aspect, -ops.log(area)))
        tall, wide = ops.sqrt(area / aspect), ops.sqrt(area * aspect)
        top, left = self.draw((count,)) * (1 - tall) * height, self.draw((count,)) * (1 - wide) * width
        zero = ops.zeros_like(tall)
        # Maps an output pixel's centre to the input: x ↦ wide · (x + ½) + left − ½.
        matrix = [wide, zero, left + wide / 2 - 0.5, zero, tall, top + tall / 2 - 0.5, zero, zero]
        return ops.image.affine_transform(images, ops.stack(matrix, axis=1), "bilinear", "nearest")


class RandomShear(RandomLayer):
    """Slant each image along both axes about its centre.

    Keras' RandomShear slants about the upper left corner, which moves the middle out of the picture.

    Args:
        degrees: largest angle by which an axis leans, either way.
    """

    def __init__(self, degrees: float, *, seed: int) -> None:
        super().__init__(seed=seed)
        self.radians = math.radians(degrees)

    def change(self, images: Any) -> Any:
        count = ops.shape(images)[0]
        sideways = ops.tan(self.draw((count,), -self.radians, self.radians))
        upwards = ops.tan(self.draw((count,), -self.radians, self.radians))
        one = ops.ones_like(sideways)
        return transform_about_centre(images, ((one, sideways), (upwards, one)))


class RandomPerspective(RandomLayer):
    """See each image from a random side.

    Keras' RandomPerspective never moves the upper left corner, and acts half as often as it is told.

    Args:
        amount: largest distance from an image's corner to the point that takes its place, as a share of each side;
            below ¼, so that the four points span a convex figure.
        probability: share of the images that change.

    Source:
        Heckbert 1989, "Fundamentals of Texture Mapping and Image Warping", section 2.2.3: from square to
        quadrilateral. http://www2.eecs.berkeley.edu/Pubs/TechRpts/1989/5504.html
    """

    def __init__(self, amount: float, probability: float, *, seed: int) -> None:
        super().__init__(seed=seed)
        self.amount, self.probability = amount, probability

    def change(self, images: Any) -> Any:
        count, (height, width) = ops.shape(images)[0], images.shape[1:3]
        moved = self.draw((2, 4, count, 1, 1), -self.amount, self.amount)
        # Corners in turn: upper left, upper right, lower right, lower left.
        x0, x1, x2, x3 = (moved[0, corner] + at for corner, at in enumerate((0.0, 1.0, 1.0, 0.0)))
        y0, y1, y2, y3 = (moved[1, corner] + at for corner, at in enumerate((0.0, 0.0, 1.0, 1.0)))
        excess_x, excess_y = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
        area = (x1 - x2) * (y3 - y2) - (x3 - x2) * (y1 - y2)
        tilt_u = (excess_x * (y3 - y2) - (x3 - x2) * excess_y) / area
        tilt_v = ((x1 - x2) * excess_y - excess_x * (y1 - y2)) / area
        u = ops.reshape(ops.linspace(0.0, 1.0, width), (1, 1, width))
        v = ops.reshape(ops.linspace(0.0, 1.0, height), (1, height, 1))
        distance = tilt_u * u + tilt_v * v + 1
        columns = ((x1 - x0 + tilt_u * x1) * u + (x3 - x0 + tilt_v * x3) * v + x0) / distance * (width - 1)
        rows = ((y1 - y0 + tilt_u * y1) * u + (y3 - y0 + tilt_v * y3) * v + y0) / distance * (height - 1)
        changes = self.draw((count,)) < self.probability
        return ops.where(per_image(changes), _sample(images, rows, columns), images)


class RandomElastic(RandomLayer):
    """Bend each image by a smooth random field of its own.

    Keras' RandomElasticTransform moves every pixel along the diagonal only, and all images of a batch alike.

    Args:
        strength_px: standard deviation of the displacement at the field's control points.
        smoothness_px: distance between control points; the field between them is interpolated bicubically.

    Source:
        Simard et al. 2003, "Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis".
    """

    def __init__(self, strength_px: float, smoothness_px: float, *, seed: int) -> None:
        super().__init__(seed=seed)
        self.strength_px, self.smoothness_px = strength_px, smoothness_px

    def change(self, images: Any) -> Any:
        count, (height, width) = ops.shape(images)[0], images.shape[1:3]
        points = [max(2, round(side / self.smoothness_px) + 1) for side in (height, width)]
        field = keras.random.normal((count, *points, 2), stddev=self.strength_px, seed=self.generator)
        field = ops.image.resize(field, (height, width), interpolation="bicubic")
        rows = ops.reshape(ops.arange(height, dtype="float32"), (1, height, 1)) + field[..., 0]
        columns = ops.reshape(ops.arange(width, dtype="float32"), (1, 1, width)) + field[..., 1]
        return _sample(images, rows, columns)


def transform_about_centre(images: Any, matrix: Any, shift_x_px: Any = 0.0, shift_y_px: Any = 0.0) -> Any:
    """Each image under its own linear map about its centre, then shifted; what comes in from outside is mirrored.

    Args:
        matrix: `((xx, xy), (yx, yy))`, each `(batch,)`: from an output's offset from the centre to the input's.
        shift_x_px, shift_y_px: `(batch,)`, added to the input's place.
    """
    (xx, xy), (yx, yy) = matrix
    x, y = (images.shape[2] - 1) / 2, (images.shape[1] - 1) / 2
    zero = ops.zeros_like(xx)
    rows = [xx, xy, x - xx * x - xy * y + shift_x_px, yx, yy, y - yx * x - yy * y + shift_y_px, zero, zero]
    return ops.image.affine_transform(images, ops.stack(rows, axis=1), "bilinear", "reflect")


def _sample(images: Any, rows: Any, columns: Any) -> Any:
    """Bilinear values of `images` at `(batch, height, width)` coordinates; outside, the image is mirrored."""
    height, width, channels = images.shape[1:]
    rows, columns = _mirrored(rows, height - 1), _mirrored(columns, width - 1)
    top, left = ops.floor(rows), ops.floor(columns)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    flat = ops.reshape(images, (-1, channels))
    first = ops.arange(ops.shape(images)[0], dtype="int32")[:, None, None] * (height * width)

    def at(row: Any, column: Any) -> Any:
        row, column = ops.minimum(row, height - 1), ops.minimum(column, width - 1)
        return ops.take(flat, first + ops.cast(row * width + column, "int32"), axis=0)

    upper = at(top, left) * (1 - right) + at(top, left + 1) * right
    lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return upper * (1 - down) + lower * down


def _mirrored(places: Any, last: int) -> Any:
    """Coordinates folded into 0 … `last`."""
    return last - ops.abs(last - ops.mod(ops.abs(places), 2 * last))
