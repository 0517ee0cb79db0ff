"""Learning rates: pure functions of the step, tables of numbers for the optimizer."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from transferkit.recipe import phases as spec
from transferkit.recipe.spec import Choice

# Each gives the share of the peak after `progress_epochs` of `total_epochs`, both counted from the ramp's end.
RateShape = Callable[[Any, float, float], float]


def constant(_: spec.Constant, progress_epochs: float, total_epochs: float) -> float:
    return 1.0


def cosine(rates: spec.Cosine, progress_epochs: float, total_epochs: float) -> float:
    share = min(1.0, progress_epochs / total_epochs) if total_epochs else 1.0
    return rates.final + (1 - rates.final) * 0.5 * (1 + math.cos(math.pi * share))


def step(rates: spec.Step, progress_epochs: float, total_epochs: float) -> float:
    # A step's first batch belongs to it although its epoch number may come out as 2.9999….
    return rates.factor ** int((progress_epochs + 1e-9) // rates.every_epochs)


def exponential(rates: spec.Exponential, progress_epochs: float, total_epochs: float) -> float:
    return rates.factor**progress_epochs


RATE_SHAPES: Final[Mapping[str, RateShape]] = {
    "constant": constant,
    "cosine": cosine,
    "step": step,
    "exponential": exponential,
    "plateau": constant,  # its drops depend on the epochs' results: see `plateau_drops`
}


def rate_table(
    rates: Choice, *, peak: float, ramp_epochs: float, epochs: int, steps_per_epoch: int
) -> tuple[float, ...]:
    """Learning rate of every optimizer step of a phase: a linear rise to `peak`, then the schedule's shape.

    Source:
        Goyal et al. 2017 for the ramp, https://arxiv.org/abs/1706.02677
    """
    ramp_steps = round(ramp_epochs * steps_per_epoch)
    shape = RATE_SHAPES[rates.kind]
    left_epochs = epochs - ramp_steps / steps_per_epoch
    table = [peak * (index + 1) / ramp_steps for index in range(ramp_steps)]
    for index in range(epochs * steps_per_epoch - ramp_steps):
        table.append(peak * shape(rates, index / steps_per_epoch, left_epochs))
    return tuple(table)


def plateau_drops(values: Sequence[float], *, patience: int, higher_is_better: bool) -> int:
    """How often the rate has dropped after epochs with these monitored values, oldest first."""
    drops = waited = 0
    best = -math.inf
    for value in values:
        value = value if higher_is_better else -value
        waited = 0 if value > best else waited + 1
        best = max(best, value)
        if waited == patience:
            drops, waited = drops + 1, 0
    return drops


def has_stopped(values: Sequence[float], *, patience: int, higher_is_better: bool) -> bool:
    """Whether the last `patience` epochs brought nothing better than the best before them."""
    signed = [value if higher_is_better else -value for value in values]
    return len(signed) > patience and max(signed[-patience:]) <= max(signed[:-patience])


def stage_multipliers(num_stages: int, stage_decay: float) -> tuple[float, ...]:
    """Share of the rate for each stage, the head's (1) last: `stage_decay` per stage of distance from the head.

    Source:
        Howard and Ruder 2018, section 3.2. https://arxiv.org/abs/1801.06146
    """
    return tuple(stage_decay ** (num_stages - stage) for stage in range(num_stages + 1))


def layer_multipliers(num_layers: int, layer_decay: float) -> tuple[float, ...]:
    """Share of the rate for each depth from 0 to `num_layers`: `layer_decay` per layer of distance from the head.

    The layer nearest to the head is at distance 1, the head itself at 0.

    Source:
        Clark et al. 2020, https://arxiv.org/abs/2003.10555; for pictures Bao et al. 2021,
        https://arxiv.org/abs/2106.08254
    """
    return tuple(layer_decay ** (num_layers + 1 - depth) for depth in range(num_layers + 1))
