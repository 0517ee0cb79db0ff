"""Fill a built backbone with weights: ImageNet's, or a file's."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from transferkit.backbones.spec import BackboneSpec, WeightsFile
from transferkit.errors import WeightsError

SUFFIXES = (".weights.h5", ".h5", ".keras")
# No answer for this long means no network; the error must reach the user within 15 s, name lookup included.
_CONNECT_S = 10
_Shapes = list[tuple[str, tuple[int, ...]]]


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
    if not Path(weights).is_file():
        return "is neither imagenet, none, nor the path of a file"
    if not weights.endswith(SUFFIXES):
        return f"must end in {', '.join(SUFFIXES)}"
    return None


def download_weights(name: str, file: WeightsFile) -> Path:
    """The file from Keras' cache, downloaded on the first use.

    Raises:
        WeightsError: it is not in the cache and cannot be downloaded.
    """
    import keras

    cache = Path(keras.config.keras_home()) if hasattr(keras.config, "keras_home") else Path.home() / ".keras"
    target = cache / "models" / file.name
    try:
        if not target.exists():
            _reach(file.url)
        with _socket_timeout(_CONNECT_S):
            return Path(keras.utils.get_file(file.name, file.url, cache_subdir="models", file_hash=file.md5))
    # get_file raises plain Exception for a failed download, ValueError for a wrong hash.
    except Exception as error:
        raise WeightsError(
            f"ImageNet weights of {name} are not on this machine and could not be downloaded: {error}\n"
            f"  from:  {file.url}\n"
            f"  to:    {target}\n"
            f"Put the file there by hand, or name a file you have: --set model.weights=PATH\n"
            f"Without a network: --set model.backbone=efficientnet_lite0, whose weights come with the installation."
        ) from error


def load_file(backbone: Any, path: Path) -> None:
    """Fill `backbone` from a weights file or a saved model of the same backbone, with or without a head.

    Raises:
        WeightsError: unreadable, or shapes differ; the first layers that differ are named.
    """
    try:
        if path.suffix == ".keras":
            _assign(backbone, _saved_layers(path))
        else:
            backbone.load_weights(path)
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(_misfit(backbone, path, error)) from error


def _assign(backbone: Any, layers: Sequence[Any]) -> None:
    by_name = {layer.name: layer for layer in layers}
    wanted = [layer for layer in backbone.layers if layer.weights]
    if all(layer.name in by_name for layer in wanted):
        given = [by_name[layer.name] for layer in wanted]
    else:  # names that Keras numbered by itself: the order decides
        given = list(layers[: len(wanted)])
    if [_shape_list(layer) for layer in given] != [_shape_list(layer) for layer in wanted]:
        raise ValueError("shapes differ")
    for layer, source in zip(wanted, given, strict=True):
        layer.set_weights(source.get_weights())


def _saved_layers(path: Path) -> list[Any]:
    import keras

    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    return [layer for layer in _flat(model) if layer.weights]


def _flat(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _flat(layer)
        else:
            yield layer


def _shape_list(layer: Any) -> list[tuple[int, ...]]:
    return [tuple(variable.shape) for variable in layer.weights]


def _misfit(backbone: Any, path: Path, error: Exception) -> str:
    """The error of a file that does not fit, with the first layers that differ."""
    try:
        found = _shapes_in(path)
    except Exception:
        return f"{path} cannot be read as a weights file: {str(error).splitlines()[0] if str(error) else error!r}"
    wanted = [(layer.name, shape) for layer in backbone.layers for shape in _shape_list(layer)]
    lines = [
        f"    {_line(want)} in the backbone, {_line(have)} in the file"
        for want, have in zip_longest(wanted, found)
        if (want and want[1]) != (have and have[1])
    ]
    return "\n".join(
        [
            f"{path} does not fit the backbone: {len(wanted)} arrays wanted, {len(found)} in the file.",
            *(["  the first that differ:", *lines[:3]] if lines else [f"  {str(error).splitlines()[0]}"]),
            "Use a file of the same backbone without the classification top, or change model.backbone.",
        ]
    )


def _line(entry: tuple[str, tuple[int, ...]] | None) -> str:
    return f"{entry[0]} {entry[1]}" if entry else "nothing"


def _shapes_in(path: Path) -> _Shapes:
    if path.suffix == ".keras":
        return [(layer.name, shape) for layer in _saved_layers(path) for shape in _shape_list(layer)]
    import h5py

    with h5py.File(path, "r") as file:
        root = file["model_weights"] if "model_weights" in file else file
        if "layer_names" in root.attrs:  # Keras 1 and 2
            return [
                (_text(layer), tuple(root[_text(layer)][_text(weight)].shape))
                for layer in root.attrs["layer_names"]
                for weight in root[_text(layer)].attrs["weight_names"]
            ]
        found: _Shapes = []
        layers = root["layers"]
        for name in sorted(layers, key=_numbered):
            layers[name].visititems(
                lambda _, item, name=name: found.append((name, tuple(item.shape))) if hasattr(item, "shape") else None
            )
        return found


def _numbered(name: str) -> tuple[str, int]:
    stem, _, number = name.rpartition("_")
    return (stem, int(number)) if number.isdigit() else (name, 0)


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _reach(url: str) -> None:
    """Find out within `_CONNECT_S` whether the server answers at all; a lookup of a name can hang for longer."""
    from urllib.request import getproxies

    parts = urlsplit(getproxies().get(urlsplit(url).scheme) or url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    outcome: list[OSError] = []

    def connect() -> None:
        try:
            socket.create_connection((parts.hostname or "", port), timeout=_CONNECT_S / 2).close()
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_CONNECT_S)
    if thread.is_alive():
        raise TimeoutError(f"{parts.hostname} did not answer within {_CONNECT_S} s")
    if outcome:
        raise outcome[0]
