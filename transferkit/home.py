"""Where transferkit keeps what more than one run uses: prepared pictures, features, weights, downloads."""

from collections.abc import Mapping
from pathlib import Path


def home_folder(environ: Mapping[str, str]) -> Path:
    """`$TRANSFERKIT_HOME`, else `~/.cache/transferkit`."""
    return Path(environ.get("TRANSFERKIT_HOME") or "~/.cache/transferkit").expanduser()
