"""How good predictions are: numbers from probabilities and labels, computed once and stored as values."""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    auc,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
)

from transferkit.data.listing import Split

_TOP = 5
_CALIBRATION_BINS = 15


@dataclass(frozen=True, slots=True)
class ClassReport:
    """One class of a split: `support` pictures of it; a share with nothing to divide by counts as 0."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Average:
    """Precision, recall and F1 over all classes, also over those without a picture in the split (they count 0)."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class MajorityBaseline:
    """What a model without eyes reaches: the accuracy of always answering the most frequent training class."""

    class_name: str
    accuracy: float


@dataclass(frozen=True, slots=True)
class EvalReport:
    """How a classifier did on one split. Shares are fractions 0–1; `None` stands where a number is not defined.

    Attributes:
        num_images: all of them: the last, smaller batch counts too.
        top5_accuracy: `None` unless there are more than five classes.
        balanced_accuracy: mean recall of the classes that have pictures in this split.
        log_loss: mean of -ln(probability of the true class); a probability of 0 counts as 2.2e-16.
        roc_auc: mean over the classes, each against the rest; `None` if a class has no picture in this split.
        expected_calibration_error: gap between confidence and accuracy, 15 bins.
        per_class: in label order.
        macro_average: every class weighs the same.
        weighted_average: a class weighs as much as it has pictures.
        confusion_matrix: counts; rows are true classes, columns predicted ones.
    """

    split: Split
    num_images: int
    accuracy: float
    top5_accuracy: float | None
    balanced_accuracy: float
    log_loss: float
    roc_auc: float | None
    expected_calibration_error: float
    majority_baseline: MajorityBaseline
    macro_average: Average
    weighted_average: Average
    per_class: tuple[ClassReport, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class RocCurve:
    """One class against the rest: both rates rise from 0 to 1 together, `(num_points,)` each."""

    name: str
    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    auc: float


@contextmanager
def _no_guess_about_regression() -> Iterator[None]:
    """With many classes and few pictures scikit-learn 1.7 warns that labels might be measurements; they are not."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
        yield


@_no_guess_about_regression()
def evaluate_predictions(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    class_names: Sequence[str],
    split: Split,
    majority_label: int,
) -> EvalReport:
    """Every number about one split.

    Args:
        probabilities: `(num_images, num_classes)`, not negative; rows are scaled to sum to 1 in float64.
        labels: `(num_images,)`, class indices.
        class_names: at least two; position = label.
        majority_label: the most frequent label of the *training* split.

    Raises:
        ValueError: shapes that do not fit, no picture, a label without a class, a row that is no distribution.
    """
    probabilities, labels = _checked(probabilities, labels, num_classes=len(class_names))
    classes = np.arange(len(class_names))
    predicted = probabilities.argmax(axis=1)
    matrix = confusion_matrix(labels, predicted, labels=classes)
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    rows = zip(class_names, precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), strict=True)
    return EvalReport(
        split=split,
        num_images=len(labels),
        accuracy=float(accuracy_score(labels, predicted)),
        top5_accuracy=_top_accuracy(probabilities, labels) if len(classes) > _TOP else None,
        # scikit-learn's own function gives the same number, and a warning for classes that are absent.
        balanced_accuracy=float(recall[support > 0].mean()),
        log_loss=float(log_loss(labels, probabilities, labels=classes)),
        roc_auc=_roc_auc(probabilities, labels) if (support > 0).all() else None,
        expected_calibration_error=expected_calibration_error(probabilities, labels),
        majority_baseline=MajorityBaseline(class_names[majority_label], float((labels == majority_label).mean())),
        macro_average=Average(float(precision.mean()), float(recall.mean()), float(f1.mean())),
        weighted_average=Average(*(float(np.average(each, weights=support)) for each in (precision, recall, f1))),
        per_class=tuple(ClassReport(*row) for row in rows),
        confusion_matrix=tuple(map(tuple, matrix.tolist())),
    )


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, *, num_bins: int = _CALIBRATION_BINS
) -> float:
    """Gap between confidence and accuracy, averaged over confidence bins.

    Args:
        probabilities: `(num_images, num_classes)`, rows summing to 1.
        labels: `(num_images,)`, class indices.
        num_bins: equal-width bins over 0–1, each with its upper edge. Empty bins count nothing.

    Returns:
        A fraction 0–1; 0 is perfectly calibrated.

    Source:
        Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3. https://arxiv.org/abs/1706.04599
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    # |mean accuracy - mean confidence| of a bin, times the bin's share of the pictures, is this sum over the pictures.
    gaps = np.bincount(bins, weights=correct - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(labels))


def roc_curves(probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> tuple[RocCurve, ...]:
    """Each class against the rest, in label order; of two classes only the second, the positive one.

    Classes are left out that have no picture in the split, or all of them: their curve is not defined.
    Takes, and raises for, the same arrays as `evaluate_predictions`.
    """
    probabilities, labels = _checked(probabilities, labels, num_classes=len(class_names))
    curves = []
    for label in range(1 if len(class_names) == 2 else 0, len(class_names)):
        positive = labels == label
        if positive.any() and not positive.all():
            false_positive_rate, true_positive_rate, _ = roc_curve(positive, probabilities[:, label])
            area = float(auc(false_positive_rate, true_positive_rate))
            curves.append(RocCurve(class_names[label], false_positive_rate, true_positive_rate, area))
    return tuple(curves)


def report_to_dict(report: object) -> dict[str, object]:
    """A report, as `json` writes it and reads it back: dictionaries, lists, plain numbers, `None` for undefined."""
    return json.loads(json.dumps(asdict(report)))


def _checked(probabilities: np.ndarray, labels: np.ndarray, *, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Float64 probabilities whose rows sum to 1, and the labels; `ValueError` if they are no predictions."""
    probabilities, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if num_classes < 2 or labels.ndim != 1 or not len(labels) or probabilities.shape != (len(labels), num_classes):
        raise ValueError(
            f"probabilities {probabilities.shape} and labels {labels.shape} of {num_classes} classes: "
            "expected (num_images, num_classes) and (num_images,), at least one picture and two classes"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"labels must be whole numbers from 0 to {num_classes - 1}")
    sums = probabilities.sum(axis=1, keepdims=True)
    if not np.isfinite(sums).all() or probabilities.min() < 0 or sums.min() <= 0:
        raise ValueError("probabilities must be finite and not negative, with a positive sum in every row")
    return probabilities / sums, labels


def _top_accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of pictures whose class is among the five likeliest.

    Of equal probabilities the first class counts, as in `argmax`, so that it is never below accuracy;
    scikit-learn's `top_k_accuracy_score` takes the last.
    """
    likeliest = np.argsort(-probabilities, axis=1, kind="stable")[:, :_TOP]
    return float((likeliest == labels[:, None]).any(axis=1).mean())


def _roc_auc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean one-vs-rest area; of two classes both areas are equal, and scikit-learn wants the second column alone."""
    if probabilities.shape[1] == 2:
        return float(roc_auc_score(labels, probabilities[:, 1]))
    classes = np.arange(probabilities.shape[1])
    return float(roc_auc_score(labels, probabilities, multi_class="ovr", average="macro", labels=classes))
