"""Which of a source's classes a run has, what they are called, and in which order."""

import difflib
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Final

from transferkit.data.listing import Listing, Skipped
from transferkit.errors import DataError
from transferkit.recipe.data import DataSpec

_log = logging.getLogger(__name__)
_MAX_SHOWN = 20
EMPTY_CLASS: Final = "a class without any picture"


def choose_classes(listing: Listing, spec: DataSpec) -> Listing:
    """Keep, rename and merge classes, in this order, each by the names that the one before leaves.

    A picture none of whose classes is kept goes without a word. A class without a picture is left out, with a warning
    and an entry in `skipped`. The order is the recipe's `class_names`, else sorted; a data set whose own classes are in
    another order than that keeps its own.

    Raises:
        DataError: a name that no class has, or that would stand for two; `class_names` are not those there are.
    """
    chosen = name_classes(listing.class_names, spec)
    used = {chosen.get(listing.class_names[label]) for picture in listing.pictures for label in picture.labels}
    names = _in_order(chosen.values(), listing, spec, used=used)
    _refuse_unprintable(names, listing.origin)
    final, empty = [name for name in names if name in used], [name for name in names if name not in used]
    _warn_of_empty(empty, listing.origin)
    _warn_of_case(final, listing.origin)
    skipped = (*listing.skipped, *(Skipped(name, EMPTY_CLASS) for name in empty))
    return replace(_relabel(listing, chosen, final), skipped=skipped)


def name_classes(class_names: Sequence[str], spec: DataSpec) -> dict[str, str]:
    """What each class of the source is called in the run; those that are not kept are missing."""
    keep = set(class_names if spec.keep_classes is None else spec.keep_classes)
    _refuse_unknown(spec.keep_classes or (), class_names, "data.keep_classes")
    names = {name: name for name in class_names if name in keep}
    _refuse_unknown(spec.rename, names.values(), "data.rename")
    names = {source: spec.rename.get(name, name) for source, name in names.items()}
    if twice := [name for name, count in Counter(names.values()).items() if count > 1]:
        sources = ", ".join(source for source, name in names.items() if name == twice[0])
        raise DataError(
            f"data.rename: two classes would be called {twice[0]!r}: {sources}.\n"
            f"To make them one, use data.merge: {{{twice[0]}: [{sources}]}}"
        )
    merged: dict[str, str] = {}
    for new, members in spec.merge.items():
        _refuse_unknown(members, names.values(), f"data.merge.{new}")
        for member in members:
            if merged.setdefault(member, new) != new:
                raise DataError(
                    f"data.merge: {member!r} can go into one class only, not into {merged[member]} and {new}."
                )
        if new in names.values() and new not in members:
            raise DataError(
                f"data.merge.{new}: there is a class {new!r} already.\n"
                f"Add it to the list, or take another name: {{{new}: [{', '.join((*members, new))}]}}"
            )
    return {source: merged.get(name, name) for source, name in names.items()}


def _in_order(names: Iterable[str], listing: Listing, spec: DataSpec, *, used: Set[str | None]) -> tuple[str, ...]:
    there = tuple(dict.fromkeys(names))
    if spec.class_names is None:
        # Folders and tables have no order of their own; a data set's, which may be that of a paper, is kept.
        return tuple(sorted(there)) if list(listing.class_names) == sorted(listing.class_names) else there
    _refuse_unknown(spec.class_names, there, "data.class_names")
    if twice := [name for name, count in Counter(spec.class_names).items() if count > 1]:
        raise DataError(f"data.class_names names {_some(twice)} twice.")
    if missing := [name for name in there if name in used and name not in spec.class_names]:
        raise DataError(
            f"data.class_names lacks {_some(missing)}: it must name every class that has pictures.\n"
            "Add them, or leave them out of the run with data.keep_classes."
        )
    return (*spec.class_names, *(name for name in there if name not in spec.class_names))  # the rest has no picture


def _relabel(listing: Listing, chosen: Mapping[str, str], final: Sequence[str]) -> Listing:
    """Pictures of the classes that are chosen, labelled by `final` names; one that never had a class stays."""
    if listing.class_names == tuple(chosen.values()) == tuple(final):
        return listing
    index = {name: label for label, name in enumerate(final)}
    new = [index.get(chosen.get(name, "")) for name in listing.class_names]
    positions, pictures = [], []
    for position, picture in enumerate(listing.pictures):
        left = tuple(sorted({new[label] for label in picture.labels} - {None}))
        if left or not picture.labels:
            positions.append(position)
            label = left[0] if isinstance(picture.label, int) else left
            pictures.append(picture if label == picture.label else replace(picture, label=label))
    return replace(listing.only(positions), class_names=tuple(final), pictures=tuple(pictures))


def _refuse_unknown(names: Iterable[str], known: Collection[str], key: str) -> None:
    there = set(known)
    if unknown := next((name for name in names if name not in there), None):
        near = difflib.get_close_matches(unknown, known, n=1) or [
            name for name in known if name.casefold() == unknown.casefold()
        ]
        guess = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"{key}: there is no class {unknown!r}{guess}\n    classes: {_some(known)}")


def _refuse_unprintable(names: Iterable[str], origin: str) -> None:
    if odd := [name for name in names if not name.isprintable() or not name.strip()]:
        raise DataError(f"{origin}: class {odd[0]!r} has a name that cannot be printed; set data.rename, or rename it.")


def _warn_of_empty(empty: Sequence[str], origin: str) -> None:
    if empty:
        plural = "class has" if len(empty) == 1 else "classes have"
        _log.warning("%s: %d %s no picture, and will not be in the run: %s", origin, len(empty), plural, _some(empty))


def _warn_of_case(names: Sequence[str], origin: str) -> None:
    alike: Mapping[str, list[str]] = {}
    for name in names:
        alike.setdefault(name.casefold(), []).append(name)
    for same in alike.values():
        if len(same) > 1:
            both, merge = " and ".join(same), f"{{{same[0]}: [{', '.join(same)}]}}"
            _log.warning("%s: %s differ only in case; if they are one class, set data.merge: %s", origin, both, merge)


def _some(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_MAX_SHOWN])
    return f"{shown}, … ({len(names)} in all)" if len(names) > _MAX_SHOWN else shown
