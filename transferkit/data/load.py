"""From a recipe's data section to pictures in splits, ready to be batched."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from transferkit.data.folder_source import list_folder
from transferkit.data.listing import SPLITS, Listing, Picture, Skipped, Split
from transferkit.data.prepare import Prepared, prepare_pictures
from transferkit.data.splits import assign_splits
from transferkit.errors import DataError
from transferkit.progress import Progress
from transferkit.recipe.data import DataSpec
from transferkit.recipe.source import SampleSource, TfdsSource


@dataclass(frozen=True)
class Data:
    """The pictures of one run.

    Args:
        images: `(num_images, size, size, 3)` uint8 RGB.
        labels: `(num_images,)` int32, or, where a picture may have any number of classes, `(num_images, num_classes)`
            bool.
        weights: `(num_images,)` float32, what a picture counts in training; they come from the source.
        paths: name of each picture.
        digests: sha256 of each picture's file.
        rows: for each split, the positions of its pictures in the arrays above; copies are in none.
        skipped: what was left out, with reasons.
    """

    class_names: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    paths: tuple[str, ...]
    digests: tuple[bytes, ...]
    rows: Mapping[Split, np.ndarray]
    skipped: tuple[Skipped, ...]

    @property
    def multi_label(self) -> bool:
        """Whether a picture may have any number of classes."""
        return self.labels.ndim == 2

    def describe(self) -> str:
        """One line: how many pictures in which splits, and how many were left out."""
        counts = ", ".join(f"{len(self.rows[split])} {split}" for split in SPLITS)
        total = sum(len(rows) for rows in self.rows.values())
        left_out = f"; {len(self.skipped)} left out, listed in skipped.csv" if self.skipped else ""
        return f"data: {total} pictures in {len(self.class_names)} classes ({counts}){left_out}"


def list_source(spec: DataSpec) -> Listing:
    """What the source has; a data set that is not on this machine is downloaded.

    Raises:
        DataError: it is not there, is no set of labelled pictures, or has one class only.
    """
    source = spec.source
    if isinstance(source, SampleSource):
        listing = list_folder(Path(str(files("transferkit.data") / source.name)))
    elif isinstance(source, TfdsSource):
        from transferkit.data.tfds_source import list_tfds

        listing = list_tfds(source)
    else:
        listing = list_folder(Path(source.path).expanduser())
    if len(listing.class_names) < 2:
        raise DataError(
            f"{listing.origin}: one class only ({listing.class_names[0]}); telling pictures apart needs at least two.\n"
            "Give the folder above it, which holds one sub-folder per class."
        )
    return listing


def is_on_this_machine(spec: DataSpec) -> bool:
    """Whether the pictures can be listed without a download."""
    if not isinstance(spec.source, TfdsSource):
        return True
    from transferkit.data.tfds_source import is_prepared

    return is_prepared(spec.source)


def count_splits(listing: Listing, spec: DataSpec, *, seed: int) -> Counter[Split]:
    """Pictures per split if every picture can be read."""
    return Counter(assign_splits(listing.pictures, spec.split, seed=seed))


def load_data(listing: Listing, spec: DataSpec, *, seed: int, need_test: bool, progress: Progress) -> Data:
    """Decode and split the pictures of a listing.

    Args:
        need_test: whether the recipe asks for results on the test split.

    Raises:
        DataError: a class without a readable picture, or a split left empty.
    """
    prepared = prepare_pictures(listing, spec, progress=progress)
    keep, duplicates = _keep_one_of_each(prepared, listing.class_names)
    pictures = tuple(prepared.pictures[row] for row in keep)
    skipped = (*prepared.skipped, *duplicates)
    _refuse_empty_classes(listing, pictures, skipped)
    splits = np.array(assign_splits(pictures, spec.split, seed=seed))
    data = Data(
        class_names=listing.class_names,
        images=prepared.images,
        labels=np.array([picture.label for picture in prepared.pictures], np.int32),
        weights=np.array([picture.weight for picture in prepared.pictures], np.float32),
        paths=tuple(picture.path for picture in prepared.pictures),
        digests=prepared.digests,
        rows={split: np.asarray(keep)[splits == split] for split in SPLITS},
        skipped=skipped,
    )
    _refuse_empty_splits(data, listing, need_test=need_test)
    return data


def _keep_one_of_each(prepared: Prepared, class_names: Sequence[str]) -> tuple[list[int], list[Skipped]]:
    """Positions of the pictures that stay: of files with the same bytes one, of those in two classes none.

    Where copies lie in several of the source's own splits, the test one stays, then the validation one, so that
    nothing is trained on that is reported on.
    """
    groups: dict[bytes, list[int]] = {}
    for row, digest in enumerate(prepared.digests):
        groups.setdefault(digest, []).append(row)
    keep, skipped = [], []
    order = {"test": 0, "validation": 1, "train": 2, None: 2}
    for rows in groups.values():
        labels = {prepared.pictures[row].label for row in rows}
        first = min(rows, key=lambda row: (order[prepared.pictures[row].split], row))
        if len(labels) > 1:
            names = " and ".join(class_names[label] for label in sorted(labels))
            skipped += [Skipped(prepared.pictures[row].path, f"the same file stands in {names}") for row in rows]
            continue
        keep.append(first)
        reason = f"the same file as {prepared.pictures[first].path}"
        skipped += [Skipped(prepared.pictures[row].path, reason) for row in rows if row != first]
    return sorted(keep), skipped


def _refuse_empty_classes(listing: Listing, pictures: Sequence[Picture], skipped: Sequence[Skipped]) -> None:
    found = Counter(picture.label for picture in pictures)
    empty = [name for label, name in enumerate(listing.class_names) if not found[label]]
    if empty:
        examples = "".join(f"\n  {one.path}: {one.reason}" for one in skipped[:5])
        raise DataError(
            f"{listing.origin}: no readable picture in {len(empty)} of {len(listing.class_names)} classes: "
            f"{', '.join(empty[:10])}{' …' if len(empty) > 10 else ''}.{examples}\n"
            "Add pictures to them, or remove these folders."
        )
    training = Counter(picture.label for picture in pictures if picture.split in (None, "train"))
    if untrained := [name for label, name in enumerate(listing.class_names) if not training[label]]:
        raise DataError(
            f"{listing.origin}: no training picture in {', '.join(untrained[:10])}; every class needs some in train."
        )


def _refuse_empty_splits(data: Data, listing: Listing, *, need_test: bool) -> None:
    needed: list[Split] = ["train", "validation", *(["test"] if need_test else [])]
    if empty := [split for split in needed if not len(data.rows[split])]:
        counts = ", ".join(f"{split} {len(data.rows[split])}" for split in SPLITS)
        raise DataError(
            f"{listing.origin}: the {empty[0]} split is empty ({counts}).\n"
            f"Add pictures, or raise data.split.{empty[0]}"
            + (", or set evaluate: [validation]." if empty[0] == "test" else ".")
        )
