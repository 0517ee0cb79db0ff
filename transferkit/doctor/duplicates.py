"""Findings about pictures that come more than once: as copies of a file, or so alike that they show the same."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from transferkit.data.listing import Skipped, Split
from transferkit.data.lookalikes import find_lookalikes
from transferkit.data.splits import KEPT_FIRST
from transferkit.doctor.findings import Evidence, Finding, counted
from transferkit.doctor.scan import ONE_COLOUR_LEVELS
from transferkit.progress import Progress

Pair = tuple[int, int, float]
"""Two rows, and how much their pictures are alike, up to 1."""

# Of two pictures that are alike, the one in the first of these splits stays: a test must not lose what it tests.
_KEPT_FIRST: Final = {**KEPT_FIRST, None: len(KEPT_FIRST)}  # what is in no split comes last
_MANY_ALIKE: Final = 0.1
_GROUPED: Final = (("duplicates", "group"),)
# Least similarity of what is called the same. Copies that were encoded again, resized or cropped by some 4 % reach
# 0.9 and mostly 0.98; below lie also pictures of one series, such as road signs that differ in a symbol.
_SAME: Final = 0.9


@dataclass(frozen=True)
class Places:
    """Where each picture stands, by its row.

    Args:
        labels: its classes.
        own: its split as the source says; `None` where the recipe decides.
        splits: its split in a run; `None` where it is in none.
    """

    class_names: tuple[str, ...]
    paths: Sequence[str]
    labels: Sequence[tuple[int, ...]]
    own: Sequence[Split | None]
    splits: Sequence[Split | None]

    def describe(self, row: int) -> str:
        """Class and split, for people."""
        names = ", ".join(self.class_names[label] for label in self.labels[row]) or "no class"
        split = self.splits[row] or self.own[row]
        return f"{names} ({split})" if split else names


def alike_pairs(images: Any, rows: np.ndarray, progress: Progress) -> list[Pair]:
    """Which of the pictures in some rows look the same; those of one colour say nothing and are left out.

    Args:
        images: `(num_images, size, size, 3)` uint8, array-like.
        rows: `(num_rows,)`, rising.
    """
    found = find_lookalikes(_Chosen(images, rows), progress=progress)
    return drop_plain(images, [(int(rows[pair.first]), int(rows[pair.second]), pair.similarity) for pair in found])


def drop_plain(images: Any, pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs without those of one colour, which are equal whatever they were meant to show."""
    plain = {
        row
        for row in {pair[0] for pair in pairs}
        if np.ptp(images[np.array([row])].reshape(-1, 3), axis=0).max() <= ONE_COLOUR_LEVELS
    }
    return [pair for pair in pairs if pair[0] not in plain]


