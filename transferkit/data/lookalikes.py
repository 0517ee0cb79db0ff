"""Pictures that are nearly the same: encoded again, resized, cropped a little, or made a little brighter."""

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from transferkit.data.align import LUMA, align, colour_similarity, edge_similarity, warp
from transferkit.data.groups import join
from transferkit.progress import Progress, Quiet

# Chosen on clip art and on Fashion-MNIST, with copies made of known pictures.
_THUMB_PX = 32
_NEAREST = 8  # neighbours of each picture that are looked at more closely,
_NEAREST_CROPPED = 4  # and of its middle, which lies nearer to a cropped copy
_MARGIN_PX = 0.8  # what is cut off for that: 2.5 % of a side, the middle of 0 to 5 %
_MIN_LIKENESS = 0.7  # of neighbours
_FLAT = 2.0  # grey levels of contrast; below, a picture has nothing to be recognised by
_SURE = 0.995  # so much alike are copies only
_ALIKE = 0.85  # so much alike are copies that stand out from the other neighbours
_STANDS_OUT = 0.2  # times as far away as the sixth neighbour
_CROWD = 6
_BLOCK = 1024
_QUERIES = 256  # at a time against all pictures


class Lookalike(NamedTuple):
    """Two pictures that are nearly the same, by their positions; `similarity` is 1 for equal pixels."""

    first: int
    second: int
    similarity: float


def find_lookalikes(images: Any, *, progress: Progress | None = None) -> list[Lookalike]:
    """Pairs of pictures that are copies of each other in all but encoding, size, a crop of some 5 % or brightness.

    Small colour thumbnails find the nearest neighbours of each picture. Each pair of neighbours is then laid over
    each other as well as crop and brightness allow, and counts if its edges and colours agree, and if it is far nearer
    than neighbours are in these pictures: of silhouettes, all look alike. Of many alike, each is paired with its
    nearest, which `group_lookalikes` joins. Mirrored pictures are not looked for. Pictures without contrast, such as
    all-white ones, count only if they are equal.

    Args:
        images: `(num_images, size, size, 3)` uint8, an array or anything that gives rows by slices.

    Returns:
        Pairs with `first < second`, in their order; memory needed: at most 8 KB per picture.
    """
    progress = progress or Quiet()
    thumbs, equal, flat = _look(images, progress)
    pairs = [Lookalike(int(first), row, 1.0) for row, first in enumerate(equal) if first != row]
    # Equal pictures would fill each other's neighbourhoods.
    rows = np.flatnonzero((equal == np.arange(len(equal))) & ~flat)
    if len(rows) >= 2:
        thumbs = thumbs[rows]
        candidates = _neighbours(thumbs, progress)
        pairs += [Lookalike(int(rows[i]), int(rows[j]), float(s)) for i, j, s in _verify(thumbs, candidates, progress)]
    return sorted(pairs)


def group_lookalikes(pairs: Iterable[Lookalike], count: int) -> np.ndarray:
    """`(count,)`: for each picture the first of all those that pairs join it with; itself where it is alone."""
    return np.array(join(((pair.first, pair.second) for pair in pairs), count), np.int64)


