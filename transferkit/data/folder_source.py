"""Pictures in folders, one per class."""

import logging
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from transferkit.data.decode import PICTURE_SUFFIXES, looks_like_picture
from transferkit.data.listing import SPLIT_NAMES, Listing, Picture, Skipped, Split
from transferkit.errors import DataError, PictureError

_log = logging.getLogger(__name__)
_MAX_FILE_BYTES = 2**29
_MAX_SHOWN = 5
# Called with a path and the reason why it is left out.
LeaveOut = Callable[[str, str], None]


def list_folder(root: Path) -> Listing:
    """List the pictures below `root`: `root/<class>/…`, or `root/train/<class>/…` beside `validation` and `test`.

    Splits may be called as in `SPLIT_NAMES`, in capitals or not.

    A class folder is searched to any depth. Hidden files, and files that are no pictures by name (or, without a
    suffix, by their first bytes) are passed over. Links to folders inside a class, folders that cannot be read,
    folders named like a picture and pictures outside of class folders are told of in `skipped`.

    Raises:
        DataError: no such folder, one that cannot be read, or no class folders in it.
    """
    find_folder(root)
    skipped: list[Skipped] = []

    def leave_out(path: str, reason: str) -> None:
        skipped.append(Skipped(_shown(Path(path).relative_to(root).as_posix()), reason))

    splits = _split_folders(root) or [(None, root)]
    tops = [(split, top) for split, folder in splits for top in _class_folders(folder, leave_out)]
    class_names = tuple(sorted({top.name for _, top in tops}))
    if not class_names:
        raise DataError(f"{root}: no class folders. Put the pictures of each class into a sub-folder of its own.")
    if odd := [name for name in class_names if not name.isprintable()]:
        raise DataError(f"{root}: class folder {odd[0]!r} has a name that cannot be printed; rename it.")
    label_of = {name: label for label, name in enumerate(class_names)}
    found: list[Picture] = []
    others: dict[int, str] = {}
    for split, top in tops:
        label, above = label_of[top.name], top.relative_to(root).as_posix()
        for file in _files(top, leave_out):  # texts: as paths they would take most of the time and memory
            path = above + file[len(str(top)) :].replace(os.sep, "/")
            shown = _shown(path)
            if shown != path:
                others[len(found)] = file
            found.append(Picture(shown, label, split))
    pictures = tuple(found)
    _log.info("%s: %d pictures in %d class folders", root, len(pictures), len(class_names))
    file_of = file_finder(str(root), pictures, others)
    return Listing(
        class_names,
        pictures,
        lambda chosen: (read_picture_file(file_of(position)) for position in chosen),
        origin=str(root),
        stamps=lambda: (file_stamp(file_of(position)) for position in range(len(pictures))),
        skipped=tuple(skipped),
    )


def file_finder(root: str, pictures: Sequence[Picture], others: Mapping[int, str]) -> Callable[[int], str]:
    """From a position in `pictures` to the file, which is made anew each time: together they would take much memory.

    Args:
        others: files that are not below `root` under the path that is shown, by position.
    """
    return lambda position: others.get(position) or os.path.join(root, pictures[position].path)


def find_folder(root: Path) -> None:
    """Look for a folder of pictures.

    Raises:
        DataError: it is not there.
    """
    if not root.is_dir():
        what = "a file, not a folder" if root.exists() else "no such folder"
        raise DataError(
            f"{root}: {what} (looked from {Path.cwd()}).\n"
            "Give the folder that holds one sub-folder of pictures per class."
        )


def file_stamp(path: Path | str) -> str | None:
    """See `Listing.stamps`."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    # The last time is the system's own, which shows that a file was written to even where the first was put back; on
    # Windows it is that of the file's creation.
    times = f"{status.st_mtime_ns}\0{status.st_ctime_ns}"
    return f"{os.path.abspath(path)}\0{status.st_size}\0{status.st_ino}\0{times}"


def read_picture_file(path: Path | str) -> bytes | PictureError:
    """The file's bytes, or why there are none."""
    try:
        status = os.stat(path)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return PictureError("is no file but a pipe, socket or device")  # to read from which might never end
        if status.st_size > _MAX_FILE_BYTES:
            return PictureError(f"larger than {_MAX_FILE_BYTES >> 20} MiB")
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        return PictureError(f"cannot be read: {error.strerror}")


