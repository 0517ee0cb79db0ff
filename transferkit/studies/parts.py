"""The parts that folds test: enough pictures for each, and every picture in one of them."""

import csv
from collections.abc import Sequence
from pathlib import Path

from transferkit.data.listing import Listing
from transferkit.data.load import count_splits, load_data
from transferkit.errors import DataError, RunFolderError
from transferkit.finetuner import FineTuner
from transferkit.progress import Progress


def check_parts(tuners: Sequence[FineTuner], listing: Listing) -> str:
    """How many pictures no part tests, in words; empty if there are none.

    Raises:
        DataError: more parts than pictures to test.
    """
    count = len(tuners)
    tested = [count_splits(listing, one.recipe.data, seed=one.recipe.seed)["test"] for one in tuners]
    if 0 in tested:
        raise DataError(
            f"{listing.origin}: {count} folds are too many for these {len(listing.pictures)} pictures: "
            f"{tested.count(0)} of them would test none. Use {count - tested.count(0)} or fewer."
        )
    own = sum(listing.count(split) for split in ("validation", "test"))
    untested = len(listing.pictures) - own - sum(tested)
    if not untested:
        return ""
    what = "picture is" if untested == 1 else "pictures are"
    return f"{untested} {what} in no test part: classes of one picture, or of one group, always train"


def refuse_another_part(tuner: FineTuner, folder: Path, listing: Listing, progress: Progress) -> None:
    """See that a finished fold, which new ones are to join, tested just the pictures that it would test today.

    Raises:
        RunFolderError: the pictures, or the rules by which they are divided, have changed since.
        DataError: as `load_data`.
    """
    recipe = tuner.recipe
    data = load_data(
        listing,
        recipe.data,
        cache=recipe.cache,
        seed=recipe.seed,
        need_test=True,
        progress=progress,
        margin=recipe.margin,
    )
    if sorted(data.paths[row] for row in data.rows["test"]) != sorted(_tested(folder)):
        raise RunFolderError(
            f"{folder} tested other pictures than it would today: the pictures, or how transferkit divides them, have "
            "changed since.\nWith folds of both, some pictures would be tested twice and some never.\n"
            "Run all again with --overwrite in place of --resume, or name another --run-dir."
        )


def refuse_shared_pictures(folders: Sequence[Path]) -> None:
    """See that no picture was tested by two of these runs.

    Raises:
        RunFolderError: one was.
    """
    seen: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(set(_tested(folder))):
            if path in seen:
                raise RunFolderError(
                    f"{seen[path]} and {folder} both tested {path}: they are not parts of one division.\n"
                    "Run all again with --overwrite in place of --resume, or name another --run-dir."
                )
            seen[path] = folder


def _tested(folder: Path) -> list[str]:
    file = folder / "predictions.csv"
    try:
        with open(file, encoding="utf-8", newline="") as lines:
            return [row["path"] for row in csv.DictReader(lines) if row["split"] == "test"]
    except OSError as error:
        raise RunFolderError(
            f"{file} cannot be read: {error.strerror}. Remove {folder} to run that fold again."
        ) from error
