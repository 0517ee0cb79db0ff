"""Pictures that look mislabelled: those that a classifier trained on the others puts into another class."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from transferkit.doctor.folds import in_classes_of_two, stratified_folds
from transferkit.progress import Progress, Quiet, Task

# Directions of the features that the probe sees, those in which they vary most. Measured on planted noise: as good as
# all of them with ten classes, and a fifth of the time.
_MAX_DIRECTIONS: Final = 256
# Inverse strength of the penalty; 0.003 and 0.03 find nearly as many.
_PENALTY: Final = 0.01
# Iterations of the solver, which a large set with many classes gets fewer of. From zero weights, stopping early is
# another penalty.
_MAX_ITERATIONS, _MIN_ITERATIONS, _MAX_WORK = 200, 15, 2e10
_NUM_NEAREST: Final = 3
# A probe that gets no more right than this many standard errors above the commonest class has nothing to say.
_MIN_ERRORS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Suspect:
    """One picture that looks as if it were of another class.

    Args:
        row: its position.
        probability_of_label, probability_of_likely: by the classifier that has not seen this picture.
        score: logarithm of how much likelier its own class is than the other one; the lowest are the worst. Each
            probability is first divided by what is usual for pictures of its class.
        confident: the likely class is at least as probable as it is for pictures that are labelled so.
        nearest: positions of pictures of the likely class that are most alike, the nearest first.
    """

    row: int
    label: int
    likely_label: int
    probability_of_label: float
    probability_of_likely: float
    score: float
    confident: bool
    nearest: tuple[int, ...]


def suspect_labels(
    features: np.ndarray, labels: np.ndarray, *, seed: int = 0, num_folds: int = 5, progress: Progress | None = None
) -> tuple[Suspect, ...]:
    """Pictures whose label a classifier on their features disagrees with, the most suspicious first.

    Standardised features, their main directions, and multinomial logistic regression, in turn on all folds but one
    and asked for that one. Pictures that are the only one of their class are not judged. Nothing is found where the
    classifier is hardly better than guessing.

    Args:
        features: `(num_pictures, feature_dim)`, finite.
        labels: `(num_pictures,)` int.

    Source:
        Northcutt et al. 2021, "Confident Learning", https://arxiv.org/abs/1911.00068: probabilities out of fold, and
        for each class the mean probability of its own pictures as the threshold.
    """
    judged = np.flatnonzero(in_classes_of_two(labels))
    present, own = np.unique(labels[judged], return_inverse=True)
    if len(present) < 2:
        return ()
    with (progress or Quiet()).task("looking for wrong labels", num_folds + 1, "steps") as task:
        points = _main_directions(features[judged], seed)
        task.advance()
        probabilities = _out_of_fold(points, own, stratified_folds(own, num_folds=num_folds, seed=seed), task)
    majority = np.bincount(own).max() / len(own)
    error = np.sqrt(majority * (1 - majority) / len(own))
    if (probabilities.argmax(axis=1) == own).mean() <= majority + _MIN_ERRORS * error:
        return ()
    scores, likely, is_confident = _rank(probabilities, own)
    chosen = np.flatnonzero(scores < 0)
    chosen = chosen[np.argsort(scores[chosen], kind="stable")]
    nearest = _nearest(points, own, chosen, likely)
    return tuple(
        Suspect(
            row=int(judged[at]),
            label=int(present[own[at]]),
            likely_label=int(present[likely[at]]),
            probability_of_label=float(probabilities[at, own[at]]),
            probability_of_likely=float(probabilities[at, likely[at]]),
            score=float(scores[at]),
            confident=bool(is_confident[at]),
            nearest=tuple(judged[nearest[at]].tolist()),
        )
        for at in chosen.tolist()
    )


def _main_directions(features: np.ndarray, seed: int) -> np.ndarray:
    """`(num_pictures, up to 256)` float32. Labels have no part in it, so all pictures may."""
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    points = StandardScaler().fit_transform(np.asarray(features, np.float32))
    with np.errstate(invalid="ignore"):  # features that are all the same, as of pictures of one colour
        return PCA(min(_MAX_DIRECTIONS, *points.shape), random_state=seed).fit_transform(points)


def _out_of_fold(points: np.ndarray, labels: np.ndarray, folds: np.ndarray, task: Task) -> np.ndarray:
    """`(num_pictures, num_classes)`: each row by a classifier that has not seen the picture."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    probabilities = np.zeros((len(labels), labels.max() + 1))
    work = points.size * probabilities.shape[1]
    iterations = int(np.clip(_MAX_WORK / work, _MIN_ITERATIONS, _MAX_ITERATIONS))
    for fold in np.unique(folds):
        test = folds == fold
        probe = LogisticRegression(C=_PENALTY, max_iter=iterations)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is stopped early on purpose
            probe.fit(points[~test], labels[~test])
        probabilities[np.ix_(test, probe.classes_)] = probe.predict_proba(points[test])
        task.advance()
    return probabilities


def _rank(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, likely classes other than the label, and whether the probe is confident of them."""
    rows = np.arange(len(labels))
    own = probabilities[rows, labels]
    usual = np.bincount(labels, own) / np.bincount(labels)
    usual = np.maximum(usual, 1 / len(usual))  # tiny classes are hardly ever recognised
    relative = np.log(np.maximum(probabilities, 1e-12) / usual)
    of_label = relative[rows, labels]
    relative[rows, labels] = -np.inf
    likely = relative.argmax(axis=1)
    return of_label - relative[rows, likely], likely, probabilities[rows, likely] >= usual[likely]


def _nearest(points: np.ndarray, labels: np.ndarray, chosen: np.ndarray, likely: np.ndarray) -> dict[int, np.ndarray]:
    """For each chosen picture those of its likely class with the highest cosine similarity."""
    unit = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    found = {}
    for label in np.unique(likely[chosen]):
        members = np.flatnonzero(labels == label)
        for at in chosen[likely[chosen] == label]:
            similarity = unit[members] @ unit[at]
            found[int(at)] = members[np.argsort(-similarity, kind="stable")[:_NUM_NEAREST]]
    return found
