"""The recipes that come with transferkit."""

import os
from importlib.resources import files
from pathlib import Path


def shipped_recipes() -> dict[str, Path]:
    """Path of each shipped recipe, by name."""
    installed = Path(str(files("transferkit"))) / "recipes"
    # In a checkout they lie beside the package.
    folder = installed if installed.is_dir() else Path(__file__).parents[2] / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_recipe(name_or_path: str) -> Path:
    """A recipe file, or the shipped recipe of that name where there is no such file."""
    # Not `Path.is_file`, which raises for names that are too long.
    if os.path.isfile(name_or_path):
        return Path(name_or_path)
    return shipped_recipes().get(name_or_path, Path(name_or_path))
