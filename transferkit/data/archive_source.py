"""Pictures in class folders inside an archive on the web, which is downloaded and unpacked once."""

import hashlib
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from transferkit.data.decode import PICTURE_SUFFIXES
from transferkit.data.folder_source import list_folder
from transferkit.data.listing import Listing
from transferkit.data.unpack import MB, unpack
from transferkit.download.alone import alone_with
from transferkit.download.file import Digest, download_file, hash_file, refuse_offline, screen, ways_out
from transferkit.download.transfer import shown_url
from transferkit.errors import DataError, DownloadError
from transferkit.home import home_folder
from transferkit.progress import Progress
from transferkit.recipe.source import ArchiveSource

_log = logging.getLogger(__name__)

# Of the file's sha256: enough to keep the versions of one file apart.
_NUM_DIGITS: Final = 16
_ARCHIVE_SUFFIXES: Final = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz", ".xz", ".txz", ".7z", ".rar"})
_STALE_S: Final = 86_400


def list_archive(source: ArchiveSource) -> Listing:
    """The pictures of an archive, as `list_folder` finds them below the folder that holds the class folders.

    Without `source.inside` that is the first one, from the top, with more than a single sub-folder in it.

    Raises:
        DataError: the archive cannot be had, or not be unpacked safely, or holds no class folders.
    """
    top = fetch_archive(source)
    folder = _named_folder(top, source.inside) if source.inside else find_class_folders(top)
    try:
        listing = list_folder(folder)
    except DataError as error:
        if inner := sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in _ARCHIVE_SUFFIXES):
            raise DataError(
                f"{shown_url(source.url)} holds archives again, which are not unpacked: {', '.join(inner[:5])}\n"
                f"They lie in {folder}, which goes with the cache: unpack them by hand into a folder of your own, and "
                "use that with data.source.folder."
            ) from error
        raise
    return replace(listing, origin=f"{shown_url(source.url)}, unpacked in {folder}")


def fetch_archive(source: ArchiveSource, *, home: Path | None = None, progress: Progress | None = None) -> Path:
    """The folder in which the archive is unpacked; copied or downloaded if it is not there.

    The archive itself is removed once its content is there.

    Args:
        home: where it must lie; default: `home_folder`, from which what is unpacked there is copied.
        progress: default: lines or a bar on standard error.

    Raises:
        DataError: see `list_archive`.
    """
    usual = _place(source, home_folder(os.environ))
    place = _place(source, home) if home else usual
    if found := _find(source, place):
        return found
    progress = progress or screen()
    archive = place / _file_name(source.url)
    elsewhere = _find(source, usual) if home else None
    try:
        if not (elsewhere or archive.is_file()):
            refuse_offline(os.environ)
        place.mkdir(parents=True, exist_ok=True)
        with alone_with(place, progress) as is_alone:
            _tidy(place, is_alone=is_alone)
            if found := _find(source, place):  # by the process that held the lock before
                return found
            if elsewhere:
                return _copy(elsewhere, place, progress)
            digest = Digest("sha256", source.sha256) if source.sha256 else None
            download_file(source.url, archive, digest=digest, progress=progress)
            return _unpack(source, archive, progress)
    except DownloadError as error:
        is_here = "has lost files on this machine" if _versions(source, usual) else "is not on this machine"
        raise DataError(
            f"{shown_url(source.url)} {is_here} and cannot be downloaded: {error}\n"
            f"  to:    {archive}\n"
            "Put the file there by hand, or name a folder of pictures that you have with data.source.folder.\n"
            f"{ways_out(os.environ)}"
        ) from error
    except OSError as error:
        raise DataError(f"{error.filename or place}: {error.strerror or error}") from error


def find_unpacked(source: ArchiveSource, *, home: Path | None = None) -> Path | None:
    """The folder in which the archive is unpacked, if that is whole; looks at the names of all files in it."""
    return _find(source, _place(source, home or home_folder(os.environ)))


def find_class_folders(top: Path) -> Path:
    """The folder that holds the class folders: on the way down the first with several sub-folders, or a picture."""
    folder = top
    while True:
        inside = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
        folders = [entry for entry in inside if entry.is_dir()]
        has_pictures = any(entry.suffix.lower() in PICTURE_SUFFIXES for entry in inside if entry.is_file())
        # A folder without sub-folders holds pictures of one class, or nothing.
        if has_pictures or len(folders) != 1 or not any(entry.is_dir() for entry in folders[0].iterdir()):
            return folder
        folder = folders[0]


