"""Which pictures must not be split apart: one patient's, one burst's, or those that look alike."""

import re
from collections.abc import Iterable, Sequence

from transferkit.data.listing import Picture
from transferkit.errors import DataError


def join(pairs: Iterable[tuple[int, int]], count: int) -> list[int]:
    """For each of `count` positions, the first of all those that pairs join it with, however many steps away."""
    first = list(range(count))

    def find(position: int) -> int:
        while first[position] != position:
            first[position] = first[first[position]]
            position = first[position]
        return position

    for pair in pairs:
        low, high = sorted(map(find, pair))
        first[high] = low
    return [find(position) for position in range(count)]


def find_groups(
    pictures: Sequence[Picture], pattern: str | None = None, alike: Iterable[tuple[int, int]] = ()
) -> tuple[str, ...]:
    """A name for each picture; those with the same name stay together. A picture alone has its path for a name.

    The groups of the source, of the pattern and of pictures that are alike are joined where they meet.

    Args:
        pattern: a regular expression for paths; its first group, or without one the whole match, names the group.
        alike: positions of two pictures each.

    Raises:
        DataError: the pattern matches no path.
    """
    keys = [list(_keys(picture, pattern)) for picture in pictures]
    if pattern and pictures and not any(_matched(picture.path, pattern) is not None for picture in pictures):
        raise DataError(
            f"data.split.group: {pattern!r} matches no picture's path, so nothing would be kept together.\n"
            f"Paths look like {pictures[0].path!r}; the pattern must match a part of them."
        )
    first_with: dict[str, int] = {}
    pairs = [(position, first_with.setdefault(key, position)) for position, own in enumerate(keys) for key in own]
    roots = join([*pairs, *alike], len(pictures))
    names: dict[int, str] = {}
    for position, root in enumerate(roots):
        own = min(keys[position], default="\1" + pictures[position].path)  # the names of groups come first
        names[root] = min(own, names.get(root, own))
    return tuple(names[root].removeprefix("\1") for root in roots)


def _keys(picture: Picture, pattern: str | None) -> Iterable[str]:
    # No path begins with a zero, so no picture alone is taken for a group's.
    if picture.group is not None:
        yield f"\0column\0{picture.group}"
    if pattern and (match := _matched(picture.path, pattern)) is not None:
        yield f"\0pattern\0{match}"


def _matched(path: str, pattern: str) -> str | None:
    match = re.search(pattern, path)
    return match and (match[1] if match.re.groups and match[1] is not None else match[0])
