"""Pictures that are prepared with a margin for random crops, and their middle, which everything else sees."""

from typing import Any

import numpy as np

from transferkit.data.prepare import Images


def prepared_size_px(shown_size_px: int, margin: float) -> int:
    """The side of prepared pictures: larger by a share of the side that the model sees."""
    return shown_size_px + round(shown_size_px * margin)


def shown_size_px(prepared_size_px: int, margin: float) -> int:
    """The side that the model sees: what `prepared_size_px` was made of."""
    return round(prepared_size_px / (1 + margin))


def middle_of(pictures: np.ndarray, size_px: int) -> np.ndarray:
    """`(…, size, size, 3)`: the middle of larger pictures."""
    top, left = ((side - size_px) // 2 for side in pictures.shape[-3:-1])
    return pictures[..., top : top + size_px, left : left + size_px, :]


class Middle:
    """The middle of larger pictures, as they are asked for."""

    def __init__(self, images: Images, size_px: int) -> None:
        self._images, self._size_px = images, size_px
        self.shape, self.dtype = (len(images), size_px, size_px, 3), images.dtype

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, chosen: Any) -> np.ndarray:
        """`(len(chosen), size, size, 3)`, by an array of integers or a slice."""
        return np.ascontiguousarray(middle_of(self._images[chosen], self._size_px))
