"""Room for stores: what was not used for the longest time goes when the cache or its disk is full."""

import errno
import os
import re
import secrets
import shutil
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from transferkit.errors import CacheError

_STORE = re.compile(r"[0-9a-f]{32}")
_REMOVED = re.compile(r"[0-9a-f]{32}\.removed-[0-9a-f]{8}")
_GB = 10**9
_NOTHING_KEPT = "data.cache: none and cache.features: none"
KEY_FILE = "key.json"


@dataclass(frozen=True)
class StoreSize:
    """One store on disk, and when it was last used (nanoseconds)."""

    folder: Path
    num_bytes: int
    used_ns: int


# A full disk, a used-up quota, and a file that may not grow.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def stores_dir(root: Path) -> Path:
    """The folder of a cache that holds its stores."""
    return Path(os.path.abspath(root)) / "stores"


def lock_of(folder: Path) -> FileLock:
    """The lock of a store. Its file lies beside the folder and outlives it, so nobody waits for a removed file."""
    return FileLock(folder.with_name(f"{folder.name}.lock"))


def try_lock(lock: FileLock) -> bool:
    """Take a lock unless somebody has it."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


def put_aside(folder: Path) -> None:
    """Remove a store at one stroke. Who has it mapped keeps what is mapped. The caller holds its lock."""
    aside = folder.with_name(f"{folder.name}.removed-{secrets.token_hex(4)}")
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def remove_remains(root: Path) -> None:
    """Remove what is left of stores whose removal was cut short."""
    for folder in stores_dir(root).glob("*"):
        if _REMOVED.fullmatch(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def disk_usage(folder: Path) -> Any:
    """Total, used and free bytes of the disk on which a folder is or would be."""
    return shutil.disk_usage(next(parent for parent in (folder, *folder.parents) if parent.exists()))


def cache_error(folder: Path, error: OSError, needed_bytes: int = 0) -> CacheError:
    """What a person reads when the disk refuses; `needed_bytes` are still to be written."""
    if error.errno not in _FULL:
        return CacheError(
            f"{folder}: prepared pictures and features cannot be kept here: {error.strerror or error}.\nName a folder "
            "that can be written to with cache.folder or the environment variable TRANSFERKIT_HOME, or keep nothing on "
            f"disk with {_NOTHING_KEPT}."
        )
    room = ""
    if needed_bytes:
        with suppress(OSError):
            room = f"; {needed_bytes / 1e6:,.1f} MB are needed, {disk_usage(folder).free / 1e6:,.1f} MB are free there"
    return CacheError(
        f"{folder}: prepared pictures and features cannot be kept here: {error.strerror or error}{room}.\n"
        "What was complete is kept, and the next run goes on from there. Make room on that disk (transferkit cache "
        "clear), choose another one with cache.folder, let older ones go with a lower cache.max_gb, or keep nothing on "
        f"disk with {_NOTHING_KEPT}."
    )


def touch(folder: Path) -> None:
    """Note that a store is used. On a read-only disk it serves without."""
    with suppress(OSError):
        os.utime(folder / KEY_FILE)


def list_stores(root: Path) -> list[StoreSize]:
    """All stores of a cache, the longest unused first."""
    folders = stores_dir(root).glob("*")
    stores = [_size(folder) for folder in folders if _STORE.fullmatch(folder.name) and folder.is_dir()]
    return sorted(stores, key=lambda store: store.used_ns)


def make_room(root: Path, needed_bytes: int, *, max_gb: float, keep: Path | None = None) -> bool:
    """Remove stores until what is needed fits into the cache and on its disk, or none if that would not do.

    Args:
        needed_bytes: to be written beside what is there.
        max_gb: what all stores together may take, in 10^9 bytes.
        keep: the folder of a store that stays whatever happens. So does any that somebody writes to.

    Returns:
        Whether it fits now.

    Raises:
        CacheError: nothing can be said about the disk.
    """
    remove_remains(root)
    stores = list_stores(root)
    excess = _excess_bytes(root, stores, needed_bytes, max_gb)
    with ExitStack() as locks:
        chosen = []
        for store in stores:
            if excess <= 0:
                break
            if keep and store.folder.name == Path(keep).name:
                continue
            with suppress(OSError):  # a folder of another person, or on a read-only disk
                lock = lock_of(store.folder)
                if try_lock(lock):
                    locks.callback(lock.release)
                    chosen.append(store.folder)
                    excess -= store.num_bytes
        if excess > 0:
            return False
        for folder in chosen:
            with suppress(OSError):
                put_aside(folder)
    # Looked at again: a removed store takes its room for as long as somebody has it mapped.
    return not chosen or _excess_bytes(root, list_stores(root), needed_bytes, max_gb) <= 0


def _excess_bytes(root: Path, stores: list[StoreSize], needed_bytes: int, max_gb: float) -> float:
    try:
        disk = disk_usage(stores_dir(root))
    except OSError as error:
        raise cache_error(stores_dir(root), error, needed_bytes) from error
    margin = min(_GB, disk.total // 20)  # other programs go on needing the disk
    taken = sum(store.num_bytes for store in stores)
    return max(taken + needed_bytes - max_gb * _GB, needed_bytes + margin - disk.free)


def _size(folder: Path) -> StoreSize:
    num_bytes = used_ns = 0
    with suppress(OSError):  # removed meanwhile
        for path in folder.iterdir():
            status = path.stat()
            num_bytes += status.st_size
            if path.name == KEY_FILE:
                used_ns = status.st_mtime_ns
    return StoreSize(folder, num_bytes, used_ns)
