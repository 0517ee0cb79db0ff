"""The cheap part of the examination, which every run does on the pictures that it has prepared anyway."""

import os
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from transferkit.data.listing import SPLITS, Listing
from transferkit.data.load import Data
from transferkit.doctor.classes import find_in_classes
from transferkit.doctor.duplicates import Places, alike_pairs, drop_plain, find_alike
from transferkit.doctor.findings import Finding, by_severity, printable
from transferkit.doctor.remember import remember_pairs
from transferkit.doctor.statistics import count_classes, count_pictures
from transferkit.progress import Progress, Remark
from transferkit.recipe.data import DataSpec
from transferkit.recipe.runtime import CacheSpec
from transferkit.store.rows import cache_root

# Above it the search would be felt; doctor does it at any number.
_MAX_COMPARED: Final = 50_000


def quick_findings(
    data: Data, listing: Listing, spec: DataSpec, *, cache: CacheSpec, progress: Progress
) -> tuple[Finding, ...]:
    """Leakage between splits, labels that contradict each other, and classes with hardly any pictures.

    Args:
        listing: what the data were loaded from.
        cache: where pairs that look alike are kept for the next run on the same pictures.
    """
    places, rows = _places(data, listing), np.sort(np.concatenate([data.rows[split] for split in SPLITS]))
    counts = count_classes(places.labels, places.splits, len(data.class_names))
    findings = [
        *find_in_classes(data.class_names, counts, count_pictures(places.splits), spec, multi_label=data.multi_label)
    ]
    unlooked, pairs = "", []
    if data.alike is not None:  # the splits needed them already
        used = set(rows.tolist())
        found = [(one.first, one.second, one.similarity) for one in data.alike if {one.first, one.second} <= used]
        pairs = drop_plain(data.images, found)
    elif spec.cache == "none":
        unlooked = "with data.cache: none every picture would have to be decoded once more"
    elif len(rows) > _MAX_COMPARED:
        unlooked = f"{len(rows):,} pictures take too long in passing"
    else:
        pairs = remember_pairs(
            cache_root(cache.folder, os.environ),
            (data.digests[row] for row in rows),
            (rows.tolist(), spec.image_size, spec.resize),
            find=lambda: alike_pairs(data.images, rows, progress),
        )
    if unlooked:
        progress.say(Remark(f"data: leakage is not looked for, since {unlooked}; transferkit doctor looks for it"))
    findings += find_alike(places, pairs, grouped=spec.duplicates == "group")
    return by_severity(findings)


def describe_findings(findings: Iterable[Finding]) -> Iterator[Remark]:
    """A line or two for each that is more than a note."""
    grave = [finding for finding in findings if finding.severity != "note"]
    for finding in grave:
        topic = f"{finding.severity}: {finding.kind}"
        yield Remark(printable(f"data, {finding.severity}: {finding.title}"), topic)
        yield Remark(printable(f"  {finding.advice}"), topic)
    if any(finding.pictures for finding in grave):
        yield Remark("  transferkit doctor shows the pictures, writes a doctor.json, and ends with the lines to paste")


def _places(data: Data, listing: Listing) -> Places:
    own = {picture.path: picture.split for picture in listing.pictures}
    splits = np.full(len(data.paths), None, object)
    for split in SPLITS:
        splits[data.rows[split]] = split
    labels = (
        [np.flatnonzero(row).tolist() for row in data.labels] if data.multi_label else data.labels[:, None].tolist()
    )
    return Places(
        class_names=data.class_names,
        paths=data.paths,
        labels=[tuple(row) for row in labels],
        own=[own.get(path) for path in data.paths],
        splits=splits.tolist(),
    )
