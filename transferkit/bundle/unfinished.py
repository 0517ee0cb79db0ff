"""Whether a run may begin in a folder, goes on there, or must keep out; and that one process has it to itself."""

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from transferkit.bundle.run_folder import RECIPE, RESULTS, clear_run_dir, partial_name, write_recipe
from transferkit.errors import NOTHING, RunFolderError, show_value
from transferkit.recipe.recipe import Recipe
from transferkit.recipe.yaml_tree import parse_yaml, path_text

_log = logging.getLogger(__name__)

_LOCK = ".lock"
_PARTIAL = ".partial"
_MAX_SHOWN = 10
# What file systems without locks answer.
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


def is_unfinished(path: Path) -> bool:
    """Whether a run began in this folder and did not reach its results."""
    return (path / RECIPE).is_file() and not (path / RESULTS).exists()


def find_unfinished(runs: Path, recipe: Recipe) -> Path | None:
    """The unfinished run under `runs` that began last, among those of the same resolved recipe."""
    found = (path for path in runs.glob("*/") if not _is_partial(path) and is_unfinished(path))
    newest_first = sorted(found, key=lambda path: ((path / RECIPE).stat().st_mtime_ns, path.name), reverse=True)
    return next((path for path in newest_first if not recipe_differences(path, recipe)), None)