def _split_folders(root: Path) -> list[tuple[Split, Path]]:
    folders = [entry for entry in _entries(root) if entry.is_dir()]
    found = [(SPLIT_NAMES[folder.name.lower()], folder) for folder in folders if folder.name.lower() in SPLIT_NAMES]
    counts = Counter(split for split, _ in found)
    # A class may be called "train"; only a folder that holds nothing but splits is read as splits.
    if not counts["train"] or len(found) < len(folders):
        _warn_of_splits([folder for _, folder in found], folders, root)
        return []
    if twice := next((split for split in counts if counts[split] > 1), None):
        same = ", ".join(folder.name for split, folder in found if split == twice)
        raise DataError(f"{root}: two folders for the {twice} split ({same}); keep one.")
    return found


def _warn_of_splits(named_so: Sequence[Path], folders: Sequence[Path], root: Path) -> None:
    """Say that folders named like splits are taken for classes, where they hold what may be the real classes."""
    odd = [folder.name for folder in folders if folder not in named_so]
    if any(_holds_folders(folder) for folder in named_so):
        _log.warning(
            "%s: named like splits, but taken for classes: %s; since %s.\n"
            "If they are splits, let all folders here be called train, validation or test, and move others elsewhere.",
            root,
            _some([folder.name for folder in named_so]),
            f"these are no names of splits: {_some(odd)}" if odd else "there is no train folder",
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_SHOWN]) + (", …" if len(names) > _MAX_SHOWN else "")


def _holds_folders(folder: Path) -> bool:
    _, inside, _ = next(os.walk(folder), ("", [], []))  # one that cannot be read is told of later
    return any(not name.startswith(".") for name in inside)


def _class_folders(folder: Path, leave_out: LeaveOut) -> Iterator[Path]:
    above = {folder.resolve(), *folder.resolve().parents}
    for entry in _entries(folder):
        if not entry.is_dir():
            if _is_picture(str(entry)):
                leave_out(str(entry), "lies in no class folder")
        elif entry.resolve() in above:
            leave_out(str(entry), "a link back to a folder around it")
        else:
            yield entry


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}. Allow reading, or move it elsewhere.") from error


def picture_files(top: Path) -> Iterator[Path]:
    """Pictures below a folder, at any depth, in a fixed order."""
    return map(Path, _files(top, lambda path, reason: None))


def _files(top: Path, leave_out: LeaveOut) -> Iterator[str]:
    """Picture files below a folder, at any depth, in a fixed order.

    Args:
        leave_out: called with everything that somebody may take for pictures and that is not searched, and the reason.
    """

    def tell(error: OSError) -> None:
        leave_out(error.filename, f"a folder that cannot be read: {error.strerror}")

    for folder, subfolders, names in os.walk(str(top), onerror=tell):  # follows no links, so it cannot run in circles
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for path in (os.path.join(folder, name) for name in subfolders):
            if os.path.islink(path):
                leave_out(path, "a link to a folder, which is not followed")
            elif _suffix(path) in PICTURE_SUFFIXES:
                leave_out(path, "a folder, though it is named like a picture")
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not name.startswith(".") and _is_picture(path):
                yield path


def _is_picture(path: str) -> bool:
    if suffix := _suffix(path):
        return suffix in PICTURE_SUFFIXES
    try:
        if not os.path.isfile(path):  # opening a pipe would wait for somebody who writes into it
            return os.path.islink(path)
        with open(path, "rb") as file:
            return looks_like_picture(file.read(64))
    except OSError:
        return True  # reading it as a picture says what is wrong


def _suffix(path: str) -> str:
    """In lower case; a dot alone is none."""
    return os.path.splitext(path)[1].lower().removesuffix(".")


def _shown(path: str) -> str:
    """The path for people and tables; bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
