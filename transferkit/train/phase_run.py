"""One phase: apply what trains, make its optimizer, and train epoch by epoch."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from transferkit.data.balance import balance_training
from transferkit.data.load import Data
from transferkit.errors import TrainingError
from transferkit.model.augment import build_augmentations, mixes_labels
from transferkit.model.classifier import Classifier
from transferkit.model.draws import Draws
from transferkit.progress import Progress, Task
from transferkit.recipe.recipe import Recipe
from transferkit.schedule.rates import plateau_drops
from transferkit.schedule.schedule import Phase
from transferkit.train.apply import Applied
from transferkit.train.batches import batch_labels, epoch_order, training_batches
from transferkit.train.copies import as_array
from transferkit.train.epoch import Epoch
from transferkit.train.features import Computed, Features, Rows
from transferkit.train.optimizer import averages_of, build_optimizer
from transferkit.train.runtime import memory_mb
from transferkit.train.strategy import Strategy
from transferkit.train.trainer import CORRECT, COUNT, FINITE_STEPS, LOSS, STEPS, PhaseTrainer
from transferkit.train.validation import Validation
from transferkit.train.watch import Watch, update_norms

_READ_EVERY_S = 0.2


class PhaseRun:
    """One phase, ready to train, with its inputs.

    Args:
        applied: what trains.
        starts: weights before the run's first phase, by path.
        later: phases still to come; their features are computed in the same pass where nothing changes in between.

    `position` is the number of steps done in the current epoch.
    """

    def __init__(
        self,
        classifier: Classifier,
        data: Data,
        phase: Phase,
        features: Features,
        *,
        applied: Applied,
        starts: Mapping[str, np.ndarray],
        later: Sequence[Phase] = (),
        recipe: Recipe,
        precision: str,
        strategy: Strategy,
        progress: Progress,
    ) -> None:
        self.phase, self.recipe, self.strategy, self.position = phase, recipe, strategy, 0
        self.applied, self._classifier, self._data, self._features = applied, classifier, data, features
        self._balance = balance_training(data, recipe.data)
        progress.say(_announce(phase, applied.trained.values()))
        features.forget_above(phase.cut)
        wanted = cuts_in_reach(phase, later)
        # Validation never sees augmentation, so the frozen part runs once for it in any case.
        features.prepare([one.cut for one in wanted], "validation")
        features.prepare([one.cut for one in wanted if not one.augment], "train")

        with strategy.scope():
            augmentations = build_augmentations(recipe.augment, seed=recipe.seed) if phase.augment else ()
            self._for_views = [layer for layer in augmentations if not mixes_labels(layer)]
            if phase.spec.views:  # pictures are augmented before they are stored
                augmentations = [layer for layer in augmentations if mixes_labels(layer)]
            self._reads_features = bool(phase.cut) and (not phase.augment or bool(phase.spec.views))
            upper = classifier.upper(phase.cut) if phase.cut else classifier.network
            network = upper if self._reads_features else classifier.network
            stage_of = {weight.path: stage.index for stage in classifier.stages for weight in stage.weights}
            self.stage_of = {path: stage_of[path] for path in applied.trained}
            self.trainer = PhaseTrainer(
                network=network,
                augmentations=augmentations,
                trained=applied.trained,
                statistics=applied.statistics,
                stage_of=self.stage_of,
                optimizer=build_optimizer(
                    phase.spec,
                    applied.trained,
                    shares=phase.multipliers,
                    decayed=phase.decayed,
                    scale_loss=precision == "mixed_float16",
                ),
                draws=Draws([*augmentations, network], seed=recipe.seed, stream=f"phase {phase.index}"),
                num_classes=len(data.class_names),
                loss=recipe.loss,
                weighted=self._balance.weights is not None,
                pulled={path: keras.Variable(starts[path], trainable=False) for path in sorted(phase.pulled)},
                l2_sp=phase.spec.l2_sp,
                num_parts=recipe.runtime.gradient_accumulation_steps,
            )
        self.steps = strategy.steps(self.trainer)
        val_inputs = features.rows(phase.cut, "validation") if phase.cut else None
        self.validation = Validation(upper, data, val_inputs, strategy=strategy, loss=recipe.loss)

    def fit_epoch(
        self, epoch: int, before: Sequence[Epoch], task: Task, *, after_step: Callable[[], None] | None = None
    ) -> tuple[Epoch, Watch]:
        """Train one epoch (counted within the phase, from 0) from `position` on, and validate.

        Args:
            before: the phase's earlier epochs.
            after_step: called after each step, when the state is whole.

        Raises:
            TrainingError: a loss that is not a number.
        """
        start_s = time.monotonic()
        phase, batch_size = self.phase, self.recipe.data.batch_size
        factor = _rate_factor(phase, before, self.recipe.monitor)
        inputs, rows, labels = self._inputs(epoch)
        of_epoch = {"seed": self.recipe.seed, "epoch": phase.first_epoch + epoch}
        order = self._balance.positions(**of_epoch)[epoch_order(self._balance.pictures_per_epoch, **of_epoch)]
        if not self.position:
            self.steps.start_epoch()
        first, first_step = self.position, epoch * phase.steps_per_epoch
        at_start = self._moving_now()
        batches = _Timed(
            training_batches(
                inputs, rows[order], labels[order], batch_size=batch_size, strategy=self.strategy, first=first
            )
        )
        note, read_s = "", 0.0
        for images, their_labels, num_rows in batches:
            step = first_step + self.position
            self.steps.run(images, their_labels, num_rows=num_rows, step=step, rate=phase.rates[step] * factor)
            self.position += 1
            # Reading the sums waits until the device is done, so it is done a few times a second only.
            # Only the chief looks: a process that stopped at a step of its own would leave the others waiting.
            if self.strategy.process == 0 and time.monotonic() - read_s >= _READ_EVERY_S:
                note, read_s = self._note(first_step, factor), time.monotonic()
            if after_step:
                after_step()
            task.advance(note=note)
        sums = self.steps.read_sums()
        self._note(first_step, factor)
        trained_s = time.monotonic() - start_s
        row = self._row(epoch, sums, factor, task)
        watch = Watch(
            epoch=row.epoch,
            phase=phase.name,
            seconds=time.monotonic() - start_s,
            images_per_s=max(0, len(order) - first * batch_size) / trained_s,
            wait_fraction=batches.waited_s / trained_s,
            memory_mb=memory_mb(),
            gradient_norms=self._by_name(np.sqrt(sums[STEPS + 1 :] / max(1.0, sums[STEPS]))),
            update_norms=self._by_name(update_norms(at_start, self._moving_now(), self.stage_of).values()),
        )
        self.position = 0
        return row, watch

    def best_weights(self, row: Epoch) -> Mapping[str, np.ndarray]:
        """The trained variables' moving averages, if they did better in the epoch just trained."""
        if not row.prefers_average(self.recipe.monitor):
            return {}
        averages = averages_of(self.trainer.optimizer)
        return {path: as_array(one) for path, one in zip(self.applied.trained, averages, strict=True)}

    @property
    def computes_features(self) -> bool:
        """Whether frozen stages run in every epoch although nothing changes in them."""
        return self._reads_features and isinstance(self._inputs(0)[0], Computed)

    def _inputs(self, epoch: int) -> tuple[Rows, np.ndarray, np.ndarray]:
        """What an epoch trains on, the rows of it that are the split's, and their labels."""
        data, rows = self._data, self._data.rows["train"]
        labels = batch_labels(data.labels[rows], self._balance.weights)
        if not self._reads_features:
            return data.for_augmentation if self.phase.augment else data.images, rows, labels
        if views := self.phase.spec.views:
            return self._features.views(self.phase.cut, epoch % views, self._for_views), np.arange(len(rows)), labels
        return self._features.rows(self.phase.cut, "train"), np.arange(len(rows)), labels

    def _row(self, epoch: int, sums: np.ndarray, factor: float, task: Task) -> Epoch:
        """The epoch's row, after validation."""
        phase = self.phase
        self.steps.sync()
        scores = self.validation.run(task)
        last_step = (epoch + 1) * phase.steps_per_epoch - 1
        if not math.isfinite(scores.loss):
            raise _not_a_number("validation loss", phase, last_step, factor)
        of_average = None
        if averages := averages_of(self.trainer.optimizer):
            trained = list(self.applied.trained.values())
            raw = [as_array(variable) for variable in trained]
            try:
                for variable, average in zip(trained, averages, strict=True):
                    variable.assign(as_array(average))
                of_average = self.validation.run(task)
            finally:
                for variable, value in zip(trained, raw, strict=True):
                    variable.assign(value)
        return Epoch(
            epoch=phase.first_epoch + epoch + 1,
            phase=phase.name,
            learning_rate=phase.rates[last_step] * factor,
            loss=float(sums[LOSS] / sums[COUNT]),
            accuracy=float(sums[CORRECT] / sums[COUNT]),
            val_loss=scores.loss,
            val_accuracy=scores.accuracy,
            val_map=scores.map,
            ema_val_loss=of_average and of_average.loss,
            ema_val_accuracy=of_average and of_average.accuracy,
            ema_val_map=of_average and of_average.map,
        )

    def _note(self, first_step: int, factor: float) -> str:
        """How training goes, in words.

        Raises:
            TrainingError: a loss that is not a number.
        """
        sums = self.steps.read_sums()
        if not math.isfinite(sums[LOSS]):
            raise _not_a_number("loss", self.phase, first_step + int(sums[FINITE_STEPS]), factor)
        return f"loss {sums[LOSS] / sums[COUNT]:.3f}  accuracy {sums[CORRECT] / sums[COUNT]:.1%}"

    def _moving_now(self) -> dict[str, np.ndarray]:
        self.steps.sync()
        return {path: as_array(variable) for path, variable in self.applied.trained.items()}

    def _by_name(self, values: Iterable[float]) -> dict[str, float]:
        head = len(self._classifier.stages) - 1
        names = [f"stage {stage}" if stage < head else "head" for stage in self.trainer.stages]
        return {name: float(value) for name, value in zip(names, values, strict=True)}


