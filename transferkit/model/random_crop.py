"""Cutting the size that the model sees out of larger pictures."""

from typing import Any

from keras import ops

from transferkit.data.middle import shown_size_px
from transferkit.model.random_layer import RandomLayer


class RandomCrop(RandomLayer):
    """Cut a random place out of pictures that were prepared with a margin. Keras' RandomCrop is told no margin.

    Args:
        margin: of the side that is cut out, by which the pictures are larger.
    """

    def __init__(self, margin: float, *, seed: int) -> None:
        super().__init__(seed=seed)
        self.margin = margin

    def change(self, images: Any) -> Any:
        count = ops.shape(images)[0]
        # A product with ones and zeros picks rows and columns exactly, and each image's by itself on its own device.
        for axes, length in (("bsh,bhwc->bswc", images.shape[1]), ("bsw,bhwc->bhsc", images.shape[2])):
            size = shown_size_px(length, self.margin)
            first = ops.minimum(ops.floor(self.draw((count,)) * (length - size + 1)), length - size)
            places = ops.cast(first, "int32")[:, None] + ops.arange(size, dtype="int32")
            images = ops.einsum(axes, ops.one_hot(places, length, dtype="float32"), images)
        return images
