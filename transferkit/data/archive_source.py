"""Pictures in class folders inside an archive on the web, which is downloaded and unpacked once."""

import hashlib
import logging
import os
import re
import secrets
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from transferkit.data.decode import PICTURE_SUFFIXES
from transferkit.data.folder_source import list_folder
from transferkit.data.listing import Listing
from transferkit.data.unpack import unpack
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
_STALE_S: Final = 86_400


def list_archive(source: ArchiveSource) -> Listing:
    """The pictures of an archive, as `list_folder` finds them below the folder that holds the class folders.

    Without `source.inside` that is the first one, from the top, with more than a single sub-folder in it.

    Raises:
        DataError: the archive cannot be had, or not be unpacked safely, or holds no class folders.
    """
    top = fetch_archive(source)
    folder = _named_folder(top, source.inside) if source.inside else find_class_folders(top)
    return replace(list_folder(folder), origin=f"{shown_url(source.url)}, unpacked in {folder}")


def fetch_archive(source: ArchiveSource, *, home: Path | None = None, progress: Progress | None = None) -> Path:
    """The folder in which the archive is unpacked; downloaded and unpacked if it is not.

    The archive itself is removed once its content is there.

    Args:
        home: default: `home_folder`.
        progress: default: lines or a bar on standard error.

    Raises:
        DataError: see `list_archive`.
    """
    place = _place(source, home or home_folder(os.environ))
    if found := _unpacked(source, place):
        return found
    progress = progress or screen()
    archive = place / _file_name(source.url)
    try:
        if not archive.is_file():
            refuse_offline(os.environ)
        place.mkdir(parents=True, exist_ok=True)
        with alone_with(place, progress):
            if found := _unpacked(source, place):  # by the process that held the lock before
                return found
            digest = Digest("sha256", source.sha256) if source.sha256 else None
            download_file(source.url, archive, digest=digest, progress=progress)
            return _unpack(source, archive, progress)
    except DownloadError as error:
        raise DataError(
            f"{shown_url(source.url)} is not on this machine and cannot be downloaded: {error}\n"
            f"  to:    {archive}\n"
            "Put the file there by hand, or name a folder of pictures that you have with data.source.folder.\n"
            f"{ways_out(os.environ)}"
        ) from error
    except OSError as error:
        raise DataError(f"{error.filename or place}: {error.strerror or error}") from error


def is_unpacked(source: ArchiveSource, *, home: Path | None = None) -> bool:
    """Whether the pictures are on this machine."""
    return _unpacked(source, _place(source, home or home_folder(os.environ))) is not None


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


def _unpacked(source: ArchiveSource, place: Path) -> Path | None:
    """The folder with what the archive held. A folder has such a name only once all of it is there."""
    if source.sha256:
        found = place / source.sha256[:_NUM_DIGITS]
        return found if found.is_dir() else None
    version = re.compile(f"[0-9a-f]{{{_NUM_DIGITS}}}")
    folders = [path for path in place.glob("*") if version.fullmatch(path.name) and path.is_dir()]
    return max(folders, key=lambda path: path.stat().st_mtime_ns, default=None)


def _unpack(source: ArchiveSource, archive: Path, progress: Progress) -> Path:
    sha256 = hash_file(archive, "sha256")
    for left in archive.parent.glob("unpacking-*"):  # by processes that were killed
        if time.time() - left.stat().st_mtime > _STALE_S:
            shutil.rmtree(left, ignore_errors=True)
    aside = archive.with_name(f"unpacking-{secrets.token_hex(4)}")
    try:
        num_files = unpack(archive, aside, shown=shown_url(source.url), progress=progress)
    except DataError:
        if not source.sha256:  # the server may have a better one by now
            archive.unlink()
        raise
    if hasattr(os, "sync"):
        os.sync()  # so that a power cut leaves either no folder of the final name, or a whole one
    folder = archive.with_name(sha256[:_NUM_DIGITS])
    aside.rename(folder)
    archive.unlink()
    if not source.sha256:
        progress.say(f"{archive.name}: to be sure of this very file next time, add to data.source: sha256: {sha256}")
    _log.info("%s: %d files unpacked in %s", archive.name, num_files, folder)
    return folder


def _named_folder(top: Path, name: str) -> Path:
    folder = top / name
    if not folder.resolve().is_relative_to(top.resolve()):
        raise DataError(f"data.source.archive.inside: {name!r} leads out of the archive; name a folder in it.")
    if not folder.is_dir():
        there = ", ".join(sorted(path.name for path in top.iterdir())[:20])
        raise DataError(f"data.source.archive.inside: the archive has no folder {name!r}; at its top it has: {there}")
    return folder