def _place(source: ArchiveSource, home: Path) -> Path:
    """A folder for each address; in it one for each version of the file."""
    stem = re.sub(r"[^\w-]+", "-", _file_name(source.url).split(".")[0])[:40].strip("-") or "archive"
    return home / "archives" / f"{stem}-{hashlib.sha256(source.url.encode()).hexdigest()[:8]}"


def _file_name(url: str) -> str:
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    return re.sub(r"[^\w.-]+", "-", name)[-80:].lstrip(".-") or "archive"


def _find(source: ArchiveSource, place: Path) -> Path | None:
    """The folder with all that the archive held; the newest, where any version will do."""
    return next(filter(_is_whole, _versions(source, place)), None)


def _versions(source: ArchiveSource, place: Path) -> list[Path]:
    """Folders in which the archive was unpacked, the newest first."""
    version = re.compile(source.sha256[:_NUM_DIGITS] if source.sha256 else f"[0-9a-f]{{{_NUM_DIGITS}}}")
    folders = [path for path in place.glob("*") if version.fullmatch(path.name) and path.is_dir()]
    return sorted(folders, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def _is_whole(folder: Path) -> bool:
    """Whether no file is gone: computing centres remove what nobody has read for some weeks."""
    try:
        num_files = int(_count_of(folder).read_text())
    except (OSError, ValueError):  # unpacked before files were counted, or all is gone and the number too
        num_files = 1
    return _count_files(folder) >= num_files


def _count_of(folder: Path) -> Path:
    """Where it stands how many files came out of the archive."""
    return folder.with_name(f"{folder.name}.count")


def _count_files(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


def _copy(folder: Path, place: Path, progress: Progress) -> Path:
    """Copy an unpacked archive to another home folder."""
    files = {Path(top): names for top, _, names in os.walk(folder)}
    needed = sum((top / name).stat().st_size for top, names in files.items() for name in names)
    free = shutil.disk_usage(place).free
    if needed > free:
        raise DataError(
            f"{place}: a copy of {folder} needs {needed / MB:,.0f} MB, and the disk has {free / MB:,.0f} MB free; "
            "make room, or use a folder on another disk."
        )
    num_files = _count_files(folder)
    with _aside(place) as aside, progress.task(f"copying {folder}", num_files, "files") as task:
        for top, names in files.items():
            copy = aside / top.relative_to(folder)
            copy.mkdir(parents=True)
            for name in names:
                shutil.copyfile(top / name, copy / name)
                task.advance()
        if _count_files(aside) < num_files:
            raise DataError(f"{place}: this disk does not tell all names in {folder} apart; use one of another kind.")
        return _keep(aside, place / folder.name)


def _unpack(source: ArchiveSource, archive: Path, progress: Progress) -> Path:
    sha256 = hash_file(archive, "sha256")
    with _aside(archive.parent) as aside:
        try:
            unpack(archive, aside, shown=shown_url(source.url), progress=progress)
        except DataError:
            if not source.sha256:  # the server may have a better one by now
                archive.unlink()
            raise
        folder = _keep(aside, archive.with_name(sha256[:_NUM_DIGITS]))
    archive.unlink()
    if not source.sha256:
        progress.say(f"{archive.name}: to be sure of this very file next time, add to data.source: sha256: {sha256}")
    return folder


def _tidy(place: Path, *, is_alone: bool) -> None:
    """Remove what processes left that were killed; where others may be at work, what is a day old."""
    for left in place.glob("unpacking-*"):
        if is_alone or time.time() - left.stat().st_mtime > _STALE_S:
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _aside(place: Path) -> Iterator[Path]:
    """A folder to fill, which is not there yet; nothing of it stays unless `_keep` takes it."""
    aside = place / f"unpacking-{secrets.token_hex(4)}"
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _keep(aside: Path, folder: Path) -> Path:
    """Give a folder its name, in place of one that has lost files. Who looks there finds all of it."""
    num_files = _count_files(aside)
    _count_of(folder).write_text(str(num_files))
    if hasattr(os, "sync"):
        os.sync()  # so that a power cut leaves either no folder of the final name, or a whole one
    if folder.exists():
        folder.rename(aside.with_name(f"{aside.name}-old"))
    aside.rename(folder)
    shutil.rmtree(aside.with_name(f"{aside.name}-old"), ignore_errors=True)
    _log.info("%d files in %s", num_files, folder)
    return folder


def _named_folder(top: Path, name: str) -> Path:
    folder = top / name
    if not folder.resolve().is_relative_to(top.resolve()):
        raise DataError(f"data.source.archive.inside: {name!r} leads out of the archive; name a folder in it.")
    if not folder.is_dir():
        there = ", ".join(sorted(path.name for path in top.iterdir())[:20])
        raise DataError(f"data.source.archive.inside: the archive has no folder {name!r}; at its top it has: {there}")
    return folder
