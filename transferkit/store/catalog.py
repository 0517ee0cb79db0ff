"""What a cache holds beside and in its stores, and removing it."""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from transferkit.store.index import ENTRIES, HEADER_BYTES
from transferkit.store.room import KEY_FILE, StoreSize, list_stores, lock_of, put_aside, remove_remains, try_lock

Kind = Literal["pictures", "features"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
# Each is a folder of the cache.
FolderKind = Literal["lookalikes", "archives", "weights", "tensorflow_datasets"]
FOLDER_KINDS: Final[tuple[FolderKind, ...]] = get_args(FolderKind)
# Needs a network to be had again.
DOWNLOADS: Final = FOLDER_KINDS[1:]


@dataclass(frozen=True)
class StoreInfo:
    """One store on disk.

    Args:
        about: what its rows are, for a person; empty if the store is damaged.
    """

    size: StoreSize
    kind: Kind
    about: str
    num_rows: int


@dataclass(frozen=True)
class FolderInfo:
    """What lies beside the stores, by kind."""

    kind: FolderKind
    num_bytes: int


def list_contents(root: Path) -> list[StoreInfo]:
    """All stores of a cache, the longest unused first."""
    return [_info(store) for store in list_stores(root)]


def remove_stores(root: Path, kind: Kind | None = None) -> tuple[list[StoreInfo], list[StoreInfo]]:
    """Remove all stores, or those of one kind.

    What a running process has read stays readable for it.

    Returns:
        Those that are gone, and those that stay because another process writes to them or because the system refuses.
    """
    remove_remains(root)
    gone, left = [], []
    for one in list_contents(root):
        if kind in (None, one.kind):
            (gone if _remove(one.size.folder) else left).append(one)
    return gone, left


def list_folders(root: Path) -> list[FolderInfo]:
    """What there is beside the stores."""
    return [FolderInfo(kind, _folder_bytes(root / kind)) for kind in FOLDER_KINDS if _entries(root / kind)]


def empty_folder(root: Path, kind: FolderKind) -> bool:
    """Remove what is in one of the folders beside the stores.

    The folder itself stays, for it may be a link to another disk.

    Returns:
        Whether all of it is gone.
    """
    for entry in _entries(root / kind):
        with suppress(OSError):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()
    return not _entries(root / kind)


def _entries(folder: Path) -> list[Path]:
    with suppress(OSError):
        return list(folder.iterdir())
    return []


def _folder_bytes(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # a run may have removed it meanwhile
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _remove(folder: Path) -> bool:
    with suppress(OSError):
        lock = lock_of(folder)
        if try_lock(lock):
            try:
                put_aside(folder)
                return True
            finally:
                lock.release()
    return False


def _info(store: StoreSize) -> StoreInfo:
    key: dict[str, Any] = {}
    num_rows = 0
    with suppress(OSError, ValueError, KeyError, TypeError):
        key = dict(json.loads((store.folder / KEY_FILE).read_bytes())["key"])
        num_rows = max(0, (store.folder / "index.bin").stat().st_size - HEADER_BYTES) // ENTRIES.itemsize
    if key.get("kind") == "pictures":
        return StoreInfo(store, "pictures", f"{key.get('image_size')} px, {key.get('resize')}", num_rows)
    words = [key.get("backbone"), f"{key['image_size']} px" if "image_size" in key else None]
    words += [f"before stage {key['cut']}" if "cut" in key else None, "augmented views" if "augment" in key else None]
    return StoreInfo(store, "features", ", ".join(str(word) for word in words if word), num_rows)