def find_copies(places: Places, digests: Sequence[bytes]) -> Iterator[Finding]:
    """Files with the same bytes: in different classes, in different splits of the source's own, or merely twice.

    Args:
        digests: of each row's file; empty for those that are not to be compared.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for row, digest in enumerate(digests):
        if digest:
            groups[digest].append(row)
    copies = [rows for rows in groups.values() if len(rows) > 1]
    conflicts, agreeing = _divide(copies, lambda rows: len({places.labels[row] for row in rows}) > 1)
    # By the source's own splits: a run leaves out copies before it makes splits.
    straddling, harmless = _divide(agreeing, lambda rows: len({places.own[row] or "train" for row in rows}) > 1)
    if conflicts:
        yield Finding(
            kind="copies_in_classes",
            severity="blocking",
            title=f"copies in different classes: {_groups(conflicts)}",
            meaning="The same file carries different labels, so at least one of them is wrong.",
            advice=(
                "Decide which label is right and delete the other copy. finetune leaves out all of them until then; "
                "data.exclude: doctor.json says so in the recipe."
            ),
            pictures=_evidence(places, _pairs_of_groups(places, conflicts)),
            num=len(conflicts),
            exclude=_every_one(places, conflicts),
        )
    if straddling:
        yield Finding(
            kind="copies_across_splits",
            severity="blocking",
            title=f"copies in different splits: {_groups(straddling)}",
            meaning="The same file stands in train and in test or validation: remembering it looks like knowing it.",
            advice=(
                "finetune keeps the test copy and leaves out the others; data.exclude: doctor.json says so in the "
                "recipe. Results that other programs got on these splits are too good."
            ),
            pictures=_evidence(places, _pairs_of_groups(places, straddling)),
            num=len(straddling),
            exclude=_lesser_ones(places, _pairs_of_groups(places, straddling), "the same file as"),
        )
    if harmless:
        extra = sum(map(len, harmless)) - len(harmless)
        yield Finding(
            kind="copies",
            severity="note",
            title=f"{counted(extra, 'file')} that {'is a copy' if extra == 1 else 'are copies'} of another",
            meaning="Same bytes, same class: finetune counts each of them once, so they cannot leak between splits.",
            advice="Nothing needs to be done.",
            pictures=_evidence(places, _pairs_of_groups(places, harmless)),
            num=extra,
        )


def _divide(
    groups: Iterable[Sequence[int]], chosen: Callable[[Sequence[int]], bool]
) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """The groups that are chosen, and the others."""
    parts: tuple[list[Sequence[int]], list[Sequence[int]]] = [], []
    for rows in groups:
        parts[not chosen(rows)].append(rows)
    return parts


def _groups(groups: Sequence[Sequence[int]]) -> str:
    return f"{counted(sum(map(len, groups)), 'picture')} in {counted(len(groups), 'group')}"


def find_alike(places: Places, pairs: Iterable[Pair], *, grouped: bool) -> Iterator[Finding]:
    """Pictures that look the same without being copies of a file: across splits, across classes, or neither.

    Args:
        pairs: from `alike_pairs`, without copies of a file.
        grouped: whether the recipe keeps pictures that look alike together.
    """
    by_similarity = sorted(pairs, key=lambda pair: -pair[2])
    ranked = [pair for pair in by_similarity if pair[2] >= _SAME]
    conflicts = [pair for pair in ranked if places.labels[pair[0]] != places.labels[pair[1]]]
    straddling = [
        pair
        for pair in ranked
        if None not in (both := {places.splits[pair[0]], places.splits[pair[1]]}) and len(both) > 1
    ]
    if straddling:
        yield _leakage(places, straddling, grouped=grouped)
    if conflicts:
        yield Finding(
            kind="label_conflict",
            severity="blocking",
            title=f"{counted(len(conflicts), 'pair')} of pictures that look the same, in different classes",
            meaning="At least one label of each pair is probably wrong, and a classifier cannot please both.",
            advice=(
                "Look at the pairs and correct the labels. data.exclude: doctor.json leaves out both of each; remove "
                "from its list what is right as it is."
            ),
            pictures=_evidence(places, conflicts),
            num=len(conflicts),
            exclude=_every_one(places, [pair[:2] for pair in conflicts]),
        )
    elsewhere = {*straddling, *conflicts}
    if rest := [pair for pair in ranked if pair not in elsewhere]:
        rows = {row for first, second, _ in rest for row in (first, second)}
        yield Finding(
            kind="alike",
            severity="warning" if len(rows) > _MANY_ALIKE * len(places.paths) else "note",
            title=f"{counted(len(rest), 'pair')} of pictures in one class that look the same",
            meaning="Bursts, video frames or edited copies: they count several times without adding much.",
            advice="Nothing needs to be done: they are kept in one split." if grouped else (
                "Another seed could put them into different splits: data.duplicates: group keeps them together."
            ),
            pictures=_evidence(places, rest),
            num=len(rest),
            settings=() if grouped else _GROUPED,
        )  # fmt: skip
    if unsure := [pair for pair in by_similarity if pair[2] < _SAME]:
        yield Finding(
            kind="perhaps_alike",
            severity="note",
            title=f"{counted(len(unsure), 'pair')} of pictures that may show the same",
            meaning="They are nearly alike: edited copies, or pictures of one series.",
            advice="Look at them. Where they are the same, data.duplicates: group keeps them in one split.",
            pictures=_evidence(places, unsure),
            num=len(unsure),
        )


def _leakage(places: Places, pairs: Sequence[Pair], *, grouped: bool) -> Finding:
    # Splits that the recipe makes are others once a picture is left out, with other pairs across them.
    of_the_source = [pair for pair in pairs if None not in {places.own[row] for row in pair[:2]}]
    left_out = _lesser_ones(places, of_the_source, "looks like")
    seen = Counter(places.splits[row] for row in {_kept_first(places, pair[:2])[0] for pair in pairs})
    which = " and ".join(counted(seen[split], f"{split} picture") for split in ("test", "validation") if seen[split])
    ways = [] if grouped else ["data.duplicates: group keeps pictures that look alike in one split."]
    if left_out:
        ways += [
            f"data.exclude: doctor.json leaves out the {counted(len(left_out), 'picture')} on the training side of the "
            "source's own splits; the test stays whole."
        ]
    return Finding(
        kind="leakage",
        severity="blocking",
        title=f"leakage: {which} {'looks' if seen.total() == 1 else 'look'} like pictures of another split",
        meaning="What was trained on is asked for again, so results are better than they will be on new pictures.",
        advice=" Or ".join(ways) or "Look at them, and name the ones on the training side in data.exclude.",
        pictures=_evidence(places, pairs),
        num=seen.total(),
        exclude=left_out,
        settings=() if grouped else _GROUPED,
    )


def _kept_first(places: Places, rows: Iterable[int]) -> list[int]:
    return sorted(rows, key=lambda row: (_KEPT_FIRST[places.splits[row] or places.own[row]], row))


def _evidence(places: Places, pairs: Iterable[Pair]) -> tuple[Evidence, ...]:
    ordered = (_kept_first(places, pair[:2]) for pair in pairs)
    return tuple(
        Evidence(places.paths[first], places.describe(first), places.paths[second], places.describe(second))
        for first, second in ordered
    )


def _pairs_of_groups(places: Places, groups: Iterable[Sequence[int]]) -> list[Pair]:
    """The first of each group with each of the others."""
    ordered = (_kept_first(places, rows) for rows in groups)
    return [(first, row, 1.0) for first, *rest in ordered for row in rest]


def _every_one(places: Places, groups: Iterable[Sequence[int]]) -> tuple[Skipped, ...]:
    left_out: dict[int, str] = {}
    for rows in groups:
        first = rows[0]
        another = next(row for row in rows if places.labels[row] != places.labels[first])
        for row in rows:
            other = first if places.labels[row] != places.labels[first] else another
            left_out.setdefault(row, f"labelled otherwise than {places.paths[other]}, which looks the same")
    return tuple(Skipped(places.paths[row], reason) for row, reason in left_out.items())


def _lesser_ones(places: Places, pairs: Iterable[Pair], reason: str) -> tuple[Skipped, ...]:
    """Of each pair in different splits the one that is nearer to training."""
    left_out: dict[int, str] = {}
    for pair in pairs:
        kept, lesser = _kept_first(places, pair[:2])
        split = places.splits[kept] or places.own[kept]
        left_out.setdefault(lesser, f"{reason} {places.paths[kept]}, of the {split} split")
    return tuple(Skipped(places.paths[row], reason) for row, reason in left_out.items())


class _Chosen:
    """Some rows of pictures, taken when they are needed."""

    def __init__(self, images: Any, rows: np.ndarray) -> None:
        self._images, self._rows = images, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, chosen: Any) -> np.ndarray:
        return self._images[self._rows[chosen]]
