"""Prepare once: every picture decoded to the size that the model takes, and kept where the recipe says."""

import os
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
from PIL import __version__ as PILLOW_VERSION

from transferkit.data.appending import appending
from transferkit.data.decode import DECODE_VERSION
from transferkit.data.listing import Listing, Picture, Skipped
from transferkit.data.reading import Decoded, DecodedWhenAsked, decode_pictures
from transferkit.data.stamps import Stamps
from transferkit.errors import CacheError, PictureError
from transferkit.progress import Progress
from transferkit.recipe.data import DataSpec
from transferkit.recipe.runtime import CacheSpec
from transferkit.store.room import disk_usage, make_room
from transferkit.store.rows import RowStore, cache_root
from transferkit.store.writer import Writer

# With `data.cache: auto`, pictures that may not go to the disk take no more of the free memory than this.
_MEMORY_SHARE = 0.5
_RECORD_S = 5.0
_SAMPLE = 16
_MB = 2**20


class Images(Protocol):
    """Pictures as the model gets them: an array, rows on the disk, or files that are decoded when asked for.

    `shape` is `(num_images, size, size, 3)`, `dtype` uint8 RGB; an array of positions, or a slice, picks some of them.
    """

    shape: tuple[int, ...]
    dtype: Any

    def __len__(self) -> int: ...

    def __getitem__(self, chosen: Any) -> np.ndarray: ...


@dataclass(frozen=True)
class Prepared:
    """The pictures of a listing that can be read, in its order.

    Args:
        digests: sha256 of each picture's file.
        skipped: those that cannot be read, with reasons.
    """

    images: Images
    pictures: tuple[Picture, ...]
    digests: tuple[bytes, ...]
    skipped: tuple[Skipped, ...]


def prepare_pictures(listing: Listing, spec: DataSpec, *, cache: CacheSpec, progress: Progress) -> Prepared:
    """Decode the pictures of a listing, as far as that was not done before, and keep them as `data.cache` says.

    The ones that cannot be read are left out, listed with the reason, and tried again by the next run.

    Raises:
        CacheError: `data.cache: disk`, and there is no room, or the folder cannot be used.
        DataError: `data.cache: none`, and a file changed meanwhile.
    """
    work = _Work(listing, spec, cache, progress)
    unkept = ""
    if spec.cache in ("disk", "auto"):
        try:
            return work.on_disk()
        except CacheError as error:
            if spec.cache == "disk":
                raise
            unkept = f"{str(error).splitlines()[0].rstrip('.')}; "
    fits = work.num_bytes <= _MEMORY_SHARE * psutil.virtual_memory().available
    if spec.cache == "memory" or (spec.cache == "auto" and fits):
        progress.say(f"{unkept}prepared pictures: {work.amount} in memory")
        return work.in_memory()
    if not listing.any_order:
        raise CacheError(
            f"{unkept}{work.amount} of prepared pictures take too much memory, and this source cannot read a picture "
            "whenever it is asked for.\nMake room on the disk, raise cache.max_gb, name a larger disk with "
            "cache.folder, or lower data.image_size."
        )
    progress.say(f"{unkept}prepared pictures: none are kept, {len(listing.pictures)} are decoded whenever asked for")
    return work.when_asked()


def picture_store(root: Path, spec: DataSpec) -> RowStore:
    """Where prepared pictures of one size and kind lie, by sha256 of their files."""
    key = {
        "kind": "pictures",
        "image_size": spec.image_size,
        "resize": spec.resize,
        "max_megapixels": spec.max_megapixels,  # larger files are bad ones, which have no rows
        "decode": DECODE_VERSION,
        "pillow": PILLOW_VERSION,
    }
    return RowStore(root, key, shape=(spec.image_size, spec.image_size, 3), dtype="uint8")


