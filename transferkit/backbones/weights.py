"""Fill a built backbone with weights: ImageNet's, or a file's."""

import logging
import os
import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from transferkit.backbones.download import download_weights
from transferkit.backbones.spec import BackboneSpec, WeightsFile
from transferkit.backbones.weights_file import SavedLayer, open_saved_layers
from transferkit.errors import WeightsError

_log = logging.getLogger(__name__)
SUFFIXES = (".weights.h5", ".h5", ".keras")
# A head is dense layers: matrices and vectors. Every part of a backbone has an array of more dimensions.
_HEAD_DIMENSIONS = 2
_NUM_SHOWN = 3


def load_weights(backbone: Any, spec: BackboneSpec, weights: str) -> None:
    """Fill `backbone`, which `spec` built.

    Args:
        weights: `imagenet`, `none` (the random start stays) or the path of a `.weights.h5`, `.h5` or `.keras` file.

    Raises:
        WeightsError: the weights are not there, unreadable, or of another network.
    """
    if weights == "none":
        return
    if weights != "imagenet":
        load_file(backbone, Path(weights))
    elif isinstance(spec.imagenet, WeightsFile):
        load_file(backbone, download_weights(spec.name, spec.imagenet))
    else:
        spec.imagenet(backbone)


def check_weights_path(weights: str) -> str | None:
    """What is wrong with a `weights:` value, or `None`. Opens nothing."""
    if weights in ("imagenet", "none"):
        return None
    if not os.path.isfile(weights):  # unlike Path.is_file, says no to a name that no system allows
        return "is neither imagenet, none, nor the path of a file"
    if not weights.endswith(SUFFIXES):
        return f"must end in {', '.join(SUFFIXES)}"
    return None


def load_file(backbone: Any, path: Path) -> None:
    """Fill `backbone` from a weights file or a saved model of the same backbone, with or without a head.

    Layers are matched by their order, as Keras does: names that Keras numbers by itself differ from build to build.
    Either every weight is set, or none.

    Raises:
        WeightsError: unreadable, or another network's; the first layers that differ are named.
    """
    wanted = [layer for layer in backbone.layers if layer.weights]
    try:
        with open_saved_layers(path, backbone.layers) as saved:
            if lines := list(_differences(wanted, saved)):
                raise WeightsError(_misfit(path, backbone.name, lines))
            values = [layer.values() for layer in saved[: len(wanted)]]
            left = [layer.name for layer in saved[len(wanted) :]]
    except WeightsError:
        raise
    # Whatever a broken file makes h5py, zipfile or Keras raise.
    except Exception as error:
        reason = textwrap.shorten(str(error) or repr(error), 200, placeholder=" …")
        raise WeightsError(f"{path} cannot be read as a weights file: {reason}") from error
    for layer, arrays in zip(wanted, values, strict=True):
        layer.set_weights(arrays)
    if left:
        _log.info("%s: the head in it is not used: %s", path, ", ".join(left))


def _differences(wanted: Sequence[Any], saved: Sequence[SavedLayer]) -> Iterator[str]:
    """One line for each layer that is not the same in both; what a head can have may be left over in the file."""
    for layer, found in zip_longest(wanted, saved):
        shapes = [tuple(variable.shape) for variable in layer.weights] if layer else []
        if layer is None and all(len(shape) <= _HEAD_DIMENSIONS for shape in found.shapes):
            continue
        if found is None or found.shapes != shapes:
            in_backbone = f"{layer.name} {_text(shapes)}" if layer else "nothing more"
            in_file = f"{found.name} {_text(found.shapes)}" if found else "nothing more"
            yield f"    {in_backbone} in the backbone, {in_file} in the file"


def _text(shapes: Sequence[tuple[int, ...]]) -> str:
    return textwrap.shorten(" ".join("×".join(map(str, shape)) for shape in shapes), 60, placeholder=" …")


def _misfit(path: Path, name: str, lines: Sequence[str]) -> str:
    return "\n".join(
        [
            f"{path} does not hold the weights of {name}. Layers that differ: {len(lines)}, the first of them",
            *lines[:_NUM_SHOWN],
            "Use a file of the same backbone, or change model.backbone.",
        ]
    )
