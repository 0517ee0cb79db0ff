"""Splits of another run, read from its splits.csv."""

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from transferkit.data.listing import SPLITS, Listing, Skipped, Split
from transferkit.errors import DataError

COLUMNS = ("path", "label", "split")
SEPARATOR = ";"  # between the classes of one picture
_MAX_SHOWN = 5


def apply_manifest(listing: Listing, path: Path) -> tuple[Listing, str]:
    """The pictures that a manifest names, in its splits, and a warning where it names some that are not there.

    The others are left out, into `skipped`. Of a picture of several classes, those that the manifest names nowhere do
    not count: the run that wrote it had nothing to train them on and left them out.

    Raises:
        DataError: it cannot be read, names none of the pictures, or gives one another class.
    """
    rows = read_manifest(path)
    known = {name for label, _ in rows.values() for name in label.split(SEPARATOR)}
    positions, pictures, skipped, differ = [], [], list(listing.skipped), []
    for position, picture in enumerate(listing.pictures):
        if picture.path not in rows:
            skipped.append(Skipped(picture.path, f"not in {path}"))
            continue
        label, split = rows[picture.path]
        names = [listing.class_names[one] for one in sorted(picture.labels)]
        own = SEPARATOR.join(names)
        several = isinstance(picture.label, tuple)
        if label != own and not (several and label == SEPARATOR.join(name for name in names if name in known)):
            differ.append(f"\n  {picture.path}: {label or 'no class'} in the manifest, {own or 'no class'} here")
        positions.append(position)
        pictures.append(replace(picture, split=split))
    if not pictures:
        there = listing.pictures[0].path if listing.pictures else "none"
        raise DataError(
            f"data.split.manifest: none of the {len(rows)} pictures in {path} is in {listing.origin}.\n"
            f"There a path is {next(iter(rows), 'none')!r}, here {there!r}; paths are relative to the source."
        )
    if differ:
        raise DataError(
            f"data.split.manifest: {len(differ)} pictures have another class in {path} than here:"
            f"{''.join(differ[:_MAX_SHOWN])}\nUse a manifest of the same data and the same class names."
        )
    here = {picture.path for picture in listing.pictures} | {one.path for one in listing.skipped}
    missing = [name for name in rows if name not in here]
    shown = ", ".join(missing[:_MAX_SHOWN]) + (", …" if len(missing) > _MAX_SHOWN else "")
    warning = f"{len(missing)} of {len(rows)} pictures in {path} are not here: {shown}" if missing else ""
    return replace(listing.only(positions), pictures=tuple(pictures), skipped=tuple(skipped)), warning


def read_manifest(path: Path) -> Mapping[str, tuple[str, Split]]:
    """Label and split by path.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"data.split.manifest: {path} cannot be read: {reason} (looked from {Path.cwd()}).\n"
            "Give the splits.csv of a run's folder."
        ) from error
    found: dict[str, tuple[str, Split]] = {}
    for number, row in enumerate(rows, start=2):
        values = tuple(row.get(column) for column in COLUMNS)
        if None in values or values[2] not in SPLITS or found.get(values[0], values[1:]) != values[1:]:
            raise DataError(
                f"data.split.manifest: row {number} of {path} does not have a picture's path, label and split "
                f"({', '.join(SPLITS)}), each path once.\nGive the splits.csv of a run's folder."
            )
        found[values[0]] = values[1:]
    return found
