"""One row of the history, and which of two is better."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Epoch:
    """One row of the history, the same in every run of a recipe.

    `epoch` counts from 1 over the whole run; rates and losses are as at its end. `weights` says which were better on
    validation: `raw`, or the moving average `ema`, whose own numbers are beside.
    """

    epoch: int
    phase: str
    learning_rate: float
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    ema_val_loss: float | None = None
    ema_val_accuracy: float | None = None

    def value(self, monitor: str) -> float:
        return self.val_accuracy if monitor == "val_accuracy" else self.val_loss

    def rank(self, monitor: str) -> tuple[float, float]:
        """Orders epochs, the best highest; equal accuracies are told apart by loss."""
        raw = _rank(monitor, self.val_accuracy, self.val_loss)
        return max(raw, self._ema_rank(monitor)) if self.ema_val_loss is not None else raw

    def prefers_average(self, monitor: str) -> bool:
        """Whether the moving average did better than the weights themselves."""
        raw = _rank(monitor, self.val_accuracy, self.val_loss)
        return self.ema_val_loss is not None and self._ema_rank(monitor) > raw

    def _ema_rank(self, monitor: str) -> tuple[float, float]:
        return _rank(monitor, self.ema_val_accuracy, self.ema_val_loss)


def _rank(monitor: str, accuracy: float, loss: float) -> tuple[float, float]:
    return (accuracy, -loss) if monitor == "val_accuracy" else (-loss, 0.0)
