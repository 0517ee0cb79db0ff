"""What is in a weights file, layer by layer: Keras 3's `.weights.h5`, the `.h5` of Keras 1 and 2, and `.keras`."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.errors import WeightsError


@dataclass(frozen=True)
class SavedLayer:
    """One layer's arrays, in the order of `Layer.weights`. They are read from the file when they are asked for."""

    name: str
    arrays: tuple[Any, ...]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [tuple(array.shape) for array in self.arrays]

    def values(self) -> list[np.ndarray]:
        return [np.asarray(array, np.float32) for array in self.arrays]


@contextmanager
def open_saved_layers(path: Path, layers: Sequence[Any]) -> Iterator[list[SavedLayer]]:
    """The layers with weights that a file holds, in the order of the network that it was saved from.

    Args:
        layers: of the network that the weights are for. Keras 3's weights files know no order over all layers, only
            among those of one class, so theirs follow this network; what it lacks comes last.

    Raises:
        WeightsError: a file of another kind.
    """
    if path.suffix == ".keras":
        import keras

        # Safe mode: a saved model can hold Python code, which is never run.
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        yield [SavedLayer(layer.name, tuple(layer.weights)) for layer in _flat(model) if layer.weights]
        return
    import h5py

    with h5py.File(path, "r") as file:
        root = _child(file, "model_weights") if "model_weights" in file else file
        if "layer_names" in root.attrs or "layer_names0" in root.attrs:
            saved = _legacy_layers(root)
        elif "layers" in root:
            saved = _keras_3_layers(_child(root, "layers"), layers)
        else:
            raise WeightsError(f"{path} is an HDF5 file, but not one with the weights of a Keras network.")
        yield [layer for layer in saved if layer.arrays]


def _flat(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _flat(layer)
        else:
            yield layer


def _legacy_layers(root: Any) -> list[SavedLayer]:
    layers = []
    for name in _names(root, "layer_names"):
        group = _child(root, name)
        layers.append(SavedLayer(name, tuple(_child(group, weight) for weight in _names(group, "weight_names"))))
    return layers


def _names(group: Any, attribute: str) -> list[str]:
    """A list of texts; one that is too long for a single attribute goes on in numbered ones."""
    numbered = takewhile(group.attrs.__contains__, (f"{attribute}{number}" for number in count()))
    parts = [attribute] if attribute in group.attrs else list(numbered)
    texts = [text for part in parts for text in group.attrs[part]]
    return [text.decode() if isinstance(text, bytes) else str(text) for text in texts]


def _keras_3_layers(groups: Any, layers: Sequence[Any]) -> list[SavedLayer]:
    counts: Counter[str] = Counter()
    names = []
    for layer in layers:
        kind = _snake_case(type(layer).__name__)
        names.append(f"{kind}_{counts[kind]}" if counts[kind] else kind)
        counts[kind] += 1
    known = [name for name in names if name in groups]
    return [_keras_3_layer(groups, name) for name in (*known, *sorted(set(groups) - set(known)))]


def _keras_3_layer(groups: Any, name: str) -> SavedLayer:
    """One group's arrays, numbered in `vars`; those of layers within it have none of their own and follow."""
    arrays: list[Any] = []

    def collect(group: Any) -> None:
        for key in sorted(group, key=lambda key: (key != "vars", int(key) if key.isdigit() else 0, key)):
            item = _child(group, key)
            if hasattr(item, "shape"):
                arrays.append(item)
            else:
                collect(item)

    collect(_child(groups, name))
    return SavedLayer(name, tuple(arrays))


def _snake_case(class_name: str) -> str:
    """As Keras names the groups of its weights files: `DepthwiseConv2D` is `depthwise_conv2d`."""
    spaced = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", class_name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", spaced).lower()


def _child(group: Any, path: str) -> Any:
    """What lies at `path` in the file itself: no link leads out of it."""
    import h5py

    for part in path.split("/"):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise WeightsError(f"{group.file.filename} does not hold {path} itself.")
        group = group[part]
    if isinstance(group, h5py.Dataset) and (group.external or group.is_virtual):
        raise WeightsError(f"{group.file.filename} does not hold {path} itself.")
    return group
