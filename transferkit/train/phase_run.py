"""One phase: apply what trains, compile, and fit epoch by epoch."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from transferkit.data.listing import Split
from transferkit.data.load import Data
from transferkit.errors import TrainingError
from transferkit.model.augment import build_augmentations
from transferkit.model.classifier import Classifier
from transferkit.progress import Progress, Task
from transferkit.recipe.recipe import Recipe
from transferkit.schedule.rates import plateau_drops
from transferkit.schedule.schedule import Phase
from transferkit.train.apply import apply_trainable
from transferkit.train.batches import epoch_order, training_batches
from transferkit.train.features import FeatureStore, features_mb
from transferkit.train.forward import compute_outputs, log_softmax
from transferkit.train.optimizer import RateTable, build_optimizer
from transferkit.train.trainer import PhaseTrainer

_READ_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Epoch:
    """One row of the history. `epoch` counts from 1 over the whole run; rates and losses are as at its end."""

    epoch: int
    phase: str
    learning_rate: float
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float

    def value(self, monitor: str) -> float:
        return self.val_accuracy if monitor == "val_accuracy" else self.val_loss

    def rank(self, monitor: str) -> tuple[float, float]:
        """Orders epochs, the best highest; equal accuracies are told apart by loss."""
        return (self.val_accuracy, -self.val_loss) if monitor == "val_accuracy" else (-self.val_loss, 0.0)


class PhaseRun:
    """One phase, applied and compiled, with its inputs.

    `moving` are the variables that the phase changes.
    """

    def __init__(
        self,
        classifier: Classifier,
        data: Data,
        phase: Phase,
        store: FeatureStore,
        *,
        recipe: Recipe,
        precision: str,
        progress: Progress,
    ) -> None:
        self.phase, self.recipe = phase, recipe
        applied = apply_trainable(classifier, phase.trainable, batch_norm=phase.spec.batch_norm)
        self.moving = (*applied.trained, *applied.statistics)
        progress.say(_announce(phase, applied.trained))
        store.forget_above(phase.cut)
        upper = classifier.upper(phase.cut) if phase.cut else classifier.network
        # Validation never sees augmentation, so the frozen part runs once for it in any case.
        store_validation = phase.cut > 0 and store.fits(phase.cut, "validation")
        self.val_network = upper if store_validation else classifier.network
        self.val_inputs, self.val_rows = _inputs(data, store, phase.cut if store_validation else 0, "validation")
        self.val_labels = data.labels[data.rows["validation"]]
        wants_store = phase.cut > 0 and not phase.augment
        store_train = wants_store and store.fits(phase.cut, "train")
        if wants_store and not store_train:
            needed_mb = features_mb(classifier.input_shape(phase.cut), len(data.rows["train"]))
            progress.say(
                f"{phase.name}: the frozen part's features need {needed_mb:,.1f} MB of memory, more than is free; "
                "they are computed in every epoch"
            )
        self.inputs, self.rows = _inputs(data, store, phase.cut if store_train else 0, "train")
        self.labels = data.labels[data.rows["train"]]
        self.rates = RateTable(phase.rates)
        self.trainer = PhaseTrainer(
            upper if store_train else classifier.network,
            build_augmentations(recipe.augment, seed=recipe.seed) if phase.augment else (),
            trained=applied.trained,
            num_classes=len(data.class_names),
            seed=recipe.seed,
            stream=f"phase {phase.index}",
            precision=precision,
        )
        weights = classifier.weights()
        shares = [(weights[path], share) for path, share in phase.multipliers.items()]
        self.trainer.compile(
            optimizer=build_optimizer(phase.spec, self.rates, shares),
            loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.loss.label_smoothing),
            metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
            jit_compile=False,
        )
        # Otherwise the first step makes the optimizer's variables, and TensorFlow traces it twice.
        self.trainer.optimizer.build(list(applied.trained))

    def fit_epoch(self, epoch: int, before: Sequence[Epoch], task: Task) -> Epoch:
        """Train one epoch (counted within the phase, from 0) and validate.

        Args:
            before: the phase's earlier epochs.

        Raises:
            TrainingError: a loss that is not a number.
        """
        start_s = time.monotonic()
        phase, batch_size = self.phase, self.recipe.data.batch_size
        factor = _rate_factor(phase, before, self.recipe.monitor)
        self.rates.factor.assign(factor)
        order = epoch_order(len(self.rows), seed=self.recipe.seed, epoch=phase.first_epoch + epoch)
        batches = training_batches(self.inputs, self.rows[order], self.labels[order], batch_size=batch_size)
        steps = _Steps(self.trainer, phase, epoch * phase.steps_per_epoch, factor, task)
        logs = self.trainer.fit(batches, verbose=0, callbacks=steps, shuffle=False).history
        if not math.isfinite(logs["loss"][0]):
            raise steps.bad_loss()
        scores = log_softmax(compute_outputs(self.val_network, self.val_inputs, self.val_rows, batch_size=batch_size))
        val_loss = float(-scores[np.arange(len(scores)), self.val_labels].mean())
        last_step = (epoch + 1) * phase.steps_per_epoch - 1
        if not math.isfinite(val_loss):
            raise _not_a_number("validation loss", phase, last_step, factor)
        return Epoch(
            epoch=phase.first_epoch + epoch + 1,
            phase=phase.name,
            learning_rate=phase.rates[last_step] * factor,
            loss=float(logs["loss"][0]),
            accuracy=float(logs["accuracy"][0]),
            val_loss=val_loss,
            val_accuracy=float((scores.argmax(axis=1) == self.val_labels).mean()),
            seconds=time.monotonic() - start_s,
        )


class _Steps(keras.callbacks.CallbackList):
    """Tells the progress of every step of an epoch, and ends training when the loss is no number.

    Keras' own list reads the numbers of every step, for which the host must wait until the device is done with it;
    here they are read a few times a second.
    """

    def __init__(self, trainer: PhaseTrainer, phase: Phase, first_step: int, factor: float, task: Task) -> None:
        super().__init__(add_history=True, model=trainer)
        self.trainer, self.phase, self.first_step, self.factor = trainer, phase, first_step, factor
        self.progress_task, self.note, self.read_s = task, "", 0.0
        trainer.finite_steps.assign(0)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if time.monotonic() - self.read_s >= _READ_EVERY_S:
            loss = float(logs["loss"])
            if not math.isfinite(loss):
                raise self.bad_loss()
            self.note = f"loss {loss:.3f}  accuracy {float(logs['accuracy']):.1%}"
            self.read_s = time.monotonic()
        self.progress_task.advance(note=self.note)

    def bad_loss(self) -> TrainingError:
        """What to raise when a step had a loss that is no number, whenever that is noticed."""
        step = self.first_step + int(self.trainer.finite_steps.numpy())
        return _not_a_number("loss", self.phase, step, self.factor)


def _inputs(data: Data, store: FeatureStore, cut: int, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Stored features, or pictures where `cut` is 0, and the rows of them that are the split's."""
    if not cut:
        return data.images, data.rows[split]
    features = store.features(cut, split)
    return features, np.arange(len(features))


def _rate_factor(phase: Phase, before: Sequence[Epoch], monitor: str) -> float:
    """What an epoch's rates are multiplied with after the drops that a plateau schedule has made."""
    rates = phase.spec.schedule
    if rates.kind != "plateau":
        return 1.0
    values = [row.value(monitor) for row in before]
    return rates.factor ** plateau_drops(values, patience=rates.patience, higher_is_better=monitor == "val_accuracy")


def _not_a_number(what: str, phase: Phase, step: int, factor: float) -> TrainingError:
    return TrainingError(
        f"the {what} is not a number any more: phase {phase.name!r}, step {step + 1} of {phase.num_steps}, "
        f"learning rate {phase.rates[step] * factor:.2e}.\n"
        "Lower the phase's learning_rate, add ramp_epochs: 1, or set clip_norm: 1."
    )


def _announce(phase: Phase, trained: Sequence[Any]) -> str:
    numbers = sum(math.prod(variable.shape) for variable in trained)
    return (
        f"phase {phase.name}: {phase.epochs} epochs of {phase.steps_per_epoch} steps, {numbers:,} parameters train, "
        f"peak rate {phase.spec.learning_rate:g}"
    )
