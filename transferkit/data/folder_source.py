"""Pictures in folders, one per class."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from transferkit.data.decode import PICTURE_SUFFIXES, looks_like_picture
from transferkit.data.listing import Listing, Picture, Split
from transferkit.errors import DataError, PictureError

_log = logging.getLogger(__name__)
_SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
_MAX_FILE_BYTES = 2**29


def list_folder(root: Path) -> Listing:
    """List the pictures below `root`: `root/<class>/…`, or `root/train/<class>/…` beside `validation` and `test`.

    A class folder is searched to any depth. Hidden files, and files that are no pictures by name (or, without a
    suffix, by their first bytes) are passed over.

    Raises:
        DataError: no such folder, or no class folders in it.
    """
    if not root.is_dir():
        what = "a file, not a folder" if root.exists() else "no such folder"
        raise DataError(
            f"{root}: {what} (looked from {Path.cwd()}).\n"
            "Give the folder that holds one sub-folder of pictures per class."
        )
    splits = _split_folders(root)
    tops = [(split, top) for split, folder in splits for top in _class_folders(folder)] if splits else None
    if tops is None:
        tops = [(None, top) for top in _class_folders(root)]
    class_names = tuple(sorted({top.name for _, top in tops}))
    if not class_names:
        raise DataError(f"{root}: no class folders. Put the pictures of each class into a sub-folder of its own.")
    if odd := [name for name in class_names if not name.isprintable()]:
        raise DataError(f"{root}: class folder {odd[0]!r} has a name that cannot be printed; rename it.")
    files: list[Path] = []
    pictures: list[Picture] = []
    for split, top in tops:
        for file in picture_files(top):
            files.append(file)
            pictures.append(Picture(_shown(file, root), class_names.index(top.name), split))
    _log.info("%s: %d pictures in %d class folders", root, len(files), len(class_names))

    return Listing(
        class_names,
        tuple(pictures),
        lambda chosen: (read_picture_file(files[index]) for index in chosen),
        origin=str(root),
        stamps=lambda: [file_stamp(file) for file in files],
    )


def file_stamp(path: Path) -> str | None:
    """See `Listing.stamps`."""
    try:
        status = path.stat()
    except OSError:
        return None
    return f"{path.absolute()}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}"


def read_picture_file(path: Path) -> bytes | PictureError:
    """The file's bytes, or why there are none."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            return PictureError(f"larger than {_MAX_FILE_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        return PictureError(f"cannot be read: {error.strerror}")


def _split_folders(root: Path) -> list[tuple[Split, Path]]:
    folders = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    names = {folder.name for folder in folders}
    # A class may be called "train"; only a folder that holds nothing but splits is read as splits.
    if "train" not in names or not names <= set(_SPLIT_FOLDERS):
        return []
    found = [(_SPLIT_FOLDERS[folder.name], folder) for folder in folders]
    if len({split for split, _ in found}) < len(found):
        raise DataError(f"{root}: two folders for the validation split ({', '.join(sorted(names))}); keep one.")
    return found


def _class_folders(folder: Path) -> list[Path]:
    above = {folder.resolve(), *folder.resolve().parents}
    return [
        entry
        for entry in sorted(folder.iterdir())
        if not entry.name.startswith(".") and entry.is_dir() and entry.resolve() not in above
    ]


def picture_files(top: Path) -> Iterator[Path]:
    """Pictures below a folder, at any depth, in a fixed order."""
    for folder, subfolders, names in os.walk(top):  # follows no links, so it cannot run in circles
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and _is_picture(path):
                yield path


def _is_picture(path: Path) -> bool:
    if path.suffix:
        return path.suffix.lower() in PICTURE_SUFFIXES
    try:
        with path.open("rb") as file:
            return looks_like_picture(file.read(64))
    except OSError:
        return False


def _shown(file: Path, root: Path) -> str:
    """The path for people and tables; bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(file.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")
