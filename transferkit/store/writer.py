"""Appending to a store: rows are flushed to the disk before the index says that they are there."""

import math
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from itertools import islice
from pathlib import Path

import numpy as np

from transferkit.errors import CacheError
from transferkit.store.index import ENTRIES, HEADER_BYTES, Contents, as_array, index_end, make_entries
from transferkit.store.room import cache_error

_FLUSH_BYTES, _FLUSH_S = 64 * 2**20, 5.0
_BLOCK_BYTES = 4096  # what disks give room in


class Writer:
    """Appends to a store; made by `RowStore.writer`."""

    def __init__(self, folder: Path, contents: Contents, rows: FileIO, index: FileIO, *, num_rows: int) -> None:
        self._folder, self._contents, self._rows, self._index = folder, contents, rows, index
        self._shape, self._dtype, self._num_rows = contents.rows.shape[1:], contents.rows.dtype, num_rows
        self._row_bytes = self._dtype.itemsize * math.prod(self._shape)
        # Digests in the order of their rows. What is done follows from this and one count alone, so an exception out
        # of a signal handler at any line leaves a state to go on from: a write is repeated at the same place.
        self._added: dict[bytes, None] = {}
        self._num_flushed, self._flushed_at = 0, time.monotonic()
        self._failure: CacheError | None = None
        # What a killed writer left behind its last complete row.
        rows.truncate(self._rows_end(0))
        index.truncate(index_end(len(contents.digests)))

    def append(self, digests: Sequence[bytes], rows: np.ndarray) -> None:
        """Keep some rows; digests that are there already are passed over.

        They are surely on the disk, and visible to others, some seconds or 64 MB later, after `flush`, and at the end.

        Args:
            rows: `(len(digests), *shape)` in the store's dtype.

        Raises:
            CacheError: the disk is full or refuses. Nothing more can be appended.
        """
        shape = (len(digests), *self._shape)
        if rows.shape != shape or rows.dtype != self._dtype:
            raise ValueError(f"rows are {rows.dtype} {rows.shape}, not {self._dtype} {shape}")
        if self._failure:
            raise self._failure
        new: dict[bytes, int] = {}
        for number, (digest, position) in enumerate(zip(digests, self._contents.positions(digests), strict=True)):
            if position < 0 and digest not in self._added:
                new.setdefault(digest, number)
        if not new:
            return
        chosen = rows if len(new) == len(rows) else rows[list(new.values())]
        try:
            _write_at(self._rows, self._rows_end(len(self._added)), chosen)
        except OSError as error:
            failure = self._error(error, max(len(new), self._num_rows - len(self._added)))
            with suppress(OSError, CacheError):
                self._give_up_last_rows()
                self.flush()
            self._failure = failure
            raise failure from error
        self._added.update(dict.fromkeys(new))
        pending_bytes = (len(self._added) - self._num_flushed) * self._row_bytes
        if pending_bytes >= _FLUSH_BYTES or time.monotonic() - self._flushed_at >= _FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Put on the disk what was appended: the rows first, then their entries.

        Raises:
            CacheError: the disk refuses. What was flushed before is kept.
        """
        self._flushed_at = time.monotonic()
        num_added = len(self._added)
        if self._failure or num_added == self._num_flushed:
            return
        first = len(self._contents.digests) + self._num_flushed
        try:
            os.fsync(self._rows.fileno())
            entries = make_entries(as_array(islice(self._added, self._num_flushed, None)), first)
            _write_at(self._index, index_end(first), entries)
            os.fsync(self._index.fileno())
        except OSError as error:
            # Not tried again: after a refusal a second flush may report success for bytes that were lost. Entries that
            # were written stay, since readers may have seen them, and their rows are on the disk.
            self._failure = self._error(error, max(num_added, self._num_rows) - self._num_flushed)
            raise self._failure from error
        self._num_flushed = num_added

    def _give_up_last_rows(self) -> None:
        """Free the room that the entries of the rows before need on a full disk."""
        entry_bytes = (len(self._added) - self._num_flushed) * ENTRIES.itemsize + _BLOCK_BYTES
        num_kept = max(self._num_flushed, len(self._added) - math.ceil(entry_bytes / self._row_bytes))
        self._added = dict.fromkeys(islice(self._added, num_kept))
        self._rows.truncate(self._rows_end(num_kept))

    def _error(self, error: OSError, num_rows: int) -> CacheError:
        return cache_error(self._folder, error, num_rows * (self._row_bytes + ENTRIES.itemsize))

    def _rows_end(self, num_added: int) -> int:
        return HEADER_BYTES + (len(self._contents.digests) + num_added) * self._row_bytes


def _write_at(file: FileIO, at: int, array: np.ndarray) -> None:
    file.seek(at)
    left = memoryview(np.ascontiguousarray(array).view(np.uint8)).cast("B")
    while left:
        left = left[file.write(left) :]  # a raw file may take a part
