"""Findings about single picture files: what cannot be read, and what is odd in size, colour or name."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

import numpy as np

from transferkit.data.listing import Listing, Skipped
from transferkit.doctor.facts import FORMAT_SUFFIXES
from transferkit.doctor.findings import Evidence, Finding, counted
from transferkit.doctor.scan import Scan
from transferkit.recipe.data import DataSpec

_TINY_PX: Final = 16
_HUGE_MEGAPIXELS: Final = 50
_EXTREME_ASPECT: Final = 4.0
# Below these shares pictures without colour, or with it, are the odd ones of their set.
_ODD_SHARE: Final = 0.2
# The share of pictures that may be lost without doubt about the whole set.
_MANY_UNREADABLE: Final = 0.1
_MAX_REASONS: Final = 6


def find_in_files(listing: Listing, scan: Scan, spec: DataSpec) -> Iterator[Finding]:
    """What single files show, the gravest first."""
    for look in _LOOKS:
        yield from look(listing, scan, spec)


def _unreadable(listing: Listing, scan: Scan, spec: DataSpec) -> Iterator[Finding]:
    rows = np.flatnonzero(~scan.readable)
    if not len(rows):
        return
    left_out = tuple(Skipped(listing.pictures[row].path, scan.reasons[row]) for row in rows)
    share = len(rows) / len(listing.pictures)
    yield Finding(
        kind="unreadable",
        severity="blocking" if share > _MANY_UNREADABLE else "warning",
        title=f"{counted(len(rows), 'picture')} cannot be read",
        meaning=f"{_reasons(left_out)}. finetune leaves them out and lists them in skipped.csv; nothing is deleted.",
        advice=(
            "Restore them from their origin, or delete them."
            + (" Those over the limit are read once data.max_megapixels is raised." if scan.too_large.any() else "")
            + (f" That is {share:.0%} of all: look for a broken copy or download first." if share > 0.02 else "")
            + " data.exclude: doctor.json leaves them out for good."
        ),
        pictures=tuple(Evidence(one.path, one.reason) for one in left_out),
        num=len(rows),
        exclude=left_out,
    )


def _left_out_by_source(listing: Listing, scan: Scan, spec: DataSpec) -> Iterator[Finding]:
    if not listing.skipped:
        return
    yield Finding(
        kind="left_out",
        severity="note",
        title=f"{counted(len(listing.skipped), 'entry', 'entries')} of the source left out",
        meaning=f"{_reasons(listing.skipped)}. They are not part of this examination.",
        advice="Mend what is left out by mistake; what data.exclude or data.keep_classes names is as it should be.",
        pictures=tuple(Evidence(one.path, one.reason) for one in listing.skipped),
        num=len(listing.skipped),
    )


def _constant(listing: Listing, scan: Scan, spec: DataSpec) -> Iterator[Finding]:
    yield from _found(
        listing,
        np.flatnonzero(scan.constant),
        lambda row: "one colour: RGB " + " ".join(f"{round(float(level))}" for level in scan.channel_mean[row]),
        kind="constant",
        severity="warning",
        title="{} of a single colour",
        meaning="Nothing is to be seen on them, so they teach a class nothing but a colour.",
        advice="Look at them; name those without content in data.exclude.",
    )


def _tiny(listing: Listing, scan: Scan, spec: DataSpec) -> Iterator[Finding]:
    short = np.minimum(scan.width, scan.height)
    yield from _found(
        listing,
        np.flatnonzero(scan.readable & (short < _TINY_PX)),
        lambda row: _size(scan, row),
        kind="tiny",
        severity="warning",
        title=f"{{}} with a side below {_TINY_PX} pixels",
        meaning=f"They are enlarged to {spec.image_size} pixels and show next to nothing; often they are thumbnails.",
        advice="Replace them by the originals, or name them in data.exclude.",
    )
    fitted = np.maximum(scan.width, scan.height) if spec.resize == "pad" else short  # the side that becomes image_size
    small = scan.readable & (fitted < spec.image_size / 2) & (short >= _TINY_PX)
    yield from _found(
        listing,
        np.flatnonzero(small),
        lambda row: _size(scan, row),
        kind="small",
        severity="note",
        title=f"{{}} less than half as large as data.image_size ({spec.image_size})",
        meaning="They are enlarged, which costs time and adds no detail.",
        advice=f"Where most are so small, try data.image_size: {_smaller_size(fitted[scan.readable])}.",
    )


def _huge(listing: Listing, scan: Scan, spec: DataSpec) -> Iterator[Finding]:
    megapixels = scan.width * scan.height / 1e6
    yield from _found(
        listing,
        np.flatnonzero(megapixels > _HUGE_MEGAPIXELS),
        lambda row: f"{_size(scan, row)}, {scan.num_bytes[row] / 1e6:.1f} MB",
        kind="huge",
        severity="note",
        title=f"{{}} of more than {_HUGE_MEGAPIXELS} megapixels",
        meaning="They take memory and time when they are prepared, once.",
        advice=f"Nothing needs to be done; above data.max_megapixels ({spec.max_megapixels:g}) they are left out.",
    )


def _extreme_aspect(listing: Listing, scan: Scan, spec: DataSpec) -> Iterator[Finding]:
    short, long = np.minimum(scan.width, scan.height), np.maximum(scan.width, scan.height)
    aspect, crops = long / np.maximum(short, 1), spec.resize == "crop"
    meaning = {
        "crop": "data.resize: crop shows only the middle of them",
        "pad": "data.resize: pad shows them as a thin strip between white bars",
        "stretch": "data.resize: stretch distorts them beyond recognition",
    }
    yield from _found(
        listing,
        np.flatnonzero(scan.readable & (aspect > _EXTREME_ASPECT)),
        lambda row: _size(scan, row) + (f", {1 / aspect[row]:.0%} of it shown" if crops else ""),
        kind="extreme_aspect",
        severity="note" if spec.resize == "pad" else "warning",
        title=f"{{}} more than {_EXTREME_ASPECT:g} times as long as wide",
        meaning=f"{meaning[spec.resize]}.",
        advice=f"Cut out what matters{', choose data.resize: pad,' if crops else ''} or name them in data.exclude.",
    )


def _wrong_extension(listing: Listing, scan: Scan, spec: DataSpec) -> Iterator[Finding]:
    suffixes = [PurePosixPath(picture.path).suffix.lower() for picture in listing.pictures]
    rows = [
        row
        for row, (suffix, name) in enumerate(zip(suffixes, scan.formats, strict=True))
        if name and suffix in _KNOWN_SUFFIXES and suffix not in FORMAT_SUFFIXES[name]
    ]
    yield from _found(
        listing,
        rows,
        lambda row: f"{scan.formats[row]} named {suffixes[row]}",
        kind="wrong_extension",
        severity="note",
        title="{} with the suffix of another format",
        meaning="transferkit goes by the content, so it does not matter here; other programs may refuse them.",
        advice="Rename them if other programs read them as well.",
    )


def _turned(listing: Listing, scan: Scan, spec: DataSpec) -> Iterator[Finding]:
    yield from _found(
        listing,
        np.flatnonzero(scan.orientation > 1),
        lambda row: f"EXIF orientation {scan.orientation[row]}",
        kind="turned",
        severity="note",
        title="{} stored turned or mirrored, with an EXIF mark",
        meaning="transferkit turns them upright, in training and in predict; programs that ignore the mark do not.",
        advice="Nothing needs to be done; serve with transferkit's own decoding, or turn pictures upright before.",
    )


def _grey(listing: Listing, scan: Scan, spec: DataSpec) -> Iterator[Finding]:
    grey = scan.grey & ~scan.constant
    coloured = scan.readable & ~scan.grey
    if not coloured.any() or not grey.any():
        return
    share = grey.sum() / (grey.sum() + coloured.sum())
    if min(share, 1 - share) > _ODD_SHARE:
        return
    odd, what = (grey, "without colours among others") if share < 0.5 else (coloured, "with colours among grey ones")
    yield from _found(
        listing,
        np.flatnonzero(odd),
        lambda row: "",
        kind="greyscale",
        severity="note",
        title=f"{{}} {what}",
        meaning="All become RGB. If they gather in some classes, colour gives the label away.",
        advice="See whether all classes have their share; if not, add pictures of the kind that a class lacks.",
    )


def _frames(listing: Listing, scan: Scan, spec: DataSpec) -> Iterator[Finding]:
    yield from _found(
        listing,
        np.flatnonzero(scan.animated),
        lambda row: scan.formats[row],
        kind="animated",
        severity="note",
        title="{} with several frames or pages",
        meaning="Only the first is used.",
        advice="Save the frame that shows the class, if it is another one.",
    )
    transparent = scan.transparent.sum()
    if 0 < transparent < scan.readable.sum():
        yield from _found(
            listing,
            np.flatnonzero(scan.transparent),
            lambda row: scan.formats[row],
            kind="transparent",
            severity="note",
            title="{} that can be transparent",
            meaning="Transparent parts become white.",
            advice="Nothing needs to be done where that is right for the other pictures' backgrounds.",
        )


_LOOKS: Final = (
    _unreadable,
    _left_out_by_source,
    _constant,
    _tiny,
    _extreme_aspect,
    _huge,
    _wrong_extension,
    _turned,
    _grey,
    _frames,
)
_KNOWN_SUFFIXES: Final = frozenset(suffix for name in FORMAT_SUFFIXES for suffix in FORMAT_SUFFIXES[name])


def _found(
    listing: Listing, rows: Sequence[int], note: Callable[[int], str], *, title: str, **finding: str
) -> Iterator[Finding]:
    """One finding about some pictures, if there are any; `{}` in the title becomes their number."""
    if len(rows):
        evidence = tuple(Evidence(listing.pictures[row].path, note(row)) for row in rows)
        title = title.format(counted(len(rows), "picture"))
        yield Finding(**finding, title=title, pictures=evidence, num=len(rows))


def _size(scan: Scan, row: int) -> str:
    return f"{scan.width[row]} x {scan.height[row]} pixels"


def _reasons(left_out: Sequence[Skipped]) -> str:
    counts = Counter(one.reason for one in left_out).most_common()
    shown = ", ".join(f"{reason} ({count:,})" for reason, count in counts[:_MAX_REASONS])
    more = f" and {counted(len(counts) - _MAX_REASONS, 'other reason')}" if len(counts) > _MAX_REASONS else ""
    return shown[0].upper() + shown[1:] + more


def _smaller_size(side_px: np.ndarray) -> int:
    """The multiple of 32 that most pictures fill."""
    return max(32, int(np.median(side_px)) // 32 * 32)
