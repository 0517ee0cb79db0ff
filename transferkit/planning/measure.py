"""How long phases take on this machine, from a few steps on random pictures."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from transferkit.data.listing import Split
from transferkit.data.load import Data
from transferkit.data.middle import middle_of, prepared_size_px
from transferkit.model.classifier import Classifier
from transferkit.planning.phases import PlannedPhase
from transferkit.progress import Quiet
from transferkit.recipe.imbalance import NoBalance
from transferkit.recipe.recipe import Recipe
from transferkit.train.apply import apply_trainable
from transferkit.train.forward import BATCH_SIZE
from transferkit.train.phase_run import PhaseRun
from transferkit.train.placement import local_strategy

# A step's time is the difference between a long epoch and one of a single step; quick steps need more of them.
_LONG_S, _MIN_STEPS, _MAX_STEPS = 2.0, 4, 64


def measure_phase(
    planned: PlannedPhase, classifier: Classifier, recipe: Recipe, precision: str, counts: Mapping[Split, int]
) -> PlannedPhase:
    """A planned phase with times, on one device. The network's weights become 0.

    Args:
        counts: pictures by split.
    """
    # A random start can overflow, and a loss that is no number ends an epoch; zeros compute as fast.
    for variable in classifier.network.weights:
        variable.assign(np.zeros(variable.shape))
    # Balancing classes changes how many steps there are, which is known, and not how long one takes.
    unbalanced = recipe.data.model_copy(update={"imbalance": NoBalance()})
    recipe = recipe.model_copy(update={"data": unbalanced})
    data, strategy = _random_data(classifier, recipe), local_strategy()
    phase = replace(planned.phase, steps_per_epoch=_MAX_STEPS, rates=(0.0,) * _MAX_STEPS)
    first_s = batch_s = 0.0
    if phase.cut:
        frozen = strategy.forward(classifier.stage_networks(phase.cut))
        images = np.resize(data.images, (BATCH_SIZE, *data.images.shape[1:]))
        first_s, batch_s = (_seconds(frozen, images) for _ in range(2))
    applied = apply_trainable(classifier, phase.trainable, batch_norm=phase.spec.batch_norm)
    run = PhaseRun(
        classifier,
        data,
        phase,
        _NoFeatures(classifier, data),
        applied=applied,
        starts={path: np.zeros(variable.shape) for path, variable in applied.trained.items()},
        recipe=recipe,
        precision=precision,
        strategy=strategy,
        progress=Quiet(),
    )
    step_s, traced_s = _step_and_start_seconds(run)
    val_s = _seconds(run.validation.run, Quiet()) * (2 if phase.spec.ema else 1)
    val_batches = -(-counts["validation"] // BATCH_SIZE)
    picture_s = batch_s / BATCH_SIZE
    return replace(
        planned,
        epoch_s=planned.phase.steps_per_epoch * step_s + val_batches * val_s + picture_s * planned.features.num_again,
        once_s=traced_s + max(0.0, first_s - batch_s) + picture_s * planned.features.num_once,
    )


def _random_data(classifier: Classifier, recipe: Recipe) -> Data:
    """One batch of pictures, which is all there is to train on."""
    batch_size, size_px = recipe.data.batch_size, recipe.data.image_size
    num_classes = classifier.network.output_shape[-1]
    rows = np.arange(batch_size)
    labels = rows % num_classes
    prepared_px = prepared_size_px(size_px, recipe.margin)
    images = np.random.default_rng(0).integers(0, 256, (batch_size, prepared_px, prepared_px, 3), dtype=np.uint8)
    return Data(
        class_names=tuple(map(str, range(num_classes))),
        images=middle_of(images, size_px),
        labels=np.eye(num_classes, dtype=bool)[labels] if recipe.multi_label else labels.astype(np.int32),
        weights=np.ones(batch_size, np.float32),
        paths=(),
        digests=(),
        rows={"train": np.tile(rows, _MAX_STEPS), "validation": np.resize(rows, BATCH_SIZE), "test": rows[:0]},
        skipped=(),
        with_margin=images,
    )


class _NoFeatures:
    """In the place of `Features`: nothing is computed or stored, all features are 0."""

    def __init__(self, classifier: Classifier, data: Data) -> None:
        self._classifier, self._data = classifier, data

    def forget_above(self, cut: int) -> None: ...

    def prepare(self, cuts: Any, split: Split) -> None: ...

    def rows(self, cut: int, split: Split) -> np.ndarray:
        shape = (len(self._data.rows[split]), *self._classifier.input_shape(cut))
        return np.broadcast_to(np.float32(0), shape)

    def views(self, cut: int, view: int, augmentations: Any) -> np.ndarray:
        return self.rows(cut, "train")


def _step_and_start_seconds(run: PhaseRun) -> tuple[float, float]:
    """Seconds of one step, and of the first epoch beyond its steps and validation."""

    def train(num_steps: int) -> float:
        run.position = _MAX_STEPS - num_steps
        return _seconds(run.fit_epoch, 0, (), Quiet())

    traced_s, short_s = train(1), train(1)
    num_steps = min(_MAX_STEPS, max(_MIN_STEPS, round(_LONG_S / short_s)))
    return max(0.0, train(num_steps) - short_s) / (num_steps - 1), max(0.0, traced_s - short_s)


def _seconds(work: Callable[..., Any], *arguments: Any) -> float:
    start_s = time.monotonic()
    work(*arguments)
    return time.monotonic() - start_s
