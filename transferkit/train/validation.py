"""The validation split between epochs."""

from typing import Any

import numpy as np

from transferkit.data.load import Data
from transferkit.progress import Task
from transferkit.train.features import Picked, Rows
from transferkit.train.forward import compute_outputs, fitting_batch_size, log_softmax
from transferkit.train.strategy import Strategy


class Validation:
    """Loss and accuracy on the validation split, every picture once.

    Args:
        network: to logits, from pictures or from stored features.
        inputs: `(num_images in split, …)` what it takes; the split's pictures if `None`.
    """

    def __init__(self, network: Any, data: Data, inputs: Rows | None, *, strategy: Strategy) -> None:
        rows = data.rows["validation"]
        self._inputs = Picked(data.images, rows) if inputs is None else inputs
        self._labels, self._strategy, self._forward = data.labels[rows], strategy, strategy.forward([network])

    def __len__(self) -> int:
        return len(self._labels)

    def run(self, task: Task) -> tuple[float, float]:
        """Mean loss (not finite if the weights are not) and accuracy."""
        (logits,) = compute_outputs(
            self._forward,
            self._inputs,
            np.arange(len(self)),
            strategy=self._strategy,
            batch_size=fitting_batch_size(len(self)),
            task=_Silent(task),
        )
        scores = log_softmax(logits)
        loss = float(-scores[np.arange(len(scores)), self._labels].mean())
        return loss, float((scores.argmax(axis=1) == self._labels).mean())


class _Silent:
    """Lets a task notice a request to stop, without counting."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def advance(self, count: int = 1, note: str = "") -> None:
        self._task.advance(0)