class _Timed:
    """Batches, and how long they were waited for."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches, self.waited_s = batches, 0.0

    def __iter__(self) -> Iterator[Any]:
        while True:
            start_s = time.monotonic()
            batch = next(self._batches, None)
            self.waited_s += time.monotonic() - start_s
            if batch is None:
                return
            yield batch


def cuts_in_reach(phase: Phase, later: Sequence[Phase]) -> list[Phase]:
    """This phase and those after it whose features are those of now, since nothing below their cuts trains before."""
    found, lowest = [phase] if phase.cut else [], phase.cut
    for one in later:
        if one.cut and one.cut <= lowest:
            found.append(one)
        lowest = min(lowest, one.cut)
    return found


def _rate_factor(phase: Phase, before: Sequence[Epoch], monitor: str) -> float:
    """What an epoch's rates are multiplied with after the drops that a plateau schedule has made."""
    rates = phase.spec.schedule
    if rates.kind != "plateau":
        return 1.0
    values = [row.value(monitor) for row in before]
    return rates.factor ** plateau_drops(values, patience=rates.patience, higher_is_better=monitor != "val_loss")


def _not_a_number(what: str, phase: Phase, step: int, factor: float) -> TrainingError:
    return TrainingError(
        f"the {what} is not a number any more: phase {phase.name!r}, step {step + 1} of {phase.num_steps}, "
        f"learning rate {phase.rates[step] * factor:.2e}.\n"
        "Lower the phase's learning_rate, add ramp_epochs: 1, or set clip_norm: 1."
    )


def _announce(phase: Phase, trained: Iterable[Any]) -> str:
    numbers = sum(math.prod(variable.shape) for variable in trained)
    return (
        f"phase {phase.name}: {_count(phase.epochs, 'epoch')} of {_count(phase.steps_per_epoch, 'step')}, "
        f"{numbers:,} parameters train, peak rate {phase.spec.learning_rate:g}"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
