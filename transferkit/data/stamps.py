"""Which file has which digest, so that a file that has not changed need not be read to be known."""

import hashlib
import logging
import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

STAMPS_FILE: Final = "stamps.sqlite"
_TABLE: Final = "CREATE TABLE IF NOT EXISTS files (number INTEGER PRIMARY KEY, stamp BLOB UNIQUE, digest BLOB)"
_MAX_FILES: Final = 2_000_000  # of 100 bytes each; the ones recorded first go
_WAIT_S: Final = 10.0
_AT_ONCE: Final = 500
_KEY_BYTES: Final = 16
# Of a file that changed twice within the clock's step, as coarse as this, the times tell nothing.
_SETTLED_NS: Final = 2 * 10**9
_FILE_STAMP: Final = re.compile(r".*\0\d+\0\d+\0(-?\d+)\0(-?\d+)", re.DOTALL)


class Stamps:
    """Digests of files by `Listing.stamps`, kept in a small database that processes share.

    It only saves time: whatever is wrong with it, one works without.

    Args:
        root: the cache's folder.
        about: what else a file had to fulfil to be recorded, such as being a picture within some limit.
    """

    def __init__(self, root: Path, about: str) -> None:
        self._path, self._about = root / STAMPS_FILE, about

    def keys(self, stamps: Iterable[str | None], *, taken_ns: int) -> list[bytes | None]:
        """What files are recorded under; `None` where there is no stamp, or none to trust.

        Args:
            taken_ns: when the stamps were taken, in Unix time. A file that had just been changed then has no key:
                another change within the same tick of the clock would go unnoticed.
        """
        return [self._key(stamp) if stamp and _is_settled(stamp, taken_ns) else None for stamp in stamps]

    def find(self, keys: Sequence[bytes | None]) -> list[bytes | None]:
        """The digest of each file, `None` where it is not known."""
        found: list[bytes | None] = []

        def select(database: sqlite3.Connection) -> None:
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                wanted = [key for key in some if key]
                marks = ",".join("?" * len(wanted))
                rows = database.execute(f"SELECT stamp, digest FROM files WHERE stamp IN ({marks})", wanted)
                known = dict(rows)
                found.extend(known.get(key) for key in some)

        if self._path.exists():
            self._use(select)
        return found + [None] * (len(keys) - len(found))

    def record(self, files: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep the digests of some files, by their keys. The files were read after their stamps were taken."""
        if not files:
            return

        def insert(database: sqlite3.Connection) -> None:
            database.execute("BEGIN IMMEDIATE")
            database.execute(_TABLE)
            database.executemany("INSERT OR REPLACE INTO files (stamp, digest) VALUES (?, ?)", files)
            database.execute("DELETE FROM files WHERE number <= (SELECT MAX(number) FROM files) - ?", (_MAX_FILES,))
            database.execute("COMMIT")

        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        self._use(insert)

    def _key(self, stamp: str) -> bytes:
        text = f"{self._about}\0{stamp}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, digest_size=_KEY_BYTES).digest()

    def _use(self, work: Callable[[sqlite3.Connection], None]) -> None:
        try:
            with closing(sqlite3.connect(self._path, timeout=_WAIT_S, isolation_level=None)) as database:
                work(database)
        except sqlite3.Error as error:
            _log.info("%s: %s; files are read again", self._path, error)
            if type(error) is sqlite3.DatabaseError:  # damaged, or another kind of file: the next one is made anew
                with suppress(OSError):
                    self._path.unlink()


def _is_settled(stamp: str, taken_ns: int) -> bool:
    match = _FILE_STAMP.fullmatch(stamp)
    # The first of the times can be put back.
    return match is None or max(map(int, match.groups())) <= taken_ns - _SETTLED_NS
