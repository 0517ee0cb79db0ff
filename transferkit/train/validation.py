"""The validation split between epochs."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit.data.load import Data
from transferkit.progress import Task
from transferkit.recipe.loss import Loss
from transferkit.train.features import Picked, Rows
from transferkit.train.forward import compute_outputs, fitting_batch_size
from transferkit.train.losses import LOSSES
from transferkit.train.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Scores:
    """How a network does on the validation split; no picture weighs more than another.

    Args:
        loss: mean, of the recipe's loss without smoothing; not finite if the weights are not.
        accuracy: share of pictures whose class is right, or, where they may have any number of classes, all of whose
            classes are, at probabilities of one half.
        map: mean average precision, there alone.
    """

    loss: float
    accuracy: float
    map: float | None = None


class Validation:
    """The validation split, every picture once.

    Args:
        network: to logits, from pictures or from stored features.
        inputs: `(num_images in split, …)` what it takes; the split's pictures if `None`.
    """

    def __init__(self, network: Any, data: Data, inputs: Rows | None, *, strategy: Strategy, loss: Loss) -> None:
        rows = data.rows["validation"]
        self._inputs = Picked(data.images, rows) if inputs is None else inputs
        self._labels, self._strategy, self._forward = data.labels[rows], strategy, strategy.forward([network])
        self._loss = loss

    def __len__(self) -> int:
        return len(self._labels)

    def run(self, task: Task) -> Scores:
        (logits,) = compute_outputs(
            self._forward,
            self._inputs,
            np.arange(len(self)),
            strategy=self._strategy,
            batch_size=fitting_batch_size(len(self)),
            task=_Silent(task),
        )
        labels = self._labels
        loss = float(LOSSES[self._loss.kind].on_validation(self._loss, labels, logits).mean())
        if labels.ndim == 1:
            return Scores(loss, float((logits.argmax(axis=1) == labels).mean()))
        map_ = mean_average_precision(logits, labels) if np.isfinite(loss) else 0.0
        return Scores(loss, float(((logits > 0) == labels).all(axis=1).mean()), map_)


def mean_average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean of the classes' average precision, of those that have a picture; 0 if none has.

    Args:
        scores: `(num_images, num_classes)`, higher for surer.
        labels: the same shape, bool.
    """
    from sklearn.metrics import average_precision_score  # a second of imports

    found = [average_precision_score(own, each) for own, each in zip(labels.T, scores.T, strict=True) if own.any()]
    return float(np.mean(found)) if found else 0.0


class _Silent:
    """Lets a task notice a request to stop, without counting."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def advance(self, count: int = 1, note: str = "") -> None:
        self._task.advance(0)
