"""Splits that depend on nothing but the seed and the pictures' names."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from transferkit.data.groups import find_groups
from transferkit.data.listing import Picture, Skipped, Split
from transferkit.recipe.data import SplitSpec

# Of copies and groups, what lies in the first of these stays, so that nothing is trained on that is reported on.
KEPT_FIRST: Mapping[Split | None, int] = {"test": 0, "validation": 1, "train": 2, None: 2}

# Pictures that stay together, by the name of their group; a picture alone by its path.
Units = Mapping[str, list[int]]


@dataclass(frozen=True, slots=True)
class Assigned:
    """The split of each picture; `None` where it is left out, which `skipped` gives the reasons for."""

    splits: tuple[Split | None, ...]
    skipped: tuple[Skipped, ...]


def assign_splits(
    pictures: Sequence[Picture], spec: SplitSpec, *, seed: int, alike: Iterable[tuple[int, int]] = ()
) -> Assigned:
    """Put each picture into a split.

    The source's own splits stay; with a manifest, they are all there is. A missing test or validation split is carved
    from the pictures that have no split of their own and from the source's training pictures:

    - `stratified`: the same share of every class. A picture of several classes counts for the rarest of them, as in
      Sechidis et al. 2011, "On the Stratification of Multi-Label Data". Each class keeps at least one picture, or
      group, to train on.
    - `hash`: by the seed and the picture's path, or its group's name, alone, so that a picture stays where it is when
      others come; shares are met on average only.
    - `fold`: `2/5` takes the second of five parts, stratified, for the test split; the parts are disjoint. Classes of
      one picture or one group always train. The source's own test pictures are left out: they are for the end.

    Pictures of one group stay together; larger groups choose first, by what a split lacks most of their classes. Where
    the source itself splits a group, the part in test stays, else the one in validation, and the others are left out.

    Args:
        alike: positions of two pictures each that count as one group.

    Raises:
        DataError: `spec.group` matches no path.
    """
    names = find_groups(pictures, spec.group, alike)
    own, left_out = _own_splits(pictures, names)
    if spec.fold:
        for position, split in enumerate(own):
            if split == "test":
                left_out.setdefault(position, "in the source's own test split, which folds do not touch")
    there = {split for position, split in enumerate(own) if position not in left_out}
    units: dict[str, list[int]] = defaultdict(list)
    for position, split in enumerate(own):
        if split in (None, "train") and position not in left_out:
            units[names[position]].append(position)
    shares: dict[Split, float] = {"test": spec.test} if "test" not in there else {}
    shares |= {"validation": spec.validation} if "validation" not in there else {}
    if spec.manifest:
        chosen = {}
    elif spec.fold:
        chosen = _fold_splits(units, pictures, shares, spec.fold, seed)
    elif spec.method == "hash":
        chosen = _by_hash(units, spec, shares, seed)
    else:
        chosen = _in_shares(units, _strata(pictures, units), shares, seed)
        _keep_training(chosen, units, pictures, seed)
    return Assigned(
        tuple(None if at in left_out else chosen.get(at, split or "train") for at, split in enumerate(own)),
        tuple(Skipped(pictures[at].path, reason) for at, reason in sorted(left_out.items())),
    )


def _own_splits(pictures: Sequence[Picture], names: Sequence[str]) -> tuple[list[Split | None], dict[int, str]]:
    """The source's splits, those of a group made one; and the positions of what is left out for that, with reasons."""
    own = [picture.split for picture in pictures]
    first: dict[str, int] = {}
    for position, name in enumerate(names):
        best = first.setdefault(name, position)
        if KEPT_FIRST[own[position]] < KEPT_FIRST[own[best]]:
            first[name] = position
    left_out = {}
    for position, name in enumerate(names):
        best = first[name]
        if own[best] in (None, "train") or own[position] == own[best]:
            continue
        if own[position] is None:
            own[position] = own[best]
        else:
            left_out[position] = f"of one group with {pictures[best].path}, which is in {own[best]}"
    return own, left_out


def _strata(pictures: Sequence[Picture], units: Units) -> dict[int, int]:
    """For each picture the class that it counts for: its only or its rarest one; -1 where it has none."""
    positions = [position for members in units.values() for position in members]
    counts = Counter(label for position in positions for label in pictures[position].labels)
    return {
        position: min(pictures[position].labels, key=lambda label: (counts[label], label), default=-1)
        for position in positions
    }


def _in_shares(units: Units, strata: Mapping[int, int], shares: Mapping[Split, float], seed: int) -> dict[int, Split]:
    wanted: dict[Split, float] = {**shares, "train": 1 - sum(shares.values())}
    totals, left = Counter(strata.values()), Counter(strata.values())
    have: dict[Split, Counter[int]] = {split: Counter() for split in wanted}
    chosen: dict[int, Split] = {}

    def put(members: Sequence[int], split: Split) -> None:
        chosen.update(dict.fromkeys(members, split))
        have[split].update(strata[member] for member in members)

    groups, alone = _ranked(units, seed)
    for number, members in enumerate(groups):
        counts = Counter(strata[member] for member in members)
        left.subtract(counts)
        empty = [split for split, share in shares.items() if share and not have[split]]
        if any(not (left[label] or have["train"][label]) for label in counts):
            split: Split = "train"
        else:
            free = empty if len(groups) - number + len(alone) <= len(empty) else wanted
            split = max(free, key=lambda one: _lack(counts, have[one], totals, share=wanted[one]))
        put(members, split)
    by_class: dict[int, list[int]] = defaultdict(list)
    for member in alone:
        by_class[strata[member]].append(member)
    # Rounding class by class would leave small classes without a share; what one lacks is carried to the next.
    carried = dict.fromkeys(shares, 0.0)
    for label in sorted(by_class):
        ranked = by_class[label]
        spare, end = (0 if have["train"][label] else 1), len(ranked)
        for split, share in shares.items():
            carried[split] += max(0.0, share * totals[label] - have[split][label])
            count = max(0, min(round(carried[split]), end - spare))
            # What a small class cannot spare is not for the next to make up, which would lose far more than its share.
            carried[split] = min(0.5, carried[split] - count)
            put(ranked[end - count : end], split)
            end -= count
    return chosen


