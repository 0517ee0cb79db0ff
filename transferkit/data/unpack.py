"""Unpack an archive that nobody vouches for: only plain files and folders come out of it, and only below one folder."""

import bz2
import errno
import gzip
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

from transferkit.errors import DataError
from transferkit.progress import Progress, Task

MB: Final = 10**6
# What an archive of pictures, which hardly compress, never comes near.
MAX_GROWTH: Final = 100
ALWAYS_ALLOWED_BYTES: Final = 10**9
# Left to other programs.
SPARE_BYTES: Final = 10**9

_PIECE_BYTES: Final = 2**20
# More than any true header has; tarfile would read one of any size into memory.
_MAX_HEADER_BYTES: Final = 2**24
_MAX_PADDING_BYTES: Final = 2**26
# Each file and folder takes at least this much of a disk.
_ENTRY_BYTES: Final = 4096
_LEFT_OUT: Final = "__MACOSX"  # what macOS adds to zip files; its sub-folders would look like classes
_ZIP: Final = (b"PK\3\4", b"PK\5\6")
_COMPRESSIONS: Final[tuple[tuple[bytes, Callable[[BinaryIO], Any]], ...]] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
)
# What bad bytes make the readers of the formats raise.
_DAMAGE: Final = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    ValueError,
)


@dataclass(frozen=True)
class _Member:
    """One entry of an archive.

    Args:
        trouble: why it must not be unpacked; empty if it may.
        open: the content of a file; `None` for a folder.
    """

    name: str
    trouble: str
    open: Callable[[], IO[bytes]] | None


def unpack(archive: Path, folder: Path, *, shown: str, progress: Progress) -> int:
    """Unpack a .zip or .tar file (plain, gzip, bzip2 or xz, told by its first bytes) into a folder that is not there.

    Either all of it comes out, or nothing stays.

    Args:
        shown: what the archive is called in errors.

    Returns:
        The number of files.

    Raises:
        DataError: it is no archive, damaged, has a password, members that lead out of the folder, links or devices, or
            grows as no set of pictures does.
        OSError: the disk is full or refuses; the same archive may do another time.
    """
    try:
        folder.mkdir(parents=True)
        with archive.open("rb") as raw, progress.task(f"unpacking {archive.name}", _size(archive) // MB, "MB") as task:
            return _unpack(raw, folder, _Allowance(_size(archive), folder, shown), task, shown)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, _DAMAGE) or (isinstance(error, OSError) and error.errno is None):
            reason = str(error) or type(error).__name__
            raise DataError(f"{shown}: the archive is damaged or not whole: {reason}. Nothing was unpacked.") from error
        raise


class _Allowance:
    """How much may still be written. Headers can lie about sizes, so what is written is counted."""

    def __init__(self, packed_bytes: int, folder: Path, shown: str) -> None:
        self.shown = shown
        self.honest_bytes = max(ALWAYS_ALLOWED_BYTES, MAX_GROWTH * packed_bytes)
        self.free_bytes = shutil.disk_usage(folder).free - SPARE_BYTES
        self.used_bytes = 0

    def use(self, num_bytes: int) -> None:
        self.used_bytes += num_bytes
        if self.used_bytes > self.honest_bytes:
            raise DataError(
                f"{self.shown}: it unpacks to more than {self.honest_bytes / MB:,.0f} MB, over {MAX_GROWTH} times its "
                "size, which pictures never do. Nothing was unpacked."
            )
        if self.used_bytes > self.free_bytes:
            raise OSError(
                errno.ENOSPC,
                f"what is in the archive takes more than the {max(0, self.free_bytes) / MB:,.0f} MB that the disk has "
                "to spare; make room, or set TRANSFERKIT_HOME to a folder on another disk",
            )


