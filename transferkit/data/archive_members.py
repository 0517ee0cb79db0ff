"""What is in an archive, one member after the other: .zip and .tar files (plain, gzip, bzip2 or xz)."""

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, Final

from transferkit.errors import DataError

_PIECE_BYTES: Final = 2**20
# More than any true header has; tarfile would read one of any size into memory.
_MAX_HEADER_BYTES: Final = 2**24
_MAX_PADDING_BYTES: Final = 2**26
_ZIP: Final = (b"PK\3\4", b"PK\5\6")
_COMPRESSIONS: Final[tuple[tuple[bytes, Callable[[BinaryIO], Any]], ...]] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
)
# How archives begin that are not read.
_NOT_READ: Final = (
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard"),
    (b"\x1f\x9d", "compressed by compress"),
    (b"\x04\x22\x4d\x18", "compressed by LZ4"),
)
_ZIP_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
BY_HAND: Final = "An archive from somebody you trust can be unpacked by hand: use the folder with data.source.folder."
# What bad bytes make the readers of the formats raise.
DAMAGE: Final = (
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
class Member:
    """One entry of an archive.

    Args:
        trouble: why it must not be unpacked; empty if it may.
        num_bytes: of its content, as its header says.
        open: the content of a file; `None` for a folder.
    """

    name: str
    trouble: str
    num_bytes: int
    open: Callable[[], IO[bytes]] | None


@contextmanager
def open_members(raw: BinaryIO, shown: str) -> Iterator[tuple[int, Iterator[Member]]]:
    """The size of all content, as far as the file begins by saying it, and the members.

    Args:
        shown: what the archive is called in errors.

    Raises:
        DataError: it is no archive of these kinds, which its first bytes tell.
    """
    head = raw.read(512)
    raw.seek(0)
    if head.startswith(_ZIP):
        with zipfile.ZipFile(raw) as archive:
            yield sum(entry.file_size for entry in archive.infolist()), _zip_members(archive)
        return
    for magic, what in _NOT_READ:
        if head.startswith(magic):
            raise DataError(
                f"{shown}: it is {what}; .zip and .tar files are read (plain, gzip, bzip2 or xz).\n{BY_HAND}"
            )
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
        yield 0, _tar_members(archive, stream)


@contextmanager
def _left_open(raw: BinaryIO) -> Iterator[BinaryIO]:
    yield raw


def _zip_members(archive: zipfile.ZipFile) -> Iterator[Member]:
    for entry in archive.infolist():
        kind = stat.S_IFMT(entry.external_attr >> 16)
        trouble = ""
        if kind == stat.S_IFLNK:
            trouble = "is a link"
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            trouble = "is no plain file"
        elif entry.flag_bits & 1:
            trouble = "needs a password"
        elif entry.compress_type not in _ZIP_METHODS:
            method = zipfile.compressor_names.get(entry.compress_type, entry.compress_type)
            trouble = f"is compressed in a way that is not read ({method})"
        content = None if entry.filename.endswith(("/", "\\")) else _opener(archive.open, entry)
        yield Member(entry.filename, trouble, entry.file_size, content)


def _tar_members(archive: tarfile.TarFile, stream: "_Limited") -> Iterator[Member]:
    while (entry := archive.next()) is not None:
        trouble = "is a link" if entry.issym() or entry.islnk() else ""
        if not (trouble or entry.isfile() or entry.isdir()):
            trouble = "is no plain file"
        yield Member(entry.name, trouble, entry.size, None if entry.isdir() else _opener(archive.extractfile, entry))
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
