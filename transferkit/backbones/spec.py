"""What the pipeline must know about a backbone: one row of plain data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """ImageNet weights that are downloaded once, without the classification top.

    `md5` is the hash that keras.applications publishes for the file.
    """

    url: str
    md5: str

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """One backbone.

    Args:
        build: `build(input_tensor=…)` gives a Keras model from the source of `input_tensor` to the feature map, without
            weights loaded.
        preprocess: maps `(batch, height, width, 3)` RGB pixels, 0–255, to what the weights were trained with.
        min_size_px: the smallest that its makers' own builder takes.
        feature_dim: channels of the feature map.
        stage_ends: the layer that ends each stage, from the input; one tensor crosses each of them.
        imagenet: where ImageNet weights come from: a file to download, or a function that fills a built backbone.
        licence: of the ImageNet weights.
        source: the paper.
    """

    name: str
    build: Callable[..., Any]
    preprocess: Callable[[Any], Any]
    image_size_px: int
    min_size_px: int
    feature_dim: int
    stage_ends: tuple[str, ...]
    imagenet: WeightsFile | Callable[[Any], None]
    licence: str
    source: str
    has_batch_norm: bool = True

    @property
    def num_stages(self) -> int:
        return len(self.stage_ends)
