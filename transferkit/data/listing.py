"""What a source says it has, before a single picture is decoded."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from transferkit.errors import PictureError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
SPLIT_NAMES: Final[Mapping[str, Split]] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}
"""What people call the splits, in lower case."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One labelled picture of a source.

    `path` names it for people and is unique in its source: a path relative to the source's folder, with `/` on
    every system, or the dataset's own example id. `label` is an index, or, where a picture may have any number of
    classes, a tuple of them. `split` is the source's own, `None` where the recipe decides. `weight` counts in training
    alone. Pictures of one `group` are never split apart.
    """

    path: str
    label: int | tuple[int, ...]
    split: Split | None = None
    weight: float = 1.0
    group: str | None = None

    @property
    def labels(self) -> tuple[int, ...]:
        """All its classes."""
        return (self.label,) if isinstance(self.label, int) else self.label


@dataclass(frozen=True, slots=True)
class Skipped:
    """A picture that is left out of the run, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A source's pictures and a way to read them.

    `read(chosen)` yields one item for each of the chosen positions in `pictures`, which must rise, in their order: the
    encoded file, or the `PictureError` that says why it could not be read. A new call starts a new pass.

    Args:
        stamps: for each of `pictures`, what changes whenever its file does, and costs no reading of it: such as path,
            size and time of change; `None` where there is nothing like it.
        skipped: what the source itself had to leave out, such as rows without a file.
        any_order: whether pictures can be read one by one, or only in a pass from the first to the last.
    """

    class_names: tuple[str, ...]
    pictures: tuple[Picture, ...]
    read: Callable[[Sequence[int]], Iterator[bytes | PictureError]]
    origin: str = ""
    stamps: Callable[[], Iterator[str | None]] | None = None
    skipped: tuple[Skipped, ...] = ()
    any_order: bool = True

    def count(self, split: Split | None) -> int:
        """Number of pictures that the source itself puts into `split` (`None`: into no split)."""
        return Counter(picture.split for picture in self.pictures)[split]

    def only(self, positions: Sequence[int]) -> "Listing":
        """The pictures at some positions, which must rise; nothing else changes."""
        stamps = self.stamps

        def chosen_stamps() -> Iterator[str | None]:
            chosen = frozenset(positions)
            return (stamp for position, stamp in enumerate(stamps()) if position in chosen)

        return replace(
            self,
            pictures=tuple(self.pictures[position] for position in positions),
            read=lambda chosen: self.read([positions[index] for index in chosen]),
            stamps=chosen_stamps if stamps else None,
        )
