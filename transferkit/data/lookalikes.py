"""Pictures that are nearly the same: encoded again, resized, cropped a little, or made a little brighter."""

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

from transferkit.data.align import LUMA, align, colour_distance, colour_similarity, edge_similarity, warp
from transferkit.data.groups import join
from transferkit.progress import Progress, Quiet

# Goes up when other pairs are found in the same pictures, so that none found before is used.
LOOKALIKES_VERSION: Final = 1

# Chosen on clip art and on Fashion-MNIST, with copies made of known pictures.
_THUMB_PX = 32
_NEAREST = 8  # neighbours of each picture that are looked at more closely,
_NEAREST_CROPPED = 4  # and of its middle, which lies nearer to a cropped copy
_MARGIN_PX = 0.8  # what is cut off for that: 2.5 % of a side, the middle of 0 to 5 %
_MIN_LIKENESS = 0.7  # of neighbours
_FLAT = 2.0  # grey levels of contrast; below, a picture has nothing to be recognised by
_SURE = 0.995  # so much alike are copies only
_ALIKE = 0.85  # so much alike are copies that stand out from the other neighbours
_OTHER_COLOUR = 60.0  # grey levels, more than encoding, cropping and brightening change
_STANDS_OUT = 0.2  # times as far away as the sixth neighbour
_CROWD = 6
_BRIGHTNESS = 64  # numbers of a description that come first, before those of colours
_SMALL_PX = 16  # side at which neighbours are compared
_PICTURES = 32  # read at a time by each thread
_QUERIES, _TILE = 512, 4096  # at a time against so many pictures


class Lookalike(NamedTuple):
    """Two pictures that are nearly the same, by their positions; `similarity` is 1 for equal pixels."""

    first: int
    second: int
    similarity: float


class _Looks(NamedTuple):
    """What is compared of pictures, float32: descriptions of the whole and of the middle, and brightness at 16 px."""

    whole: np.ndarray
    middle: np.ndarray
    luma: np.ndarray


def find_lookalikes(images: Any, *, progress: Progress | None = None) -> list[Lookalike]:
    """Pairs of pictures that are copies of each other in all but encoding, size, a crop of some 5 % or brightness.

    Small colour thumbnails find the nearest neighbours of each picture. Each pair of neighbours is then laid over
    each other as well as crop and brightness allow, and counts if its edges and colours agree, and if it is far nearer
    than neighbours are in these pictures: of silhouettes, all look alike. Of many alike, each is paired with its
    nearest, which `group_lookalikes` joins. Mirrored pictures are not looked for. Pictures without contrast, such as
    all-white ones, count only if they are equal.

    Args:
        images: `(num_images, size, size, 3)` uint8, an array or anything that gives rows by slices and by
            arrays of positions, in several threads.

    Returns:
        Pairs with `first < second`, in their order; memory needed: 2 KB per picture, and 3 KB of those with another
        very near.
    """
    progress = progress or Quiet()
    looks, flat, equal = _look(images, progress)
    pairs = [Lookalike(int(first), row, 1.0) for row, first in enumerate(equal) if first != row]
    # Equal pictures would fill each other's neighbourhoods.
    left_out = flat | (equal != np.arange(len(equal)))
    if len(rows := np.flatnonzero(~left_out)) >= 2:
        looks.whole[left_out] = 0  # like no other
        candidates = _neighbours(looks, rows, progress)
        found = _verify(images, looks.luma, candidates, rows, progress)
        pairs += [Lookalike(int(first), int(second), float(similarity)) for first, second, similarity in found]
    return sorted(pairs)


def group_lookalikes(pairs: Iterable[Lookalike], count: int) -> np.ndarray:
    """`(count,)`: for each picture the first of all those that pairs join it with; itself where it is alone."""
    return np.array(join(((pair.first, pair.second) for pair in pairs), count), np.int64)


def _look(images: Any, progress: Progress) -> tuple[_Looks, np.ndarray, np.ndarray]:
    """What is compared; whether a picture has no contrast; for each the first with the same pixels."""
    count = len(images)
    looks = _Looks(*(np.empty((count, *shape), np.float32) for shape in ((96,), (96,), (_SMALL_PX, _SMALL_PX))))
    flat, marks = np.empty(count, bool), np.empty(count, "V16")

    def look(block: slice) -> None:
        thumbs = _thumbs(images[block])
        luma = thumbs @ LUMA
        looks.whole[block], looks.middle[block] = (_describe(thumbs, luma, margin_px=px) for px in (0, _MARGIN_PX))
        looks.luma[block] = _shrink(luma, _SMALL_PX)
        flat[block] = luma.std(axis=(1, 2)) < _FLAT
        marks[block] = np.frombuffer(b"".join(map(_digest, thumbs)), marks.dtype)

    with progress.task("looking for pictures that are alike", count, "pictures") as task:
        _in_blocks(look, count, _PICTURES, task.advance)
    return looks, flat, _first_equal(images, marks)


