"""Copies of a file, which count once."""

from collections.abc import Sequence

from transferkit.data.listing import Picture, Skipped
from transferkit.data.splits import KEPT_FIRST


def keep_one_of_each(
    pictures: Sequence[Picture], digests: Sequence[bytes], class_names: Sequence[str]
) -> tuple[list[int], list[Skipped]]:
    """Positions of the pictures that stay: of files with the same bytes one, of those in different classes none.

    Where copies lie in several of the source's own splits, the test one stays, then the validation one, so that
    nothing is trained on that is reported on.
    """
    same: dict[bytes, list[int]] = {}
    for row, digest in enumerate(digests):
        same.setdefault(digest, []).append(row)
    keep, skipped = [], []
    for rows in same.values():
        labels = {tuple(sorted(pictures[row].labels)) for row in rows}
        first = min(rows, key=lambda row: (KEPT_FIRST[pictures[row].split], row))
        if len(labels) > 1:
            names = " and ".join("+".join(class_names[one] for one in own) or "no class" for own in sorted(labels))
            skipped += [Skipped(pictures[row].path, f"the same file stands in {names}") for row in rows]
            continue
        keep.append(first)
        reason = f"the same file as {pictures[first].path}"
        skipped += [Skipped(pictures[row].path, reason) for row in rows if row != first]
    return sorted(keep), skipped