def _keep_training(chosen: dict[int, Split], units: Units, pictures: Sequence[Picture], seed: int) -> None:
    """Take a unit back to train for each class that would have none: one that is never its pictures' rarest."""
    units_of: dict[int, list[str]] = defaultdict(list)
    for name, members in units.items():
        for label in _labels(pictures, members):
            units_of[label].append(name)
    for label in sorted(units_of):
        if not any(chosen.get(units[name][0], "train") == "train" for name in units_of[label]):
            name = min(units_of[label], key=lambda one: (len(units[one]), _rank(seed, one)))
            chosen.update(dict.fromkeys(units[name], "train"))


def _fold_splits(
    units: Units, pictures: Sequence[Picture], shares: Mapping[Split, float], fold: str, seed: int
) -> dict[int, Split]:
    strata = _strata(pictures, units)
    number, count = map(int, fold.split("/"))
    folds = _folds(units, pictures, strata, count, seed)
    rest = {name: members for name, members in units.items() if folds.get(members[0]) != number}
    tested = [member for name, members in units.items() if name not in rest for member in members]
    if not shares.get("validation"):
        return dict.fromkeys(tested, "test")
    # The share is of all pictures, as everywhere; together with the part that tests it is below 1.
    share = min(1.0, shares["validation"] * len(strata) / max(1, len(strata) - len(tested)))
    rest_strata = {member: strata[member] for members in rest.values() for member in members}
    chosen = _in_shares(rest, rest_strata, {"validation": share}, seed)
    _keep_training(chosen, rest, pictures, seed)
    return dict.fromkeys(tested, "test") | chosen


def _folds(
    units: Units, pictures: Sequence[Picture], strata: Mapping[int, int], count: int, seed: int
) -> dict[int, int]:
    """Which of the parts 1, 2, … each picture tests in; none where a class would be left without any to train on."""
    totals = Counter(strata.values())
    left = Counter(label for members in units.values() for label in _labels(pictures, members))
    have: dict[int, Counter[int]] = {number: Counter() for number in range(1, count + 1)}
    parts_of: dict[int, set[int]] = defaultdict(set)  # of each class; 0 stands for no part
    folds: dict[int, int] = {}
    groups, alone = _ranked(units, seed)
    alone.sort(key=lambda member: strata[member])  # stable: ranks stay within a class
    for members in [*groups, *([member] for member in alone)]:
        counts, labels = Counter(strata[member] for member in members), _labels(pictures, members)
        left.subtract(labels)
        # The last of a class must not be where all others of it are; one that is the only one is tested nowhere.
        last = [parts_of[label] for label in labels if not left[label] and 0 not in parts_of[label]]
        blocked = set().union(*(parts for parts in last if len(parts) == 1))
        free = [number for number in have if number not in blocked] if all(last) else []
        number = max(free, key=lambda one: (_lack(counts, have[one], totals), -have[one].total()), default=0)
        for label in labels:
            parts_of[label].add(number)
        if number:
            have[number].update(counts)
            folds.update(dict.fromkeys(members, number))
    return folds


def _labels(pictures: Sequence[Picture], members: Iterable[int]) -> set[int]:
    """All classes of some pictures."""
    return {label for member in members for label in pictures[member].labels}


def _by_hash(units: Units, spec: SplitSpec, shares: Mapping[Split, float], seed: int) -> dict[int, Split]:
    """A split that the source has keeps its place, unused: when the source comes to have it, the other one stays.

    Args:
        shares: of the missing splits.
    """
    chosen: dict[int, Split] = {}
    for name, members in units.items():
        place = int.from_bytes(_rank(seed, name)[:8], "big") / 2**64
        split: Split = "test" if place < spec.test else "validation"
        if place < spec.test + spec.validation and split in shares:
            chosen.update(dict.fromkeys(members, split))
    return chosen


def _lack(
    counts: Mapping[int, int], have: Mapping[int, int], totals: Mapping[int, int], *, share: float = 0.0
) -> float:
    """How much of the classes of a group something lacks, for its share; each class by its own size."""
    # Sorted: in the listing's order a sum would round otherwise on another machine, and a tie be decided otherwise.
    return sum(number * (share - have[label] / totals[label]) for label, number in sorted(counts.items()))


def _ranked(units: Units, seed: int) -> tuple[list[list[int]], list[int]]:
    """Groups, the largest first, and pictures that are alone, in an order that looks random."""
    names = sorted(units, key=lambda name: _rank(seed, name))
    groups = [units[name] for name in names if len(units[name]) > 1]
    return sorted(groups, key=len, reverse=True), [units[name][0] for name in names if len(units[name]) == 1]


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
