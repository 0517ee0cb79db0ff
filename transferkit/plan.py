"""What a run would do, without training: phases, what trains, steps, rates, and on request the time."""

import html
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from transferkit.backbones.table import BACKBONES
from transferkit.data.listing import SPLITS, Split
from transferkit.data.load import Data, count_splits, is_on_this_machine, list_source
from transferkit.model.classifier import Classifier, build_classifier
from transferkit.progress import Quiet, format_seconds
from transferkit.recipe.recipe import Recipe
from transferkit.recipe.runtime import CacheSpec
from transferkit.schedule.schedule import Phase, resolve_schedule
from transferkit.train.apply import apply_trainable
from transferkit.train.features import Features, features_mb
from transferkit.train.forward import BATCH_SIZE
from transferkit.train.phase_run import PhaseRun
from transferkit.train.placement import local_strategy
from transferkit.train.runtime import resolve_precision

# What stands in while the data is not on this machine.
_UNKNOWN_STEPS, _UNKNOWN_CLASSES = 100, 2
# A step's time is the difference between a long epoch and one of a single step; quick steps need more of them.
_LONG_S, _MIN_STEPS, _MAX_STEPS = 2.0, 4, 64


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """One stage; `end` is its last layer."""

    name: str
    end: str
    num_layers: int
    num_parameters: int