def _unpack(raw: BinaryIO, folder: Path, allowance: _Allowance, task: Task, shown: str) -> int:
    num_files = told = 0
    with _members(raw, shown) as members:
        for member in members:
            parts = _safe_parts(member, shown)
            if not parts or parts[0] == _LEFT_OUT:
                continue
            allowance.use(_ENTRY_BYTES)
            place = folder.joinpath(*parts)
            if member.open is None:
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as content, place.open("wb") as file:
                while piece := content.read(_PIECE_BYTES):
                    allowance.use(len(piece))
                    file.write(piece)
            num_files += 1
            if (whole := raw.tell() // MB) > told:
                task.advance(whole - told)
                told = whole
    return num_files


def _safe_parts(member: _Member, shown: str) -> tuple[str, ...]:
    """The steps from the folder to where a member belongs.

    Raises:
        DataError: it would lie elsewhere, or is no plain file or folder.
    """
    name = member.name.replace("\\", "/")  # some programs on Windows write these
    steps = [part for part in name.split("/") if part not in ("", ".")]
    trouble = member.trouble
    goes_up = any(not step.strip(". ") for step in steps)  # Windows overlooks the space in ".. "
    if name.startswith("/") or re.match("[A-Za-z]:", name) or goes_up or "\0" in name:
        trouble = "leads out of the archive's folder"
    if trouble:
        raise DataError(
            f"{shown}: its member {member.name!r} {trouble}. Nothing was unpacked.\n"
            "An archive from somebody you trust can be unpacked by hand: use the folder with data.source.folder."
        )
    # Bytes that are no UTF-8 are read as halves of characters, which not every disk takes.
    return tuple(re.sub("[\ud800-\udfff]", lambda half: f"%{ord(half[0]) & 0xFF:02X}", step) for step in steps)


@contextmanager
def _members(raw: BinaryIO, shown: str) -> Iterator[Iterator[_Member]]:
    head = raw.read(512)
    raw.seek(0)
    if head.startswith(_ZIP):
        with zipfile.ZipFile(raw) as archive:
            yield _zip_members(archive)
        return
    openers = [opener for magic, opener in _COMPRESSIONS if head.startswith(magic)]
    with closing(openers[0](raw)) if openers else _left_open(raw) as plain:
        stream = _Limited(plain)
        try:
            archive = tarfile.open(fileobj=stream, mode="r:", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
        except tarfile.TarError as error:
            begins = f"; it begins with {head[:40]!r}" if not openers else ""
            raise DataError(
                f"{shown}: neither a .zip nor a .tar file (plain, gzip, bzip2 or xz){begins}.\n"
                "The address must be that of the file itself, not of a page about it."
            ) from error
        yield _tar_members(archive, stream)


@contextmanager
def _left_open(raw: BinaryIO) -> Iterator[BinaryIO]:
    yield raw


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for entry in archive.infolist():
        kind = stat.S_IFMT(entry.external_attr >> 16)
        trouble = ""
        if kind == stat.S_IFLNK:
            trouble = "is a link"
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            trouble = "is no plain file"
        elif entry.flag_bits & 1:
            trouble = "needs a password"
        content = None if entry.filename.endswith(("/", "\\")) else _opener(archive.open, entry)
        yield _Member(entry.filename, trouble, content)


def _tar_members(archive: tarfile.TarFile, stream: "_Limited") -> Iterator[_Member]:
    while (entry := archive.next()) is not None:
        trouble = "is a link" if entry.issym() or entry.islnk() else ""
        if not (trouble or entry.isfile() or entry.isdir()):
            trouble = "is no plain file"
        yield _Member(entry.name, trouble, None if entry.isdir() else _opener(archive.extractfile, entry))
        archive.members.clear()  # it would keep every one of millions
    # tarfile takes whatever it cannot read for the end.
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("no mark of its end is where it must be")
    # The checksum of what was compressed stands at its very end.
    for _ in range(_MAX_PADDING_BYTES // _PIECE_BYTES):
        if not stream.read(_PIECE_BYTES):
            return
    raise tarfile.ReadError("it goes on after its end")


def _opener(function: Callable[[Any], Any], entry: Any) -> Callable[[], IO[bytes]]:
    return lambda: function(entry)


class _Limited:
    """A file that refuses to be read in pieces that no honest archive asks for."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, num_bytes: int) -> bytes:
        if not 0 <= num_bytes <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header of many megabytes")
        return self.file.read(num_bytes)


def _size(path: Path) -> int:
    return path.stat().st_size