@dataclass
class _Work:
    """One listing on its way; what is found out about its pictures by position.

    Args:
        stamps: of the files, `None` where there is none.
        digests: sha256 of the files, `None` where it is not known yet.
        faults: why pictures cannot be read.
    """

    listing: Listing
    spec: DataSpec
    cache: CacheSpec
    progress: Progress
    digests: list[bytes | None] = field(init=False)
    faults: dict[int, PictureError] = field(default_factory=dict)
    _unrecorded: list[tuple[bytes, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = cache_root(self.cache.folder, os.environ)
        self.store = picture_store(self.root, self.spec)
        self.num_bytes = len(self.listing.pictures) * self.store.row_bytes
        self.amount = f"{len(self.listing.pictures)}, {self.num_bytes / _MB:,.1f} MB"
        about = f"decode {DECODE_VERSION} pillow {PILLOW_VERSION} max_megapixels {self.spec.max_megapixels:g}"
        self._known = Stamps(self.root, about)
        self._recorded_s, taken_ns = time.monotonic(), time.time_ns()
        stamps = self.listing.stamps() if self.listing.stamps else repeat(None, len(self.listing.pictures))
        self._keys = self._known.keys(stamps, taken_ns=taken_ns)
        self.digests = self._known.find(self._keys)

    def on_disk(self) -> Prepared:
        if self.digests and not len(self._to_prepare()):
            with suppress(CacheError):  # another process may have made room meanwhile
                stored = self.store.read(self.digests)
                self.progress.say(f"prepared pictures: all {len(self.digests)} are stored already")
                return self._prepared(stored)
        waiting = "another process is preparing the same pictures; waiting for it"
        with self.store.writer(num_rows=len(self._to_prepare()), progress=self.progress, waiting=waiting) as writer:
            # The process before may have prepared the same pictures.
            self.digests = self._known.find(self._keys)
            holds_some = bool(self.store.count())
            if holds_some:
                self._look_at_unknown()
            missing = self._to_prepare()
            if len(missing):
                self._take_room(len(missing))
                self._decode_into(writer, missing, holds_some=holds_some)
            elif self.digests:
                self.progress.say(f"prepared pictures: all {len(self.digests)} are stored already")
            writer.flush()
            return self._prepared(self.store.read(self._good_digests()))

    def in_memory(self) -> Prepared:
        images = np.empty((len(self.digests), *self.store.shape), np.uint8)
        num_good = 0

        def keep(position: int, one: Decoded) -> None:
            nonlocal num_good
            images[num_good] = one.pixels
            num_good += 1
            self._note(position)

        self._pass("preparing pictures", np.arange(len(self.digests)), keep)
        return self._prepared(images[:num_good])

    def when_asked(self) -> Prepared:
        unknown = [position for position, digest in enumerate(self.digests) if digest is None]
        self._pass("checking pictures", np.array(unknown, np.int64), lambda position, _: self._note(position))
        good = np.array([position for position in range(len(self.digests)) if position not in self.faults], np.int64)
        return self._prepared(DecodedWhenAsked(self.listing, good, self._good_digests(), self.spec))

    def _to_prepare(self) -> np.ndarray:
        """Positions of the pictures whose digests are not known or have no row, and that are not known to be bad."""
        rows = self.store.find([digest or bytes(32) for digest in self.digests])
        good = np.array([position not in self.faults for position in range(len(self.digests))], bool)
        unknown = np.array([digest is None for digest in self.digests], bool)
        return np.flatnonzero(good & (unknown | (rows < 0)))

    def _look_at_unknown(self) -> None:
        """Files without a known digest may have rows all the same: moved ones, say, or those of another folder."""
        unknown = np.flatnonzero([digest is None for digest in self.digests])
        if self.listing.any_order:
            # New files are told from moved ones by a few, so that many are not read twice.
            few = unknown[np.unique(np.linspace(0, len(unknown) - 1, _SAMPLE, dtype=np.int64))] if len(unknown) else []
            if not self._look_at(few):
                return
            unknown = np.flatnonzero([digest is None for digest in self.digests])
        self._look_at(unknown)

    def _look_at(self, positions: np.ndarray) -> int:
        """Read some files without decoding them: how many of them have rows."""
        found: list[int] = []

        def look(position: int, _: Decoded) -> None:
            found.append(position)

        self._pass("looking for changed pictures", positions, look, wanted=lambda digest: False)
        rows = self.store.find([self.digests[position] for position in found])
        # Only those that were decoded before are recorded; the others may be no pictures.
        for position in np.array(found, np.int64)[rows >= 0]:
            self._note(position)
        self._record()
        return int((rows >= 0).sum())

    def _take_room(self, num_missing: int) -> None:
        needed = self.store.disk_bytes(num_missing)
        amount = f"{needed / _MB:,.1f} MB"
        if not make_room(self.root, needed, max_gb=self.cache.max_gb, keep=self.store.folder):
            raise CacheError(
                f"prepared pictures: {amount} have no room in {self.root} (cache.max_gb: {self.cache.max_gb:g}, "
                f"{disk_usage(self.root).free / _MB:,.1f} MB free on that disk).\n"
                "Make room on that disk, raise cache.max_gb, name a larger disk with cache.folder, or keep the "
                "pictures elsewhere with data.cache: memory or none."
            )
        stored = len(self.digests) - num_missing - len(self.faults)
        beside = f"{stored} are stored already, " if stored else ""
        self.progress.say(f"prepared pictures: {beside}{num_missing} to prepare, {amount} on disk in {self.root}")

    def _decode_into(self, writer: Writer, missing: np.ndarray, *, holds_some: bool) -> None:
        def is_missing(digest: bytes) -> bool:
            return not holds_some or self.store.find([digest])[0] < 0

        with appending(writer) as append:

            def keep(position: int, one: Decoded) -> None:
                if one.pixels is not None:
                    append(one)
                self._note(position)

            self._pass("preparing pictures", missing, keep, wanted=is_missing)

    def _pass(
        self,
        what: str,
        positions: np.ndarray,
        use: Callable[[int, Decoded], None],
        *,
        wanted: Callable[[bytes], bool] = lambda digest: True,
    ) -> None:
        """Read some pictures, in their order, and note what becomes of them."""
        if not len(positions):
            return
        decoded = decode_pictures(self.listing, positions, self.spec, wanted=wanted)
        try:
            with self.progress.task(what, len(positions), "pictures") as task, closing(decoded):
                for position, one in zip(map(int, positions), decoded, strict=True):
                    if isinstance(one, PictureError):
                        self.faults[position] = one
                    else:
                        self.faults.pop(position, None)
                        self.digests[position] = one.digest
                        use(position, one)
                    task.advance(note=f"{len(self.faults)} left out" if self.faults else "")
        finally:
            self._record()

    def _note(self, position: int) -> None:
        """That a picture is good, for the next run."""
        if key := self._keys[position]:
            self._unrecorded.append((key, self.digests[position]))
        if time.monotonic() - self._recorded_s > _RECORD_S:
            self._record()

    def _record(self) -> None:
        self._known.record(self._unrecorded)
        self._unrecorded.clear()
        self._recorded_s = time.monotonic()

    def _good_digests(self) -> list[bytes]:
        return [digest for position, digest in enumerate(self.digests) if position not in self.faults]

    def _prepared(self, images: Images) -> Prepared:
        pictures = self.listing.pictures
        return Prepared(
            images,
            tuple(picture for position, picture in enumerate(pictures) if position not in self.faults),
            tuple(self._good_digests()),
            tuple(Skipped(pictures[position].path, str(self.faults[position])) for position in sorted(self.faults)),
        )
