"""Random layers that change the values of pixels."""

from typing import Any

import keras
from keras import ops

from transferkit.model.random_layer import RandomLayer, per_image

# ITU-R BT.601, as Pillow converts to grey.
_LUMA = (0.299, 0.587, 0.114)


class RandomSaturation(RandomLayer):
    """Scale each image's distance from its own grey version.

    Keras' RandomSaturation keeps the value of HSV instead of the brightness that eyes see, and takes vivid colours
    far below 0.

    Args:
        amount: the scale lies in 1 ± `amount`.
    """

    def __init__(self, amount: float, *, seed: int) -> None:
        super().__init__(seed=seed)
        self.amount = amount

    def change(self, images: Any) -> Any:
        scale = per_image(self.draw((ops.shape(images)[0],), 1 - self.amount, 1 + self.amount))
        return blend(to_grey(images), images, scale)


class RandomNoise(RandomLayer):
    """Add Gaussian noise to every value. Keras' GaussianNoise stops at a deviation of 1.

    Args:
        levels: standard deviation in grey levels.
    """

    def __init__(self, levels: float, *, seed: int) -> None:
        super().__init__(seed=seed)
        self.levels = levels

    def change(self, images: Any) -> Any:
        return images + keras.random.normal(ops.shape(images), stddev=self.levels, seed=self.generator)


class RandomBlur(RandomLayer):
    """Blur each image by a Gaussian of its own width.

    Keras' RandomGaussianBlur stops at a sigma of 1 px, draws one blur for the whole batch, of another width along each
    axis, and acts half as often as it is told.

    Args:
        max_sigma_px: sigmas are drawn evenly from 0 to this.
        probability: share of the images that change.
    """

    def __init__(self, max_sigma_px: float, probability: float, *, seed: int) -> None:
        super().__init__(seed=seed)
        self.max_sigma_px, self.probability = max_sigma_px, probability

    def change(self, images: Any) -> Any:
        count = ops.shape(images)[0]
        sigma_px = ops.maximum(self.draw((count,), 0.0, self.max_sigma_px), 1e-3)[:, None, None]
        # A blur along one axis is a product with a matrix of weights; its rows sum to 1 at the edges too.
        down, across = (_weights(side, sigma_px) for side in images.shape[1:3])
        blurred = ops.einsum("bij,bjwc->biwc", down, images)
        blurred = ops.einsum("bij,bhjc->bhic", across, blurred)
        changes = self.draw((count,)) < self.probability
        return ops.where(per_image(changes), blurred, images)


def _weights(side: int, sigma_px: Any) -> Any:
    place = ops.arange(side, dtype="float32")
    weights = ops.exp(-0.5 * ((place[None, :, None] - place[None, None, :]) / sigma_px) ** 2)
    return weights / ops.sum(weights, axis=-1, keepdims=True)


def to_grey(images: Any) -> Any:
    """`(batch, height, width, 1)`."""
    return ops.matmul(images, ops.convert_to_tensor(_LUMA, "float32")[:, None])


def blend(start: Any, images: Any, scale: Any) -> Any:
    """`start` at scale 0, `images` at 1, and on beyond; limited to 0–255."""
    return ops.clip(start + (images - start) * scale, 0.0, 255.0)
