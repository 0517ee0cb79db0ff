"""What a run would do, without training: phases, what trains, steps, rates, and on request the time."""

import html
import os
from collections.abc import Mapping
from dataclasses import dataclass

from transferkit.backbones.table import BACKBONES
from transferkit.data.arrays_source import Arrays
from transferkit.data.balance import pictures_per_epoch
from transferkit.data.listing import SPLITS, Split
from transferkit.data.load import count_splits, count_training
from transferkit.data.source import is_on_this_machine, list_source
from transferkit.model.classifier import build_classifier
from transferkit.planning.measure import measure_phase
from transferkit.planning.phases import PlannedPhase, PlannedStage, plan_phases, plan_stages
from transferkit.planning.placement import Placement, plan_placement
from transferkit.planning.text import phase_lines, placement_text
from transferkit.progress import format_seconds
from transferkit.recipe.recipe import Recipe
from transferkit.schedule.schedule import resolve_schedule
from transferkit.train.runtime import list_devices, resolve_precision

# What stands in while the data is not on this machine.
_UNKNOWN_STEPS, _UNKNOWN_CLASSES = 100, 2


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule as people read it; printing it gives a table.

    Args:
        num_pictures: by split, if the data is on this machine.
        precision: what `auto` comes to.
    """

    recipe: Recipe
    stages: tuple[PlannedStage, ...]
    num_pictures: Mapping[Split, int] | None
    placement: Placement
    precision: str
    phases: tuple[PlannedPhase, ...]
    wants_times: bool = False

    @property
    def num_parameters(self) -> int:
        return sum(stage.num_parameters for stage in self.stages)

    def __str__(self) -> str:
        data, model = self.recipe.data, self.recipe.model
        if self.num_pictures:
            counts = ", ".join(f"{self.num_pictures[split]} {split}" for split in SPLITS if self.num_pictures[split])
            steps = self.phases[0].phase.steps_per_epoch
            text = f"{counts}, less unreadable files and copies; {steps} steps of {data.batch_size} per epoch"
        else:
            text = f"not on this machine yet: steps are unknown, the head is counted with {_UNKNOWN_CLASSES} classes"
        lines = [
            f"data      {text}",
            f"runs on   {placement_text(self.placement, self.recipe, precision=self.precision)}",
            f"backbone  {model.backbone} at {data.image_size} px, {self.num_parameters:,} parameters with the head",
        ]
        lines += [
            f"  {one.name:<8} {one.num_layers:>4} layers {one.num_parameters:>12,} parameters, to {one.end}"
            for one in self.stages
        ]
        for planned in self.phases:
            lines += phase_lines(planned, self.recipe)
        if self.wants_times and not self.num_pictures:
            lines.append("times are measured once the data is on this machine")
        elif self.wants_times:
            total_s = sum(one.phase.epochs * (one.epoch_s or 0) + (one.once_s or 0) for one in self.phases)
            where = "this machine" if self.placement.num_replicas == 1 else "one device of this machine"
            lines.append(f"training takes about {format_seconds(total_s)} on {where}, once the pictures are read")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def make_plan(recipe: Recipe, *, measure: bool, arrays: Arrays | None = None) -> Plan:
    """Resolve a recipe's schedule on the built network. Downloads nothing.

    Args:
        measure: also time a few steps of every phase, on random pictures.
        arrays: the pictures, where they come from Python.

    Raises:
        TransferkitError: the recipe does not fit the network or the data.
    """
    here = is_on_this_machine(recipe.data)
    listing = list_source(recipe.data, multi_label=recipe.multi_label, arrays=arrays) if here else None
    counts = count_splits(listing, recipe.data, seed=recipe.seed) if listing else None
    if listing:
        by_class = count_training(listing, recipe.data, seed=recipe.seed)
        num_per_epoch = pictures_per_epoch(counts["train"], by_class, recipe.data.imbalance)
    precision = resolve_precision(recipe.runtime.precision)
    classifier = build_classifier(
        recipe.model,
        BACKBONES[recipe.model.backbone],
        image_size_px=recipe.data.image_size,
        num_classes=len(listing.class_names) if listing else _UNKNOWN_CLASSES,
        seed=recipe.seed,
        precision=precision,
        recompute=recipe.runtime.recompute,
        load=False,
    )
    schedule = resolve_schedule(
        recipe.phases,
        stages=classifier.stages,
        steps_per_epoch=-(-num_per_epoch // recipe.data.batch_size) if counts else _UNKNOWN_STEPS,
        augment=bool(recipe.augment),
    )
    phases = plan_phases(schedule, classifier, counts, recipe.cache)
    if measure and counts:
        phases = tuple(measure_phase(one, classifier, recipe, precision, counts) for one in phases)
    return Plan(
        recipe=recipe,
        stages=plan_stages(classifier),
        num_pictures=counts,
        placement=plan_placement(recipe.runtime, list_devices(), os.environ),
        precision=precision,
        phases=phases,
        wants_times=measure,
    )
