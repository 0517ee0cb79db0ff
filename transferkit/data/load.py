"""From a recipe's data section to pictures in splits, ready to be batched."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferkit.data.classes import EMPTY_CLASS
from transferkit.data.copies import keep_one_of_each
from transferkit.data.exclude import EXCLUDED
from transferkit.data.listing import SPLITS, Listing, Picture, Skipped, Split
from transferkit.data.lookalikes import Lookalike, find_lookalikes, group_lookalikes
from transferkit.data.manifest import apply_manifest
from transferkit.data.middle import Middle, prepared_size_px
from transferkit.data.prepare import Images, prepare_pictures
from transferkit.data.splits import Assigned, assign_splits
from transferkit.errors import DataError
from transferkit.progress import Progress, Remark
from transferkit.recipe.data import DataSpec
from transferkit.recipe.runtime import CacheSpec

_MAX_SHOWN = 5
_MAX_REASONS = 3
# This share of faulty files and rows is ordinary.
_FEW = 0.1


@dataclass(frozen=True)
class Data:
    """The pictures of one run.

    Args:
        images: `(num_images, size, size, 3)` uint8 RGB, from which positions or a slice pick.
        labels: `(num_images,)` int32, -1 where the picture's class is left out; or, where a picture may have any
            number of classes, `(num_images, num_classes)` bool.
        weights: `(num_images,)` float32, what a picture counts in training; they come from the source.
        paths: name of each picture.
        digests: sha256 of each picture's file.
        rows: for each split, the positions of its pictures in the arrays above; what is left out is in none.
        skipped: what was left out, with reasons.
        alike: pictures that look alike, by position, where `data.duplicates: group` has looked for them.
        with_margin: the same pictures larger, where random crops need it; `images` is their middle.
    """

    class_names: tuple[str, ...]
    images: Images
    labels: np.ndarray
    weights: np.ndarray
    paths: tuple[str, ...]
    digests: tuple[bytes, ...]
    rows: Mapping[Split, np.ndarray]
    skipped: tuple[Skipped, ...]
    alike: tuple[Lookalike, ...] | None = None
    with_margin: Images | None = None

    @property
    def for_augmentation(self) -> Images:
        """What augmentation begins with."""
        return self.images if self.with_margin is None else self.with_margin

    @property
    def multi_label(self) -> bool:
        """Whether a picture may have any number of classes."""
        return self.labels.ndim == 2

    def classes_of(self, row: int) -> tuple[str, ...]:
        """Names of a picture's classes, in label order."""
        labels = np.flatnonzero(self.labels[row]) if self.multi_label else [self.labels[row]]
        return tuple(self.class_names[label] for label in labels)

    def describe(self) -> str:
        """One line: how many pictures in which splits, and how many were left out."""
        counts = ", ".join(f"{len(self.rows[split])} {split}" for split in SPLITS)
        total = sum(len(rows) for rows in self.rows.values())
        left_out = f"; {len(self.skipped)} left out, listed in skipped.csv" if self.skipped else ""
        return f"data: {total} pictures in {len(self.class_names)} classes ({counts}){left_out}"


def count_splits(listing: Listing, spec: DataSpec, *, seed: int) -> Counter[Split]:
    """Pictures per split if every picture can be read, and no two look alike."""
    return Counter(split for split in _expect(listing, spec, seed)[1] if split)


def count_training(listing: Listing, spec: DataSpec, *, seed: int) -> list[int]:
    """Training pictures by class if every picture can be read; one of several classes counts in each."""
    pictures, splits = _expect(listing, spec, seed)
    training = (one for one, split in zip(pictures, splits, strict=True) if split == "train")
    counts = Counter(label for picture in training for label in picture.labels)
    return [counts[label] for label in range(len(listing.class_names))]


