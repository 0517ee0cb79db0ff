"""Rows on disk, found by digest: append-only, shared by processes, safe against death at any byte.

A store is a folder of three files. `key.json` tells a person what the rows are. `rows.bin` holds them one after the
other; `index.bin` holds, in the same order, the digest of each and a check of it. Both begin with the same random
header, so files of two stores are never taken for one. A row counts from the moment its entry is in the index, and its
bytes are flushed to the disk before that. Readers need no lock; one writer at a time holds it.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from transferkit.errors import CacheError
from transferkit.home import home_folder
from transferkit.progress import Progress, Quiet, wait_until
from transferkit.store.index import DIGESTS, ENTRIES, HEADER_BYTES, Contents, index_end, parse_entries
from transferkit.store.room import KEY_FILE, cache_error, lock_of, put_aside, stores_dir, touch, try_lock
from transferkit.store.writer import Writer

_FORMAT = 1
_MAGIC = f"transferkit rows {_FORMAT}\n".encode().ljust(32)


def cache_root(folder: str | None, environ: Mapping[str, str]) -> Path:
    """Where stores lie: the folder asked for, else `$TRANSFERKIT_HOME`, else `~/.cache/transferkit`."""
    return Path(folder).expanduser() if folder else home_folder(environ)


class RowStore:
    """Rows of one shape and dtype under one key. Nothing is made on disk before the first writer.

    Args:
        root: the cache's folder.
        key: all that the rows depend on beside their own digests; values that JSON knows.
        shape: of one row.
        dtype: such as `float32`.
    """

    def __init__(self, root: Path, key: Mapping[str, object], *, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        # With format and byte order: other versions and machines get folders of their own.
        about = {"format": _FORMAT, "shape": self.shape, "dtype": self.dtype.str, "key": dict(key)}
        canonical = json.dumps(about, sort_keys=True, separators=(",", ":"), allow_nan=False)
        self._about = json.loads(canonical)
        self.folder = stores_dir(root) / hashlib.sha256(canonical.encode()).hexdigest()[:32]
        self._nothing = Contents(b"", np.empty(0, DIGESTS), np.empty((0, *self.shape), self.dtype))
        self._last = self._nothing

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)

    def disk_bytes(self, num_rows: int) -> int:
        """What some rows take on the disk, with their index entries."""
        return num_rows * (self.row_bytes + ENTRIES.itemsize)

    def count(self) -> int:
        """How many rows there are.

        Raises:
            CacheError: there are files, and they cannot be read.
        """
        return len(self._contents().digests)

    def find(self, digests: Sequence[bytes]) -> np.ndarray:
        """`(len(digests),)` int64: where each row is, -1 for those that are missing.

        Raises:
            CacheError: there are files, and they cannot be read.
        """
        return self._contents().positions(digests)

    def read(self, digests: Sequence[bytes]) -> "StoredRows":
        """The rows of some digests, in their order; a digest may come more than once.

        What was read stays readable when the store is removed. Between `find` and `read` another process can make
        room, except inside `with store.writer()`.

        Raises:
            CacheError: some rows are not there, or the files cannot be read.
        """
        contents = self._contents()
        positions = contents.positions(digests)
        if missing := int((positions < 0).sum()):
            raise CacheError(
                f"{self.folder}: {missing:,} of {len(positions):,} stored rows are missing; another process may "
                "have removed them to make room.\nRun again, and they are made anew. If it happens again, raise "
                "cache.max_gb or choose a folder of its own with cache.folder."
            )
        touch(self.folder)
        return StoredRows(contents.rows, positions)

    @contextmanager
    def writer(
        self, *, num_rows: int = 0, progress: Progress | None = None, waiting: str = "waiting for another process"
    ) -> Iterator[Writer]:
        """The right to append, for one process at a time; it ends with the block or with the process.

        Look again with `find` inside the block: the process before may have written the same rows.

        Args:
            num_rows: how many are to come, so that an error can tell how much room they need.
            waiting: said if another process has to be waited for.

        Raises:
            CacheError: the folder cannot be written to, or its disk is full. What was complete is kept.
        """
        lock = lock_of(self.folder)

        def take() -> bool:
            with self._os_errors(num_rows):
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                return try_lock(lock)

        with ExitStack() as held:
            held.callback(lock.release)
            if not take():
                wait_until(take, progress or Quiet(), waiting)
            with self._os_errors(num_rows):
                contents = self._contents()
                if not contents.header:
                    contents = self._create()
                files = [held.enter_context(open(path, "r+b", buffering=0)) for path in self._files()]
                writer = Writer(self.folder, contents, *files, num_rows=num_rows)
            touch(self.folder)
            try:
                yield writer
            finally:
                writer.flush()

    @contextmanager
    def _os_errors(self, num_rows: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cache_error(self.folder, error, self.disk_bytes(num_rows)) from error

    def _files(self) -> tuple[Path, Path]:
        return self.folder / "rows.bin", self.folder / "index.bin"

    def _contents(self) -> Contents:
        """All that can be trusted now: nothing, with an empty header, if the store is missing or damaged."""
        rows_path, index_path = self._files()
        try:
            with open(index_path, "rb") as index, open(rows_path, "rb") as rows:
                self._last = self._read_contents(index, rows)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self._last = self._nothing
        except OSError as error:
            raise cache_error(self.folder, error) from error
        return self._last

    def _read_contents(self, index: BinaryIO, rows: BinaryIO) -> Contents:
        header = index.read(HEADER_BYTES)
        known = self._last if header == self._last.header else self._nothing
        at = index_end(len(known.digests))
        if known.header and at == os.fstat(index.fileno()).st_size:
            return known
        if len(header) != HEADER_BYTES or not header.startswith(_MAGIC) or rows.read(HEADER_BYTES) != header:
            return self._nothing
        if not known.header and not self._is_described():
            return self._nothing
        index.seek(at)
        digests = np.concatenate([known.digests, parse_entries(index.read(), len(known.digests))])
        # Looked at after the index: while a writer goes on, rows are there before their entries.
        if os.fstat(rows.fileno()).st_size < HEADER_BYTES + len(digests) * self.row_bytes:
            return self._nothing
        if not len(digests):  # no bytes cannot be mapped
            return Contents(header, digests, self._nothing.rows)
        mapped = np.memmap(rows, self.dtype, "r", HEADER_BYTES, (len(digests), *self.shape))
        return Contents(header, digests, np.asarray(mapped))  # indexing a plain array costs less

    def _is_described(self) -> bool:
        try:
            return json.loads((self.folder / KEY_FILE).read_bytes()) == self._about
        except ValueError:
            return False

    def _create(self) -> Contents:
        """An empty store in the place of whatever is there. The caller holds the lock."""
        if os.path.lexists(self.folder):
            put_aside(self.folder)
        self.folder.mkdir()
        header = _MAGIC + os.urandom(HEADER_BYTES - len(_MAGIC))
        about = json.dumps(self._about, indent=2, sort_keys=True).encode()
        for path, content in (*((path, header) for path in self._files()), (self.folder / KEY_FILE, about)):
            with open(path, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if os.name == "posix":  # names in a folder are flushed apart from the files
            for folder in (self.folder, self.folder.parent):
                descriptor = os.open(folder, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        return self._contents()


class StoredRows:
    """Rows in the order they were asked for, read from the disk as they are needed."""

    def __init__(self, rows: np.ndarray, positions: np.ndarray) -> None:
        self._rows, self._positions = rows, positions

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self._rows.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return self._rows.dtype

    def __getitem__(self, chosen: Any) -> np.ndarray:
        """`(len(chosen), *row shape)`: copies of some rows, by an array of integers or a slice."""
        return np.take(self._rows, self._positions[chosen], axis=0)
