"""The index file of a store: for each row, in the order of the rows, its digest and a check of the two together."""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

HEADER_BYTES = 64  # of both files; a cache line, so rows stay aligned
DIGEST_BYTES = 32
DIGESTS = np.dtype(f"S{DIGEST_BYTES}")
ENTRIES = np.dtype([("digest", DIGESTS), ("check", "<u4")])


@dataclass(frozen=True)
class Contents:
    """What a store held at one moment.

    Args:
        header: of both files; empty if there was no store to trust.
        digests: `(num_rows,)`, in the order of the rows.
        rows: `(num_rows, …)`, mapped from the disk.
    """

    header: bytes
    digests: np.ndarray
    rows: np.ndarray

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.digests, kind="stable")
        return self.digests[order], order

    def positions(self, digests: Sequence[bytes]) -> np.ndarray:
        """`(len(digests),)` int64: the row of each, -1 where there is none."""
        wanted = as_array(digests)
        if not len(self.digests):
            return np.full(len(wanted), -1, np.int64)
        ascending, order = self._sorted
        nearest = np.searchsorted(ascending, wanted).clip(max=len(ascending) - 1)
        return np.where(ascending[nearest] == wanted, order[nearest], -1)


def index_end(num_rows: int) -> int:
    """Bytes of an index file with some rows."""
    return HEADER_BYTES + num_rows * ENTRIES.itemsize


def as_array(digests: Iterable[bytes]) -> np.ndarray:
    """Digests as one array, `(num_digests,)`."""
    digests = list(digests)
    if any(len(digest) != DIGEST_BYTES for digest in digests):
        raise ValueError(f"a digest has {DIGEST_BYTES} bytes")
    return np.frombuffer(b"".join(digests), DIGESTS)


def make_entries(digests: np.ndarray, first: int) -> np.ndarray:
    """Entries of the rows from position `first` on."""
    entries = np.empty(len(digests), ENTRIES)
    entries["digest"], entries["check"] = digests, _checks(digests, first)
    return entries


def parse_entries(raw: bytes, first: int) -> np.ndarray:
    """Digests of the rows from position `first` on, up to the first entry that is not whole."""
    entries = np.frombuffer(raw, ENTRIES, count=len(raw) // ENTRIES.itemsize)
    digests = np.ascontiguousarray(entries["digest"])
    torn = np.flatnonzero(entries["check"] != _checks(digests, first))
    return digests[: torn[0]] if len(torn) else digests


def _checks(digests: np.ndarray, first: int) -> np.ndarray:
    # A power cut can leave zeros in a file of full length, and a repair tool can move blocks; both show here.
    raw = memoryview(digests.tobytes())
    starts = range(0, len(raw), DIGEST_BYTES)
    checks = (zlib.crc32(raw[at : at + DIGEST_BYTES], (first + at // DIGEST_BYTES) % 2**32) for at in starts)
    return np.fromiter(checks, "<u4", len(digests))
