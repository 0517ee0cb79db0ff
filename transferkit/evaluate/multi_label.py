"""How good predictions are where a picture may have any number of classes, each found if its probability is enough."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, hamming_loss, log_loss, precision_recall_fscore_support

from transferkit.data.listing import Split
from transferkit.evaluate.metrics import Average
from transferkit.evaluate.thresholds import find_classes


@dataclass(frozen=True, slots=True)
class MultiLabelClass:
    """One class of a split: `support` pictures have it, and it is found where its probability is `threshold` or more.

    A share with nothing to divide by counts as 0; `average_precision` is `None` without a picture.
    """

    name: str
    threshold: float
    precision: float
    recall: float
    f1: float
    average_precision: float | None
    support: int


@dataclass(frozen=True, slots=True)
class Guess:
    """What a model without eyes reaches.

    Attributes:
        class_names: the most frequent combination of classes in training.
        accuracy: of always answering it.
        mean_average_precision: of a random order of the pictures, which is the mean share of pictures with a class.
    """

    class_names: tuple[str, ...]
    accuracy: float
    mean_average_precision: float


@dataclass(frozen=True, slots=True)
class MultiLabelReport:
    """How a classifier did on one split. Shares are fractions 0–1.

    Attributes:
        num_images: all of them: the last, smaller batch counts too.
        accuracy: share of pictures with exactly the right classes.
        mean_average_precision: mean over the classes that have pictures in this split; `None` if none has.
        hamming_loss: share of wrong answers among all, one for each picture and class.
        log_loss: mean of -ln(probability of the right answer) over all of them.
        micro_average: all answers of all classes together.
        macro_average: every class weighs the same, also one without a picture in this split (it counts 0).
        per_class: in label order.
    """

    split: Split
    num_images: int
    accuracy: float
    mean_average_precision: float | None
    hamming_loss: float
    log_loss: float
    micro_average: Average
    macro_average: Average
    majority_baseline: Guess
    per_class: tuple[MultiLabelClass, ...]


def evaluate_multi_label(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    thresholds: np.ndarray,
    class_names: Sequence[str],
    split: Split,
    majority: np.ndarray,
) -> MultiLabelReport:
    """Every number about one split.

    Args:
        probabilities: `(num_images, num_classes)`, each 0–1.
        labels: the same shape, bool.
        thresholds: `(num_classes,)` of `choose_thresholds`.
        class_names: position = label.
        majority: `(num_classes,)` bool, the most frequent row of the *training* split.

    Raises:
        ValueError: shapes that do not fit, no picture, or numbers that are no probabilities.
    """
    _check(probabilities, labels, num_classes=len(class_names))
    found = find_classes(probabilities, thresholds)
    precision, recall, f1, support = precision_recall_fscore_support(labels, found, average=None, zero_division=0)
    micro = precision_recall_fscore_support(labels, found, average="micro", zero_division=0)[:3]
    areas = [
        float(average_precision_score(own, each)) if own.any() else None
        for own, each in zip(labels.T, probabilities.T, strict=True)
    ]
    defined = [area for area in areas if area is not None]
    shares = labels.mean(axis=0)[labels.any(axis=0)]
    rows = zip(
        class_names, thresholds.tolist(), precision.tolist(), recall.tolist(), f1.tolist(), areas, support.tolist(),
        strict=True,
    )  # fmt: skip
    guess = Guess(
        class_names=tuple(name for name, is_there in zip(class_names, majority, strict=True) if is_there),
        accuracy=float((labels == majority).all(axis=1).mean()),
        mean_average_precision=float(shares.mean()) if len(shares) else 0.0,
    )
    return MultiLabelReport(
        split=split,
        num_images=len(labels),
        accuracy=float((found == labels).all(axis=1).mean()),
        mean_average_precision=float(np.mean(defined)) if defined else None,
        hamming_loss=float(hamming_loss(labels, found)),
        log_loss=float(log_loss(labels.ravel(), probabilities.ravel().astype(np.float64), labels=[False, True])),
        micro_average=Average(*map(float, micro)),
        macro_average=Average(float(precision.mean()), float(recall.mean()), float(f1.mean())),
        majority_baseline=guess,
        per_class=tuple(MultiLabelClass(*row) for row in rows),
    )


def most_frequent(labels: np.ndarray) -> np.ndarray:
    """The most frequent row, the first of equals; `(num_classes,)` bool."""
    counts = Counter(row.tobytes() for row in labels)
    return np.frombuffer(counts.most_common(1)[0][0], bool)


def _check(probabilities: np.ndarray, labels: np.ndarray, *, num_classes: int) -> None:
    shape = (len(labels), num_classes)
    if labels.dtype != bool or not len(labels) or not labels.shape == probabilities.shape == shape:
        raise ValueError(
            f"probabilities {probabilities.shape} and labels {labels.shape} {labels.dtype} of {num_classes} classes: "
            "expected (num_images, num_classes) twice, truth values the second, and at least one picture"
        )
    if not (np.isfinite(probabilities).all() and probabilities.min() >= 0 and probabilities.max() <= 1):
        raise ValueError("probabilities must lie between 0 and 1")
