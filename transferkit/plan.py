"""What a run would do, without training: phases, what trains, steps, rates, and on request the time."""

import html
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from transferkit.backbones.table import BACKBONES
from transferkit.data.load import Data, count_splits, is_on_this_machine, list_source
from transferkit.model.classifier import Classifier, build_classifier
from transferkit.progress import Quiet, format_seconds
from transferkit.recipe.recipe import Recipe
from transferkit.schedule.schedule import Phase, resolve_schedule
from transferkit.train.features import FeatureStore
from transferkit.train.forward import compute_outputs
from transferkit.train.phase_run import PhaseRun
from transferkit.train.runtime import resolve_precision

# Enough steps for a stable time; the first epoch, which traces the graph, is not counted.
_MEASURED_STEPS = 4


@dataclass(frozen=True, slots=True)
class PlannedPhase:
    """One phase, resolved.

    Args:
        stages: indices of the stages in which something trains; the head is the one after the backbone's last.
        num_parameters: that train.
        num_steps: over all epochs, `None` while the data is not on this machine.
        first_rate, peak_rate, last_rate: learning rates of the first, the highest and the last step.
        stored: whether the frozen part runs once and its outputs are kept.
        epoch_s, once_s: measured seconds per epoch, and for the frozen part once.
    """

    name: str
    epochs: int
    stages: tuple[int, ...]
    num_parameters: int
    num_steps: int | None
    first_rate: float
    peak_rate: float
    last_rate: float
    stored: bool
    epoch_s: float | None = None
    once_s: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule as people read it; printing it gives a table."""

    backbone: str
    num_parameters: int
    stages: tuple[tuple[str, int, int], ...]
    num_pictures: tuple[tuple[str, int], ...] | None
    phases: tuple[PlannedPhase, ...]

    def __str__(self) -> str:
        if self.num_pictures:
            data = ", ".join(f"{count} {split}" for split, count in self.num_pictures)
        else:
            data = "not on this machine yet; steps are known once it is"
        lines = [f"data      {data}", f"backbone  {self.backbone}, {self.num_parameters:,} parameters with the head"]
        lines += [f"  {name:<8} {layers:>4} layers {count:>12,} parameters" for name, layers, count in self.stages]
        for phase in self.phases:
            steps = f"{phase.num_steps} steps" if phase.num_steps else "steps not known yet"
            trained = ", ".join(self.stages[stage][0] for stage in phase.stages)
            lines += [
                f"phase {phase.name}: {phase.epochs} epochs, {steps}",
                f"  trains  {phase.num_parameters:,} parameters in {trained}",
                f"  rates   {phase.first_rate:.2e} at the start, {phase.peak_rate:.2e} at the peak, "
                f"{phase.last_rate:.2e} at the end",
                f"  frozen  {_frozen(phase)}",
            ]
            if phase.epoch_s is not None:
                once = f", and {format_seconds(phase.once_s)} once for the frozen part" if phase.once_s else ""
                lines.append(f"  time    {format_seconds(phase.epoch_s)} per epoch{once}")
        if all(phase.epoch_s is not None for phase in self.phases):
            total_s = sum(phase.epochs * (phase.epoch_s or 0) + (phase.once_s or 0) for phase in self.phases)
            lines.append(f"training takes about {format_seconds(total_s)} on this machine")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def make_plan(recipe: Recipe, *, measure: bool) -> Plan:
    """Resolve a recipe's schedule on the built network. Downloads nothing.

    Args:
        measure: also time a few steps of every phase, on random pictures.

    Raises:
        TransferkitError: the recipe does not fit the network or the data.
    """
    spec = BACKBONES[recipe.model.backbone]
    listing = list_source(recipe.data) if is_on_this_machine(recipe.data) else None
    num_classes = len(listing.class_names) if listing else 2
    precision = resolve_precision(recipe.runtime.precision)
    classifier = build_classifier(
        recipe.model,
        spec,
        image_size_px=recipe.data.image_size,
        num_classes=num_classes,
        seed=recipe.seed,
        precision=precision,
        load=False,
    )
    counts = count_splits(listing, recipe.data, seed=recipe.seed) if listing else None
    batch_size = recipe.data.batch_size
    steps = -(-counts["train"] // batch_size) if counts else 1
    schedule = resolve_schedule(
        recipe.phases, stages=classifier.stages, steps_per_epoch=steps, augment=bool(recipe.augment)
    )
    planned = [_planned(phase, classifier, known=counts is not None) for phase in schedule]
    if measure and counts:
        planned = [
            _measured(one, phase, classifier, recipe, precision, counts["train"], counts["validation"])
            for one, phase in zip(planned, schedule, strict=True)
        ]
    names = [*(f"stage {stage.index}" for stage in classifier.stages[:-1]), "head"]
    return Plan(
        backbone=spec.name,
        num_parameters=classifier.network.count_params(),
        stages=tuple(
            (name, len(stage.layers), stage.num_parameters)
            for name, stage in zip(names, classifier.stages, strict=True)
        ),
        num_pictures=tuple(sorted(counts.items(), key=lambda item: -item[1])) if counts else None,
        phases=tuple(planned),
    )


def _planned(phase: Phase, classifier: Classifier, *, known: bool) -> PlannedPhase:
    trained = [
        (stage.index, weight.size)
        for stage in classifier.stages
        for weight in stage.weights
        if weight.path in phase.trainable
    ]
    return PlannedPhase(
        name=phase.name,
        epochs=phase.epochs,
        stages=tuple(sorted({stage for stage, _ in trained})),
        num_parameters=sum(size for _, size in trained),
        num_steps=phase.num_steps if known else None,
        first_rate=phase.rates[0],
        peak_rate=max(phase.rates),
        last_rate=phase.rates[-1],
        stored=phase.cut > 0 and not phase.augment,
    )


def _measured(
    planned: PlannedPhase,
    phase: Phase,
    classifier: Classifier,
    recipe: Recipe,
    precision: str,
    num_train: int,
    num_validation: int,
) -> PlannedPhase:
    """A planned phase with times from a few steps on random pictures."""
    batch_size, size_px = recipe.data.batch_size, recipe.data.image_size
    num_images = _MEASURED_STEPS * batch_size
    draw = np.random.default_rng(0)
    rows = np.arange(num_images)
    data = Data(
        class_names=tuple(map(str, range(classifier.network.output_shape[-1]))),
        images=draw.integers(0, 256, (num_images, size_px, size_px, 3), dtype=np.uint8),
        labels=(rows % classifier.network.output_shape[-1]).astype(np.int32),
        paths=(),
        rows={"train": rows, "validation": rows, "test": rows[:0]},
        skipped=(),
    )
    short = replace(
        phase,
        epochs=2,
        steps_per_epoch=_MEASURED_STEPS,
        rates=(phase.rates[0],) * (2 * _MEASURED_STEPS),
    )
    store = FeatureStore(classifier, data, batch_size=batch_size, progress=Quiet())
    run = PhaseRun(classifier, data, short, store, recipe=recipe, precision=precision, progress=Quiet())
    run.fit_epoch(0, [], Quiet())
    both_s = run.fit_epoch(1, [], Quiet()).seconds
    validation_s = _forward_s(run.val_network, run.val_inputs, rows, batch_size)
    train_s = max(0.0, both_s - validation_s)
    once_s = None
    if phase.cut:
        num_once = num_validation + (num_train if planned.stored else 0)
        lower = classifier.lower(phase.cut)
        _forward_s(lower, data.images, rows[:batch_size], batch_size)
        once_s = _forward_s(lower, data.images, rows, batch_size) * num_once / num_images
    return replace(
        planned, epoch_s=(train_s * num_train + validation_s * num_validation) / num_images, once_s=once_s
    )


def _forward_s(network: Any, inputs: np.ndarray, rows: np.ndarray, batch_size: int) -> float:
    start_s = time.monotonic()
    compute_outputs(network, inputs, rows, batch_size=batch_size)
    return time.monotonic() - start_s


def _frozen(phase: PlannedPhase) -> str:
    lowest = phase.stages[0]
    if lowest == 0:
        return "nothing"
    below = f"stage 0 to {lowest - 1}" if lowest > 1 else "stage 0"
    return f"{below}, computed once" if phase.stored else f"{below}, computed for every augmented picture"
