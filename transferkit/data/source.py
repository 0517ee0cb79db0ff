"""From a recipe's data section to a listing: the one place that knows all sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from transferkit.data.classes import choose_classes
from transferkit.data.exclude import leave_out, read_exclude_file
from transferkit.data.folder_source import find_folder, list_folder
from transferkit.data.listing import Listing
from transferkit.data.manifest import read_manifest
from transferkit.errors import DataError
from transferkit.recipe.data import DataSpec

if TYPE_CHECKING:
    from transferkit.data.arrays_source import Arrays


def list_source(spec: DataSpec, *, multi_label: bool = False, arrays: Arrays | None = None) -> Listing:
    """What the source has, with the classes and without the pictures that the recipe says.

    A data set that is not on this machine is downloaded.

    Args:
        multi_label: whether a picture may have any number of classes.
        arrays: the pictures themselves, where the recipe's source is `arrays`.

    Raises:
        DataError: it is not there, is no set of labelled pictures, or has one class only.
    """
    everything = LISTS[spec.source.kind](spec.source, multi_label, arrays)
    listing = choose_classes(leave_out(everything, spec.exclude), spec)
    if not listing.class_names:
        raise DataError(f"{listing.origin}: not one picture.{_first_reasons(listing)}")
    if len(listing.class_names) < 2:
        raise DataError(
            f"{listing.origin}: one class only ({listing.class_names[0]}); telling pictures apart needs at least two."
            f"{_first_reasons(listing)}{_ONE_CLASS.get(spec.source.kind, '')}"
        )
    return listing


def find_files(spec: DataSpec) -> None:
    """Look for the folder and files that the recipe names, which takes no time, before anything that does.

    Raises:
        DataError: one is not there; or cannot be read, as far as they are small.
    """
    if spec.source.kind in FINDS:
        FINDS[spec.source.kind](spec.source)
    if isinstance(spec.exclude, str):
        read_exclude_file(Path(spec.exclude).expanduser())
    if spec.split.manifest:
        read_manifest(Path(spec.split.manifest).expanduser())


def is_on_this_machine(spec: DataSpec) -> bool:
    """Whether the pictures can be listed without a download.

    Raises:
        DataError: the source does not exist at all.
    """
    return IS_HERE[spec.source.kind](spec.source) if spec.source.kind in IS_HERE else True


def _first_reasons(listing: Listing) -> str:
    shown = "".join(f"\n  {one.path}: {one.reason}" for one in listing.skipped[:5])
    return f"\n{len(listing.skipped)} were left out:{shown}" if shown else ""


def _folder(source: Any, *_: Any) -> Listing:
    return list_folder(Path(source.path).expanduser())


def _find_folder(source: Any) -> None:
    find_folder(Path(source.path).expanduser())


def _find_table(source: Any) -> None:
    from transferkit.data.table_source import find_table

    find_table(source)


def _sample(source: Any, *_: Any) -> Listing:
    return list_folder(Path(str(files("transferkit.data") / source.name)))


def _archive(source: Any, *_: Any) -> Listing:
    from transferkit.data.archive_source import list_archive

    return list_archive(source)


def _table(source: Any, multi_label: bool, _: Any) -> Listing:
    from transferkit.data.table_source import list_table

    return list_table(source, multi_label=multi_label)


def _tfds(source: Any, *_: Any) -> Listing:
    from transferkit.data.tfds_source import list_tfds

    return list_tfds(source)


def _arrays(source: Any, multi_label: bool, arrays: Arrays | None) -> Listing:
    from transferkit.data.arrays_source import list_arrays

    return list_arrays(source, arrays, multi_label=multi_label)


def _is_unpacked(source: Any) -> bool:
    from transferkit.data.archive_source import find_unpacked

    return find_unpacked(source) is not None


def _is_prepared(source: Any) -> bool:
    from transferkit.data.tfds_source import is_prepared

    return is_prepared(source)


# One row for each source of `recipe.source`.
LISTS: Final[Mapping[str, Callable[[Any, bool, Arrays | None], Listing]]] = {
    "folder": _folder,
    "archive": _archive,
    "csv": _table,
    "jsonl": _table,
    "parquet": _table,
    "tfds": _tfds,
    "arrays": _arrays,
    "sample": _sample,
}
# Sources that are files of this machine.
FINDS: Final[Mapping[str, Callable[[Any], None]]] = {
    "folder": _find_folder,
    "csv": _find_table,
    "jsonl": _find_table,
    "parquet": _find_table,
}
# Sources that may have to be downloaded.
IS_HERE: Final[Mapping[str, Callable[[Any], bool]]] = {"archive": _is_unpacked, "tfds": _is_prepared}
_ONE_CLASS: Final = {"folder": "\nGive the folder that holds one sub-folder per class."}
