"""Properties of the files, rather than of what they show, that alone predict the class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from transferkit.data.listing import Listing
from transferkit.doctor.findings import Finding, counted
from transferkit.doctor.folds import in_classes_of_two, stratified_folds
from transferkit.doctor.scan import Scan

_NUM_FOLDS: Final = 5
_MAX_PICTURES: Final = 20_000
_MAX_VALUES: Final = 50  # of a column of names; rarer ones count as one
_MAX_LEAVES: Final = 64
# Of the way from guessing to always being right.
_FAR: Final = 0.3
# Share of a class's pictures that is recognised, less the share of other pictures that is taken for it.
_GIVEN_AWAY: Final = 0.7
# How sure it must be that it is no chance: standard errors of the score, and of one class the probability of that many
# hits, over all classes and columns.
_MIN_ERRORS, _MAX_CHANCE = 4.0, 0.01
# What may well be of the class's nature: buses are wide, and nights are dark.
_NATURAL: Final = frozenset({"shape (width / height)", "brightness"})
_MAX_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Shortcut:
    """One property that predicts the class by itself.

    Args:
        score: balanced accuracy, 0–1, of a small decision tree on pictures that it has not seen.
        chance: what guessing would reach.
        classes: labels of the classes that it gives away.
        sentence: the same for people.
    """

    column: str
    score: float
    chance: float
    classes: tuple[int, ...]
    sentence: str


def predict_by_column(
    columns: Mapping[str, np.ndarray], labels: np.ndarray, class_names: Sequence[str], *, seed: int = 0
) -> tuple[Shortcut, ...]:
    """The columns that alone predict the class far better than guessing, the best first.

    A small decision tree learns the class from one column, five times from four fifths of the pictures, and is asked
    for the others. More than 20,000 pictures are thinned out at random.

    Args:
        columns: `(num_pictures,)` each: numbers, NaN where a value is missing, or names.
        labels: `(num_pictures,)` int.
    """
    rows = np.flatnonzero(in_classes_of_two(labels))
    if len(rows) > _MAX_PICTURES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _MAX_PICTURES, replace=False))
        rows = rows[in_classes_of_two(labels[rows])]
    present, own = np.unique(labels[rows], return_inverse=True)
    if len(present) < 2:
        return ()
    folds = stratified_folds(own, num_folds=_NUM_FOLDS, seed=seed)
    found = []
    for column, values in columns.items():
        inputs = _as_inputs(values[rows])
        if inputs is None:
            continue
        recall, alarms = _judge(_predict(inputs, own, folds), own, len(present))
        given = _given_away(recall, alarms, np.bincount(own), num_tests=len(present) * len(columns))
        score, chance = float(recall.mean()), 1 / len(present)
        error = np.sqrt((0.25 / np.bincount(own)).sum()) / len(present)
        if given.any() or score - chance >= max(_FAR * (1 - chance), _MIN_ERRORS * error):
            names = [class_names[present[index]] for index in np.flatnonzero(given)]
            text = _sentence(column, score, chance, names, num_classes=len(present))
            found.append(Shortcut(column, score, chance, tuple(present[given].tolist()), text))
    return tuple(sorted(found, key=lambda one: -one.score))


def find_shortcuts(scan: Scan, listing: Listing) -> Iterator[Finding]:
    """A finding if any property of the files alone predicts the class. Pictures of several classes are not judged."""
    if any(not isinstance(picture.label, int) for picture in listing.pictures):
        return
    rows = np.flatnonzero(scan.readable)
    labels = np.array([picture.label for picture in listing.pictures], np.int64)[rows]
    columns = {name: values[rows] for name, values in _columns_of(scan).items()}
    found = predict_by_column(columns, labels, listing.class_names)
    if not found:
        return
    yield Finding(
        kind="shortcuts",
        severity="note" if all(one.column in _NATURAL for one in found) else "warning",
        title=f"{counted(len(found), 'property', 'properties')} of the files alone "
        f"{'predicts' if len(found) == 1 else 'predict'} the class: {', '.join(one.column for one in found)}",
        meaning=f"{' '.join(one.sentence for one in found[:_MAX_NAMED])} A network sees where a picture comes from, by "
        "its sharpness, noise, borders or light, and may learn that instead of what is shown. It then does as well on "
        "validation and test pictures, and fails on pictures from elsewhere.",
        advice="Collect every class in the same ways. If that cannot be, keep pictures of one origin for the test "
        "alone (in a folder test/, or by the split column of a table), and hide what can be hidden: data.resize: crop "
        "or stretch against shapes, crop_resize, color_jitter and blur in augment against sharpness and light.",
        num=len(found),
        table=(
            ("property", "balanced accuracy", "guessing", "gives away"),
            *(
                (
                    one.column,
                    f"{one.score:.1%}",
                    f"{one.chance:.1%}",
                    _listed([listing.class_names[label] for label in one.classes]),
                )
                for one in found
            ),
        ),
    )


def _columns_of(scan: Scan) -> Mapping[str, np.ndarray]:
    taken = [datetime.fromisoformat(text) if text else None for text in scan.captured]
    return {
        "width": scan.width,
        "height": scan.height,
        "shape (width / height)": scan.width / np.maximum(scan.height, 1),
        "file size": scan.num_bytes,
        "file format": np.array(scan.formats, object),
        "time taken": np.array([np.nan if one is None else one.toordinal() + _day_share(one) for one in taken]),
        "time of day": np.array([np.nan if one is None else _day_share(one) for one in taken]),
        "camera": np.array(scan.cameras, object),
        "EXIF orientation": scan.orientation,
        "transparency": scan.transparent,
        "lack of colour": scan.grey,
        "brightness": scan.channel_mean.mean(axis=1),
    }


def _day_share(time: datetime) -> float:
    return (time.hour * 60 + time.minute) / (24 * 60)


def _as_inputs(values: np.ndarray) -> np.ndarray | None:
    """`(num_pictures, num_features)` for the tree: the number itself, or a flag for each common name."""
    if values.dtype == object:
        names, inverse, counts = np.unique(values.astype(str), return_inverse=True, return_counts=True)
        common = np.argsort(-counts, kind="stable")[:_MAX_VALUES]
        return (inverse[:, None] == common).astype(np.float32) if len(names) > 1 else None
    # Ranks, since the tree's float32 would not tell one minute from the next in a century.
    distinct, ranks = np.unique(values, return_inverse=True)
    ranks = np.where(np.isnan(values), np.nan, ranks) if values.dtype.kind == "f" else ranks
    return ranks[:, None].astype(np.float32) if len(distinct) > 1 else None


def _predict(inputs: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """For each picture the class by a tree that has not seen it."""
    from sklearn.tree import DecisionTreeClassifier

    predicted = np.empty_like(labels)
    leaves = min(_MAX_LEAVES, 2 * (labels.max() + 1))
    for fold in range(_NUM_FOLDS):
        test = folds == fold
        if test.any():
            tree = DecisionTreeClassifier(max_leaf_nodes=leaves, class_weight="balanced", random_state=0)
            predicted[test] = tree.fit(inputs[~test], labels[~test]).predict(inputs[test])
    return predicted


def _judge(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """For each class the share of its pictures that is recognised, and the share of others that is taken for it."""
    counts = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels[predicted == labels], minlength=num_classes)
    alarms = np.bincount(predicted[predicted != labels], minlength=num_classes)
    return hits / counts, alarms / (len(labels) - counts)


def _given_away(recall: np.ndarray, alarms: np.ndarray, counts: np.ndarray, *, num_tests: int) -> np.ndarray:
    """`(num_classes,)` bool: recognised almost always, hardly ever wrongly, and not by chance."""
    from scipy.stats import binom

    others = counts.sum() - counts
    at_random = binom.sf(np.rint(recall * counts) - 1, counts, (alarms * others + 1) / (others + 2))
    return (recall - alarms >= _GIVEN_AWAY) & (at_random * num_tests < _MAX_CHANCE)


def _sentence(column: str, score: float, chance: float, names: Sequence[str], *, num_classes: int) -> str:
    reached = f"{score:.0%} balanced accuracy, where guessing reaches {chance:.0%}"
    if 0 < len(names) < num_classes:
        return f"By its {column} alone a picture of {_listed(names)} can be told from all others ({reached})."
    return f"By its {column} alone the class of a picture can be told: {reached}."


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"{', '.join(names[:_MAX_NAMED])}{more}"
