"""Findings about classes and splits: how many pictures they have, and names that mean the same."""

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from transferkit.data.listing import SPLITS, Split
from transferkit.doctor.findings import Finding, counted
from transferkit.recipe.data import DataSpec

Counts = Mapping[Split, np.ndarray]
"""For each split `(num_classes,)`: the pictures of each class."""

_FEW: Final = 10
_UNEQUAL: Final = 3
_VERY_UNEQUAL: Final = 10
_SMALL_TEST: Final = 100


def find_in_classes(
    class_names: Sequence[str], counts: Counts, sizes: Mapping[Split, int], spec: DataSpec
) -> Iterator[Finding]:
    """What the numbers of pictures and the names of classes show.

    Args:
        sizes: pictures in each split; less than the sum over classes where a picture may have several.
    """
    yield from _empty_classes(class_names, counts)
    yield from _names_alike(class_names, counts)
    yield from _few_pictures(class_names, counts)
    yield from _imbalance(class_names, counts, sizes, spec)
    yield from _small_splits(class_names, counts, sizes)


def _empty_classes(class_names: Sequence[str], counts: Counts) -> Iterator[Finding]:
    empty = np.flatnonzero(counts["train"] == 0)
    if len(empty):
        left = len(class_names) - len(empty)
        yield Finding(
            kind="empty_class",
            severity="warning" if left >= 2 else "blocking",
            title=f"{counted(len(empty), 'class', 'classes')} without a picture to train on",
            meaning="finetune leaves them out."
            if left >= 2
            else "Fewer than two classes are left, and finetune refuses.",
            advice="Add pictures, or move some of theirs to train; data.keep_classes says which classes a run has.",
            num=len(empty),
            table=_table(class_names, counts, empty),
        )


def _names_alike(class_names: Sequence[str], counts: Counts) -> Iterator[Finding]:
    groups: dict[str, list[int]] = defaultdict(list)
    for label, name in enumerate(class_names):
        groups[_plain(name)].append(label)
    alike = [labels for labels in groups.values() if len(labels) > 1]
    if not alike:
        return
    names = [[class_names[label] for label in labels] for labels in alike]
    merge = ", ".join(f"{_quoted(group[-1])}: [{', '.join(map(_quoted, group))}]" for group in names[:3])
    yield Finding(
        kind="names_alike",
        severity="warning",
        title=f"{counted(len(alike), 'class', 'classes')} under several names",
        meaning=(
            f"{'; '.join(' and '.join(map(repr, group)) for group in names[:3])} differ only in case, spaces or signs. "
            "If they are one class, the classifier is punished for not telling them apart."
        ),
        advice=f"Where they are one class: data.merge: {{{merge}}}.",
        num=len(alike),
        table=_table(class_names, counts, [label for labels in alike for label in labels]),
    )


def _few_pictures(class_names: Sequence[str], counts: Counts) -> Iterator[Finding]:
    train = counts["train"]
    if len(few := np.flatnonzero((train > 0) & (train < _FEW))):
        yield Finding(
            kind="few_pictures",
            severity="warning",
            title=f"{counted(len(few), 'class', 'classes')} with fewer than {_FEW} training pictures",
            meaning="What is learned of them is chance, and so are their results.",
            advice="Add pictures (some dozens of each), or put them together with data.merge.",
            num=len(few),
            table=_table(class_names, counts, sorted(few, key=lambda label: train[label])),
        )


def _imbalance(
    class_names: Sequence[str], counts: Counts, sizes: Mapping[Split, int], spec: DataSpec
) -> Iterator[Finding]:
    train = counts["train"]
    if spec.imbalance.kind != "none" or not train.any():
        return
    largest, smallest = int(train.argmax()), int(np.where(train > 0, train, train.max()).argmin())
    ratio = train[largest] / train[smallest]
    if ratio < _UNEQUAL:
        return
    yield Finding(
        kind="imbalance",
        severity="warning" if ratio >= _VERY_UNEQUAL else "note",
        title=f"{class_names[largest]!r} has {ratio:.0f} times as many training pictures as {class_names[smallest]!r}",
        meaning=(
            f"Guessing the most frequent class alone is right in {train.max() / sizes['train']:.0%} of cases, so "
            "accuracy flatters; rare classes tend to be ignored."
        ),
        advice="data.imbalance: class_weight (or oversample) makes classes count alike; read the balanced accuracy.",
        num=int(train.max() // train[smallest]),
        table=_table(class_names, counts, np.argsort(-train, kind="stable")),
    )


def _small_splits(class_names: Sequence[str], counts: Counts, sizes: Mapping[Split, int]) -> Iterator[Finding]:
    total = sum(counts.values())
    for split in ("validation", "test"):
        num = sizes[split]
        missing = np.flatnonzero((counts[split] == 0) & (total > 0))
        if 0 < num < _SMALL_TEST:
            what = "chooses the best epoch" if split == "validation" else "reports the result"
            yield Finding(
                kind=f"small_{split}",
                severity="note",
                title=f"the {split} split has {counted(num, 'picture')}",
                meaning=(
                    f"It {what}, and an accuracy near 80% measured on so few is uncertain by "
                    f"{196 * math.sqrt(0.16 / num):.0f} points either way."
                ),
                advice=f"Raise data.split.{split}, add pictures, or let each picture test once: finetune --kfold 5.",
                num=num,
            )
        if num and len(missing):
            yield Finding(
                kind=f"missing_in_{split}",
                severity="note",
                title=f"{counted(len(missing), 'class', 'classes')} without a {split} picture",
                meaning=f"Results on {split} say nothing about them.",
                advice=f"Add pictures, or raise data.split.{split}.",
                num=len(missing),
                table=_table(class_names, counts, missing),
            )


def _table(class_names: Sequence[str], counts: Counts, labels: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    rows = ((class_names[label], *(f"{counts[split][label]:,}" for split in SPLITS)) for label in labels)
    return ("class", *SPLITS), *rows


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold()) or name


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[^\W\d][\w-]*", name) else repr(name)
