"""CutMix with labels that agree with the pixels."""

from typing import Any

import keras
from keras import ops

from transferkit.model.random_layer import RandomLayer


class CutMix(RandomLayer):
    """Paste a rectangle of another image of the batch into each; labels mix by the rectangle's share of the pixels.

    Keras' CutMix computes the labels from a rectangle that it then rounds to whole pixels (6 % apart at 32 px), and
    takes no alpha above 1.

    Args:
        alpha: of the symmetric beta distribution that the rectangle's share is drawn from.

    Source:
        Yun et al. 2019, https://arxiv.org/abs/1905.04899
    """

    def __init__(self, alpha: float, *, seed: int) -> None:
        super().__init__(seed=seed)
        self.alpha = alpha

    def change(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Images and one-hot `labels`, `(batch, num_classes)`, and the same back."""
        images, labels = batch["images"], batch["labels"]
        count, (height, width) = ops.shape(images)[0], images.shape[1:3]
        side = ops.sqrt(keras.random.beta((count,), self.alpha, self.alpha, seed=self.generator))
        in_rows, num_rows = self._span(height, side)
        in_columns, num_columns = self._span(width, side)
        inside = in_rows[:, :, None, None] & in_columns[:, None, :, None]
        other = keras.random.shuffle(ops.arange(count), seed=self.generator)
        share = (num_rows * num_columns / (height * width))[:, None]
        return {
            "images": ops.where(inside, ops.take(images, other, axis=0), images),
            "labels": (1 - share) * labels + share * ops.take(labels, other, axis=0),
        }

    def _span(self, length: int, share: Any) -> tuple[Any, Any]:
        """Which of `length` pixels a random span of about `share` of them covers, `(batch, length)`, and how many."""
        covered = ops.round(share * length)
        start = ops.floor(self.draw(ops.shape(share)) * (length - covered + 1))
        place = ops.arange(length, dtype="float32")[None, :]
        return (place >= start[:, None]) & (place < (start + covered)[:, None]), covered
