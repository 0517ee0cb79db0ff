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
from transferkit.train.features import FeatureStore
from transferkit.train.forward import compute_outputs, log_softmax
from transferkit.train.optimizer import RateTable, build_optimizer
from transferkit.train.trainer import PhaseTrainer


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
    """One phase, applied and compiled, with its inputs."""

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
        trained = apply_trainable(classifier, phase.trainable, batch_norm=phase.spec.batch_norm)
        progress.say(_announce(phase, trained))
        below = phase.cut > 0
        # Validation never sees augmentation, so the frozen part runs once for it in any case.
        self.val_network, self.val_inputs, self.val_rows = _inputs(
            classifier, data, store, phase.cut if below and store.fits(phase.cut, "validation") else 0, "validation"
        )
        self.val_labels = data.labels[data.rows["validation"]]
        stored = below and not phase.augment and store.fits(phase.cut, "train")
        if below and not phase.augment and not stored:
            progress.say(f"{phase.name}: features of the frozen part do not fit into memory; computed in every epoch")
        network, self.inputs, self.rows = _inputs(classifier, data, store, phase.cut if stored else 0, "train")
        self.labels = data.labels[data.rows["train"]]
        self.rates = RateTable(phase.rates)
        weights = classifier.weights()
        shares = {id(weights[path]): share for path, share in phase.multipliers.items()}
        augmentations = build_augmentations(recipe.augment, seed=recipe.seed) if phase.augment else ()
        self.trainer = PhaseTrainer(
            network,
            augmentations,
            trained=trained,
            num_classes=len(data.class_names),
            seed=recipe.seed,
            stream=f"phase {phase.index}",
            precision=precision,
        )
        self.trainer.compile(
            optimizer=build_optimizer(phase.spec, self.rates, shares),
            loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.loss.label_smoothing),
            metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
            jit_compile=False,
        )

    def fit_epoch(self, epoch: int, before: Sequence[Epoch], task: Task) -> Epoch:
        """Train one epoch (counted within the phase, from 0) and validate."""
        start_s = time.monotonic()
        phase, batch_size = self.phase, self.recipe.data.batch_size
        drops = _drops(phase, before, self.recipe.monitor)
        self.rates.factor.assign(phase.spec.schedule.factor**drops if drops else 1.0)
        order = epoch_order(len(self.rows), seed=self.recipe.seed, epoch=phase.first_epoch + epoch)
        batches = training_batches(self.inputs, self.rows[order], self.labels[order], batch_size=batch_size)
        first_step = epoch * phase.steps_per_epoch
        logs = self.trainer.fit(
            batches, verbose=0, callbacks=[_Watch(phase, first_step, task)], shuffle=False
        ).history
        scores = log_softmax(compute_outputs(self.val_network, self.val_inputs, self.val_rows, batch_size=batch_size))
        val_loss = float(-scores[np.arange(len(scores)), self.val_labels].mean())
        if not math.isfinite(val_loss):
            raise _not_a_number("validation loss", phase, first_step + phase.steps_per_epoch - 1)
        return Epoch(
            epoch=phase.first_epoch + epoch + 1,
            phase=phase.name,
            learning_rate=float(phase.rates[first_step + phase.steps_per_epoch - 1] * self.rates.factor.numpy()),
            loss=float(logs["loss"][0]),
            accuracy=float(logs["accuracy"][0]),
            val_loss=val_loss,
            val_accuracy=float((scores.argmax(axis=1) == self.val_labels).mean()),
            seconds=time.monotonic() - start_s,
        )


class _Watch(keras.callbacks.Callback):
    """Tells the progress of every step and ends training when the loss is no number."""

    def __init__(self, phase: Phase, first_step: int, task: Task) -> None:
        super().__init__()
        self.phase, self.first_step, self.task_told = phase, first_step, task

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        if not math.isfinite(logs["loss"]):
            raise _not_a_number("loss", self.phase, self.first_step + batch)
        self.task_told.advance(note=f"loss {logs['loss']:.3f}  accuracy {logs['accuracy']:.1%}")


def _inputs(classifier: Classifier, data: Data, store: FeatureStore, cut: int, split: Split) -> tuple[Any, Any, Any]:
    """The network from `cut` on, and what goes into it: stored features, or pictures where `cut` is 0."""
    if cut:
        features = store.features(cut, split)
        return classifier.upper(cut), features, np.arange(len(features))
    return classifier.network, data.images, data.rows[split]


def _drops(phase: Phase, before: Sequence[Epoch], monitor: str) -> int:
    if phase.spec.schedule.kind != "plateau":
        return 0
    values = [row.value(monitor) for row in before]
    patience = phase.spec.schedule.patience
    return plateau_drops(values, patience=patience, higher_is_better=monitor == "val_accuracy")


def _not_a_number(what: str, phase: Phase, step: int) -> TrainingError:
    rate = phase.rates[min(step, len(phase.rates) - 1)]
    return TrainingError(
        f"the {what} is not a number any more: phase {phase.name!r}, step {step + 1} of {phase.num_steps}, "
        f"learning rate {rate:.2e}.\n"
        "Lower the phase's learning_rate, add ramp_epochs: 1, or set clip_norm: 1."
    )


def _announce(phase: Phase, trained: Sequence[Any]) -> str:
    numbers = sum(math.prod(variable.shape) for variable in trained)
    return (
        f"phase {phase.name}: {phase.epochs} epochs of {phase.steps_per_epoch} steps, {numbers:,} parameters train, "
        f"peak rate {phase.spec.learning_rate:g}"
    )
