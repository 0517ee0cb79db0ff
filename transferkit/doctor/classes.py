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
from transferkit.recipe.source import TableSource

Counts = Mapping[Split, np.ndarray]
"""For each split `(num_classes,)`: the pictures of each class."""

_FEW: Final = 10
_UNEQUAL: Final = 3
_VERY_UNEQUAL: Final = 10
_SMALL_TEST: Final = 100
_MAX_NAMED: Final = 5


def find_in_classes(
    class_names: Sequence[str],
    counts: Counts,
    sizes: Mapping[Split, int],
    spec: DataSpec,
    *,
    multi_label: bool = False,
    need_test: bool = False,
) -> Iterator[Finding]:
    """What the numbers of pictures and the names of classes show.

    Args:
        sizes: pictures in each split; less than the sum over classes where a picture may have several.
        need_test: whether the recipe asks for results on the test split.
    """
    yield from _empty_classes(class_names, counts)
    yield from _empty_splits(counts, sizes, spec, multi_label=multi_label, need_test=need_test)
    yield from _names_alike(class_names, counts)
    yield from _few_pictures(class_names, counts)
    yield from _imbalance(class_names, counts, sizes, spec, multi_label=multi_label)
    yield from _small_splits(class_names, counts, sizes)


def _empty_classes(class_names: Sequence[str], counts: Counts) -> Iterator[Finding]:
    empty = np.flatnonzero(counts["train"] == 0)
    left = len(class_names) - len(empty)
    if len(empty) or left < 2:
        without = f"{counted(len(empty), 'class', 'classes')} without a picture to train on: "
        yield Finding(
            kind="empty_class",
            severity="warning" if left >= 2 else "blocking",
            title=without + _named(class_names, empty) if len(empty) else f"only {counted(left, 'class', 'classes')}",
            meaning="finetune leaves them out."
            if left >= 2
            else "Fewer than two classes are left, and finetune refuses.",
            advice="Add pictures, or move some of theirs to train; data.keep_classes says which classes a run has.",
            num=len(empty),
            table=_table(class_names, counts, empty),
        )


def _empty_splits(
    counts: Counts, sizes: Mapping[Split, int], spec: DataSpec, *, multi_label: bool, need_test: bool
) -> Iterator[Finding]:
    """Splits that a run cannot do without; pictures of classes that it leaves out go with their class."""
    trained = counts["train"] > 0
    if trained.sum() < 2:
        return  # the graver fault, which is told by itself
    for split in ("validation", "test") if need_test else ("validation",):
        if sizes[split] if multi_label else counts[split][trained].sum():
            continue
        advice = (
            "Use another data.split.manifest" if spec.split.manifest else f"Add pictures, or raise data.split.{split}"
        )
        yield Finding(
            kind=f"empty_{split}",
            severity="blocking",
            title=f"the {split} split is empty",
            meaning="finetune refuses: "
            + ("it chooses the best epoch on that split." if split == "validation" else "results on it are asked for.")
            + " Pictures of one group, and those kept together because they look alike, are never divided.",
            advice=advice + (", or set evaluate: [validation]." if split == "test" else "."),
        )


def _names_alike(class_names: Sequence[str], counts: Counts) -> Iterator[Finding]:
    groups: dict[str, list[int]] = defaultdict(list)
    for label, name in enumerate(class_names):
        groups[_plain(name)].append(label)
    alike = [labels for labels in groups.values() if len(labels) > 1]
    if not alike:
        return
    names = [[class_names[label] for label in labels] for labels in alike]
    merge = ", ".join(f"{_quoted(group[0])}: [{', '.join(map(_quoted, group))}]" for group in names[:3])
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
        fewest = sorted(few, key=lambda label: train[label])
        yield Finding(
            kind="few_pictures",
            severity="warning",
            title=f"{counted(len(few), 'class', 'classes')} with fewer than {_FEW} training pictures: "
            + _named(class_names, fewest),
            meaning="What is learned of them is chance, and so are their results.",
            advice="Add pictures (some dozens of each), or put them together with data.merge.",
            num=len(few),
            table=_table(class_names, counts, fewest),
        )


def _imbalance(
    class_names: Sequence[str], counts: Counts, sizes: Mapping[Split, int], spec: DataSpec, *, multi_label: bool
) -> Iterator[Finding]:
    train = counts["train"]
    if spec.imbalance.kind != "none" or not train.any():
        return
    trained = np.flatnonzero(train)
    largest, smallest = train.argmax(), trained[train[trained].argmin()]
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
        advice=_against_imbalance(spec, multi_label=multi_label),
        num=int(train.max() // train[smallest]),
        settings=() if multi_label else (("imbalance", "class_weight"),),
        table=_table(class_names, counts, np.argsort(-train, kind="stable")),
    )


def _against_imbalance(spec: DataSpec, *, multi_label: bool) -> str:
    if not multi_label:
        return "data.imbalance: class_weight (or oversample) makes classes count alike; read the balanced accuracy."
    if not isinstance(spec.source, TableSource):
        return "Add pictures of the rare classes; read the results of each class."
    return (
        "Give pictures of rare classes more weight in the table, in the column "
        f"{spec.source.weight_column or 'weight'} (data.source.{spec.source.kind}.weight_column); read the results "
        "of each class."
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
                title=f"{counted(len(missing), 'class', 'classes')} without a {split} picture: "
                + _named(class_names, missing),
                meaning=f"Results on {split} say nothing about them.",
                advice=f"Add pictures, or raise data.split.{split}.",
                num=len(missing),
                table=_table(class_names, counts, missing),
            )


def _named(class_names: Sequence[str], labels: Sequence[int]) -> str:
    names = ", ".join(class_names[label] for label in labels[:_MAX_NAMED])
    return f"{names} and {len(labels) - _MAX_NAMED:,} more" if len(labels) > _MAX_NAMED else names


def _table(class_names: Sequence[str], counts: Counts, labels: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    rows = ((class_names[label], *(f"{counts[split][label]:,}" for split in SPLITS)) for label in labels)
    return ("class", *SPLITS), *rows


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold()) or name


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[^\W\d][\w-]*", name) else repr(name)
