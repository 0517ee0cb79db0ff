"""A network of two stages and a head, as plain values."""

import pytest

from transferkit.backbones.stages import Stage, Weight

_CONV = {"kernel": ("kernel", 10), "bias": ("bias", 2)}
_NORM = {
    "gamma": ("gamma", 2),
    "beta": ("beta", 2),
    "moving_mean": ("statistic", 2),
    "moving_variance": ("statistic", 2),
}


def _stage(index: int, **layers: dict) -> Stage:
    weights = tuple(
        Weight(f"{layer}/{name}", layer, role, size)
        for layer, variables in layers.items()
        for name, (role, size) in variables.items()
    )
    return Stage(index, tuple(layers), weights)


@pytest.fixture
def stages() -> tuple[Stage, ...]:
    """Two stages of a convolution, batch norm and a layer without weights; a head with a hidden layer."""
    return (
        _stage(0, image={}, conv_a=_CONV, norm_a=_NORM, relu_a={}),
        _stage(1, conv_b=_CONV, norm_b=_NORM, add_b={}),
        _stage(2, pooled={}, head_hidden_1=_CONV, logits=_CONV),
    )


@pytest.fixture
def stages_without_norm(stages) -> tuple[Stage, ...]:
    return tuple(
        Stage(one.index, one.layers, tuple(weight for weight in one.weights if not weight.layer.startswith("norm")))
        for one in stages
    )


@pytest.fixture
def many_layers(stages) -> tuple[Stage, ...]:
    """As `stages`, with 50 convolutions in the first one."""
    return (_stage(0, **{f"block{number}_conv": _CONV for number in range(50)}), *stages[1:])
