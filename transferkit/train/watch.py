"""What to look at while a run trains: speed, waiting, memory, gradients and updates; and what looks wrong."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from transferkit.train.epoch import Epoch

_WAITS_MUCH, _LONG_S = 0.3, 2.0
_FLAT_EPOCHS, _FLAT_FRACTION = 3, 0.01
_MAX_SHOWN = 5
# In standard errors of an accuracy, and at least.
_LEAK_ERRORS, _LEAK_MARGIN = 4.0, 0.1


@dataclass(frozen=True, slots=True)
class Watch:
    """One epoch's row in watch.csv. Unlike the history it differs from run to run.

    Args:
        seconds: of training and validation together.
        images_per_s: while training.
        wait_fraction: of the training time, spent waiting for the next batch's pictures.
        memory_mb: peak of the device; on CPUs what the process has.
        gradient_norms: root mean square over the steps, before clipping, by stage.
        update_norms: length of the weights' way in this epoch as a share of their own length, by stage.
    """

    epoch: int
    phase: str
    seconds: float
    images_per_s: float
    wait_fraction: float
    memory_mb: float
    gradient_norms: Mapping[str, float]
    update_norms: Mapping[str, float]


def update_norms(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], stage_of: Mapping[str, int]
) -> dict[int, float]:
    """How far each stage's weights moved, as a share of their length; paths of `stage_of` count."""
    moved: dict[int, float] = {}
    length: dict[int, float] = {}
    for path, stage in stage_of.items():
        old, new = before[path].astype(np.float64), after[path].astype(np.float64)
        moved[stage] = moved.get(stage, 0.0) + float(((new - old) ** 2).sum())
        length[stage] = length.get(stage, 0.0) + float((old**2).sum())
    return {stage: math.sqrt(moved[stage] / length[stage]) if length[stage] else math.inf for stage in moved}


def frozen_warning(before: Mapping[str, int], after: Mapping[str, int]) -> str | None:
    """Something frozen is not what it was.

    Args:
        before, after: checksums by path, at a phase's start and at its end.
    """
    changed = [path for path, checksum in before.items() if after[path] != checksum]
    if not changed:
        return None
    return (
        f"{len(changed)} frozen variables have changed in this phase: {', '.join(changed[:_MAX_SHOWN])}"
        f"{' …' if len(changed) > _MAX_SHOWN else ''}; this is a fault of the program, and the stored features no "
        "longer belong to the network. Please report it, with the recipe"
    )


def waiting_warning(watch: Watch, *, computes_features: bool) -> str | None:
    """Input-bound: the device stands still for pictures."""
    if watch.wait_fraction < _WAITS_MUCH or watch.seconds < _LONG_S:
        return None
    share = f"training waited for its input {watch.wait_fraction:.0%} of the time"
    if computes_features:
        return (
            f"{share}: frozen features are computed anew in every epoch; store them with cache.features: auto "
            "and enough cache.max_gb"
        )
    return f"{share}: keep pictures in memory with data.cache: memory, or use a local disk"


def flat_warning(losses: Sequence[float]) -> str | None:
    """The training loss of a phase, epoch by epoch, does not fall."""
    if len(losses) != _FLAT_EPOCHS + 1 or min(losses[1:]) < losses[0] * (1 - _FLAT_FRACTION):
        return None
    return (
        f"the training loss has not fallen in {_FLAT_EPOCHS} epochs ({losses[0]:.3f} to {losses[-1]:.3f}); "
        "raise the phase's learning_rate, train more stages, or check the labels"
    )


def leak_warning(row: Epoch, *, num_val: int, regularised: bool) -> str | None:
    """Validation far better than training, which pictures in both splits explain.

    Args:
        regularised: training pictures are augmented or features dropped, so that training is the harder task.
    """
    error = math.sqrt(max(row.accuracy * (1 - row.accuracy), 1 / num_val) / num_val)
    if regularised or row.val_accuracy - row.accuracy < max(_LEAK_MARGIN, _LEAK_ERRORS * error):
        return None
    return (
        f"validation accuracy ({row.val_accuracy:.1%}) is far above training accuracy ({row.accuracy:.1%}); "
        "look for pictures that stand in both splits in splits.csv, such as copies in other sizes"
    )
