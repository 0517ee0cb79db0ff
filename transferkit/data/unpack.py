"""Unpack an archive that nobody vouches for: only plain files and folders come out of it, and only below one folder."""

import errno
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, BinaryIO, Final

from transferkit.data.archive_members import BY_HAND, DAMAGE, Member, open_members
from transferkit.errors import DataError
from transferkit.progress import Progress, Task

MB: Final = 10**6
# What an archive of pictures, which hardly compress, never comes near.
MAX_GROWTH: Final = 100
ALWAYS_ALLOWED_BYTES: Final = 10**9
# Left to other programs: this much, or of a small disk this part of what is free.
SPARE_BYTES: Final = 10**9
SPARE_FRACTION: Final = 0.1

_PIECE_BYTES: Final = 2**20
# Each file and folder takes at least this much of a disk.
_ENTRY_BYTES: Final = 4096
# Deeper than any set of pictures, and less than functions can go that call themselves for each level.
_MAX_DEPTH: Final = 100
_MAX_SHOWN: Final = 100
_LEFT_OUT: Final = "__MACOSX"  # what macOS adds to zip files; its sub-folders would look like classes
# What a disk answers to a member's name.
_CLASH: Final = "has the name of another member, or one that this disk does not tell apart from it"
_NAME_FAULTS: Final[Mapping[int, str]] = {
    errno.ENAMETOOLONG: "has a name that is too long for this disk",
    errno.EINVAL: "has a name that this disk does not take",
    errno.EILSEQ: "has a name that this disk does not take",
    errno.EEXIST: _CLASH,
    errno.EISDIR: _CLASH,
    errno.ENOTDIR: _CLASH,
}


def unpack(archive: Path, folder: Path, *, shown: str, progress: Progress) -> None:
    """Unpack a .zip or .tar file (plain, gzip, bzip2 or xz, told by its first bytes) into a folder that is not there.

    Either all of it comes out, or nothing stays.

    Args:
        shown: what the archive is called in errors.

    Raises:
        DataError: it is no archive, damaged, has a password, members that lead out of the folder, links or devices, or
            names that the disk does not take, or grows as no set of pictures does.
        OSError: the disk is full or refuses; the same archive may do another time.
    """
    try:
        folder.mkdir(parents=True)
        with archive.open("rb") as raw, progress.task(f"unpacking {archive.name}", _size(archive) // MB, "MB") as task:
            _unpack(raw, folder, _Allowance(_size(archive), folder, shown), task, shown)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        is_unreadable = isinstance(error, OSError) and not error.filename and error.errno in (None, errno.EINVAL)
        if isinstance(error, DAMAGE) or is_unreadable:
            reason = str(error) or type(error).__name__
            raise DataError(f"{shown}: the archive is damaged or not whole: {reason}. Nothing was unpacked.") from error
        raise


class _Allowance:
    """How much may still be written. Headers can lie about sizes, so what is written is counted."""

    def __init__(self, packed_bytes: int, folder: Path, shown: str) -> None:
        self.shown = shown
        self.honest_bytes = max(ALWAYS_ALLOWED_BYTES, MAX_GROWTH * packed_bytes)
        free_bytes = shutil.disk_usage(folder).free
        self.free_bytes = free_bytes - min(SPARE_BYTES, SPARE_FRACTION * free_bytes)
        self.used_bytes = 0

    def use(self, num_bytes: int) -> None:
        self.used_bytes += num_bytes
        self.expect(0)

    def expect(self, num_bytes: int) -> None:
        """Refuse, before anything of it is written, what will be too much."""
        if self.used_bytes + num_bytes > self.honest_bytes:
            raise DataError(
                f"{self.shown}: it unpacks to more than {self.honest_bytes / MB:,.0f} MB, over {MAX_GROWTH} times its "
                "size, which pictures never do. Nothing was unpacked."
            )
        if self.used_bytes + num_bytes > self.free_bytes:
            raise OSError(
                errno.ENOSPC,
                f"what is in the archive takes more than the {self.free_bytes / MB:,.0f} MB that the disk has to "
                "spare; make room, or use a folder on another disk (TRANSFERKIT_HOME, or fetch --to)",
            )


def _unpack(raw: BinaryIO, folder: Path, allowance: _Allowance, task: Task, shown: str) -> None:
    told = 0
    made: set[tuple[str, ...]] = set()
    with open_members(raw, shown) as (num_bytes, members):
        allowance.expect(num_bytes)
        for member in members:
            parts = _safe_parts(member, shown)
            if not parts or parts[0] == _LEFT_OUT:
                continue
            if not folder.joinpath(*parts).is_relative_to(folder):  # on Windows also what begins with a drive's letter
                raise _refusal(member, "leads out of the archive's folder", shown)
            allowance.use(_ENTRY_BYTES)
            allowance.expect(member.num_bytes)
            try:
                _make_folders(folder, parts if member.open is None else parts[:-1], made)
                if member.open is not None:
                    _write(member.open, folder.joinpath(*parts), parts[-1], allowance)
            except OSError as error:
                if error.filename and error.errno in _NAME_FAULTS:
                    raise _refusal(member, _NAME_FAULTS[error.errno], shown) from error
                raise
            if (whole := raw.tell() // MB) > told:
                task.advance(whole - told)
                told = whole


def _make_folders(folder: Path, parts: tuple[str, ...], made: set[tuple[str, ...]]) -> None:
    """Make those that were not made before; one that is there all the same has another name on the disk."""
    if parts in made:
        return
    for depth in range(1, len(parts) + 1):
        if parts[:depth] not in made:
            folder.joinpath(*parts[:depth]).mkdir()
            made.add(parts[:depth])


def _write(open_content: Callable[[], IO[bytes]], place: Path, name: str, allowance: _Allowance) -> None:
    # Of members with one name the last one counts, as for tar itself.
    is_again = place.exists() and name in os.listdir(place.parent)
    with open_content() as content, place.open("wb" if is_again else "xb") as file:
        while piece := content.read(_PIECE_BYTES):
            allowance.use(len(piece))
            file.write(piece)


def _safe_parts(member: Member, shown: str) -> tuple[str, ...]:
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
    elif len(steps) > _MAX_DEPTH:
        trouble = f"lies more than {_MAX_DEPTH} folders deep"
    if trouble:
        raise _refusal(member, trouble, shown)
    # Bytes that are no UTF-8 are read as halves of characters, which not every disk takes.
    return tuple(re.sub("[\ud800-\udfff]", lambda half: f"%{ord(half[0]) & 0xFF:02X}", step) for step in steps)


def _refusal(member: Member, trouble: str, shown: str) -> DataError:
    name = member.name if len(member.name) <= _MAX_SHOWN else f"{member.name[:_MAX_SHOWN]}…"
    return DataError(f"{shown}: its member {name!r} {trouble}. Nothing was unpacked.\n{BY_HAND}")


def _size(path: Path) -> int:
    return path.stat().st_size
