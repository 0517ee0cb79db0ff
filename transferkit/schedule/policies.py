"""Freeze policies: which variables train. They decide only; `train.apply` sets."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from transferkit.backbones.stages import Stage, Weight
from transferkit.errors import Problem, RecipeError
from transferkit.recipe import phases as spec
from transferkit.recipe.phases import BatchNormMode
from transferkit.recipe.spec import Choice

FreezePolicy = Callable[[Any, Sequence[Stage]], frozenset[str]]
_MAX_LAYERS_SHOWN = 40


def _paths(weights: Iterable[Weight]) -> frozenset[str]:
    return frozenset(weight.path for weight in weights)


def _backbone_weights(stages: Sequence[Stage]) -> Iterable[Weight]:
    return (weight for stage in stages[:-1] for weight in stage.weights)


def head_only(_: spec.Head, stages: Sequence[Stage]) -> frozenset[str]:
    return _paths(stages[-1].weights)


def last_stages(policy: spec.LastStages, stages: Sequence[Stage]) -> frozenset[str]:
    first = max(0, len(stages) - 1 - policy.count)
    return _paths(weight for stage in stages[first:] for weight in stage.weights)


def from_layer(policy: spec.FromLayer, stages: Sequence[Stage]) -> frozenset[str]:
    layers = [layer for stage in stages for layer in stage.layers]
    if policy.layer not in layers:
        raise _unknown("train.from_layer", policy.layer, "is not a layer of this backbone", layers)
    chosen = set(layers[layers.index(policy.layer) :])
    return _paths(weight for weight in _backbone_weights(stages) if weight.layer in chosen) | _paths(stages[-1].weights)


def by_pattern(policy: spec.Pattern, stages: Sequence[Stage]) -> frozenset[str]:
    found = _paths(weight for weight in _backbone_weights(stages) if re.search(policy.regex, weight.layer))
    if not found:
        layers = list(dict.fromkeys(weight.layer for weight in _backbone_weights(stages)))
        raise _unknown("train.pattern", policy.regex, "finds no layer with weights", layers)
    return found | _paths(stages[-1].weights)


def everything(_: spec.Everything, stages: Sequence[Stage]) -> frozenset[str]:
    return _paths(weight for stage in stages for weight in stage.weights)


def biases(_: spec.Bias, stages: Sequence[Stage]) -> frozenset[str]:
    chosen = (weight for weight in _backbone_weights(stages) if weight.role in ("bias", "beta"))
    return _paths(chosen) | _paths(stages[-1].weights)


def norms(_: spec.Norm, stages: Sequence[Stage]) -> frozenset[str]:
    found = _paths(weight for weight in _backbone_weights(stages) if weight.role in ("gamma", "beta"))
    if not found:
        raise RecipeError("recipe", [Problem("train", "norm", "has nothing to train: this backbone has no batch norm")])
    return found | _paths(stages[-1].weights)


# `gradual` is no policy of its own: it unfolds into phases of `last_stages`.
FREEZE_POLICIES: Final[Mapping[str, FreezePolicy]] = {
    "head": head_only,
    "last_stages": last_stages,
    "from_layer": from_layer,
    "pattern": by_pattern,
    "all": everything,
    "bias": biases,
    "norm": norms,
}


def trainable_paths(policy: Choice, stages: Sequence[Stage], batch_norm: BatchNormMode) -> frozenset[str]:
    """Paths of the variables that train under a policy and a batch-norm mode.

    Batch-norm statistics are never trained by gradients; under `train` they move by themselves in the layers whose
    gamma or beta trains.

    Raises:
        RecipeError: a layer name or pattern that the built network does not have, or that names frozen batch norm only.
    """
    chosen = FREEZE_POLICIES[policy.kind](policy, stages)
    weights = [weight for stage in stages for weight in stage.weights]
    norm_layers = {weight.layer for weight in weights if weight.role == "statistic"}
    fixed = {
        weight.path
        for weight in weights
        if weight.role == "statistic" or (batch_norm == "frozen" and weight.layer in norm_layers)
    }
    if isinstance(policy, spec.Pattern) and not chosen - fixed - _paths(stages[-1].weights):
        rule = "finds batch norm only, which stays frozen; add batch_norm: affine (or train) to the phase"
        raise RecipeError("recipe", [Problem("train.pattern", policy.regex, rule)])
    return chosen - fixed


def decayed_paths(
    decay: Literal["kernels", "all"], trainable: frozenset[str], stages: Sequence[Stage]
) -> frozenset[str]:
    """Those of the trainable variables that weight decay shrinks.

    `kernels` leaves out biases, batch norm's gamma and beta, and whatever else has one dimension only.

    Source:
        He et al. 2018, section 3.1, for the exceptions. https://arxiv.org/abs/1812.01187
    """
    if decay == "all":
        return trainable
    kernels = (weight for stage in stages for weight in stage.weights if weight.role == "kernel" and weight.rank > 1)
    return _paths(kernels) & trainable


def backbone_paths(trainable: frozenset[str], stages: Sequence[Stage]) -> frozenset[str]:
    """Those of the trainable variables that are not the head's."""
    return _paths(_backbone_weights(stages)) & trainable


def lowest_stage(trainable: frozenset[str], stages: Sequence[Stage]) -> int:
    """Index of the stage nearest the input in which something trains."""
    return min(stage.index for stage in stages if any(weight.path in trainable for weight in stage.weights))


def _unknown(path: str, given: str, rule: str, layers: Sequence[str]) -> RecipeError:
    """What to raise for a name or pattern; few layers are all shown, of many the ones with similar names."""
    if len(layers) <= _MAX_LAYERS_SHOWN:
        return RecipeError("recipe", [Problem(path, given, rule, tuple(layers))])
    near = difflib.get_close_matches(given, layers, n=5, cutoff=0.3)
    hint = f"; near ones among its {len(layers)}: {', '.join(near)}" if near else f"; it has {len(layers)}"
    return RecipeError("recipe", [Problem(path, given, rule + hint)])
