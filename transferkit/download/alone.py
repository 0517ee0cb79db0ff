"""One process at a time makes what several need."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from transferkit.progress import Progress, wait_until

# What file systems without locks answer.
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


@contextmanager
def alone_with(path: Path, progress: Progress) -> Iterator[bool]:
    """Hold the lock of `path`, which ends with the block or with the process. Its file stays beside it.

    Where the file system has no locks (then it gives `False`), two processes may do the same work; each still finishes
    at one stroke.

    Raises:
        OSError: the folder cannot be written to.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        _acquire(lock, path, progress)
    except NotImplementedError:
        pass
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    try:
        yield lock.is_locked
    finally:
        lock.release()


def _acquire(lock: FileLock, path: Path, progress: Progress) -> None:
    def take() -> bool:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
        return True

    if not take():
        wait_until(take, progress, f"waiting for another process, which is bringing {path.name}")
