"""From which probability on a class counts as found, where a picture may have any number of them."""

from collections.abc import Sequence
from typing import Final

import numpy as np

DEFAULT_THRESHOLD: Final = 0.5


def find_classes(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Which classes are found, `(…, num_classes)` bool."""
    return probabilities >= thresholds


def name_found(probabilities: np.ndarray, class_names: Sequence[str], thresholds: np.ndarray | None) -> tuple[str, ...]:
    """Names of the classes found in one picture, in label order; without thresholds always the likeliest one alone.

    Args:
        probabilities: `(num_classes,)`.
    """
    if thresholds is None:
        return (class_names[int(probabilities.argmax())],)
    return tuple(class_names[label] for label in np.flatnonzero(find_classes(probabilities, thresholds)))


def choose_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For each class the threshold with the largest F1, `(num_classes,)` float64, half way between two probabilities.

    Of equally good ones it is the nearest to 0.5, and 0.5 itself for a class without pictures.

    Args:
        probabilities: `(num_images, num_classes)` of the validation split.
        labels: the same shape, bool.
    """
    return np.array([_threshold(*each) for each in zip(probabilities.T.astype(np.float64), labels.T, strict=True)])


def _threshold(probabilities: np.ndarray, labels: np.ndarray) -> float:
    order = np.argsort(-probabilities)
    surest, right = probabilities[order], np.cumsum(labels[order])
    following = np.append(surest[1:], 0.0)
    # Between equal probabilities there is no threshold.
    f1 = np.where(surest > following, 2 * right / (np.arange(1, len(order) + 1) + labels.sum()), 0.0)
    if not f1.any():
        return DEFAULT_THRESHOLD
    halves = ((surest + following) / 2)[f1 == f1.max()]
    return float(halves[np.abs(halves - DEFAULT_THRESHOLD).argmin()])