def _first_equal(images: Any, marks: np.ndarray) -> np.ndarray:
    """For each picture the first with the same pixels. Only those with equal marks, which are few, are read again."""
    _, kind, counts = np.unique(marks, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(counts[kind] > 1)
    digests = _in_blocks(lambda block: [*map(_digest, images[rows[block]])], len(rows), _PICTURES)
    seen: dict[bytes, int] = {}
    equal = np.arange(len(marks))
    equal[rows] = [seen.setdefault(digest, row) for row, digest in zip(rows, chain(*digests), strict=True)]
    return equal


def _digest(pixels: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(pixels), digest_size=16).digest()


def _thumbs(pictures: np.ndarray) -> np.ndarray:
    """`(num_pictures, 32, 32, 3)` uint8."""
    size = (_THUMB_PX, _THUMB_PX)
    small = (Image.fromarray(one).resize(size, Image.Resampling.BILINEAR) for one in np.ascontiguousarray(pictures))
    return np.frombuffer(b"".join(one.tobytes() for one in small), np.uint8).reshape(-1, *size, 3)


def _thumbs_again(images: Any, rows: np.ndarray) -> np.ndarray:
    """Thumbnails of the few pictures that are compared closely: those of all would take much memory."""
    none = np.empty((0, _THUMB_PX, _THUMB_PX, 3), np.uint8)
    return np.concatenate([none, *_in_blocks(lambda block: _thumbs(images[rows[block]]), len(rows), _PICTURES)])


def _describe(thumbs: np.ndarray, luma: np.ndarray, *, margin_px: float) -> np.ndarray:
    """`(num_images, 96)` float32 of length 1: 8 x 8 brightness and 4 x 4 of two colours, without their means."""
    planes = (luma, 8, 1.0), (thumbs[..., 0] - luma, 4, 2.0), (thumbs[..., 2] - luma, 4, 2.0)
    shrunk = [weight * _shrink(plane, size, margin_px).reshape(len(luma), -1) for plane, size, weight in planes]
    described = np.concatenate([each - each.mean(1, keepdims=True) for each in shrunk], 1)
    return described / np.maximum(np.linalg.norm(described, axis=1, keepdims=True), 1e-6)


def _shrink(planes: np.ndarray, size: int, margin_px: float = 0) -> np.ndarray:
    """Square planes without a margin, at a smaller size, by a triangle filter."""
    weights = _triangles(planes.shape[1], size, margin_px)
    return weights @ planes @ weights.T


@cache
def _triangles(side_px: int, size: int, margin_px: float) -> np.ndarray:
    """`(size, side_px)`: what each pixel counts in each of fewer."""
    scale = (side_px - 2 * margin_px) / size
    middles = margin_px + scale * (np.arange(size) + 0.5)
    weights = np.maximum(0, 1 - np.abs(middles[:, None] - np.arange(side_px) - 0.5) / scale)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _neighbours(looks: _Looks, rows: np.ndarray, progress: Progress) -> np.ndarray:
    """`(num_pairs, 2)`, each pair once, the lower position first."""
    count = len(looks.whole)
    # Of grey pictures, colours hold nothing but rounding.
    told = slice(None) if np.abs(looks.whole[:, _BRIGHTNESS:]).max() > 1e-4 else slice(_BRIGHTNESS)
    whole, middle = looks.whole[:, told], looks.middle[:, told]

    def search(block: slice) -> np.ndarray:
        queries, searches = rows[block], ((whole, _NEAREST), (middle, _NEAREST_CROPPED))
        found = [_nearest(described[queries], queries, whole, number) for described, number in searches]
        low, high = np.sort(np.concatenate(found, axis=1), axis=0)
        return low * count + high

    with progress.task("looking for pictures that are alike: neighbours", len(rows), "pictures") as task:
        found = np.unique(np.concatenate(_in_blocks(search, len(rows), _QUERIES, task.advance)))
    return np.stack(np.divmod(found, count), axis=1)


def _nearest(queries: np.ndarray, rows: np.ndarray, described: np.ndarray, count: int) -> np.ndarray:
    """`(2, num_pairs)`: positions of the queries, which `rows` tells, with those of their nearest others."""
    floor = np.full((len(queries), 1), _MIN_LIKENESS, np.float32)  # what the nearest reach at least
    found = []
    for start in range(0, len(described), _TILE):
        likeness = queries @ described[start : start + _TILE].T
        width, own = likeness.shape[1], rows - start
        inside = (own >= 0) & (own < width)
        likeness[inside, own[inside]] = -1
        if stripes := width // 64:  # the best of each
            best = likeness[:, : 64 * stripes].reshape(len(queries), 64, stripes).max(1)
            if stripes >= count:
                floor = np.maximum(floor, np.partition(best, -count, axis=1)[:, -count, None])
        hits = np.flatnonzero(likeness >= floor)
        if len(hits) > 64 * len(queries):  # of near-equal pictures too many are as near
            top = np.argpartition(likeness, -min(count, width), axis=1)[:, -min(count, width) :]
            near_enough = np.take_along_axis(likeness, top, 1) >= floor
            hits = (top + np.arange(len(queries))[:, None] * width)[near_enough]
        query, column = np.divmod(hits, width)
        found.append((query, column + start, likeness[query, column]))
    query, column, values = map(np.concatenate, zip(*found, strict=True))
    order = np.lexsort((-values, query))
    query, column = query[order], column[order]
    rank = np.arange(len(query)) - np.searchsorted(query, query)
    return np.stack([rows[query], column])[:, rank < count]


def _verify(
    images: Any, luma: np.ndarray, pairs: np.ndarray, rows: np.ndarray, progress: Progress
) -> Iterable[tuple[int, int, float]]:
    """Positions and similarity of the pairs that are lookalikes; `rows` are all pictures that are compared."""

    def compare(block: slice) -> tuple[np.ndarray, np.ndarray]:
        first, second = (luma[side] for side in pairs[block].T)
        moves = align(first, second, steps=3, reach_px=_THUMB_PX / 18)
        return moves, edge_similarity(first, warp(second, moves), border=1)

    with progress.task("looking for pictures that are alike: comparing", len(pairs), "pairs") as task:
        blocks = _in_blocks(compare, len(pairs), 256, task.advance)
    if not blocks:
        return ()
    moves, alike = map(np.concatenate, zip(*blocks, strict=True))
    stands_out = _stands_out(pairs, alike, rows)
    close = np.flatnonzero(stands_out | (alike >= _SURE))
    shown, places = np.unique(pairs[close], return_inverse=True)
    thumbs, places = _thumbs_again(images, shown), places.reshape(-1, 2)

    def compare_closely(block: slice) -> np.ndarray:
        first, second = (thumbs[side].astype(np.float32) for side in places[block].T)
        start = 2 * moves[close[block]]
        found = align(first @ LUMA, second @ LUMA, start=start, steps=2, reach_px=_THUMB_PX / 9)
        second = np.stack([warp(second[..., channel], found) for channel in range(3)], axis=-1)
        edges = edge_similarity(first @ LUMA, second @ LUMA, border=2)
        alike = np.minimum(edges, colour_similarity(first, second, border=2)).clip(0, 1)
        # A lamp that is green here and amber there is a small part of two pictures, and all that tells them apart.
        return np.where(colour_distance(first, second, border=2) < _OTHER_COLOUR, alike, 0)

    similarity = np.concatenate([np.zeros(0), *_in_blocks(compare_closely, len(close), 64)])
    chosen = (similarity >= _SURE) | (stands_out[close] & (similarity >= _ALIKE))
    return zip(*pairs[close[chosen]].T, similarity[chosen], strict=True)


def _stands_out(pairs: np.ndarray, alike: np.ndarray, compared: np.ndarray) -> np.ndarray:
    """Whether two pictures are far nearer to each other than either is to its sixth neighbour.

    Where a picture has more copies than that, what nine of ten pictures of the whole set have for a sixth neighbour
    stands in, so that a long burst in a set of different pictures still counts.
    """
    rows, values = pairs.T.ravel(), np.tile(alike, 2)
    order = np.lexsort((-values, rows))
    starts = np.searchsorted(rows[order], np.arange(compared[-1] + 2))
    has_sixth = np.diff(starts) >= _CROWD
    sixth = np.where(has_sixth, values[order][np.where(has_sixth, starts[:-1] + _CROWD - 1, 0)], 0.0)
    sixth = np.minimum(sixth, np.quantile(sixth[compared], 0.9))
    return 1 - alike < _STANDS_OUT * (1 - sixth[pairs].max(1))


def _in_blocks(
    function: Callable[[slice], Any], count: int, size: int, advance: Callable[[int], None] = lambda count: None
) -> list[Any]:
    """What `function` gives for the slices of some size that cover `count` rows, in order; on all cores."""
    blocks = [slice(start, min(start + size, count)) for start in range(0, count, size)]
    results = []
    # Products that are divided among threads as well would wait for each other.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for block, result in zip(blocks, pool.map(function, blocks), strict=True):
            results.append(result)
            advance(block.stop - block.start)
    return results
