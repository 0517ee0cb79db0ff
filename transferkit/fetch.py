"""Bring all that a recipe needs from the network into one folder, for a machine without one."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from transferkit.backbones.download import download_weights, weights_path
from transferkit.backbones.spec import WeightsFile
from transferkit.backbones.table import BACKBONES
from transferkit.errors import WeightsError
from transferkit.home import home_folder
from transferkit.progress import ConsoleProgress, Progress
from transferkit.recipe.data import DataSpec
from transferkit.recipe.model import ModelSpec
from transferkit.recipe.recipe import Recipe

_MB: Final = 10**6


def fetch(recipe: Recipe, *, folder: Path | str | None = None, progress: Progress | None = None) -> Path:
    """Have the data and the weights of a recipe in one folder, whatever of them is there already.

    Carried to a machine without network, that folder is what TRANSFERKIT_HOME names there.

    Args:
        folder: default: transferkit's home on this machine.
        progress: where to tell what is there and what is fetched; default: the screen.

    Returns:
        The folder.

    Raises:
        TransferkitError: something cannot be had.
    """
    home = (Path(folder).expanduser() if folder else home_folder(os.environ)).absolute()
    progress = progress or ConsoleProgress()
    progress.say(f"weights  {_fetch_weights(recipe.model, home, progress)}")
    progress.say(f"data     {_fetch_data(recipe.data, home, progress)}")
    return home


def _fetch_weights(model: ModelSpec, home: Path, progress: Progress) -> str:
    """One line on where the weights are."""
    if model.weights == "none":
        return "none, since the backbone starts at random"
    if model.weights != "imagenet":
        return f"a file of yours: {model.weights}; take it along"
    imagenet = BACKBONES[model.backbone].imagenet
    if not isinstance(imagenet, WeightsFile):
        return f"those of {model.backbone} come with the installation of transferkit"
    target = weights_path(imagenet, home)
    was_there = target.exists()
    found = download_weights(model.backbone, imagenet, home=home, progress=progress)
    if found != target:  # Keras has it, and its folder stays here
        _copy(found, target)
    done = "was there" if was_there else "downloaded" if found == target else f"copied from {found.parent}"
    return f"{target.name}, {target.stat().st_size / _MB:,.1f} MB, {done}"


def _copy(found: Path, target: Path) -> None:
    partial = target.with_name(f"{target.name}.copying")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found, partial)
        partial.replace(target)
    except OSError as error:
        raise WeightsError(f"{found} cannot be copied to {target}: {error.strerror or error}") from error


def _fetch_data(data: DataSpec, home: Path, progress: Progress) -> str:
    """One line on where the pictures are."""
    return _FETCHES[data.source.kind](data.source, home, progress)


def _fetch_archive(source: Any, home: Path, progress: Progress) -> str:
    from transferkit.data.archive_source import fetch_archive, find_unpacked

    done = "was there"
    if not (unpacked := find_unpacked(source, home=home)):
        done = f"copied from {home_folder(os.environ)}" if find_unpacked(source) else "downloaded and unpacked"
        unpacked = fetch_archive(source, home=home, progress=progress)
    return f"{unpacked}, {_size_text(unpacked)}, {done}"


def _fetch_tfds(source: Any, home: Path, progress: Progress) -> str:
    from transferkit.data.tfds_source import fetch_tfds

    progress.say(f"{source.name}: TensorFlow Datasets looks for it, and prepares it if it is not there")
    prepared = fetch_tfds(source, home=home)
    outside = "; take it along" if source.data_dir else ""
    return f"{prepared}, {_size_text(prepared)}, prepared by TensorFlow Datasets{outside}"


def _is_yours(source: Any, *_: Any) -> str:
    return f"files of yours: {source.path}; take them along"


def _size_text(folder: Path) -> str:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return f"{len(sizes):,} files, {sum(sizes) / _MB:,.1f} MB"


# One row for each source of `recipe.source`.
_FETCHES: Final[Mapping[str, Callable[[Any, Path, Progress], str]]] = {
    "folder": _is_yours,
    "archive": _fetch_archive,
    "csv": _is_yours,
    "jsonl": _is_yours,
    "parquet": _is_yours,
    "tfds": _fetch_tfds,
    "arrays": lambda *_: "arrays of a Python program",
    "sample": lambda *_: "comes with transferkit",
}
