"""A file of ImageNet weights: the one that Keras has on this machine, or transferkit's own, fetched on first use."""

import os
from collections.abc import Mapping
from pathlib import Path

from transferkit.backbones.spec import WeightsFile
from transferkit.download.file import Digest, download_file, ways_out
from transferkit.errors import DownloadError, WeightsError
from transferkit.home import home_folder
from transferkit.progress import Progress


def download_weights(
    name: str, file: WeightsFile, *, home: Path | None = None, progress: Progress | None = None
) -> Path:
    """The file in a home folder, downloaded on the first use, unless the usual home or Keras' cache has it.

    A file that is not the published one is never used. It is replaced, and left alone if that fails.

    Args:
        name: of the backbone, for the error.
        home: default: `home_folder`.

    Raises:
        WeightsError: it is not there and cannot be downloaded.
    """
    digest = Digest("md5", file.md5)
    usual = weights_path(file, home_folder(os.environ))
    target = weights_path(file, home) if home else usual
    for path in (target, usual, keras_cache(os.environ) / file.name):
        if digest.fits(path):
            return path
    try:
        download_file(file.url, target, digest=digest, progress=progress)
    except DownloadError as error:
        there = "are not on this machine" if not target.exists() else "on this machine are not the published ones"
        raise WeightsError(
            f"The ImageNet weights of {name} {there} and cannot be downloaded: {error}\n"
            f"  from:  {file.url}\n"
            f"  to:    {target}\n"
            "Put the file there by hand, or name a file you have: --set model.weights=PATH\n"
            f"{ways_out(os.environ)}\n"
            "Without a network: --set model.backbone=efficientnet_lite0, whose weights come with the installation."
        ) from error
    return target


def weights_path(file: WeightsFile, home: Path) -> Path:
    """Where the file belongs in a home folder."""
    return home / "weights" / file.name


def keras_cache(environ: Mapping[str, str]) -> Path:
    """The folder where Keras keeps what it has downloaded. Keras has no public name for it, only the rule."""
    return Path(environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"