def load_data(
    listing: Listing,
    spec: DataSpec,
    *,
    cache: CacheSpec,
    seed: int,
    need_test: bool,
    progress: Progress,
    margin: float = 0.0,
) -> Data:
    """Decode and split the pictures of a listing.

    Classes without a picture to train on are left out, as long as two remain; so a class may be missing from the
    data's class names.

    Args:
        need_test: whether the recipe asks for results on the test split.
        margin: by what share of the side pictures are prepared larger, for random crops.

    Raises:
        DataError: fewer than two classes with pictures to train on, a split left empty, or a manifest that does not
            fit.
    """
    faulty = [one for one in listing.skipped if not one.reason.startswith((EXCLUDED, EMPTY_CLASS))]
    if spec.split.manifest:
        listing, missing = apply_manifest(listing, Path(spec.split.manifest).expanduser())
        _warn(missing, progress)
    larger = spec.model_copy(update={"image_size": prepared_size_px(spec.image_size, margin)})
    prepared = prepare_pictures(listing, larger, cache=cache, progress=progress)
    faulty += prepared.skipped
    _warn(_many_left_out(faulty, len(prepared.pictures) + len(faulty)), progress)
    images = Middle(prepared.images, spec.image_size) if margin else prepared.images
    keep, copies = keep_one_of_each(prepared.pictures, prepared.digests, listing.class_names)
    alike = tuple(find_lookalikes(images, progress=progress)) if spec.duplicates == "group" else None
    pictures = [prepared.pictures[row] for row in keep]
    assigned = assign_splits(
        pictures, spec.split, seed=seed, alike=_same_group(alike or (), keep, len(prepared.images))
    )
    if assigned.skipped:
        first = assigned.skipped[0]
        text = f"{len(assigned.skipped)} pictures are left out, such as {first.path}: {first.reason}"
        _warn(text, progress, topic=first.reason)
    skipped = (*listing.skipped, *prepared.skipped, *copies, *assigned.skipped)
    chosen, untrained = _trained_classes(listing, pictures, assigned, skipped)
    if untrained:
        names = ", ".join(one.path for one in untrained[:_MAX_SHOWN]) + (", …" if len(untrained) > _MAX_SHOWN else "")
        _warn(
            f"{len(untrained)} classes are left out, since none of their pictures can be trained on: {names}", progress
        )
    labels = _label_array(prepared.pictures, chosen)
    rows = {split: _rows_of(split, keep, assigned, labels) for split in SPLITS}
    data = Data(
        class_names=tuple(listing.class_names[label] for label in chosen),
        images=images,
        labels=labels,
        weights=np.array([picture.weight for picture in prepared.pictures], np.float32),
        paths=tuple(picture.path for picture in prepared.pictures),
        digests=prepared.digests,
        rows=rows,
        skipped=(*skipped, *untrained),
        alike=alike,
        with_margin=prepared.images if margin else None,
    )
    _refuse_empty_splits(data, listing, spec, need_test=need_test)
    return data


def _many_left_out(faulty: Sequence[Skipped], total: int) -> str:
    """A warning with the commonest reasons where they are more than a few of all that the source names; else empty."""
    if len(faulty) <= _FEW * total:
        return ""
    reasons = Counter(_without_row(one.reason) for one in faulty)
    shown = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common(_MAX_REASONS))
    more = "; …" if len(reasons) > _MAX_REASONS else ""
    share = f"{len(faulty)} of {total} pictures ({len(faulty) / total:.0%})"
    return f"{share} of the source are left out, which skipped.csv lists: {shown}{more}"


def _without_row(reason: str) -> str:
    """The same text for every row that has the same fault."""
    return re.sub(r"\b(line|row) \d+", r"\1 …", re.sub(r"^(line|row) \d+: ", "", reason))


def _expect(listing: Listing, spec: DataSpec, seed: int) -> tuple[Sequence[Picture], Sequence[Split | None]]:
    if spec.split.manifest:
        listing, _ = apply_manifest(listing, Path(spec.split.manifest).expanduser())
    return listing.pictures, assign_splits(listing.pictures, spec.split, seed=seed).splits


