"""The whole examination: from a recipe to findings and numbers. Each line's result is the next line's argument."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferkit.data.arrays_source import Arrays
from transferkit.data.copies import keep_one_of_each
from transferkit.data.exclude import read_exclude_file
from transferkit.data.listing import Listing, Picture, Skipped
from transferkit.data.manifest import apply_manifest
from transferkit.data.source import list_source
from transferkit.data.splits import Assigned, assign_splits
from transferkit.doctor.classes import find_in_classes
from transferkit.doctor.duplicates import Pair, Places, alike_pairs, find_alike, find_copies
from transferkit.doctor.files import find_in_files
from transferkit.doctor.findings import Finding, by_severity
from transferkit.doctor.scan import Scan, scan_pictures
from transferkit.doctor.shortcuts import find_shortcuts
from transferkit.doctor.statistics import Statistics, count_classes, count_pictures, summarise
from transferkit.doctor.torn import find_torn_groups
from transferkit.errors import DownloadError, WeightsError
from transferkit.progress import Progress
from transferkit.recipe.recipe import Recipe


@dataclass(frozen=True)
class Examination:
    """What doctor found in the data of a recipe.

    Args:
        findings: the gravest first.
    """

    recipe: Recipe
    listing: Listing
    scan: Scan
    findings: tuple[Finding, ...]
    statistics: Statistics

    @property
    def exclude(self) -> tuple[Skipped, ...]:
        """What `data.exclude: doctor.json` leaves out, each picture once, with the gravest reason.

        With it goes what the recipe leaves out already: its list may be the very file that this one replaces.
        """
        found = {one.path: one.reason for finding in reversed(self.findings) for one in reversed(finding.exclude)}
        reasons = found | _already_excluded(self.recipe.data.exclude)
        return tuple(Skipped(path, reasons[path]) for path in sorted(reasons))


def examine(recipe: Recipe, *, quick: bool = False, arrays: Arrays | None = None, progress: Progress) -> Examination:
    """Read all pictures of a recipe and look for what would spoil a run.

    Args:
        quick: leave out what needs the backbone: pictures that look mislabelled.
        arrays: the pictures themselves, where the recipe's source is `arrays`.

    Raises:
        DataError: there are no labelled pictures.
        CacheError: no room for a scratch file.
    """
    spec = recipe.data
    listing = list_source(spec, multi_label=recipe.multi_label, arrays=arrays)
    if spec.split.manifest:
        listing, _ = apply_manifest(listing, Path(spec.split.manifest).expanduser())
    scan = scan_pictures(listing, max_megapixels=spec.max_megapixels, progress=progress)
    rows = _used_by_a_run(listing, scan)
    pairs = alike_pairs(scan.pixels, rows, progress)
    used = [listing.pictures[row] for row in rows]
    assigned = _assign(used, rows, pairs, recipe)
    places = _places(listing, rows, assigned)
    counts = count_classes(places.labels, places.splits, len(listing.class_names))
    findings = [
        *find_copies(places, _comparable(scan)),
        *find_alike(places, pairs, grouped=spec.duplicates == "group"),
        *find_torn_groups(used, assigned),
        *find_in_files(listing, scan, spec),
        *find_in_classes(
            listing.class_names,
            counts,
            count_pictures(places.splits),
            spec,
            multi_label=recipe.multi_label,
            need_test="test" in recipe.evaluate,
        ),
        *find_shortcuts(scan, listing),
    ]
    if not quick:
        findings += _deep_findings(recipe, listing, places, progress)
    return Examination(
        recipe, listing, scan, by_severity(findings), summarise(scan, listing.class_names, counts, places.splits)
    )


def _used_by_a_run(listing: Listing, scan: Scan) -> np.ndarray:
    """`(num_used,)`: rows of the files that can be read, copies once, and not those that stand in several classes."""
    readable = np.flatnonzero(scan.readable)
    pictures, digests = [listing.pictures[row] for row in readable], [scan.digests[row] for row in readable]
    return readable[np.array(keep_one_of_each(pictures, digests, listing.class_names)[0], np.int64)]


def _assign(used: Sequence[Picture], rows: np.ndarray, pairs: Sequence[Pair], recipe: Recipe) -> Assigned:
    """Where a run would put the pictures that it uses, which are those in some rows."""
    position = {row: at for at, row in enumerate(rows.tolist())}
    alike = [(position[one], position[other]) for one, other, _ in pairs]
    grouped = recipe.data.duplicates == "group"
    return assign_splits(used, recipe.data.split, seed=recipe.seed, alike=alike if grouped else ())


def _places(listing: Listing, rows: np.ndarray, assigned: Assigned) -> Places:
    """Where each picture stands; those that are not in the rows are in no split."""
    splits = np.full(len(listing.pictures), None, object)
    splits[rows] = assigned.splits
    return Places(
        class_names=listing.class_names,
        paths=[picture.path for picture in listing.pictures],
        labels=[tuple(sorted(picture.labels)) for picture in listing.pictures],
        own=[picture.split for picture in listing.pictures],
        splits=splits.tolist(),
    )


def _comparable(scan: Scan) -> list[bytes]:
    """Digests of the files that can be read; empty for the others."""
    return [b"" if reason else digest for reason, digest in zip(scan.reasons, scan.digests, strict=True)]


def _already_excluded(exclude: str | tuple[str, ...] | None) -> dict[str, str]:
    if isinstance(exclude, str):
        return read_exclude_file(Path(exclude).expanduser())
    return dict.fromkeys(exclude or (), "named in the recipe")


def _deep_findings(recipe: Recipe, listing: Listing, places: Places, progress: Progress) -> Iterator[Finding]:
    from transferkit.doctor.labels import find_mislabelled

    try:
        splits = dict(zip(places.paths, places.splits, strict=True))
        yield from find_mislabelled(recipe, listing, splits, progress=progress)
    except (WeightsError, DownloadError) as error:
        yield Finding(
            kind="labels_not_examined",
            severity="note",
            title="labels were not examined: the backbone's weights are not to be had",
            meaning=str(error).splitlines()[0],
            advice="transferkit fetch gets them where there is a network; --quick leaves this part out.",
        )
