"""Lay one small picture over another: the crop, shift and brightness that bring it nearest, and how near that is."""

from collections.abc import Sequence
from typing import Final

import numpy as np

LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)
# Keeps the equations solvable where a picture has no edges in one direction.
_DAMPING = 1e-3


def align(
    fixed: np.ndarray, moving: np.ndarray, *, start: np.ndarray | None = None, steps: int, reach_px: float
) -> np.ndarray:
    """For each pair, how to stretch and shift `moving` so that it lies on `fixed`.

    Gauss-Newton steps on the difference of the pixels, over stretch and shift along both axes, gain and offset.
    Source: Lucas and Kanade 1981, "An Iterative Image Registration Technique with an Application to Stereo Vision".

    Args:
        fixed, moving: `(num_pairs, size, size)` float32.
        start: `(num_pairs, 4)`, where to begin; default: no change.
        reach_px: no part of an edge moves farther by stretch, nor by shift.

    Returns:
        `(num_pairs, 4)` float32: stretch and shift along x, then along y, in pixels at the edge.
    """
    count, size = fixed.shape[:2]
    moves = np.zeros((count, 4), np.float32) if start is None else start
    from_middle = _from_middle(size)
    # What the six unknowns change, and what is left to explain.
    terms = np.zeros((count, 7, size, size), np.float32)
    terms[:, 5] = 1
    rows = terms.reshape(count, 7, -1)
    diagonal = range(6)
    for _ in range(steps):
        warped = warp(moving, moves) if moves.any() else moving
        np.subtract(warped[:, :, 2:], warped[:, :, :-2], out=terms[:, 1, :, 1:-1])
        np.subtract(warped[:, 2:], warped[:, :-2], out=terms[:, 3, 1:-1])
        terms[:, 1:4:2] /= 2
        np.multiply(terms[:, 1], from_middle, out=terms[:, 0])
        np.multiply(terms[:, 3], from_middle[:, None], out=terms[:, 2])
        np.subtract(warped, warped.mean((1, 2), keepdims=True), out=terms[:, 4])
        np.subtract(fixed, warped, out=terms[:, 6])
        products = rows[:, :6] @ rows.transpose(0, 2, 1)
        normal = products[:, :, :6]
        normal[:, diagonal, diagonal] *= 1 + _DAMPING
        normal[:, diagonal, diagonal] += _DAMPING * size * size
        change = np.linalg.solve(normal, products[:, :, 6:])
        moves = np.clip(moves + change[:, :4, 0], -reach_px, reach_px)
    return moves


def warp(pictures: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """`(num_pictures, size, size)`, stretched and shifted, bilinear; edges repeat."""
    size = pictures.shape[1]
    x, from_middle = np.arange(size, dtype=np.float32), _from_middle(size)

    def weights(stretch: np.ndarray, shift: np.ndarray) -> np.ndarray:
        places = np.clip(x + shift[:, None] + stretch[:, None] * from_middle, 0, size - 1)
        distance = places[:, :, None] - x
        return np.maximum(0, np.subtract(1, np.abs(distance, out=distance), out=distance), out=distance)

    return weights(*moves.T[2:]) @ pictures @ weights(*moves.T[:2]).transpose(0, 2, 1)


def edge_similarity(first: np.ndarray, second: np.ndarray, *, border: int) -> np.ndarray:
    """Correlation of the slopes of two pictures, for each pair; large even areas, such as white paper, count nothing.

    Args:
        first, second: `(num_pairs, size, size)` float32.
        border: pixels along the edges that are left out.
    """
    slopes = [np.concatenate(_slopes(pictures, border), axis=1) for pictures in (first, second)]
    return _cosine(*slopes)


def colour_similarity(first: np.ndarray, second: np.ndarray, *, border: int) -> np.ndarray:
    """Correlation of the pixels of two pictures, for each pair, `(num_pairs, size, size, 3)` float32."""
    inside = slice(border, -border)
    pixels = [pictures[:, inside, inside].reshape(len(pictures), -1) for pictures in (first, second)]
    return _cosine(*(each - each.mean(1, keepdims=True) for each in pixels))


def colour_distance(first: np.ndarray, second: np.ndarray, *, border: int) -> np.ndarray:
    """Grey levels by which two pictures differ in colour, apart from brightness, in the 4 x 4 pixels where most.

    Args:
        first, second: `(num_pairs, size, size, 3)` float32; without the border a multiple of 4.
    """
    inside = slice(border, -border)
    shades = [(pictures - (pictures @ LUMA)[..., None])[:, inside, inside] for pictures in (first, second)]
    apart = shades[0] - shades[1]
    count, blocks = len(apart), apart.shape[1] // 4
    means = apart.reshape(count, blocks, 4, blocks, 4, 3).mean((2, 4))
    return np.sqrt((means[..., ::2] ** 2).sum(-1)).max((1, 2), initial=0)


def _slopes(pictures: np.ndarray, border: int) -> Sequence[np.ndarray]:
    size = pictures.shape[1]
    inside, before, after = slice(border, -border), slice(border - 1, -border - 1), slice(border + 1, size - border + 1)
    along_x = pictures[:, inside, after] - pictures[:, inside, before]
    along_y = pictures[:, after, inside] - pictures[:, before, inside]
    return along_x.reshape(len(pictures), -1), along_y.reshape(len(pictures), -1)


def _cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    lengths = np.sqrt((first * first).sum(1) * (second * second).sum(1))
    return (first * second).sum(1) / np.maximum(lengths, 1e-3)


def _from_middle(size: int) -> np.ndarray:
    return (np.arange(size, dtype=np.float32) - (size - 1) / 2) / (size / 2)
