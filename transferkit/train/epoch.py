"""One row of the history, and which of two is better."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Epoch:
    """One row of the history, the same in every run of a recipe.

    `epoch` counts from 1 over the whole run; rates and losses are as at its end. `weights` says which were better on
    validation: `raw`, or the moving average `ema`, whose own numbers are beside. Mean average precision stands where
    pictures may have any number of classes.
    """

    epoch: int
    phase: str
    learning_rate: float
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    val_map: float | None = None
    ema_val_loss: float | None = None
    ema_val_accuracy: float | None = None
    ema_val_map: float | None = None

    def value(self, monitor: str) -> float:
        return {"val_accuracy": self.val_accuracy, "val_map": self.val_map, "val_loss": self.val_loss}[monitor]

    def rank(self, monitor: str) -> tuple[float, float]:
        """Orders epochs, the best highest; equal accuracies are told apart by loss."""
        raw = self._raw_rank(monitor)
        return max(raw, self._ema_rank(monitor)) if self.ema_val_loss is not None else raw

    def prefers_average(self, monitor: str) -> bool:
        """Whether the moving average did better than the weights themselves."""
        return self.ema_val_loss is not None and self._ema_rank(monitor) > self._raw_rank(monitor)

    def _raw_rank(self, monitor: str) -> tuple[float, float]:
        return _rank(monitor, self.val_loss, accuracy=self.val_accuracy, map_=self.val_map)

    def _ema_rank(self, monitor: str) -> tuple[float, float]:
        return _rank(monitor, self.ema_val_loss, accuracy=self.ema_val_accuracy, map_=self.ema_val_map)


def _rank(monitor: str, loss: float, *, accuracy: float, map_: float | None) -> tuple[float, float]:
    if monitor == "val_loss":
        return -loss, 0.0
    return accuracy if monitor == "val_accuracy" else map_, -loss
