"""Stages: a backbone's layers grouped between two resolution changes, and what is in them as plain values."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["kernel", "bias", "gamma", "beta", "statistic"]
_ROLES: dict[str, Role] = {
    "bias": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "statistic",
    "moving_variance": "statistic",
}
_AUTOMATIC = re.compile(
    r"(conv2d|separable_conv2d|depthwise_conv2d|batch_normalization|activation|add|concatenate|"
    r"average_pooling2d|max_pooling2d|zero_padding2d)(_\d+)?"
)


@dataclass(frozen=True, slots=True)
class Weight:
    """One variable.

    Args:
        path: `layer/variable`, the same in every build.
        size: how many numbers it holds, in `rank` dimensions.
        depth: of its layer, as in `layer_depths`.
    """

    path: str
    layer: str
    role: Role
    size: int
    rank: int
    depth: int


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage. The head is the stage after the backbone's last one."""

    index: int
    layers: tuple[str, ...]
    weights: tuple[Weight, ...]

    @property
    def num_parameters(self) -> int:
        return sum(weight.size for weight in self.weights)


def name_layers(backbone: Any) -> None:
    """Give layers that Keras numbered automatically fixed names.

    Their numbers go up with every build in a process, so weights and cuts could not be found by name. The new
    numbers count from 1 within the backbone, in its own order.
    """
    counts: Counter[str] = Counter()
    for layer in backbone.layers:
        if match := _AUTOMATIC.fullmatch(layer.name):
            counts[match[1]] += 1
            layer.name = f"{match[1]}_{counts[match[1]]}"


def split_stages(model: Any, stage_ends: Sequence[str]) -> tuple[tuple[Any, ...], ...]:
    """The layers of each stage: those that its end needs and no earlier stage has.

    Layers after the last end belong to the last stage, those before the backbone (input, preprocessing) to the first.
    """
    import keras

    left = list(model.layers)
    stages = []
    for end in stage_ends[:-1]:
        needed = {id(layer) for layer in keras.Model(model.input, model.get_layer(end).output).layers}
        stages.append(tuple(layer for layer in left if id(layer) in needed))
        left = [layer for layer in left if id(layer) not in needed]
    return (*stages, tuple(left))


def weight_path(layer: Any, variable: Any) -> str:
    """`layer/variable`. Keras' own path keeps the automatic number that the layer was built with."""
    return f"{layer.name}/{variable.name}"


def layer_depths(layers: Sequence[Any]) -> tuple[int, ...]:
    """How many layers with a kernel lie on the longest way from the input through each layer, itself included.

    So branches side by side count once, and batch norm is as deep as the convolution before it.
    """
    depths: dict[int, int] = {}
    waiting = list(layers)
    while waiting:
        operation = waiting[-1]
        # The first node is the call that the backbone was built with; every cut adds one.
        before = [node.operation for node in operation._inbound_nodes[0].parent_nodes]
        unknown = [one for one in before if id(one) not in depths]
        if not unknown:
            has_kernel = any(_role(variable) == "kernel" for variable in getattr(operation, "weights", ()))
            depths[id(operation)] = max((depths[id(one)] for one in before), default=0) + has_kernel
            waiting.pop()
        waiting += unknown
    return tuple(depths[id(layer)] for layer in layers)


def describe_stage(index: int, layers: Sequence[Any]) -> Stage:
    """Keras layers as plain values."""
    weights = tuple(
        Weight(
            path=weight_path(layer, variable),
            layer=layer.name,
            role=_role(variable),
            size=math.prod(variable.shape),
            rank=len(variable.shape),
            depth=depth,
        )
        for layer, depth in zip(layers, layer_depths(layers), strict=True)
        for variable in layer.weights
    )
    return Stage(index, tuple(layer.name for layer in layers), weights)


def _role(variable: Any) -> Role:
    return _ROLES.get(variable.name, "kernel")
