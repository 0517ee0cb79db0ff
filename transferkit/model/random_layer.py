"""The base of our own random layers, which stand where Keras has none or does something else than its name says."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers


class RandomLayer(layers.Layer):
    """Changes training images, `(batch, height, width, 3)` 0–255, and gives others back as they are.

    It computes in float32 also under mixed precision, and draws from its own generator only.
    """

    def __init__(self, *, seed: int) -> None:
        super().__init__(dtype="float32")
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, images: Any, training: bool = False) -> Any:
        return self.change(images) if training else images

    def change(self, images: Any) -> Any:
        raise NotImplementedError

    def draw(self, shape: tuple[Any, ...], low: float = 0.0, high: float = 1.0) -> Any:
        """Uniform random numbers."""
        return keras.random.uniform(shape, low, high, seed=self.generator)


class InTurn(layers.Layer):
    """Layers one after the other, as one layer. Keras' Pipeline takes no dtype."""

    def __init__(self, parts: Sequence[layers.Layer]) -> None:
        super().__init__(dtype="float32")
        self.parts = list(parts)

    def call(self, images: Any, training: bool = False) -> Any:
        for part in self.parts:
            images = part(images, training=training)
        return images


def per_image(numbers: Any) -> Any:
    """`(batch,)` numbers in the shape that meets an image batch."""
    return numbers[:, None, None, None]
