"""The stages and phases of a plan, from the built network and the resolved schedule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transferkit.data.listing import SPLITS, Split
from transferkit.model.classifier import Classifier
from transferkit.planning.features import PlannedFeatures, plan_features
from transferkit.recipe.runtime import CacheSpec
from transferkit.schedule.schedule import Phase


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
        shares: of the rate, the smallest and the largest by stage, where not all are 1.
        num_parameters: that train.
        num_steps: over all epochs, `None` while the data is not on this machine.
        epoch_s, once_s: measured seconds per epoch, and before the first one.
    """

    phase: Phase
    stages: tuple[str, ...]
    shares: Mapping[str, tuple[float, float]]
    num_parameters: int
    num_steps: int | None
    features: PlannedFeatures
    epoch_s: float | None = None
    once_s: float | None = None


def plan_stages(classifier: Classifier) -> tuple[PlannedStage, ...]:
    return tuple(
        PlannedStage(name, stage.layers[-1], len(stage.layers), stage.num_parameters)
        for name, stage in zip(_stage_names(classifier), classifier.stages, strict=True)
    )


def plan_phases(
    schedule: Sequence[Phase], classifier: Classifier, counts: Mapping[Split, int] | None, cache: CacheSpec
) -> tuple[PlannedPhase, ...]:
    """All phases, without times.

    Args:
        counts: pictures by split, if they are known.
    """
    features = plan_features(
        schedule, shape_at=classifier.input_shape, counts=counts or dict.fromkeys(SPLITS, 1), cache=cache
    )
    names = _stage_names(classifier)
    planned = []
    for phase, own_features in zip(schedule, features, strict=True):
        trained = {
            names[stage.index]: [weight for weight in stage.weights if weight.path in phase.trainable]
            for stage in classifier.stages
        }
        shares = {
            name: {phase.multipliers.get(weight.path, 1.0) for weight in weights}
            for name, weights in trained.items()
            if weights
        }
        planned.append(
            PlannedPhase(
                phase=phase,
                stages=tuple(shares),
                shares={name: (min(own), max(own)) for name, own in shares.items() if own != {1.0}},
                num_parameters=sum(weight.size for weights in trained.values() for weight in weights),
                num_steps=phase.num_steps if counts else None,
                features=own_features,
            )
        )
    return tuple(planned)


def _stage_names(classifier: Classifier) -> tuple[str, ...]:
    return (*(f"stage {stage.index}" for stage in classifier.stages[:-1]), "head")