def _look(images: Any, progress: Progress) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thumbnails; for each picture the first with the same pixels; whether it has no contrast."""
    count = len(images)
    thumbs = np.empty((count, _THUMB_PX, _THUMB_PX, 3), np.uint8)
    seen: dict[bytes, int] = {}
    equal = np.empty(count, np.int64)

    def look(row: int) -> bytes:
        pixels = np.ascontiguousarray(block[row - start])
        small = Image.fromarray(pixels).resize((_THUMB_PX, _THUMB_PX), Image.Resampling.BILINEAR)
        thumbs[row] = np.asarray(small)
        return hashlib.blake2b(pixels, digest_size=16).digest()

    with progress.task("looking for pictures that are alike", count, "pictures") as task, _pool() as pool:
        for start in range(0, count, 256):
            block = np.asarray(images[start : start + 256])
            for row, digest in enumerate(pool.map(look, range(start, start + len(block))), start):
                equal[row] = seen.setdefault(digest, row)
            task.advance(len(block))
    contrast = [(thumbs[at : at + _BLOCK] @ LUMA).std(axis=(1, 2)) for at in range(0, count, _BLOCK)]
    return thumbs, equal, np.concatenate([*contrast, np.zeros(0)]) < _FLAT


def _neighbours(thumbs: np.ndarray, progress: Progress) -> np.ndarray:
    """`(num_pairs, 2)`, each pair once, the lower position first."""
    whole, middle = _describe(thumbs, margin_px=0), _describe(thumbs, margin_px=_MARGIN_PX)
    found = []
    with progress.task("looking for pictures that are alike: neighbours", len(thumbs), "pictures") as task:
        for start in range(0, len(thumbs), _QUERIES):
            rows = slice(start, start + _QUERIES)
            found += [_nearest(whole, rows, whole, _NEAREST), _nearest(middle, rows, whole, _NEAREST_CROPPED)]
            task.advance(len(whole[rows]))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _describe(thumbs: np.ndarray, *, margin_px: float) -> np.ndarray:
    """`(num_images, 96)` float32 of length 1: 8 x 8 brightness and 4 x 4 of two colours, without their means."""
    described = np.empty((len(thumbs), 96), np.float32)
    for start in range(0, len(thumbs), _BLOCK):
        block = thumbs[start : start + _BLOCK]
        luma = block @ LUMA
        planes = (luma, 8, 1.0), (block[..., 0] - luma, 4, 2.0), (block[..., 2] - luma, 4, 2.0)
        shrunk = [weight * _shrink(plane, size, margin_px).reshape(len(block), -1) for plane, size, weight in planes]
        described[start : start + _BLOCK] = np.concatenate([each - each.mean(1, keepdims=True) for each in shrunk], 1)
    return described / np.maximum(np.linalg.norm(described, axis=1, keepdims=True), 1e-6)


def _shrink(planes: np.ndarray, size: int, margin_px: float = 0) -> np.ndarray:
    """Square planes without a margin, at a smaller size, by a triangle filter."""
    scale = (planes.shape[1] - 2 * margin_px) / size
    middles = margin_px + scale * (np.arange(size) + 0.5)
    weights = np.maximum(0, 1 - np.abs(middles[:, None] - np.arange(planes.shape[1]) - 0.5) / scale)
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return weights @ planes @ weights.T


def _nearest(queries: np.ndarray, rows: slice, described: np.ndarray, count: int) -> np.ndarray:
    """`(num_pairs, 2)`: each query with its nearest others."""
    likeness = queries[rows] @ described.T
    each = np.arange(len(likeness))
    likeness[each, rows.start + each] = -1
    # The best are among the best stripes: far less to sort than all of it.
    stripes = max(1, likeness.shape[1] // 64)
    width = -(-likeness.shape[1] // stripes)
    padded = np.pad(likeness, ((0, 0), (0, width * stripes - likeness.shape[1])), constant_values=-1)
    best = padded.reshape(len(each), width, stripes).max(1)
    top = np.argpartition(-best, min(count, stripes) - 1, axis=1)[:, :count]
    columns = (top[:, :, None] + np.arange(width) * stripes).reshape(len(each), -1)
    values = np.take_along_axis(padded, columns, 1)
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    query, rank = np.nonzero(np.take_along_axis(values, order, 1) > _MIN_LIKENESS)
    return np.stack([query + rows.start, columns[query, order[query, rank]]], axis=1)


def _verify(thumbs: np.ndarray, pairs: np.ndarray, progress: Progress) -> Iterable[tuple[int, int, float]]:
    """Positions and similarity of the pairs that are lookalikes."""

    def compare(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, second = (_shrink(thumbs[side] @ LUMA, _THUMB_PX // 2) for side in block.T)
        moves = align(first, second, steps=3, reach_px=_THUMB_PX / 18)
        return moves, edge_similarity(first, warp(second, moves), border=1)

    def compare_closely(block: np.ndarray, start: np.ndarray) -> np.ndarray:
        first, second = (thumbs[side].astype(np.float32) for side in block.T)
        moves = align(first @ LUMA, second @ LUMA, start=start, steps=2, reach_px=_THUMB_PX / 9)
        second = np.stack([warp(second[..., channel], moves) for channel in range(3)], axis=-1)
        edges = edge_similarity(first @ LUMA, second @ LUMA, border=2)
        return np.minimum(edges, colour_similarity(first, second, border=2)).clip(0, 1)

    with progress.task("looking for pictures that are alike: comparing", len(pairs), "pairs") as task:
        blocks = _in_blocks(compare, (pairs,), task.advance)
    if not blocks:
        return ()
    moves, alike = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    stands_out = _stands_out(pairs, alike, len(thumbs))
    close = np.flatnonzero(stands_out | (alike >= _SURE))
    similarity = np.concatenate([np.zeros(0), *_in_blocks(compare_closely, (pairs[close], 2 * moves[close]))])
    chosen = (similarity >= _SURE) | (stands_out[close] & (similarity >= _ALIKE))
    return zip(*pairs[close[chosen]].T, similarity[chosen], strict=True)


def _stands_out(pairs: np.ndarray, alike: np.ndarray, count: int) -> np.ndarray:
    """Whether two pictures are far nearer to each other than either is to its sixth neighbour.

    Where a picture has more copies than that, what nine of ten pictures of the whole set have for a sixth neighbour
    stands in, so that a long burst in a set of different pictures still counts.
    """
    rows, values = pairs.T.ravel(), np.tile(alike, 2)
    order = np.lexsort((-values, rows))
    starts = np.searchsorted(rows[order], np.arange(count + 1))
    has_sixth = np.diff(starts) >= _CROWD
    sixth = np.where(has_sixth, values[order][np.where(has_sixth, starts[:-1] + _CROWD - 1, 0)], 0.0)
    sixth = np.minimum(sixth, np.quantile(sixth, 0.9))
    return 1 - alike < _STANDS_OUT * (1 - sixth[pairs].max(1))


def _in_blocks(
    function: Callable[..., Any], arrays: tuple[np.ndarray, ...], advance: Callable[[int], None] = lambda count: None
) -> list[Any]:
    """`function` of 1,024 rows of the arrays at a time, on all cores, in order."""
    blocks = [tuple(array[at : at + _BLOCK] for array in arrays) for at in range(0, len(arrays[0]), _BLOCK)]
    results = []
    with _pool() as pool:
        for result, block in zip(pool.map(lambda block: function(*block), blocks), blocks, strict=True):
            results.append(result)
            advance(len(block[0]))
    return results


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1)
