"""A network of two stages and a head, as plain values."""

import pytest

from transferkit.backbones.stages import Stage, Weight

# Role, size and rank by name.
_CONV = {"kernel": ("kernel", 10, 4), "bias": ("bias", 2, 1)}
_DENSE = {"kernel": ("kernel", 10, 2), "bias": ("bias", 2, 1)}
_NORM = {
    "gamma": ("gamma", 2, 1),
    "beta": ("beta", 2, 1),
    "moving_mean": ("statistic", 2, 1),
    "moving_variance": ("statistic", 2, 1),
}
# A scale for each channel, which has no role of its own.
_SCALE = {"scale": ("kernel", 2, 1)}


def _stage(index: int, *, depth: int, **layers: dict) -> Stage:
    """Layers one after the other, `depth` layers with a kernel before them."""
    weights = []
    for layer, variables in layers.items():
        depth += "kernel" in variables
        weights += [
            Weight(f"{layer}/{name}", layer, role, size, rank, depth) for name, (role, size, rank) in variables.items()
        ]
    return Stage(index, tuple(layers), tuple(weights))


@pytest.fixture
def stages() -> tuple[Stage, ...]:
    """Two stages of a convolution, batch norm and a layer without weights; a head with a hidden layer."""
    return (
        _stage(0, depth=0, image={}, conv_a=_CONV, norm_a=_NORM, relu_a={}),
        _stage(1, depth=1, conv_b=_CONV, norm_b=_NORM, add_b={}),
        _stage(2, depth=2, pooled={}, head_hidden_1=_DENSE, logits=_DENSE),
    )


@pytest.fixture
def deeper_stages(stages) -> tuple[Stage, ...]:
    """As `stages`, with three convolutions, and a scale, in the second one."""
    convs = {"conv_b": _CONV, "norm_b": _NORM, "conv_c": _CONV, "scale_c": _SCALE, "conv_d": _CONV, "norm_d": _NORM}
    return (stages[0], _stage(1, depth=1, **convs), _stage(2, depth=4, pooled={}, logits=_DENSE))


@pytest.fixture
def stages_without_norm(stages) -> tuple[Stage, ...]:
    return tuple(
        Stage(one.index, one.layers, tuple(weight for weight in one.weights if not weight.layer.startswith("norm")))
        for one in stages
    )


@pytest.fixture
def many_layers(stages) -> tuple[Stage, ...]:
    """As `stages`, with 50 convolutions in the first one."""
    return (_stage(0, depth=0, **{f"block{number}_conv": _CONV for number in range(50)}), *stages[1:])