def recipe_differences(path: Path, recipe: Recipe) -> tuple[str, ...]:
    """Where the recipe of the run in `path` is not `recipe`, a line each: `seed: 0 in the run, 1 asked`."""
    try:
        tree = parse_yaml((path / RECIPE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        return (f"{RECIPE} of the run cannot be read: {error}",)
    if tree.problems:
        return (f"{RECIPE} of the run cannot be read: {tree.problems[0]}",)
    asked = recipe.model_dump(mode="json")
    if not isinstance(tree.data, dict):
        return (f"{RECIPE} of the run is no recipe",)
    found = tuple(_differences(tree.data, asked, ()))
    if tree.data.keys() != asked.keys():
        return (f"{RECIPE} of the run was written by another version of transferkit", *found)
    return found


def check_run_dir(path: Path, *, recipe: Recipe, overwrite: bool = False, resume: bool = False) -> bool:
    """Decide what a run does with a folder; nothing in it is changed.

    Args:
        overwrite: replace the run that is there.
        resume: insist on a run to go on with.

    Returns:
        Whether the run that is there goes on; otherwise a new one begins.

    Raises:
        RunFolderError: the folder is no run folder or cannot be written to, or its run is finished, of another recipe,
            or running just now.
    """
    _refuse_unwritable(path)
    goes_on = _decide(path, recipe, overwrite=overwrite, resume=resume)
    if (path / _LOCK).exists():
        with _locked(path):
            pass
    return goes_on


@contextmanager
def open_run_dir(path: Path, *, recipe: Recipe, overwrite: bool = False, resume: bool = False) -> Iterator[bool]:
    """The run folder, for this process alone until the end; made anew unless the run in it goes on.

    A folder that appears holds recipe.yaml from its first moment, so that a kill leaves none or an unfinished run.
    The lock ends with the process, in whatever way that ends.

    Returns:
        As `check_run_dir`, which is asked again now that nobody can interfere.

    Raises:
        RunFolderError: as `check_run_dir`, or the folder cannot be made or written to.
    """
    check_run_dir(path, recipe=recipe, overwrite=overwrite, resume=resume)
    made = not path.exists()
    if made:
        _make(path, recipe)
    with _locked(path):
        goes_on = not made and _decide(path, recipe, overwrite=overwrite, resume=resume)
        if not made and not goes_on:
            _replace(path, recipe)
        yield goes_on


def _decide(path: Path, recipe: Recipe, *, overwrite: bool, resume: bool) -> bool:
    if overwrite and resume:
        raise RunFolderError("--overwrite replaces a run and --resume goes on with it; choose one.")
    if _is_free(path):
        if resume:
            raise RunFolderError(f"{path} holds no run to go on with. Leave out --resume to begin one.")
        return False
    if not (path / RECIPE).is_file():
        raise RunFolderError(f"{path} is not a run folder and is not empty; it is left alone. Name another --run-dir.")
    if overwrite:
        return False
    if not is_unfinished(path):
        if resume:
            raise RunFolderError(
                f"the run in {path} is finished already; its results are in {RESULTS}.\n"
                "To run it again, give --overwrite in place of --resume, or name another --run-dir."
            )
        raise RunFolderError(f"{path} already holds a run. Add --overwrite to replace it, or name another --run-dir.")
    if differences := recipe_differences(path, recipe):
        raise RunFolderError(_other_recipe(path, differences))
    return True


def _refuse_unwritable(path: Path) -> None:
    """As far as can be seen without writing."""
    there = next((one for one in (path.absolute(), *path.absolute().parents) if os.path.exists(one)), None)
    if there is None:  # such as a drive that is not there
        raise RunFolderError(f"{path} cannot be made: there is no {path.absolute().anchor}. Name another --run-dir.")
    is_here = there == path.absolute()
    if not there.is_dir():
        what = "is a file; it is left alone" if is_here else f"cannot be made: {there} is a file"
        raise RunFolderError(f"{path} {what}. Name another --run-dir.")
    if not os.access(there, os.W_OK | os.X_OK | (os.R_OK if is_here else 0)):
        what = "cannot be read or written to" if is_here else f"cannot be made: {there} cannot be written to"
        raise RunFolderError(f"{path} {what}. Allow it, or name another --run-dir.")


def _is_free(path: Path) -> bool:
    """Absent, empty, or with no more in it than a process leaves that ended before it wrote the recipe."""
    traces = (_LOCK, partial_name(path / RECIPE).name)
    return not path.exists() or (path.is_dir() and all(entry.name in traces for entry in path.iterdir()))


def _is_partial(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix == _PARTIAL


def _make(path: Path, recipe: Recipe) -> None:
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}{_PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        write_recipe(partial, recipe)
        partial.rename(path)
    except OSError as error:
        raise RunFolderError(f"{path} cannot be made: {error.strerror}. Name another --run-dir.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(path: Path, recipe: Recipe) -> None:
    """Begin anew in a folder that is there. It is not moved: it may be where a disk is mounted."""
    try:
        clear_run_dir(path, keep=(_LOCK,))
    except OSError as error:
        raise RunFolderError(f"{path} cannot be emptied: {error.strerror}. Name another --run-dir.") from error
    write_recipe(path, recipe)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        message = f"another process is at work on the run in {path}. Wait until it ends, or name another --run-dir."
        raise RunFolderError(message) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            message = f"{path} cannot be written to: {error.strerror}. Allow writing, or name another --run-dir."
            raise RunFolderError(message) from error
        _log.warning("%s is on a file system without locks: take care that no second process runs there", path)
    try:
        yield
    finally:
        # A finished run has no further need of it; one that is removed while held confuses nobody, since whoever
        # waits decides anew.
        if (path / RESULTS).exists():
            with suppress(OSError):
                (path / _LOCK).unlink()
        lock.release()


def _differences(old: object, new: object, path: tuple[str | int, ...]) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from _differences(old.get(key, NOTHING), new.get(key, NOTHING), (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        for index, (one, other) in enumerate(zip_longest(old, new, fillvalue=NOTHING)):
            yield from _differences(one, other, (*path, index))
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        in_run = "not in the run" if old is NOTHING else f"{show_value(old)} in the run"
        asked = "not asked" if new is NOTHING else f"{show_value(new)} asked"
        yield f"{path_text(path)}: {in_run}, {asked}"


def _other_recipe(path: Path, differences: tuple[str, ...]) -> str:
    lines = [f"{path} holds an unfinished run of another recipe:", *(f"  {one}" for one in differences[:_MAX_SHOWN])]
    if len(differences) > _MAX_SHOWN:
        lines.append(f"  and {len(differences) - _MAX_SHOWN} more")
    lines.append("Ask for the same to go on with it, add --overwrite to replace it, or name another --run-dir.")
    return "\n".join(lines)
