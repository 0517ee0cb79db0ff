"""Which folder a run writes to, and how it is left."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from transferkit.bundle.run_folder import CHECKPOINTS, MODEL, choose_run_dir, remove_run_dir
from transferkit.bundle.unfinished import find_unfinished, open_run_dir
from transferkit.errors import RunFolderError, TransferkitError
from transferkit.recipe.recipe import Recipe
from transferkit.train.checkpoint import Checkpoints


def default_run_dir(recipe: Recipe, *, resume: bool) -> Path:
    """A new folder's name, or with `resume` the newest unfinished run of the same recipe.

    Raises:
        RunFolderError: there is no such run.
    """
    if not resume:
        return choose_run_dir(recipe.name, datetime.now())
    if found := find_unfinished(Path("runs"), recipe):
        return found
    raise RunFolderError(
        "runs/ holds no unfinished run of this recipe, every setting the same.\n"
        "Name the run's folder with --run-dir to see what differs, or leave out --resume to begin a new run."
    )


@contextmanager
def folder_of(run_dir: Path, recipe: Recipe, *, is_chief: bool, overwrite: bool, resume: bool) -> Iterator[Path]:
    """Where a process writes: the chief the run folder, any other a scratch folder."""
    if is_chief:
        with open_run_dir(run_dir, recipe=recipe, overwrite=overwrite, resume=resume):
            try:
                yield run_dir
            except TransferkitError:
                if not (run_dir / MODEL).exists() and Checkpoints(run_dir / CHECKPOINTS).is_empty:
                    remove_run_dir(run_dir)  # nothing is trained, and the name is free for the next try
                raise
    else:
        with TemporaryDirectory(prefix="transferkit-") as scratch:
            yield Path(scratch)
