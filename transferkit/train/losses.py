"""The losses that a recipe names: what each picture adds, in training and on validation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from keras import ops

from transferkit.recipe.loss import BinaryCrossEntropy, CrossEntropy, Focal, Loss

# Below it 1 - p counts as this much: a power of it, with an exponent below 1, would have an endless slope at 0.
_LEAST_DOUBT = 1e-7


@dataclass(frozen=True, slots=True)
class LossRow:
    """One loss; both functions give one number for each picture, `(batch,)`.

    Args:
        in_training: of its spec, of targets `(batch, num_classes)` float32, which may be mixed, and of logits.
        on_validation: of its spec, of labels as `Data` has them, and of logits; in NumPy, and never smoothed.
    """

    in_training: Callable[[Any, Any, Any], Any]
    on_validation: Callable[[Any, np.ndarray, np.ndarray], np.ndarray]


def _smoothed(loss: Loss, targets: Any) -> Any:
    """Source: Szegedy et al. 2015, section 7, https://arxiv.org/abs/1512.00567"""
    return targets * (1.0 - loss.label_smoothing) + loss.label_smoothing / targets.shape[-1]


def _cross_entropy(loss: CrossEntropy, targets: Any, logits: Any) -> Any:
    return ops.categorical_crossentropy(_smoothed(loss, targets), logits, from_logits=True)


def _focal(loss: Focal, targets: Any, logits: Any) -> Any:
    """Source: Lin et al. 2017, eq. 4, over the softmax, https://arxiv.org/abs/1708.02002"""
    logs = ops.log_softmax(logits, axis=-1)
    doubts = ops.maximum(-ops.expm1(logs), _LEAST_DOUBT)
    return -ops.sum(_smoothed(loss, targets) * doubts**loss.gamma * logs, axis=-1)


def _binary_cross_entropy(loss: BinaryCrossEntropy, targets: Any, logits: Any) -> Any:
    """Mean over the classes. Each is a choice of two, so smoothing draws its target towards one half."""
    targets = targets * (1.0 - loss.label_smoothing) + loss.label_smoothing / 2
    return ops.mean(ops.softplus(logits) - targets * logits, axis=-1)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Natural logarithms of the softmax, in float64; `(num_rows, num_classes)`. Infinite logits give NaN."""
    with np.errstate(invalid="ignore"):
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _log_of_true_class(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    return log_softmax(logits)[np.arange(len(labels)), labels]


def _val_cross_entropy(_: CrossEntropy, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    return -_log_of_true_class(labels, logits)


def _val_focal(loss: Focal, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    logs = _log_of_true_class(labels, logits)
    return -((-np.expm1(logs)) ** loss.gamma) * logs


def _val_binary_cross_entropy(_: BinaryCrossEntropy, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return (np.logaddexp(0.0, logits) - labels * logits).mean(axis=1)


LOSSES: Final[Mapping[str, LossRow]] = {
    "cross_entropy": LossRow(_cross_entropy, _val_cross_entropy),
    "focal": LossRow(_focal, _val_focal),
    "binary_cross_entropy": LossRow(_binary_cross_entropy, _val_binary_cross_entropy),
}