@dataclass(frozen=True, slots=True)
class PlannedPhase:
    """One phase, resolved.

    Args:
        phase: its rates are approximate while the data is not on this machine.
        stages: names of those in which something trains.
        shares: of the rate, by stage, where it is not 1.
        num_parameters: that train.
        num_steps: over all epochs, `None` while the data is not on this machine.
        frozen: the stages below, and how often they run, in words.
        num_once: pictures that the stages below see once, before the phase.
        num_again: pictures that they see in every epoch although nothing changes them.
        epoch_s, once_s: measured seconds per epoch, and before the first one.
    """

    phase: Phase
    stages: tuple[str, ...]
    shares: Mapping[str, float]
    num_parameters: int
    num_steps: int | None
    frozen: str
    num_once: int = 0
    num_again: int = 0
    epoch_s: float | None = None
    once_s: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule as people read it; printing it gives a table."""

    recipe: Recipe
    stages: tuple[PlannedStage, ...]
    num_pictures: Mapping[Split, int] | None
    phases: tuple[PlannedPhase, ...]
    wants_times: bool = False

    @property
    def num_parameters(self) -> int:
        return sum(stage.num_parameters for stage in self.stages)

    def __str__(self) -> str:
        data, model = self.recipe.data, self.recipe.model
        if self.num_pictures:
            counts = ", ".join(f"{self.num_pictures[split]} {split}" for split in SPLITS if self.num_pictures[split])
            steps = -(-self.num_pictures["train"] // data.batch_size)
            text = f"{counts}, less unreadable files and copies; {steps} steps of {data.batch_size} per epoch"
        else:
            text = f"not on this machine yet: steps are unknown, the head is counted with {_UNKNOWN_CLASSES} classes"
        lines = [
            f"data      {text}",
            f"backbone  {model.backbone} at {data.image_size} px, {self.num_parameters:,} parameters with the head",
        ]
        lines += [
            f"  {one.name:<8} {one.num_layers:>4} layers {one.num_parameters:>12,} parameters, to {one.end}"
            for one in self.stages
        ]
        for planned in self.phases:
            lines += _lines(planned, self.recipe)
        if self.wants_times and not self.num_pictures:
            lines.append("times are measured once the data is on this machine")
        elif self.wants_times:
            total_s = sum(one.phase.epochs * (one.epoch_s or 0) + (one.once_s or 0) for one in self.phases)
            lines.append(f"training takes about {format_seconds(total_s)} on this machine, once the pictures are read")
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
    listing = list_source(recipe.data) if is_on_this_machine(recipe.data) else None
    counts = count_splits(listing, recipe.data, seed=recipe.seed) if listing else None
    precision = resolve_precision(recipe.runtime.precision)
    classifier = build_classifier(
        recipe.model,
        BACKBONES[recipe.model.backbone],
        image_size_px=recipe.data.image_size,
        num_classes=len(listing.class_names) if listing else _UNKNOWN_CLASSES,
        seed=recipe.seed,
        precision=precision,
        load=False,
    )
    schedule = resolve_schedule(
        recipe.phases,
        stages=classifier.stages,
        steps_per_epoch=-(-counts["train"] // recipe.data.batch_size) if counts else _UNKNOWN_STEPS,
        augment=bool(recipe.augment),
    )
    planned = []
    kept: set[tuple[int, Split]] = set()
    for phase in schedule:
        kept = {one for one in kept if one[0] <= phase.cut}
        planned.append(_planned(phase, classifier, counts, kept, recipe.cache))
    if measure and counts:
        planned = [_measured(one, classifier, recipe, precision, counts) for one in planned]
    return Plan(
        recipe=recipe,
        stages=tuple(
            PlannedStage(name, stage.layers[-1], len(stage.layers), stage.num_parameters)
            for name, stage in zip(_stage_names(classifier), classifier.stages, strict=True)
        ),
        num_pictures=counts,
        phases=tuple(planned),
        wants_times=measure,
    )


def _stage_names(classifier: Classifier) -> tuple[str, ...]:
    return (*(f"stage {stage.index}" for stage in classifier.stages[:-1]), "head")


def _planned(
    phase: Phase,
    classifier: Classifier,
    counts: Mapping[Split, int] | None,
    kept: set[tuple[int, Split]],
    cache: CacheSpec,
) -> PlannedPhase:
    """A phase without times; `kept` are the features there by then, to which it adds its own."""
    names = _stage_names(classifier)
    trained = {
        names[stage.index]: [weight for weight in stage.weights if weight.path in phase.trainable]
        for stage in classifier.stages
    }
    wanted: list[Split] = ([] if phase.augment else ["train"]) + ["validation"] if phase.cut else []
    new = {split: counts[split] for split in wanted if (phase.cut, split) not in kept} if counts else {}
    new_mb = (
        features_mb(classifier.input_shape(phase.cut), sum(new.values()), precision=cache.precision)
        if phase.cut
        else 0.0
    )
    fits = cache.features == "auto" and new_mb * 2**20 <= cache.max_gb * 1e9
    below = "stage 0" if phase.cut == 1 else f"stage 0 to {phase.cut - 1}"
    if not phase.cut:
        frozen = "no whole stage"
    elif phase.augment:
        frozen = f"{below}, computed for every augmented picture"
    elif not fits:
        frozen = f"{below}, computed in every epoch: {new_mb:,.0f} MB of outputs are not stored"
    elif counts and not new:
        frozen = f"{below}, computed before"
    else:
        frozen = f"{below}, computed once" + (f" ({new_mb:,.1f} MB on disk)" if counts else "")
    if fits:
        kept |= {(phase.cut, split) for split in wanted}
    return PlannedPhase(
        phase=phase,
        stages=tuple(name for name, weights in trained.items() if weights),
        shares={
            name: phase.multipliers[weights[0].path]
            for name, weights in trained.items()
            if weights and weights[0].path in phase.multipliers
        },
        num_parameters=sum(weight.size for weights in trained.values() for weight in weights),
        num_steps=phase.num_steps if counts else None,
        frozen=frozen,
        num_once=sum(new.values()) if fits else 0,
        num_again=0 if fits else sum(new.values()),
    )


def _measured(
    planned: PlannedPhase, classifier: Classifier, recipe: Recipe, precision: str, counts: Mapping[Split, int]
) -> PlannedPhase:
    """A planned phase with times, from a few steps on random pictures."""
    batch_size, size_px = recipe.data.batch_size, recipe.data.image_size
    num_classes = classifier.network.output_shape[-1]
    rows = np.arange(batch_size)
    data = Data(
        class_names=tuple(map(str, range(num_classes))),
        images=np.random.default_rng(0).integers(0, 256, (batch_size, size_px, size_px, 3), dtype=np.uint8),
        labels=(rows % num_classes).astype(np.int32),
        paths=(),
        digests=tuple(row.to_bytes(32) for row in rows.tolist()),
        rows={"train": np.tile(rows, _MAX_STEPS), "validation": np.resize(rows, BATCH_SIZE), "test": rows[:0]},
        skipped=(),
    )
    # A random start can overflow, and a loss that is no number ends an epoch; zeros compute as fast.
    for variable in classifier.network.weights:
        variable.assign(np.zeros(variable.shape))
    phase = replace(planned.phase, steps_per_epoch=_MAX_STEPS, rates=(0.0,) * _MAX_STEPS)
    strategy = local_strategy()
    with TemporaryDirectory() as folder:
        recipe = recipe.model_copy(update={"cache": recipe.cache.model_copy(update={"folder": folder})})
        common = {"recipe": recipe, "precision": precision, "strategy": strategy, "progress": Quiet()}
        features = Features(classifier, data, **common)
        first_s = batch_s = 0.0
        if phase.cut:
            frozen = features.computed(phase.cut, "validation")
            first_s, batch_s = (_seconds(frozen.__getitem__, np.arange(BATCH_SIZE)) for _ in range(2))
        applied = apply_trainable(classifier, phase.trainable, batch_norm=phase.spec.batch_norm)
        starts = {path: np.zeros(variable.shape) for path, variable in applied.trained.items()}
        run = PhaseRun(classifier, data, phase, features, applied=applied, starts=starts, **common)
        step_s, traced_s = _step_and_start_seconds(run)
        val_s = _seconds(run.validation.run, Quiet())
    val_batches = -(-counts["validation"] // BATCH_SIZE)
    per_picture_s = batch_s / BATCH_SIZE
    return replace(
        planned,
        epoch_s=planned.phase.steps_per_epoch * step_s + val_batches * val_s + per_picture_s * planned.num_again,
        once_s=traced_s + max(0.0, first_s - batch_s) + per_picture_s * planned.num_once,
    )


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


def _lines(planned: PlannedPhase, recipe: Recipe) -> list[str]:
    """A phase as people read it."""
    phase, spec = planned.phase, planned.phase.spec
    steps = f"{planned.num_steps} steps" if planned.num_steps else "steps not known yet"
    early = f", ends after {spec.early_stopping.patience} epochs without a better one" if spec.early_stopping else ""
    norm = f"; batch norm: {spec.batch_norm}" if BACKBONES[recipe.model.backbone].has_batch_norm else ""
    clip = f", gradients clipped to norm {spec.clip_norm:g}" if spec.clip_norm else ""
    augment = ", ".join(one.kind for one in recipe.augment) if phase.augment else "no augmentation"
    lines = [
        f"phase {phase.name}: {phase.epochs} epoch{'s' if phase.epochs > 1 else ''}, {steps}{early}",
        f"  trains  {planned.num_parameters:,} parameters in {', '.join(planned.stages)}{norm}",
        f"  rate    {_rate(planned)}",
        f"  with    {spec.optimizer.name}, weight decay {spec.weight_decay:g}{clip}; {augment}",
        f"  frozen  {planned.frozen}",
    ]
    if planned.epoch_s is not None:
        start = format_seconds(planned.once_s or 0.0)
        lines.append(f"  time    {format_seconds(planned.epoch_s)} per epoch, after {start} to start")
    return lines


def _rate(planned: PlannedPhase) -> str:
    """The phase's learning rate over its steps, in words."""
    rates, schedule = planned.phase.rates, planned.phase.spec.schedule
    about = "" if planned.num_steps else "about "
    text = peak = f"{max(rates):.1e}"
    if rates[0] < max(rates):
        text = f"rises from {about}{rates[0]:.1e} to {peak}"
    if rates[-1] < max(rates):
        text += f"{', then falls' if rates[0] < max(rates) else ' at first, falls'} to {about}{rates[-1]:.1e}"
        text += f" ({schedule.kind})"
    if schedule.kind == "plateau":
        text += f", times {schedule.factor:g} after {schedule.patience} epochs without a better one"
    shares = ", ".join(f"times {share:g} in {stage}" for stage, share in planned.shares.items())
    return f"{text}; {shares}" if shares else text
