"""The schedule: a recipe's phases with every count, rate and variable resolved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from transferkit.backbones.stages import Stage
from transferkit.errors import Problem, RecipeError
from transferkit.recipe.phases import Gradual, Head, LastStages, PhaseSpec
from transferkit.schedule.policies import backbone_paths, decayed_paths, lowest_stage, trainable_paths
from transferkit.schedule.rates import layer_multipliers, rate_table, stage_multipliers


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of training.

    Args:
        index: position in the schedule, from 0.
        first_epoch: counted over the whole run, from 0.
        rates: learning rate of each step, before plateau drops and multipliers.
        trainable: paths of the variables that train.
        multipliers: share of the rate by path, for the variables whose share is not 1.
        decayed: paths of the trainable variables that weight decay shrinks; none if it is 0. What is pulled to its
            start is not shrunk to 0 besides, as in https://arxiv.org/abs/1802.01483.
        pulled: paths of the trainable variables that L2-SP pulls to their start; none if it is 0, and never the head's.
        cut: the lowest stage with a trainable variable; what lies below is frozen.
        augment: whether the recipe's random augmentation is on.
    """

    spec: PhaseSpec
    index: int
    name: str
    first_epoch: int
    epochs: int
    steps_per_epoch: int
    rates: tuple[float, ...]
    trainable: frozenset[str]
    multipliers: Mapping[str, float]
    decayed: frozenset[str]
    pulled: frozenset[str]
    cut: int
    augment: bool

    @property
    def num_steps(self) -> int:
        return self.epochs * self.steps_per_epoch


def resolve_schedule(
    phases: Sequence[PhaseSpec], *, stages: Sequence[Stage], steps_per_epoch: int, augment: bool
) -> tuple[Phase, ...]:
    """The recipe's phases in order, `gradual` ones unfolded.

    Args:
        stages: of the built network, the head's last.
        augment: whether the recipe has any augmentation.

    Raises:
        RecipeError: what does not fit the built network, of all phases at once.
    """
    schedule: list[Phase] = []
    problems: list[Problem] = []
    for position, spec in enumerate(phases):
        try:
            schedule += _resolve_phase(spec, schedule, stages, steps_per_epoch=steps_per_epoch, augment=augment)
        except RecipeError as error:
            problems += [replace(one, path=f"phases[{position}].{one.path}") for one in error.problems]
    if problems:
        raise RecipeError("recipe", problems)
    return tuple(schedule)


def _resolve_phase(
    spec: PhaseSpec, before: Sequence[Phase], stages: Sequence[Stage], *, steps_per_epoch: int, augment: bool
) -> list[Phase]:
    """One phase of the recipe, or the parts of a gradual one, which share one curve of rates."""
    table = rate_table(
        spec.schedule,
        peak=spec.learning_rate,
        ramp_epochs=spec.ramp_epochs,
        epochs=spec.epochs,
        steps_per_epoch=steps_per_epoch,
    )
    start = sum(phase.epochs for phase in before)
    parts: list[Phase] = []
    for part, epochs in _unfold(spec, num_stages=len(stages) - 1):
        trainable = trainable_paths(part.train, stages, part.batch_norm)
        cut = lowest_stage(trainable, stages)
        pulled = backbone_paths(trainable, stages) if part.l2_sp else frozenset()
        decayed = decayed_paths(part.decay, trainable, stages) if part.weight_decay else frozenset()
        done = sum(phase.epochs for phase in parts)
        parts.append(
            Phase(
                spec=_with_views_that_can_be_kept(part, cut, gradual=isinstance(spec.train, Gradual)),
                index=len(before) + len(parts),
                name=part.name,
                first_epoch=start + done,
                epochs=epochs,
                steps_per_epoch=steps_per_epoch,
                rates=table[done * steps_per_epoch : (done + epochs) * steps_per_epoch],
                trainable=trainable,
                multipliers=_multipliers(part, trainable, stages),
                decayed=decayed - pulled,
                pulled=pulled,
                cut=cut,
                augment=augment and part.augment,
            )
        )
    return parts


def _multipliers(spec: PhaseSpec, trainable: frozenset[str], stages: Sequence[Stage]) -> dict[str, float]:
    """Stage-wise share times layer-wise share of the trainable variables where that is not 1; the head has 1."""
    *backbone, _ = stages
    by_stage = stage_multipliers(len(backbone), spec.stage_decay)
    deepest = max((weight.depth for stage in backbone for weight in stage.weights), default=0)
    by_layer = layer_multipliers(deepest, spec.layer_decay)
    shares = {
        weight.path: by_stage[stage.index] * by_layer[weight.depth]
        for stage in backbone
        for weight in stage.weights
        if weight.path in trainable
    }
    return {path: share for path, share in shares.items() if share != 1}


def _with_views_that_can_be_kept(spec: PhaseSpec, cut: int, *, gradual: bool) -> PhaseSpec:
    """`spec`, without `views` in the parts of a gradual phase that leave no stage frozen.

    Raises:
        RecipeError: another phase leaves none, which shows only in the built network.
    """
    if cut or not spec.views:
        return spec
    if gradual:
        return spec.model_copy(update={"views": None})
    rule = "needs a frozen stage, whose outputs are stored, but this phase trains something in the first stage"
    raise RecipeError("recipe", [Problem("views", spec.views, rule)])


def _unfold(spec: PhaseSpec, *, num_stages: int) -> list[tuple[PhaseSpec, int]]:
    """A phase with its epochs; a gradual one as several, the last taking what is left when all stages train."""
    if not isinstance(spec.train, Gradual):
        return [(spec, spec.epochs)]
    parts, left, count = [], spec.epochs, spec.train.first
    while left:
        epochs = left if count >= num_stages else min(left, spec.train.every_epochs)
        policy = LastStages(count=count) if count else Head()
        parts.append((spec.model_copy(update={"train": policy, "name": f"{spec.name} {len(parts) + 1}"}), epochs))
        left, count = left - epochs, count + 1
    return parts
