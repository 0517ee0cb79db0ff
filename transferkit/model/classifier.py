"""The classifier: preprocessing, backbone and head as one flat graph, cut into stages."""

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
from keras import layers

from transferkit.backbones.spec import BackboneSpec
from transferkit.backbones.stages import Stage, describe_stage, name_layers, split_stages, weight_path
from transferkit.backbones.weights import load_weights
from transferkit.errors import RuntimeSetupError
from transferkit.recipe.model import HeadSpec, ModelSpec

_log = logging.getLogger(__name__)
_POOLED = "pooled"


@dataclass(frozen=True)
class Classifier:
    """A backbone with a head.

    Args:
        network: `(batch, height, width, 3)` pixels 0–255 to logits `(batch, num_classes)`, float32.
        stage_ends: the last layer of each of the backbone's stages.
        layers: the layers of each stage, the head's last.
    """

    network: keras.Model
    stage_ends: tuple[str, ...]
    layers: tuple[tuple[Any, ...], ...]

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """What is in each stage, as plain values; the last one is the head."""
        return tuple(describe_stage(index, stage) for index, stage in enumerate(self.layers))

    def stage_networks(self, cut: int) -> tuple[keras.Model, ...]:
        """From pixels to the tensor that enters stage `cut` (the head: after pooling), one network for each stage."""
        ends = [self.network.input, *(self._cut(stage) for stage in range(1, cut + 1))]
        return tuple(keras.Model(start, end) for start, end in zip(ends, ends[1:], strict=False))

    def upper(self, cut: int) -> keras.Model:
        """From the tensor that enters stage `cut` to logits. Shares the network's variables."""
        return keras.Model(self._cut(cut), self.network.output)

    def input_shape(self, cut: int) -> tuple[int, ...]:
        """Shape of what enters stage `cut`, for one picture."""
        return tuple(self._cut(cut).shape[1:])

    def _cut(self, cut: int) -> Any:
        name = _POOLED if cut == len(self.stage_ends) else self.stage_ends[cut - 1]
        return self.network.get_layer(name).output

    def weights(self) -> dict[str, Any]:
        """Every variable by its path, as in `Stage.weights`."""
        return {weight_path(layer, variable): variable for layer in self.network.layers for variable in layer.weights}


def build_classifier(
    spec: ModelSpec,
    backbone: BackboneSpec,
    *,
    image_size_px: int,
    num_classes: int,
    seed: int,
    precision: str = "float32",
    recompute: bool = False,
    load: bool = True,
) -> Classifier:
    """Build the network and load the backbone's weights.

    Args:
        seed: of the head's start, and of the backbone's where its weights are `none`.
        precision: Keras dtype policy of the backbone and the head; preprocessing and logits stay float32.
        recompute: activations are computed again for the backward pass rather than kept.
        load: `False` leaves the backbone at its random start, for a look at its shape.

    Raises:
        WeightsError: see `load_weights`.
        RuntimeSetupError: Keras is set to channels first.
    """
    if keras.config.image_data_format() != "channels_last":
        raise RuntimeSetupError(
            "Keras is set to channels_first, which the backbones here do not support.\n"
            'Set "image_data_format": "channels_last" in ~/.keras/keras.json, or, in Python before anything else, call '
            'keras.config.set_image_data_format("channels_last").'
        )
    with _building(seed=seed, precision=precision), keras.RematScope(mode="full" if recompute else None):
        images = keras.Input((image_size_px, image_size_px, 3), dtype="float32", name="image")
        body = backbone.build(input_tensor=backbone.preprocess(images))
        name_layers(body)
        if load:
            load_weights(body, backbone, spec.weights)
        head_start = {id(layer) for layer in body.layers}
        logits = _head(body.output, spec.head, num_classes=num_classes, seed=seed)
        network = keras.Model(images, logits, name=backbone.name)
    head = tuple(layer for layer in network.layers if id(layer) not in head_start)
    stages = split_stages(body, backbone.stage_ends)
    _log.info("%s: %d parameters, weights %s", backbone.name, network.count_params(), spec.weights)
    return Classifier(network, backbone.stage_ends, (*stages, head))


@contextmanager
def _building(*, seed: int, precision: str) -> Iterator[None]:
    """Set what keras.applications takes from global state only, and put it back.

    Its layers have the global dtype policy, and their initializers draw their seeds from Python's own generator.
    """
    policy, state = keras.config.dtype_policy(), random.getstate()
    keras.config.set_dtype_policy(precision)
    random.seed(seed)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        random.setstate(state)


def _head(feature_map: Any, spec: HeadSpec, *, num_classes: int, seed: int) -> Any:
    """Pooling, hidden layers and dropout, then float32 logits."""
    average = layers.GlobalAveragePooling2D(name=_POOLED if spec.pooling == "avg" else "pooled_avg")
    maximum = layers.GlobalMaxPooling2D(name=_POOLED if spec.pooling == "max" else "pooled_max")
    if spec.pooling == "concat":
        x = layers.Concatenate(name=_POOLED)([average(feature_map), maximum(feature_map)])
    else:
        x = (average if spec.pooling == "avg" else maximum)(feature_map)
    penalty = keras.regularizers.L2(spec.weight_decay) if spec.weight_decay else None

    def dense(units: int, index: int, **options: Any) -> Any:
        start = keras.initializers.GlorotUniform(seed=seed + index)
        return layers.Dense(units, kernel_initializer=start, kernel_regularizer=penalty, **options)

    for index, units in enumerate(spec.hidden):
        x = dense(units, index, activation="relu", name=f"head_hidden_{index + 1}")(x)
        if spec.dropout:
            x = layers.Dropout(spec.dropout, seed=seed, name=f"head_dropout_{index + 1}")(x)
    if spec.dropout and not spec.hidden:
        x = layers.Dropout(spec.dropout, seed=seed, name="head_dropout")(x)
    return dense(num_classes, len(spec.hidden), dtype="float32", name="logits")(x)


def probability_model(network: keras.Model, *, multi_label: bool = False) -> keras.Model:
    """The network to save: pixels 0–255 to probabilities, without augmentation.

    Args:
        multi_label: whether each class has a probability of its own (sigmoid), or they sum to 1 (softmax).
    """
    last = {"dtype": "float32", "name": "probabilities"}
    layer = layers.Activation("sigmoid", **last) if multi_label else layers.Softmax(**last)
    return keras.Model(network.input, layer(network.output), name=network.name)
