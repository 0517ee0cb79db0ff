"""Decoded pictures on their way into a store."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Final

import numpy as np

from transferkit.data.reading import Decoded
from transferkit.store.writer import Writer

_CHUNK_BYTES: Final = 2**20
_CHUNK_S: Final = 1.0
_CHUNKS_WAITING: Final = 8


@contextmanager
def appending(writer: Writer) -> Iterator[Callable[[Decoded], None]]:
    """What hands pictures to a store in chunks, in a thread of its own: others are decoded while the disk is busy.

    None is held back for long, however slowly they come. All have been handed over when the block ends, whichever way
    it does.

    Raises:
        CacheError: the disk is full or refuses.
    """
    chunk: list[Decoded] = []
    waiting: deque[Future] = deque()
    handed_over_s = time.monotonic()
    with ThreadPoolExecutor(1) as pool:

        def hand_over() -> None:
            nonlocal handed_over_s
            handed_over_s = time.monotonic()
            if chunk:
                waiting.append(pool.submit(_append, writer, tuple(chunk)))
                chunk.clear()

        def add(one: Decoded) -> None:
            chunk.append(one)
            is_due = time.monotonic() - handed_over_s >= _CHUNK_S
            if is_due or len(chunk) * one.pixels.nbytes >= _CHUNK_BYTES:
                hand_over()
            while waiting and (waiting[0].done() or len(waiting) > _CHUNKS_WAITING):
                waiting.popleft().result()

        try:
            yield add
        finally:
            hand_over()
            wait(waiting)
    for append in waiting:
        append.result()


def _append(writer: Writer, pictures: Sequence[Decoded]) -> None:
    writer.append([one.digest for one in pictures], np.stack([one.pixels for one in pictures]))
