"""What a source says it has, before a single picture is decoded."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from transferkit.errors import PictureError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class Picture:
    """One labelled picture of a source.

    `path` names it for people and is unique in its source: a path relative to the source's folder, with `/` on
    every system, or the dataset's own example id. `split` is the source's own, `None` where the recipe decides.
    """

    path: str
    label: int
    split: Split | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A picture that is left out of the run, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A source's pictures and a way to read them.

    `read_all()` yields one item for each of `pictures`, in the same order: the encoded file, or the `PictureError`
    that says why it could not be read. A new call starts a new pass.
    """

    class_names: tuple[str, ...]
    pictures: tuple[Picture, ...]
    read_all: Callable[[], Iterator[bytes | PictureError]]
    origin: str = ""

    def count(self, split: Split | None) -> int:
        """Number of pictures that the source itself puts into `split` (`None`: into no split)."""
        return Counter(picture.split for picture in self.pictures)[split]
