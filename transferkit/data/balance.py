"""What each training picture counts, and how often it comes in an epoch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from transferkit.data.load import Data
from transferkit.errors import DataError
from transferkit.recipe.data import DataSpec
from transferkit.recipe.imbalance import EffectiveNumber, Imbalance

# Keeps the draws apart from those of an epoch's order, which has the same seed and epoch.
_STREAM = 1


@dataclass(frozen=True)
class ClassBalance:
    """What a class counts in training: `weight` is the mean of its pictures', each of which comes `times` per epoch."""

    name: str
    num_pictures: int
    weight: float
    times: float


@dataclass(frozen=True)
class Balance:
    """How the training split's pictures count; positions are those in the split.

    Args:
        kind: of imbalance, as in the recipe.
        weights: `(num_pictures,)` float32, with mean 1 over an epoch; `None` where all are 1.
        repeated: for each class that has fewer pictures than an epoch holds of it, their positions and that number.
        classes: in label order; empty where every picture counts the same.
    """

    kind: str
    num_pictures: int
    pictures_per_epoch: int
    weights: np.ndarray | None = None
    repeated: tuple[tuple[np.ndarray, int], ...] = ()
    classes: tuple[ClassBalance, ...] = ()

    def steps_per_epoch(self, batch_size: int) -> int:
        """The last step's batch may be smaller."""
        return -(-self.pictures_per_epoch // batch_size)

    def positions(self, *, seed: int, epoch: int) -> np.ndarray:
        """What one epoch trains on, `(pictures_per_epoch,)`, not in the order of training.

        Every picture is there. Those that come once more than others of their class are drawn anew in each epoch, as
        a function of the seed and the epoch alone.
        """
        draw = np.random.default_rng([seed, epoch, _STREAM])
        parts = [np.arange(self.num_pictures)]
        for positions, count in self.repeated:
            whole, rest = divmod(count, len(positions))
            parts += [np.tile(positions, whole - 1), draw.permutation(positions)[:rest]]
        return np.concatenate(parts)

    def describe(self) -> str:
        """One line; nothing where every picture counts the same."""
        if not self.classes:
            return ""
        present = [one for one in self.classes if one.num_pictures]
        if self.kind == "oversample":
            said = f"an epoch trains on {self.pictures_per_epoch} pictures instead of {self.num_pictures}, each "
            said += f"{_ends(present, lambda one: one.times)} times"
            said += ", and they have weights" if self.weights is not None else ""
        else:
            said = f"a picture's mean weight by class is {_ends(present, lambda one: one.weight)}"
        cause = "sample weights" if self.kind == "none" else f"imbalance: {self.kind}"
        return f"{cause}: {said}; all classes are in class_weights.csv"


def _ends(classes: Sequence[ClassBalance], value: Callable[[ClassBalance], float]) -> str:
    low, high = min(classes, key=value), max(classes, key=value)
    return " to ".join(f"{value(one):.3g} ({one.name}, {one.num_pictures} pictures)" for one in (low, high))


def balance_training(data: Data, spec: DataSpec) -> Balance:
    """How the training pictures count: the balance of classes that the recipe asks for, times the source's own weights.

    A picture of several classes has its own weight alone; recipes refuse to balance such classes.

    Raises:
        DataError: all weights are 0.
    """
    rows, kind = data.rows["train"], spec.imbalance.kind
    labels, own = data.labels[rows], data.weights[rows].astype(np.float64)
    counts = labels.sum(axis=0) if data.multi_label else np.bincount(labels, minlength=len(data.class_names))
    repeated, times, weights = (), np.ones(len(counts)), own
    if kind == "oversample":
        largest = int(counts.max())
        smaller = np.flatnonzero((counts > 0) & (counts < largest))
        repeated = tuple((np.flatnonzero(labels == label), largest) for label in smaller)
        times = largest / np.maximum(counts, 1)
    elif kind != "none":
        weights = own * class_weights(counts, spec.imbalance)[labels]
    mean = np.average(weights, weights=None if data.multi_label else times[labels])
    if not mean > 0:
        raise DataError("all training pictures have weight 0, so there is nothing to train on; give some more weight.")
    is_weighted = np.ptp(own) > 0 or (kind in _WEIGHTS and np.ptp(counts) > 0)
    weights = weights / mean if is_weighted else np.ones(len(rows))
    sums = weights @ labels if data.multi_label else np.bincount(labels, weights=weights, minlength=len(counts))
    values = zip(
        data.class_names, counts.tolist(), (sums / np.maximum(counts, 1)).tolist(), times.tolist(), strict=True
    )
    return Balance(
        kind=kind,
        num_pictures=len(rows),
        pictures_per_epoch=pictures_per_epoch(len(rows), counts.tolist(), spec.imbalance),
        weights=weights.astype(np.float32) if is_weighted else None,
        repeated=repeated,
        classes=tuple(ClassBalance(*each) for each in values) if is_weighted or repeated else (),
    )


def pictures_per_epoch(num_pictures: int, counts: Sequence[int], imbalance: Imbalance) -> int:
    """How many pictures an epoch trains on.

    Args:
        num_pictures: of the training split.
        counts: of them, by class.
    """
    if imbalance.kind != "oversample":
        return num_pictures
    return max(counts) * sum(count > 0 for count in counts)


def class_weights(counts: np.ndarray, imbalance: Imbalance) -> np.ndarray:
    """`(num_classes,)` float64, with mean 1 over the pictures; 0 for a class without any.

    Args:
        counts: pictures by class.
    """
    weights = np.where(counts > 0, _WEIGHTS[imbalance.kind](np.maximum(counts, 1), imbalance), 0.0)
    return weights / np.average(weights, weights=counts)


def _by_effective_number(counts: np.ndarray, imbalance: EffectiveNumber) -> np.ndarray:
    """The inverse of (1 - beta^n) / (1 - beta). Source: Cui et al. 2019, eq. 2, https://arxiv.org/abs/1901.05555"""
    return (1 - imbalance.beta) / -np.expm1(counts * np.log(imbalance.beta))


_WEIGHTS: Final[dict[str, Callable[[np.ndarray, Any], np.ndarray]]] = {
    "class_weight": lambda counts, _: 1 / counts,
    "effective_number": _by_effective_number,
}