def _same_group(alike: Sequence[Lookalike], keep: Sequence[int], count: int) -> list[tuple[int, int]]:
    """Pairs of positions in `keep` that look alike, also by way of a picture that is not kept."""
    if not alike:
        return []
    first: dict[int, int] = {}
    groups = group_lookalikes(alike, count)[keep]
    return [(position, first.setdefault(group, position)) for position, group in enumerate(groups.tolist())]


def _trained_classes(
    listing: Listing, pictures: Sequence[Picture], assigned: Assigned, skipped: Sequence[Skipped]
) -> tuple[list[int], tuple[Skipped, ...]]:
    """Labels of the classes that have pictures to train on, and the others, with the reason."""
    counts = {split: Counter[int]() for split in (*SPLITS, None)}
    for picture, split in zip(pictures, assigned.splits, strict=True):
        counts[split].update(picture.labels)
    labels = range(len(listing.class_names))
    chosen = [label for label in labels if counts["train"][label]]
    untrained = []
    for label in (label for label in labels if not counts["train"][label]):
        elsewhere = counts["validation"][label] + counts["test"][label]
        reason = f"none of its {elsewhere} pictures is in train" if elsewhere else "no picture that can be used"
        untrained.append(Skipped(listing.class_names[label], f"a class left out: {reason}"))
    if len(chosen) < 2:
        examples = "".join(f"\n  {one.path}: {one.reason}" for one in (*untrained[:_MAX_SHOWN], *skipped[:_MAX_SHOWN]))
        raise DataError(
            f"{listing.origin}: {len(chosen)} of {len(labels)} classes have pictures to train on; telling pictures "
            f"apart needs at least two.{examples}\nAdd pictures to the classes, or mend those that are left out."
        )
    return chosen, tuple(untrained)


def _label_array(pictures: Sequence[Picture], chosen: Sequence[int]) -> np.ndarray:
    """See `Data.labels`; -1 is a class that is left out."""
    new = {label: index for index, label in enumerate(chosen)}
    if all(isinstance(picture.label, int) for picture in pictures):
        return np.array([new.get(picture.label, -1) for picture in pictures], np.int32)
    labels = np.zeros((len(pictures), len(chosen)), bool)
    for row, picture in enumerate(pictures):
        labels[row, [new[label] for label in picture.labels if label in new]] = True
    return labels


def _rows_of(split: Split, keep: Sequence[int], assigned: Assigned, labels: np.ndarray) -> np.ndarray:
    rows = np.array([row for row, own in zip(keep, assigned.splits, strict=True) if own == split], np.int64)
    return rows[labels[rows] >= 0] if labels.ndim == 1 else rows


def _refuse_empty_splits(data: Data, listing: Listing, spec: DataSpec, *, need_test: bool) -> None:
    needed: list[Split] = ["train", "validation", *(["test"] if need_test else [])]
    empty = next((split for split in needed if not len(data.rows[split])), None)
    if empty is None:
        return
    counts, split = ", ".join(f"{one} {len(data.rows[one])}" for one in SPLITS), spec.split
    if split.manifest:
        advice = f"{split.manifest} puts none of these pictures there; use another manifest"
    elif split.method == "hash":
        advice = (
            "With data.split.method: hash shares are met on average only, by pictures or by whole groups.\n"
            f"Add pictures, raise data.split.{empty}, or use method: stratified"
        )
    elif split.fold and empty == "test":
        advice = "Use fewer folds, or add pictures: a class of one picture, or of one group, is never tested"
    else:
        advice = f"Add pictures, or raise data.split.{empty}"
        if split.group or spec.duplicates == "group" or any(picture.group is not None for picture in listing.pictures):
            advice += "; groups stay whole, so there must be several in each class"
    advice += ", or set evaluate: [validation]." if empty == "test" else "."
    raise DataError(f"{listing.origin}: the {empty} split is empty ({counts}).\n{advice}")


def _warn(text: str, progress: Progress, *, topic: str = "") -> None:
    if text:
        progress.say(Remark(f"warning: {text}", topic))
