"""A set of pictures in numbers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from transferkit.data.listing import SPLITS, Split
from transferkit.doctor.scan import Scan


@dataclass(frozen=True)
class Range:
    """Smallest, middle and largest of some numbers."""

    lowest: int
    median: int
    highest: int


@dataclass(frozen=True)
class Statistics:
    """What all pictures are like.

    Args:
        num_pictures: that the source lists.
        num_readable: of these.
        num_bytes: of all files.
        per_split: pictures as a run would have them, without copies.
        per_class: the same for each class; a picture of several classes counts in each.
        formats: pictures by format, the most frequent first; also `cameras`.
        width: of the upright pictures, in pixels, as is `height`.
        channel_mean: RGB of the training pictures, 0–255.
        channel_std: the same for the standard deviation over all their pixels, after reduction to 64 x 64.
        captured: the first and the last time of taking that EXIF tells; empty texts if it tells none.
    """

    num_pictures: int
    num_readable: int
    num_bytes: int
    per_split: Mapping[Split, int]
    per_class: Mapping[str, Mapping[Split, int]]
    formats: Mapping[str, int]
    cameras: Mapping[str, int]
    width: Range
    height: Range
    channel_mean: tuple[float, float, float]
    channel_std: tuple[float, float, float]
    captured: tuple[str, str]

    @property
    def num_unused(self) -> int:
        """Pictures that are in no split: those that cannot be read, copies, and labels that contradict each other."""
        return self.num_pictures - sum(self.per_split.values())


def count_pictures(splits: Iterable[Split | None]) -> dict[Split, int]:
    """Pictures per split."""
    counts = Counter(splits)
    return {split: counts[split] for split in SPLITS}


def count_classes(
    labels: Sequence[tuple[int, ...]], splits: Sequence[Split | None], num_classes: int
) -> dict[Split, np.ndarray]:
    """For each split `(num_classes,)`: pictures of each class."""
    counts = {split: np.zeros(num_classes, np.int64) for split in SPLITS}
    for classes, split in zip(labels, splits, strict=True):
        if split:
            counts[split][list(classes)] += 1
    return counts


def summarise(
    scan: Scan, class_names: Sequence[str], counts: Mapping[Split, np.ndarray], splits: Sequence[Split | None]
) -> Statistics:
    """The numbers of a scanned set; `counts` as from `count_classes`, `splits` those of a run."""
    readable = scan.readable
    training = np.array([split == "train" for split in splits], bool)
    mean = _mean(scan.channel_mean[training])
    variance = _mean(scan.channel_square[training]) - mean**2
    taken = sorted(filter(None, scan.captured))
    return Statistics(
        num_pictures=len(readable),
        num_readable=int(readable.sum()),
        num_bytes=int(scan.num_bytes.sum()),
        per_split=count_pictures(splits),
        per_class={
            name: {split: int(counts[split][label]) for split in SPLITS} for label, name in enumerate(class_names)
        },
        formats=dict(Counter(filter(None, scan.formats)).most_common()),
        cameras=dict(Counter(filter(None, scan.cameras)).most_common()),
        width=_range(scan.width[readable]),
        height=_range(scan.height[readable]),
        channel_mean=_rounded(mean),
        channel_std=_rounded(np.sqrt(np.maximum(variance, 0))),
        captured=(taken[0], taken[-1]) if taken else ("", ""),
    )


def _mean(rows: np.ndarray) -> np.ndarray:
    return rows.astype(np.float64).mean(0) if len(rows) else np.zeros(3)


def _range(values: np.ndarray) -> Range:
    return Range(int(values.min()), int(np.median(values)), int(values.max())) if len(values) else Range(0, 0, 0)


def _rounded(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 1) for value in values)
    return red, green, blue
