"""The state of a run on disk: one file each time, whole or not there, the last two kept."""

import json
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from transferkit.errors import CheckpointError

_log = logging.getLogger(__name__)

_NAME = re.compile(r"checkpoint-(\d+)\.npz")
_PARTIAL = ".partial"
_KEEP = 2
_META, _ARRAYS, _SUFFIX = "meta.npy", "arrays/", ".npy"


@dataclass(frozen=True)
class Saved:
    """What one checkpoint holds.

    Args:
        meta: plain JSON values.
        arrays: by name, such as a weight's path; any shape, any type of NumPy or ml_dtypes that holds no objects.
    """

    meta: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


class Checkpoints:
    """A folder of numbered checkpoints. One process writes at a time.

    A checkpoint is an uncompressed .npz file without pickle: zip keeps a checksum of every array, so damage is seen.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._damaged: set[Path] = set()

    @property
    def is_empty(self) -> bool:
        return not self._files()

    def write(self, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Add a checkpoint, then remove all but the last two.

        Arrays go to disk one after the other in pieces: memory for a second copy of them is not needed. An array that
        stands under several names is written once, and read back as one.

        Raises:
            CheckpointError: the disk is full or the folder cannot be written to. Earlier checkpoints are untouched.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
            present = self._files()
            number = _number(present[-1]) + 1 if present else 1
            path = self.folder / f"checkpoint-{number:06d}.npz"
            with _appearing(path) as file:
                _write_zip(file, meta, arrays)
            _sync_folder(self.folder)
            # Written first, removed second: at no moment are there fewer whole ones than before.
            for old in [*present, path][:-_KEEP]:
                old.unlink()
        except OSError as error:
            raise CheckpointError(self._explain(error, arrays)) from error

    def latest(self) -> Saved | None:
        """The newest checkpoint that is whole, or None; damaged ones are told to the log and passed over.

        Raises:
            CheckpointError: a checkpoint is there and may not be read.
        """
        for path in reversed(self._files()):
            try:
                with path.open("rb") as file:
                    return _read_zip(file)
            except MemoryError:
                raise
            except PermissionError as error:
                raise _unreadable(path, error) from error
            except Exception as error:  # a damaged zip makes its reader stumble in as many ways as it has fields
                if path not in self._damaged:
                    text = "checkpoint %s is damaged (%s) and passed over; the one before it is taken"
                    _log.warning(text, path, error)
                self._damaged.add(path)
        return None

    def remove(self) -> None:
        """Remove the folder: the run is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        """Checkpoints, oldest first."""
        try:
            return sorted((path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)), key=_number)
        except FileNotFoundError:
            return []
        except PermissionError as error:
            raise _unreadable(self.folder, error) from error

    def _remove_leftovers(self) -> None:
        """What killed processes left half written, and what `latest` found damaged, lest it count as one of two."""
        for path in [*self.folder.glob(f".checkpoint-*{_PARTIAL}"), *self._damaged]:
            path.unlink(missing_ok=True)
        self._damaged.clear()

    def _explain(self, error: OSError, arrays: Mapping[str, np.ndarray]) -> str:
        needed_mb = sum(array.nbytes for array in arrays.values()) / 1e6
        free = ""
        with suppress(OSError):
            free = f"; {shutil.disk_usage(self.folder).free / 1e6:,.1f} MB are free there"
        return (
            f"a checkpoint cannot be written to {self.folder}: {error.strerror or error}.\n"
            f"It takes {needed_mb:,.1f} MB, and {_KEEP + 1} are there for a moment{free}. The earlier ones are whole.\n"
            "Make room there, or allow writing, and give the same command again to go on from the last one."
        )


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"{path} cannot be read: {error.strerror}. Allow reading it, then give the command again.")


def _number(path: Path) -> int:
    return int(_NAME.fullmatch(path.name)[1])


@contextmanager
def _appearing(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when all of it is on disk, and leaves nothing behind otherwise."""
    partial = path.with_name(f".{path.name}{_PARTIAL}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    """Let the new name survive a power cut. Not every system can do that to a folder; the file itself is safe."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_zip(file: IO[bytes], meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    # Which types are not NumPy's own (bfloat16): .npy would keep their bits and forget what they are.
    foreign = {name: array.dtype.name for name, array in arrays.items() if array.dtype.isbuiltin == 2}
    first_names: dict[int, str] = {}
    same = {name: first for name, one in arrays.items() if (first := first_names.setdefault(id(one), name)) != name}
    head = json.dumps({"meta": dict(meta), "names": list(arrays), "same": same, "foreign": foreign}).encode()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _write_member(archive, _META, np.frombuffer(head, np.uint8))
        for name, array in arrays.items():
            if name in same:
                continue
            bits = array.view(f"u{array.dtype.itemsize}") if name in foreign else array
            _write_member(archive, f"{_ARRAYS}{name}{_SUFFIX}", bits)


def _write_member(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(name, "w", force_zip64=True) as member:
        np.lib.format.write_array(member, array, allow_pickle=False)


def _read_zip(file: IO[bytes]) -> Saved:
    """Everything in it, after every checksum was found right."""
    with zipfile.ZipFile(file) as archive:
        if bad := archive.testzip():
            raise zipfile.BadZipFile(f"{bad} has a wrong checksum")
        head = json.loads(_read_member(archive, _META).tobytes())
        arrays = {}
        for name in head["names"]:
            first = head["same"].get(name)
            arrays[name] = arrays[first] if first else _read_member(archive, f"{_ARRAYS}{name}{_SUFFIX}")
    if head["foreign"]:
        import ml_dtypes  # noqa: F401  # NumPy knows the names of its types from here on

        arrays.update({name: arrays[name].view(np.dtype(dtype)) for name, dtype in head["foreign"].items()})
    return Saved(head["meta"], arrays)


def _read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as member:
        return np.lib.format.read_array(member, allow_pickle=False)
