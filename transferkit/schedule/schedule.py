"""The schedule: a recipe's phases with every count, rate and variable resolved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transferkit.backbones.stages import Stage
from transferkit.recipe.phases import Gradual, Head, LastStages, PhaseSpec
from transferkit.schedule.policies import lowest_stage, trainable_paths
from transferkit.schedule.rates import rate_table, stage_multipliers


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of training.

    Args:
        index: position in the schedule, from 0.
        first_epoch: counted over the whole run, from 0.
        rates: learning rate of each step, before plateau drops and multipliers.
        trainable: paths of the variables that train.
        multipliers: share of the rate by path, for the variables whose share is not 1.
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
        RecipeError: a layer that the built network does not have.
    """
    schedule: list[Phase] = []
    for spec in phases:
        table = rate_table(
            spec.schedule,
            peak=spec.learning_rate,
            ramp_epochs=spec.ramp_epochs,
            epochs=spec.epochs,
            steps_per_epoch=steps_per_epoch,
        )
        by_stage = stage_multipliers(len(stages) - 1, spec.stage_decay)
        multipliers = {
            weight.path: by_stage[stage.index]
            for stage in stages
            for weight in stage.weights
            if by_stage[stage.index] != 1
        }
        done = 0
        for part, epochs in _unfold(spec, num_stages=len(stages) - 1):
            trainable = trainable_paths(part.train, stages, part.batch_norm)
            schedule.append(
                Phase(
                    spec=part,
                    index=len(schedule),
                    name=part.name,
                    first_epoch=sum(phase.epochs for phase in schedule),
                    epochs=epochs,
                    steps_per_epoch=steps_per_epoch,
                    rates=table[done * steps_per_epoch : (done + epochs) * steps_per_epoch],
                    trainable=trainable,
                    multipliers={path: share for path, share in multipliers.items() if path in trainable},
                    cut=lowest_stage(trainable, stages),
                    augment=augment and part.augment,
                )
            )
            done += epochs
    return tuple(schedule)


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
